"""Signs people in and out and changes users: passwords, sessions and who may manage whom; does not depend on HTTP."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from vertune.core.errors import AccessError
from vertune.core.ids import time_ordered_id
from vertune.core.names import check_name
from vertune.server.attempts import Attempts
from vertune.server.settings import SessionSettings
from vertune.store import users
from vertune.store.database import Database, format_time
from vertune.store.key import DEFAULT_CUSTOMER, Key
from vertune.store.passwords import Passwords
from vertune.store.sessions import KEY, Session, Sessions
from vertune.store.user import USER, User, checked_password, checked_role, checked_user_name, same_spelling

_PROVIDER = "openid"
"""Who changes users as the provider of OpenID Connect names them, for the audit."""
_WRONG = "The name and the password do not belong to a user who may sign in. Try again, or ask a manager for a new password."
"""One message for all that can be wrong, so that nobody learns which names exist."""


@dataclass(frozen=True, slots=True)
class Manager:
    """Who changes users, and which ones."""

    actor: str
    """The name for the audit."""
    customer: str | None = None
    """The customer whose users may be changed; None allows those of all customers."""

    @property
    def is_admin(self) -> bool:
        """Whether administrators may be changed and made."""
        return self.customer is None

    def check(self, role: str | None, user: User | None = None) -> None:
        """Raise AccessError if this role may not be given, or this user may not be changed."""
        if not self.is_admin and "admin" in (role, user and user.role):
            raise AccessError("A manager can neither create nor change administrators. Ask an administrator of the server.")


@dataclass(frozen=True, slots=True)
class Identity:
    """A person as a provider of OpenID Connect names it."""

    subject: str
    """The issuer and the subject, which stay when the person changes the name."""
    name: str
    role: str
    customer: str


@dataclass(frozen=True, slots=True)
class _Proved:
    """A user whose password was right, with its hash."""

    user: User
    password: str

    def still(self, connection: Connection) -> User:
        """Return the user; raise AccessError if the user or the password was changed while it was verified."""
        found, password = users.credentials(connection, self.user.name)
        if found is None or found.disabled or found.id != self.user.id or password != self.password:
            raise AccessError(_WRONG, authenticated=False)
        return found


class People:
    """The users and sessions of one database; safe for use from many threads."""

    def __init__(self, database: Database, settings: SessionSettings | None = None, attempts: Attempts | None = None) -> None:
        settings = settings or SessionSettings()
        self._database = database
        self._passwords = Passwords(settings.password_kibibytes, settings.password_rounds)
        self._attempts = Attempts() if attempts is None else attempts
        self.sessions = Sessions(database, timedelta(hours=settings.idle_hours), timedelta(days=settings.days))

    def sign_in(self, name: str, password: str, address: str | None, previous: str | None = None) -> tuple[str, Session]:
        """Return the cookie and the session of a user; `previous` is the cookie that the browser had, which ends.

        `address` is that of the client, or None behind a proxy. Raises AccessError for a wrong name or password, with one message that
        does not tell which of them is wrong, and Busy after too many of them.
        """
        proved = self._verified(name, password, address)
        hashed = self._passwords.hash(password) if self._passwords.outdated(proved.password) else None
        with self.sessions.changing() as connection:
            user = proved.still(connection)
            if hashed is not None:
                users.rehash(connection, user, hashed)
            return self._begin(connection, user, previous)

    def sign_in_with(self, key: Key, previous: str | None = None) -> tuple[str, Session]:
        """Return the cookie and the session of a valid API key; the session ends with the key."""
        with self.sessions.changing() as connection:
            return self.sessions.begin(connection, KEY + key.id, key.id, previous)

    def sign_in_as(self, identity: Identity, previous: str | None = None) -> tuple[str, Session]:
        """Return the cookie and the session of the user with an identity of OpenID Connect.

        The user is created if the identity is new, and has the role and the customer that the provider names. Raises AccessError for a
        user who is disabled, and Conflict if another user has the name.
        """
        with self.sessions.changing() as connection:
            user = users.of_subject(connection, identity.subject)
            if user is None:
                user = _new(checked_user_name(identity.name), identity.role, identity.customer, identity.subject)
                users.add(connection, user, None, _PROVIDER)
            elif (user.role, user.customer) != (identity.role, identity.customer):
                user = users.change(connection, user, users.Change(role=identity.role, customer=identity.customer), _PROVIDER)
            if user.disabled:
                raise AccessError("This user is disabled. Ask an administrator of the server.", authenticated=False)
            return self._begin(connection, user, previous)

    def _begin(self, connection: Connection, user: User, previous: str | None = None) -> tuple[str, Session]:
        cookie, session = self.sessions.begin(connection, user.id, USER + user.name, previous)
        return cookie, replace(session, user=user)

    def _verified(self, name: str, password: str, address: str | None) -> _Proved:
        spelt = same_spelling(name[:200])
        self._attempts.begin(spelt, address)
        with self._database.reading() as connection:
            user, stored = users.credentials(connection, spelt)
        matches = self._passwords.verify(stored, password)
        if user is None or stored is None or not matches or user.disabled:
            raise AccessError(_WRONG, authenticated=False)
        self._attempts.succeed(spelt, address)
        return _Proved(user, stored)

    def change_password(self, user: User, old: str, new: str, address: str | None) -> tuple[str, Session]:
        """Change a user's own password, end all sessions of the user, and return the cookie and the session of a new one.

        Raises AccessError if the old password is wrong, and ConfigError for a new one that is too easy to guess.
        """
        if user.subject is not None:
            raise AccessError("You sign in by another provider, which keeps your password. Change it there.")
        checked_password(new, user.name)
        proved = self._verified(user.name, old, address)
        hashed = self._passwords.hash(new)
        with self.sessions.changing() as connection:
            changed = users.change(connection, proved.still(connection), users.Change(password=hashed), USER + user.name)
            return self._begin(connection, changed)

    def all(self, customer: str | None = None) -> list[User]:
        """Return the users of a customer, or all with None, in the order of their names."""
        with self._database.reading() as connection:
            return users.find(connection, customer)

    def create(self, name: str, role: str, customer: str | None, password: str | None, manager: Manager) -> User:
        """Create a user, with a password, or without one for a user who can't sign in yet; return the user.

        Raises AccessError if the manager may not, Conflict if the name is taken, and ConfigError for what can't be used.
        """
        manager.check(checked_role(role))
        customer = customer or manager.customer or DEFAULT_CUSTOMER
        if manager.customer not in (None, customer):
            raise AccessError("A manager can create users of its own customer alone. Leave the customer out.")
        user = _new(checked_user_name(name), role, check_name(customer))
        hashed = None if password is None else self._passwords.hash(checked_password(password, user.name))
        with self.sessions.changing() as connection:
            users.add(connection, user, hashed, manager.actor)
        return user

    def change(
        self, name: str, manager: Manager, role: str | None = None, password: str | None = None, disabled: bool | None = None
    ) -> User:
        """Change a user, whose sessions end, and return the user as it is now; None leaves a thing as it is.

        Raises NotFound for a user that the manager does not see, AccessError if the manager may not, and ConfigError for what can't be
        used.
        """
        manager.check(None if role is None else checked_role(role))
        hashed = None if password is None else self._passwords.hash(checked_password(password, same_spelling(name)))
        with self.sessions.changing() as connection:
            user = users.get(connection, name, manager.customer)
            manager.check(role, user)
            if password is not None and user.subject is not None:
                raise AccessError("The user signs in by another provider, which keeps the password. Change it there.")
            return users.change(connection, user, users.Change(role, hashed, disabled), manager.actor)

    def remove(self, name: str, manager: Manager) -> None:
        """Delete a user with all sessions; what the user labelled stays. Raises NotFound and AccessError as `change` does."""
        with self.sessions.changing() as connection:
            user = users.get(connection, name, manager.customer)
            manager.check(None, user)
            users.remove(connection, user, manager.actor)


def _new(name: str, role: str, customer: str, subject: str | None = None) -> User:
    return User(time_ordered_id(), name, role, customer, format_time(datetime.now(UTC)), subject=subject)
