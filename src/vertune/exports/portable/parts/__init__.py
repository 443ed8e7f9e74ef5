"""Copies of modules of vertune, and of the package that provides the task; they need only numpy.

Each file is named by the full name of its module, such as `vertune.decoders.tag.py`. `load` imports it under a different name, even
where copied modules import one another. So vertune need not be installed; if it is, it is not affected.
"""

from __future__ import annotations

import builtins
import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

FOLDER = Path(__file__).resolve().parent


def load(name: str) -> Any:
    """Import and return the copied module with this full name; raise ImportError if there is none."""
    own = f"{__name__}.{name.replace('.', '_')}"
    if own not in sys.modules:
        spec = importlib.util.spec_from_file_location(own, FOLDER / f"{name}.py")
        if spec is None or spec.loader is None:
            raise ImportError(f"{FOLDER} has no file {name}.py.")
        module = importlib.util.module_from_spec(spec)
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": _import}
        sys.modules[own] = module
        spec.loader.exec_module(module)
    return sys.modules[own]


def _is_here(name: str) -> bool:
    return (FOLDER / f"{name}.py").exists()


def _import(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
    """Replace `__import__`: import a.b or a.b.c from this folder if it has such a file, and any other module as usual."""
    inside = [item for item in fromlist or () if _is_here(f"{name}.{item}")]
    if inside:
        return SimpleNamespace(**{item: load(f"{name}.{item}") for item in inside})
    module: ModuleType = load(name) if _is_here(name) else __import__(name, globals, locals, fromlist, level)
    return module
