"""Creates edits (records of what training changed) from a trained model, and applies edits to a model.

An edit is applied either as a module that is added to the model, or by changing the model's weights (merging). The
`site` of an edit is the name of the changed module inside the model. The tensors of edits are copies on the CPU.
Independent of fine-tuning methods.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from vertune.core.edits import Edit, EditKind
from vertune.core.errors import ConfigError, ModelError
from vertune.nn import bottleneck, low_rank, prefix, structure
from vertune.nn.vertical import VerticalModel


def cpu_copy(tensor: Tensor) -> Tensor:
    """Return a contiguous copy of the tensor on the CPU; further training does not change the copy."""
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def head_edits(model: VerticalModel) -> list[Edit]:
    """Return the weights of the head (output layer) as edits (records of trained changes).

    If the head is one of the transformers library, the weights of the pooler are included.
    """
    depth = structure.count(model.backbone) + 1
    if model.native is None:
        tensors = {name: cpu_copy(value) for name, value in model.head.state_dict().items()}
        return [Edit("head", "head", depth, tensors)] if tensors else []
    return _grouped("head", structure.head_parameters(model), lambda name: "native" if name.startswith("native.") else _owner(name), depth)


def layer_edits(model: VerticalModel) -> list[Edit]:
    """Return the trainable weights of the backbone (pretrained model) as edits (records of trained changes).

    There is one edit per layer, and one per other module with weights, such as the embeddings; see `structure.stages`.
    """
    stages = structure.stages(model.backbone)
    result: dict[str, dict[str, Tensor]] = {}
    for name, parameter in model.backbone.named_parameters():
        piece = _longest(name, stages) if parameter.requires_grad else None
        if piece is not None:
            result.setdefault(piece, {})[name.removeprefix(f"{piece}.")] = cpu_copy(parameter)
    return [Edit("layers", f"{structure.BACKBONE}{piece}".rstrip("."), stages[piece], tensors) for piece, tensors in result.items()]


def bias_edits(model: VerticalModel) -> list[Edit]:
    """Return the trainable biases of the backbone (pretrained model) as edits (records of trained changes).

    There is one edit per bias. Biases of a pooler are skipped if the pooler belongs to the head.
    """
    names = {
        f"{structure.BACKBONE}{name}": parameter
        for name, parameter in model.backbone.named_parameters()
        if parameter.requires_grad and name.rpartition(".")[2] == "bias"
    }
    skipped = set(structure.head_parameters(model))
    kept = {name: parameter for name, parameter in names.items() if name not in skipped}
    return [Edit("bias", _owner(name), structure.depth_of(model, name), {"bias": cpu_copy(parameter)}) for name, parameter in kept.items()]


def module_edits(model: VerticalModel) -> list[Edit]:
    """Return the modules that vertune added to the model as edits (records of trained changes), one per module.

    These modules are bottleneck adapters, and the vectors that the methods prefix and prompt insert in front of texts.
    """
    result = []
    for name, module in model.named_modules():
        site = _owner(name)
        depth = structure.depth_of(model, site) if isinstance(module, bottleneck.Bottleneck | prefix.PrefixRows) else 0
        if isinstance(module, bottleneck.Bottleneck):
            tensors = {key: cpu_copy(value) for key, value in module.state_dict().items()}
            result.append(Edit("bottleneck", site, depth, tensors, {"activation": module.activation}))
        elif isinstance(module, prefix.PrefixRows):
            kind: EditKind = "prompt_rows" if name.endswith(".prompt") else "prefix_states"
            result.append(Edit(kind, site, depth, {"rows": cpu_copy(module.rows)}))
    return result


def apply(model: VerticalModel, edits: Sequence[Edit]) -> None:
    """Apply the edits (trained changes) to a newly built model, which still has the pretrained weights.

    Raise ModelError if an edit does not fit the model.
    """
    states: dict[str, Tensor] = {}
    for edit in edits:
        module = _module(model, edit)
        if edit.kind == "prefix_states":
            states[edit.site.removeprefix(structure.BACKBONE)] = _on(module, edit)["rows"]
        elif edit.kind == "prompt_rows":
            prefix.attach_prompt(model.backbone, _on(module, edit)["rows"])
        else:
            _APPLY[edit.kind](module, edit)
    if states:  # must be attached in one call for all layers
        prefix.attach_prefix(model.backbone, states)


@torch.no_grad()
def merge(model: VerticalModel, edits: Sequence[Edit]) -> None:
    """Merge the edits (trained changes) into the weights of a newly built model; no modules of vertune are added.

    Raise ConfigError if an edit can't be merged, because it consists of an added module. Raise ModelError if an edit
    does not fit the model.
    """
    refused = sorted({edit.kind for edit in edits} - set(_MERGE))
    if refused:
        raise ConfigError(
            f"Trained changes of the kind {', '.join(refused)} can't be merged into the weights of the pretrained "
            "model, because they add modules to it. Use the model with vertune, or train it with the method full, "
            "top_layers, bitfit, lora, dora, adalora or ia3."
        )
    for edit in edits:
        _MERGE[edit.kind](_module(model, edit), edit)


@torch.no_grad()
def restore(model: VerticalModel, edits: Sequence[Edit]) -> None:
    """Overwrite the weights of a model that a method prepared for training with those of edits (changes) of an earlier training.

    The modules that the method adds must exist already. Raise ModelError if an edit does not fit the model.
    """
    for edit in edits:
        module = _module(model, edit)
        added = _ADDED.get(edit.kind)
        _write(module.get_submodule(added) if added else module, edit)


def apply_merged(model: VerticalModel, edits: Sequence[Edit]) -> None:
    """Apply edits (trained changes) to a newly built model, with as few added modules as possible.

    Edits that can be merged are merged into the weights; all other edits are applied as added modules.
    """
    merge(model, [edit for edit in edits if edit.kind in _MERGE])
    apply(model, [edit for edit in edits if edit.kind not in _MERGE])


@torch.no_grad()
def _write(module: nn.Module, edit: Edit) -> None:
    """Overwrite tensors of the module with those of the edit (trained change), by name.

    Raise ModelError if the module has no tensor of that name, or one with another shape.
    """
    existing = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for name, tensor in edit.tensors.items():
        if name not in existing or existing[name].shape != tensor.shape:
            shape = f"a tensor of shape {tuple(existing[name].shape)}" if name in existing else "no tensor"
            raise ModelError(
                f"The trained weights have a tensor of shape {tuple(tensor.shape)} for {edit.site}.{name}; the model "
                f"has {shape} there. Use the same pretrained model and the same task as in training."
            )
        existing[name].copy_(tensor)


def _add_low_rank(module: nn.Module, edit: Edit) -> None:
    linear = _linear(module, edit)
    tensors = _on(linear, edit)
    change = low_rank.LowRank(linear, tensors["a"], tensors["b"], float(edit.options["scaling"]), tensors.get("magnitude"))
    low_rank.attach_low_rank(linear, change)


def _add_scale(module: nn.Module, edit: Edit) -> None:
    linear = _linear(module, edit)
    low_rank.attach_scale(linear, low_rank.ScaleVector(_on(linear, edit)["scale"]), edit.options["side"])


def _add_bottleneck(module: nn.Module, edit: Edit) -> None:
    linear = _linear(module, edit)
    size, width = edit.tensors["down.weight"].shape
    added = bottleneck.Bottleneck(width, size, edit.options["activation"]).to(linear.weight.device)
    added.load_state_dict(edit.tensors)
    bottleneck.attach(linear, added)


def _merge_low_rank(module: nn.Module, edit: Edit) -> None:
    linear = _linear(module, edit)
    tensors = _on(linear, edit)
    a, b, scaling = tensors["a"], tensors["b"], float(edit.options["scaling"])
    gain = low_rank.row_gain(linear.weight, a, b, scaling, tensors["magnitude"])[:, None] if "magnitude" in tensors else 1.0
    linear.weight.copy_(gain * (linear.weight + scaling * (b @ a)))


def _merge_scale(module: nn.Module, edit: Edit) -> None:
    linear = _linear(module, edit)
    scale = _on(linear, edit)["scale"]
    if edit.options["side"] == "input":
        linear.weight.mul_(scale)
        return
    linear.weight.mul_(scale[:, None])
    if linear.bias is not None:
        linear.bias.mul_(scale)


Change = Callable[[nn.Module, Edit], None]
_WEIGHTS: dict[str, Change] = {"layers": _write, "bias": _write, "head": _write}
_MERGE: dict[str, Change] = {**_WEIGHTS, "low_rank": _merge_low_rank, "scale": _merge_scale}
_ADDED = {"bottleneck": "bottleneck", "prefix_states": "prefix", "prompt_rows": "prompt"}
"""Maps kinds of edits to the name of the module that they add at their site."""
_APPLY: dict[str, Change] = {**_WEIGHTS, "low_rank": _add_low_rank, "scale": _add_scale, "bottleneck": _add_bottleneck}


def _module(model: VerticalModel, edit: Edit) -> nn.Module:
    try:
        return model.get_submodule(edit.site)
    except AttributeError as error:
        raise ModelError(
            f"The trained weights change the module {edit.site}, which does not exist in this model. Use the same "
            "pretrained model and the same pooling as in training."
        ) from error


def _linear(module: nn.Module, edit: Edit) -> nn.Linear:
    if not isinstance(module, nn.Linear):
        raise ModelError(
            f"The trained weights are for a module {edit.site} of type Linear, but in this model its type is "
            f"{type(module).__name__}. Use the same pretrained model as in training."
        )
    return module


def _on(module: nn.Module, edit: Edit) -> dict[str, Tensor]:
    """Return copies of the tensors of the edit (trained change), by name, on the device of the module."""
    device = next(module.parameters()).device
    return {name: cast(Tensor, tensor).clone().to(device) for name, tensor in edit.tensors.items()}


def _grouped(kind: EditKind, tensors: Mapping[str, Tensor], owner: Callable[[str], str], depth: int) -> list[Edit]:
    """Create edits (trained changes) from tensors: one edit for each module that contains some of them.

    `tensors` maps names in the model to tensors; `owner` returns the name of the module for the name of a tensor.
    """
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        found.setdefault(owner(name), {})[name.removeprefix(f"{owner(name)}.")] = cpu_copy(tensor)
    return [Edit(kind, site, depth, items) for site, items in found.items()]


def _owner(name: str) -> str:
    return name.rpartition(".")[0]


def _longest(name: str, stages: Iterable[str]) -> str | None:
    """Return the innermost of these stages (names of layers or other modules) that contains the parameter `name`.

    Return None if no stage contains the parameter.
    """
    return max((piece for piece in stages if not piece or name.startswith(f"{piece}.")), key=len, default=None)
