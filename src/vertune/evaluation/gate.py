"""Decides whether a changed model is accurate enough to replace its parent (the model that it was made from).

Examples of changes are compression, and conversion to a form in which several models share the weights of one
pretrained model. The comparison, which is called the gate, is the same for all changes.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.core.kinds import Task
from vertune.core.records import Answer, Record
from vertune.core.sentence import said
from vertune.metrics import bootstrap
from vertune.reports.words import change_limits, metric
from vertune.runtime.benchmark import GraphWorkload, benchmark

ECE = 0.02
"""Largest increase of the expected calibration error, compared with the parent model, with which a changed model is accepted."""
_ROUNDS = 3
"""Number of times that the speed of each candidate is measured."""
_ROUNDING = 1e-9
"""Allowance for rounding when a loss is compared with the tolerance, so that a loss of exactly the tolerance is accepted."""
REFUSED, UNDECIDED, ACCEPTED = "refused", "undecided", "accepted"


@dataclass(slots=True)
class Candidate:
    """A changed model, such as a compressed one, with the result of its comparison with the model that it was made from (parent)."""

    name: str
    metrics: dict[str, float]
    loss: float
    """How much worse the task's main metric is than that of the parent; negative if it is better."""
    low: float
    high: float
    """Upper end of the paired 95 % interval of the loss (`bootstrap.equivalence`); `low` is the lower end."""
    ece: float | None
    """Increase of the expected calibration error compared with the parent; None if answers have no probabilities."""
    verdict: str
    """`accepted`, `refused` or `undecided`."""
    why: str
    bytes: int = 0
    measured: dict[str, Any] = field(default_factory=dict)
    """Latency, throughput and memory, as `vertune.runtime.benchmark.benchmark` returns them; empty if not measured."""
    best: bool = False
    """Whether it is on the Pareto front: no other candidate is at least as fast and as accurate, and better in one of the two respects."""


@dataclass(frozen=True, slots=True)
class GateOptions:
    """Settings of the comparison of a changed model with the model that it was made from (its parent)."""

    tolerance: float
    """Allowed loss of the task's main metric: absolute for a metric between 0 and 1, else a fraction of the parent's value."""
    trained_on_records: bool = False
    """Whether the parent was trained on the records of the comparison; a result on them then says little about new records."""
    seed: int = 0
    """Seed of the bootstrap."""
    where: str | None = None
    """How the records of the comparison are named in reasons; None calls them those of validation."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The largest allowed loss of accuracy of a changed model, compared with the model that it was made from (its parent).

    It is the difference by which the task's main metric may be worse, in the unit of this metric.
    """

    loss: float
    share: bool
    """Whether the metric is a proportion (from 0 to 1), so that losses are formatted as percentage points."""

    def format(self, value: float) -> str:
        """Format a difference of the metric for a message.

        If the metric is a proportion (from 0 to 1), the text is in percentage points, else a plain number.
        """
        return said("loss.points", value=f"{100 * value:.2f}") if self.share else f"{value:.4f}"


class Gate:
    """Decides for changed models whether they are accurate enough to replace the model that they were made from (their parent).

    `records` are validation records, which all models answer; `answers` are the answers of the parent. In a
    cross-validation, parts of the records are answered by different models: `parts` contains the number of records of
    each part, in order, and rankings are made within a part alone. A record that is in several parts counts as one.
    """

    def __init__(
        self, task: Task, records: Sequence[Record], answers: Sequence[Answer], options: GateOptions, parts: Sequence[int] | None = None
    ) -> None:
        self.task, self.records, self.options = task, records, options
        ends = np.cumsum(parts or [len(records)]).tolist()
        self.parts = [slice(first, end) for first, end in zip([0, *ends], ends, strict=False)]
        tally = self._tally(answers)
        self.per_record = len(tally) == len(records)
        """Whether the statistics have one row per record; else, for a ranking, they have one per query."""
        self.tallies = self._tallies(tally)
        self.metrics = self._metrics(self.tallies)
        self.ece = _ece(task.details(records, answers))
        share = metric(task.goal).unit == "share"
        self.tolerance = Tolerance(options.tolerance * (1.0 if share else abs(self.metrics[task.goal])), share)

    def _tally(self, answers: Sequence[Answer]) -> NDArray[Any]:
        """Return the statistics of answers to the records, as the task's method `tally` returns them for each part."""
        return np.concatenate([self.task.tally(self.records[part], answers[part]) for part in self.parts])

    def _tallies(self, tally: NDArray[Any]) -> bootstrap.Tallies:
        """Return the statistics of answers, where those of records with equal inputs are added up."""
        fields = [column.name for column in self.task.input_columns]
        return bootstrap.Tallies(bootstrap.units(tally, self.records, fields), self.task.summarise)

    def is_surely_worse(self, candidate: Candidate) -> bool:
        """Return whether the whole interval of the loss is above the tolerance, so that no further rows can save the candidate."""
        return candidate.low > self.tolerance.loss

    def _metrics(self, tallies: bootstrap.Tallies) -> dict[str, float]:
        return {name: float(value) for name, value in self.task.summarise(tallies.units.sum(axis=0)).items()}

    def verdict(self, name: str, answers: Sequence[Answer], same: bool = False) -> Candidate:
        """Compare the answers of a changed model, called `name`, with those of its parent to the same records.

        `same` is whether its outputs were found equal to those of the parent, so that it does not matter on which records
        the two were trained. Return the metrics, the differences from the parent, and the verdict, as a Candidate.
        """
        task = self.task
        sign = task.goal_sign
        tallies = self._tallies(self._tally(answers))
        difference = bootstrap.equivalence(self.tallies, tallies, seed=self.options.seed)[task.goal].within(change_limits(task.goal))
        low, high = sorted((sign * difference.low, sign * difference.high))
        loss = sign * difference.value
        ece = _ece(task.details(self.records, answers))
        ece_growth = ece - self.ece if ece is not None and self.ece is not None else None
        verdict, why = decide(loss, high, ece_growth, self.tolerance, self.options.where)
        if self.options.trained_on_records and not same and verdict == ACCEPTED:
            verdict, why = UNDECIDED, said("loss.known_rows", why=why)
        return Candidate(name=name, metrics=self._metrics(tallies), loss=loss, low=low, high=high, ece=ece_growth, verdict=verdict, why=why)


