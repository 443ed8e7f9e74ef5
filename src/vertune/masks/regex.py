"""Finds what a regular expression of the config describes, such as the numbers of a company's contracts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from typing import ClassVar, Self

from pydantic import Field, model_validator

from vertune.core.errors import ConfigError
from vertune.core.kinds import Mask


class Regex(Mask):
    """Mask of whatever a regular expression finds; the fields below are its options."""

    label: ClassVar[str] = "PATTERN"
    kind: str = Field(default="PATTERN", pattern=r"^[A-Z][A-Z_]{0,30}$")
    """What the placeholder is called, in capital letters, such as `CONTRACT`."""
    expression: str = Field(default=r"CT-\d{6,10}", min_length=1, max_length=1000)
    """A regular expression of Python. If it has a group, only what the first group finds is masked."""

    @model_validator(mode="after")
    def _compiled(self) -> Self:
        try:
            empty = re.compile(self.expression).match("")
        except re.error as error:
            raise ConfigError(
                f"The expression '{self.expression}' of the mask '{self.name}' can't be read: {error}. Expected a regular expression of "
                "Python; in YAML, write it between single quotes."
            ) from error
        if empty:
            raise ConfigError(
                f"The expression '{self.expression}' of the mask '{self.name}' also finds an empty text, so it would mask between "
                "any two characters. Let it ask for at least one character, with + instead of *."
            )
        return self

    @property
    def shown(self) -> str:
        """What the placeholder is called."""
        return self.kind

    @cached_property
    def _expression(self) -> re.Pattern[str]:
        return re.compile(self.expression)

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield the places that the expression finds."""
        group = min(1, self._expression.groups)
        return (match.span(group) for match in self._expression.finditer(text) if match.end(group) > match.start(group) >= 0)

    def examples(self) -> tuple[tuple[str, str], ...]:
        """Return a text for the default expression."""
        return (("my contract CT-1234567 ends", "CT-1234567"),) if self.expression == type(self)().expression else ()
