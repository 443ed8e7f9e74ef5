"""The house keeps its own rules: sizes, names, layers, light imports, described options.

docs/architecture.md says what the rules are; this file fails where the code has left them.
"""

from __future__ import annotations

import ast
import functools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grimp
import pytest

from vertune.core import part

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "vertune"
KINDS = (
    "sources", "cleaners", "masks", "splits", "augmenters", "encoders", "tasks", "methods", "compressors", "exports", "queries", "formats",
    "monitors", "channels", "apps",
)  # fmt: skip
PARTS = [(folder, name) for folder in KINDS for name in part.names(folder)]
HEAVY = ("torch", "transformers", "accelerate", "peft", "sklearn", "datasets", "sentence_transformers", "fastapi")

LONG_FUNCTIONS: dict[str, str] = {}
"""`file::function` of more than 60 lines, each with its reason."""
LONG_FILES: dict[str, str] = {}
"""Files of more than 500 lines, each with its reason."""
MANY_PARAMETERS: dict[str, str] = {
    "cli/init.py::run": "Typer makes each parameter one option of the command, and takes no object of options",
    "cli/key.py::create": "likewise",
    "cli/user.py::change": "likewise",
    "cli/app.py::run": "likewise",
    "cli/deploy.py::run": "likewise",
    "cli/evaluate.py::run": "likewise",
    "cli/forget.py::run": "likewise",
    "cli/gate.py::run": "likewise",
    "cli/monitor.py::run": "likewise",
    "cli/predict.py::run": "likewise",
    "cli/serve.py::run": "likewise",
    "cli/label.py::run": "likewise",
    "cli/retrain.py::run": "likewise",
    "cli/simulate.py::run": "likewise",
    "cli/watch.py::run": "likewise",
    "store/keys.py::Keys.create": "each is one property of a key, and a caller passes one or two by name",
    "client/client.py::Client.__init__": "each is one setting of a connection, and a user passes one or two by name",
}
"""`file::function` of more than 6 parameters, each with its reason."""
_COLUMNS = "SQLAlchemy takes the columns of a table as positional arguments"
MANY_POSITIONAL: dict[str, str] = {
    "store/schema.py::Table": _COLUMNS,
    "store/migrations/versions/0001_keys.py::op.create_table": _COLUMNS,
    "store/migrations/versions/0002_traffic.py::op.create_table": _COLUMNS,
    "server/resources/session.py::problems.documented": "each is a status, of which a route can have many",
    "store/migrations/versions/0005_labels.py::op.create_table": _COLUMNS,
    "store/migrations/versions/0003_jobs.py::op.create_table": _COLUMNS,
    "store/migrations/versions/0006_watching.py::op.create_table": _COLUMNS,
    "store/migrations/versions/0008_conversations.py::op.create_table": _COLUMNS,
    "store/migrations/versions/0009_entries.py::op.create_table": _COLUMNS,
}
"""`file::function` that is called with more than 5 positional arguments, each with its reason."""


@dataclass(frozen=True)
class Function:
    place: str
    lines: int
    parameters: int


@functools.cache
def _trees() -> dict[str, ast.Module]:
    files = sorted(SOURCE.rglob("*.py"))
    return {file.relative_to(SOURCE).as_posix(): ast.parse(file.read_text(encoding="utf-8")) for file in files}


@functools.cache
def _functions() -> list[Function]:
    return [
        Function(f"{file}::{name}", (node.end_lineno or node.lineno) - node.lineno + 1, _parameters(node))
        for file, tree in _trees().items()
        for name, node in _named(tree)
    ]


