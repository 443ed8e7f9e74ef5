"""Finds the embeddings, the layers, and the linear modules by role (such as query) in a pretrained model (backbone).

Independent of model families and methods. The structure is inferred from the modules and the order in which they run. The *depth*
of a module is the number of its stage in the model: 0 for the embeddings and everything else that feeds all layers, i + 1 for
layer i (counted from 0) and the modules that run between it and the next layer, and the number of layers + 1 for the head.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from vertune.core.errors import ConfigError
from vertune.nn.inputs import names_of, probe_of
from vertune.nn.vertical import VerticalModel

Role = Literal["query", "key", "value", "qkv", "attention_output", "position", "up", "down"]
BACKBONE = "backbone."
"""Prefix of the names of backbone modules in a `VerticalModel`."""


@dataclass(frozen=True, slots=True)
class _Outline:
    """The structure of a backbone, observed in one small forward pass.

    It contains only names, and stays valid if fine-tuning methods add modules later.
    """

    stages: dict[str, int]
    poolers: tuple[str, ...]
    linears: dict[str, list[str]]
    """The names of the linear modules of each layer, relative to the layer, in the order in which they run."""
    above: int
    """The depth (stage number) of the head."""


_outlines: WeakKeyDictionary[nn.Module, _Outline] = WeakKeyDictionary()
"""Cache of the structure of each backbone, because every training step needs it for every parameter."""


def layers(backbone: nn.Module) -> dict[str, nn.Module]:
    """Return the layers by their names in the backbone, in the order in which they run; raise ConfigError if there are none.

    They are the entries of the largest ModuleList whose entries all contain linear modules; nested lists are flattened.
    """
    lists = [
        (name, module)
        for name, module in backbone.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) and all(map(_has_linear, module))
    ]
    if not lists:
        raise ConfigError(
            f"{type(backbone).__name__} can't be used as a base: it has no list of layers with linear modules. "
            "Choose a transformer encoder as base."
        )
    name, module = max(lists, key=lambda item: _size(item[1]))
    return dict(_flattened(name, module))


def count(backbone: nn.Module) -> int:
    """Return the number of layers that a token passes through; a module that serves as several layers counts several times."""
    modules = len(layers(backbone))
    configured = getattr(getattr(backbone, "config", None), "num_hidden_layers", modules)
    return max(modules, configured if isinstance(configured, int) else modules)


def shares_layers(backbone: nn.Module) -> bool:
    """Return whether one module serves as several layers, as in ALBERT."""
    return count(backbone) > len(layers(backbone))


def top(backbone: nn.Module, number: int | Literal["all"]) -> dict[str, nn.Module]:
    """Return the last `number` layers by name; raise ConfigError if the model has fewer layers, or if its layers share weights."""
    every = layers(backbone)
    if number == "all":
        return every
    if shares_layers(backbone):
        raise ConfigError(
            f"The top {number} layers of this base can't be trained separately: its {count(backbone)} layers share {len(every)} sets of "
            "weights. Choose full, or a method with layers: all."
        )
    if number > len(every):
        raise ConfigError(
            f"The config selects the last {number} layers, but the pretrained model has only {len(every)}. Choose at most {len(every)}."
        )
    return dict(list(every.items())[len(every) - number :])


def sites(backbone: nn.Module, name: str) -> dict[Role, list[str]]:
    """Return, for each role such as query, the names of a layer's linear modules with that role, relative to the layer.

    Roles are inferred from the order in which the modules run: first attention, then the feed-forward network, whose last module
    has outputs of the hidden size. Raise ConfigError if the roles can't be determined.
    """
    layer = layers(backbone)[name]
    linears = [(inside, cast(nn.Linear, layer.get_submodule(inside))) for inside in _outline(backbone).linears[name]]
    *rest, (down, last) = linears or [("", nn.Linear(0, 0))]
    hidden, inner = last.out_features, last.in_features
    ups: list[str] = []
    while rest and rest[-1][1].in_features == hidden and rest[-1][1].out_features in (inner, 2 * inner):
        ups.insert(0, rest.pop()[0])
        if inner == hidden:  # here only the order distinguishes attention from feed-forward
            break
    if not ups or not rest or rest[0][1].in_features != hidden:
        shapes = ", ".join(f"{name} {module.in_features} to {module.out_features}" for name, module in linears)
        raise ConfigError(
            f"The roles of the linear modules in {type(layer).__name__} ({shapes or 'none'}) can't be determined: expected attention, then "
            "a feed-forward network. Choose full or top_layers."
        )
    return {**_attention(rest, hidden), "up": ups, "down": [down]}


def _attention(linears: Sequence[tuple[str, nn.Linear]], hidden: int) -> dict[Role, list[str]]:
    """Return the names of attention's linear modules by role.

    If one module computes query, key and value, its role is `qkv`; otherwise the three modules have one role each.
    `attention_output` is the last further module with outputs of the hidden size, and `position` contains all remaining modules.
    """
    if linears[0][1].out_features == 3 * hidden:
        roles: dict[Role, list[str]] = {"qkv": [linears[0][0]]}
        rest = linears[1:]
    else:
        three: tuple[Role, ...] = ("query", "key", "value")
        names = [name for name, _ in linears[:3]]
        initials = {name.rpartition(".")[2][0]: name for name in names}
        if set(initials) == set("qkv"):  # some bases use the key before the query; then only the names distinguish them
            names = [initials[initial] for initial in "qkv"]
        roles = {role: [name] for role, name in zip(three, names, strict=False)}
        rest = linears[3:]
    outputs = [name for name, module in rest if module.out_features == hidden]
    if outputs:
        roles["attention_output"] = outputs[-1:]
    others = [name for name, _ in rest if name not in outputs[-1:]]
    return {**roles, "position": others} if others else roles


def embeddings(backbone: nn.Module) -> tuple[str, nn.Module]:
    """Return the name of the child module that contains the word embeddings, and this module.

    The module usually contains position embeddings and a norm too. Raise ConfigError if no child module contains them.
    """
    word = backbone.get_input_embeddings()  # type: ignore[operator]
    for name, child in backbone.named_children():
        if any(module is word for module in child.modules()):
            return name, child
    raise ConfigError(
        f"{type(backbone).__name__} can't be used as a base: none of its child modules contains the input embeddings. Choose another base."
    )


def word_table(backbone: nn.Module) -> nn.Embedding | None:
    """Return the embedding table of token ids; None if the backbone does not read sequences or has no plain nn.Embedding for them."""
    if names_of(backbone).sequence is None:
        return None
    word = backbone.get_input_embeddings()  # type: ignore[operator]
    return word if type(word) is nn.Embedding else None


def fixed_positions(backbone: nn.Module) -> dict[str, nn.Embedding]:
    """Return, by name, the tables of position vectors that are outside the embeddings module and are never trained, as in RoFormer.

    Such a table is recognised as a subclass of nn.Embedding. A plain nn.Embedding outside the embeddings is skipped: it is a trained
    table of relative distances, in which distances beyond its size are clamped.
    """
    inside = set(embeddings(backbone)[1].modules())
    return {
        name: module
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Embedding) and type(module) is not nn.Embedding and module not in inside
    }


def poolers(backbone: nn.Module) -> dict[str, nn.Module]:
    """Return the poolers by name: child modules that contain linear layers and run after the transformer layers or not at all.

    Only a native head (that of the transformers library) uses them.
    """
    return {name: backbone.get_submodule(name) for name in _outline(backbone).poolers}


def stages(backbone: nn.Module) -> dict[str, int]:
    """Return the depth of each stage by the stage's name.

    Stages are modules that together contain all parameters of the backbone except those of poolers. A stage is a layer, a module
    that contains no layers, or a module that contains layers and also has direct parameters.
    """
    return dict(_outline(backbone).stages)


def depth_of(model: VerticalModel, name: str) -> int:
    """Return the depth (stage number, 0 for the embeddings) of the module or parameter with this name in the model."""
    outline = _outline(model.backbone)
    inside = name.removeprefix(BACKBONE)
    if not name.startswith(BACKBONE) or any(within(inside, pooler) for pooler in outline.poolers):
        return outline.above
    return depth_within(outline.stages, inside)


def depth_within(pieces: Mapping[str, int], name: str) -> int:
    """Return the depth (number) of the stage that contains the module or parameter with this name; 0 if no stage does."""
    owners = [(len(piece), depth) for piece, depth in pieces.items() if within(name, piece)]
    return max(owners, default=(0, 0))[1]


def lowest(model: VerticalModel) -> int:
    """Return the lowest depth (stage number) at which parameters are trainable; if no parameter is, return the head's depth + 1."""
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    return min((depth_of(model, name) for name in trained), default=_outline(model.backbone).above + 1)


