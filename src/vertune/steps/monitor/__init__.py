"""monitor: compares the requests to verticals with a reference, decides what has changed, and writes a report.

`look` is one look at the traffic of several verticals, as it is repeated by schedule; `monitor` looks at successive windows of one
vertical, from the store or from a file, and writes a page.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from vertune import __version__
from vertune.core import part
from vertune.core.artifact import Artifact, Home, Progress, recording
from vertune.core.errors import ConfigError, DataError, NotFound, StorageError
from vertune.core.files import write_json, write_text
from vertune.core.monitor import LEAST, Monitor, Verdict, Window
from vertune.core.parse import build
from vertune.core.sentence import stored
from vertune.evaluation.monitoring import LEVEL, Outcome, Subject, carried, episodes, false_alarms, judge
from vertune.reports import monitoring
from vertune.steps.monitor.log import read_log
from vertune.steps.monitor.reader import Reader
from vertune.steps.monitor.reference import MOST, labelled_reference

if TYPE_CHECKING:
    from vertune.core.watch import Watch
    from vertune.steps.monitor.traffic import Paused, Stored
    from vertune.store.database import Database
    from vertune.store.measurements import Measurement, Origin

_log = logging.getLogger("vertune")
_EVIDENCE = 20
"""Largest number of rows of evidence that are kept of a finding."""
_LOOKS = 40
"""Largest number of windows of a report, the last ones; more would be too many points of a curve."""
_TRAFFIC = 20_000
"""Largest number of stored requests that a report is made of, the last ones."""
_COOL_DOWN = timedelta(days=1)
"""How long a change must be over for a report to call the next one another one."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a vertical is monitored."""

    monitors: Sequence[Monitor] = ()
    """Empty means all that need no option."""
    span: tuple[datetime, datetime] | None = None
    """When the reference begins and ends; None for the validation rows of the model."""
    length: int | timedelta = 500
    """The requests of a window: so many, or those of a time."""
    column: str | None = None
    """The column by which groups are compared."""

    @classmethod
    def of(cls, watch: Watch) -> Self:
        """Return the plan that the section `watch` of a config describes."""
        return cls(watch.monitors or (), watch.span, watch.length, watch.column)

    @property
    def chosen(self) -> list[Monitor]:
        """The monitors: those of the plan, or all that need no option, and with a column those that need one."""
        if self.monitors:
            return list(self.monitors)
        kinds = [part.find(Monitor.folder, name) for name in part.names(Monitor.folder)]
        found = [kind() for kind in kinds if issubclass(kind, Monitor) and not kind.on_request]
        grouping = [kind for kind in kinds if issubclass(kind, Monitor) and kind.on_request and "column" in kind.model_fields]
        return [*found, *(build(kind, {"column": self.column}) for kind in grouping if self.column)]


# ── One look at the traffic of several verticals ─────────────────────────────────────────────────────────────────────────


def look(plans: Mapping[str, Plan], home: Home, database: Database, now: datetime | None = None) -> list[Outcome]:
    """Compare the last requests of each vertical with its reference, store the figures, and return what was found.

    `plans` names verticals that have a live model. Of one of which too few requests are new since the last look, it is only compared how
    many came, once there should be more; until then, it is left out, as is one whose model can't be read.
    """
    from vertune.steps.monitor.traffic import Paused
    from vertune.store import measurements

    moment = now or datetime.now(UTC)
    subjects, previous, paused = [], dict[tuple[str, str], Verdict](), set[str]()
    for name, plan in plans.items():
        try:
            reader = Reader(home.get("models", name))
        except (ConfigError, NotFound, StorageError) as error:  # one that is damaged must not keep others from being watched
            _log.warning("%s can't be monitored: %s", name, error)
            continue
        stored_rows = _stored(plan, name, reader.artifact, database, moment)
        if stored_rows is None:
            continue
        if isinstance(stored_rows, Paused):
            reference, window = stored_rows.recent.windows(reader)
            subjects.append(Subject(name, [one for one in plan.chosen if one.sees_pauses], reference, window))
            paused.add(name)
        else:
            subjects.append(_subject(plan, name, reader, home, stored_rows))
        for monitor, found in stored_rows.before.items():
            known = next((one.verdict for one in found if one.verdict != "unknown"), None)
            previous |= {} if known is None else {(name, monitor): known}
    outcomes = judge(subjects, previous)
    if outcomes:
        with database.writing() as connection:
            measurements.add(connection, [as_measurement(one, "pause" if one.vertical in paused else "look") for one in outcomes])
    return outcomes


