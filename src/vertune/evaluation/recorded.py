"""Keeps the figures that were measured on a model's test rows in the folder of the model, in `evaluation.json`.

So the model card, `vertune show` and `vertune list` state them, and a copy of the folder keeps them. They do not depend
on whether the report still exists.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vertune.core.artifact import Artifact
from vertune.core.errors import StorageError
from vertune.core.files import read_json, write_json
from vertune.reports.verdict import KEYS

FILE = "evaluation.json"


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


def metrics_by_split(artifact: Artifact) -> dict[str, dict[str, float | None]]:
    """Return the metrics of a model or report: for each split, such as `validation` or `test`, the values by name of the metric.

    The metrics of a model on validation rows are from its training; those on test rows are from its newest evaluation,
    and come first if there are any.
    """
    found = {}
    if entries := recorded(artifact):
        found[str(entries["split"])] = _values(entries["metrics"])
    for split, metrics in (artifact.manifest_or_empty.get("metrics") or {}).items():
        if isinstance(metrics, Mapping) and metrics:
            found.setdefault(split, _values(metrics))
    return found


def _values(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the values of metrics by name; in a report, each metric is a mapping with its value and its interval."""
    return {name: entry["value"] if isinstance(entry, Mapping) else entry for name, entry in metrics.items()}
