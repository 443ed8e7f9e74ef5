"""Adds a row that a repeated request must not add again, by the idempotency key of its customer; knows nothing of what the row means."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Row, Table, select
from sqlalchemy.exc import IntegrityError

from vertune.core.errors import Conflict, StorageError
from vertune.store.database import Database


def add_once(
    database: Database, table: Table, row: dict[str, Any], conflict: str, also: Callable[[Connection], None] | None = None
) -> tuple[Row[Any], bool]:
    """Add a row, and return it as it is stored, with whether it is new; it is on the disk when this returns.

    A row with an `idempotency` that the customer used before is not added again; the first one is returned. `also` is called in the
    transaction of a new row. Raises Conflict with the message `conflict` if the first row had another `digest`, and StorageError if the
    database can't be written.
    """
    mine = table.c.id == row["id"]
    try:
        with database.writing() as connection:
            connection.execute(table.insert().values(row))
            if also is not None:
                also(connection)
    except StorageError as error:
        if not isinstance(error.__cause__, IntegrityError) or row.get("idempotency") is None:
            raise
        mine = (table.c.customer == row["customer"]) & (table.c.idempotency == row["idempotency"])
    with database.reading() as connection:
        stored = _checked(connection.execute(select(table).where(mine)).one(), row, conflict)
    return stored, bool(stored.id == row["id"])


def find_repeated(database: Database, table: Table, row: dict[str, Any], conflict: str) -> Row[Any] | None:
    """Return the row that the same request added before; None if it is new, or without an idempotency key.

    Raises Conflict with the message `conflict` if a request with this key had another `digest`.
    """
    if row.get("idempotency") is None:
        return None
    mine = (table.c.customer == row["customer"]) & (table.c.idempotency == row["idempotency"])
    with database.reading() as connection:
        stored = connection.execute(select(table).where(mine)).one_or_none()
    return None if stored is None else _checked(stored, row, conflict)


def _checked(stored: Row[Any], row: dict[str, Any], conflict: str) -> Row[Any]:
    if bytes(stored.digest) != row["digest"]:
        raise Conflict(conflict)
    return stored
