"""Finds the source files that a module needs to run outside its package; independent of what the module computes."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

from vertune.core.errors import ConfigError

_ANYWHERE = frozenset({*sys.stdlib_module_names, "numpy"})
"""Packages that every Python with NumPy can import."""


def source_files(module: str) -> dict[str, Path]:
    """Return the source files of a module and of all modules that it imports from its own package or vertune, by full module name.

    Imports below `if TYPE_CHECKING:` are ignored. Raises ConfigError for an import of another package (except NumPy and the
    standard library), and for one that can't be followed: a relative import, or a plain `import` of its own package or vertune.
    """
    own = {module.partition(".")[0], "vertune"}
    files: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in files:
            continue
        file = _file(name)
        if file is None:
            raise ConfigError(
                f"The decoder '{module}' needs the module '{name}', which has no source file. Name a module of Python source."
            )
        files[name] = file
        for package, item in _imports(ast.parse(file.read_text(encoding="utf-8")), name):
            if package.partition(".")[0] in own:
                waiting.append(f"{package}.{item}" if _file(f"{package}.{item}") else package)
            elif package.partition(".")[0] not in _ANYWHERE:
                raise ConfigError(
                    f"The decoder '{module}' can't be shipped: {name} imports '{package}', and a bundle has only NumPy and the standard "
                    "library. Move what needs it out of the decoder."
                )
    return files


def _imports(tree: ast.AST, module: str) -> Iterator[tuple[str, str]]:
    """Yield the package and the imported name of each import at run time; the name is empty for a plain `import`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for other in node.orelse:
                yield from _imports(other, module)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ConfigError(f"{module} has a relative import, and a bundle has no packages. Write `from package.module import …`.")
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] in {module.partition(".")[0], "vertune"}:
                    raise ConfigError(
                        f"{module} has `import {alias.name}`, which a bundle can't follow. Write `from {alias.name} import …`."
                    )
                yield alias.name, ""
        else:
            yield from _imports(node, module)


def _file(module: str) -> Path | None:
    """Return the path of a module's source file; None if there is none."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return None
    return Path(spec.origin) if spec is not None and spec.origin and spec.origin.endswith(".py") else None