def as_measurement(outcome: Outcome, origin: Origin = "look") -> Measurement:
    """Return what was found as a row of the database; `origin` is what looked."""
    from vertune.store.database import format_time
    from vertune.store.measurements import Measurement

    found = outcome.finding
    begin, end = (format_time(datetime.fromtimestamp(0 if np.isnan(at) else at, UTC)) for at in (outcome.begin, outcome.end))
    return Measurement(
        outcome.vertical, outcome.monitor.name, begin, end, found.value, low=found.low, high=found.high, p=found.p, n=found.n,
        verdict=outcome.verdict, why=stored(found.why), evidence=found.evidence[:_EVIDENCE], origin=origin,
    )  # fmt: skip


def _stored(plan: Plan, name: str, model: Artifact, database: Database, now: datetime) -> Stored | Paused | None:
    """Return what a look at a vertical needs of the store; None if it is too early for a look."""
    from vertune.steps.monitor.traffic import Paused, Stored, Traffic
    from vertune.store import measurements

    with database.reading() as connection:
        traffic = Traffic(connection, name, model, now)
        before, window = measurements.latest(connection, name, 2, scheduled=True), traffic.window(plan.length)
        end = measurements.last_end(connection, name)
        last = 0.0 if end is None else datetime.fromisoformat(end).timestamp()
        if not len(window) or not _is_new(window.at, plan.length, last):
            recent = traffic.recent(plan.span, last) if any(one.sees_pauses for one in plan.chosen) else None
            return None if recent is None else Paused(recent, before)
        labelled = traffic.labelled(float(window.at[0]), plan.span[1] if plan.span else None)
        reference = traffic.reference(plan.span) if plan.span else None
        return Stored(window, traffic.early(), labelled, reference, candidate=traffic.candidate(), before=before)


def _subject(plan: Plan, name: str, reader: Reader, home: Home, found: Stored) -> Subject:
    """Return one vertical with its reference and its last requests, as they are in the store; its models may compute here."""
    from vertune.steps.monitor.traffic import with_shadow

    monitors, window = plan.chosen, found.window.window(reader)
    early = found.early.window(reader) if len(found.early) else None
    reference = labelled_reference(reader, home)[0] if found.reference is None else found.reference.window(reader)
    if any("shadow" in monitor.of_window for monitor in monitors):
        window = with_shadow(window, _candidate(found.candidate, home))
    history = found.labelled.window(reader, counted=False).followed_by(window)
    return Subject(name, monitors, reference if reference is not None and len(reference) else early or window, window, history, early=early)


def _candidate(id: str | None, home: Home) -> Reader | None:
    """Return what reads the candidate in shadow; None if there is none, or if it is not in the home."""
    found = None if id is None else home.find("models", id)
    return None if found is None else Reader(found)


def _is_new(at: NDArray[np.float64], length: int | timedelta, last: float) -> bool:
    """Whether at least half of a window, of which these are the times, came after the end of the last one, in seconds since 1970."""
    new = at > last
    if isinstance(length, timedelta):
        return bool(new.any()) and float(at[-1]) - last >= length.total_seconds() / 2
    return int(new.sum()) * 2 >= len(at)


# ── A report on successive windows of one vertical ───────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class _Material:
    """What a report is made of."""

    window: Window
    """All requests, oldest first."""
    source: str
    notes: list[str] = field(default_factory=list)
    reference: Window | None = None
    """The requests of the reference, if it is a time of the store."""


