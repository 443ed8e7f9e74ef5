"""Windows of the requests that a server stored: the last ones, the first ones, and those with feedback.

`Traffic` reads rows in a transaction, and computes nothing; `Rows.window` makes a window of them afterwards, with numbers of tokens and
what else a model is needed for. So no transaction is open while a model computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from vertune.core.artifact import Artifact
from vertune.core.ids import first_id_at, first_id_of
from vertune.core.monitor import Window
from vertune.metrics.hourly import WEEKLY, HourlyRates
from vertune.steps.monitor.reader import Reader
from vertune.steps.monitor.reference import MOST
from vertune.store.rollouts import running
from vertune.store.windows import (
    Row,
    Stretch,
    count_answers,
    count_requests,
    counts_by_hour,
    first_rows,
    labelled_rows,
    last_rows,
    sampled_rows,
)

_SAMPLED = 5000
"""Largest number of requests of a window that is a time; of more, a sample of all hours."""
_LABELLED = 20_000
"""Largest number of requests with feedback that are looked at."""
_EARLY_DAYS = 21
"""Number of days after the first request of a model from which the usual number of requests of an hour is known: two weeks at least, even
if they end with a weekend without any request."""
_PAUSE, _FEWEST_HOURS = 50, 6
"""How many requests must be usual in a time for their absence to say something, if they come independently; and from how many hours of the
reference it is known what is usual."""
_WEEKEND, _LONGEST_PAUSE = 3 * 86_400.0, 28 * 86_400.0
"""The least length of such a time, in seconds, while the days of the week can't be told apart, and the greatest."""
_SHADOWED = 300
"""Number of requests of a window that a candidate in shadow answers for the monitors."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Stored requests of a stretch of time, oldest first."""

    rows: Sequence[Row]
    hours: Sequence[tuple[float, int]] = ()
    """When each complete hour of the stretch began, with the true number of its requests, where the rows are a sample; else empty."""
    total: int = 0
    """Number of requests in the stretch, where there are more than rows, which are a sample or those of one model; else 0."""

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def at(self) -> NDArray[np.float64]:
        """When each request arrived, in seconds since 1970."""
        return np.array([row.at for row in self.rows], np.float64)

    def window(self, reader: Reader, counted: bool = True) -> Window:
        """Return the window of the rows, with numbers of tokens unless they are not to be `counted`."""
        window = replace(window_of(reader, self.rows), hours=self.hours, total=self.total)
        return reader.complete(window) if counted else window


