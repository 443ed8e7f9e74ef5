"""Writes what people are told, in English or Chinese: of alerts and of retrainings.

A message says what happened, since when, how bad it is, on what evidence, and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from vertune.core import part
from vertune.core.bounded_yaml import read_yaml
from vertune.core.channel import Event, Message
from vertune.core.errors import VertuneError
from vertune.core.ids import time_ordered_id
from vertune.core.kinds import Monitor
from vertune.core.monitor import Unit
from vertune.core.sentence import Language, stored, titled, written
from vertune.core.watch import Rule
from vertune.steps.alert.rules import suggestion
from vertune.store.alerts import Alert, Memory
from vertune.store.database import format_time
from vertune.store.retrainings import Retraining

_ROWS, _CHARACTERS = 8, 120
"""How many rows of the evidence a message shows, and how many characters of each value."""


def message(event: Event, alert: Alert, rule: Rule, memory: Memory, language: Language) -> Message:
    """Return the message about an alert, without an id."""
    phrases = _phrases(language)
    title = _title(alert.monitor, phrases)
    about = {"vertical": alert.vertical, "rule": alert.rule, "title": title, "severity": phrases["severity"][alert.severity]}
    opened = event != "resolved"
    parts = [(phrases["happened"], phrases["opened_text" if opened else "resolved_text"].format(**about, calm=rule.calm))]
    parts += [(phrases["since"], _since(alert, phrases))]
    if opened:
        parts += [
            (phrases["bad"], f"{about['severity']}. {phrases['value'].format(title=title, value=shown(alert.monitor, alert.value))}"),
            (phrases["evidence"], "\n".join([written(alert.why, language), *_rows(titled(alert.evidence, language), phrases)])),
            (phrases["do"], "\n".join(todo(alert.monitor, rule, memory, language))),
            (phrases["reply"], phrases["answer"].format(alert=alert.id)),
        ]
    subject = phrases["opened" if opened else "resolved"].format(**about)
    return Message(
        "", event, alert.id, alert.vertical, alert.rule, monitor=alert.monitor, severity=alert.severity, began=alert.began,
        at=alert.changed, value=alert.value, subject=subject, text=_joined(parts), evidence=alert.evidence,
    )  # fmt: skip


def of_retraining(event: Event, one: Retraining, why: str, made: Mapping[str, str | None], language: Language) -> Message:
    """Return the message about a retraining, without an id: what happened and why, what it made, and what to do.

    `made` has the ids of the model and of the report of the gate, where there are any.
    """
    phrases = _phrases(language)
    labels = (one.request.get("wait") or {}).get("labels")
    of_event, now = phrases["retraining"]["undecided" if event == "waiting" and not labels else event], format_time(datetime.now(UTC))
    began = phrases["began"].format(time=_minute(one.at), lasting=_lasting(one.at, now, phrases))
    parts = [(phrases["happened"], written(stored(why), language)), (phrases["since"], began)]
    found = [f"{phrases['made'][name]}: {made[name]}" for name in phrases["made"] if made.get(name)]
    parts += [(phrases["evidence"], "\n".join(found))] if found else []
    parts += [(phrases["do"], of_event["do"].format(vertical=one.vertical, model=made.get("model") or "MODEL"))]
    severity = "info" if event in ("passed", "live") else "warning"
    subject = of_event["subject"].format(vertical=one.vertical)
    return Message(
        "", event, one.id, one.vertical, rule="", monitor="", severity=severity, began=one.at, at=now, value=None, subject=subject,
        text=_joined(parts),
    )  # fmt: skip


def _joined(parts: Sequence[tuple[str, str]]) -> str:
    return "\n\n".join(f"{heading}\n{text}" for heading, text in parts) + "\n"


def trial(language: Language) -> Message:
    """Return a message that says that a channel works."""
    phrases, now = _phrases(language), format_time(datetime.now(UTC))
    return Message(
        time_ordered_id(), "test", alert="", vertical="", rule="", monitor="", severity="info", began=now, at=now, value=None,
        subject=phrases["trial"], text=f"{phrases['trial']}\n",
    )  # fmt: skip


def shown(monitor: str, value: float | None) -> str:
    """Return the value of a monitor in its unit, as people read it."""
    if value is None:
        return "–"
    kind = unit(monitor)
    return f"{100 * value:.1f} %" if kind == "share" else f"{value:.3g} s" if kind == "seconds" else f"{value:.3g}"


def unit(monitor: str) -> Unit:
    """Return the unit of what a monitor measures; `number` for one that is not installed any more."""
    found: Unit = getattr(_monitor(monitor), "unit", "number")
    return found


def title(monitor: str, language: Language) -> str:
    """Return what a monitor measures, in a few words."""
    return _title(monitor, _phrases(language))


def todo(monitor: str, rule: Rule, memory: Memory, language: Language) -> list[str]:
    """Return what to do about the findings of a monitor, in sentences, with what `advice` says of the rule."""
    phrases = _phrases(language)
    return [phrases["advice"].get(monitor, phrases["advice"]["default"]), *_weight(rule, memory, phrases)]


def advice(rule: Rule, memory: Memory, language: Language) -> list[str]:
    """Return sentences on the weight of a rule, and on what to change, after people called its alerts false; empty if none was."""
    return _weight(rule, memory, _phrases(language))


def _weight(rule: Rule, memory: Memory, phrases: Mapping[str, Any]) -> list[str]:
    about = suggestion(rule, memory)
    if about is None:
        return []
    largest = [
        phrases["threshold"].format(monitor=_title(monitor, phrases), value=shown(monitor, value))
        for monitor, value in sorted(about["largest"].items())
    ]
    return [phrases["weight"].format(rule=rule.name, **about), *largest]


def _since(alert: Alert, phrases: Mapping[str, Any]) -> str:
    return str(phrases["began"].format(time=_minute(alert.began), lasting=_lasting(alert.began, alert.changed, phrases)))


def _minute(time: str) -> str:
    return f"{datetime.fromisoformat(time).astimezone(UTC):%Y-%m-%d %H:%M}"


def _lasting(began: str, ended: str, phrases: Mapping[str, Any]) -> str:
    """Return how long something lasted, in days, hours or minutes."""
    lasting = max(timedelta(0), datetime.fromisoformat(ended) - datetime.fromisoformat(began))
    minutes = round(lasting.total_seconds() / 60)
    unit, number = ("days", minutes / 1440) if minutes >= 2 * 1440 else ("hours", minutes / 60) if minutes >= 120 else ("minutes", minutes)
    return str(phrases["lasting"][unit].format(round(number)))


def _rows(evidence: list[dict[str, Any]], phrases: Mapping[str, Any]) -> list[str]:
    rows = [f"- {', '.join(f'{name}: {_cell(value)}' for name, value in row.items())}" for row in evidence[:_ROWS]]
    return rows + ([phrases["and_more"].format(len(evidence) - _ROWS)] if len(evidence) > _ROWS else [])


def _cell(value: Any) -> str:
    text = f"{value:.3g}" if isinstance(value, float) else str(value)
    text = " ".join(text.split())
    return text if len(text) <= _CHARACTERS else text[: _CHARACTERS - 1] + "…"


def _title(monitor: str, phrases: Mapping[str, Any]) -> str:
    return str(phrases["titles"].get(monitor) or getattr(_monitor(monitor), "title", "") or monitor)


def _monitor(name: str) -> Any:
    """Return the class of a monitor; None for one that is not installed any more."""
    try:
        return part.find(Monitor.folder, name)
    except VertuneError:
        return None


@cache
def _phrases(language: Language) -> dict[str, Any]:
    found: dict[str, Any] = read_yaml(Path(__file__).with_name(f"{language}.yaml"))
    return found
