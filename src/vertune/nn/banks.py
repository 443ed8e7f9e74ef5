"""One backbone under many verticals: a batch in which each sequence is changed as its own vertical asks; knows nothing of tasks.

What a vertical changes is kept in the rows of banks (core/banks.py), and gathered for each sequence. Every change of a map's
output has the form `gain * (output + x @ a @ b) + shift`: LoRA is its product, DoRA its product, gain and shift, IA3 its gain,
BitFit its shift (cf. S-LoRA, Sheng et al. 2023, for products alone).
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from vertune.core.banks import FRONT, POSITIONS, SLOTS, Rows, Shapes, kind, neutral, site, states
from vertune.core.edits import Edit
from vertune.core.errors import ConfigError, ModelError
from vertune.core.kinds import Encoder
from vertune.core.records import Feature
from vertune.nn import graph, prefix, structure
from vertune.nn.bottleneck import ACTIVATIONS
from vertune.nn.low_rank import row_gain
from vertune.nn.trained import TOLERANCE
from vertune.nn.vertical import Vertical

_CHANGED = ("a", "b", "gain", "shift")


def rows(model: Vertical, edits: Iterable[Edit]) -> Rows:
    """What these edits of a fresh base put into the banks; ConfigError where one of them has no such form."""
    found: dict[str, Tensor] = {}
    for edit in edits:
        if edit.kind == "head":
            continue
        place = edit.site.removeprefix(structure.BACKBONE)
        write = _ROWS.get(edit.kind)
        if write is None:
            raise ConfigError(f"A change of kind '{edit.kind}' at {edit.site} replaces weights, and can't be shared.")
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
        raise ConfigError(f"A bias of {type(module).__name__} at {edit.site} can't be shared.")
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


class Mixed(nn.Module):
    """A backbone whose sites read banks, for one batch at a time."""

    def __init__(self, backbone: nn.Module, shapes: Shapes) -> None:
        """`shapes` says which banks there are; hooks are put on a backbone that has none of ours."""
        super().__init__()
        self.backbone = backbone
        self.shapes = dict(shapes)
        self.accepted = frozenset(inspect.signature(backbone.forward).parameters)
        self._given: dict[str, Tensor] = {}
        self._states: list[Tensor] = []
        self._hook()

    def forward(self, arrays: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[Tensor]:
        """The states that enter each layer, and the last ones, each (rows, tokens, width).

        `given` is what the sequences' slots hold, by the names of the banks, its first dimension counting rows; those that add
        positions may be shorter than their bank. States that enter a layer have the added positions in front.
        """
        self._given, self._states = dict(given), []
        out: Tensor = self.backbone(**{name: array for name, array in arrays.items() if name in self.accepted}).last_hidden_state
        states, self._given, self._states = [*self._states, out], {}, []
        return states

    def _hook(self) -> None:
        """Put hooks on every site; those that hand on states come before those that change them."""
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

    # Positions: as nn/prefix.py has them, but with a number that each batch brings along.

    def _open(self, layers: Mapping[str, nn.Module]) -> None:
        backbone = self.backbone
        names = tuple(inspect.signature(backbone.forward).parameters)
        backbone.register_forward_pre_hook(partial(self._extend, names), with_kwargs=True)
        _, embeddings = structure.embeddings(backbone)
        embeddings.register_forward_pre_hook(self._own, with_kwargs=True)
        embeddings.register_forward_hook(self._make_room)
        holder = backbone.get_submodule(next(iter(layers)).partition(".")[0])
        (backbone if isinstance(holder, nn.ModuleList) else holder).register_forward_hook(self._close)

    def _count(self) -> Any:
        return self._given[self.positions].shape[1] if self.positions else 0

    def _extend(self, names: tuple[str, ...], module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[tuple[()], dict[str, Any]]:
        inputs = {**dict(zip(names, args, strict=False)), **kwargs}
        ids: Tensor = inputs["input_ids"]
        room = torch.zeros_like(self._given[str(self.positions)]).to(ids.dtype)
        for name, value in inputs.items():
            if isinstance(value, Tensor) and value.shape == ids.shape:
                front = room if name == "attention_mask" else value[:, :1] + room
                inputs[name] = torch.cat([front.to(value.dtype), value], dim=1)
        return (), inputs

    def _own(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
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
        mask = inputs.get("attention_mask")
        if isinstance(mask, Tensor):
            seen = (opened > 0.5)[(slice(None), *(None,) * (mask.dim() - 2))]
            value = torch.zeros_like(mask[..., :count]) if mask.dtype.is_floating_point else torch.ones_like(mask[..., :count])
            inputs["attention_mask"] = torch.cat([torch.where(seen, value, mask[..., :count]), mask[..., count:]], dim=-1)
        return (), inputs

    def _close(self, module: nn.Module, args: Any, output: Any) -> Any:
        return prefix.close(self._count(), module, args, output)


class _Gathering(nn.Module):
    """A mixed backbone with tensors as arguments, as an exporter calls it: arrays, slots, whole banks."""

    def __init__(self, mixed: Mixed, names: Sequence[str]) -> None:
        super().__init__()
        self.mixed, self.names = mixed, names

    def forward(self, *arrays: Tensor) -> tuple[Tensor, ...]:
        named = dict(zip(self.names, arrays, strict=True))
        return tuple(self.mixed(named, gathered({name: named[name] for name in self.mixed.shapes}, named[SLOTS])))


def gathered(banks: Mapping[str, Tensor], slots: Tensor) -> dict[str, Tensor]:
    """What each sequence's slot holds; banks that add positions come gathered already, as long as the batch needs them."""
    return {name: bank if kind(name) in POSITIONS else bank[slots] for name, bank in banks.items()}


