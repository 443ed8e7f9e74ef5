"""Watches the verticals of a server: monitors run in child processes, so that they take nothing from answers; does not depend on HTTP."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from vertune.core.artifact import Home
from vertune.core.config import dump
from vertune.core.errors import NotFound
from vertune.core.ids import first_id_of, time_ordered_id
from vertune.core.watch import Watch, WatchFile
from vertune.runtime.live import read_live
from vertune.server.jobs import Jobs
from vertune.server.polling import Polling
from vertune.server.rollouts import Rollouts
from vertune.server.settings import JobSettings
from vertune.steps.watch import Watcher
from vertune.steps.watch.retraining import Ring
from vertune.store import jobs
from vertune.store.database import Database, format_time
from vertune.store.jobs import Job, Kind
from vertune.store.key import DEFAULT_CUSTOMER
from vertune.store.rollouts import Rollout
from vertune.store.windows import Stretch, count_answers

STEP, DELIVERY, LEASE = 2.0, 1.0, 3.0
"""Seconds between two looks at what is due, at messages that wait, and between two extensions of the lease."""
_PRIORITY = 3
"""The priority of jobs that no person asked for, below that of others."""
_LONGEST = 1800.0
"""Seconds after which monitors that have not ended are stopped."""


class Watching:
    """What watches the verticals of one server, as long as no other server does."""

    def __init__(
        self, home: Home, database: Database, file: WatchFile, processes: Jobs | None = None, rollouts: Rollouts | None = None,
        only: frozenset[str] = frozenset(),
    ) -> None:  # fmt: skip
        """`processes` runs jobs in this process; without it, retrainings wait for a server that runs jobs.

        `rollouts` compares candidates in this process; without it, servers do, and how many requests a candidate in shadow got copies of
        is known from those that they stored. `only` names the verticals to watch; empty watches all that are live.
        """
        self._database, self._home, self._rollouts = database, home, rollouts
        self._processes = processes or Jobs(database, home.folder, JobSettings(cores=1))
        ring = Ring(home, database, self._queue, self._find, self._compared)
        self.watcher = Watcher(home, database, file, self._measure, ring, only=only)
        self._pollings = (
            Polling("monitors", self.watcher.step, lambda: STEP),
            Polling("alerts", self._deliver, lambda: DELIVERY),
            Polling("lease of the monitors", self._keep, lambda: LEASE),
        )

    def start(self) -> None:
        """Start to watch; raise ConfigError if a channel lacks something, such as a secret."""
        self.watcher.check()
        for polling in self._pollings:
            polling.start()

    def stop(self) -> None:
        """Stop to watch, and let another server go on at once."""
        for polling in self._pollings:
            polling.stop()
        self.watcher.stop()

    def _deliver(self) -> None:
        self.watcher.deliver()

    def _keep(self) -> None:
        self.watcher.lease.renew()

    def _measure(self, due: Mapping[str, Watch]) -> None:
        self._processes.ask({"kind": "monitor", "verticals": {name: dump(watch) for name, watch in due.items()}}, _LONGEST)

    def _queue(self, kind: Kind, vertical: str, request: dict[str, Any], work: str) -> Job:
        live = read_live(self._home).models.get(vertical)
        customer = None if live is None else live.manifest.get("customer")
        row = {
            "id": time_ordered_id(), "at": format_time(datetime.now(UTC)), "customer": customer or DEFAULT_CUSTOMER, "key": None,
            "kind": kind, "vertical": vertical, "request": request, "priority": _PRIORITY, "idempotency": f"watch {work}",
            "digest": hashlib.sha256(work.encode()).digest(),
        }  # fmt: skip
        return jobs.add(self._database, row, work)[0]

    def _find(self, id: str) -> Job | None:
        with self._database.reading() as connection:
            try:
                return jobs.get(connection, id, jobs.Filter())
            except NotFound:
                return None

    def _compared(self, rollout: Rollout) -> int | None:
        if self._rollouts is None:
            with self._database.reading() as connection:
                stretch = Stretch(rollout.vertical, rollout.first, first_id_of(datetime.now(UTC)), rollout.live)
                return int(count_answers(connection, stretch) * rollout.share)
        comparison = self._rollouts.comparisons.get(rollout.vertical)
        if comparison is None or comparison.rollout.first != rollout.first or comparison.fails_more():
            return None
        return max(comparison.compared, comparison.answered())
