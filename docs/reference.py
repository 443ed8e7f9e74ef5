"""Writes the reference pages from the code: parts, commands, config, errors, REST; knows nothing of any one part."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from vertune.core import errors, kinds, part
from vertune.core.config import Config, Section
from vertune.core.errors import ConfigError, VertuneError

BASE = "minilm"
_SIGNS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def pages(quick: bool = False) -> dict[str, str]:
    """Every reference page by its name; `quick` leaves out the tables that need torch."""
    found = {folder: _kind_page(kind) for folder, kind in part_kinds().items()}
    found |= {"commands": commands(), "config": config(), "errors": error_table(), "rest": rest()}
    if not quick:
        found["matrix"] = matrix()
    return found


def part_kinds() -> dict[str, type[part.Part]]:
    """Every kind of part that has parts, by its folder."""
    classes = [
        value for value in vars(kinds).values() if inspect.isclass(value) and issubclass(value, part.Part) and value is not part.Part
    ]
    return {kind.folder: kind for kind in classes if kind.is_kind() and kind.folder and part.names(kind.folder)}


# ── parts ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _kind_page(kind: type[part.Part]) -> str:
    """One kind with its parts."""
    folder = kind.folder
    lines = [f"# {folder.capitalize()}", "", _paragraph(kind), "", f"[Add one](../add/{kind.__name__.lower()}.md)", ""]
    for name in part.names(folder):
        lines += [f"## {name}", "", part.about(folder, name), ""]
        lines += [*_columns(name), ""] if folder == "tasks" else []
        lines += [*options(part.find(folder, name).model_json_schema()), ""]
    return "\n".join(lines)


def _paragraph(value: Any) -> str:
    return " ".join((inspect.getdoc(value) or "").split("\n\n")[0].split())


def options(schema: dict[str, Any]) -> list[str]:
    """The options of a JSON schema as a table."""
    fields = schema.get("properties", {})
    definitions = schema.get("$defs", {})
    required = schema.get("required", [])
    rows = [
        [f"`{name}`", _type(entry, definitions), "required" if name in required else _default(entry), _description(entry, definitions)]
        for name, entry in fields.items()
    ]
    return table(["option", "type", "default", "what it does"], rows) if rows else ["No options."]


def _type(entry: dict[str, Any], definitions: dict[str, Any]) -> str:
    """The type of an option, with its bounds."""
    if "$ref" in entry:
        name = entry["$ref"].rpartition("/")[2]
        inner = definitions.get(name, {})
        pages = {kind.__name__: folder for folder, kind in part_kinds().items()}
        linked = f"[{name}]({pages[name]}.md)" if name in pages else name
        return linked if inner.get("type") == "object" else _type(inner, definitions)
    if "anyOf" in entry:
        return " or ".join(dict.fromkeys(_type(item, definitions) for item in entry["anyOf"]))
    if "enum" in entry:
        return ", ".join(f"`{value}`" for value in entry["enum"])
    if "const" in entry:
        return f"`{entry['const']}`"
    if entry.get("type") == "array":
        return f"list of {_type(entry.get('items', {}), definitions)}"
    return " ".join([entry.get("type", "any"), *(f"{sign} {entry[key]:g}" for key, sign in _SIGNS.items() if key in entry)])


def _description(entry: dict[str, Any], definitions: dict[str, Any]) -> str:
    """What an option does; one that is a section or a part has the description of its class."""
    inner = definitions.get(entry.get("$ref", "").rpartition("/")[2], {})
    return str(entry.get("description") or inner.get("description", "").split("\n\n")[0])


def _default(entry: dict[str, Any]) -> str:
    """The default of an option; a section has those of its own options."""
    default = entry.get("default")
    return "none" if default is None else "see its section" if isinstance(default, dict) and default else f"`{default}`"


def _columns(name: str) -> list[str]:
    """The fields of a task's records and answers."""
    task: Any = part.find("tasks", name)
    records = [[f"`{item.name}`", item.role, item.type, "yes" if item.required else "no", item.about] for item in task.columns]
    answers = [[f"`{key}`", str(getattr(kind, "__forward_arg__", kind))] for key, kind in task.answer.__annotations__.items()]
    return [
        *table(["field of a record", "role", "type", "required", "what it is"], records),
        "",
        *table(["field of an answer", "type"], answers),
        "",
        f"Metrics: {', '.join(f'`{metric}`' for metric in task.metrics)}. The first one is the default.",
    ]


