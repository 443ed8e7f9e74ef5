"""Makes the checks of a release from what a candidate and the live model answered to labelled records; for any task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.core.kinds import Task
from vertune.core.records import Answer, Record
from vertune.evaluation import release, rows
from vertune.evaluation.release import Bounds, Check, Difference, Group, Look, Measure
from vertune.evaluation.scores import by_length, by_value
from vertune.metrics import bootstrap
from vertune.metrics.bootstrap import Interval, Tallies
from vertune.reports.words import metric

GOLD, NEW, TRAFFIC = "gold", "new", "traffic"
"""Names of sets. On `gold`, a candidate must be as good as the live model, and on `new` better. Records of `traffic` have a right answer
only where the two models differ: where they give the same answer, neither is better, whatever is right."""
_BINS = 15
"""Number of bins of confidence in which the calibration error is measured, as in the report of an evaluation."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A set of labelled records, with what both models answered."""

    name: str
    records: Sequence[Record]
    candidate: Sequence[Answer]
    live: Sequence[Answer]
    alike: int = 0
    """Number of further different records, without right answers, that both models answer alike."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How a candidate is judged."""

    bounds: Bounds = field(default_factory=Bounds)
    look: int = 1
    """How often this candidate has been judged on growing gold sets, this time included."""
    columns: tuple[str, ...] = ()
    """Columns by which gold rows are grouped, as `evaluate.slices` names them."""
    seed: int = 0

    @property
    def spending(self) -> Look:
        """What this look may spend."""
        return self.bounds.look(self.look)


