"""Gives a model the weights of an earlier one whose task had other labels: the head grows, shrinks, or is ordered anew.

Outputs are matched by what they stand for (`Task.output_names`). Outputs of new labels are fitted on the states of the earlier model, while
all other outputs stay as they are: a convex problem, solved by L-BFGS. Knows nothing of the loop that trains afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from vertune.core.edits import Edit
from vertune.core.kinds import Task
from vertune.learning import probe
from vertune.learning.training_input import TrainingInput
from vertune.nn.vertical import VerticalModel

_ITERATIONS = 60
_NEVER = -1e4
"""An output with which no label is chosen."""
_DECAY = 1e-2
"""Factor of the mean squared weight of new outputs in the loss, relative to that of the other outputs of the head."""


def new_outputs(old: Task, new: Task) -> list[int]:
    """Return the indices of the outputs of the task `new` that stand for what no output of the task `old` stands for."""
    known = set(old.output_names)
    return [place for place, name in enumerate(new.output_names) if name not in known]


def kept_outputs(old: Task, new: Task) -> tuple[list[int], list[int]]:
    """Return the outputs that stand for the same in both tasks: their indices in the task `old`, and those in the task `new`.

    If outputs have no names, they are the same in both.
    """
    if old.output_names == new.output_names:
        return list(range(old.size)), list(range(new.size))
    places = {name: place for place, name in enumerate(old.output_names)}
    pairs = [(places[name], place) for place, name in enumerate(new.output_names) if name in places]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def grown(edits: Sequence[Edit], old: Task, new: Task, model: VerticalModel) -> list[Edit]:
    """Return the edits (trained changes) of a model for the task `old` as those of a model for the task `new`.

    `model` is one for the task `new`, whose head has initial weights; these stay where an output is new.
    """
    if old.output_names == new.output_names:
        return list(edits)
    there, here = kept_outputs(old, new)

    def fitted(edit: Edit, name: str, tensor: Tensor) -> Tensor:
        initial = dict(model.get_submodule(edit.site).named_parameters())[name].detach().cpu()
        if len(tensor) != old.size or len(initial) != new.size:
            return tensor
        moved = initial.clone()
        moved[here] = tensor[there]
        return moved

    return [
        replace(edit, tensors={name: fitted(edit, name, tensor) for name, tensor in edit.tensors.items()}) if edit.kind == "head" else edit
        for edit in edits
    ]


@contextmanager
def without_outputs(model: VerticalModel, places: Sequence[int]) -> Iterator[None]:
    """While the `with` block runs, let a linear head never choose these outputs, so that the model answers as one that lacks them."""
    head = model.head
    if not places or not isinstance(head, nn.Linear):
        yield
        return
    kept = {name: value.clone() for name, value in head.state_dict().items()}
    with torch.no_grad():
        head.weight[list(places)], head.bias[list(places)] = 0.0, _NEVER
    try:
        yield
    finally:
        head.load_state_dict(kept)


def fit_new_outputs(model: VerticalModel, training_input: TrainingInput, new: Sequence[int]) -> None:
    """Fit the outputs `new` of a linear head on the states of the model, with the loss of the task; other outputs are not changed.

    Without such a head, or without new outputs, nothing is changed.
    """
    task = training_input.task
    if not new or not probe.solvable(model, task, training_input.examples):
        return
    frozen = probe.freeze(model, replace(training_input, cache=None, below=None))
    head = cast(nn.Linear, model.head)
    device = head.weight.device
    states = frozen.states.to(device)
    with torch.no_grad():
        fixed = head(states)
    others = [place for place in range(task.size) if place not in set(new)]
    scale = float(head.weight.detach()[others].square().mean()) if others else 1.0
    weight = torch.zeros(len(new), states.shape[1], device=device, requires_grad=True)
    bias = torch.zeros(len(new), device=device, requires_grad=True)
    targets, weights = frozen.targets.to(device), frozen.weights.to(device)
    search = torch.optim.LBFGS([weight, bias], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")
    column = torch.tensor(list(new), device=device)

    def closure() -> Tensor:
        search.zero_grad()
        logits = fixed.index_copy(1, column, states @ weight.T + bias)
        if targets.ndim == 2 and task.states == "tokens":
            logits = logits[:, None]
        loss = (task.loss(logits, targets) * weights).sum() / weights.sum() + _DECAY * weight.square().mean() / scale
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    search.step(closure)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        head.weight[column] = weight.detach()
        head.bias[column] = bias.detach()