def export(model: Vertical, encoder: Encoder, shapes: Shapes, features: Sequence[Feature]) -> onnx.ModelProto:
    """The graph of a mixed backbone, which takes banks as inputs and gives the states of every depth.

    `model` holds a fresh backbone, which hooks are put on. It is compared with torch on these features, each in a slot of its
    own, filled at random. Raises ConfigError where the backbone can't be traced, ModelError where no graph answers as it does.
    """
    import onnxruntime

    mixed = Mixed(model.backbone, shapes).eval()
    arrays = {name: array for name, array in encoder.collate(features).items() if name in mixed.accepted}
    random = np.random.default_rng(0)
    slots = len(features) + 1
    banks = {name: (neutral(name) + 0.05 * random.standard_normal((slots, *shape))).astype(np.float32) for name, shape in shapes.items()}
    for name in banks:
        if kind(name) == "open":
            banks[name] = random.integers(0, 3, banks[name].shape).astype(np.float32)
    fed = {name: bank[1:] if kind(name) in POSITIONS else bank for name, bank in banks.items()}
    inputs = {name: torch.from_numpy(array) for name, array in {**arrays, SLOTS: np.arange(1, slots), **fed}.items()}
    with torch.no_grad():
        expected = [value.numpy() for value in _Gathering(mixed, list(inputs))(*inputs.values())]
    outputs = tuple(states(depth) for depth in range(len(expected)))
    axes: dict[str, dict[int, str]] = {name: {0: "rows", 1: "tokens"} for name in [*arrays, *outputs]} | {SLOTS: {0: "rows"}}
    axes |= {name: {0: "rows", 1: "positions"} if kind(name) in POSITIONS else {0: "slots"} for name in shapes}
    seen = arrays["attention_mask"].astype(bool)
    for made in graph.forms(model, graph.Traced(_Gathering(mixed, list(inputs)), inputs, outputs, axes)):
        session = onnxruntime.InferenceSession(made.SerializeToString(), graph.quiet(), providers=["CPUExecutionProvider"])
        taken = {entry.name for entry in session.get_inputs()}
        last = session.run([outputs[-1]], {name: tensor.numpy() for name, tensor in inputs.items() if name in taken})[0]
        gap = float(np.abs(last - expected[-1])[seen].max(initial=0.0))
        if gap <= TOLERANCE * max(1.0, float(np.abs(expected[-1]).max(initial=0.0))):
            return made
    raise ModelError(f"No graph of {type(model.backbone).__name__} with banks answers as torch does (they differ by {gap:.2g}).")


def cut(whole: onnx.ModelProto, depths: Sequence[int]) -> list[tuple[int | None, int, onnx.ModelProto]]:
    """Such a graph as stretches that each take the states which the one before gives: start (None: the batch), end, graph.

    `depths` are those of the states at which it is cut, besides the last.
    """
    from onnx.utils import Extractor

    last = len(whole.graph.output) - 1
    taken = [entry.name for entry in whole.graph.input]
    extractor = Extractor(whole)
    found: list[tuple[int | None, int, onnx.ModelProto]] = []
    start: int | None = None
    for end in [*sorted(set(depths) - {last}), last]:
        made = extractor.extract_model([*taken, *([] if start is None else [states(start)])], [states(end)])
        read = {name for node in made.graph.node for name in node.input}
        inputs = [entry for entry in made.graph.input if entry.name in read]
        del made.graph.input[:]
        made.graph.input.extend(inputs)
        found.append((start, end, made))
        start = end
    return found
