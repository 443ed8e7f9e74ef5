"""Refuses requests of customers that have used up what their plan allows in a month; does not depend on how usage is stored."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime

from vertune.answering.call import Call
from vertune.core.errors import AccessError, Busy, StorageError
from vertune.store.database import Database
from vertune.store.plans import UNITS, Plans, Unit, month_of, seconds_left
from vertune.store.usage import Period, used

_log = logging.getLogger("vertune")
INTERVAL = 2.0
"""Seconds between two queries of what all servers together have answered."""
_UNWRITTEN = 1.0
"""Seconds after which an answered request is in the database at the latest, unless the database can't be written."""
_WARN_AT = 0.8
"""The share of a quota from which responses have a warning."""
Amounts = tuple[int, int, int]
"""Requests, records and tokens."""


class Quotas:
    """The quotas of all customers in this month, counted over all servers that share a database.

    What other servers answered within the last `INTERVAL` seconds is not known yet, so together they may answer so much more.
    """

    def __init__(self, database: Database, plans: Plans) -> None:
        self.plans, self._database = plans, database
        self._stored: dict[str, Amounts] = {}
        """By customer, what was in the database at the last query. The dict is replaced, never changed."""
        self._recent: deque[tuple[float, str, Amounts]] = deque()
        """What this server answered so shortly before or after this query that it may not be contained in it."""
        self._since: dict[str, Amounts] = {}
        """By customer, the sum of `_recent`."""
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vertune-quotas", daemon=True)

    def start(self) -> None:
        """Begin to follow what is used."""
        self._thread.start()

    def stop(self) -> None:
        """Stop to follow it."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def __call__(self, call: Call) -> None:
        """Count an answered call; a listener of calls."""
        if call.status != 200 or not call.verticals or self.plans.of(call.customer) is None:
            return
        count = len(call.verticals)
        amounts = (count, count * len(call.records), call.tokens)
        with self._lock:
            self._recent.append((time.monotonic(), call.customer, amounts))
            self._since[call.customer] = _sum(self._since.get(call.customer, (0, 0, 0)), amounts)

    def check(self, customer: str, verticals: Sequence[str] = ()) -> str:
        """Return a warning for the response if a quota of the customer is nearly used up; empty if none is.

        Raises Busy if one is used up, and AccessError if the plan does not allow one of the verticals.
        """
        plan = self.plans.of(customer)
        if plan is None:
            return ""
        if plan.verticals is not None and (refused := [name for name in verticals if name not in plan.verticals]):
            raise AccessError(
                f"The plan of '{customer}' does not contain '{refused[0]}'. Ask the operator of the server for a larger plan."
            )
        warnings = []
        for unit, amount in zip(UNITS, self.used(customer), strict=True):
            limit = plan.limit(unit)
            if limit is not None and amount >= limit:
                raise _used_up(customer, unit, limit)
            if limit is not None and amount >= _WARN_AT * limit:
                warnings.append(f"{unit} {amount} of {limit}")
        return ", ".join(warnings)

    def used(self, customer: str) -> Amounts:
        """Return what a customer has used in this month."""
        with self._lock:
            return _sum(self._stored.get(customer, (0, 0, 0)), self._since.get(customer, (0, 0, 0)))

    def update(self) -> None:
        """Read what is used from the database."""
        first, end = month_of(datetime.now(UTC).date())
        asked = time.monotonic()
        with self._database.reading() as connection:
            rows = used(connection, Period(None, first, end), ["customer"])
        with self._lock:
            self._stored = {row.customer: (row.requests, row.records, row.tokens) for row in rows}
            while self._recent and self._recent[0][0] < asked - _UNWRITTEN:
                self._recent.popleft()
            self._since = {}
            for _, customer, amounts in self._recent:
                self._since[customer] = _sum(self._since.get(customer, (0, 0, 0)), amounts)

    def _run(self) -> None:
        while True:
            try:
                self.update()
            except StorageError as error:  # what this server counts itself is known nevertheless
                _log.debug("Usage could not be read. %s", error)
            if self._stopping.wait(INTERVAL):
                return


def _used_up(customer: str, unit: Unit, limit: int) -> Busy:
    seconds = seconds_left(datetime.now(UTC))
    return Busy(
        f"The plan of '{customer}' allows {limit} {unit} in a month, and they are used up. Ask the operator of the server for a larger "
        "plan, or wait until the next month begins (UTC).",
        seconds,
        over_limit=True,
    )


def _sum(one: Amounts, other: Amounts) -> Amounts:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]