def _named(tree: ast.AST, owner: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function below a node with its dotted name."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            name = f"{owner}.{node.name}".lstrip(".")
            if not isinstance(node, ast.ClassDef):
                yield name, node
            yield from _named(node, name)
        else:
            yield from _named(node, owner)


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How many parameters a caller sees: without the owner, `*rows` and `**options`."""
    given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return len([argument for argument in given if argument.arg not in {"self", "cls"}])


def _run(code: str) -> str:
    """What a fresh Python prints."""
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 0, done.stderr
    return done.stdout


def _loaded(code: str) -> set[str]:
    """Which top-level packages a fresh Python holds after some code."""
    names: list[str] = json.loads(_run(f"{code}\nimport json, sys; print(json.dumps(sorted(sys.modules)))").splitlines()[-1])
    return {name.partition(".")[0] for name in names}


def test_functions_are_short() -> None:
    found = {function.place: function.lines for function in _functions() if function.lines > 60}
    assert found.keys() == LONG_FUNCTIONS.keys(), f"Over 60 lines, or listed without need: {found}"


def test_nearly_all_functions_are_under_45_lines() -> None:
    long = [function.place for function in _functions() if function.lines >= 45]
    assert len(long) <= 0.05 * len(_functions()), long


def test_files_are_short() -> None:
    lines = {path: (SOURCE / path).read_text(encoding="utf-8").count("\n") for path in _trees()}
    found = {path: count for path, count in lines.items() if count > 500}
    assert found.keys() == LONG_FILES.keys(), f"Over 500 lines, or listed without need: {found}"


def test_functions_take_few_parameters() -> None:
    found = {function.place: function.parameters for function in _functions() if function.parameters > 6}
    assert found.keys() == MANY_PARAMETERS.keys(), f"Over 6 parameters, or listed without need: {found}"


def test_calls_pass_few_positional_arguments() -> None:
    calls = {
        f"{path}::{ast.unparse(node.func)}": len(node.args)
        for path, tree in _trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and len(node.args) > 5
    }
    assert calls.keys() == MANY_POSITIONAL.keys(), f"Over 5 positional arguments, or listed without need: {calls}"


def test_every_module_says_what_it_is() -> None:
    missing = [path for path, tree in _trees().items() if not (ast.get_docstring(tree) or "").strip()]
    assert not missing


def test_no_file_is_named_after_nothing() -> None:
    forbidden = {"utils", "util", "helpers", "helper", "manager", "handler", "misc", "common"}
    words = {path: set(path.removesuffix(".py").replace("/", "_").split("_")) for path in _trees()}
    assert not [path for path, names in words.items() if names & forbidden]


def _named_parts() -> dict[str, set[str]]:
    """The names of the parts of each kind."""
    return {folder: {name for kind, name in PARTS if kind == folder} for folder in KINDS}


HOMONYMS = frozenset(
    {
        "text", "head", "folder", "time", "group", "prefix", "full", "given", "onnx", "table", "length", "labels", "file", "command",
        "mail", "errors", "confidence", "feedback",
    }
)  # fmt: skip
"""Names of parts that are also words for something else, such as a type of column: a bare comparison with them proves nothing."""


def _constants(node: ast.expr) -> set[object]:
    """The constant that an expression is, or those that it lists."""
    items = node.elts if isinstance(node, (ast.Set, ast.List, ast.Tuple)) else [node]
    return {item.value for item in items if isinstance(item, ast.Constant)}


def _branches(tree: ast.Module) -> Iterator[ast.AST]:
    """Comparisons, membership tests, dictionaries and matches that go by the name of a part."""
    kinds = _named_parts()
    names = set().union(*kinds.values())
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            constants = {constant for side in (node.left, *node.comparators) for constant in _constants(side)}
            of_a_name = any(isinstance(side, ast.Attribute) and side.attr == "name" for side in (node.left, *node.comparators))
            if constants & (names if of_a_name else names - HOMONYMS):
                yield node
        elif isinstance(node, ast.Dict):
            keys = {key.value for key in node.keys if isinstance(key, ast.Constant)}
            if len(keys) > 1 and len(keys) == len(node.keys) and any(keys <= known for known in kinds.values()):
                yield node
        elif isinstance(node, ast.IfExp) and isinstance(node.body, ast.Constant) and isinstance(node.orelse, ast.Constant):
            if any({node.body.value, node.orelse.value} <= known for known in kinds.values()):
                yield node
        elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in {"build", "parse", "find", "model_validate"}:
            if any(isinstance(given, ast.Constant) and given.value in names for given in node.args):
                yield node
        elif isinstance(node, ast.MatchValue) and isinstance(node.value, ast.Constant) and node.value.value in names - HOMONYMS:
            yield node


@pytest.mark.parametrize(
    ("code", "branches"),
    [
        ("task.name == 'tag'", True),
        ("'head' != method.name", True),
        ("'int8' in chain", True),
        ("name in {'lora', 'dora'}", True),
        ("{'classify': 1, 'tag': 2}[name]", True),
        ("build(Method, 'head')", True),
        ("part.find('methods', 'full')", True),
        ("method = 'full' if deep else 'top_layers'", True),
        ("match name:\n    case 'embed':\n        pass", True),
        ("column.type == 'text'", False),
        ("{'text': 1, 'label': 2}", False),
        ("text.find('head of')", False),
        ("edit.kind == 'head'", False),
    ],
)
def test_the_guard_sees_what_goes_by_the_name_of_a_part(code: str, branches: bool) -> None:
    assert bool(list(_branches(ast.parse(code)))) == branches


def test_nothing_branches_on_the_name_of_a_part() -> None:
    found = [f"{path}:{getattr(node, 'lineno', 0)} {ast.unparse(node)}" for path, tree in _trees().items() for node in _branches(tree)]
    assert not found, f"Ask the part; never go by its name: {found}"


def test_no_room_of_parts_is_entered_from_outside() -> None:
    """A module of a room is imported by its room alone; everything else finds parts by their kind."""
    found = [
        f"{path}: {module}"
        for path, tree in _trees().items()
        for module in sorted(_imported(tree))
        if (room := module.split(".")[1]) in KINDS and room != path.split("/")[0]
    ]
    assert not found, f"Ask for the part by its kind, or move what is shared below the rooms: {found}"


def _imported(tree: ast.Module) -> set[str]:
    """Every module or member of ours that a module imports, also inside functions."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name for name in names if name.startswith("vertune.") and name.count(".") > 1}


def test_only_encoders_know_the_arrays_of_a_text() -> None:
    names = re.compile(r"\b(input_ids|attention_mask|token_type_ids)\b")
    owners = ("encoders/", "exports/")  # exports write the inputs of other libraries
    found = [path for path in _trees() if not path.startswith(owners) and names.search((SOURCE / path).read_text(encoding="utf-8"))]
    assert not found, f"Ask the encoder for its arrays: {found}"


def test_nothing_guesses_at_an_encoder() -> None:
    found = [
        f"{path}:{node.lineno}"
        for path, tree in _trees().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"getattr", "hasattr"}
        and "encoder" in ast.unparse(node.args[0])
    ]
    assert not found, f"Declare it in core/kinds.py, with a default: {found}"