def quiet_below(model: VerticalModel, depth: int) -> None:
    """Turn off dropout in every stage (layer, embeddings) below this depth, so that frozen layers have the same outputs in every epoch."""
    for name, stage in _outline(model.backbone).stages.items():
        if stage < depth and name:
            model.backbone.get_submodule(name).eval()


def head_parameters(model: VerticalModel) -> dict[str, nn.Parameter]:
    """Return the head's parameters by their names in the model; a native head (that of transformers) includes the pooler."""
    if model.native is None:
        return {f"head.{name}": parameter for name, parameter in model.head.named_parameters()}
    inside = {id(parameter) for parameter in model.backbone.parameters()}
    own = {f"native.{name}": item for name, item in model.native.named_parameters() if id(item) not in inside}
    pooled = {
        f"{BACKBONE}{name}.{inner}": item for name, pooler in poolers(model.backbone).items() for inner, item in pooler.named_parameters()
    }
    return {**own, **pooled}


@contextmanager
def probing(backbone: nn.Module) -> Iterator[list[RemovableHandle]]:
    """Turn off dropout and gradients while the `with` block runs.

    Hooks that are added to the yielded list are removed at the end of the block, and every module's training mode is restored.
    """
    modes = [(module, module.training) for module in backbone.modules()]
    hooks: list[RemovableHandle] = []
    backbone.eval()
    try:
        with torch.no_grad():
            yield hooks
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes:
            module.training = mode


