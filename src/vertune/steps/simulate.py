"""simulate: replays a labelled dataset as if people labelled it, with several queries, and measures what each choice of records saves.

The training rows are the pool, and their labels are revealed batch by batch. After each batch, the head of the unchanged base is solved
again and measured on the test rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vertune.core import part
from vertune.core.artifact import Artifact, Progress
from vertune.core.columns import only
from vertune.core.errors import ConfigError
from vertune.core.kinds import Encoder, Query, Task
from vertune.core.parse import build
from vertune.core.query import Beliefs, Pool
from vertune.data.chain import fields_of
from vertune.data.dataset import read

if TYPE_CHECKING:
    from vertune.learning.pool import Head, StatePool

DEFAULT = "auto"
"""The name that stands for the query that is recommended."""
TARGET = 0.95
"""The share of the score with all labels that `Curve.needed` asks for."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is simulated."""

    queries: Sequence[str] = (DEFAULT, "uniform")
    seeds: int = 5
    batch: int = 50
    """Number of records that are labelled before the next choice."""
    labels: int = 1000
    """Number of labels at which a simulation ends."""


@dataclass(frozen=True, slots=True)
class Curve:
    """The scores of one query, on average over the seeds, and their spread."""

    query: str
    labels: list[int]
    """Numbers of labels at which the scores were measured."""
    scores: list[list[float]]
    """For each seed, the score on the test rows at each number of labels."""

    @property
    def means(self) -> NDArray[np.float64]:
        """The mean score at each number of labels."""
        return np.asarray(self.scores, np.float64).mean(0)  # type: ignore[no-any-return]

    @property
    def area(self) -> float:
        """The mean score over all numbers of labels."""
        return float(self.means.mean())

    def needed(self, score: float) -> int | None:
        """Return the smallest number of labels from which on the mean score is at least this one; None if it is never reached."""
        reached = self.means >= score
        last = len(reached) - int(np.argmin(reached[::-1])) if not reached.all() else 0
        return self.labels[last] if last < len(self.labels) and reached[-1] else None


@dataclass(frozen=True, slots=True)
class Simulation:
    """The curves of several queries on the same data."""

    metric: str
    full: float
    """The score with all labels."""
    rows: int
    """The number of records in the pool."""
    curves: list[Curve]


def simulate(dataset: Artifact, plan: Plan, progress: Progress | None = None) -> Simulation:
    """Simulate labelling of the training rows of a prepared dataset with each query of the plan.

    Raises DataError if the dataset has no test or validation rows, and ConfigError for a task whose head is not one linear layer.
    """
    from vertune.learning.pool import StatePool

    say: Progress = progress or (lambda kind, **fields: None)
    check(plan)
    queries = {name: query_of(name) for name in plan.queries}
    task, encoder = Task.model_validate(dataset.manifest["task"]), Encoder.model_validate(dataset.manifest["encoder"])
    split = "test" if dataset.manifest["rows"].get("test") else "validation"
    frames = {name: read(dataset, name) for name in ("train", split)}
    present, used = fields_of(frames["train"], task)
    records = {name: only(frame, present).to_dicts() for name, frame in frames.items()}
    pools = {name: StatePool.of(task, encoder, rows, used, _told(say, name, len(rows))) for name, rows in records.items()}
    trial = _Trial(pools["train"], pools[split], plan, say)
    full = trial.score(trial.pool.solve(np.arange(len(trial.pool.records)), trial.pool.records))
    curves = []
    for name, query in queries.items():
        scores = [trial.run(name, query, seed) for seed in range(plan.seeds)]
        curves.append(Curve(name, trial.budgets, scores))
    return Simulation(task.goal, full, len(trial.pool.records), curves)


def query_of(name: str) -> Query:
    """Return the query with this name; `auto` is the recommended one."""
    if name == DEFAULT:
        return _query_with(default=True)
    return build(Query, {"name": name})


def first_query() -> Query:
    """Return the query for the first labels, where the one that is wanted needs a model."""
    return _query_with(first=True)


def _query_with(**attributes: bool) -> Query:
    """Return the first query whose class attributes have these values."""
    kind = part.having(Query.folder, **attributes)
    assert issubclass(kind, Query)
    return kind()


def _told(progress: Progress, split: str, rows: int) -> Callable[[int], None]:
    """Return what tells how many of the rows of a split have their states."""
    return lambda done: progress("states", split=split, step=done, steps=rows)


class _Trial:
    """One dataset on which queries are tried."""

    def __init__(self, pool: StatePool, test: StatePool, plan: Plan, progress: Progress) -> None:
        self.pool, self.test, self.plan, self.progress = pool, test, plan, progress
        self.vectors = pool.vectors()
        most = min(plan.labels, len(pool.records))
        self.budgets = [min(plan.batch * turn, most) for turn in range(1, math.ceil(most / plan.batch) + 1)]
        self._first = first_query()

    def score(self, head: Head) -> float:
        """Return the main metric on the test rows."""
        task = self.test.task
        return task.score(self.test.records, self.test.answers(head))[task.goal]

    def run(self, name: str, query: Query, seed: int) -> list[float]:
        """Return the score after each batch."""
        labelled, scores = np.zeros(len(self.pool.records), bool), list[float]()
        beliefs: Beliefs | None = None
        for budget in self.budgets:
            pool = Pool(self.vectors, labelled, labelled, beliefs, seed)
            chooser = self._first if beliefs is None and query.needs_beliefs else query
            labelled = labelled.copy()
            labelled[chooser.pick(pool, budget - int(labelled.sum()))] = True
            rows = labelled.nonzero()[0]
            head = self.pool.solve(rows, [self.pool.records[row] for row in rows.tolist()])
            beliefs = self.pool.beliefs(head)
            scores.append(self.score(head))
            self.progress("simulated", step=budget, steps=self.budgets[-1], query=name, seed=seed, score=scores[-1])
        return scores


def check(plan: Plan) -> None:
    """Raise ConfigError for a plan that can't be simulated, and for a query that does not exist."""
    for name in plan.queries:
        query_of(name)
    if plan.seeds < 1 or plan.batch < 1 or plan.labels < plan.batch:
        raise ConfigError(
            f"{plan.seeds} simulations of {plan.labels} labels in batches of {plan.batch} can't be run; expected at least one simulation "
            "and at least one batch. Choose larger numbers."
        )


def summary(found: Simulation) -> list[dict[str, Any]]:
    """Return what each query is worth: its final score, its mean score, and the labels to `TARGET` of the score with all labels."""
    return [
        {
            "query": one.query, "labels": one.labels[-1], "score": float(one.means[-1]), "area": one.area,
            "needed": one.needed(TARGET * found.full),
        }
        for one in found.curves
    ]  # fmt: skip
