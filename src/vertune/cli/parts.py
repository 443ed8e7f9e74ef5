"""`vertune parts`: lists the components (such as tasks or methods) that a config can choose, and their options.

In the code, these components are called parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from vertune.cli import output
from vertune.core.catalogue import KINDS

if TYPE_CHECKING:
    from vertune.core.part import Part

PANEL = ("Look around", 1)


def run(
    kind: Annotated[str | None, typer.Argument(metavar="KIND", help=f"One of: {', '.join(KINDS)}.", show_default="all")] = None,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The component whose options are shown.")] = None,
) -> None:
    """List the components that a config can choose."""
    from vertune.core import part
    from vertune.core.catalogue import listed
    from vertune.core.errors import UnknownName

    if kind is not None and kind not in KINDS:
        raise UnknownName("kind of part", kind, KINDS)
    if kind is not None and name is not None:
        _options(part.find(kind, name), kind)
        return
    for number, folder in enumerate([kind] if kind else KINDS):
        if number:
            output.say()
        output.say(folder + (f"  ({KINDS[folder]}: …)" if KINDS[folder] else ""), "bold")
        parts = listed(folder)
        width = max((len(part_name) for part_name, _ in parts), default=0)
        for part_name, about in parts:
            output.say(f"  {part_name:<{width}}  {about}")
    output.next_steps("vertune parts KIND NAME" if kind is None else f"vertune parts {kind} NAME")


def _options(cls: type[Part], kind: str) -> None:
    """Print the options of a component: their names, types, defaults and descriptions."""
    from vertune.core import part

    name = cls.__module__.rpartition(".")[2]
    output.say(f"{name}: {part.about(kind, name)}", "bold")
    schema = cls.model_json_schema()
    fields = schema.get("properties", {})
    if not fields:
        output.say("It has no options.")
        return
    rows = [
        [option, _type(entry, schema.get("$defs", {})), _default(option, entry, schema), entry.get("description", "").replace("\n", " ")]
        for option, entry in fields.items()
    ]
    output.table(["option", "type", "default", "description"], rows)


def _type(entry: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Describe the type and the bounds of an option in words.

    `entry` is the JSON schema of the option; `definitions` contains other schemas, to which `entry` refers by name.
    """
    if "$ref" in entry:
        return _type(definitions.get(entry["$ref"].rpartition("/")[2], {}), definitions)
    if "anyOf" in entry:
        return " or ".join(dict.fromkeys(_type(item, definitions) for item in entry["anyOf"]))
    if "enum" in entry:
        return " | ".join(map(str, entry["enum"]))
    if "const" in entry:
        return str(entry["const"])
    if entry.get("type") == "array":
        return f"list of {_type(entry.get('items', {}), definitions)}"
    bounds = [f"{sign} {entry[key]:g}" for key, sign in _BOUNDS.items() if key in entry]
    return " ".join([_TYPES.get(entry.get("type", ""), entry.get("type", "any")), *bounds])


def _default(option: str, entry: dict[str, Any], schema: dict[str, Any]) -> str:
    """Return the default of an option as text; "(required)" if the option has no default.

    `entry` is the JSON schema of the option, `schema` that of the component.
    """
    if option in schema.get("required", []):
        return "(required)"
    value = entry.get("default")
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
_TYPES = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false", "object": "mapping", "null": "none"}
