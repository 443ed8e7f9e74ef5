"""Checks that a fine-tuning method, which decides which weights are trained, obeys its contract.

Authors of a method run the checks on it. Each function `check_…` accepts a method and a `MethodCase` (example records
of a task, encoded for a pretrained model), and raises AssertionError if the method breaks the contract. If a method
does not support the task or the model, `MethodCase.prepared` raises ConfigError.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch import Tensor

from vertune.core.edits import EDIT_KINDS, Edit
from vertune.core.kinds import Encoder, Method, Task
from vertune.learning.examples import encode
from vertune.nn import delta, structure
from vertune.nn import edits as changes
from vertune.nn.build import build, trainable
from vertune.nn.run import tensors
from vertune.nn.trunk import Trunk
from vertune.nn.vertical import VerticalModel

STEPS = 120
_ROUND = 5
"""Steps between two evaluations of the loss; training ends once the loss has fallen."""
_FALLEN = 0.97
"""The loss counts as fallen once it is below this fraction of the initial loss."""
_SAME = 2e-5
"""Largest difference, relative to the largest output (at least 1), at which outputs count as equal."""
_CONTINUED = 1e-4
"""The same for a model that continues a training, whose matrices may have been multiplied and divided again."""
_WEIGHTS = ("layers", "bias", "head")


class MethodCase:
    """Example records of a task, encoded as inputs of a pretrained model, with which fine-tuning methods are tested.

    It builds models for the tests, and trains them on the records.
    """

    def __init__(self, encoder: Encoder, task: Task, rows: int = 32) -> None:
        records = task.example(rows)
        frame = task.clean(pl.DataFrame(records)).frame
        self.task = task.fit(frame)
        self.records = frame.to_dicts()
        views = self.task.views(frame.columns)
        self.encoder = encoder.resolve(self.records, views)
        examples = encode(self.records, self.task, self.encoder, views)
        self.inputs = tensors(self.encoder.collate(examples.features))
        self.targets = examples.target(range(len(examples.features)))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self._template = build(self.encoder, self.task).eval()
        self._trained: dict[str, tuple[VerticalModel, list[float]]] = {}

    def fresh(self) -> VerticalModel:
        """Return a new copy of the model before any training; the weights of all copies are equal."""
        return copy.deepcopy(self._template)

    def prepared(self, method: Method, steps: int = STEPS) -> VerticalModel:
        """Return a new, untrained model that the method has prepared for training.

        `steps` is the planned number of training steps. Raises ConfigError if the method does not support the model.
        """
        model = self.fresh()
        torch.manual_seed(1)
        method.prepare(model, self.task, steps)
        return model

    def trained(self, method: Method) -> tuple[VerticalModel, list[float]]:
        """Return a model trained with the method on all example records, and its losses.

        The losses are those before training and after every 5 steps, measured without dropout. Training ends early once
        the loss has fallen enough for `check_loss_falls`. The result is cached for each method with its options.
        """
        key = f"{type(method).__module__} {method.model_dump_json()}"
        if key not in self._trained:
            model = self.prepared(method)
            losses = [self.loss(model)]
            optimiser = torch.optim.AdamW(_groups(model, method), weight_decay=0)
            for step in range(STEPS):
                model.train()
                structure.quiet_below(model, structure.lowest(model))
                self.step(model, method, optimiser, step)
                if step % _ROUND == _ROUND - 1:
                    losses.append(self.loss(model))
                    if losses[-1] < _FALLEN * losses[0]:
                        break
            self._trained[key] = model, losses
        return self._trained[key]

    def step(self, model: VerticalModel, method: Method, optimiser: torch.optim.Optimizer, step: int) -> None:
        """Do one training step, with the same operations in the same order as in vertune's training loop."""
        loss = self.task.loss(model(self.inputs), self.targets).mean()
        penalty = method.penalty(model)
        (loss if penalty is None else loss + penalty).backward()  # type: ignore[no-untyped-call]
        method.after_backward(model, step)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    @torch.no_grad()
    def answers(self, model: VerticalModel) -> Tensor:
        """Return the model's outputs for all example records, without dropout."""
        model.eval()
        out: Tensor = model(self.inputs)
        return out

    @torch.no_grad()
    def loss(self, model: VerticalModel) -> float:
        """Return the mean loss on the example records, without dropout."""
        return float(self.task.loss(self.answers(model), self.targets).mean())


def _groups(model: VerticalModel, method: Method) -> list[dict[str, Any]]:
    """Return two groups of parameters for the optimiser: those of the head (last layer), and all other trainable ones.

    Their learning rates are higher than usual, because the tested models have random weights.
    """
    heads = structure.head_parameters(model)
    rest = [parameter for name, parameter in trainable(model).items() if name not in heads]
    return [{"params": list(heads.values()), "lr": 1e-2}, {"params": rest, "lr": max(1e-2, 5 * method.learning_rate)}]


