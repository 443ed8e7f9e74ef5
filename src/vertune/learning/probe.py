"""Solves a linear head on frozen states with the task's own loss; knows nothing of the backbone.

The method is a linear probe before fine-tuning (Kumar et al. 2022): a convex problem, solved by L-BFGS on standardised
states, with the strength of the regularisation chosen on a held-out fold of the training rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vertune.core.kinds import Task
from vertune.learning.cache import CachedStates, around
from vertune.learning.examples import Examples
from vertune.learning.loop import TrainingInput, accelerator
from vertune.nn.run import outputs
from vertune.nn.structure import count
from vertune.nn.vertical import VerticalModel

LOOSENESS = (1.0, 3.0, 10.0, 30.0, 100.0)
"""The inverse strengths that are tried, from tight to loose: scikit-learn's C for states of mean squared norm 1."""
START = 3.0
"""Looseness of the head that fine-tuning starts from: a surer head leaves the layers below no gradient (docs/defaults.md)."""
_TOKENS = 100_000
_FOLDS = 5
_CHOOSING = 4000
"""Records that the looseness is chosen on."""


@dataclass(slots=True)
class FrozenStates:
    """States of the untouched base with what must be answered of them, one row a feature or a labelled token."""

    states: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    groups: NDArray[np.int64]
    """The record of each row: the rows of one record stay in one fold."""
    cost: int = 0
    """Tokens that the pass read."""


@dataclass(slots=True)
class ProbeSolution:
    """A solved head."""

    weight: torch.Tensor
    bias: torch.Tensor
    looseness: float
    loss: float
    """Loss on the held-out fold at the chosen looseness."""
    start: tuple[torch.Tensor, torch.Tensor] | None = None
    """Weight and bias of the same head held tighter: what training of the layers below starts from, where some follows."""

    def give(self, head: nn.Module, tight: bool = False) -> None:
        """Put the solution, or the tight one to start from, into a linear head."""
        assert isinstance(head, nn.Linear)
        weight, bias = self.start if tight and self.start else (self.weight, self.bias)
        with torch.no_grad():
            head.weight.copy_(weight)
            head.bias.copy_(bias)


def solvable(model: VerticalModel, task: Task, examples: Examples) -> bool:
    """Whether this head is linear and every state has its own target."""
    return task.linear_head and isinstance(model.head, nn.Linear) and (task.states == "pooled" or examples.per_token)


def freeze(model: VerticalModel, lesson: TrainingInput, below: CachedStates | None = None) -> FrozenStates:
    """One pass of the base over the training features, without dropout, in training's precision, from the states `below`.

    Where there is one target a token, features are drawn until they hold 100,000 labelled tokens: what is more would fill
    the memory and no longer change a linear head.
    """
    examples = lesson.examples
    counts = np.array([int((value != -100).sum()) if examples.per_token else 1 for value in examples.targets.values])
    used = np.arange(len(counts))
    if examples.per_token and counts.sum() > _TOKENS:
        drawn = np.random.default_rng(0).permutation(len(counts))
        used = np.sort(drawn[: int(np.searchsorted(np.cumsum(counts[drawn]), _TOKENS)) + 1])
    states = _states(model, lesson, used, below)
    targets = [examples.targets.values[place] for place in used]
    owners = np.array([examples.features[place].record for place in used], dtype=np.int64)
    weights, cost = examples.weights[used], int(examples.costs[used].sum())
    if not examples.per_token:
        return FrozenStates(torch.from_numpy(np.stack(states)), torch.from_numpy(np.stack(targets)), _floats(weights), owners, cost)
    labelled = [value != -100 for value in targets]
    rows = np.concatenate([state[mask] for state, mask in zip(states, labelled, strict=True)])
    values = np.concatenate([value[mask] for value, mask in zip(targets, labelled, strict=True)])
    # the loss of a feature is the mean over its tokens, so each token has its share of the feature's weight
    shares = np.repeat(weights / np.maximum(counts[used], 1), counts[used])
    return FrozenStates(torch.from_numpy(rows), torch.from_numpy(values)[:, None], _floats(shares), np.repeat(owners, counts[used]), cost)


