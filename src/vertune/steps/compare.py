"""compare: tests with a paired bootstrap whether one model is better than another on the same rows."""

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
from vertune.evaluation.recorded import evaluations
from vertune.evaluation.scores import ROUNDS, interval_entry
from vertune.metrics.bootstrap import Tallies, paired
from vertune.reports.words import comparison_sentence


def compare(a: Artifact, b: Artifact) -> dict[str, Any]:
    """Compare two models by the metrics that were measured on the same rows.

    `a` and `b` are models or evaluation reports; for a model, its newest report on the same rows as the other report is
    used. The result is `{"a", "b", "units", "goal", "metrics": {name: {"a", "b", "difference": {"value", "low",
    "high"}, "winner", "sentence"}}}`. The difference of each metric is b − a, with its 95 % interval from a paired
    bootstrap; `winner` is `a`, `b` or None. `units` is the number of different records (or of queries, for retrieval) that
    the bootstrap resamples; `goal` is the name of the task's main metric. Raises NotFound if a model has no report,
    Conflict if the reports measured different rows, or counted them in different ways.
    """
    left, right = _reports(a, b)
    left_metrics, right_metrics = (read_json(report.folder / "metrics.json") for report in (left, right))
    if left_metrics["rows_hash"] == right_metrics["rows_hash"] and left_metrics["units"] != right_metrics["units"]:
        raise Conflict(
            f"{left.id} counts {left_metrics['units']} units of rows and {right.id} {right_metrics['units']}, because an older version of "
            f"vertune counted rows with equal texts one by one. Measure the models {left_metrics['model']} and {right_metrics['model']} "
            "again: vertune evaluate MODEL"
        )
    if left_metrics["rows_hash"] != right_metrics["rows_hash"]:
        raise Conflict(
            f"Only reports on the same rows can be compared. {left.id} measured {left_metrics['rows']} rows ({left_metrics['split']}), and "
            f"{right.id} measured {right_metrics['rows']} rows ({right_metrics['split']}) that are not the same. "
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
    """Return the entry of one metric in the result of `compare`: values, difference, winner and a sentence.

    `measured` contains the content of both reports' metrics.json, `names` the ids of their models. `lower` is true if
    lower values of the metric are better.
    """
    winner, sentence = comparison_sentence(difference, lower, *reversed(names))
    values = {side: report["metrics"].get(name, {}).get("value") for side, report in measured.items()}
    return {**values, "difference": dict(difference), "winner": (None, "b", "a")[winner], "sentence": sentence}


def _reports(a: Artifact, b: Artifact) -> tuple[Artifact, Artifact]:
    """Return the two reports to compare: one on the model `a`, and one on the model `b`.

    Of all pairs that measured the same rows, this is the newest one. If there is none, it is the newest report on each
    model, although these reports can't be compared.
    """
    lefts, rights = _candidates(a), _candidates(b)
    hashes = {report.id: read_json(report.folder / "metrics.json")["rows_hash"] for report in (*lefts, *rights)}
    pairs = [(left, right) for right in rights for left in lefts if hashes[left.id] == hashes[right.id]]
    return pairs[0] if pairs else (lefts[0], rights[0])


def _candidates(artifact: Artifact) -> list[Artifact]:
    """Return all reports on a model, newest first; if `artifact` is a report itself, return only this report.

    Raises NotFound if there is no report on the model.
    """
    manifest = artifact.manifest
    if manifest["shelf"] == "reports":
        return [artifact]
    home = Home(artifact.folder.parents[1])
    found = [report for report in reversed(evaluations(home)) if artifact.id in report.manifest.get("parents", ())]
    if not found:
        raise NotFound(f"{artifact.id} has no report yet. Measure it first: vertune evaluate {artifact.id}")
    return found


def _task(report: Artifact) -> Task:
    """Return the task (such as classify) on which the model of a report was measured."""
    return build(Config, report.manifest["config"]).task


def _tally(report: Artifact) -> NDArray[np.float64]:
    """Return the counts from which the metrics of a report were computed.

    There is one row for all records with equal inputs (or per query, for retrieval). The columns depend on the task; for
    classification, they count true positives, false positives and false negatives of each class.
    """
    return pl.read_parquet(report.folder / "tally.parquet", glob=False).to_numpy().astype(np.float64)
