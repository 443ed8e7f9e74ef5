"""The patterns of all texts of errors in the source, read from its syntax: what is fixed, and a number for each value that is put in.

An error may be made of a variable, a conditional expression, a parameter or what a function returns: all texts that it can be are found.
A value that may itself be a text of ours is followed too, and gives a *part*.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import vertune
from vertune.core import errors

SOURCE = Path(vertune.__file__).parent
ELSEWHERE = {"api", "cli", "client", "sklearn", "testing"}
"""Rooms whose errors no server shows."""
NAMED = {"UnknownName", "MissingExtra"}
"""Errors whose text is written in core/errors.py; their first argument is a part."""
PREFIXES = {"_collect_errors": 2}
"""By function of ours: the number of the argument that it puts before texts of errors."""
COUNTS = {"plural"}
"""Functions that write a number with what it counts."""
_DEPTH = 5
_LEAST = 8
"""Fixed characters of a text of an error; one with fewer is what another error says."""


@dataclass
class Patterns:
    """Patterns with the place of one error that has them."""

    errors: dict[str, str] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)


@dataclass
class _Place:
    file: str
    function: ast.AST | None


class _Reader:
    """Reads the source once."""

    def __init__(self) -> None:
        self.trees = {path.relative_to(SOURCE).as_posix(): ast.parse(path.read_text("utf-8")) for path in sorted(SOURCE.rglob("*.py"))}
        self.functions: defaultdict[str, list[tuple[str, ast.FunctionDef]]] = defaultdict(list)
        self.constants: dict[tuple[str, str], ast.expr] = {}
        self.names = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.VertuneError)}
        self.found = Patterns()
        self.calls: defaultdict[str, list[tuple[str, ast.Call, ast.AST | None]]] = defaultdict(list)
        """By the name of a function or a method: the calls, with their files and the functions in which they stand."""
        self.in_file: defaultdict[str, list[tuple[ast.Call, ast.AST | None]]] = defaultdict(list)
        """By file: all calls, with the functions in which they stand."""
        for file, tree in self.trees.items():
            self._note(file, tree, None)
            for one in tree.body:
                if isinstance(one, ast.Assign) and isinstance(one.targets[0], ast.Name):
                    self.constants[file, one.targets[0].id] = one.value
                elif isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name) and one.value is not None:
                    self.constants[file, one.target.id] = one.value

    def _note(self, file: str, node: ast.AST, function: ast.AST | None) -> None:
        """Note the functions, the classes of errors and the calls in a node."""
        for child in ast.iter_child_nodes(node):
            inner = function
            if isinstance(child, ast.Call):
                name = child.func.attr if isinstance(child.func, ast.Attribute) else getattr(child.func, "id", "")
                self.calls[name].append((file, child, inner))
                self.in_file[file].append((child, inner))
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                inner = child
                if isinstance(child, ast.FunctionDef):
                    self.functions[child.name].append((file, child))
            elif isinstance(child, ast.ClassDef) and self.names & {one.id for one in child.bases if isinstance(one, ast.Name)}:
                self.names.add(child.name)
            self._note(file, child, inner)

    def read(self) -> Patterns:
        """Return the patterns of all errors that a server may show."""
        for file in self.trees:
            if file.split("/")[0].removesuffix(".py") in ELSEWHERE:
                continue
            for function, call, name in self._errors(file):
                place = _Place(file, function)
                if name == "ValueError":
                    if any("validator" in ast.unparse(one) for one in getattr(function, "decorator_list", ())):
                        self._add(call.args[0], place, call.lineno, part=True)
                elif name != "__init__" or file == "core/errors.py":
                    self._add(call.args[0], place, call.lineno, part=name in NAMED)
        self.found.parts = {key: where for key, where in self.found.parts.items() if key not in self.found.errors}
        return self.found

    def _errors(self, file: str) -> Iterator[tuple[ast.AST | None, ast.Call, str]]:
        """Yield the calls in a file that make errors, with the functions in which they stand and the names of the errors."""
        made = {*self.names, "ValueError"}
        for call, function in self.in_file[file]:
            called = call.func
            if not call.args:
                continue
            if isinstance(called, ast.Name) and len(call.args) > (number := PREFIXES.get(called.id, len(call.args))):
                key, values = _pattern(call.args[number])
                self.found.errors.setdefault(f"{key}{{{len(values)}}}", called.id)
            elif isinstance(called, ast.Name) and called.id in made:
                yield function, call, called.id
            elif isinstance(called, ast.Attribute) and called.attr == "__init__" and isinstance(called.value, ast.Call):
                yield function, call, "__init__"

    def _add(self, node: ast.expr, place: _Place, line: int, part: bool = False) -> None:
        """Add the texts that the first argument of an error can be, and the parts that may be put into them."""
        for leaf, there in self._leaves(node, place):
            key, values = _pattern(leaf)
            if len(re.sub(r"\{\d+\}", "", key).strip()) >= (1 if part else _LEAST) and not _is_technical(key):
                (self.found.parts if part else self.found.errors).setdefault(key, f"{place.file}:{line}")
            self._add_parts(values, there, line)

    def _add_parts(self, values: list[ast.expr], place: _Place, line: int, depth: int = 0) -> None:
        for value in values:
            for leaf, there in self._leaves(value, place):
                key, inner = _pattern(leaf)
                if inner == [leaf]:
                    continue
                if re.search(r"[A-Za-z]{2}", re.sub(r"\{\d+\}", "", key)) and not _is_technical(key):
                    self.found.parts.setdefault(key, f"{place.file}:{line}")
                if depth < _DEPTH:
                    self._add_parts(inner, there, line, depth + 1)

    def _leaves(self, node: ast.expr, place: _Place, seen: set[int] | None = None) -> Iterator[tuple[ast.expr, _Place]]:
        """Yield what an expression can be: the branches of conditions, what was assigned to names, what functions of ours return."""
        seen = set() if seen is None else seen
        if id(node) in seen:
            return
        seen.add(id(node))
        if isinstance(node, ast.IfExp):
            further = [(node.body, place), (node.orelse, place)]
        elif isinstance(node, ast.BoolOp):
            further = [(one, place) for one in (node.values[-1:] if isinstance(node.op, ast.And) else node.values)]
        elif isinstance(node, ast.Name):
            further = [(one, place) for one in self._assigned(node.id, place)] or self._given(node.id, place)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id not in COUNTS:
            further = self._returned(node.func.id, place)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "' '.join" and isinstance(node.args[0], ast.GeneratorExp):
            further = [(node.args[0].elt, place)]
        else:
            yield node, place
            return
        for one, there in further:
            yield from self._leaves(one, there, seen)

    def _assigned(self, name: str, place: _Place) -> list[ast.expr]:
        found: list[ast.expr] = []
        for node in [] if place.function is None else ast.walk(place.function):
            if isinstance(node, ast.NamedExpr) and node.target.id == name:
                found.append(node.value)
            for target in node.targets if isinstance(node, ast.Assign) else ():
                if isinstance(target, ast.Name) and target.id == name:
                    found.append(node.value)
                elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    pairs = zip(target.elts, node.value.elts, strict=True)
                    found += [value for one, value in pairs if isinstance(one, ast.Name) and one.id == name]
        if not found and (place.file, name) in self.constants:
            found = [self.constants[place.file, name]]
        return found

    def _given(self, name: str, place: _Place) -> list[tuple[ast.expr, _Place]]:
        """Return what calls give for a parameter: those in its file, and the phrases of those elsewhere."""
        function = place.function
        if not isinstance(function, ast.FunctionDef) or name not in (names := [one.arg for one in function.args.args]):
            return []
        number = names.index(name) - (names[0] in ("self", "cls"))
        alone, module = len(self.functions[function.name]) == 1, Path(place.file).stem
        found: list[tuple[ast.expr, _Place]] = []
        for file, call, inner in self.calls[function.name]:
            owner = ast.unparse(call.func.value) if isinstance(call.func, ast.Attribute) else ""
            for one in [one.value for one in call.keywords if one.arg == name] or call.args[number : number + 1]:
                phrase = self.constants.get((file, one.id)) if isinstance(one, ast.Name) else one
                is_phrase = isinstance(phrase, ast.Constant | ast.JoinedStr) and " " in _pattern(phrase)[0]
                near = file == place.file and owner in ("", "self", "cls")
                if (near and not isinstance(one, ast.Starred)) or (is_phrase and (alone or owner == module)):
                    found.append((one, _Place(file, inner)))
        return found

    def _returned(self, name: str, place: _Place) -> list[tuple[ast.expr, _Place]]:
        known = self.functions[name]
        known = [one for one in known if one[0] == place.file] or (known if len(known) == 1 else [])
        return [
            (node.value, _Place(file, function))
            for file, function in known
            for node in ast.walk(function)
            if isinstance(node, ast.Return) and node.value is not None
        ]


def _pattern(node: ast.expr) -> tuple[str, list[ast.expr]]:
    """Return a text with numbers in the places of values, and the values."""
    values: list[ast.expr] = []

    def written(one: ast.expr) -> str:
        if isinstance(one, ast.Constant) and isinstance(one.value, str):
            return one.value
        if isinstance(one, ast.JoinedStr):
            return "".join(written(part.value if isinstance(part, ast.FormattedValue) else part) for part in one.values)
        if isinstance(one, ast.BinOp) and isinstance(one.op, ast.Add) and _has_text(one):
            return written(one.left) + written(one.right)
        values.append(one)
        return f"{{{len(values) - 1}}}"

    return written(node), values


def _has_text(node: ast.expr) -> bool:
    """Return whether a sum joins texts, and not numbers."""
    return any(isinstance(one, ast.Constant) and isinstance(one.value, str) for one in ast.walk(node))


def _is_technical(key: str) -> bool:
    """Return whether a part is the same in all languages: a command, or the name of an option or a file."""
    return "\n" in key or bool(re.match(r"vertune |--", key)) or (" " not in key and bool(re.search(r"[./_0-9-]|^[A-Z]+$", key)))


def read_patterns() -> Patterns:
    """Return the patterns of the texts of all errors that a server may show."""
    return _Reader().read()
