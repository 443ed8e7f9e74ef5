"""What the gate says of a smaller model, beside the one that it was made from; knows nothing of how it was made.

Shared by every step that lets a model through only with proof.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from vertune.core.kinds import Task
from vertune.core.records import Answer, Record
from vertune.metrics import bootstrap
from vertune.reports.words import metric
from vertune.runtime.benchmark import GraphWorkload, benchmark

ECE = 0.02
"""How much the expected calibration error may grow."""
_ROUNDS = 3
_ROUNDING = 1e-9
"""What a difference of two metrics may lie off: exactly half a point is no more than half a point."""
REFUSED, UNDECIDED, ACCEPTED = "refused", "undecided", "accepted"


@dataclass(slots=True)
class Candidate:
    """One model beside its parent."""

    name: str
    metrics: dict[str, float]
    loss: float
    """What it loses of the goal metric; below 0 it gains."""
    low: float
    high: float
    """The paired 95 % interval of the loss."""
    ece: float | None
    """How much the expected calibration error grew; None where answers have no probability."""
    verdict: str
    """`accepted`, `refused` or `undecided`."""
    why: str
    bytes: int = 0
    measured: dict[str, Any] = field(default_factory=dict)
    """Latency, throughput and memory, as runtime/benchmark.py gives them."""
    best: bool = False
    """Whether no other is both quicker and better."""


class Gate:
    """The parent's answers to the validation records, and what may be lost against them."""

    def __init__(self, task: Task, records: Sequence[Record], answers: Sequence[Answer], terms: tuple[float, bool], seed: int) -> None:
        """`terms` are the tolerance, and whether the parent learnt from these very records, so that they can't tell.

        The tolerance is that of a metric that is a share; of any other it is that share of the parent's value.
        """
        tolerance, self.known = terms
        self.task, self.records, self.seed = task, records, seed
        self.tally = task.tally(records, answers)
        self.metrics = task.score(records, answers)
        self.ece = _ece(task.details(records, answers))
        self.share = metric(task.goal).unit == "share"
        self.tolerance = tolerance * (1.0 if self.share else abs(self.metrics[task.goal]))

    def verdict(self, name: str, answers: Sequence[Answer]) -> Candidate:
        """What the gate says of other answers to the same records."""
        task = self.task
        sign = -1.0 if task.goal in task.lower_is_better else 1.0
        tally = task.tally(self.records, answers)
        found = bootstrap.paired((self.tally, task.summarise), (tally, task.summarise), seed=self.seed)[task.goal]
        low, high = sorted((sign * found.low, sign * found.high))
        ece = _ece(task.details(self.records, answers))
        grown = ece - self.ece if ece is not None and self.ece is not None else None
        verdict, why = decide(sign * found.value, high, grown, (self.tolerance, self.share))
        if self.known and verdict == ACCEPTED:
            verdict, why = UNDECIDED, f"{why}, but the model was trained on these rows too, which says little about new ones"
        return Candidate(name, task.score(self.records, answers), sign * found.value, low, high, grown, verdict, why)


def decide(loss: float, high: float, ece: float | None, allowed: tuple[float, bool]) -> tuple[str, str]:
    """The verdict, and why.

    `loss` is what the metric loses, `high` the upper end of its paired 95 % interval, `ece` what the calibration error grew by,
    `allowed` the tolerance and whether the metric is a share, so that it is said in points.
    """
    tolerance, share = allowed

    def said(value: float) -> str:
        return f"{100 * value:.2f} points" if share else f"{value:.4f}"

    if not loss <= tolerance + _ROUNDING:
        return REFUSED, f"it loses {said(loss)} on validation, and {said(tolerance)} are allowed"
    if ece is not None and ece > ECE:
        return REFUSED, f"its calibration error grows by {ece:.3f} on validation, and {ECE} is allowed"
    if not high <= 2 * tolerance:
        return UNDECIDED, f"it loses {said(loss)}, but with these rows it could be {said(high)}, and {said(tolerance)} are allowed"
    return ACCEPTED, f"it loses {said(loss)} on validation, at most {said(high)} with 95 % certainty"


def benchmark_candidates(candidates: Sequence[Candidate], workloads: Sequence[GraphWorkload]) -> None:
    """Give each candidate the speed and memory of its graph.

    They are measured in turns, so that what else the machine does meets all of them; the figures are medians.
    """
    rounds = [[benchmark(workload) for workload in workloads] for _ in range(_ROUNDS)]
    for candidate, own in zip(candidates, zip(*rounds, strict=True), strict=True):
        candidate.measured = _middle(own)


def _middle(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One measurement of several: medians, and of memory the most."""
    sizes = rounds[0]["latency"]
    return {
        "latency": {size: statistics.median(one["latency"][size] for one in rounds) for size in sizes},
        "throughput": statistics.median(one["throughput"] for one in rounds),
        "memory": max(one["memory"] for one in rounds),
        "threads": rounds[0]["threads"],
    }


def mark_best(candidates: Sequence[Candidate]) -> None:
    """Mark those that no other beats in speed and in the metric."""
    for one in candidates:
        one.best = not any(_beats(other, one) for other in candidates)


def _beats(other: Candidate, one: Candidate) -> bool:
    ours, theirs = _cost(one), _cost(other)
    return theirs != ours and theirs[0] <= ours[0] and theirs[1] <= ours[1]


def _cost(one: Candidate) -> tuple[float, float]:
    return (next(iter(one.measured["latency"].values())), one.loss)


def _ece(details: dict[str, Any]) -> float | None:
    """The expected calibration error, where answers have probabilities."""
    found = details.get("calibration")
    return float(found["ece"]) if isinstance(found, dict) and "ece" in found else None
