"""People who sign in: rows as they are added, found, changed and deleted; knows nothing of HTTP, and of passwords only hashes.

Changes are made within `Sessions.changing`, so that all servers notice them within half a second. A change of the role or the password,
and whatever takes a user's right to sign in, ends the user's sessions everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, delete, select

from vertune.core.errors import Conflict, NotFound
from vertune.store import audit, schema
from vertune.store.user import USER, User, same_spelling

_COLUMNS = [column for column in schema.users.c if column.name != "password"]


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be changed; None leaves it as it is."""

    role: str | None = None
    password: str | None = None
    """The hash of a new password."""
    disabled: bool | None = None
    customer: str | None = None

    def values(self) -> dict[str, Any]:
        """Return the columns that change, with their new values."""
        named = {"role": self.role, "password": self.password, "disabled": self.disabled, "customer": self.customer}
        return {name: int(value) if isinstance(value, bool) else value for name, value in named.items() if value is not None}


def add(connection: Connection, user: User, password: str | None, actor: str) -> None:
    """Store a new user, with the hash of a password or none; raise Conflict if the name is taken. The audit tells it."""
    table = schema.users
    if connection.scalar(select(table.c.id).where(table.c.name == user.name)) is not None:
        raise Conflict(f"The name '{user.name}' is taken; expected one that no user of this server has. Choose another name.")
    row = {
        "id": user.id, "at": user.at, "customer": user.customer, "name": user.name, "role": user.role, "password": password,
        "subject": user.subject, "disabled": int(user.disabled),
    }  # fmt: skip
    connection.execute(table.insert().values(row))
    audit.note(connection, actor, "create user", USER + user.name, {"role": user.role, "customer": user.customer})


def find(connection: Connection, customer: str | None = None) -> list[User]:
    """Return the users of a customer, or all with None, in the order of their names."""
    table = schema.users.c
    conditions = [] if customer is None else [table.customer == customer]
    return [user_of(row) for row in connection.execute(select(*_COLUMNS).where(*conditions).order_by(table.name))]


def get(connection: Connection, name: str, customer: str | None = None) -> User:
    """Return a user of a customer, or of any with None; raise NotFound if there is none."""
    table = schema.users.c
    conditions = [table.name == same_spelling(name), *([] if customer is None else [table.customer == customer])]
    row = connection.execute(select(*_COLUMNS).where(*conditions)).one_or_none()
    if row is None:
        raise NotFound(f"There is no user '{name[:80]}'. List the users: vertune user list")
    return user_of(row)


def of_subject(connection: Connection, subject: str) -> User | None:
    """Return the user with this identity of OpenID Connect; None if there is none."""
    row = connection.execute(select(*_COLUMNS).where(schema.users.c.subject == subject)).one_or_none()
    return None if row is None else user_of(row)


def credentials(connection: Connection, name: str) -> tuple[User | None, str | None]:
    """Return the user with this name and the hash of the password, or None for what does not exist."""
    row = connection.execute(select(schema.users).where(schema.users.c.name == same_spelling(name))).one_or_none()
    return (None, None) if row is None else (user_of(row), row.password)


def change(connection: Connection, user: User, wanted: Change, actor: str) -> User:
    """Change a user, end the user's sessions, and return the user as it is now. The audit tells what changed, without a password."""
    values = wanted.values()
    if not values:
        return user
    connection.execute(schema.users.update().where(schema.users.c.id == user.id).values(values))
    end_sessions(connection, [user.id])
    shown = {**values, **({"password": "changed"} if "password" in values else {})}
    audit.note(connection, actor, "change user", USER + user.name, shown)
    return replace(
        user, role=wanted.role or user.role, customer=wanted.customer or user.customer,
        disabled=user.disabled if wanted.disabled is None else wanted.disabled,
    )  # fmt: skip


def rehash(connection: Connection, user: User, password: str) -> None:
    """Store another hash of the same password, made with the costs of today."""
    connection.execute(schema.users.update().where(schema.users.c.id == user.id).values(password=password))


def remove(connection: Connection, user: User, actor: str) -> None:
    """Delete a user with all sessions; what the user labelled stays. The audit tells it."""
    end_sessions(connection, [user.id])
    connection.execute(delete(schema.users).where(schema.users.c.id == user.id))
    audit.note(connection, actor, "delete user", USER + user.name, {})


def remove_customer(connection: Connection, customer: str) -> int:
    """Delete the users of a customer with their sessions, and return how many there were."""
    mine = schema.users.c.customer == customer
    connection.execute(delete(schema.sessions).where(schema.sessions.c.user.in_(select(schema.users.c.id).where(mine))))
    return int(connection.execute(delete(schema.users).where(mine)).rowcount)


def end_sessions(connection: Connection, ids: Sequence[str]) -> None:
    """End all sessions of the users with these ids."""
    connection.execute(delete(schema.sessions).where(schema.sessions.c.user.in_(ids)))


def user_of(row: Row[Any]) -> User:
    """Return the user that a row describes."""
    return User(row.id, row.name, row.role, row.customer, row.at, disabled=bool(row.disabled), subject=row.subject)
