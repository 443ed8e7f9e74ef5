"""Refuses requests of customers that have used up what their plan allows in a month; does not depend on how usage is stored."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from vertune.answering.call import Call
from vertune.core.errors import AccessError, Busy
from vertune.server.polling import Polling
from vertune.store.database import Database
from vertune.store.plans import UNITS, Plan, Plans, Unit, month_of, seconds_left
from vertune.store.traffic import Amounts, Used
from vertune.store.usage import Period, used

INTERVAL = 2.0
"""Seconds between two queries of what all servers together have answered."""
_WARN_AT = 0.8
"""The share of a quota from which responses have a warning."""
Sums = tuple[int, int, int]
"""Requests, records and tokens."""
_NOTHING: Sums = (0, 0, 0)


class Quotas:
    """The quotas of all customers in this month, counted over all servers that share a database.

    What other servers answered within the last `INTERVAL` seconds is not known yet, so together they may answer so much more.
    """

    def __init__(self, database: Database, plans: Plans) -> None:
        self.plans, self._database = plans, database
        self._stored: dict[str, Sums] = {}
        """By customer, what was in the database at the last query. The dict is replaced, never changed."""
        self._pending: dict[str, Sums] = {}
        """By customer, what this server answered and has not written to the database."""
        self._running: dict[str, Sums] = {}
        """By customer, the requests and records that this server computes now: many at once would else all be within the last one of a
        quota."""
        self._written: deque[tuple[float, str, Sums]] = deque()
        """What this server wrote so shortly before the last query, or after it, that it may not be contained in its result."""
        self._lock = threading.Lock()
        self.polling = Polling("usage", self.update, lambda: INTERVAL)

    def __call__(self, call: Call) -> None:
        """Count an answered call; a listener of calls."""
        if call.status != 200 or not call.verticals or self.plans.of(call.customer) is None:
            return
        count = len(call.verticals)
        with self._lock:
            self._pending[call.customer] = _sum(self._pending.get(call.customer, _NOTHING), (count, count * len(call.records), call.tokens))

    @contextmanager
    def running(self, customer: str, requests: int, records: int) -> Iterator[None]:
        """Count a request of a customer while the `with` block answers it; afterwards, it counts if it was answered."""
        if self.plans.of(customer) is None:
            yield
            return
        amounts = (requests, records, 0)
        with self._lock:
            self._running[customer] = _sum(self._running.get(customer, _NOTHING), amounts)
        try:
            yield
        finally:
            with self._lock:
                self._running[customer] = _difference(self._running[customer], amounts)
                if self._running[customer] == _NOTHING:
                    del self._running[customer]

    def written(self, usage: Sequence[Mapping[Used, Amounts]]) -> None:
        """Take the usage that was written to the database just now."""
        now = time.monotonic()
        with self._lock:
            for part in usage:
                for used_by, (requests, records, tokens, _) in part.items():
                    name, amounts = used_by.customer, (requests, records, tokens)
                    if name in self._pending:
                        self._pending[name] = _difference(self._pending[name], amounts)
                        self._written.append((now, name, amounts))

    def check(self, customer: str, verticals: Sequence[str] = ()) -> str:
        """Return a warning for the response if a quota of the customer is nearly used up; empty if none is.

        Raises Busy if one is used up, and AccessError if the plan does not allow one of the verticals.
        """
        plan = self.plans.of(customer)
        if plan is None:
            return ""
        self._check_verticals(customer, plan, verticals)
        warnings = []
        for unit, amount in zip(UNITS, self.used(customer), strict=True):
            limit = plan.limit(unit)
            if limit is not None and amount >= limit:
                raise _used_up(customer, unit, limit)
            if limit is not None and amount >= _WARN_AT * limit:
                warnings.append(f"{unit} {amount} of {limit}")
        return ", ".join(warnings)

    def check_jobs(self, customer: str, vertical: str) -> None:
        """Check that the plan of a customer allows it to start another job in this month, about this vertical.

        Raises Busy if the jobs are used up, and AccessError if the plan does not allow the vertical.
        """
        plan = self.plans.of(customer)
        if plan is None:
            return
        self._check_verticals(customer, plan, [vertical])
        if plan.jobs is None:
            return
        first, end = month_of(datetime.now(UTC).date())
        with self._database.reading() as connection:
            started = sum(row.jobs for row in used(connection, Period(customer, first, end), ["customer"]))
        if started >= plan.jobs:
            raise _used_up(customer, "jobs", plan.jobs)

    def _check_verticals(self, customer: str, plan: Plan, verticals: Sequence[str]) -> None:
        if plan.verticals is not None and (refused := [name for name in verticals if name not in plan.verticals]):
            raise AccessError(
                f"The plan of '{customer}' does not contain '{refused[0]}'. Ask the operator of the server for a larger plan."
            )

    def used(self, customer: str) -> Sums:
        """Return what a customer has used in this month, with what is computed now."""
        with self._lock:
            total = _sum(self._stored.get(customer, _NOTHING), self._pending.get(customer, _NOTHING))
            total = _sum(total, self._running.get(customer, _NOTHING))
            for _, name, amounts in self._written:
                total = _sum(total, amounts) if name == customer else total
            return total

    def update(self) -> None:
        """Read what is used from the database."""
        first, end = month_of(datetime.now(UTC).date())
        asked = time.monotonic()
        with self._database.reading() as connection:
            rows = used(connection, Period(None, first, end), ["customer"])
        with self._lock:
            self._stored = {row.customer: (row.requests, row.records, row.tokens) for row in rows}
            while self._written and self._written[0][0] < asked:
                self._written.popleft()


def _used_up(customer: str, unit: Unit, limit: int) -> Busy:
    seconds = seconds_left(datetime.now(UTC))
    return Busy(
        f"The plan of '{customer}' allows {limit} {unit} in a month, and they are used up. Ask the operator of the server for a larger "
        "plan, or wait until the next month begins (UTC).",
        seconds,
        over_limit=True,
    )


def _sum(one: Sums, other: Sums) -> Sums:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]


def _difference(one: Sums, other: Sums) -> Sums:
    return one[0] - other[0], one[1] - other[1], one[2] - other[2]
