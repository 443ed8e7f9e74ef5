"""Fits a linear head on the outputs of the frozen encoder (a linear probe) with the task's loss; works with any encoder.

Fine-tuning starts from this head (Kumar et al. 2022). Fitting it is a convex problem, solved by L-BFGS on standardised
hidden states. The strength of the regularisation is chosen on a fold of the training rows that is held out.
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
from vertune.learning.loop import accelerator
from vertune.learning.training_input import TrainingInput
from vertune.nn.run import outputs
from vertune.nn.structure import count
from vertune.nn.vertical import VerticalModel

INVERSE_REGULARISATION = (1.0, 3.0, 10.0, 30.0, 100.0)
"""Inverse regularisation strengths to try, strongest regularisation first; like scikit-learn's C for inputs of mean squared norm 1."""
START = 3.0
"""Largest inverse regularisation strength of the head that fine-tuning starts from. With weaker regularisation, the head would be so
confident that the layers below get almost no gradient (docs/defaults.md)."""
_FEW_STRENGTHS = (START, 30.0, 100.0)
"""Inverse regularisation strengths to try if there are many outputs, because each fit takes long."""
_TOKENS, _TOKENS_IN_TIME = 100_000, 30_000
"""Largest number of labelled tokens on which a head is fitted that predicts for each token; and the same with a time limit, most of which
is better spent on training the layers below."""
_FOLDS = 5
"""Number of folds into which the records are divided; one is held out to choose the regularisation."""
_SEARCH_RECORDS = 4000
"""Largest number of records on which the regularisation is chosen."""
_ITERATIONS = 150
"""Largest number of iterations of L-BFGS in a fit."""
_LEAST_ITERATIONS = 12
"""Number of iterations that a fit makes, however large it is."""
_MANY_OUTPUTS = 256
"""Number of outputs above which a fit starts from a closed-form solution, and its iterations are limited by `_WORK`."""
_SCALING_ROWS = 1000
"""Number of rows on which the scale of the closed-form solution is chosen."""
_WORK = 1e11
"""Largest number of products (rows x width x outputs x iterations) of a fit with many outputs: about ten seconds on one processor."""


@dataclass(slots=True)
class FrozenStates:
    """The data on which a linear probe is fitted: hidden states of the unchanged base model, with targets and weights.

    There is one row per model input or, if the task has a target for each token, one row per labelled token.
    """

    states: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    groups: NDArray[np.int64]
    """For each row, the index of its record; all rows of a record are put into the same fold."""
    cost: int = 0
    """Number of tokens that the base model processed to compute the hidden states."""

    def until(self, record: int) -> FrozenStates:
        """Return the rows of the records before this one."""
        kept = torch.from_numpy(self.groups < record)
        return FrozenStates(self.states[kept], self.targets[kept], self.weights[kept], self.groups[self.groups < record])


@dataclass(slots=True)
class ProbeSolution:
    """A fitted linear head (a linear probe), with the regularisation that was chosen for it."""

    weight: torch.Tensor
    bias: torch.Tensor
    inverse_regularisation: float
    loss: float
    """Loss on the held-out fold with the chosen regularisation."""
    start: tuple[torch.Tensor, torch.Tensor] | None = None
    """Weight and bias of a more strongly regularised head, from which fine-tuning starts; None if no fine-tuning follows."""

    def copy_to(self, head: nn.Module, for_training: bool = False) -> None:
        """Copy the fitted weights into a linear head.

        If `for_training` is true, copy the weights from which fine-tuning starts (`start`) instead, if there are any.
        """
        assert isinstance(head, nn.Linear)
        weight, bias = self.start if for_training and self.start else (self.weight, self.bias)
        with torch.no_grad():
            head.weight.copy_(weight)
            head.bias.copy_(bias)


def solvable(model: VerticalModel, task: Task, examples: Examples) -> bool:
    """Return whether the head can be fitted as a linear probe.

    The head must be one linear layer, and every hidden state that it reads must have a target: one pooled state and one
    target per model input, or one state and one target per token.
    """
    return task.linear_head and isinstance(model.head, nn.Linear) and (task.states == "pooled" or examples.per_token)


def freeze(model: VerticalModel, lesson: TrainingInput, below: CachedStates | None = None) -> FrozenStates:
    """Compute the data for a linear probe: the hidden states that enter the head for the training inputs, without dropout.

    They are computed in the precision of training. If `below` is given, the computation starts from its cached hidden
    states. If there is one target per token, a random sample with about 100,000 labelled tokens is used, or 30,000 with a
    time limit: more would fill the memory and hardly change the result.
    """
    examples = lesson.examples
    counts = np.array([int((value != -100).sum()) if examples.per_token else 1 for value in examples.targets.values])
    used = np.arange(len(counts))
    most = _TOKENS if lesson.deadline is None else _TOKENS_IN_TIME
    if examples.per_token and counts.sum() > most:
        drawn = np.random.default_rng(0).permutation(len(counts))
        used = np.sort(drawn[: int(np.searchsorted(np.cumsum(counts[drawn]), most)) + 1])
    states = _states(model, lesson, used, below)
    targets = [examples.targets.values[place] for place in used]
    owners = np.array([examples.features[place].record for place in used], dtype=np.int64)
    return gathered(states, targets, examples.weights[used], owners, examples.per_token, cost=int(examples.costs[used].sum()))


