"""Keeps the figures that were measured on a model's test rows in the folder of the model, in `evaluation.json`.

So the model card, `vertune show` and `vertune list` state them, and a copy of the folder keeps them. They do not depend
on whether the report still exists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vertune.core.artifact import Artifact, Home
from vertune.core.errors import StorageError
from vertune.core.files import read_json, write_json
from vertune.evaluation.scores import Entry
from vertune.reports.verdict import KEYS

FILE = "evaluation.json"
_STEP = "evaluate"


def record(model: Artifact, report: str, measured: Mapping[str, Any]) -> dict[str, Any]:
    """Write the figures of a report into the folder of the model, and return what was written.

    `report` is the report's id, and `measured` is the content of its metrics.json.
    """
    entries = {"report": report, **{key: measured[key] for key in KEYS}}
    write_json(model.folder / FILE, entries)
    return entries


def recorded(model: Artifact) -> dict[str, Any] | None:
    """Return the figures of the newest report on the model's test rows; return None if there are none or they can't be read."""
    try:
        entries = read_json(model.folder / FILE) if (model.folder / FILE).exists() else None
    except StorageError:
        return None
    return entries if isinstance(entries, dict) and set(KEYS) <= set(entries) else None


def evaluations(home: Home) -> list[Artifact]:
    """Return the reports of evaluations, oldest first, without those of other steps, such as the gate and monitoring."""
    return [report for report in home.shelf("reports") if report.manifest_or_empty.get("step", _STEP) == _STEP]


def metrics_by_split(artifact: Artifact) -> dict[str, dict[str, float | None]]:
    """Return the metrics of a model or report: for each split, such as `validation` or `test`, the values by name of the metric."""
    return {split: {name: entry["value"] for name, entry in entries.items()} for split, entries in entries_by_split(artifact).items()}


def intervals_by_split(artifact: Artifact) -> dict[str, dict[str, tuple[float, float]]]:
    """Return the ends of the interval of each metric of a model or report that has one, by split and by name of the metric."""
    return {
        split: {name: (one["low"], one["high"]) for name, one in entries.items() if one["low"] is not None and one["high"] is not None}
        for split, entries in entries_by_split(artifact).items()
    }


def entries_by_split(artifact: Artifact) -> dict[str, dict[str, Entry]]:
    """Return the metrics of a model or report by split and name, each with the ends of its interval, or None where there is none.

    The metrics of a model on validation rows are from its training; those on test rows are from its newest evaluation,
    and come first if there are any.
    """
    manifest, found = artifact.manifest_or_empty, {}
    if evaluated := recorded(artifact):
        found[str(evaluated["split"])] = _entries(evaluated["metrics"], {})
    for split, metrics in (manifest.get("metrics") or {}).items():
        if isinstance(metrics, Mapping) and metrics:
            found.setdefault(split, _entries(metrics, (manifest.get("intervals") or {}).get(split) or {}))
    return found


def _entries(metrics: Mapping[str, Any], intervals: Mapping[str, Sequence[float]]) -> dict[str, Entry]:
    """Return metrics by name with their intervals; in the manifest of a model, these are apart from the values."""
    missing = (None, None)
    return {
        name: {"value": entry, "low": intervals.get(name, missing)[0], "high": intervals.get(name, missing)[1]}
        if not isinstance(entry, Mapping)
        else dict(entry)
        for name, entry in metrics.items()
    }
