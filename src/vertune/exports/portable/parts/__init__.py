"""Copies of the Python modules that predict.py needs, from vertune and from the package that defines the task; they need only numpy.

The name of each file is the full name of its module, such as `vertune.decoders.tag.py`. The function `load` imports a copy under
another module name, also when one copy imports another. So the copies work without vertune, and where vertune is installed, its own
modules are not replaced.
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
    """Import and return the copy of the module `name`, such as `vertune.decoders.tag`; raise ImportError if there is no copy."""
    own = f"{__name__}.{name.replace('.', '_')}"
    if own not in sys.modules:
        spec = importlib.util.spec_from_file_location(own, FOLDER / f"{name}.py")
        if spec is None or spec.loader is None:
            raise ImportError(f"The folder {FOLDER} has no file {name}.py, which the model needs. Export the model again.")
        module = importlib.util.module_from_spec(spec)
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": _import}
        sys.modules[own] = module
        spec.loader.exec_module(module)
    return sys.modules[own]


def _is_here(name: str) -> bool:
    return (FOLDER / f"{name}.py").exists()


def _import(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
    """Import a module; the copied modules use this function instead of Python's `__import__`, which has the same arguments.

    If this folder has a copy of the module, the copy is imported: that of `a.b` for `import a.b` and for `from a import b`. Any other
    module is imported as usual.
    """
    inside = [item for item in fromlist or () if _is_here(f"{name}.{item}")]
    if inside:
        return SimpleNamespace(**{item: load(f"{name}.{item}") for item in inside})
    module: ModuleType = load(name) if _is_here(name) else __import__(name, globals, locals, fromlist, level)
    return module