def check_loss_falls(method: Method, case: MethodCase) -> None:
    """Check that a short training with the method lowers the loss on the example records by more than 3 %."""
    _, losses = case.trained(method)
    assert losses[-1] < _FALLEN * losses[0], f"{method.name}: the loss fell only from {losses[0]:.4f} to {losses[-1]:.4f}"


def check_only_declared_weights_move(method: Method, case: MethodCase) -> None:
    """Check that training changes only the modules that the result of `Method.edits` lists, and changes each of them.

    No other weight of the original model may change, and at least one tensor of each listed module must change.
    """
    model, _ = case.trained(method)
    fresh = case.fresh()
    before = fresh.state_dict()
    after = {name.replace(".base_layer.", "."): value for name, value in model.state_dict().items()}
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    declared = {f"{edit.site}.{name}" for edit in method.edits(model) if edit.kind in _WEIGHTS for name in edit.tensors}
    declared |= {_twin(name, fresh) for name in declared}
    assert moved <= declared, f"{method.name}: these weights changed, but edits() does not list them: {sorted(moved - declared)}"
    frozen = {name for name in declared - moved if before.get(name) is not None and before[name].is_floating_point()}
    felt = {edit.site for edit in method.edits(model) if any(f"{edit.site}.{name}" not in frozen for name in edit.tensors)}
    still = {edit.site for edit in method.edits(model)} - felt
    assert not still, f"{method.name}: edits() lists these modules, but nothing changed in them: {sorted(still)}"


def _twin(name: str, model: VerticalModel) -> str:
    """Return the other name of a weight of the pretrained model if the whole model contains the weight under two names.

    This is so for a classification model of the transformers library, which contains the pretrained model as a module.
    For other models, return the given name.
    """
    if model.native is None or not name.startswith(structure.BACKBONE):
        return name
    inside = next(place for place, module in model.native.named_modules() if module is model.backbone)
    return f"native.{inside}.{name.removeprefix(structure.BACKBONE)}"


def check_edits_are_well_formed(method: Method, case: MethodCase) -> None:
    """Check the edits (descriptions of trained changes) that the method returns.

    Each must have a known kind, name an existing module, and contain tensors on the CPU that need no gradient. Its
    depth must be the number of the changed stage of the model: 0 for the embeddings, then one per layer, and the last
    for the head. The lowest depth of all edits must be that of the lowest trainable weight.
    """
    edits = method.edits(case.prepared(method))
    fresh = case.fresh()
    above = structure.count(fresh.backbone) + 1
    for edit in edits:
        fresh.get_submodule(edit.site)
        assert edit.kind in EDIT_KINDS, edit.kind
        assert edit.tensors, f"the edit at {edit.site} has no tensors"
        assert all(tensor.device.type == "cpu" and not tensor.requires_grad for tensor in edit.tensors.values()), edit.site
        assert edit.depth == structure.depth_of(fresh, edit.site), f"the depth of the edit at {edit.site} is wrong: {edit.depth}"
        assert (edit.kind == "head") == (edit.depth == above), edit.site
    lowest = min(edit.depth for edit in edits)
    assert lowest == structure.lowest(case.prepared(method)), f"the lowest edit is at depth {lowest}, but lower parameters are trainable"


def check_random_delta_changes_answers(method: Method, case: MethodCase) -> None:
    """Check that every edit (trained change) has an effect when it is applied to a model.

    For each kind and depth (number of the stage in the model), noise is added to the tensors of the edits of this kind
    and depth. The outputs of the model must then differ from those without noise.
    """
    edits = method.edits(case.prepared(method))
    plain = _rebuilt(case, edits)
    random = torch.Generator().manual_seed(2)
    for kind, depth in sorted({(edit.kind, edit.depth) for edit in edits}):
        noisy = [_noisy(edit, random) if (edit.kind, edit.depth) == (kind, depth) else edit for edit in edits]
        gap = float((_rebuilt(case, noisy) - plain).abs().max())
        assert gap > 1e-4, f"{method.name}: noise in {kind} at depth {depth} changed the outputs only by {gap:.1e}"


def _noisy(edit: Edit, random: torch.Generator) -> Edit:
    """Return a copy of an edit (a trained change) whose tensors contain additional normal noise of standard deviation 0.3."""
    noise = {name: tensor + 0.3 * torch.randn(tensor.shape, generator=random) for name, tensor in edit.tensors.items()}
    return replace(edit, tensors=noise)


def check_continues_from_edits(method: Method, case: MethodCase) -> None:
    """Check that a prepared model has the outputs of an earlier training after `Method.start_from`, and the same trainable weights."""
    if not method.continues:
        return
    model, _ = case.trained(method)
    again = case.prepared(method)
    names = set(trainable(again))
    method.start_from(again, method.edits(model))
    assert set(trainable(again)) == names, f"{method.name}: start_from changed which weights are trained"
    expected, found = case.answers(model), case.answers(again)
    gap = float((expected - found).abs().max())
    assert gap <= _CONTINUED * max(1.0, float(expected.abs().max())), f"{method.name}: the outputs of a continued model differ by {gap:.1e}"