def monitor(
    model: Artifact, home: Home, plan: Plan, source: Path | Database, columns: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Artifact:  # fmt: skip
    """Compare successive windows of the requests to a model with a reference, and return the report as an artifact (a folder).

    `source` is the file of a log, whose columns `columns` names where they have other names, or the database of a server; figures are
    then stored in it. Raises DataError if there are too few requests.
    """
    name, reader = model.manifest["name"], Reader(model)
    run = home.begin("reports", name, step="monitor", config=model.manifest["config"], parents=[model.id])
    with recording(home, run, progress) as recorder:
        recorder("reading", source=str(source) if isinstance(source, Path) else "the store")
        material = _of_file(source, reader, columns) if isinstance(source, Path) else _of_store(source, home, reader, name, plan)
        reference, early, about = _references(plan, reader, home, material)
        windows = _windows(material.window, plan)
        if not windows:
            raise DataError(
                f"There are {len(material.window)} requests, in windows of {_shown(plan.length)}, and at least {LEAST} are compared. Give "
                "more requests, or larger windows."
            )
        previous, looks = dict[tuple[str, str], Verdict](), list[list[Outcome]]()
        labelled = material.window.judged.nonzero()[0]
        for number, rows in enumerate(windows, 1):
            history = material.window.take(labelled[labelled < rows.stop])
            outcomes = judge([Subject(name, plan.chosen, reference, material.window.take(rows), history, early=early)], previous)
            previous = carried(previous, outcomes)
            looks.append(outcomes)
            recorder("monitored", step=number, steps=len(windows))
        found = _findings(name, model, looks, plan, material)
        found["reference"], found["notes"] = about, material.notes
        write_json(run.folder / "findings.json", found)
        write_text(run.folder / "report.html", monitoring.page(found))
        if not isinstance(source, Path):
            _store(source, looks)
        changed = sorted({one.monitor for one in episodes(looks, _COOL_DOWN.total_seconds())})
        return home.finish(run, changed=changed, windows=len(windows), requests=len(material.window), versions={"vertune": __version__})


def _of_file(file: Path, reader: Reader, columns: Mapping[str, str] | None) -> _Material:
    log = read_log(file, reader, columns)
    known = ", ".join(f"{role}: {column}" for role, column in log.columns.items())
    return _Material(log.window, f"{file.name} ({known or 'texts alone'})", log.notes)


def _of_store(database: Database, home: Home, reader: Reader, name: str, plan: Plan) -> _Material:
    """Return the last requests that a server stored."""
    from vertune.steps.monitor.traffic import Traffic, with_shadow

    with database.reading() as connection:
        traffic = Traffic(connection, name, reader.artifact, datetime.now(UTC))
        rows, reference, shadow = traffic.window(_TRAFFIC), traffic.reference(plan.span) if plan.span else None, traffic.candidate()
    window = with_shadow(rows.window(reader), _candidate(shadow, home) if len(rows) else None)
    return _Material(window, "requests that the server stored", reference=None if reference is None else reference.window(reader))


def _references(plan: Plan, reader: Reader, home: Home, material: _Material) -> tuple[Window, Window, str]:
    """Return the reference, the first requests, and a sentence about the reference."""
    everything = material.window
    early = everything.take(slice(0, min(MOST, max(LEAST, len(everything) // 4))))
    if plan.span is not None:
        first, last = (one.timestamp() for one in plan.span)
        found = material.reference or everything.where((everything.at >= first) & (everything.at < last))
        if len(found) < LEAST:
            raise DataError(
                f"The reference has {len(found)} requests; expected {LEAST} or more. Choose a longer time, such as the first two weeks."
            )
        if np.isfinite(everything.at).any():
            material.window = everything.where(everything.at >= last)
        return found, found, f"{len(found):,} requests from {plan.span[0]:%Y-%m-%d %H:%M} to {plan.span[1]:%Y-%m-%d %H:%M}."
    labelled, about = labelled_reference(reader, home)
    if labelled is None:
        return early, early, f"{about} They are {len(early):,}."
    return labelled, early, about


def _windows(window: Window, plan: Plan) -> list[slice]:
    """Return the places of successive windows, oldest first; each begins half a window after the one before."""
    if isinstance(plan.length, timedelta):
        return _by_time(window.at, plan.length.total_seconds())[-_LOOKS:]
    length = min(plan.length, len(window))
    if length < LEAST:
        return []
    ends = list(range(len(window), length - 1, -max(1, length // 2)))[:_LOOKS]
    return [slice(end - length, end) for end in reversed(ends)]


def _by_time(at: NDArray[np.float64], seconds: float) -> list[slice]:
    """Return the places of windows of one length in time."""
    if not len(at):
        return []
    if not np.isfinite(at).all():
        raise DataError("Some requests have no time, so a window can't be a time. Name the column: --column time=COLUMN.")
    count = max(0, int((at[-1] - at[0] - seconds) // (seconds / 2))) + 1  # only complete windows, unless there is none
    ends = [at[-1] - number * seconds / 2 for number in range(count)]
    found = [slice(*np.searchsorted(at, [end - seconds, end], side="right").tolist()) for end in reversed(ends)]
    return [one for one in found if one.stop > one.start]


def _store(database: Database, looks: Sequence[Sequence[Outcome]]) -> None:
    from vertune.store import measurements

    with database.writing() as connection:
        measurements.add(connection, [as_measurement(one, "report") for outcomes in looks for one in outcomes])


def _findings(name: str, model: Artifact, looks: list[list[Outcome]], plan: Plan, material: _Material) -> dict[str, Any]:
    """Return the content of findings.json."""
    last = looks[-1]
    tests = sum(one.adjusted is not None for one in last)
    return {
        "name": name, "model": model.id, "source": material.source, "requests": len(material.window),
        "window": plan.length if isinstance(plan.length, int) else _shown(plan.length),
        "level": LEVEL, "least": LEAST, "version": __version__, "windows": len(looks),
        "false_alarms": {"looks": len(looks), "expected": false_alarms(tests, len(looks)), "tests": tests},
        "monitors": [_series(number, looks) for number in range(len(last))],
        "episodes": [
            {"monitor": one.monitor, "began": _finite(one.began), "seen": _finite(one.seen), "ended": _finite(one.ended)}
            for one in episodes(looks, _COOL_DOWN.total_seconds())
        ],
    }  # fmt: skip


def _series(number: int, looks: list[list[Outcome]]) -> dict[str, Any]:
    """Return what one monitor found in all windows."""
    outcomes = [look[number] for look in looks]
    shown = next((one for one in reversed(outcomes) if one.confirmed), outcomes[-1])
    return {
        "name": outcomes[-1].monitor.name, "title": outcomes[-1].title, "unit": outcomes[-1].unit,
        "about": part.about(Monitor.folder, outcomes[-1].monitor.name), "options": outcomes[-1].monitor.model_dump(mode="json"),
        "verdict": outcomes[-1].verdict, "confirmed": outcomes[-1].confirmed, "why": shown.finding.why,
        "evidence": shown.finding.evidence[:_EVIDENCE],
        "windows": [
            {
                "begin": _finite(one.begin), "end": _finite(one.end), "value": one.finding.value, "low": one.finding.low,
                "high": one.finding.high, "p": one.finding.p, "adjusted": one.adjusted, "n": one.finding.n, "verdict": one.verdict,
                "confirmed": one.confirmed,
            }
            for one in outcomes
        ],
    }  # fmt: skip


def _shown(length: int | timedelta) -> str:
    return f"{length:,} requests" if isinstance(length, int) else f"{length.total_seconds():.0f} s"


def _finite(value: float) -> float | None:
    return None if np.isnan(value) else value