# ── config, errors ───────────────────────────────────────────────────────────────────────────────────────────────────


def config() -> str:
    """Every section of run.yaml."""
    lines = [
        "# run.yaml", "",
        "One YAML file describes a vertical. Unknown fields are refused. Any value can be set for one run: `--set method.rank=16`. The "
        "resolved config of a run is in the manifest of its artifacts and runs again as it is.", "",
        "## Top level", "", *options(Config.model_json_schema()), "",
    ]  # fmt: skip
    for path, section in _sections(Config, ""):
        lines += [f"## {path}", "", _paragraph(section), "", *options(section.model_json_schema()), ""]
    return "\n".join(lines)


def _sections(owner: type[Section], prefix: str) -> Iterator[tuple[str, type[Section]]]:
    """Each section below a section, with its path."""
    for name, field in owner.model_fields.items():
        if inspect.isclass(field.annotation) and issubclass(field.annotation, Section):
            yield f"{prefix}{name}", field.annotation
            yield from _sections(field.annotation, f"{prefix}{name}.")


def error_table() -> str:
    """Every error class with its exit code and status."""
    classes = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, VertuneError)]
    classes.sort(key=lambda kind: (kind.exit_code, len(kind.__mro__)))
    rows = [[f"`{kind.__name__}`", str(kind.exit_code), str(kind.http_status), _paragraph(kind)] for kind in classes]
    return "\n".join([
        "# Errors", "",
        "Every error that vertune raises on purpose derives from `VertuneError` (`vertune.core.errors`). The command line ends with the "
        "exit code; the server answers with the status, as `application/problem+json`. Two statuses depend on the case: `AccessError` is "
        "401 if the key is unknown, `Busy` is 429 if the client itself sends too much.", "",
        *table(["class", "exit code", "HTTP status", "meaning"], rows), "",
        "Any other exception is a bug: the command line ends with 1, the server answers 500.", "",
    ])  # fmt: skip


# ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def commands() -> str:
    """Every command with its arguments and options."""
    from typer.main import get_command

    from vertune.cli import application

    group: Any = get_command(application())
    lines = ["# Commands", "", "Every command also takes `--help` and, for a bug report, `--debug`.", ""]
    for name, command in group.commands.items():
        lines += _command(f"vertune {name}", command, "##")
        for verb, inner in getattr(command, "commands", {}).items():
            lines += _command(f"vertune {name} {verb}", inner, "###")
    return "\n".join(lines)


def _command(name: str, command: Any, level: str) -> list[str]:
    parameters = [item for item in command.params if item.name != "help"]
    rows = [[_parameter(item), item.help or "", _parameter_default(item)] for item in parameters if not getattr(item, "hidden", False)]
    about = " ".join((command.help or "").split())
    return [f"{level} {name}", "", about, "", *(table(["argument or option", "what it does", "default"], rows) if rows else []), ""]


def _parameter(item: Any) -> str:
    """An argument as it is typed, or an option with its value."""
    if item.param_type_name == "argument":
        return f"`{(item.metavar or item.name.upper()).replace('[', '').replace(']', '')}`"
    value = "" if item.is_flag else f" {item.metavar or item.name.upper()}"
    return f"`{', '.join(item.opts)}{value}`"


def _parameter_default(item: Any) -> str:
    """What holds if nothing is given."""
    if item.required:
        return "required"
    shown = item.show_default if isinstance(item.show_default, str) else item.default
    return str(shown) if shown not in (None, False, (), []) else ""


