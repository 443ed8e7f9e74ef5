"""What a backbone is made of, found by its modules and the order in which they run; knows nothing of model names or methods.

A backbone is embeddings, layers and what follows them. Depths: 0 for the embeddings and all else that feeds every layer,
i + 1 for layer i and what runs between it and the next, and the number of layers + 1 for the head.
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
"""What names inside a backbone start with, seen from its vertical."""


@dataclass(frozen=True, slots=True)
class _Outline:
    """What one small forward pass shows. Names only: what methods hang on a backbone later does not change them."""

    stages: dict[str, int]
    poolers: tuple[str, ...]
    linears: dict[str, list[str]]
    """The linear maps of each layer, named as in the layer, in order of use."""
    above: int
    """Depth of the head."""


_outlines: WeakKeyDictionary[nn.Module, _Outline] = WeakKeyDictionary()
"""Kept, because every step and every parameter asks for it."""


def layers(backbone: nn.Module) -> dict[str, nn.Module]:
    """The layers by their names in the backbone, in order of their use; ConfigError where there are none.

    They are the entries of the largest list of modules that all have linear layers; lists nested in it are opened.
    """
    lists = [
        (name, module)
        for name, module in backbone.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) and all(map(_has_linear, module))
    ]
    if not lists:
        raise ConfigError(
            f"Expected a base made of a list of layers with linear maps; {type(backbone).__name__} has none. "
            "Choose a transformer encoder as base."
        )
    name, module = max(lists, key=lambda item: _size(item[1]))
    return dict(_opened(name, module))


def count(backbone: nn.Module) -> int:
    """How many layers a token passes; more than there are modules where layers share their weights."""
    modules = len(layers(backbone))
    said = getattr(getattr(backbone, "config", None), "num_hidden_layers", modules)
    return max(modules, said if isinstance(said, int) else modules)


def shares_layers(backbone: nn.Module) -> bool:
    """Whether one module serves as several layers, as in ALBERT."""
    return count(backbone) > len(layers(backbone))


def top(backbone: nn.Module, number: int | Literal["all"]) -> dict[str, nn.Module]:
    """The last layers by name; ConfigError where there are fewer, or where layers share their weights."""
    found = layers(backbone)
    if number == "all":
        return found
    if shares_layers(backbone):
        raise ConfigError(
            f"The {count(backbone)} layers of this base share the weights of {len(found)}, so that its top {number} can't change alone. "
            "Choose full, or a method with layers: all."
        )
    if number > len(found):
        raise ConfigError(f"The base has {len(found)} layers, and {number} were asked for. Choose at most {len(found)}.")
    return dict(list(found.items())[len(found) - number :])


def sites(backbone: nn.Module, name: str) -> dict[Role, list[str]]:
    """The linear maps of the layer with this name by their role, named as in the layer; ConfigError where roles can't be told.

    The order of their use tells the roles: attention, then feed-forward, whose last map returns to the hidden size.
    """
    layer = layers(backbone)[name]
    linears = [(inside, cast(nn.Linear, layer.get_submodule(inside))) for inside in _outline(backbone).linears[name]]
    *rest, (down, last) = linears or [("", nn.Linear(0, 0))]
    hidden, inner = last.out_features, last.in_features
    ups: list[str] = []
    while rest and rest[-1][1].in_features == hidden and rest[-1][1].out_features in (inner, 2 * inner):
        ups.insert(0, rest.pop()[0])
        if inner == hidden:  # nothing but the order tells attention from feed-forward here
            break
    if not ups or not rest or rest[0][1].in_features != hidden:
        shapes = ", ".join(f"{name} {module.in_features} to {module.out_features}" for name, module in linears)
        raise ConfigError(
            f"Expected attention followed by a feed-forward network in {type(layer).__name__}; its linear maps are: {shapes or 'none'}. "
            "Choose full or top_layers."
        )
    return {**_attention(rest, hidden), "up": ups, "down": [down]}


def _attention(linears: Sequence[tuple[str, nn.Linear]], hidden: int) -> dict[Role, list[str]]:
    """Roles of the maps of attention: one for all of query, key and value, or one each; then the rest."""
    if linears[0][1].out_features == 3 * hidden:
        roles: dict[Role, list[str]] = {"qkv": [linears[0][0]]}
        rest = linears[1:]
    else:
        three: tuple[Role, ...] = ("query", "key", "value")
        names = [name for name, _ in linears[:3]]
        initials = {name.rpartition(".")[2][0]: name for name in names}
        if set(initials) == set("qkv"):  # some bases use the key before the query, and then only the names tell
            names = [initials[initial] for initial in "qkv"]
        roles = {role: [name] for role, name in zip(three, names, strict=False)}
        rest = linears[3:]
    outputs = [name for name, module in rest if module.out_features == hidden]
    if outputs:
        roles["attention_output"] = outputs[-1:]
    others = [name for name, _ in rest if name not in outputs[-1:]]
    return {**roles, "position": others} if others else roles


def embeddings(backbone: nn.Module) -> tuple[str, nn.Module]:
    """Name and module of what turns token ids into the first states, word embeddings, positions and norm included."""
    word = backbone.get_input_embeddings()  # type: ignore[operator]
    for name, child in backbone.named_children():
        if any(module is word for module in child.modules()):
            return name, child
    raise ConfigError(f"Expected {type(backbone).__name__} to hold its input embeddings, and it does not. Choose another base.")


def word_table(backbone: nn.Module) -> nn.Embedding | None:
    """The table that the ids of a sequence look up; None where the backbone reads no sequences, or looks them up otherwise."""
    if names_of(backbone).sequence is None:
        return None
    word = backbone.get_input_embeddings()  # type: ignore[operator]
    return word if type(word) is nn.Embedding else None


def fixed_positions(backbone: nn.Module) -> dict[str, nn.Embedding]:
    """Tables of positions that are computed, never learnt, and stand outside the embeddings, as in RoFormer.

    Such a table is a class of its own; a plain nn.Embedding there holds relative distances, which are learnt and clamped.
    """
    inside = set(embeddings(backbone)[1].modules())
    return {
        name: module
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Embedding) and type(module) is not nn.Embedding and module not in inside
    }


def poolers(backbone: nn.Module) -> dict[str, nn.Module]:
    """What reads the last states for a native head only: children with linear maps that run after the layers, or never."""
    return {name: backbone.get_submodule(name) for name in _outline(backbone).poolers}


def stages(backbone: nn.Module) -> dict[str, int]:
    """The pieces that the backbone's parameters fall into, by name, with their depths; poolers are left out.

    A piece is a layer or a module without layers; a name may be that of a module with parameters of its own.
    """
    return dict(_outline(backbone).stages)


def depth_of(model: VerticalModel, name: str) -> int:
    """Depth of the module or parameter with this name in a vertical."""
    outline = _outline(model.backbone)
    inside = name.removeprefix(BACKBONE)
    if not name.startswith(BACKBONE) or any(within(inside, pooler) for pooler in outline.poolers):
        return outline.above
    return depth_within(outline.stages, inside)


def depth_within(pieces: Mapping[str, int], name: str) -> int:
    """Depth of the piece that a name in the backbone lies in; 0 where it lies in none."""
    owners = [(len(piece), depth) for piece, depth in pieces.items() if within(name, piece)]
    return max(owners, default=(0, 0))[1]


def lowest(model: VerticalModel) -> int:
    """The lowest depth at which something is trained; one above the head's where nothing is."""
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    return min((depth_of(model, name) for name in trained), default=_outline(model.backbone).above + 1)