class Comparison:
    """The scores of a candidate and of the live model on the same records; `task` must know the labels of both."""

    def __init__(self, task: Task, answered: Answered, rules: Rules, name: str | None = None) -> None:
        self.task, self.answered, self.rules = task, answered, rules
        records = answered.records
        self.metric = name or rows.row_metric(task, records, answered.live)
        self.candidate, self.live = (
            rows.row_scores(task, records, answers, self.metric) for answers in (answered.candidate, answered.live)
        )
        self.per_record = len(self.live.values) == len(records)
        """Whether there is a score for each record; else, for a ranking, there is one for each query."""

    @cached_property
    def _units(self) -> NDArray[np.int64]:
        """The number of the unit of each score: records with equal inputs are one."""
        found = rows.same_inputs(self.task, self.answered.records) if self.per_record else np.arange(len(self.live.values))
        return np.asarray(found, np.int64)

    def measure(self, name: str) -> Measure:
        """Return how values of a metric are written."""
        return metric(name).unit

    def differences(self, chosen: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """Return the candidate's score minus the live model's of each unit of these records, or of all."""
        change = self.candidate.values - self.live.values
        if chosen is not None:
            return rows.unit_means(change[chosen], self._units[chosen])
        return np.concatenate([rows.unit_means(change, self._units), np.zeros(self.answered.alike)])

    def scores(self) -> Difference:
        """Return the difference of the mean scores of the rows."""
        return Difference.of_scores(self.differences(), self.rules.spending.side, self.measure(self.metric))

    def goal(self) -> Difference:
        """Return the difference of the main metric of the task; greater is better."""
        task = self.task
        if task.goal == self.metric:
            return self.scores()
        one, other = (
            self._tallies(task.tally(self.answered.records, answers)) for answers in (self.answered.candidate, self.answered.live)
        )
        found = bootstrap.equivalence(one, other, seed=self.rules.seed)[task.goal]
        low, high = sorted((task.goal_sign * found.low, task.goal_sign * found.high))
        signed = Interval(task.goal_sign * found.value, low, high)
        return Difference.of_metric(signed, len(one.units), self.rules.spending.side, self.measure(task.goal))

    def limit(self, allowed: float, name: str) -> float:
        """Return how much may be lost of a metric: `allowed` itself for a share, else this fraction of the live model's value."""
        if self.measure(name) == "share":
            return allowed
        if name == self.metric:
            return allowed * abs(float(self.live.values.mean()))
        return allowed * abs(self.task.score(self.answered.records, self.answered.live)[name])

    def groups(self, kind: str, members: Mapping[str, NDArray[np.int64]]) -> list[Group]:
        """Compare the models on groups of records; `members` has the indices of the records of each group."""
        if not self.per_record:
            return []
        values = {name: self.differences(chosen) for name, chosen in members.items()}
        limit = self.limit(self.rules.bounds.slice_loss, self.metric)
        return release.compared_groups(kind, values, limit, self.rules.spending.side, self.measure(self.metric))

    def calibration(self) -> Interval | None:
        """Return the increase of the expected calibration error, with its 95 % interval.

        None if answers have no confidence, or have lists of labels: whether all of a list is right is not what its confidence states.
        """
        if rows.answers_with_lists(self.task):
            return None
        sides = (self.answered.candidate, self.candidate), (self.answered.live, self.live)
        tallies = [self._reliability(answers, scores) for answers, scores in sides] if self.per_record else [None]
        if any(tally is None for tally in tallies):
            return None
        one, other = (Tallies(bootstrap.merged(tally, self._units), _ece) for tally in tallies if tally is not None)
        return bootstrap.paired_normal(one, other, seed=self.rules.seed)["ece"]

    def _tallies(self, tally: NDArray[Any]) -> Tallies:
        merged = bootstrap.merged(tally, self._units) if self.per_record else np.asarray(tally, np.float64)
        return Tallies(merged, self.task.summarise)

    def _reliability(self, answers: Sequence[Answer], scores: rows.RowScores) -> NDArray[np.float64] | None:
        """Return, for each record, its confidence less 1 if it is right, in the column of its bin, and 1 in the last column."""
        found = [self.task.confidence(answer) for answer in answers]
        if not found or any(value is None for value in found):
            return None
        confidence = np.array(found, np.float64)
        bins = np.clip(np.ceil(confidence * _BINS).astype(np.int64) - 1, 0, _BINS - 1)
        tally = np.zeros((len(found), _BINS + 1))
        tally[np.arange(len(found)), bins] = confidence - scores.right
        tally[:, -1] = 1
        return tally


def _ece(total: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Return the expected calibration error (Guo et al. 2017) from sums of the rows of `_reliability`."""
    return {"ece": np.abs(total[..., :-1]).sum(-1) / np.maximum(total[..., -1], 1)}


@dataclass(frozen=True, slots=True)
class Judged:
    """The checks that answers to labelled records allow, with the groups behind them."""

    checks: list[Check]
    groups: list[Group]


def judge(task: Task, sets: Sequence[Answered], rules: Rules) -> Judged:
    """Compare a candidate with the live model on sets of labelled records.

    On the set `gold`, the candidate must not be worse, neither in all nor in groups by label, by length of the text, and by column; its
    probabilities must be as good. On the set `new`, it must be better. Each other set counts as a group. Sets without records are skipped.

    The set `traffic` is added to the gold rows when the main metric is compared, if this metric is a mean over rows.
    """
    task = rows.knowing(task, _labels(task, sets))
    traffic = next((one for one in sets if one.name == TRAFFIC), None)
    found = {one.name: Comparison(task, one, rules) for one in sets if len(one.records) and one.name != TRAFFIC}
    checks, groups = _gold(found[GOLD], rules, traffic) if GOLD in found else ([], [])
    if NEW in found:
        new = found[NEW]
        checks.append(release.better("new rows", new.scores(), rules.spending))
    rest = {name: comparison for name, comparison in found.items() if name not in (GOLD, NEW)}
    if rest:
        one = next(iter(rest.values()))
        limit, measure = one.limit(rules.bounds.slice_loss, one.metric), one.measure(one.metric)
        earlier = release.compared_groups(
            "set", {name: each.differences() for name, each in rest.items()}, limit, rules.spending.side, measure
        )
        if earlier:  # a ranking without any relevant text has no query
            checks.append(release.no_group_worse("earlier sets", earlier, limit, rules.spending))
        groups = [*groups, *earlier]
    return Judged(checks, groups)


def _gold(gold: Comparison, rules: Rules, traffic: Answered | None) -> tuple[list[Check], list[Group]]:
    """Return the checks on gold rows, and their groups."""
    bounds, task = rules.bounds, gold.task
    checks = [_as_good(gold, rules, traffic)]
    limit = gold.limit(bounds.slice_loss, gold.metric)
    labels = gold.groups("label", rows.by_label(task, gold.answered.records)) if task.known_labels else []
    slices = gold.groups("slice", _slices(gold, rules))
    if len(labels) > 1:
        checks.append(release.no_group_worse("labels", labels, limit, rules.spending))
    if len(slices) > 1:
        checks.append(release.no_group_worse("groups of rows", slices, limit, rules.spending))
    calibration = release.calibrated(gold.calibration(), len(gold.differences()), bounds.calibration, rules.spending)
    return [*checks, *([calibration] if calibration else [])], [*labels, *slices]


def _as_good(gold: Comparison, rules: Rules, traffic: Answered | None) -> Check:
    """Return the check of the main metric, on gold rows and, if it is a mean over rows, on records of traffic."""
    limit = gold.limit(rules.bounds.tolerance, gold.task.goal)
    if gold.task.goal != gold.metric or not gold.per_record:
        return release.not_worse("gold rows", gold.goal(), limit, rules.spending)
    differ = len(rows.disagreements(gold.task, gold.answered.candidate, gold.answered.live)) / len(gold.answered.records)
    if traffic is None:
        return release.not_worse("gold rows", gold.goal(), limit, rules.spending, differ)
    further = np.zeros(traffic.alike)
    if traffic.records:
        further = Comparison(gold.task, traffic, rules, gold.metric).differences()
    both = Difference.of_scores(np.concatenate([gold.differences(), further]), rules.spending.side, gold.measure(gold.metric))
    return release.not_worse("gold rows and traffic", both, limit, rules.spending, differ)


def _slices(gold: Comparison, rules: Rules) -> dict[str, NDArray[np.int64]]:
    """Return the groups of gold rows by length of the text and by column, each with the indices of its rows."""
    records = gold.answered.records
    texts = [column.name for column in gold.task.input_columns if column.type == "text"]
    found = {f"length: {name}": members for name, members in by_length(records, texts).items()} if texts else {}
    for column in rules.columns:
        if column in records[0]:
            found |= {f"{column}: {name}": members for name, members in by_value(records, column).items()}
    return found


def _labels(task: Task, sets: Sequence[Answered]) -> list[str]:
    """Return all labels that occur in the records or in the answers."""
    named = {label for one in sets for answers in (one.candidate, one.live) for answer in answers for label in task.named(answer)}
    expected = {label for one in sets for record in one.records for label in rows.target_labels(task, record)}
    return sorted(named | expected)
