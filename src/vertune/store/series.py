"""Answers of a vertical over time: how many, how fast, how sure, and what users say of them; knows nothing of models and HTTP.

Reading takes the same time however many answers there are, because each step of time is divided into parts, and of each part a limited
number of answers is read, the first ones. Where a part has more, their number is estimated from the time that those took that were
counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BindParameter, Connection, Select, and_, bindparam, func, literal, select

from vertune.core.ids import first_id_of, time_of
from vertune.store import schema
from vertune.store.database import format_time

MOST_STEPS = 100
"""Largest number of steps of a series."""
_PARTS = 48
"""Number of parts of a series, at least: its steps are divided until there are so many."""
_COUNTED, _COUNTED_OF_CUSTOMER = 1000, 200
"""Numbers of rows that are counted of each part; fewer of a customer, because each must be found in another table."""
_READ = 40
"""Number of rows of each part of which the answers are read."""
_FEEDBACK = 5000
"""Number of the last feedback of a series that is counted."""
_FIRST: BindParameter[str] = bindparam("first")
_END: BindParameter[str] = bindparam("end")
"""The ids between which a statement looks; it is made once for all parts, because making it takes longer than running it."""


@dataclass(frozen=True, slots=True)
class Window:
    """Which answers are meant: of a vertical, from `since` on, in `steps` steps of one length; of one customer, or of all with None."""

    vertical: str
    since: datetime
    step: timedelta
    steps: int
    customer: str | None = None


@dataclass(slots=True)
class Step:
    """The answers of one step of time."""

    at: str
    """When it begins, in UTC."""
    answers: int = 0
    """Number of answers."""
    exact: bool = True
    """Whether all were counted; otherwise their number is estimated."""
    seconds: list[float] = field(default_factory=list)
    """How long the requests of the sampled answers took."""
    confidences: list[float] = field(default_factory=list)
    """The confidences of the sampled answers that have one."""
    sample: list[str] = field(default_factory=list)
    """The sampled answers, in JSON."""
    right: int = 0
    wrong: int = 0
    """Numbers of answers that users called right and wrong."""


@dataclass(frozen=True, slots=True)
class Series:
    """What was answered over time."""

    steps: list[Step]
    feedback_complete: bool
    """Whether all feedback was counted, and not the last alone."""


def read_series(connection: Connection, window: Window) -> Series:
    """Return what a vertical answered in each step of a window."""
    parts = max(1, -(-_PARTS // window.steps))
    steps, statements = [], (_sample(window.vertical, window.customer), _count(window.vertical, window.customer))
    for number in range(window.steps):
        begin = window.since + number * window.step
        step = Step(format_time(begin))
        for part in range(parts):
            _add(connection, statements, step, (begin + part * window.step / parts, begin + (part + 1) * window.step / parts))
        steps.append(step)
    return Series(steps, _add_feedback(connection, window, steps))


def _add(
    connection: Connection, statements: tuple[Select[Any], Select[*tuple[Any, ...]]], step: Step, span: tuple[datetime, datetime]
) -> None:
    """Count and sample the answers of a part of a step."""
    sample, count = statements
    between = {"first": first_id_of(span[0]), "end": first_id_of(span[1])}
    rows = connection.execute(sample, between).all()
    for row in rows:
        if row.answer is not None:
            step.seconds.append(row.seconds)
            step.sample.append(row.answer)
            step.confidences += [] if row.confidence is None else [row.confidence]
    if len(rows) < _READ:
        step.answers += sum(row.answer is not None for row in rows)
        return
    counted, found, last, most = connection.execute(count, between).one()
    if counted < most:
        step.answers += found
        return
    begin = span[0].timestamp()
    covered = time_of(last) - begin
    share = min(1.0, max(covered / (span[1].timestamp() - begin), 1e-6))
    step.answers += round(found / share)
    step.exact = False


def _sample(vertical: str, customer: str | None) -> Select[Any]:
    """Return the first answers of a part; of a customer, those of its first requests, with null for requests to other verticals."""
    answers, requests = schema.answers.c, schema.requests.c
    if customer is None:
        found = (  # limited before the join, because PostgreSQL would otherwise read all requests
            select(answers.request, answers.answer, answers.confidence)
            .where(answers.vertical == vertical, answers.request >= _FIRST, answers.request < _END)
            .order_by(answers.request, answers.number).limit(_READ).subquery()
        )  # fmt: skip
        of = found.c.request == requests.id
        return select(requests.seconds, found.c.answer, found.c.confidence).join_from(found, schema.requests, of)
    mine = _requests(customer, _READ)
    on = and_(answers.request == mine.c.id, answers.vertical == vertical)
    return select(mine.c.seconds, answers.answer, answers.confidence).select_from(mine.outerjoin(schema.answers, on)).limit(2 * _READ)


def _count(vertical: str, customer: str | None) -> Select[*tuple[Any, ...]]:
    """Return how many rows of a part were counted, how many of them are answers of the vertical, the id of the last one, and the limit."""
    answers = schema.answers.c
    if customer is None:
        found = (
            select(answers.request).where(answers.vertical == vertical, answers.request >= _FIRST, answers.request < _END)
            .order_by(answers.request).limit(_COUNTED).subquery()
        )  # fmt: skip
        return select(func.count(), func.count(), func.max(found.c.request), literal(_COUNTED)).select_from(found)
    mine = _requests(customer, _COUNTED_OF_CUSTOMER)
    on = and_(answers.request == mine.c.id, answers.vertical == vertical)
    return select(
        func.count(mine.c.id.distinct()), func.count(answers.number), func.max(mine.c.id), literal(_COUNTED_OF_CUSTOMER)
    ).select_from(mine.outerjoin(schema.answers, on))


def _requests(customer: str, limit: int) -> Any:
    """Return the first requests of a customer in a part."""
    requests = schema.requests.c
    conditions = (requests.customer == customer, requests.id >= _FIRST, requests.id < _END)
    return select(requests.id, requests.seconds).where(*conditions).order_by(requests.id).limit(limit).subquery()


def _add_feedback(connection: Connection, window: Window, steps: list[Step]) -> bool:
    """Count the verdicts in each step; return whether all were counted, and not only the last ones."""
    table, length = schema.feedback.c, window.step.total_seconds()
    conditions = [table.vertical == window.vertical, table.id >= first_id_of(window.since)]
    conditions += [table.id < first_id_of(window.since + window.steps * window.step)]
    conditions += [] if window.customer is None else [table.customer == window.customer]
    rows = connection.execute(select(table.id, table.verdict).where(*conditions).order_by(table.id.desc()).limit(_FEEDBACK)).all()
    for place, verdict in _placed(rows, window.since.timestamp(), length):
        if 0 <= place < len(steps):
            steps[place].right += verdict == "right"
            steps[place].wrong += verdict == "wrong"
    return len(rows) < _FEEDBACK


def _placed(rows: Any, since: float, length: float) -> Iterator[tuple[int, str | None]]:
    """Yield the number of the step of each feedback, and its verdict."""
    for row in rows:
        yield int((time_of(row.id) - since) // length), row.verdict


def window_of(vertical: str, since: datetime, until: datetime, step: timedelta, customer: str | None) -> Window:
    """Return the window from `since` to `until` in steps that begin at whole multiples of their length."""
    length = step.total_seconds()
    begin = since.timestamp() // length * length
    steps = max(1, int(-(-(until.timestamp() - begin) // length)))
    return Window(vertical, datetime.fromtimestamp(begin, UTC), step, steps, customer)
