"""compare: tests whether one model is better than another on the same rows, with a paired bootstrap; independent of how they were made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vertune.core.artifact import Artifact, Home
from vertune.core.config import Config
from vertune.core.errors import Conflict, NotFound
from vertune.core.files import read_json
from vertune.core.kinds import Task
from vertune.core.parse import build
from vertune.evaluation.scores import ROUNDS, interval_entry
from vertune.metrics.bootstrap import Tallies, paired
from vertune.reports.words import comparison_sentence


def compare(a: Artifact, b: Artifact) -> dict[str, Any]:
    """Compute the paired difference b − a of every metric with its 95 % bootstrap interval, and describe each in a sentence.

    `a` and `b` are reports or models; for a model, its newest report on the same rows as the other's is used. Returns `{"a", "b",
    "units", "goal", "metrics": {name: {"a", "b", "difference": {"value", "low", "high"}, "winner", "sentence"}}}`.
    Raises NotFound if a model has no report, Conflict if the two reports are on different rows.
    """
    left, right = _reports(a, b)
    left_metrics, right_metrics = (read_json(report.folder / "metrics.json") for report in (left, right))
    if left_metrics["rows_hash"] != right_metrics["rows_hash"] or left_metrics["units"] != right_metrics["units"]:
        raise Conflict(
            f"Only reports on the same rows can be compared: {left.id} is of {left_metrics['rows']} {left_metrics['split']} rows, "
            f"{right.id} of {right_metrics['rows']} {right_metrics['split']} rows, and they differ. "
            "Evaluate both models on one file: vertune evaluate MODEL --data FILE"
        )
    task = _task(right)
    found = paired(Tallies(_tally(right), task.summarise), Tallies(_tally(left), _task(left).summarise), ROUNDS, right_metrics["seed"])
    names = (left_metrics["model"], right_metrics["model"])
    return {
        "a": left.id,
        "b": right.id,
        "units": right_metrics["units"],
        "goal": task.goal,
        "metrics": {
            name: _compared(name, {"a": left_metrics, "b": right_metrics}, interval_entry(difference), names, name in task.lower_is_better)
            for name, difference in found.items()
        },
    }


def _compared(
    name: str, measured: Mapping[str, Mapping[str, Any]], difference: Mapping[str, float | None], names: tuple[str, str], lower: bool
) -> dict[str, Any]:
    """The entry of one metric: both values, their difference, the winner, and a sentence; `lower` if lower values are better."""
    winner, sentence = comparison_sentence(difference, lower, *reversed(names))
    values = {side: report["metrics"].get(name, {}).get("value") for side, report in measured.items()}
    return {**values, "difference": dict(difference), "winner": (None, "b", "a")[winner], "sentence": sentence}


def _reports(a: Artifact, b: Artifact) -> tuple[Artifact, Artifact]:
    """The reports to compare: the newest pair on the same rows, or the newest report of each if there is no such pair."""
    lefts, rights = _candidates(a), _candidates(b)
    hashes = {report.id: read_json(report.folder / "metrics.json")["rows_hash"] for report in (*lefts, *rights)}
    pairs = [(left, right) for right in rights for left in lefts if hashes[left.id] == hashes[right.id]]
    return pairs[0] if pairs else (lefts[0], rights[0])


def _candidates(artifact: Artifact) -> list[Artifact]:
    """The reports on a model, newest first; for a report, the report alone. Raises NotFound if there is none."""
    manifest = artifact.manifest
    if manifest["shelf"] == "reports":
        return [artifact]
    home = Home(artifact.folder.parents[1])
    found = [report for report in reversed(home.shelf("reports")) if artifact.id in report.manifest.get("parents", ())]
    if not found:
        raise NotFound(f"{artifact.id} has no report yet. Measure it first: vertune evaluate {artifact.id}")
    return found


def _task(report: Artifact) -> Task:
    """The task in the config of a report."""
    return build(Config, report.manifest["config"]).task


def _tally(report: Artifact) -> NDArray[np.float64]:
    """The per-unit counts from which a report's metrics were computed, shape (units, columns)."""
    return pl.read_parquet(report.folder / "tally.parquet").to_numpy().astype(np.float64)
