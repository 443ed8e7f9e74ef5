"""The operator's file of actions that apps may call, and of adapters for other channels than web pages; calls nothing.

An address comes from this file alone, and never from a pack or a request: whoever names one decides where texts of users go.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from vertune.core.bounded_yaml import read_yaml
from vertune.core.channel import checked_variable, secret_of
from vertune.core.errors import ConfigError
from vertune.core.parse import build
from vertune.core.section import Section
from vertune.core.webhooks import checked_url
from vertune.store.key import DEFAULT_CUSTOMER

_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


class Hook(Section):
    """An address to which signed JSON is posted."""

    url: str
    """The address, such as https://shop.example.com/hooks/orders; without a user and a password."""
    secret_env: str
    """The environment variable with the secret by which the receiver knows that a message is genuine."""
    timeout: Annotated[float, Field(gt=0, le=60)] = 10.0
    """Seconds within which the receiver must have answered."""
    attempts: Annotated[int, Field(ge=1, le=20)] = 5
    """Number of attempts before an action has failed."""

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        return checked_url(value)

    @field_validator("secret_env")
    @classmethod
    def _secret(cls, value: str) -> str:
        return checked_variable(value)

    def secret(self, what: str) -> str:
        """Return the secret; raise ConfigError, which names `what` it belongs to, if it is not set."""
        return secret_of(self.secret_env, what)


class Adapter(Section):
    """A program between another channel, such as a messenger, and an app of this server."""

    app: _Name
    """The app that answers."""
    secret_env: str
    """The environment variable with the secret that signs messages in both directions."""
    customer: _Name = DEFAULT_CUSTOMER
    """The customer to whom the conversations belong."""
    language: str | None = None
    """The language of its senders, such as zh; None lets the app judge."""
    send_to: str | None = None
    """The address to which replies are posted; None answers with them."""
    timeout: Annotated[float, Field(gt=0, le=60)] = 10.0
    """Seconds within which the adapter must have taken a reply."""

    @field_validator("send_to")
    @classmethod
    def _url(cls, value: str | None) -> str | None:
        return None if value is None else checked_url(value)

    @field_validator("secret_env")
    @classmethod
    def _secret(cls, value: str) -> str:
        return checked_variable(value)

    def secret(self, what: str) -> str:
        """Return the secret; raise ConfigError, which names `what` it belongs to, if it is not set."""
        return secret_of(self.secret_env, what)


class ChatFile(Section):
    """What the file holds."""

    actions: dict[_Name, Hook] = Field(default={})
    """The actions that apps may call, by the names that packs use."""
    adapters: dict[_Name, Adapter] = Field(default={})
    """The adapters, by the names that stand in the addresses to which they post."""

    @classmethod
    def read(cls, file: Path | None) -> ChatFile:
        """Return what a file holds, and nothing without one; raise ConfigError for a mistake in it, and for a secret that is not set."""
        if file is None:
            return cls()
        value: Any = read_yaml(file)
        if not isinstance(value, dict):
            raise ConfigError(f"{file} holds no mapping; expected the entries 'actions' and 'adapters'. Correct the file.")
        found = build(cls, value, str(file))
        for kind, entries in (("action", found.actions), ("adapter", found.adapters)):
            for name, entry in entries.items():
                entry.secret(f"the {kind} '{name}'")
        return found
