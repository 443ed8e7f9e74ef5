"""Conversations of apps with their turns: rows as they are added, changed and found; knows nothing of what an app does and of HTTP.

A conversation changes by one `Change` at a time: turns, the new state and the number of the last turn are written together, and only if
the conversation still has the number that the change follows. So several servers can go on with a conversation, and none writes over
what another one wrote.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson
from sqlalchemy import ColumnElement, Connection, Row, delete, func, select, update

from vertune.store import actions, schema
from vertune.store.database import insert

Stage = Literal["bot", "waiting", "agent", "closed"]
"""Who answers: the app; a person, as soon as one takes the conversation; this person; or nobody any more."""
Author = Literal["visitor", "bot", "agent", "system"]
_JSON = ("state", "known", "reasons")
"""Columns of conversations that are JSON."""
NOT_UNDERSTOOD = "not_understood"
"""The reason of an app that hands a message over because it can't answer it."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation as it is after its last turn; times are in UTC, as texts."""

    id: str
    app: str
    customer: str
    key: str | None
    """The id of the API key with which it began."""
    visitor: str | None
    """How the operator's page calls the visitor."""
    language: str | None
    token: bytes
    """The SHA-256 of the secret by which the visitor is recognised."""
    state: dict[str, Any]
    """What the app keeps of it; empty as soon as it is closed."""
    known: dict[str, Any]
    """What the operator's page knows of the visitor; empty as soon as it is closed."""
    turn: int
    sequence: int
    """The number of the last message, as the visitor numbers them."""
    stage: Stage
    agent: str | None
    reasons: list[str]
    """Why a person is to take over."""
    queued: str | None
    """Since when it waits for a person."""
    changed: str
    summary: str | None
    satisfaction: int | None
    comment: str | None
    channel: str | None
    """The name of the adapter by which it came; None for the page of a visitor."""
    sender: str | None
    """How the adapter calls the sender; None as soon as the conversation is closed."""
    delivered: int
    """The number of the last turn that the adapter has."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One thing that was said or happened in a conversation."""

    conversation: str
    number: int
    author: Author
    at: str
    message: str | None = None
    """The id that the client gave to its message."""
    text: str | None = None
    action: str | None = None
    reply: dict[str, Any] | None = None
    label: dict[str, Any] | None = None
    """What people say would have been right."""
    model: str | None = None
    """The id of the product that replied."""
    sequence: int | None = None
    digest: bytes | None = None
    fingerprint: bytes | None = None
    call: str | None = None
    """The id of the request."""

    def row(self) -> dict[str, Any]:
        """Return it as a row of the table."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**values, "reply": _json_or_none(self.reply), "label": _json_or_none(self.label)}


@dataclass(frozen=True, slots=True)
class Change:
    """What is added to a conversation in one transaction."""

    conversation: str
    before: int
    """The number of the last turn when the change was made."""
    turns: Sequence[Turn] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    """New values of other columns of the conversation."""
    call: actions.Call | None = None
    """What the last reply asks for."""
    finished: actions.Finished | None = None
    """The action whose result the turns answer."""
    early: int | None = None
    """The sequence of the message that waited and is answered now."""
    rewritten: Sequence[Turn] = ()
    """Turns whose text and reply replace those that are stored, because the conversation ends."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which conversations are meant; None does not restrict them."""

    customer: str | None = None
    apps: Sequence[str] | None = None
    stage: Stage | None = None
    agent: str | None = None
    before: str | None = None
    """Only conversations with smaller ids."""

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the conditions on the table of conversations."""
        table = schema.conversations.c
        found: list[ColumnElement[bool]] = [] if self.apps is None else [table.app.in_(self.apps)]
        found += [] if self.before is None else [table.id < self.before]
        columns = ((table.customer, self.customer), (table.stage, self.stage), (table.agent, self.agent))
        return found + [column == value for column, value in columns if value is not None]


def add(connection: Connection, conversation: Conversation, turns: Sequence[Turn] = ()) -> None:
    """Add a new conversation with its first turns."""
    values = {name: getattr(conversation, name) for name in conversation.__dataclass_fields__}
    connection.execute(schema.conversations.insert().values(_row(values)))
    if turns:
        connection.execute(schema.turns.insert(), [turn.row() for turn in turns])


def apply(connection: Connection, change: Change) -> bool:
    """Write a change; return False, with nothing written, if the conversation has other turns by now, or does not exist any more."""
    table = schema.conversations.c
    turn = change.turns[-1].number if change.turns else change.before
    statement = update(schema.conversations).where(table.id == change.conversation, table.turn == change.before)
    if connection.execute(statement.values(_row({**change.values, "turn": turn}))).rowcount != 1:
        return False
    if change.turns:
        connection.execute(schema.turns.insert(), [turn.row() for turn in change.turns])
    if change.call is not None:
        actions.add(connection, change.call)
    if change.finished is not None:
        actions.finish(connection, change.finished)
    if change.early is not None:
        remove_early(connection, change.conversation, change.early)
    if change.values.get("stage") == "closed":
        _end(connection, change.conversation)
    written = schema.turns.c
    for one in change.rewritten:
        mine = update(schema.turns).where(written.conversation == one.conversation, written.number == one.number)
        connection.execute(mine.values(text=one.text, reply=_json_or_none(one.reply)))
    return True


def get(connection: Connection, id: str) -> Conversation | None:
    """Return the conversation with this id; None if there is none."""
    row = connection.execute(select(schema.conversations).where(schema.conversations.c.id == id)).one_or_none()
    return None if row is None else _conversation(row)


def of_sender(connection: Connection, channel: str, sender: str) -> Conversation | None:
    """Return the conversation with a sender that an adapter names; None if there is none."""
    table = schema.conversations.c
    row = connection.execute(select(schema.conversations).where(table.channel == channel, table.sender == sender)).one_or_none()
    return None if row is None else _conversation(row)


def find(connection: Connection, wanted: Filter, limit: int) -> list[Conversation]:
    """Return conversations: those that wait in the order in which they began to wait, and others with the latest first."""
    table = schema.conversations.c
    order = (table.queued, table.id) if wanted.stage == "waiting" else (table.id.desc(),)
    rows = connection.execute(select(schema.conversations).where(*wanted.conditions()).order_by(*order).limit(limit))
    return [_conversation(row) for row in rows]


def count(connection: Connection, wanted: Filter) -> int:
    """Return the number of conversations."""
    return int(connection.scalar(select(func.count()).select_from(schema.conversations).where(*wanted.conditions())) or 0)


def counts(connection: Connection) -> dict[tuple[str, str], int]:
    """Return the numbers of conversations that are not closed, by app and stage."""
    table = schema.conversations.c
    counted = select(table.app, table.stage, func.count()).where(table.stage != "closed").group_by(table.app, table.stage)
    return {(row[0], row[1]): row[2] for row in connection.execute(counted)}


def longest_waiting(connection: Connection) -> dict[str, str]:
    """Return, by app, since when the conversation waits for a person that has waited longest; apps without one are missing."""
    table = schema.conversations.c
    waiting = select(table.app, func.min(table.queued)).where(table.stage == "waiting", table.queued.is_not(None)).group_by(table.app)
    return {row[0]: row[1] for row in connection.execute(waiting)}


def position(connection: Connection, conversation: Conversation) -> int | None:
    """Return the place of a conversation in the queue of its app and customer, from 1; None if it does not wait."""
    if conversation.stage != "waiting" or conversation.queued is None:
        return None
    table = schema.conversations.c
    mine = [table.stage == "waiting", table.customer == conversation.customer, table.app == conversation.app]
    earlier = (table.queued < conversation.queued) | ((table.queued == conversation.queued) & (table.id < conversation.id))
    return 1 + int(connection.scalar(select(func.count()).select_from(schema.conversations).where(*mine, earlier)) or 0)


def turns_of(connection: Connection, id: str, after: int = 0, limit: int = 1_000) -> list[Turn]:
    """Return the turns of a conversation with greater numbers than `after`, in their order."""
    table = schema.turns.c
    rows = select(schema.turns).where(table.conversation == id, table.number > after).order_by(table.number).limit(limit)
    return [_turn(row) for row in connection.execute(rows)]


def messages_of(connection: Connection, id: str) -> dict[str, tuple[int, bytes]]:
    """Return the numbers and the digests of the turns of a conversation that have the id of a message, by this id."""
    table = schema.turns.c
    rows = connection.execute(select(table.message, table.number, table.digest).where(table.conversation == id, table.message.is_not(None)))
    return {row.message: (row.number, bytes(row.digest or b"")) for row in rows}


def last_turns(connection: Connection, ids: Sequence[str]) -> dict[str, int]:
    """Return the numbers of the last turns of those of the conversations that exist."""
    table = schema.conversations.c
    return {row.id: row.turn for row in connection.execute(select(table.id, table.turn).where(table.id.in_(ids)))}


def last_texts(connection: Connection, ids: Sequence[str]) -> dict[str, str | None]:
    """Return, by conversation, what its visitor wrote last, whatever happened since; nothing for one in which nothing was written."""
    table = schema.turns.c
    mine = [table.conversation.in_(ids), table.author == "visitor", table.text.is_not(None)]
    last = select(table.conversation, func.max(table.number).label("number")).where(*mine).group_by(table.conversation).subquery()
    joined = schema.turns.join(last, (table.conversation == last.c.conversation) & (table.number == last.c.number))
    return {row.conversation: row.text for row in connection.execute(select(table.conversation, table.text).select_from(joined))}


def rate(connection: Connection, id: str, satisfaction: int | None, comment: str | None) -> None:
    """Note how satisfied a visitor is; this is no turn."""
    table = schema.conversations
    connection.execute(update(table).where(table.c.id == id).values(satisfaction=satisfaction, comment=comment))


def delivered(connection: Connection, id: str, number: int) -> None:
    """Note that the adapter of a conversation has its turns up to a number."""
    table = schema.conversations
    connection.execute(update(table).where(table.c.id == id, table.c.delivered < number).values(delivered=number))


def unsent(connection: Connection, channels: Sequence[str], limit: int = 100) -> list[Conversation]:
    """Return conversations with turns that their adapters, which are some of these, have not got yet."""
    table = schema.conversations.c
    mine = [table.channel.is_not(None), table.delivered < table.turn, table.channel.in_(channels), table.sender.is_not(None)]
    rows = connection.execute(select(schema.conversations).where(*mine).order_by(table.id).limit(limit))
    return [_conversation(row) for row in rows]


def leave_sender(connection: Connection, id: str) -> None:
    """Forget how its adapter calls the sender of a conversation that is closed, so that the next message begins another one."""
    table = schema.conversations
    connection.execute(update(table).where(table.c.id == id, table.c.stage == "closed").values(sender=None))


def idle(connection: Connection, before: str, limit: int = 100) -> list[str]:
    """Return the ids of conversations that are open and have not changed since a time."""
    table = schema.conversations.c
    open_stages = ("bot", "waiting", "agent")
    rows = select(table.id).where(table.stage.in_(open_stages), table.changed < before).order_by(table.changed).limit(limit)
    return list(connection.scalars(rows))


def label(connection: Connection, id: str, number: int, value: dict[str, Any] | None) -> bool:
    """Note what would have been right for a turn of a visitor; return whether there is such a turn."""
    table = schema.turns.c
    mine = [table.conversation == id, table.number == number, table.author == "visitor"]
    return bool(connection.execute(update(schema.turns).where(*mine).values(label=_json_or_none(value))).rowcount)


def unanswered(connection: Connection, wanted: Filter, first: str, limit: int) -> list[Turn]:
    """Return messages of visitors that an app could not answer and that nobody labelled, the latest first.

    `first` is the smallest id of the conversations that count.
    """
    table, about, replied = schema.turns.c, schema.conversations.c, schema.turns.alias("replied")
    mine = [table.author == "visitor", table.action.in_(("refuse", "handoff")), table.conversation >= first, table.label.is_(None)]
    joined = [about.id == table.conversation, replied.c.conversation == table.conversation, replied.c.number == table.number + 1]
    handed = replied.c.reply.like(f'%"{NOT_UNDERSTOOD}"%')  # a text that contains it has a backslash before the quote
    meant = [table.text.is_not(None), (table.action == "refuse") | handed]
    ordered = (table.conversation.desc(), table.number.desc())
    rows = select(schema.turns).where(*mine, *joined, *meant, *wanted.conditions()).order_by(*ordered).limit(limit)
    return [_turn(row) for row in connection.execute(rows)]


def labelled(connection: Connection, wanted: Filter, after: tuple[str, int], limit: int) -> list[Turn]:
    """Return labelled turns in their order, from the one after a conversation and number."""
    table, about = schema.turns.c, schema.conversations.c
    later = (table.conversation > after[0]) | ((table.conversation == after[0]) & (table.number > after[1]))
    mine = [table.author == "visitor", table.label.is_not(None), about.id == table.conversation, later, *wanted.conditions()]
    rows = select(schema.turns).where(*mine).order_by(table.conversation, table.number).limit(limit)
    return [_turn(row) for row in connection.execute(rows)]


# ── Messages that came early ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Early:
    """A message that waits for earlier ones."""

    conversation: str
    sequence: int
    message: str
    at: str
    content: dict[str, Any]


def add_early(connection: Connection, early: Early) -> Early:
    """Store a message that came early, and return what is stored with its number, which may be another message."""
    row = {name: getattr(early, name) for name in early.__dataclass_fields__} | {"content": actions.as_json(early.content)}
    connection.execute(insert(connection, schema.early_messages).values(row).on_conflict_do_nothing())
    found = get_early(connection, early.conversation, early.sequence)
    return early if found is None else found


def sequence_of(connection: Connection, id: str) -> int:
    """Return the number of the last message of a conversation that was answered; 0 if there is no such conversation."""
    table = schema.conversations.c
    return int(connection.scalar(select(table.sequence).where(table.id == id)) or 0)


def is_early(connection: Connection, id: str, sequence: int) -> bool:
    """Return whether the message with a number waits."""
    table = schema.early_messages.c
    return connection.scalar(select(table.sequence).where(table.conversation == id, table.sequence == sequence)) is not None


def get_early(connection: Connection, id: str, sequence: int) -> Early | None:
    """Return the message with a number that waits; None if there is none."""
    table = schema.early_messages
    row = connection.execute(select(table).where(table.c.conversation == id, table.c.sequence == sequence)).one_or_none()
    return None if row is None else Early(row.conversation, row.sequence, row.message, row.at, content=orjson.loads(row.content))


def due_early(connection: Connection, before: str, limit: int = 1_000) -> list[str]:
    """Return the ids of conversations in which a message that waits since before a time is the next one."""
    table, about = schema.early_messages.c, schema.conversations.c
    next_one = [table.conversation == about.id, table.sequence <= about.sequence + 1, about.stage != "closed", table.at < before]
    return list(connection.scalars(select(about.id).where(*next_one).distinct().limit(limit)))


def remove_early(connection: Connection, id: str, sequence: int) -> None:
    """Delete a message that waited."""
    table = schema.early_messages
    connection.execute(delete(table).where(table.c.conversation == id, table.c.sequence == sequence))


def remove_answered_early(connection: Connection, id: str) -> None:
    """Delete messages of a conversation that waited and were answered when they were sent again."""
    table, about = schema.early_messages.c, schema.conversations.c
    sequence = select(about.sequence).where(about.id == id).scalar_subquery()
    connection.execute(delete(schema.early_messages).where(table.conversation == id, table.sequence <= sequence))


def _end(connection: Connection, id: str) -> None:
    """Delete what a conversation needs no more when it is closed: messages that wait, and details of its actions."""
    connection.execute(delete(schema.early_messages).where(schema.early_messages.c.conversation == id))
    actions.end(connection, id)


# ── Deletion ───────────────────────────────────────────────────────────────────────────────────────────────────────


def remove(connection: Connection, ids: Sequence[str]) -> int:
    """Delete conversations with all that belongs to them, and return how many there were."""
    for table in (schema.turns, schema.actions, schema.early_messages):
        connection.execute(delete(table).where(table.c.conversation.in_(ids)))
    return int(connection.execute(delete(schema.conversations).where(schema.conversations.c.id.in_(ids))).rowcount)


def older(connection: Connection, before: str, limit: int) -> list[str]:
    """Return the ids of closed conversations that have not changed since a time."""
    table = schema.conversations.c
    rows = select(table.id).where(table.stage == "closed", table.changed < before).order_by(table.changed).limit(limit)
    return list(connection.scalars(rows))


def _row(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: actions.as_json(value) if name in _JSON else value for name, value in values.items()}


def _json_or_none(value: Any) -> str | None:
    return None if value is None else actions.as_json(value)


def _conversation(row: Row[Any]) -> Conversation:
    values = dict(row._mapping)
    return Conversation(**{**values, "token": bytes(row.token), **{name: orjson.loads(values[name]) for name in _JSON}})


def _turn(row: Row[Any]) -> Turn:
    values = dict(row._mapping)
    loaded = {name: None if values[name] is None else orjson.loads(values[name]) for name in ("reply", "label")}
    hashes = {name: None if values[name] is None else bytes(values[name]) for name in ("digest", "fingerprint")}
    return Turn(**{**values, **loaded, **hashes})
