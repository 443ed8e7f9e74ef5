"""watch: runs monitors by schedule, raises and sends alerts, and leads retrainings, in one of several processes; measures nothing itself.

What was done is in the database alone, so whoever goes on after a crash goes on where it ended. A process works as long as it has the
lease, which it checks in each transaction.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from vertune.core.artifact import Artifact, Home
from vertune.core.channel import Channel
from vertune.core.errors import ConfigError, Conflict, VertuneError
from vertune.core.parse import build
from vertune.core.sentence import said, stored
from vertune.core.watch import Watch, WatchFile
from vertune.runtime.live import read_live
from vertune.steps.alert import channels_of, deliver, end_alerts, raise_alerts
from vertune.steps.watch import reasons, retraining
from vertune.steps.watch.retraining import Ring
from vertune.store import alerts, deliveries, retrainings
from vertune.store.alerts import Memory
from vertune.store.audit import note
from vertune.store.database import Database, format_time
from vertune.store.leases import WATCH, Lease
from vertune.store.retrainings import Retraining

_log = logging.getLogger("vertune")
NAME = WATCH
"""The name of the lease."""
SCHEDULE = ":schedule"
"""What stands for the schedule of a vertical among its rules; no rule can be called so."""
_RETRY = timedelta(minutes=5)
"""The longest time after which monitors that failed are run again."""
_REASONING = 60.0
"""Seconds between two looks for reasons to train a vertical again."""
Measure = Callable[[Mapping[str, Watch]], object]
"""Runs the monitors of these verticals, by their options, and stores what they find."""


@dataclass(slots=True)
class Watcher:
    """Watches the live verticals of a home."""

    home: Home
    database: Database
    file: WatchFile
    """What the operator wrote."""
    measure: Measure
    ring: Ring
    only: frozenset[str] = frozenset()
    """The names of the verticals to watch; empty watches all that are live."""
    lease: Lease = field(init=False)
    _watches: dict[tuple[str, str], Watch | VertuneError] = field(default_factory=dict)
    """By the name of a vertical and the id of its model, how it is watched, or why it can't be."""
    _wrong: dict[str, str] = field(default_factory=dict)
    """By the name of a vertical, why it is not watched, so that this is logged once."""
    _reasoned: dict[str, float] = field(default_factory=dict)
    """By the name of a vertical, the monotonic time at which reasons to train it again were looked for."""

    def __post_init__(self) -> None:
        self.lease = Lease(self.database, NAME)
        self.ring = replace(self.ring, check=self.lease.check)

    def watches(self) -> dict[str, Watch]:
        """Return the options of the verticals to watch, by name; one whose model can't be read, or whose options are wrong, is left out."""
        every = read_live(self.home).models
        live = {name: model for name, model in every.items() if not self.only or name in self.only}
        read = {(name, model.id): self._watch(name, model) for name, model in live.items()}
        self._watches = read
        wrong = {name: str(one) for (name, _), one in read.items() if isinstance(one, VertuneError)}
        wrong |= dict.fromkeys(self.file.names - every.keys(), "the watch file has options for it, but no model with this name is live.")
        for name, why in wrong.items():
            if self._wrong.get(name) != why:
                _log.warning("'%s' is not watched: %s", name, why)
        self._wrong = wrong
        return {name: one for (name, _), one in read.items() if isinstance(one, Watch)}

    def _watch(self, name: str, model: Artifact) -> Watch | VertuneError:
        """Return how a vertical is watched, or why it can't be; neither its model nor the file of the operator ever changes."""
        known = self._watches.get((name, model.id))
        if isinstance(known, Watch | ConfigError):  # what can't be read now may be readable later
            return known
        try:
            found = self.file.watch(name, own_watch(model))
            found.check()
            return found
        except VertuneError as error:
            return error

    def channels(self) -> dict[str, Channel]:
        """Return the channels of all verticals by what they are called."""
        return channels_of(list(self.watches().values()))

    def check(self) -> None:
        """Raise ConfigError if a channel lacks something that sending will need."""
        for channel in self.channels().values():
            channel.check()

    def step(self) -> None:
        """Do what is due now, if this process has the lease; another one may get it in the middle, which ends this step."""
        if not self.lease.renew():
            return
        watches = self.watches()
        with self.database.reading() as connection:
            schedules, unheard, lasting = alerts.memories_of(connection, SCHEDULE), alerts.unheard(connection), alerts.lasting(connection)
            begun = retrainings.unfinished(connection)
        try:
            due = {name: watch for name, watch in watches.items() if _is_due(schedules.get(name), watch)}
            if due:
                self._measure(due)
            for name in watches.keys() & (due.keys() | unheard):
                raise_alerts(self.database, name, watches[name], self.lease.check)
            if unwatched := lasting - watches.keys():
                for name in unwatched - self._known():
                    end_alerts(self.database, name, self.lease.check)
            for name in watches.keys() - {one.vertical for one in begun if one.stage != retrainings.WAITING}:
                if newer := self._begin(name, watches[name]):
                    begun = [*(one for one in begun if one.vertical != name), newer]
            for one in begun:
                self._advance(one, watches.get(one.vertical, Watch()))
        except Conflict as error:
            _log.warning("Another process watches from now on: %s", error)

    def _known(self) -> set[str]:
        """Return the verticals that have an alias, readable or not."""
        live = read_live(self.home)
        return {*live.models, *live.errors}

    def deliver(self) -> int:
        """Send the messages that are due, if this process has the lease, and return how many were sent."""
        with self.database.reading() as connection:
            if not deliveries.waiting(connection):
                return 0  # each second, before the configs of all models are read for their channels
        try:
            return deliver(self.database, self.channels(), self.lease.check)
        except Conflict:
            return 0

    def stop(self) -> None:
        """Give the lease back."""
        self.lease.release()

    def _measure(self, due: Mapping[str, Watch]) -> None:
        """Run the monitors of these verticals together, because their findings are corrected for one another.

        If that fails, run those of each vertical alone, so that one damaged model keeps no other from being watched.
        """
        now, failed = datetime.now(UTC), self._failed(due)
        if failed and len(due) > 1:
            failed = {name for name, watch in due.items() if self._failed({name: watch})}
        with self.database.writing() as connection:
            self.lease.check(connection)
            for name, watch in due.items():
                again = now + min(watch.interval, _RETRY) if name in failed else now + watch.interval
                alerts.remember(connection, name, SCHEDULE, Memory(state={"ran": format_time(now), "next": format_time(again)}))

    def _failed(self, due: Mapping[str, Watch]) -> set[str]:
        """Run the monitors of these verticals, and return the names of the verticals if that failed."""
        try:
            self.measure(due)
        except Exception as error:
            _log.error("The monitors of %s failed: %s", ", ".join(due), error, exc_info=not isinstance(error, VertuneError))
            return set(due)
        return set()

    def _begin(self, name: str, watch: Watch) -> Retraining | None:
        """Begin a retraining if there is a reason; reasons are looked for once a minute."""
        now = time.monotonic()
        if not watch.retrain.wanted or now - self._reasoned.get(name, -_REASONING) < _REASONING:
            return None
        self._reasoned[name] = now
        live = read_live(self.home).models.get(name)
        with self.database.writing() as connection:
            self.lease.check(connection)
            why = None if live is None else reasons.reason(connection, name, watch.retrain, live, datetime.now(UTC))
            return None if why is None else begin(connection, name, why, retraining.ACTOR)

    def _advance(self, one: Retraining, watch: Watch) -> None:
        try:
            retraining.advance(self.ring, one, watch)
        except Conflict:
            raise
        except VertuneError as error:
            _log.warning("The retraining %s could not go on. The next attempt follows soon. %s", one.id, error)


def begin(connection: Connection, vertical: str, request: dict[str, Any], actor: str) -> Retraining | None:
    """Begin a retraining, tell the audit, and return it; None if one of the vertical goes on. One that waits for labels is replaced."""
    begun = retrainings.begin(connection, vertical, request, stored(said("retraining.replaced")))
    if begun is not None:
        note(connection, actor, "retrain", f"retraining {begun.id}", {"vertical": vertical, **begun.request})
    return begun


def own_watch(model: Artifact) -> Watch:
    """Return what the config of a model says of watching; its channels never count. Raises ConfigError if it is not valid."""
    written = model.manifest.get("config", {}).get("watch", {})
    return build(Watch, written, f"watch of the model {model.id}")


def _is_due(schedule: Memory | None, watch: Watch) -> bool:
    """Return whether the monitors of a vertical are to run now: after the interval, sooner if they failed or if it was made shorter."""
    if schedule is None:
        return True
    ran, next = (datetime.fromisoformat(schedule.state[key]) for key in ("ran", "next"))
    now = datetime.now(UTC)
    return now < ran or now >= min(next, ran + watch.interval)  # a time in the future: the clock was set back
