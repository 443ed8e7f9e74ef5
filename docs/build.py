"""Builds the documentation site into docs/_built/site; knows nothing of what a page says.

    python docs/build.py           the whole site
    python docs/build.py --quick   without the tables that need torch

Reference pages are written from the code by reference.py. The site opens from the disk: search included, nothing is loaded from
another host. Built pages are never committed.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import reference

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
BUILT = DOCS / "_built"
SOURCE, SITE = BUILT / "source", BUILT / "site"
OUTSIDE = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "benchmarks/README.md": "measuring.md"}
"""Pages that stand elsewhere in the repository, with their names in the site."""
CHAPTERS = {
    "Start": ["tutorial"],
    "How to": [f"how-to/{name}" for name in ("classify", "multilabel", "match", "regress", "tag", "extract", "embed")]
    + [f"how-to/{name}" for name in ("mask", "label", "compress", "serve", "people", "customer-service", "flows", "conversations")]
    + [f"how-to/{name}" for name in ("feedback", "monitoring", "alerts", "behaviour-tests", "gate", "retraining")]
    + [f"how-to/{name}" for name in ("jobs", "sign", "python")],
    "Understand": ["life", "operations", "defaults", "words", "benchmarks", "measuring"],
    "Develop": ["architecture", "contributing", "changelog"],
}
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)\s]+)\)")


def assemble(quick: bool) -> None:
    """Copy every page, and write the reference, into one tree."""
    shutil.rmtree(BUILT, ignore_errors=True)
    pages = {path: path.relative_to(DOCS) for path in sorted(DOCS.rglob("*.md")) if "_built" not in path.parts}
    pages |= {ROOT / path: Path(name) for path, name in OUTSIDE.items()}
    for path, name in pages.items():
        target = SOURCE / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(relinked(path.read_text(encoding="utf-8"), path, pages), encoding="utf-8")
    shutil.copytree(DOCS / "images", SOURCE / "images")
    shutil.copytree(DOCS / "_static", SOURCE / "_static")
    (SOURCE / "reference").mkdir()
    made = reference.pages(quick)
    for name, text in made.items():
        (SOURCE / "reference" / f"{name}.md").write_text(text, encoding="utf-8")
    additions = [str(name.with_suffix("")) for name in pages.values() if name.parts[0] == "add"]
    chapters = {**CHAPTERS, "Reference": [f"reference/{name}" for name in made]}
    chapters["Develop"] = [*CHAPTERS["Develop"], *additions]
    with (SOURCE / "index.md").open("a", encoding="utf-8") as index:
        for caption, names in chapters.items():
            index.write("\n```{toctree}\n:hidden:\n:caption: " + caption + "\n\n" + "\n".join(names) + "\n```\n")


def relinked(text: str, page: Path, pages: dict[Path, Path]) -> str:
    """The page with its links as the site has them; a link to a file that is no page becomes its name."""

    def link(match: re.Match[str]) -> str:
        label, target = match[1], match[2]
        path, mark, anchor = target.partition("#")
        if not path or target.startswith("http"):
            return match[0]
        aim = (page.parent / path).resolve()
        if aim in pages:
            relative = os.path.relpath(pages[aim], pages[page].parent)
            return f"[{label}]({relative}{mark}{anchor})"
        return match[0] if aim.is_relative_to(DOCS / "reference") else label

    return LINK.sub(link, text)


def main() -> None:
    """Assemble the pages and build the site; warnings are errors."""
    from sphinx.cmd.build import main as sphinx

    assemble("--quick" in sys.argv[1:])
    if sphinx(["-q", "-W", "--keep-going", "-b", "html", "-c", str(DOCS), "-d", str(BUILT / "doctrees"), str(SOURCE), str(SITE)]):
        sys.exit("The site was not built; see the warnings above.")
    print(f"Open {SITE / 'index.html'}")


if __name__ == "__main__":
    main()
