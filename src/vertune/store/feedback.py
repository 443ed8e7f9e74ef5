"""Feedback of users on answers: rows as they are added, found and deleted; knows nothing of models and HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import orjson
from sqlalchemy import Connection, LargeBinary, Row, Select, cast, delete, func, literal, select, union_all

from vertune.store import schema
from vertune.store.database import Database, without_index
from vertune.store.once import add_once
from vertune.store.traffic import answer_id

Verdict = Literal["right", "wrong"]
PAGE = 500
"""Number of rows that are read at a time."""
ROW = 500
"""About how many bytes feedback takes besides its texts, with its entries in indexes."""
_MERGED = 50
"""Maximum number of verticals of which each is searched on its own; all that is found of them is sorted."""


@dataclass(frozen=True, slots=True)
class Feedback:
    """What a user said about an answer or a record."""

    id: str
    at: str
    customer: str
    vertical: str
    model: str | None
    answer: str | None
    """The id of the answer; None if it is about a record of its own."""
    record: dict[str, Any] | None
    """The fields of the input as the task names them; None if they are not kept."""
    verdict: Verdict | None
    target: dict[str, Any] | None
    """The fields of the right answer as the task names them; None if it is not known."""
    comment: str | None
    score: int | None
    """How satisfied the user is, from 1 to 5."""
    author: str | None
    trust: float
    """How much this feedback is to be believed, from 0 to 1."""
    key: str | None = None
    """The id of the API key that sent it."""

    @property
    def usable(self) -> bool:
        """Whether a model can learn from it: the input and the right answer are known."""
        return self.record is not None and self.target is not None

    def as_row(self) -> dict[str, Any]:
        """Return it as one row of training records; what says more about it has names that begin with `feedback_`."""
        about = {"id": self.id, "at": self.at, "verdict": self.verdict, "score": self.score, "author": self.author, "trust": self.trust}
        return {**(self.record or {}), **(self.target or {}), **{f"feedback_{name}": value for name, value in about.items()}}


@dataclass(frozen=True, slots=True)
class Filter:
    """Which feedback is meant; None does not restrict it."""

    customer: str | None = None
    verticals: Sequence[str] | None = None
    verdict: Verdict | None = None
    author: str | None = None
    after: str = ""
    """Only feedback with greater ids, which is later feedback."""
    before: str | None = None
    """Only feedback with smaller ids."""
    least_trust: float = 0.0
    usable: bool = False
    """Only feedback that a model can learn from."""


def add(database: Database, row: dict[str, Any], sent: str | None = None) -> tuple[Feedback, bool]:
    """Store feedback, and return it, with whether it is new; it is on the disk when this returns.

    Feedback with an `idempotency` that the customer used before is not stored again; the first one is returned. Raises Conflict if that
    one had another `digest`, with the key as it was `sent`, and StorageError if the database can't be written.
    """
    conflict = (
        f"The idempotency key '{(sent or '')[:80]}' was used for other feedback. Send a new key with new feedback, and the same key only "
        "with the same request."
    )
    stored, new = add_once(database, schema.feedback, row, conflict)
    return _found(stored), new


def find(connection: Connection, wanted: Filter, limit: int) -> list[Feedback]:
    """Return feedback in the order of its arrival, at most `limit`."""
    if wanted.verticals is None or not 2 <= len(wanted.verticals) <= _MERGED:
        return [_found(row) for row in connection.execute(_query(wanted).limit(limit))]
    # each vertical on its own, because a database would otherwise sort all feedback on several
    parts = [_query(replace(wanted, verticals=[name])).limit(limit).subquery().select() for name in dict.fromkeys(wanted.verticals)]
    merged = union_all(*parts).subquery()
    return [_found(row) for row in connection.execute(select(merged).order_by(merged.c.id).limit(limit))]


def each(database: Database, wanted: Filter) -> Iterator[Feedback]:
    """Yield feedback in the order of its arrival, in pages, so that no long read holds up the database."""
    while True:
        with database.reading() as connection:
            page = find(connection, wanted, PAGE)
        yield from page
        if len(page) < PAGE:
            return
        wanted = replace(wanted, after=page[-1].id)


def count_usable(connection: Connection, vertical: str, after: str, customer: str | None = None) -> int:
    """Return how much feedback on a vertical there is with greater ids than `after` that a model can learn from.

    Only that of a customer counts, or of all with None.
    """
    table = schema.feedback.c
    meant = [table.vertical == vertical, table.id > after, table.record.is_not(None), table.target.is_not(None)]
    meant += [] if customer is None else [table.customer == customer]
    return int(connection.execute(select(func.count()).select_from(schema.feedback).where(*meant)).scalar_one())


def size(connection: Connection, customer: str) -> int:
    """Return about how much space the feedback of a customer takes, in bytes; of 100,000 rows this takes 0.03 s."""
    table = schema.feedback.c
    texts = (table.record, table.target, table.comment)
    on_server = connection.dialect.name == "postgresql"
    bytes = [func.octet_length(column) if on_server else func.length(cast(column, LargeBinary)) for column in texts]
    total = sum((func.coalesce(one, 0) for one in bytes), literal(ROW))
    return int(connection.scalar(select(func.sum(total)).where(table.customer == customer)) or 0)


def remove(connection: Connection, id: str, customer: str | None, verticals: Sequence[str] | None) -> bool:
    """Delete feedback of a customer on these verticals, or of any customer or on any vertical with None; return whether there was any."""
    table = schema.feedback.c
    conditions = [table.id == id, *([] if customer is None else [table.customer == customer])]
    conditions += [] if verticals is None else [table.vertical.in_(verticals)]
    return bool(connection.execute(delete(schema.feedback).where(*conditions)).rowcount)


def _query(wanted: Filter) -> Select[Any]:
    table = schema.feedback.c
    conditions = [table.id > wanted.after, table.trust >= wanted.least_trust]
    for column, value in ((table.customer, wanted.customer), (table.verdict, wanted.verdict), (table.author, wanted.author)):
        if value is not None:
            conditions.append(column == value)
    if wanted.verticals is not None:
        conditions.append(table.vertical.in_(wanted.verticals))
    if wanted.before is not None:
        conditions.append(table.id < wanted.before)
    if wanted.usable:
        known = [table.record.is_not(None), table.target.is_not(None)]
        # SQLite would prefer the index of what is usable to that of a customer or an author, who has less feedback than a vertical
        conditions += known if wanted.customer is None and wanted.author is None else without_index(known)
    return select(schema.feedback).where(*conditions).order_by(table.id)


def _found(row: Row[Any]) -> Feedback:
    return Feedback(
        row.id, row.at, row.customer, row.vertical, row.model,
        answer=None if row.request is None else answer_id(row.request, row.number),
        record=None if row.record is None else orjson.loads(row.record), verdict=row.verdict,
        target=None if row.target is None else orjson.loads(row.target), comment=row.comment, score=row.score, author=row.author,
        trust=row.trust, key=row.key,
    )  # fmt: skip