def gathered(
    states: Sequence[NDArray[Any]], targets: Sequence[NDArray[Any]], weights: NDArray[np.float64], owners: NDArray[np.int64],
    per_token: bool, cost: int = 0,
) -> FrozenStates:  # fmt: skip
    """Return the data for a linear probe from the states, the targets, the weight and the record of each model input.

    If there is one target `per_token`, -100 marks tokens without one, which are left out.
    """
    if not per_token:
        return FrozenStates(torch.from_numpy(np.stack(states)), torch.from_numpy(np.stack(targets)), _floats(weights), owners, cost)
    labelled = [value != -100 for value in targets]
    rows = np.concatenate([state[mask] for state, mask in zip(states, labelled, strict=True)])
    values = np.concatenate([value[mask] for value, mask in zip(targets, labelled, strict=True)])
    counts = np.array([int(mask.sum()) for mask in labelled])
    # the loss of a feature is the mean over its tokens, so each token gets its share of the feature's weight
    shares = np.repeat(weights / np.maximum(counts, 1), counts)
    return FrozenStates(torch.from_numpy(rows), torch.from_numpy(values)[:, None], _floats(shares), np.repeat(owners, counts), cost)


def _states(model: VerticalModel, lesson: TrainingInput, used: NDArray[np.int64], below: CachedStates | None) -> Sequence[NDArray[Any]]:
    """Return the hidden states that enter the head: one array for each of the model inputs with the indices `used`.

    They are read from the cache if possible. Otherwise they are computed, from the cached states `below` if given.
    """
    trunk = count(model.backbone) + 1
    if below and below.trunk.depth == trunk:
        return below.of(used)
    features = lesson.examples.features
    if lesson.cache and not lesson.examples.per_token:
        cached = lesson.cache.recall(model, trunk, features, below)
        if cached:
            return cached.of(used)
    engine = accelerator(lesson.config)
    chosen = [features[row] for row in used]

    def passing(rows: Sequence[int]) -> AbstractContextManager[None]:
        return around(engine, below, used[list(rows)].tolist())

    return outputs(model, lesson.encoder, chosen, lesson.config.device.tokens, states=True, around=passing)


def _floats(values: NDArray[np.float64]) -> torch.Tensor:
    return torch.from_numpy(values).float()


def solve_with(frozen: FrozenStates, task: Task, size: int, inverse_regularisation: float) -> ProbeSolution:
    """Fit a linear head of `size` outputs on all rows with a regularisation that is known to suit them, which takes a tenth of the time."""
    mean, spread = _scale(frozen.states)
    states = (frozen.states - mean) / spread
    start = _closed_form(task, states, frozen.targets, frozen.weights, size)
    found = _minimise(task, states, frozen.targets, frozen.weights, _Problem(size, inverse_regularisation, start))
    weight = (found[:-1].T / spread).contiguous()
    return ProbeSolution(weight, found[-1] - weight @ mean, inverse_regularisation, loss=float("nan"))


def solve(frozen: FrozenStates, task: Task, size: int, follows: bool = True) -> ProbeSolution:
    """Choose the regularisation strength of a linear head on a held-out fold, then fit the head on all rows.

    `size` is the number of outputs of the head. If `follows` is true, fine-tuning follows. Then the head from which it
    starts is fitted too, with the chosen regularisation or, if that is weak, with a stronger one.
    """
    mean, spread = _scale(frozen.states)
    states = (frozen.states - mean) / spread
    folds = np.random.default_rng(0).permutation(int(frozen.groups.max()) + 1)[frozen.groups]
    sampled = folds < _SEARCH_RECORDS  # the strength that is best for a few thousand records is good for all
    held_out = torch.from_numpy(sampled & (folds % _FOLDS == 0))
    fitted = torch.from_numpy(sampled & (folds % _FOLDS != 0))
    losses: dict[float, float] = {}
    solutions: dict[float, torch.Tensor] = {}
    last = _closed_form(task, states[fitted], frozen.targets[fitted], frozen.weights[fitted], size)
    strengths = INVERSE_REGULARISATION if size <= _MANY_OUTPUTS else _FEW_STRENGTHS
    for c in strengths:
        last = _minimise(task, states[fitted], frozen.targets[fitted], frozen.weights[fitted], _Problem(size, c, last))
        solutions[c] = last
        with torch.no_grad():
            losses[c] = float(_loss(task, last, states[held_out], frozen.targets[held_out], frozen.weights[held_out]))
        if losses[c] > 1.2 * min(losses.values()):
            break  # weaker regularisation only makes it worse from here
    best = min(losses, key=lambda c: losses[c])
    heads = []
    for c in (best, min(best, START))[: 1 + follows]:
        solution = _minimise(task, states, frozen.targets, frozen.weights, _Problem(size, c, solutions[c], passes=2))
        weight = (solution[:-1].T / spread).contiguous()
        heads.append((weight, solution[-1] - weight @ mean))
    return ProbeSolution(*heads[0], best, losses[best], heads[1] if follows else None)