@dataclass(frozen=True, slots=True)
class Recent:
    """The last time in which so many requests are usual that their number says something, however few came."""

    begin: float
    end: float
    total: int
    """The number of requests, failed ones and those of other models included."""
    hours: Sequence[tuple[float, int]]
    """The hours that say what is usual, each with its beginning in seconds since 1970 and its number of requests."""

    def windows(self, reader: Reader) -> tuple[Window, Window]:
        """Return the reference and the window, which have no records."""
        nothing = Window.of(reader.task, [], [])
        return replace(nothing, hours=self.hours), replace(nothing, span=(self.begin, self.end), total=self.total)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the store has of one vertical, of the requests that its live model answered."""

    connection: Connection
    vertical: str
    model: Artifact
    """The live model."""
    now: datetime

    @property
    def _since(self) -> str:
        """The first id that a request to this model can have."""
        return first_id_of(self.model.created)

    def _stretch(self, first: str, end: datetime | None = None) -> Stretch:
        return Stretch(self.vertical, max(first, self._since), first_id_of(end or self.now), self.model.id)

    def window(self, length: int | timedelta) -> Rows:
        """Return the last requests: so many answers, or those of the last time of this length."""
        if isinstance(length, int):
            rows = last_rows(self.connection, self._stretch(""), length)
            others = self._of_other_models(rows)
            return Rows(rows, total=len(rows) + others if others else 0)
        stretch = self._stretch(first_id_of(self.now - length))
        return self._counted(sampled_rows(self.connection, stretch, _SAMPLED), stretch)

    def _of_other_models(self, rows: Sequence[Row]) -> int:
        """Return how many requests between the first and the last row were answered by other models, such as a canary."""
        if not rows:
            return 0
        ends = rows[0].request, rows[-1].request
        every, mine = (count_answers(self.connection, Stretch(self.vertical, *ends, model)) for model in (None, self.model.id))
        return every - mine

    def reference(self, span: tuple[datetime, datetime]) -> Rows:
        """Return the requests between two times, a sample of `MOST` if there are more."""
        stretch = Stretch.between(self.vertical, *span)
        return self._counted(sampled_rows(self.connection, stretch, MOST), stretch)

    def early(self) -> Rows:
        """Return the first requests to the model."""
        rows = first_rows(self.connection, self._stretch(""), MOST)
        if not rows:
            return Rows(rows)
        first = datetime.fromtimestamp(rows[0].at, UTC)
        counted = Stretch.between(self.vertical, first, min(self.now, first + timedelta(days=_EARLY_DAYS)))
        return Rows(rows, counts_by_hour(self.connection, counted)[1:-1])

    def recent(self, span: tuple[datetime, datetime] | None, since: float) -> Recent | None:
        """Return the last time, begun at `since` or later, whose number of requests can be compared; None if it is not long enough yet.

        `span` is when the reference begins and ends, None for the first requests to the model.
        """
        end, hours = self.now.timestamp(), self._usual_hours(span)
        if len(hours) < _FEWEST_HOURS:
            return None
        usual = HourlyRates.of(hours)
        begin = usual.before(end, _PAUSE * usual.factor, _LONGEST_PAUSE)
        if begin is None:
            return None
        begin = begin if usual.is_weekly else min(begin, end - _WEEKEND)
        hours = [hour for hour in hours if hour[0] < begin]
        if begin < since or len(hours) < _FEWEST_HOURS:
            return None
        stretch = Stretch(self.vertical, first_id_at(begin), first_id_at(end))
        return Recent(begin, end, count_requests(self.connection, stretch), hours)

    def _usual_hours(self, span: tuple[datetime, datetime] | None) -> list[tuple[float, int]]:
        """Return the complete hours of the reference, of any model, up to the last one with a request.

        Those before the first request to the model count too while there are too few to tell the days of the week apart.
        """
        if span is not None:
            return counts_by_hour(self.connection, Stretch.between(self.vertical, *span))[1:-1]
        rows, some = first_rows(self.connection, self._stretch(""), 1), timedelta(days=_EARLY_DAYS)
        first = datetime.fromtimestamp(rows[0].at, UTC) if rows else self.now
        until = min(self.now, first + some)
        hours = counts_by_hour(self.connection, Stretch.between(self.vertical, first, until))[1:-1]
        if len(hours) >= WEEKLY:
            return hours
        return counts_by_hour(self.connection, Stretch.between(self.vertical, first - some, until))[1:-1]

    def labelled(self, before: float, since: datetime | None) -> Rows:
        """Return the requests with feedback since a time, or since the model began to answer, that came before another time, in seconds."""
        rows = labelled_rows(self.connection, self._stretch("" if since is None else first_id_of(since)), _LABELLED)
        return Rows([row for row in rows if row.at < before])

    def candidate(self) -> str | None:
        """Return the id of the model that answers copies of the requests; None if there is none."""
        rollout = running(self.connection).get(self.vertical)
        return rollout.model if rollout is not None and rollout.mode == "shadow" else None

    def _counted(self, rows: Sequence[Row], stretch: Stretch) -> Rows:
        """Return a sample with the true numbers of requests; the first and the last hour are not complete."""
        hours = counts_by_hour(self.connection, stretch)
        return Rows(rows, hours[1:-1], sum(count for _, count in hours))


@dataclass(frozen=True, slots=True)
class Stored:
    """All that one look at a vertical reads of the store."""

    window: Rows
    early: Rows
    labelled: Rows
    """The requests with feedback before the window."""
    reference: Rows | None
    """None if the reference is no stretch of time."""
    candidate: str | None
    """The id of the candidate in shadow, if there is one."""
    before: dict[str, list[Any]] = field(default_factory=dict)
    """The last measurements of each monitor, newest first."""


@dataclass(frozen=True, slots=True)
class Paused:
    """What a look reads of the store if there are too few new requests to compare."""

    recent: Recent
    before: dict[str, list[Any]]
    """The last measurements of each monitor, newest first."""


def with_shadow(window: Window, candidate: Reader | None) -> Window:
    """Return the window with the answers of a candidate to some of its requests."""
    if candidate is None:
        return window
    rows = [row for row, record in enumerate(window.records) if record is not None and window.answers[row] is not None][-_SHADOWED:]
    answers = candidate.answers([window.records[row] or {} for row in rows])
    said = dict(zip(rows, answers, strict=True))
    return replace(window, shadow=[said.get(row) for row in range(len(window))])


def window_of(reader: Reader, rows: Sequence[Row]) -> Window:
    """Return the window of stored requests; what a user called right or wrong counts more than the right answer that a user named."""
    right = []
    for row in rows:
        said = {"right": 1.0, "wrong": 0.0}.get(row.verdict or "")
        right.append(reader.is_right(row.record, row.answer, row.target) if said is None else said)
    sure = [np.nan if row.confidence is None else row.confidence for row in rows]
    return Window.of(
        reader.task, [row.record for row in rows], [row.answer for row in rows], at=[row.at for row in rows], confidences=np.array(sure),
        seconds=[row.seconds for row in rows], right=right, targets=[row.target for row in rows],
        errors=[reader.error(row.answer, row.target) for row in rows],
    )  # fmt: skip
