"""The site is assembled from all pages and from the code: every part, command, config section and error is in it, no link is lost."""

from __future__ import annotations

import re
import sys

import pytest

from tests.docs.conftest import DOCS, ROOT
from vertune.cli import commands as find_commands
from vertune.core import errors, part


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The tree that Sphinx reads."""
    sys.path.insert(0, str(DOCS))
    try:
        import build

        build.BUILT = tmp_path_factory.mktemp("built")
        build.SOURCE = build.BUILT / "source"
        build.assemble(quick=True)
    finally:
        sys.path.remove(str(DOCS))
    return build.SOURCE


def reference(site, name):
    return (site / "reference" / f"{name}.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", ["sources", "splits", "encoders", "tasks", "methods", "compressors", "exports"])
def test_every_part_is_described_with_its_options(site, kind):
    page = reference(site, kind)
    for name in part.names(kind):
        assert f"\n## {name}\n" in page
        for option in part.find(kind, name).model_fields:
            assert f"| `{option}` |" in page


def test_every_command_config_section_error_and_request_is_described(site):
    commands = reference(site, "commands")
    assert not [name for name in find_commands() if f"\n## vertune {name}\n" not in commands]
    assert "--scope" in commands
    assert "| `time_limit` | number > 0 or null | none |" in reference(site, "config")
    assert all(f"`{name}`" in reference(site, "errors") for name in vars(errors) if name.endswith(("Error", "Found", "Busy")))
    assert "POST /v1/verticals/{vertical}/predict" in reference(site, "rest")


def test_every_page_is_in_the_table_of_contents(site):
    index = (site / "index.md").read_text(encoding="utf-8")
    pages = [path.relative_to(site).with_suffix("").as_posix() for path in site.rglob("*.md")]
    assert not [page for page in pages if page != "index" and f"\n{page}\n" not in index]


def test_links_lead_to_pages_of_the_site(site):
    import build

    for path in site.rglob("*.md"):
        for _, target in build.LINK.findall(path.read_text(encoding="utf-8")):
            name = target.partition("#")[0]
            assert not name or name.startswith("http") or (path.parent / name).exists(), f"{path.name}: {target}"


def test_nothing_is_loaded_from_another_host():
    for path in [DOCS / "conf.py", *(DOCS / "_static").iterdir(), *(DOCS / "images").glob("*.svg")]:
        assert not re.findall(r"(?:url\(|src=|href=)[\"']?(?:https?:)?//[^)\"']+", path.read_text(encoding="utf-8")), path


def test_pictures_are_small_and_shown():
    shown = "".join(page.read_text(encoding="utf-8") for page in [ROOT / "README.md", *DOCS.glob("*.md")])
    for picture in (DOCS / "images").iterdir():
        assert picture.stat().st_size < 250_000, picture
        assert f"images/{picture.name})" in shown, picture
