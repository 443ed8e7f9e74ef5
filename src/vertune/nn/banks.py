"""Runs one pretrained model (backbone) for many fine-tuned models in the same batch; independent of tasks.

Each sequence of a batch is computed with the changes of its own fine-tuned model. A bank is a tensor that stacks one
kind of change to one module, with one entry (slot) per fine-tuned model; see core/banks.py. For each sequence, the
changes are gathered from the banks by the number of its model's slot. For its input x, a linear module then outputs
`gain * (output + x @ a @ b) + shift`. LoRA needs only the product `x @ a @ b`; DoRA the product, gain and shift; IA3
the gain, or factors for x; BitFit the shift. S-LoRA (Sheng et al. 2023) does the same for LoRA products only.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vertune.core.banks import FRONT, POSITIONS, BankRows, Shapes, kind, site
from vertune.core.edits import Edit
from vertune.core.errors import ConfigError
from vertune.nn import prefix, structure
from vertune.nn.bottleneck import ACTIVATIONS
from vertune.nn.inputs import names_of
from vertune.nn.low_rank import row_gain
from vertune.nn.vertical import VerticalModel

_CHANGED = ("a", "b", "gain", "shift")


def bank_rows(model: VerticalModel, edits: Iterable[Edit]) -> BankRows:
    """Convert the trained changes (edits) of one fine-tuned model to the arrays to write into the banks.

    A bank is a tensor that stacks one kind of change of all fine-tuned models. Returns one array per bank, by the
    bank's name. Changes of the head are skipped. Raise ConfigError if another change can't be converted, for example
    because training replaced whole weight matrices.
    """
    found: dict[str, Tensor] = {}
    for edit in edits:
        if edit.kind == "head":
            continue
        place = edit.site.removeprefix(structure.BACKBONE)
        write = _ROWS.get(edit.kind)
        if write is None:
            raise ConfigError(
                "The model can't share its pretrained model with other models, because training replaced the weights "
                f"of {edit.site} (kind of change: {edit.kind}). Expected changes that are added to the pretrained "
                "weights, as with the method lora. Create a separate ONNX graph for the model: vertune compress MODEL"
            )
        found |= {f"{place}:{name}": tensor for name, tensor in write(model.get_submodule(edit.site), edit).items()}
        if edit.kind == "prompt_rows":
            front = found.pop(f"{place}:rows")
            opened = {f"{layer}:open": torch.ones(len(front)) for layer in structure.layers(model.backbone)}
            found |= {f"{FRONT}:rows": front, **opened}
    return {name: tensor.detach().float().contiguous().numpy() for name, tensor in found.items()}


def _low_rank(module: Any, edit: Edit) -> dict[str, Tensor]:
    a, b, scaling = edit.tensors["a"], edit.tensors["b"], float(edit.options["scaling"])
    found = {"a": (scaling * a).T, "b": b.T}
    if "magnitude" in edit.tensors:
        gain = row_gain(module.weight, a, b, scaling, edit.tensors["magnitude"])
        found["gain"] = gain
        if module.bias is not None:
            found["shift"] = (1 - gain) * module.bias
    return found


def _scale(module: Any, edit: Edit) -> dict[str, Tensor]:
    return {"input" if edit.options["side"] == "input" else "gain": edit.tensors["scale"]}


def _bias(module: Any, edit: Edit) -> dict[str, Tensor]:
    if not isinstance(module, nn.Linear | nn.LayerNorm):
        raise ConfigError(
            "The model can't share its pretrained model with other models, because training changed the bias of "
            f"{edit.site}, which is a module of type {type(module).__name__}. Expected trained biases only in modules "
            "of type Linear or LayerNorm. Create a separate ONNX graph for the model: vertune compress MODEL"
        )
    return {"shift": edit.tensors["bias"] - module.bias}


def _bottleneck(module: Any, edit: Edit) -> dict[str, Tensor]:
    tensors, activation = edit.tensors, edit.options["activation"]
    down, up = tensors["down.weight"].T, tensors["up.weight"].T
    named = {"down": down, "inner": tensors["down.bias"], "up": up, "outer": tensors["up.bias"]}
    return {f"{activation}.{name}": tensor for name, tensor in named.items()}


def _prefix(module: Any, edit: Edit) -> dict[str, Tensor]:
    states = edit.tensors["rows"]
    return {"rows": states, "open": torch.full((len(states),), 2.0)}


def _prompt(module: Any, edit: Edit) -> dict[str, Tensor]:
    return {"rows": edit.tensors["rows"]}


_ROWS = {
    "low_rank": _low_rank, "scale": _scale, "bias": _bias, "bottleneck": _bottleneck, "prefix_states": _prefix, "prompt_rows": _prompt,
}  # fmt: skip


class MixedBackbone(nn.Module):
    """A pretrained model that runs batches with sequences for several fine-tuned models.

    With forward hooks, it applies to each sequence the changes of the fine-tuned model that the sequence is for.
    """

    def __init__(self, backbone: nn.Module, shapes: Shapes) -> None:
        """Register the hooks on `backbone`, which must not have hooks of vertune yet.

        A bank is a tensor that stacks one kind of change of all fine-tuned models. `shapes` maps the name of each bank
        to the shape of the entry (slot) of one model.
        """
        super().__init__()
        self.backbone = backbone
        self.shapes = dict(shapes)
        self.accepted = frozenset(inspect.signature(backbone.forward).parameters)
        self.inputs = names_of(backbone)
        self._given: dict[str, Tensor] = {}
        self._states: list[Tensor] = []
        self._hook()

    def forward(self, arrays: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[Tensor]:
        """Run a batch; return the inputs of all layers, followed by the output of the last layer.

        Each of these hidden states has the shape (rows, tokens, width). `arrays` contains the inputs of the pretrained
        model. `given` maps the name of each bank to the changes that `gather` selected, one per row. Some changes
        insert positions in front of each sequence, at most as many as `shapes` allows. The inputs of layers include
        these positions; the output of the last layer does not.
        """
        self._given, self._states = dict(given), []
        out: Tensor = self.backbone(**{name: array for name, array in arrays.items() if name in self.accepted}).last_hidden_state
        states, self._given, self._states = [*self._states, out], {}, []
        return states

    def _hook(self) -> None:
        """Register hooks on every layer, to record its input, and on every module that a fine-tuned model changes.

        If a hook also changes the input of a layer, the input before this change is recorded.
        """
        backbone = self.backbone
        kinds: dict[str, set[str]] = {}
        for name in self.shapes:
            kinds.setdefault(site(name), set()).add(kind(name))
        layers = structure.layers(backbone)
        self.positions = next((name for name in self.shapes if kind(name) == "open"), None)
        if self.positions:
            self._open(layers)
        for name, layer in layers.items():
            names = tuple(inspect.signature(layer.forward).parameters)
            layer.register_forward_pre_hook(partial(self._entering, names), with_kwargs=True)
            if f"{name}:open" in self.shapes:
                layer.register_forward_pre_hook(partial(self._replace, name, names), with_kwargs=True)
        for place, found in kinds.items():
            if place == FRONT or (place in layers and not found - set(POSITIONS)):
                continue
            module = backbone.get_submodule(place)
            if "input" in found:
                module.register_forward_pre_hook(partial(self._scaled, place))
            if found & set(_CHANGED):
                module.register_forward_hook(partial(self._changed, place, frozenset(found)))
            for activation in sorted({name.partition(".")[0] for name in found if name.endswith(".down")}):
                module.register_forward_hook(partial(self._through, place, activation))

    def _of(self, place: str, name: str) -> Tensor:
        return self._given[f"{place}:{name}"]

    def _entering(self, names: tuple[str, ...], layer: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        self._states.append(args[0] if args else kwargs[names[0]])

    def _scaled(self, place: str, module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (args[0] * self._of(place, "input")[:, None], *args[1:])

    def _changed(self, place: str, found: frozenset[str], module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
        if "a" in found:
            out = out + torch.matmul(torch.matmul(args[0], self._of(place, "a")), self._of(place, "b"))
        if "gain" in found:
            out = out * self._of(place, "gain")[:, None]
        return out + self._of(place, "shift")[:, None] if "shift" in found else out

    def _through(self, place: str, activation: str, module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
        inner = torch.matmul(out, self._of(place, f"{activation}.down")) + self._of(place, f"{activation}.inner")[:, None]
        up = torch.matmul(ACTIVATIONS[activation](inner), self._of(place, f"{activation}.up"))
        return out + up + self._of(place, f"{activation}.outer")[:, None]

    # The hooks below add positions as nn/prefix.py does, except that the number of positions varies from batch to batch.

    def _open(self, layers: Mapping[str, nn.Module]) -> None:
        backbone = self.backbone
        names = tuple(inspect.signature(backbone.forward).parameters)
        backbone.register_forward_pre_hook(partial(self._extend, names), with_kwargs=True)
        _, embeddings = structure.embeddings(backbone)
        embeddings.register_forward_pre_hook(self._real_tokens, with_kwargs=True)
        embeddings.register_forward_hook(self._make_room)
        holder = backbone.get_submodule(next(iter(layers)).partition(".")[0])
        (backbone if isinstance(holder, nn.ModuleList) else holder).register_forward_hook(self._close)

    def _count(self) -> Any:
        return self._given[self.positions].shape[1] if self.positions else 0

    def _extend(self, names: tuple[str, ...], module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[tuple[()], dict[str, Any]]:
        inputs = {**dict(zip(names, args, strict=False)), **kwargs}
        ids: Tensor = inputs[str(self.inputs.sequence)]
        room = torch.zeros_like(self._given[str(self.positions)]).to(ids.dtype)
        for name, value in inputs.items():
            if isinstance(value, Tensor) and value.shape == ids.shape:
                front = room if name == self.inputs.mask else value[:, :1] + room
                inputs[name] = torch.cat([front.to(value.dtype), value], dim=1)
        return (), inputs

    def _real_tokens(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        count = self._count()

        def cut(value: Any) -> Any:
            return value[:, count:] if isinstance(value, Tensor) and value.dim() == 2 else value

        return tuple(map(cut, args)), {name: cut(value) for name, value in kwargs.items()}

    def _make_room(self, module: nn.Module, args: Any, states: Tensor) -> Tensor:
        front = self._given.get(f"{FRONT}:rows")
        if front is None:
            front = states[:, :1] * 0.0 + torch.zeros_like(self._given[str(self.positions)])[:, :, None]
        return torch.cat([front.to(states.dtype), states], dim=1)

    def _replace(self, place: str, names: tuple[str, ...], layer: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        inputs = {**dict(zip(names, args, strict=False)), **kwargs}
        opened, count = self._of(place, "open"), self._count()
        states = inputs[names[0]]
        if f"{place}:rows" in self.shapes:
            front = torch.where(opened[:, :, None] > 1.5, self._of(place, "rows").to(states.dtype), states[:, :count])
            inputs[names[0]] = torch.cat([front, states[:, count:]], dim=1)
        mask = inputs.get(str(self.inputs.mask))
        if isinstance(mask, Tensor):
            seen = (opened > 0.5)[(slice(None), *(None,) * (mask.dim() - 2))]
            value = torch.zeros_like(mask[..., :count]) if mask.dtype.is_floating_point else torch.ones_like(mask[..., :count])
            inputs[str(self.inputs.mask)] = torch.cat([torch.where(seen, value, mask[..., :count]), mask[..., count:]], dim=-1)
        return (), inputs

    def _close(self, module: nn.Module, args: Any, output: Any) -> Any:
        return prefix.close(self._count(), module, args, output)


def gather(banks: Mapping[str, Tensor], slots: Tensor) -> dict[str, Tensor]:
    """Select, from every bank, the change for each sequence of a batch.

    A bank is a tensor that stacks one kind of change of all fine-tuned models. `slots` contains, for each sequence, the
    index of its model in the banks. Banks for changes that insert positions are returned as they are: the caller has
    already selected one entry per sequence, and shortened the entries to the number of positions that the batch needs.
    """
    return {name: bank if kind(name) in POSITIONS else bank[slots] for name, bank in banks.items()}