def _rebuilt(case: MethodCase, edits: Sequence[Edit]) -> Tensor:
    """Return the outputs of a new, untrained model to which these edits (trained changes) were applied."""
    model = case.fresh()
    changes.apply(model, edits)
    return case.answers(model)


def check_saved_and_loaded_answers_are_equal(method: Method, case: MethodCase, folder: Path) -> None:
    """Check that a trained model can be rebuilt from its edits (trained changes) after they were saved and loaded.

    An untrained model to which the loaded edits are applied must have the same outputs as the trained model. If the
    kinds of the edits allow merging them into the pretrained weights, the merged model must have the same outputs, too.
    """
    model, _ = case.trained(method)
    edits = method.edits(model)
    delta.save(folder, edits)
    loaded = delta.load(folder)
    for old, new in zip(edits, loaded, strict=True):
        assert replace(old, tensors={}) == replace(new, tensors={}), old.site
        assert all(torch.equal(old.tensors[name], new.tensors[name]) for name in old.tensors), old.site
    expected, found = case.answers(model), _rebuilt(case, loaded)
    _close(expected, found, f"{method.name}: rebuilt")
    if not {edit.kind for edit in edits} & {"bottleneck", "prefix_states", "prompt_rows"}:
        merged = case.fresh()
        changes.merge(merged, loaded)
        _close(expected, case.answers(merged), f"{method.name}: merged")


def _close(expected: Tensor, found: Tensor, what: str) -> None:
    """Raise AssertionError unless the outputs of two models are equal up to a relative difference of 2e-5 (`_SAME`).

    `what` names the method and the compared model in the message.
    """
    gap = float((expected - found).abs().max())
    assert gap <= _SAME * max(1.0, float(expected.abs().max())), (
        f"{what} model: the outputs differ from those of the trained model by {gap:.1e}"
    )


def check_training_resumes_exactly(method: Method, case: MethodCase) -> None:
    """Check that training that is stopped and resumed ends with exactly the same weights as training without a stop.

    The state of the method is saved with `Method.state` and set with `Method.restore`.
    """
    half, steps = 6, 12
    straight = _run(method, case, case.prepared(method, steps), range(steps))
    stopped = _run(method, case, case.prepared(method, steps), range(half))
    state = {name: value.clone() for name, value in method.state(stopped).items()}
    resumed = case.prepared(method, steps)
    with torch.no_grad():
        for name, parameter in trainable(resumed).items():
            parameter.copy_(trainable(stopped)[name])
    method.restore(resumed, state)
    _run(method, case, resumed, range(half, steps))
    for name, parameter in trainable(straight).items():
        assert torch.equal(parameter, trainable(resumed)[name]), (
            f"{method.name}: the weight {name} differs if training is stopped and resumed"
        )


def _run(method: Method, case: MethodCase, model: VerticalModel, steps: range) -> VerticalModel:
    """Train a model for these steps, and return it.

    Plain gradient descent is used, because it has no state that would have to be saved for resuming.
    """
    optimiser = torch.optim.SGD(trainable(model).values(), lr=0.05)
    for step in steps:
        model.train()
        torch.manual_seed(step)
        case.step(model, method, optimiser, step)
    return model


def check_depth_is_that_of_the_lowest_edit(method: Method, case: MethodCase) -> None:
    """Check that `Method.depth` returns the number of the lowest model stage that the method changes.

    Stage 0 is the embeddings, stage 1 the first layer. If `depth` returns 2 or more, the outputs of the frozen lower
    layers are cached in training; then check also that a model that starts from such cached outputs has the same
    outputs as a full forward pass. If it returns 0 or 1, the lowest changed stage may be higher, because nothing is
    cached.
    """
    model = case.prepared(method)
    declared, lowest = method.depth(structure.count(model.backbone)), structure.lowest(model)
    assert declared == lowest or declared < 2, f"{method.name}: depth() returns {declared}, but the lowest edit is at depth {lowest}"
    assert declared <= lowest, f"{method.name}: depth() returns {declared}, but weights at depth {lowest} are trained"
    alone = structure.shares_layers(model.backbone) and model.native is not None  # layers that share one module can't be distinguished
    if declared > 1 and not alone:
        assert Trunk(model, declared).works(case.inputs), (
            f"{method.name}: with cached hidden states at depth {declared}, the outputs differ"
        )


CHECKS = (
    check_continues_from_edits,
    check_depth_is_that_of_the_lowest_edit,
    check_edits_are_well_formed,
    check_loss_falls,
    check_only_declared_weights_move,
    check_random_delta_changes_answers,
)
"""The checks whose only arguments are a method and a `MethodCase`."""