def _states(model: VerticalModel, lesson: TrainingInput, used: NDArray[np.int64], below: CachedStates | None) -> Sequence[NDArray[Any]]:
    """What the head reads of these features: remembered where it is one state a feature, or where nothing but the head moves."""
    trunk = count(model.backbone) + 1
    if below and below.trunk.depth == trunk:
        return below.of(used)
    features = lesson.examples.features
    if lesson.cache and not lesson.examples.per_token:
        known = lesson.cache.recall(model, trunk, features, below)
        if known:
            return known.of(used)
    engine = accelerator(lesson.config)
    chosen = [features[place] for place in used]

    def passing(rows: Sequence[int]) -> AbstractContextManager[None]:
        return around(engine, below, used[list(rows)].tolist())

    return outputs(model, lesson.encoder, chosen, lesson.config.device.tokens, states=True, around=passing)


def _floats(values: NDArray[np.float64]) -> torch.Tensor:
    return torch.from_numpy(values).float()


def solve(frozen: FrozenStates, task: Task, size: int, follows: bool = True) -> ProbeSolution:
    """The head with the strength that does best on held-out folds, solved again on all rows.

    Where training of the layers below `follows`, the head that it starts from is solved too.
    """
    mean = frozen.states.mean(0)
    spread = frozen.states.std(0)
    spread = spread.clamp(min=float(spread.median()) * 0.1 + 1e-8)  # a dimension that hardly moves must not be blown up
    states = (frozen.states - mean) / spread
    folds = np.random.default_rng(0).permutation(int(frozen.groups.max()) + 1)[frozen.groups]
    few = folds < _CHOOSING  # what suits some thousand records suits them all
    held = torch.from_numpy(few & (folds % _FOLDS == 0))
    taught = torch.from_numpy(few & (folds % _FOLDS != 0))
    losses: dict[float, float] = {}
    found: dict[float, torch.Tensor] = {}
    last: torch.Tensor | None = None
    for looseness in LOOSENESS:
        last = _minimise(task, states[taught], frozen.targets[taught], frozen.weights[taught], _Problem(size, looseness, last))
        found[looseness] = last
        with torch.no_grad():
            losses[looseness] = float(_loss(task, last, states[held], frozen.targets[held], frozen.weights[held]))
        if losses[looseness] > 1.2 * min(losses.values()):
            break  # a looser head only gets worse from here
    best = min(losses, key=lambda looseness: losses[looseness])
    heads = []
    for looseness in (best, min(best, START))[: 1 + follows]:
        solved = _minimise(task, states, frozen.targets, frozen.weights, _Problem(size, looseness, found[looseness]))
        weight = (solved[:-1].T / spread).contiguous()
        heads.append((weight, solved[-1] - weight @ mean))
    return ProbeSolution(*heads[0], best, losses[best], heads[1] if follows else None)


@dataclass(slots=True)
class _Problem:
    """How many numbers the head gives, how loosely it is held, and where the search starts."""

    size: int
    looseness: float
    start: torch.Tensor | None


def _loss(task: Task, solved: torch.Tensor, states: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted mean of the task's loss."""
    logits = states @ solved[:-1] + solved[-1]
    if targets.ndim == 2 and task.states == "tokens":
        logits = logits[:, None]
    return (task.loss(logits, targets) * weights).sum() / weights.sum()


def _minimise(task: Task, states: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, problem: _Problem) -> torch.Tensor:
    """Full-batch L-BFGS on the loss and the squared norm of the weights; shape (width + 1, size), the last row the bias."""
    rows, width = states.shape
    penalty = 0.5 * width / (problem.looseness * rows)  # standardised states have a mean squared norm of the width
    solved = (torch.zeros(width + 1, problem.size) if problem.start is None else problem.start.clone()).requires_grad_()
    search = torch.optim.LBFGS(
        [solved], max_iter=150, history_size=20, tolerance_grad=1e-5, tolerance_change=1e-7, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        search.zero_grad()
        loss = _loss(task, solved, states, targets, weights) + penalty * solved[:-1].square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    search.step(closure)  # type: ignore[no-untyped-call]
    return solved.detach()