def _unsafe_readings(tree: ast.Module) -> Iterator[str]:
    """Calls that read content in a way that damages some of it, or that trust its size."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "splitlines":
            yield f"{node.lineno} splitlines"
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        name, options = node.func.attr, {option.arg: option.value for option in node.keywords}
        if ast.unparse(node.func) in {"yaml.load", "yaml.load_all", "yaml.safe_load", "yaml.safe_load_all", "yaml.full_load"}:
            yield f"{node.lineno} {ast.unparse(node.func)}"
        if re.fullmatch(r"(read|scan)_(parquet|csv|ndjson|ipc)", name) and ast.unparse(options.get("glob", ast.Constant(True))) != "False":
            yield f"{node.lineno} {name} without glob=False"


@pytest.mark.parametrize(
    ("code", "unsafe"),
    [
        ("text.splitlines()", True),
        ("list(map(str.splitlines, texts))", True),
        ("yaml.safe_load(text)", True),
        ("pl.read_parquet(path)", True),
        ("pl.scan_csv(path, glob=True)", True),
        ("pl.read_parquet(path, glob=False)", False),
        ("lines(text)", False),
        ("yaml.safe_dump(value)", False),
    ],
)
def test_the_guard_sees_unsafe_readings(code: str, unsafe: bool) -> None:
    assert bool(list(_unsafe_readings(ast.parse(code)))) == unsafe


def test_content_is_read_without_damage() -> None:
    """str.splitlines cuts lines at U+2028 and form feeds, Polars takes `[` in a path for a pattern, and YAML may stand for gigabytes."""
    owners = {
        "core/bounded_yaml.py": {"yaml.load"},  # the one place that reads YAML of users, within limits
        "reports/words.py": {"yaml.safe_load"},  # a file of the package
        "steps/init/written.py": {"yaml.safe_load"},  # what it is about to write
    }
    found = [
        f"{path}:{reading}"
        for path, tree in _trees().items()
        for reading in _unsafe_readings(tree)
        if reading.partition(" ")[2] not in owners.get(path, ())
    ]
    assert not found, f"Use core/documents.py, core/bounded_yaml.py, or glob=False: {found}"


def test_layers() -> None:
    tool = Path(sys.executable).with_name("lint-imports")
    path = os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [str(tool), "--no-cache"], capture_output=True, text=True, cwd=ROOT, timeout=120, env={**os.environ, "PYTHONPATH": path}
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Imports for annotations included: two modules that need each other's types are one module, or three."""
    graph = grimp.build_graph("vertune", exclude_type_checking_imports=False, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    imports["vertune"] -= {"vertune.api"}  # when first asked for: reading the version imports nothing
    assert not _circle(imports)


def test_a_circle_is_seen() -> None:
    assert _circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"c"}}) == {"b", "c"}
    assert not _circle({"a": {"b", "c"}, "b": {"c"}, "c": set()})


