"""compare: whether one model answers better than another on the same rows; knows nothing of how either was made."""

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
    """The paired difference b − a of every metric with its 95 % bootstrap interval, and a sentence on each.

    `a` and `b` are reports, or models, of which the newest report on the same rows is taken. Returns `{"a", "b", "units",
    "goal", "metrics": {name: {"a", "b", "difference": {"value", "low", "high"}, "winner", "sentence"}}}`.
    Raises NotFound where a model has no report, Conflict where the reports are of other rows.
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
    """One metric of both, and which is better."""
    winner, sentence = comparison_sentence(difference, lower, *reversed(names))
    values = {side: report["metrics"].get(name, {}).get("value") for side, report in measured.items()}
    return {**values, "difference": dict(difference), "winner": (None, "b", "a")[winner], "sentence": sentence}


def _reports(a: Artifact, b: Artifact) -> tuple[Artifact, Artifact]:
    """The two reports that stand for these artifacts: of the newest ones, a pair on the same rows where there is one."""
    lefts, rights = _candidates(a), _candidates(b)
    hashes = {report.id: read_json(report.folder / "metrics.json")["rows_hash"] for report in (*lefts, *rights)}
    pairs = [(left, right) for right in rights for left in lefts if hashes[left.id] == hashes[right.id]]
    return pairs[0] if pairs else (lefts[0], rights[0])


def _candidates(artifact: Artifact) -> list[Artifact]:
    """A report itself, or the reports of a model, newest first."""
    manifest = artifact.manifest
    if manifest["shelf"] == "reports":
        return [artifact]
    home = Home(artifact.folder.parents[1])
    found = [report for report in reversed(home.shelf("reports")) if artifact.id in report.manifest.get("parents", ())]
    if not found:
        raise NotFound(f"{artifact.id} has no report yet. Measure it first: vertune evaluate {artifact.id}")
    return found


def _task(report: Artifact) -> Task:
    return build(Config, report.manifest["config"]).task


def _tally(report: Artifact) -> NDArray[np.float64]:
    return pl.read_parquet(report.folder / "tally.parquet").to_numpy().astype(np.float64)
