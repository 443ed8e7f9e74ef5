"""The base class of parts (pluggable components), and functions that find a part by its name; independent of what parts do.

A part is a frozen pydantic model: its fields are its options, its name is the name of its file, and its help text is the
docstring of its module. A kind of part, such as `Method`, has a folder, such as `vertune/methods/`, in which every module defines
one part. Other packages add parts with entry points in the group `vertune.<folder>`. Finding a part imports only its module.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, model_serializer, model_validator

from vertune.core.errors import ConfigError, UnknownName
from vertune.core.parse import build


class Part(BaseModel):
    """Base class of pluggable components.

    A subclass that sets `folder`, such as `Method`, is a kind of component. The subclasses of a kind, such as `Lora`, are the components.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, defer_build=True)

    folder: ClassVar[str] = ""
    """Name of the folder, in the package `vertune`, that contains the parts (components) of this kind."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Turn off pydantic's search for descriptions of options in the source code if every option already has a description.

        The search reads the docstring below each option; it is slow.
        """
        super().__init_subclass__(**options)
        declared = {name for name, kind in inspect.get_annotations(cls).items() if "ClassVar" not in str(kind)}
        cls.model_config["use_attribute_docstrings"] = any(not getattr(cls.__dict__.get(name), "description", None) for name in declared)

    @classmethod
    def is_kind(cls) -> bool:
        """Return whether this class is a kind of component (such as `Method`) and not one component (such as `Lora`)."""
        return "folder" in cls.__dict__

    @property
    def name(self) -> str:
        """The name of this component, which is the name of its file without `.py`."""
        return type(self).__module__.rpartition(".")[2]

    @model_validator(mode="wrap")
    @classmethod
    def _parse(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Convert `lora`, or a mapping such as `{name: lora, rank: 16}`, to the component with this name.

        On a kind of component, such as `Method`, the class of the component is found by the name. On one component, such as `Lora`, the
        name is ignored and the options are validated. Raises ConfigError if the value names no component of the kind.
        """
        if not cls.is_kind():
            if isinstance(value, dict) and "name" in value and "name" not in cls.model_fields:
                value = {key: item for key, item in value.items() if key != "name"}
            return handler(value)
        if isinstance(value, cls):
            return value
        options = {"name": value} if isinstance(value, str) else value
        if not isinstance(options, dict) or not isinstance(options.get("name"), str):
            raise ConfigError(
                f"{value!r} does not name one of the {cls.folder}. Write a name, or a mapping with 'name' and options. "
                f"Known: {', '.join(names(cls.folder))}."
            )
        part = find(cls.folder, options["name"])
        if not issubclass(part, cls):
            raise ConfigError(f"'{options['name']}' is not one of the {cls.folder}. Choose from: {', '.join(names(cls.folder))}.")
        return build(part, {key: item for key, item in options.items() if key != "name"}, f"{cls.__name__.lower()} '{options['name']}'")

    @model_serializer(mode="plain")
    def _dump(self) -> dict[str, Any]:
        """Return a mapping of the component's name and all options, from which `_parse` can rebuild it."""
        return {"name": self.name, **{field: getattr(self, field) for field in type(self).model_fields}}


@cache
def _modules(folder: str) -> dict[str, str]:
    """Return the module path of each component in a folder such as `methods`, by component name, without importing any module."""
    path = Path(__file__).resolve().parents[1] / folder
    modules = {
        module.name: f"vertune.{folder}.{module.name}" for module in pkgutil.iter_modules([str(path)]) if not module.name.startswith("_")
    }
    for entry in metadata.entry_points(group=f"vertune.{folder}"):
        modules.setdefault(entry.name, entry.value)
    return dict(sorted(modules.items()))


def names(folder: str) -> list[str]:
    """Return the sorted names of all components in a folder such as `methods`."""
    return list(_modules(folder))


@cache
def find(folder: str, name: str) -> type[Part]:
    """Return the class of the component with this name in a folder such as `methods`; raise UnknownName if there is none."""
    modules = _modules(folder)
    if name not in modules:
        raise UnknownName(re.sub("(ie)?s$", lambda end: "y" if end[1] else "", folder), name, modules)
    target, _, attribute = modules[name].partition(":")
    module = importlib.import_module(target)
    if attribute:
        part: type[Part] = getattr(module, attribute)
        return part
    parts = [
        value
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Part) and value.__module__ == module.__name__ and not value.__name__.startswith("_")
    ]
    if len(parts) != 1:
        raise ConfigError(
            f"The module {target} defines {len(parts)} public subclasses of Part; expected exactly one, the component. Define the "
            "component there, and move any other subclass to a module of its own."
        )
    return parts[0]


def having(folder: str, **attributes: Any) -> type[Part]:
    """Return the class of the first component in a folder such as `methods` whose class attributes have these values.

    The components of vertune are searched first, then those of other packages, each group in the order of the names. Raises ConfigError
    if no component has these values.
    """
    modules = _modules(folder)
    for name in sorted(modules, key=lambda name: not modules[name].startswith("vertune.")):
        kind = find(folder, name)
        if all(getattr(kind, attribute, None) == value for attribute, value in attributes.items()):
            return kind
    wanted = ", ".join(f"{attribute} = {value!r}" for attribute, value in attributes.items())
    raise ConfigError(f"None of the components in {folder} has {wanted}. Install a package that provides such a component.")


def about(folder: str, name: str) -> str:
    """Return the help text of a component: the first line of its module's docstring.

    The modules of vertune itself are read as text instead of imported.
    """
    target = _modules(folder).get(name, "")
    path = Path(__file__).resolve().parents[1] / folder
    for file in (path / f"{name}.py", path / name / "__init__.py"):
        if target.startswith(f"vertune.{folder}.") and file.exists():
            first = file.read_text(encoding="utf-8").lstrip().removeprefix('"""').split("\n", 1)[0]
            return first.strip().removesuffix('"""')
    return (inspect.getdoc(importlib.import_module(target.partition(":")[0])) or "").split("\n", 1)[0]
