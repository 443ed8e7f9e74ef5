"""Finds the source files that a module needs in order to run where its package is not installed; independent of what it computes.

Exported models are shipped with these files, because they must compute answers without vertune.
"""

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

    Only modules of vertune and of the module's own package are returned. NumPy and the standard library may be imported too; imports
    inside `if TYPE_CHECKING:` are ignored. Raises ConfigError for an import of any other package, for a module without a .py file, for a
    relative import, and for `import x` instead of `from x import …` if x belongs to vertune or to the module's own package.
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
                f"The decoder '{module}' can't be exported: it needs the module '{name}', which has no .py file. "
                "Use only modules that are .py files in the decoder."
            )
        files[name] = file
        for package, item in _imports(ast.parse(file.read_text(encoding="utf-8")), name):
            if package.partition(".")[0] in own:
                waiting.append(f"{package}.{item}" if _file(f"{package}.{item}") else package)
            elif package.partition(".")[0] not in _ANYWHERE:
                raise ConfigError(
                    f"The decoder '{module}' can't be exported: the module {name} imports '{package}', but exported code may import only "
                    "NumPy and the standard library. Move the code that needs this package out of the decoder."
                )
    return files


def _imports(tree: ast.AST, module: str) -> Iterator[tuple[str, str]]:
    """Yield, for each import in the code of `module` that is executed at run time, the imported module and the name imported from it.

    For `import x`, the name is empty. Raises ConfigError for the forms of import that don't work in exported code.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for other in node.orelse:
                yield from _imports(other, module)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ConfigError(
                    f"The module {module} has a relative import, which does not work in exported code. "
                    "Write `from package.module import …` with the full name of the module."
                )
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] in {module.partition(".")[0], "vertune"}:
                    raise ConfigError(
                        f"The module {module} has `import {alias.name}`, which does not work in exported code. "
                        f"Write `from {alias.name} import …`."
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
