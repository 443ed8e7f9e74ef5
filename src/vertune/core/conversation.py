"""The schema of labelled conversations, as in tests.yaml of a pack and in files for `eval`: what an app must do, turn by turn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from vertune.core.documents import lines, parse_json
from vertune.core.errors import DataError
from vertune.core.parse import build
from vertune.core.reply import Action
from vertune.core.section import Section


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


class Expected(Section):
    """What must be true of a reply; what is not set is not checked."""

    action: Annotated[list[Action], BeforeValidator(_as_list)] = Field(default=[], description="The action, or several that are right.")
    intent: str | None = Field(default=None, description="The intent that is meant; with the action `clarify`, it must be offered.")
    also: list[str] = Field(
        default=[], description="Further intents of the same message: each must be answered, offered, begun as a flow, or kept for later."
    )
    outside: bool = Field(default=False, description="Whether the message belongs to no intent and no entry, so that no answer is right.")
    entry: str | None = Field(default=None, description="The id of the entry of the FAQ, or of the passage, that answers it.")
    slots: dict[str, Any] = Field(default={}, description="Details that must be known after this turn.")
    reasons: list[str] = Field(default=[], description="Reasons that the reply must name.")
    call: str | None = Field(default=None, description="The action of the operator that must be called.")
    text: Annotated[list[str], BeforeValidator(_as_list)] = Field(default=[], description="Parts of texts; one must be in the reply.")
    never: Annotated[list[str], BeforeValidator(_as_list)] = Field(default=[], description="Parts of texts that must not be in the reply.")

    @model_validator(mode="after")
    def _possible(self) -> Expected:
        if self.outside and (self.intent or self.entry):
            raise ValueError("outside means that the message has no intent and no entry; remove one of them")
        return self


class Turn(Section):
    """A message of the customer, or what happens instead of one, and what must follow."""

    say: str | None = Field(default=None, max_length=10_000)
    choice: str | None = Field(default=None, max_length=200, description="The value of the button that is pressed, or its title.")
    event: Literal["silence", "returned", "acted"] | None = None
    result: dict[str, Any] | None = Field(default=None, description="With `acted`: {ok: true, data: {…}}, or {ok: false, error: …}.")
    known: dict[str, Any] = Field(default={}, description="What the operator's page knows, from this turn on.")
    at: float | None = Field(default=None, description="Seconds since 1970; without it, a second after the turn before.")
    expect: Expected = Expected()

    @model_validator(mode="after")
    def _one(self) -> Turn:
        if sum(value is not None for value in (self.say, self.choice, self.event)) != 1:
            raise ValueError("a turn has exactly one of say, choice and event")
        if (self.result is not None) != (self.event == "acted"):
            raise ValueError("result belongs to the event acted, which needs it")
        return self


class Conversation(Section):
    """A labelled conversation."""

    name: str = Field(default="", max_length=200)
    kind: str = Field(default="", max_length=60, description="What it is about, for figures by kind, such as `negation`.")
    language: str | None = Field(default=None, pattern=r"^[a-z]{2,3}$", description="The language that the customer chose; None for none.")
    turns: list[Turn] = Field(min_length=1, max_length=200)


def read_conversations(file: Path) -> list[Conversation]:
    """Return the labelled conversations of a file with one JSON object a line; raise DataError for a line that is none."""
    found = []
    try:
        written = lines(file.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"Can't read {file}: {error}. Name a file in UTF-8 with one conversation a line.") from error
    for number, line in enumerate(written, 1):
        if not line.strip():
            continue
        try:
            value = parse_json(line)
        except ValueError as error:
            raise DataError(f"Line {number} of {file} is no JSON: {error}. Write one conversation a line.") from error
        found.append(build(Conversation, value, f"{file}, line {number}"))
    if not found:
        raise DataError(f"{file} has no conversation; expected one JSON object a line. Add some.")
    return found