def _scale(states: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean and the spread of each dimension, with which states are standardised."""
    spread = states.std(0)
    return states.mean(0), spread.clamp(min=float(spread.median()) * 0.1 + 1e-8)  # a nearly constant dimension must not be amplified


def cross_validate(frozen: FrozenStates, records: int, task: Task, size: int) -> float:
    """Return the mean loss of the first `records` records, each for a head that is fitted without them.

    Further records are used in each fit.
    """
    mean, spread = _scale(frozen.states)
    states = (frozen.states - mean) / spread
    folds = np.concatenate([np.random.default_rng(0).permutation(records) % _FOLDS, np.full(int(frozen.groups.max()) + 1 - records, -1)])
    total = weight = 0.0
    for fold in range(_FOLDS):
        held, fitted = (torch.from_numpy(np.isin(folds[frozen.groups], chosen)) for chosen in ([fold], [*{-1, *range(_FOLDS)} - {fold}]))
        if not bool(held.any()) or not bool(fitted.any()):
            continue
        found = _minimise(task, states[fitted], frozen.targets[fitted], frozen.weights[fitted], _Problem(size, START, None))
        share = float(frozen.weights[held].sum())
        with torch.no_grad():
            total += share * float(_loss(task, found, states[held], frozen.targets[held], frozen.weights[held]))
        weight += share
    return total / weight


@dataclass(slots=True)
class _Problem:
    """The settings of one fit of a linear head: number of outputs, inverse regularisation strength, and initial weights."""

    size: int
    inverse_regularisation: float
    start: torch.Tensor | None
    passes: int = 1
    """Factor of the number of iterations, if this number is limited by `_WORK`."""


def _loss(task: Task, solution: torch.Tensor, states: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the weighted mean loss of a linear head over all rows of `states`.

    `solution` contains the weights of the head, shape (width + 1, outputs); the last row is the bias.
    """
    logits = states @ solution[:-1] + solution[-1]
    if targets.ndim == 2 and task.states == "tokens":
        logits = logits[:, None]
    return (task.loss(logits, targets) * weights).sum() / weights.sum()


def _closed_form(task: Task, states: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, size: int) -> torch.Tensor | None:
    """Return a solution to start from if there are many classes: a ridge regression on the classes, scaled to the least penalised loss.

    From there, L-BFGS needs a tenth of the iterations. Returns None if there are few classes, or if the targets are not classes.
    """
    if size <= _MANY_OUTPUTS or targets.ndim != 1 or targets.is_floating_point():
        return None
    rows, width = states.shape
    inputs = torch.cat([states, torch.ones(rows, 1)], dim=1)
    sums = torch.zeros(width + 1, size).index_add_(1, targets, inputs.T.contiguous())
    solution: torch.Tensor = torch.linalg.solve(inputs.T @ inputs + torch.eye(width + 1) * rows, sums).contiguous()
    penalty = _penalty(rows, width, _FEW_STRENGTHS[0]) * float(solution[:-1].square().sum())
    some = slice(0, _SCALING_ROWS)
    with torch.no_grad():
        losses = {
            scale: float(_loss(task, solution * scale, states[some], targets[some], weights[some])) + penalty * scale**2
            for scale in (1, 2, 4, 8, 16, 32, 64)
        }
    return solution * min(losses, key=lambda scale: losses[scale])


def _penalty(rows: int, width: int, inverse_regularisation: float) -> float:
    """Return the factor of the squared weights in the loss; standardised states have a mean squared norm of the width."""
    return 0.5 * width / (inverse_regularisation * rows)


def _minimise(task: Task, states: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor, problem: _Problem) -> torch.Tensor:
    """Fit a linear head with an L2 penalty by L-BFGS on all rows at once.

    Return the weights of the head, shape (width + 1, outputs); the last row is the bias.
    """
    rows, width = states.shape
    iterations = _ITERATIONS
    if problem.size > _MANY_OUTPUTS:
        affordable = problem.passes * max(_LEAST_ITERATIONS, int(_WORK / (rows * width * problem.size)))
        iterations = min(_ITERATIONS, affordable)
    penalty = _penalty(rows, width, problem.inverse_regularisation)
    solution = (torch.zeros(width + 1, problem.size) if problem.start is None else problem.start.clone()).requires_grad_()
    search = torch.optim.LBFGS(
        [solution], max_iter=iterations, history_size=20, tolerance_grad=1e-5, tolerance_change=1e-7, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        search.zero_grad()
        loss = _loss(task, solution, states, targets, weights) + penalty * solution[:-1].square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    search.step(closure)  # type: ignore[no-untyped-call]
    return solution.detach()
