"""What a backbone is made of, found by its structure; knows nothing of model names, tasks or methods.

A backbone is embeddings, layers and what follows them. Depths: 0 for the embeddings and all else that feeds every layer,
i + 1 for layer i, the number of layers for a norm after the last one, and that number + 1 for the head.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from weakref import WeakKeyDictionary

from torch import nn

from vertune.core.errors import ConfigError
from vertune.nn.vertical import Vertical

Role = Literal["query", "key", "value", "qkv", "attention_output", "position", "up", "down"]
BACKBONE = "backbone."
"""What names inside a backbone start with, seen from its vertical."""


@dataclass(frozen=True, slots=True)
class _Outline:
    """Names only: what methods hang on a backbone later does not change them."""

    stages: dict[str, int]
    poolers: tuple[str, ...]
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
            "Choose a transformer encoder as base, or method: full."
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


def sites(layer: nn.Module) -> dict[Role, list[str]]:
    """The linear maps of a layer by their role, named as in the layer; ConfigError where the roles can't be told.

    The maps come in order of definition: attention, then feed-forward, whose last one returns to the hidden size.
    """
    linears = [(name, module) for name, module in layer.named_modules() if isinstance(module, nn.Linear)]
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
        names: tuple[Role, ...] = ("query", "key", "value")
        roles = {role: [name] for role, (name, _) in zip(names, linears, strict=False)}
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
    """What reads the last states only for a native head: children with linear maps, defined after the layers."""
    return {name: child for name, child in _after(backbone) if _has_linear(child)}


def stages(backbone: nn.Module) -> dict[str, int]:
    """The pieces that the backbone's parameters fall into, by name, with their depths; poolers are left out.

    A piece is a layer or a module without layers; a name may be that of a module with parameters of its own.
    """
    found = layers(backbone)
    skipped = set(map(id, poolers(backbone).values()))
    norms = {id(child) for _, child in _after(backbone)} - skipped
    inner = {id(module): depth for depth, module in enumerate(found.values(), 1)}
    shared = shares_layers(backbone)
    result: dict[str, int] = {}

    def visit(name: str, module: nn.Module) -> None:
        if id(module) in skipped or not any(True for _ in module.parameters()):
            return
        if id(module) in inner:
            result[name] = 1 if shared else inner[id(module)]
        elif not any(id(part) in inner for part in module.modules()):
            result[name] = count(backbone) if id(module) in norms and _is_norm(module) else 0
        else:
            if any(True for _ in module.parameters(recurse=False)):
                result[name] = 0
            for child, part in module.named_children():
                visit(f"{name}.{child}" if name else child, part)

    visit("", backbone)
    return result


def depth_of(model: Vertical, name: str) -> int:
    """Depth of the module or parameter with this name in a vertical."""
    outline = _outline(model.backbone)
    inside = f"{name}.".removeprefix(BACKBONE)
    if not name.startswith(BACKBONE) or any(inside.startswith(f"{pooler}.") for pooler in outline.poolers):
        return outline.above
    return depth_within(outline.stages, inside)


def depth_within(pieces: Mapping[str, int], name: str) -> int:
    """Depth of the piece that a name in the backbone lies in; 0 where it lies in none."""
    owners = [(len(piece), depth) for piece, depth in pieces.items() if not piece or f"{name}.".startswith(f"{piece}.")]
    return max(owners, default=(0, 0))[1]


def lowest(model: Vertical) -> int:
    """The lowest depth at which something is trained; one above the head's where nothing is."""
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    return min((depth_of(model, name) for name in trained), default=_outline(model.backbone).above + 1)


def quiet_below(model: Vertical, depth: int) -> None:
    """Switch dropout off in every stage below this depth: what nothing trains gives the same states each time."""
    for name, stage in _outline(model.backbone).stages.items():
        if stage < depth and name:
            model.backbone.get_submodule(name).eval()


def head_parameters(model: Vertical) -> dict[str, nn.Parameter]:
    """The head's parameters by their names in the vertical; a native head takes the backbone's pooler with it."""
    if model.native is None:
        return {f"head.{name}": parameter for name, parameter in model.head.named_parameters()}
    inside = {id(parameter) for parameter in model.backbone.parameters()}
    own = {f"native.{name}": item for name, item in model.native.named_parameters() if id(item) not in inside}
    pooled = {
        f"{BACKBONE}{name}.{inner}": item for name, pooler in poolers(model.backbone).items() for inner, item in pooler.named_parameters()
    }
    return {**own, **pooled}


def _outline(backbone: nn.Module) -> _Outline:
    found = _outlines.get(backbone)
    if found is None:
        found = _outlines[backbone] = _Outline(stages(backbone), tuple(poolers(backbone)), count(backbone) + 1)
    return found


def _after(backbone: nn.Module) -> list[tuple[str, nn.Module]]:
    """The children of the backbone that are defined after the one with the layers."""
    children = list(backbone.named_children())
    holder = next(iter(layers(backbone))).partition(".")[0]
    place = [name for name, _ in children].index(holder)
    return children[place + 1 :]


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


def _is_norm(module: nn.Module) -> bool:
    return all(parameter.dim() == 1 for parameter in module.parameters())


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
