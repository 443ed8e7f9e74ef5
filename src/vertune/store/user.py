"""One person who signs in: the role, what it allows, and the validation of names and passwords; independent of databases and HTTP."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Literal, get_args

from vertune.core.errors import ConfigError, UnknownName
from vertune.core.names import is_name
from vertune.store.key import DEFAULT_CUSTOMER, Key, is_id

Role = Literal["annotator", "reviewer", "manager", "admin"]
ROLES: tuple[str, ...] = get_args(Role)
SCOPES: dict[str, frozenset[str]] = {
    "annotator": frozenset({"label"}),
    "reviewer": frozenset({"label", "review", "chat"}),
    "manager": frozenset({"label", "review", "chat", "predict", "feedback", "train"}),
    "admin": frozenset({"admin"}),
}
"""The scopes (permissions) of each role."""
USER = "user:"
"""What the name of a user follows wherever the id of an API key stands otherwise, such as in the usage and the audit."""
LOCAL = "local"
"""Who labels on a server that needs no keys; no user has this name."""
LEAST_PASSWORD, MOST_PASSWORD = 12, 1024
"""Numbers of characters that a password may have."""


@dataclass(frozen=True)
class User:
    """A person who signs in, without the password; times are in UTC, as texts."""

    id: str
    name: str
    role: str
    customer: str = DEFAULT_CUSTOMER
    """The organisation that the user belongs to, and whose rows the user sees."""
    at: str = "1970-01-01T00:00:00+00:00"
    """When the user was created."""
    disabled: bool = False
    """Whether the user may not sign in."""
    subject: str | None = None
    """The issuer and the subject of the identity of OpenID Connect by which the user signs in; None for one with a password."""

    @cached_property
    def key(self) -> Key:
        """What the user may do, in the form that requests with an API key have."""
        return Key(
            USER + self.name, self.name, SCOPES[self.role], None, created=datetime.fromisoformat(self.at), expires=None, revoked=None,
            rate=None, customer=self.customer,
        )  # fmt: skip


def checked_user_name(name: str) -> str:
    """Return the name of a user in its one spelling: lower case, in the Unicode normal form NFKC; it may be an e-mail address.

    Raises ConfigError for other characters than letters, digits, `-`, `_` and `.`, for the name `local`, and for what looks like the id
    of an API key, because labels name either.
    """
    spelt = same_spelling(name)
    parts = spelt.split("@")
    if len(parts) > 2 or len(spelt) > 80 or not all(map(is_name, parts)):
        raise ConfigError(
            f"The name of the user is {name[:80]!r}; expected 1 to 80 letters, digits, '-', '_' or '.', or an e-mail address. "
            "Choose another name."
        )
    if spelt == LOCAL or is_id(spelt):
        raise ConfigError(f"The name of the user is '{spelt}', which is reserved; expected one that is not. Choose another name.")
    return spelt


def same_spelling(name: str) -> str:
    """Return the spelling that all ways to write a name have in common."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name.strip()).lower())


def checked_role(role: str) -> str:
    """Return a role unchanged; raise UnknownName for one that does not exist."""
    if role not in SCOPES:
        raise UnknownName("role", role, ROLES)
    return role


def checked_password(password: str, name: str) -> str:
    """Return a new password unchanged; raise ConfigError for one that is too short or too long, or contains the name of its user."""
    if not LEAST_PASSWORD <= len(password) <= MOST_PASSWORD:
        raise ConfigError(
            f"The password has {len(password)} characters; expected {LEAST_PASSWORD} to {MOST_PASSWORD}. Choose another password, such as "
            "four or five words."
        )
    if same_spelling(password).replace(name, "").strip() == "" or len(set(password)) < 5:
        raise ConfigError(
            "The password is easy to guess; expected one that does not repeat a name or a character. Choose another password."
        )
    return password
