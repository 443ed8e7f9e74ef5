"""Builds the pages about parts from the parts, into docs/_built; knows nothing of any one part.

    python docs/build.py           every page
    python docs/build.py --quick   without the tables that need torch

What a part is, which options it has and what they mean stands in the part alone; these pages are never committed.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vertune.core import part
from vertune.core.errors import ConfigError

OUT = Path(__file__).resolve().parent / "_built"
KINDS = {
    "sources": "Where records come from",
    "cleaners": "What is done to rows before the task checks them",
    "splits": "How records are divided",
    "augmenters": "How additional training rows are made",
    "encoders": "How fields become states",
    "tasks": "What is asked for",
    "methods": "Which weights move",
    "compressors": "Ways to shrink a model",
    "exports": "Forms for other software",
}
BASE = "minilm"


def options(folder: str, name: str) -> list[str]:
    """The options of a part as a table."""
    schema = part.find(folder, name).model_json_schema()
    fields = schema.get("properties", {})
    if not fields:
        return ["No options."]
    rows = [
        [f"`{option}`", _type(entry, schema.get("$defs", {})), _default(option, entry, schema), entry.get("description", "")]
        for option, entry in fields.items()
    ]
    return table(["option", "type", "default", "what it does"], rows)


def _type(entry: dict[str, Any], known: dict[str, Any]) -> str:
    """The type of an option, with its bounds."""
    if "$ref" in entry:
        return _type(known[entry["$ref"].rpartition("/")[2]], known)
    if "anyOf" in entry:
        return " or ".join(dict.fromkeys(_type(item, known) for item in entry["anyOf"]))
    if "enum" in entry:
        return ", ".join(f"`{value}`" for value in entry["enum"])
    if "const" in entry:
        return f"`{entry['const']}`"
    if entry.get("type") == "array":
        return f"list of {_type(entry.get('items', {}), known)}"
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    return " ".join([entry.get("type", "any"), *(f"{sign} {entry[key]:g}" for key, sign in signs.items() if key in entry)])


def _default(option: str, entry: dict[str, Any], schema: dict[str, Any]) -> str:
    return "must be said" if option in schema.get("required", []) else f"`{entry.get('default')}`"


def columns(name: str) -> list[str]:
    """The schema of a task's records and answers."""
    task: Any = part.find("tasks", name)
    records = [[f"`{item.name}`", item.role, item.type, "yes" if item.required else "no", item.about] for item in task.columns]
    answers = [[f"`{key}`", str(kind).removeprefix("<class '").removesuffix("'>")] for key, kind in task.answer.__annotations__.items()]
    return [
        *table(["record field", "role", "type", "required", "what it is"], records),
        "",
        *table(["answer field", "type"], answers),
        "",
        f"Metrics: {', '.join(f'`{metric}`' for metric in task.metrics)}; the first one is the task's own.",
    ]


def page(folder: str, about: str) -> str:
    """One kind with its parts."""
    lines = [f"# {folder}: {about}", "", f"[Add one](../add/{folder.removesuffix('s')}.md)", ""]
    for name in part.names(folder):
        lines += [f"## {name}", "", part.about(folder, name), ""]
        lines += [*columns(name), ""] if folder == "tasks" else []
        lines += [*options(folder, name), ""]
    return "\n".join(lines)


def table(header: list[str], rows: list[list[str]]) -> list[str]:
    """A Markdown table."""
    cells = [header, ["---"] * len(header), *rows]
    return ["| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in cells]


# ── what each method moves ───────────────────────────────────────────────────────────────────────────────────────────


def fitted(name: str) -> Any:
    """A task that has seen its own example."""
    import polars as pl

    task: Any = part.find("tasks", name)()
    return task.fit(task.clean(pl.DataFrame(task.example())).frame)


def moved(encoder: Any, task: Any, name: str) -> str:
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


def matrix() -> str:
    """Methods by tasks on the embedded base, and by families on tiny ones."""
    from vertune.encoders.text import Text
    from vertune.testing.tiny import FAMILIES, write

    names, tasks = part.names("methods"), part.names("tasks")
    base = Text(base=BASE)
    lines = ["# Methods × tasks × families", "", f"## On `{BASE}`", "", "Trained parameters / size of the delta on disk.", ""]
    lines += table(["method", *tasks], _grid(names, tasks, lambda method, task: moved(base, fitted(task), method)))
    with tempfile.TemporaryDirectory() as folder:
        bases = {family: Text(base=str(write(family, Path(folder) / family))) for family in FAMILIES}
        task = fitted("classify")
        lines += ["", "## On each family", "", "Tiny random configurations, `classify`: whether a method works, or why not.", ""]
        lines += table(["method", *bases], _grid(names, list(bases), lambda method, family: _verdict(moved(bases[family], task, method))))
    return "\n".join([*lines, ""])


def _grid(rows: list[str], columns: list[str], cell: Callable[[str, str], str]) -> list[list[str]]:
    return [[f"`{row}`", *(cell(row, column) for column in columns)] for row in rows]


def _verdict(said: str) -> str:
    return said if said.startswith("refused") else "works"


def main() -> None:
    """Write the pages."""
    pages = {folder: page(folder, about) for folder, about in KINDS.items()}
    if "--quick" not in sys.argv[1:]:
        pages["matrix"] = matrix()
    OUT.mkdir(exist_ok=True)
    listed = [f"- [{name}]({name}.md): {KINDS.get(name, 'what each method moves, and what is refused')}" for name in pages]
    pages["index"] = "\n".join(["# Parts", "", *listed, ""])
    for name, text in pages.items():
        (OUT / f"{name}.md").write_text(text, encoding="utf-8")
    print(f"{len(pages)} pages in {OUT}, start with {OUT / 'index.md'}")


if __name__ == "__main__":
    main()