def decide(loss: float, high: float, ece: float | None, tolerance: Tolerance, where: str | None = None) -> tuple[str, str]:
    """Return the verdict on a changed model (`accepted`, `refused` or `undecided`) and the reason for it, for messages.

    `loss` is the difference by which the task's main metric is worse than that of the parent (the model that it was
    made from), `high` the upper end of the 95 % interval of `loss` in a paired bootstrap. `ece` is the increase of the
    expected calibration error; None if answers have no probabilities. `where` says in the reason on which records this
    was measured; None names those of validation. The model is refused if `loss` is over the tolerance or `ece` over
    0.02. It is undecided if `high` is over twice the tolerance.
    """
    lost, allowed, most = (tolerance.format(value) for value in (loss, tolerance.loss, high))
    where = where or said("loss.validation")
    if not loss <= tolerance.loss + _ROUNDING:
        return REFUSED, said("loss.large", lost=lost, where=where, allowed=allowed)
    if ece is not None and ece > ECE:
        return REFUSED, said("loss.uncalibrated", growth=f"{ece:.3f}", where=where, allowed=ECE)
    if not high <= 2 * tolerance.loss:
        return UNDECIDED, said("loss.unsure", lost=lost, where=where, most=most, allowed=allowed)
    return ACCEPTED, said("loss.accepted", lost=lost, where=where, most=most)


def benchmark_candidates(candidates: Sequence[Candidate], workloads: Sequence[GraphWorkload]) -> None:
    """Measure the speed and memory use of each candidate (changed model), and store the results in its attribute `measured`.

    `workloads` contains, for each candidate in the same order, its ONNX graph and typical inputs. All candidates are
    measured one after another, and this is done three times, so that other load on the machine affects all of them
    alike. Of the three measurements, the medians of the latencies and of the throughput are stored, and the largest
    memory use.
    """
    rounds = [[benchmark(workload) for workload in workloads] for _ in range(_ROUNDS)]
    for candidate, measurements in zip(candidates, zip(*rounds, strict=True), strict=True):
        candidate.measured = _median(measurements)


def _median(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Merge several measurements of one model, each a result of `benchmark`, into one.

    Each latency and the throughput are medians; the memory use is the maximum.
    """
    sizes = rounds[0]["latency"]
    return {
        "latency": {size: statistics.median(one["latency"][size] for one in rounds) for size in sizes},
        "throughput": statistics.median(one["throughput"] for one in rounds),
        "memory": max(one["memory"] for one in rounds),
        "threads": rounds[0]["threads"],
    }


def mark_best(candidates: Sequence[Candidate]) -> None:
    """Set `best` of each candidate: true if no other candidate is better in speed or accuracy without being worse in the other.

    These candidates form the Pareto front of speed and accuracy.
    """
    for candidate in candidates:
        candidate.best = not any(_dominates(other, candidate) for other in candidates)


def _dominates(other: Candidate, candidate: Candidate) -> bool:
    """Return whether `other` is better than `candidate` in speed or accuracy, and not worse in the other of these two."""
    ours, theirs = _costs(candidate), _costs(other)
    return theirs != ours and theirs[0] <= ours[0] and theirs[1] <= ours[1]


def _costs(candidate: Candidate) -> tuple[float, float]:
    """Return the two numbers by which candidates are compared; smaller is better for both.

    They are the latency for the smallest measured input, in seconds, and by how much the main metric is worse than the
    parent's.
    """
    return (next(iter(candidate.measured["latency"].values())), candidate.loss)


def _ece(details: dict[str, Any]) -> float | None:
    """Return the expected calibration error from the result of a task's method `details`; None if it contains none.

    It contains none if the task's answers have no probabilities.
    """
    calibration = details.get("calibration")
    return float(calibration["ece"]) if isinstance(calibration, dict) and "ece" in calibration else None