def _circle(imports: dict[str, set[str]]) -> set[str]:
    """The modules on circles, or between two of them: what remains when modules that import or are imported by none of the rest go."""
    left = dict(imports)
    while left:
        imported = set().union(*left.values())
        ends = {module for module, targets in left.items() if not targets & left.keys() or module not in imported}
        if not ends:
            break
        left = {module: targets for module, targets in left.items() if module not in ends}
    return set(left)


def test_sections_of_the_config_are_small() -> None:
    from vertune.core import config

    sections = [value for value in vars(config).values() if isinstance(value, type) and issubclass(value, config.Section)]
    sections.remove(config.Config)  # it has one field for each section
    assert not {section.__name__: len(section.model_fields) for section in sections if len(section.model_fields) > 12}


@pytest.mark.parametrize(("folder", "name"), PARTS)
def test_part_is_described(folder: str, name: str) -> None:
    found = part.find(folder, name)
    assert found.folder == folder
    assert part.about(folder, name), "the first line of the module's docstring is the help"
    assert not [option for option, info in found.model_fields.items() if not (info.description or "").strip()]
    assert found.model_json_schema()["type"] == "object"


@pytest.mark.parametrize(("folder", "name"), PARTS)
def test_part_rebuilds_from_what_it_dumps(folder: str, name: str) -> None:
    found = part.find(folder, name)
    if any(info.is_required() for info in found.model_fields.values()):
        pytest.skip("has options without a default")
    kind = next(base for base in found.__mro__ if issubclass(base, part.Part) and base.is_kind())
    one = found()
    assert kind.model_validate(one.model_dump(mode="json")) == one


def test_core_is_light() -> None:
    modules = [f"vertune.core.{file.stem}" for file in (SOURCE / "core").glob("[a-z]*.py")]
    loaded = _loaded("\n".join(f"import {name}" for name in modules))
    assert not loaded & {*HEAVY, "typer", "polars"}


def test_listing_all_parts_is_light() -> None:
    loaded = _loaded("from vertune.core import part\n" + "\n".join(f"part.find({folder!r}, {name!r})" for folder, name in PARTS))
    assert not loaded & set(HEAVY)


def test_the_command_line_starts_light() -> None:
    assert not _loaded("import vertune.cli") & {*HEAVY, "polars"}
