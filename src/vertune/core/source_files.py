"""Finds the source files to copy so that a module runs where its package is not installed; independent of what it computes."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

from vertune.core.errors import ConfigError

_ANYWHERE = frozenset({*sys.stdlib_module_names, "numpy"})
"""Top-level modules that can be imported wherever Python and NumPy are installed."""


def source_files(module: str) -> dict[str, Path]:
    """Return, by full module name, the source files of a module and of the modules that it imports, directly or indirectly.

    Only imports from the package of the module itself and from vertune are followed; imports inside `if TYPE_CHECKING:` are
    ignored. Raises ConfigError for an import of any other package (except NumPy and the standard library), for a relative import,
    and for `import x` (instead of `from x import …`) of the module's own package or vertune.
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
                f"The decoder '{module}' needs the module '{name}', which has no .py file. Use only modules that are .py files."
            )
        files[name] = file
        for package, item in _imports(ast.parse(file.read_text(encoding="utf-8")), name):
            if package.partition(".")[0] in own:
                waiting.append(f"{package}.{item}" if _file(f"{package}.{item}") else package)
            elif package.partition(".")[0] not in _ANYWHERE:
                raise ConfigError(
                    f"The decoder '{module}' can't be exported: {name} imports '{package}', but exported code may import only NumPy and "
                    "the standard library. Move the code that needs this package out of the decoder."
                )
    return files


def _imports(tree: ast.AST, module: str) -> Iterator[tuple[str, str]]:
    """Yield, for each import that is executed at run time, the module and the name imported from it (empty for `import module`)."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for other in node.orelse:
                yield from _imports(other, module)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ConfigError(
                    f"{module} has a relative import, which does not work in exported code. Write `from package.module import …`."
                )
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] in {module.partition(".")[0], "vertune"}:
                    raise ConfigError(
                        f"{module} has `import {alias.name}`, which does not work in exported code. Write `from {alias.name} import …`."
                    )
                yield alias.name, ""
        else:
            yield from _imports(node, module)


def _file(module: str) -> Path | None:
    """Return the path of a module's .py file; None if there is none."""
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return None
    return Path(spec.origin) if spec is not None and spec.origin and spec.origin.endswith(".py") else None