# ── REST ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def rest() -> str:
    """Every request of the server, from its OpenAPI document."""
    document = openapi()
    lines = [
        "# REST", "",
        "Requests and answers are JSON. A key is sent as `Authorization: Bearer vt_…`. Errors are `application/problem+json` "
        "([table](errors.md)). A running server shows the same at `/docs`, where requests can be tried, and at `/openapi.json`.", "",
    ]  # fmt: skip
    for path, methods in document["paths"].items():
        for verb, operation in methods.items():
            lines += _operation(f"{verb.upper()} {path}", operation)
    lines += ["## Schemas", ""]
    for name, schema in document["components"]["schemas"].items():
        lines += [f"### {name}", "", *([" ".join(schema["description"].split()), ""] if "description" in schema else [])]
        lines += [*options({**schema, "$defs": document["components"]["schemas"]}), ""]
    return "\n".join(lines)


def _operation(name: str, operation: dict[str, Any]) -> list[str]:
    """One request: what it does, its parameters, its body, its answers."""
    lines = [f"## {name}", "", " ".join(operation.get("description", operation.get("summary", "")).split()), ""]
    parameters = [
        [f"`{item['name']}`", item["in"], "yes" if item.get("required") else "no", item.get("description", "")]
        for item in operation.get("parameters", [])
    ]
    if parameters:
        lines += [*table(["parameter", "in", "required", "what it is"], parameters), ""]
    if "requestBody" in operation:
        lines += [f"Body: {_content(operation['requestBody'])}", ""]
    answers = [[status, _content(answer), answer.get("description", "")] for status, answer in operation["responses"].items()]
    return [*lines, *table(["status", "body", "meaning"], answers), ""]


def _content(value: dict[str, Any]) -> str:
    """The schemas of a body, linked to their tables."""
    schemas = [content.get("schema", {}) for content in value.get("content", {}).values()]
    names = [item["$ref"].rpartition("/")[2] for schema in schemas for item in (schema, *schema.get("anyOf", [])) if "$ref" in item]
    return ", ".join(f"[{name}](#{name.lower()})" for name in names) or ", ".join(value.get("content", {})) or "–"


def openapi() -> dict[str, Any]:
    """The OpenAPI document of a server with keys."""
    from vertune.server.application import openapi_document
    from vertune.server.discovery import find_routes

    return openapi_document(find_routes(), open=False)


# ── what each method changes ─────────────────────────────────────────────────────────────────────────────────────────


def matrix() -> str:
    """Methods by tasks on the embedded base, and by families on tiny ones."""
    from vertune.encoders.text import Text
    from vertune.testing.tiny import FAMILIES, write

    methods, tasks = part.names("methods"), part.names("tasks")
    base = Text(base=BASE)
    lines = ["# Methods, tasks and families", "", f"## On `{BASE}`", "", "Trained parameters / size of the delta on disk.", ""]
    lines += table(["method", *tasks], _grid(methods, tasks, lambda method, task: _trained(base, _fitted(task), method)))
    with tempfile.TemporaryDirectory() as folder:
        bases = {family: Text(base=str(write(family, Path(folder) / family))) for family in FAMILIES}
        task = _fitted("classify")
        lines += ["", "## On each family", "", "Tiny models with random weights, task `classify`.", ""]
        lines += table(
            ["method", *bases], _grid(methods, list(bases), lambda method, family: _verdict(_trained(bases[family], task, method)))
        )
    return "\n".join([*lines, ""])


def _fitted(name: str) -> Any:
    """A task that has learnt from its own example."""
    import polars as pl

    task: Any = part.find("tasks", name)()
    return task.fit(task.clean(pl.DataFrame(task.example())).frame)


def _trained(encoder: Any, task: Any, name: str) -> str:
    """What a method trains and stores on a base, or why it refuses."""
    from vertune.nn.build import build, trainable

    method: Any = part.find("methods", name)()
    try:
        model = build(encoder, task)
        method.prepare(model, task, 100)
    except ConfigError as error:
        return f"refused: {error}"
    count = sum(parameter.numel() for parameter in trainable(model).values())
    size = sum(tensor.numel() * tensor.element_size() for edit in method.edits(model) for tensor in edit.tensors.values())
    return f"{count:,} / {size / 1e6:.2f} MB"


def _verdict(result: str) -> str:
    return result if result.startswith("refused") else "works"


def _grid(rows: list[str], columns: list[str], cell: Callable[[str, str], str]) -> list[list[str]]:
    return [[f"`{row}`", *(cell(row, column) for column in columns)] for row in rows]


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines]
