"""Every name of vertune that a Python example in the docs imports or reads from an imported module exists."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.docs.conftest import DOCS

PAGES = sorted(page for page in DOCS.rglob("*.md") if "```python" in page.read_text(encoding="utf-8"))


def examples(page: Path) -> Iterator[ast.Module]:
    for code in re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        yield ast.parse(code)


def imported(tree: ast.Module) -> Iterator[tuple[str, str, object | None]]:
    """Local name, name in vertune, and what it is; None if it does not exist."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "vertune":
            for alias in node.names:
                yield alias.asname or alias.name, f"{node.module}.{alias.name}", found(str(node.module), alias.name)


def found(module: str, name: str) -> object | None:
    try:
        there = getattr(importlib.import_module(module), name, None)
        return importlib.import_module(f"{module}.{name}") if there is None else there
    except ModuleNotFoundError:
        return None


def unknown(tree: ast.Module) -> list[str]:
    names = {local: (full, there) for local, full, there in imported(tree)}
    missing = [full for full, there in names.values() if there is None]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            full, there = names.get(node.value.id, ("", None))
            if isinstance(there, ModuleType) and found(there.__name__, node.attr) is None:
                missing.append(f"{full}.{node.attr}")
    return missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_names_in_examples_exist(page):
    assert not [name for tree in examples(page) for name in unknown(tree)]


def test_names_that_do_not_exist_are_found():
    assert len(PAGES) > 10
    tree = ast.parse("from vertune.testing import methods, nothing\nfrom vertune.nowhere import x\nmethods.Stand\nmethods.CHECKS\n")
    assert sorted(unknown(tree)) == ["vertune.nowhere.x", "vertune.testing.methods.Stand", "vertune.testing.nothing"]
