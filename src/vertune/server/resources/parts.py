"""`/v1/parts`: the components that the config of a job can choose, with the schema of their options; does not depend on what they do."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from vertune.core.catalogue import KINDS, described, listed
from vertune.server.resource import Resource

resource = Resource("parts")


class PartName(BaseModel):
    """A component, such as a task or a method."""

    name: str
    about: str
    """The first line of its help text."""


class KindInfo(BaseModel):
    """A kind of components."""

    folder: str
    key: str
    """The key of a config that chooses one; empty if no config chooses one."""
    parts: list[PartName]


class PartList(BaseModel):
    """All components by kind, in the order of the life of a model."""

    kinds: list[KindInfo]


class PartInfo(BaseModel):
    """A component with its options."""

    folder: str
    name: str
    help: str
    """What it is, and where it comes from."""
    options: dict[str, Any] = Field(serialization_alias="schema")
    """The JSON schema of its options, with a description and the default of each."""


@resource.get("/v1/parts", scope="train")
def list_parts() -> PartList:
    """List the components that a config can choose, such as tasks and methods, those of installed packages included."""
    kinds = [
        KindInfo(folder=folder, key=key, parts=[PartName(name=name, about=about) for name, about in listed(folder)])
        for folder, key in KINDS.items()
    ]
    return PartList(kinds=kinds)


@resource.get("/v1/parts/{folder}/{name}", scope="train")
def describe_part(folder: str, name: str) -> PartInfo:
    """Describe a component with its options, from which a form can be made."""
    help, options = described(folder, name)
    return PartInfo(folder=folder, name=name, help=help, options=options)
