"""Decides when what monitors found is an alert: hysteresis, cool-down, silence, and the weight of a rule; stores and sends nothing."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from vertune.core.channel import Event
from vertune.core.ids import time_ordered_id
from vertune.core.watch import Rule, duration
from vertune.store.alerts import Alert, Memory
from vertune.store.database import format_time
from vertune.store.measurements import Measurement

_MOST_WINDOWS = 10
"""Largest number of successive windows that a rule needs, however often its alerts were called false."""
_PRIOR = 2
"""How many alerts that were right a rule begins with, so that one false alert does not end it."""


@dataclass(frozen=True, slots=True)
class Look:
    """What the monitors of one rule found in one window of a vertical."""

    at: str
    end: str
    """When the window begins and ends."""
    found: tuple[Measurement, ...]

    @property
    def changed(self) -> bool | None:
        """Whether any monitor saw a change; None if none of them could tell."""
        verdicts = {one.verdict for one in self.found}
        return True if "changed" in verdicts else False if "quiet" in verdicts else None

    def strongest(self, monitors: Collection[str]) -> Measurement:
        """Return the finding that is least likely by chance, of those of some monitors."""
        found = [one for one in self.found if one.monitor in monitors]
        return min(found, key=lambda one: (1.0 if one.p is None else one.p, one.monitor))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a window means for a rule."""

    memory: Memory
    alert: Alert | None = None
    """The alert as it is now, if it is new or has changed."""
    event: Event | None = None
    """What people are to be told."""


def looks(rule: Rule, memory: Memory, found: Sequence[Measurement]) -> list[Look]:
    """Return the windows that the rule has not judged, oldest first."""
    seen = memory.state.get("seen", "")
    windows: dict[str, list[Measurement]] = {}
    for one in found:
        if one.window_end > seen and rule.covers(one.monitor):
            windows.setdefault(one.window_end, []).append(one)
    return [Look(min(one.at for one in windows[end]), end, tuple(windows[end])) for end in sorted(windows)]


def judge(rule: Rule, memory: Memory, look: Look, alert: Alert | None, vertical: str) -> Outcome:
    """Return what one more window means, given the unsolved alert of the rule, if there is one.

    An alert opens once a monitor has seen a change in as many successive windows as the rule and its weight require, unless the last alert
    ended less than the cool-down ago. It is resolved after `calm` successive windows in which no monitor of the rule saw one. A window in
    which a monitor can't tell anything neither lengthens nor ends its run.
    """
    runs: dict[str, list[Any]] = dict(memory.state.get("runs", {}))
    for one in look.found:
        if one.verdict == "changed":
            count, since = runs.get(one.monitor, (0, look.at))
            runs[one.monitor] = [count + 1, since]
        elif one.verdict == "quiet":
            runs.pop(one.monitor, None)
    quiet = 0 if look.changed else memory.state.get("quiet", 0) + (look.changed is False)
    memory = replace(memory, state={**memory.state, "seen": look.end, "runs": runs, "quiet": quiet})
    now = {one.monitor for one in look.found if one.verdict == "changed"}
    if alert is not None:
        return _going_on(rule, memory, look, alert, now)
    ready = {name for name in now if runs[name][0] >= needed(rule, memory)}
    if not ready or _cools(rule, memory, look.end):
        return Outcome(memory)
    strongest = look.strongest(ready)
    opened = Alert(
        time_ordered_id(), vertical, rule.name, strongest.monitor, rule.severity, state="open", began=min(runs[name][1] for name in ready),
        changed=look.end, ended=None, value=strongest.value, why=strongest.why, evidence=strongest.evidence,
    )  # fmt: skip
    return Outcome(memory, opened, "opened")


def _going_on(rule: Rule, memory: Memory, look: Look, alert: Alert, now: set[str]) -> Outcome:
    """Resolve an unsolved alert, or let it show the newest finding."""
    if now:
        strongest = look.strongest(now)
        newest = replace(alert, monitor=strongest.monitor, value=strongest.value, why=strongest.why, evidence=strongest.evidence)
        return Outcome(memory, replace(newest, changed=look.end, severity=rule.severity))
    if memory.state["quiet"] < rule.calm:
        return Outcome(memory)
    right = memory.state.get("right", 0) + (alert.state == "acknowledged")
    ended = replace(memory, state={**memory.state, "ended": look.end, "right": right})
    return Outcome(_weighed(ended), replace(alert, state="resolved", changed=look.end, ended=look.end), "resolved")


def _cools(rule: Rule, memory: Memory, now: str) -> bool:
    ended: str = memory.state.get("ended") or ""
    return bool(ended) and datetime.fromisoformat(now) < datetime.fromisoformat(ended) + duration(rule.cool_down)


def needed(rule: Rule, memory: Memory) -> int:
    """Return the number of successive windows with a change that open an alert: `after`, divided by the weight of the rule."""
    return min(_MOST_WINDOWS, math.ceil(rule.after / memory.weight)) if rule.after < _MOST_WINDOWS else rule.after


def called_false(memory: Memory, alert: Alert) -> Memory:
    """Return what a rule remembers after a person called one of its alerts false: its weight is lower."""
    largest: dict[str, Any] = dict(memory.state.get("largest", {}))
    if alert.value is not None:
        largest[alert.monitor] = max(alert.value, largest.get(alert.monitor, alert.value))
    ended = {"ended": format_time(datetime.now(UTC)), "runs": {}} if alert.ended is None else {}
    return _weighed(replace(memory, state={**memory.state, "false": memory.state.get("false", 0) + 1, "largest": largest, **ended}))


def _weighed(memory: Memory) -> Memory:
    """Return the memory with its weight: the share of right alerts, in which a false one counts as much as two right ones."""
    right, wrong = memory.state.get("right", 0) + _PRIOR, 2 * memory.state.get("false", 0)
    return replace(memory, weight=round(right / (right + wrong), 3))


def suggestion(rule: Rule, memory: Memory) -> Mapping[str, Any] | None:
    """Return what people could change after alerts of the rule were called false; None if none was.

    The result has the number of `false` and `right` alerts, the `windows` that the rule needs now, and by monitor the largest value that
    was called false (`largest`), below which a threshold was too low.
    """
    if not memory.state.get("false"):
        return None
    return {
        "false": memory.state["false"], "right": memory.state.get("right", 0), "weight": memory.weight, "after": rule.after,
        "windows": needed(rule, memory), "largest": memory.state.get("largest", {}),
    }  # fmt: skip
