"""The base class of channels, on which people are told of alerts and retrainings, and the message that they carry; independent of both.

A channel comes from the operator's file alone, and never from a request or from the folder of a model: whoever names an address decides
where texts of users may go, and whoever names a variable of the environment decides which secret is used there.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from vertune.core.errors import ConfigError
from vertune.core.part import Part

FORMAT = 1
"""The version of the JSON form of messages."""
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]{0,99}")
Event = Literal["opened", "resolved", "test", "refused", "waiting", "failed", "passed", "live"]
"""What happened: to an alert, to nothing with `test`, and else to a retraining, whose new model was refused, waits for labels, could not be
made, waits for a person after it has passed the gate, or is live."""


@dataclass(frozen=True, slots=True)
class Message:
    """What people are told; times are in UTC, as texts."""

    id: str
    """The same whenever this message is sent again, so that its receiver can leave out a repetition."""
    event: Event
    alert: str
    """The id of the alert, or of the retraining."""
    vertical: str
    rule: str
    monitor: str
    severity: str
    began: str
    at: str
    value: float | None
    subject: str
    """One line: what happened."""
    text: str
    """What happened, since when, how bad it is, on what evidence, and what to do."""
    evidence: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def read(cls, id: str, payload: Mapping[str, Any]) -> Message:
        """Return the message of a stored payload, which `payload` made."""
        return cls(id, **payload)

    def payload(self) -> dict[str, Any]:
        """Return all but the id as JSON values."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "id"}

    def as_json(self) -> dict[str, Any]:
        """Return the message in the form that programs receive."""
        return {"format": FORMAT, "delivery": self.id, **self.payload()}

    def body(self) -> bytes:
        """Return this form as one line of UTF-8; half of a pair of UTF-16, which is no character, becomes a question mark."""
        return json.dumps(self.as_json(), ensure_ascii=False).encode(errors="replace")


class Channel(Part):
    """A component that brings messages about alerts and retrainings to people or to other software."""

    folder: ClassVar[str] = "channels"
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{0,60}$")] = ""
    """What this channel is called in rules and in the list of messages; empty: as its kind. Two channels of one kind need two names."""

    @property
    def called(self) -> str:
        """What this channel is called."""
        return self.id or self.name

    def check(self) -> None:
        """Raise ConfigError if something is missing that sending will need, such as a variable of the environment."""

    def send(self, message: Message) -> None:
        """Bring the message to its receiver, or raise a VertuneError; it is then tried again later.

        A message may be sent twice if the process dies just after it was sent. Its id tells the receiver.
        """
        raise NotImplementedError

    @classmethod
    def example(cls) -> Channel:
        """Return a channel of this kind whose receiver can't be reached, for tests and documentation."""
        raise NotImplementedError


def checked_variable(name: str) -> str:
    """Return the name of an environment variable; raise ConfigError, which does not show it, if it looks like a secret itself."""
    if not _VARIABLE.fullmatch(name):
        raise ConfigError(
            f"A secret is named by {len(name)} characters that are no name of an environment variable; expected capital letters, digits "
            "and '_', such as ALERT_SECRET. Put the secret into a variable, and its name into the config."
        )
    return name


def secret_of(variable: str, owner: str) -> str:
    """Return the value of an environment variable; raise ConfigError if it is unset or empty."""
    if value := os.environ.get(variable):
        return value
    raise ConfigError(f"The environment variable {variable} of {owner} is not set; expected a secret. Set it: export {variable}=…")
