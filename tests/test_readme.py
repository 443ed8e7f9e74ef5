"""README and its Chinese twin say the same: headings, code, links, figures; and the figures are those of the result files."""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md")}
ENGLISH, CHINESE = PAGES.values()
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


def _figures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("figures", ROOT / "benchmarks" / "figures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _prose(page: str) -> str:
    return FENCE.sub("", page)


def _links(page: str) -> Counter[str]:
    return Counter(re.findall(r"\]\(([^)]+)\)", page))


def test_headings_are_equal_in_level_and_order() -> None:
    levels = [re.findall(r"^(#+) ", _prose(page), re.MULTILINE) for page in PAGES.values()]
    assert levels[0] == levels[1]
    assert len(levels[0]) > 5


def test_figures_are_equal() -> None:
    numbers = [Counter(re.findall(r"\d+(?:[.,]\d+)*", re.sub(r"\]\([^)]+\)", "]", _prose(page)))) for page in PAGES.values()]
    assert numbers[0] == numbers[1]


def test_code_is_equal() -> None:
    assert FENCE.findall(ENGLISH) == FENCE.findall(CHINESE)


def test_names_in_code_are_equal() -> None:
    names = [set(re.findall(r"`([^`\n]+)`", _prose(page))) for page in PAGES.values()]
    assert names[0] == names[1]


def test_links_are_equal_and_lead_somewhere() -> None:
    mine, theirs = _links(ENGLISH), _links(CHINESE)
    assert mine - Counter(["README.zh-CN.md"]) == theirs - Counter(["README.md"])
    assert not [link for link in [*mine, *theirs] if not link.startswith("http") and not (ROOT / link).exists()]


@pytest.mark.parametrize("name", PAGES)
def test_figures_are_those_that_were_measured(name: str) -> None:
    figures = _figures()
    assert figures.filled(PAGES[name], figures.PAGES[name]) == PAGES[name], "write them with: make figures"
    assert figures.BLOCK.search(PAGES[name])


@pytest.mark.parametrize("page", [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md"])
def test_links_of_other_pages_lead_somewhere(page: Path) -> None:
    if "_built" in page.parts:
        pytest.skip("built, not committed")
    links = [link.partition("#")[0] for link in _links(_prose(page.read_text(encoding="utf-8")))]
    assert not [link for link in links if link and not link.startswith("http") and not (page.parent / link).exists()]
