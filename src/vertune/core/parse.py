"""Parses what a person wrote into a pydantic model, with errors that name the field; knows nothing of any model."""

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
    """Parse a mapping; a ConfigError names the field and the nearest name that there is."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        prefix = f"{owner}: " if owner else ""
        raise ConfigError(prefix + "; ".join(_phrase(model, item) for item in error.errors()) + ".") from error


def _phrase(model: type[BaseModel], error: Any) -> str:
    """One validation error as one sentence."""
    place = [str(step) for step in error["loc"]]
    field = ".".join(place) or "the config"
    if error["type"] == "extra_forbidden":
        owner = _owner(model, place[:-1])
        known = sorted(owner.model_fields) if owner else []
        near = difflib.get_close_matches(place[-1], known, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        return f"There is no option '{field}'.{hint} Known here: {', '.join(known) or 'none'}"
    if error["type"] == "missing":
        return f"'{field}' is missing: the config must say it"
    return f"'{field}' is {error['input']!r}, but {error['msg'][0].lower()}{error['msg'][1:]}"


def _owner(model: type[BaseModel], place: Sequence[str]) -> type[BaseModel] | None:
    """The section of the config that holds the field at this place."""
    owner: type[BaseModel] | None = model
    for step in place:
        info = owner.model_fields.get(step) if owner else None
        owner = next((kind for kind in _classes(info.annotation) if issubclass(kind, BaseModel)), None) if info else owner
    return owner


def _classes(annotation: Any) -> Iterator[type]:
    """Every class that an annotation names."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        yield annotation
    for inner in typing.get_args(annotation):
        yield from _classes(inner)