def _outline(backbone: nn.Module) -> _Outline:
    found = _outlines.get(backbone)
    if found is None:
        found = _outlines[backbone] = _observed(backbone)
    return found


def _calls(backbone: nn.Module) -> list[str]:
    """Return the names of the modules in the order in which they run for a small batch; raise ConfigError if the forward pass fails."""
    called: list[str] = []
    with probing(backbone) as hooks:
        for name, module in backbone.named_modules():
            hooks.append(module.register_forward_pre_hook(partial(_note, called, name)))
        try:
            backbone(**probe_of(backbone))
        except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
            raise ConfigError(
                f"{type(backbone).__name__} can't run on the arrays of its encoder alone: {error}. Choose another base."
            ) from error
    return called


def _note(called: list[str], name: str, module: nn.Module, args: Any) -> None:
    called.append(name)


def _observed(backbone: nn.Module) -> _Outline:
    """Return the structure of a backbone, inferred from the order in which its modules run before, between and after the layers."""
    found, above = layers(backbone), count(backbone) + 1
    calls = _calls(backbone)
    owners = [next((layer for layer in found if within(name, layer)), None) for name in calls]
    places = [place for place, owner in enumerate(owners) if owner is not None]
    end = max(places, default=len(calls))
    depths = {name: 1 if shares_layers(backbone) else depth for depth, name in enumerate(found, 1)}

    def depth(piece: str) -> int:
        if piece in found:
            return depths[piece]
        first = next(
            (place for place, name in enumerate(calls) if within(name, piece)), 0
        )  # a module that is never called may feed all layers
        if first > end:
            return above - 1
        return max((depths[owner] for owner in owners[:first] if owner is not None), default=0)

    holders = {name.partition(".")[0] for name in (*found, embeddings(backbone)[0])}
    late = [name for name, child in backbone.named_children() if name not in holders and _has_linear(child)]
    first = {name: next((place for place, call in enumerate(calls) if within(call, name)), end + 1) for name in late}
    after = tuple(name for name in late if first[name] > end)
    linears = {
        layer: list(dict.fromkeys(name.removeprefix(f"{layer}.") for name in calls if within(name, layer) and _is_linear(backbone, name)))
        for layer in found
    }
    return _Outline({piece: depth(piece) for piece in _pieces(backbone, found, after)}, after, linears, above)


def _pieces(backbone: nn.Module, found: Mapping[str, nn.Module], skipped: Sequence[str]) -> Iterator[str]:
    """Yield the names of the stages: layers, outermost modules without layers, and modules with both layers and direct parameters."""

    def visit(name: str, module: nn.Module) -> Iterator[str]:
        if name in skipped or not any(True for _ in module.parameters()):
            return
        if name in found or not any(within(layer, name) for layer in found):
            yield name
            return
        if any(True for _ in module.parameters(recurse=False)):
            yield name
        for child, part in module.named_children():
            yield from visit(f"{name}.{child}" if name else child, part)

    return visit("", backbone)


def within(name: str, owner: str) -> bool:
    """Return whether `name` is the module `owner` or inside it; an empty `owner` is the whole model and contains every name."""
    return not owner or name == owner or name.startswith(f"{owner}.")


def _is_linear(backbone: nn.Module, name: str) -> bool:
    return isinstance(backbone.get_submodule(name), nn.Linear)


def _flattened(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the entries of a ModuleList; an entry that is itself a list, or only wraps one, is replaced by the entries of that list."""
    for place, entry in module.named_children():
        path = f"{name}.{place}" if name else place
        inner = [(inside, part) for inside, part in entry.named_modules() if isinstance(part, nn.ModuleList) and len(part)]
        whole = next((item for item in inner if _size(item[1]) == _size(entry)), None)
        if whole is None:
            yield path, entry
        else:
            yield from _flattened(f"{path}.{whole[0]}" if whole[0] else path, whole[1])


def _has_linear(module: nn.Module) -> bool:
    return any(isinstance(part, nn.Linear) for part in module.modules())


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