def quiet_below(model: VerticalModel, depth: int) -> None:
    """Switch dropout off in every stage below this depth: what nothing trains gives the same states each time."""
    for name, stage in _outline(model.backbone).stages.items():
        if stage < depth and name:
            model.backbone.get_submodule(name).eval()


def head_parameters(model: VerticalModel) -> dict[str, nn.Parameter]:
    """The head's parameters by their names in the vertical; a native head takes the backbone's pooler with it."""
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
    """Forward passes without dropout or gradients; hooks put into the list are removed and every mode is as before."""
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
        found = _outlines[backbone] = _drawn(backbone)
    return found


def _calls(backbone: nn.Module) -> list[str]:
    """Names of the modules that a small batch passes, in order; ConfigError where the base can't compute it."""
    called: list[str] = []
    with probing(backbone) as hooks:
        for name, module in backbone.named_modules():
            hooks.append(module.register_forward_pre_hook(partial(_note, called, name)))
        try:
            backbone(**probe_of(backbone))
        except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
            raise ConfigError(
                f"{type(backbone).__name__} can't compute a batch of its encoder's inputs ({error}). "
                "Expected a base whose forward takes the encoder's arrays alone. Choose another base."
            ) from error
    return called


def _note(called: list[str], name: str, module: nn.Module, args: Any) -> None:
    called.append(name)


def _drawn(backbone: nn.Module) -> _Outline:
    """Look at one forward pass: what runs before, between and after the layers."""
    found, above = layers(backbone), count(backbone) + 1
    calls = _calls(backbone)
    owners = [next((layer for layer in found if within(name, layer)), None) for name in calls]
    places = [place for place, owner in enumerate(owners) if owner is not None]
    end = max(places, default=len(calls))
    depths = {name: 1 if shares_layers(backbone) else depth for depth, name in enumerate(found, 1)}

    def depth(piece: str) -> int:
        if piece in found:
            return depths[piece]
        first = next((place for place, name in enumerate(calls) if within(name, piece)), 0)  # what is never called may feed all
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
    """Layers, the largest modules without layers, and modules around layers that have parameters of their own."""

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
    """Whether a name is that of a module, or of something inside it; the empty name owns all."""
    return not owner or name == owner or name.startswith(f"{owner}.")


def _is_linear(backbone: nn.Module, name: str) -> bool:
    return isinstance(backbone.get_submodule(name), nn.Linear)


def _opened(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The entries of a list; one that is, or only wraps, another list gives that one's entries."""
    for place, entry in module.named_children():
        path = f"{name}.{place}" if name else place
        inner = [(inside, part) for inside, part in entry.named_modules() if isinstance(part, nn.ModuleList) and len(part)]
        whole = next((item for item in inner if _size(item[1]) == _size(entry)), None)
        if whole is None:
            yield path, entry
        else:
            yield from _opened(f"{path}.{whole[0]}" if whole[0] else path, whole[1])


def _has_linear(module: nn.Module) -> bool:
    return any(isinstance(part, nn.Linear) for part in module.modules())


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
