"""alert: turns what monitors measured into alerts and messages, and sends the messages; runs no monitor.

An alert, its messages and what its rule remembers are written in one transaction, and windows that were judged are not judged again. A
message is sent outside of a transaction, and then noted; a process that dies in between sends it again with the same id.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from sqlalchemy import Connection

from vertune.core.channel import Channel, Event, Message
from vertune.core.errors import VertuneError
from vertune.core.sentence import Sentence, said, stored
from vertune.core.watch import Rule, Watch
from vertune.steps.alert import messages, rules
from vertune.store import alerts, deliveries, leases, measurements
from vertune.store.alerts import Alert, Memory, Silence
from vertune.store.audit import note
from vertune.store.database import Database, format_time
from vertune.store.deliveries import Delivery

_log = logging.getLogger("vertune")
Check = Callable[[Connection], None]
"""Raises Conflict, in a transaction, if another process does this work now."""


def raise_alerts(database: Database, vertical: str, watch: Watch, check: Check = lambda connection: None) -> list[Alert]:
    """Judge the windows of a vertical that its rules have not judged; return the alerts that are new or were resolved.

    Messages are stored with the alerts; `deliver` sends them. Raises Conflict if `check` does.
    """
    changed: list[Alert] = []
    with database.writing() as connection:
        check(connection)
        memories, unsolved = alerts.memories(connection, vertical), alerts.unsolved(connection, vertical)
        teller = _Teller(connection, watch, alerts.silences(connection, [vertical]))
        for rule in watch.rules_in_force:
            memory, alert = memories.get(rule.name, Memory()), unsolved.pop(rule.name, None)
            for look in rules.looks(rule, memory, _found(connection, vertical, rule, memory)):
                outcome = rules.judge(rule, memory, look, alert, vertical)
                memory, alert = outcome.memory, outcome.alert or alert
                if outcome.alert is not None:
                    alerts.add(connection, outcome.alert)
                if outcome.event is not None and alert is not None:
                    changed.append(alert)
                    alert = teller.tell(outcome.event, alert, rule, memory)
                alert = None if outcome.event == "resolved" else alert
            if alert is not None:
                teller.tell("opened", alert, rule, memory)  # a silence may have ended
            alerts.remember(connection, vertical, rule.name, memory)
        _end(connection, unsolved.values(), said("alert.no_rule"))
    return changed


def end_alerts(database: Database, vertical: str, check: Check = lambda connection: None) -> None:
    """Resolve the alerts of a vertical without a live model, at which no monitor looks any more; nobody is told of their end.

    Raises Conflict if `check` does.
    """
    with database.writing() as connection:
        check(connection)
        _end(connection, alerts.unsolved(connection, vertical).values(), said("alert.no_model"))


def _end(connection: Connection, unsolved: Iterable[Alert], why: Sentence) -> None:
    """Resolve alerts that no finding will end."""
    now = format_time(datetime.now(UTC))
    for alert in unsolved:
        alerts.add(connection, replace(alert, state="resolved", changed=now, ended=now, comment=stored(why)))


@dataclass(frozen=True, slots=True)
class _Teller:
    """Stores messages in a transaction."""

    connection: Connection
    watch: Watch
    silences: Sequence[Silence]

    def tell(self, event: Event, alert: Alert, rule: Rule, memory: Memory) -> Alert:
        """Store the message about an alert once for each channel of its rule, if people are to be told now; return the alert.

        They are told once that it has opened, unless there is a silence or a person has seen it already, and of its end if they were told
        of its beginning.
        """
        now = format_time(datetime.now(UTC))
        silent = alert.state != "open" or any(one.covers(alert.vertical, alert.rule, now) for one in self.silences)
        if bool(alert.messages) != (event == "resolved") or (event == "opened" and silent):
            return alert
        told = replace(alert, messages=alert.messages + 1)
        alerts.add(self.connection, told)
        channels = [one.called for one in self.watch.channels if not rule.channels or one.called in rule.channels]
        written = messages.message(event, told, rule, memory, self.watch.language)
        deliveries.add(self.connection, told.id, told.messages, channels, written.payload())
        return told


def _found(connection: Connection, vertical: str, rule: Rule, memory: Memory) -> list[measurements.Measurement]:
    """Return what the monitors of a rule measured by schedule since the last window that it judged; reports of people raise no alerts."""
    seen = memory.state.get("seen", "")
    names = [name for name in measurements.monitors(connection, vertical) if rule.covers(name)]
    return [one for name in names for one in measurements.series(connection, vertical, name, seen, scheduled=True)]


def deliver(database: Database, channels: Mapping[str, Channel], check: Check = lambda connection: None) -> int:
    """Send the messages that are due, and return how many were sent; what can't be sent is tried again later."""
    with database.reading() as connection:
        due = deliveries.due(connection, channels)
    return sum(_send(database, one, channels[one.channel], check) for one in due)


def _send(database: Database, delivery: Delivery, channel: Channel, check: Check) -> bool:
    with database.writing() as connection:
        check(connection)  # a process that lost its lease sends nothing
        if not deliveries.is_waiting(connection, delivery.id):
            return False
    try:
        channel.send(Message.read(delivery.id, delivery.payload))
    except VertuneError as error:
        why = str(error)
    except Exception as error:
        _log.error("The channel '%s' failed unexpectedly.", delivery.channel, exc_info=error)
        why = said("delivery.unexpected", channel=delivery.channel, error=type(error).__name__)
    else:
        with database.writing() as connection:
            deliveries.sent(connection, delivery.id)
        return True
    _log.warning("A message about the alert %s could not be sent. %s", delivery.alert, why)
    with database.writing() as connection:
        deliveries.failed(connection, delivery, why)
    return False


def decide(
    connection: Connection, alert: Alert, state: Literal["acknowledged", "false"], actor: str, comment: str
) -> None:  # fmt: skip
    """Let a person acknowledge an alert or call it false, which lowers the weight of its rule, and tell the audit both.

    Raises Conflict if the alert is resolved already, or was called false.
    """
    leases.is_held(connection, leases.WATCH)  # the process that watches writes alerts and memories as it read them, so it waits meanwhile
    alerts.decide(connection, alert, state, actor, comment)
    details: dict[str, object] = {"vertical": alert.vertical, "rule": alert.rule}
    if state == "false":
        before = alerts.memories(connection, alert.vertical).get(alert.rule, Memory())
        after = rules.called_false(before, alert)
        alerts.remember(connection, alert.vertical, alert.rule, after)
        details |= {"weight": after.weight, "weight_before": before.weight}
    note(connection, actor, "acknowledge" if state == "acknowledged" else "call false", f"alert {alert.id}", details)


def channels_of(watches: Sequence[Watch]) -> dict[str, Channel]:
    """Return the channels of several verticals by what they are called."""
    return {channel.called: channel for watch in watches for channel in watch.channels}
