"""README and its Chinese twin say the same, each with data in its language; and the figures are those of the result files."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md")}
ENGLISH, CHINESE = PAGES.values()
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


def _figures() -> ModuleType:
    sys.path.insert(0, str(ROOT / "benchmarks"))  # its scripts import one another
    spec = importlib.util.spec_from_file_location("benchmarks_figures", ROOT / "benchmarks" / "figures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


FIGURES = _figures()


def _prose(page: str) -> str:
    return FENCE.sub("", page)


def _without_example(page: str) -> str:
    """The prose without the paragraph about the data that ships with vertune, which are others in each language."""
    paragraphs = _prose(page).split("\n\n")
    others = [text for text in paragraphs if "`cp vertune/examples/" not in text]
    assert len(others) == len(paragraphs) - 1
    return "\n\n".join(others)


def _commands(page: str) -> list[str]:
    """The code without comments and without what is in quotation marks."""
    return [re.sub(r'"[^"]*"', '""', re.sub(r"\s+# .*", "", block)) for block in FENCE.findall(page)]


def _links(page: str) -> Counter[str]:
    return Counter(re.findall(r"\]\(([^)]+)\)", page))


def test_headings_are_equal_in_level_and_order() -> None:
    levels = [re.findall(r"^(#+) ", _prose(page), re.MULTILINE) for page in PAGES.values()]
    assert levels[0] == levels[1]
    assert len(levels[0]) > 5


def test_figures_are_equal() -> None:
    numbers = [Counter(re.findall(r"\d+(?:[.,]\d+)*", re.sub(r"\]\([^)]+\)", "]", _without_example(page)))) for page in PAGES.values()]
    assert numbers[0] == numbers[1]


def test_code_is_equal() -> None:
    assert _commands(ENGLISH) == _commands(CHINESE)
    assert FENCE.findall(ENGLISH) != FENCE.findall(CHINESE)


def test_names_in_code_are_equal() -> None:
    names = [set(re.findall(r"`([^`\n]+)`", _without_example(page))) for page in PAGES.values()]
    assert names[0] == names[1]


def test_links_are_equal_and_lead_somewhere() -> None:
    mine, theirs = _links(ENGLISH), _links(CHINESE)
    assert mine - Counter(["README.zh-CN.md"]) == theirs - Counter(["README.md"])
    assert not [link for link in [*mine, *theirs] if not link.startswith("http") and not (ROOT / link).exists()]


def test_readme_is_short() -> None:
    assert all(len(page.splitlines()) <= 150 for page in PAGES.values())


@pytest.mark.parametrize("name", FIGURES.PAGES)
def test_figures_are_those_that_were_measured(name: str) -> None:
    page = (ROOT / name).read_text(encoding="utf-8")
    assert FIGURES.filled(page, FIGURES.PAGES[name]) == page, "write them with: make figures"
    assert FIGURES.BLOCK.search(page)


def test_missed_targets_are_named_and_explained() -> None:
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert FIGURES.BLOCKS.keys() == set(re.findall(r"<!-- figures: (\w+) -->", page))
    for result in (ROOT / "benchmarks" / "results" / "accuracy").glob("*.json"):
        about, met = (json.loads(result.read_text(encoding="utf-8"))[key] for key in ("about", "met"))
        assert (about in FIGURES.missed()) == (met is False)


def test_a_missed_target_without_a_reason_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FIGURES, "HERE", tmp_path)
    (tmp_path / "accuracy.yaml").write_text("{}")
    (tmp_path / "missed.yaml").write_text("{}")
    with pytest.raises(SystemExit, match="training/full/trainer"):
        FIGURES.missed()


OTHERS = [page for page in sorted((ROOT / "docs").rglob("*.md")) if "_built" not in page.parts]
OTHERS += [ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md"]


@pytest.mark.parametrize("page", OTHERS, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_of_other_pages_lead_somewhere(page: Path) -> None:
    links = [link.partition("#")[0] for link in _links(_prose(page.read_text(encoding="utf-8")))]
    assert not [link for link in links if link and not link.startswith("http") and not (page.parent / link).exists()]
