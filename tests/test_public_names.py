"""What `vertune` says it exports is what it exports, and nothing else that is public."""

import ast
import subprocess
import sys
from pathlib import Path

import vertune
import vertune.api
import vertune.sklearn


def test_all_names_are_there_and_sorted():
    assert sorted(vertune.__all__) == list(vertune.__all__)
    for name in vertune.__all__:
        assert getattr(vertune, name) is not None


def test_lazy_names_are_those_of_the_interface():
    tree = ast.parse(Path(vertune.__file__).read_text(encoding="utf-8"))
    lazy = {
        alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module == "vertune.api" for alias in node.names
    }
    assert lazy == set(vertune.__all__) - {"__version__"}
    assert all(getattr(vertune, name) is getattr(vertune.api, name) for name in lazy)


def test_nothing_else_is_public():
    code = "import vertune; print(sorted(n for n in vars(vertune) if not n.startswith('_')))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(vertune.__file__).parents[1])
    assert shown.stdout.strip() == "['Any', 'TYPE_CHECKING', 'annotations']"


def test_modules_of_the_interface_name_what_they_define():
    for module in (vertune.api, vertune.sklearn):
        defined = [
            name for name, value in vars(module).items() if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
        ]
        assert sorted(defined) == sorted(module.__all__)
