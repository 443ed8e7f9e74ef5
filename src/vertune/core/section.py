"""The base class of each group of options in the config, such as `training`; independent of what the options are."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Section(BaseModel):
    """Base class of each group of options in the config, such as `training`; unknown options are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _name_defaults(cls, value: Any) -> Any:
        """Where options of a part are set without its name, as in `encoder: {max_tokens: 16}`, add the name of the default part."""
        if not isinstance(value, dict):
            return value
        unnamed = {
            key: {"name": field.default, **value[key]}
            for key, field in cls.model_fields.items()
            if field.validate_default and isinstance(field.default, str) and isinstance(value.get(key), dict) and "name" not in value[key]
        }
        return {**value, **unnamed}
