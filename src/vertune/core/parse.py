"""Parses user input into a pydantic model, with error messages that name the wrong field; independent of any particular model."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from vertune.core.errors import ConfigError

Model = TypeVar("Model", bound=BaseModel)


def build(model: type[Model], value: Any, owner: str = "") -> Model:
    """Build a pydantic model from a mapping; if fields are wrong, raise one ConfigError that names all of them.

    The error's message begins with `owner`, such as `method 'lora'`, if that is given.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        prefix = f"{owner}: " if owner else ""
        raise ConfigError(prefix + " ".join(_sentence(model, item) for item in error.errors())) from error


def _sentence(model: type[BaseModel], error: Any) -> str:
    """Return a message for one pydantic validation error: what is wrong and what to do."""
    path = [str(step) for step in error["loc"]]
    field = ".".join(path) or "the config"
    if error["type"] == "extra_forbidden":
        section = _section(model, path[:-1])
        options = sorted(section.model_fields) if section else []
        near = difflib.get_close_matches(path[-1], options, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        return f"There is no option '{field}'.{hint} " + (f"Choose from: {', '.join(options)}." if options else "Remove it.")
    if error["type"] == "missing":
        return f"'{field}' is missing. It has no default, so set it in the config."
    reason = error["msg"].removeprefix("Value error, ").rstrip(".")
    return f"'{field}' is {error['input']!r}, but {reason[0].lower()}{reason[1:]}. Correct it."


def _section(model: type[BaseModel], path: Sequence[str]) -> type[BaseModel] | None:
    """Return the pydantic model that checks the options at a path of field names inside `model`.

    Steps that are not field names, such as list indices, are skipped. Returns None if a field on the path has no pydantic model.
    """
    section: type[BaseModel] | None = model
    for step in path:
        info = section.model_fields.get(step) if section else None
        section = next((kind for kind in _classes(info.annotation) if issubclass(kind, BaseModel)), None) if info else section
    return section


def _classes(annotation: Any) -> Iterator[type]:
    """Yield every class in a type annotation, including those in its type arguments."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _classes(inner)
