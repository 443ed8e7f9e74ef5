"""The schema of behaviour tests, as in tests.yaml: what the models of a vertical must answer; independent of models.

The three types are those of Ribeiro et al. (2020, "Beyond Accuracy: Behavioral Testing of NLP Models with CheckList").
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, field_validator, model_validator

from vertune.core.bounded_yaml import read_yaml
from vertune.core.errors import ConfigError, NotFound
from vertune.core.parse import build
from vertune.core.section import Section

FILE = "tests.yaml"
"""Name of the file, beside run.yaml."""
_MOST_CASES = 5000

EditName = Literal["typos", "case", "names", "numbers", "punctuation", "spaces"]
"""An edit of a text that must not change the answer."""
Input = Annotated[str, Field(min_length=1, max_length=100_000)] | dict[str, Any]
"""A text, or the fields of a record by their names."""
_FORBIDDEN = {"minimum": ("to", "change"), "invariance": ("expect", "never", "change"), "direction": ("expect", "never")}
"""Options of a case that have no meaning in a test of each type."""


class Case(Section):
    """One input, and what must be true of the answer."""

    input: Input
    """The text, or the fields of the record."""
    expect: Any = None
    """The right answer: a label, a list of labels, a number, or spans such as [{text: Oslo, label: city}]."""
    never: str | None = None
    """A label that the answer must not contain."""
    to: Input | list[Input] | None = None
    """For invariance: other ways to write the input. For direction: the changed input."""
    label: str | None = None
    """For direction: the label whose probability changes; without it, the number that the model answers."""
    change: Literal["up", "down"] | None = None
    """For direction: how it must change from `input` to `to`."""
    origin: str | None = None
    """Where the case comes from, such as the id of feedback."""

    @property
    def others(self) -> list[Input]:
        """The inputs in `to`, as a list."""
        return [] if self.to is None else list(self.to) if isinstance(self.to, list) else [self.to]


class Test(Section):
    """A test: cases of one type, and how many of them must hold."""

    __test__ = False  # it is no test of pytest

    name: str = Field(min_length=1, max_length=200)
    """What must be true, in a few words: `refunds stay refunds`."""
    type: Literal["minimum", "invariance", "direction"] = "minimum"
    """`minimum`: the answer must be the expected one. `invariance`: edits of the input must not change the answer. `direction`: a change of
    the input must move a probability or a number up or down."""
    about: str | None = None
    """Why it must be true, for readers."""
    cases: list[Case] = Field(min_length=1, max_length=_MOST_CASES)
    """The cases; a text alone is a case with this input."""
    edits: list[EditName] = Field(default=[])
    """For invariance: the edits that are made to each text."""
    at_least: float = Field(default=1.0, gt=0, le=1)
    """Share of the cases that must hold."""
    within: float = Field(default=0.0, ge=0)
    """For numbers: the largest difference with which two answers count as equal; for direction, the least change."""

    @field_validator("cases", mode="before")
    @classmethod
    def _texts(cls, value: Any) -> Any:
        return [{"input": one} if isinstance(one, str) else one for one in value] if isinstance(value, list) else value

    @model_validator(mode="after")
    def _complete(self) -> Test:
        """Check that each case says what its type needs, and nothing that it would ignore."""
        if self.edits and self.type != "invariance":
            raise ValueError(f"edits are only for tests of the type invariance; '{self.name}' has the type {self.type}")
        for number, case in enumerate(self.cases, 1):
            where = f"case {number} of '{self.name}'"
            unused = [option for option in _FORBIDDEN[self.type] if getattr(case, option) is not None]
            if unused:
                raise ValueError(f"{where} has the option '{unused[0]}', which a test of the type {self.type} does not read")
            if self.type == "minimum" and case.expect is None and case.never is None:
                raise ValueError(f"{where} needs 'expect' or 'never'")
            if self.type == "invariance" and not self.edits and not case.others:
                raise ValueError(f"{where} needs 'to', or the test needs 'edits'")
            if self.type == "direction" and (len(case.others) != 1 or case.change is None):
                raise ValueError(f"{where} needs one input in 'to', and 'change: up' or 'change: down'")
        return self


class Suite(Section):
    """All behaviour tests of a vertical, as in tests.yaml."""

    tests: list[Test] = Field(min_length=1, max_length=500)
    """The tests."""

    @field_validator("tests", mode="after")
    @classmethod
    def _different(cls, value: list[Test]) -> list[Test]:
        names = [test.name for test in value]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two tests have the name '{twice}'")
        return value


def load(file: Path) -> Suite:
    """Return the behaviour tests in a file; raise NotFound if there is no file, ConfigError if it is not as `Suite` describes."""
    if not file.exists():
        raise NotFound(
            f"There is no file '{file}' with behaviour tests. Check the path, or write one; docs/how-to/behaviour-tests.md shows how."
        )
    value = read_yaml(file)
    if not isinstance(value, dict):
        raise ConfigError(
            f"{file} contains a value of type {type(value).__name__}; expected a mapping with the entry `tests`. Correct the file."
        )
    return build(Suite, value, str(file))


def dump(tests: Sequence[Test]) -> str:
    """Return tests as YAML, as `load` reads them, without options that have their defaults."""
    content = {"tests": [test.model_dump(mode="json", exclude_defaults=True) for test in tests]}
    return yaml.safe_dump(content, allow_unicode=True, sort_keys=False, width=120)
