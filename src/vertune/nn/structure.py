"""Finds the embeddings, the layers, and the linear modules by role (such as query) in a pretrained model (backbone).

The structure is inferred from the modules and the order in which they run, so it works for all model families and
methods. A model is divided into stages, which are numbered; the *depth* of a module is the number of its stage. The
depth is 0 for the embeddings and everything else that feeds all layers. It is i + 1 for layer i (counted from 0) and
the modules that run between this layer and the next. It is the number of layers + 1 for the head.
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
    """The structure of a backbone (pretrained model), observed in one small forward pass.

    It refers to modules only by name, so it stays valid if fine-tuning methods add modules later.
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
    """Return the layers, by their names in the backbone, in the order in which they run.

    They are the entries of a ModuleList in which every entry contains linear modules; of several such lists, the one
    with the most parameters is used. Nested lists are flattened. Raise ConfigError if there is no such list.
    """
    lists = [
        (name, module)
        for name, module in backbone.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) and all(map(_has_linear, module))
    ]
    if not lists:
        raise ConfigError(
            f"The pretrained model {type(backbone).__name__} can't be used as a base, because it has no list of layers "
            "with linear modules. Choose a transformer encoder as base."
        )
    name, module = max(lists, key=lambda item: _size(item[1]))
    return dict(_flattened(name, module))


def count(backbone: nn.Module) -> int:
    """Return the number of layers that a token passes through.

    If one module serves as several layers, as in ALBERT, each of these layers is counted.
    """
    modules = len(layers(backbone))
    configured = getattr(getattr(backbone, "config", None), "num_hidden_layers", modules)
    return max(modules, configured if isinstance(configured, int) else modules)


def shares_layers(backbone: nn.Module) -> bool:
    """Return whether one module serves as several layers, as in ALBERT."""
    return count(backbone) > len(layers(backbone))


def top(backbone: nn.Module, number: int | Literal["all"]) -> dict[str, nn.Module]:
    """Return the last `number` layers by name; "all" means all layers.

    Raise ConfigError if the model has fewer layers. Also raise it if its layers share weights, unless `number` is
    "all".
    """
    every = layers(backbone)
    if number == "all":
        return every
    if shares_layers(backbone):
        raise ConfigError(
            f"The last {number} layers of the pretrained model can't be trained separately, because its "
            f"{count(backbone)} layers share {len(every)} sets of weights. Choose the method full, or a method with "
            "the option layers: all."
        )
    if number > len(every):
        raise ConfigError(
            f"The config selects the last {number} layers for training, but the pretrained model has only {len(every)} "
            f"layers. Choose at most {len(every)}."
        )
    return dict(list(every.items())[len(every) - number :])


def sites(backbone: nn.Module, name: str) -> dict[Role, list[str]]:
    """Find the linear modules of a layer by their role (function in the layer), such as `query`.

    `name` is the layer's name. Returns, for each role, the names of the modules relative to the layer. Roles are
    inferred from the order in which the modules run: first attention, then the feed-forward network, whose last module
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
            f"The functions of the linear modules in {type(layer).__name__}, such as query or key, can't be "
            "determined. Expected the modules of attention, then those of a feed-forward network. Found these, with "
            f"their numbers of inputs and outputs: {shapes or 'none'}. Choose the method full or top_layers."
        )
    return {**_attention(rest, hidden), "up": ups, "down": [down]}


def _attention(linears: Sequence[tuple[str, nn.Linear]], hidden: int) -> dict[Role, list[str]]:
    """Return the names of the linear modules of attention, by role (function in the layer).

    `linears` contains the modules in the order in which they run. If one module computes query, key and value, its role
    is `qkv`; otherwise each of the three modules has its own role. Of the remaining modules, the last one with outputs
    of the hidden size has the role `attention_output`, and all others have the role `position`.
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
    """Return the child module of the backbone that contains the word embeddings: its name, and the module.

    The module usually contains position embeddings and a norm too. Raise ConfigError if no child module contains word
    embeddings.
    """
    word = backbone.get_input_embeddings()  # type: ignore[operator]
    for name, child in backbone.named_children():
        if any(module is word for module in child.modules()):
            return name, child
    raise ConfigError(
        f"The pretrained model {type(backbone).__name__} can't be used as a base, because none of its child modules "
        "contains the input embeddings. Choose another base."
    )


def word_table(backbone: nn.Module) -> nn.Embedding | None:
    """Return the table of word embeddings, which has one row per token id.

    Return None if the backbone does not read sequences, or if its table is not a plain nn.Embedding.
    """
    if names_of(backbone).sequence is None:
        return None
    word = backbone.get_input_embeddings()  # type: ignore[operator]
    return word if type(word) is nn.Embedding else None


def fixed_positions(backbone: nn.Module) -> dict[str, nn.Embedding]:
    """Return, by name, tables of position vectors that are never trained and not in the embeddings module.

    RoFormer has such a table. It is recognised because its class is a subclass of nn.Embedding. Outside the embeddings
    module, a plain nn.Embedding is a trained table of relative distances; it is skipped, because it does not limit the
    length of a sequence: larger distances are clamped.
    """
    inside = set(embeddings(backbone)[1].modules())
    return {
        name: module
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Embedding) and type(module) is not nn.Embedding and module not in inside
    }


def poolers(backbone: nn.Module) -> dict[str, nn.Module]:
    """Return the poolers by name: child modules with linear layers that run after all transformer layers or never.

    Poolers are used only by a head of the transformers library (pooling `native`).
    """
    return {name: backbone.get_submodule(name) for name in _outline(backbone).poolers}


def stages(backbone: nn.Module) -> dict[str, int]:
    """Return the depth (stage number, 0 for the embeddings) of each stage, by the stage's name.

    Stages are the modules into which the backbone is divided. Together they contain all its parameters except those of
    poolers. A stage is a layer, a module that contains no layers, or a module that contains layers and also has
    parameters of its own.
    """
    return dict(_outline(backbone).stages)


def depth_of(model: VerticalModel, name: str) -> int:
    """Return the depth (stage number) of the module or parameter with this name in the model.

    The depth is 0 for the embeddings, 1 for the first layer, and the number of layers + 1 for the head.
    """
    outline = _outline(model.backbone)
    inside = name.removeprefix(BACKBONE)
    if not name.startswith(BACKBONE) or any(within(inside, pooler) for pooler in outline.poolers):
        return outline.above
    return depth_within(outline.stages, inside)


def depth_within(pieces: Mapping[str, int], name: str) -> int:
    """Return the depth (stage number) of the stage that contains the module or parameter `name`; 0 if none does.

    `pieces` maps the name of each stage (a layer or another module) to its depth.
    """
    owners = [(len(piece), depth) for piece, depth in pieces.items() if within(name, piece)]
    return max(owners, default=(0, 0))[1]


def lowest(model: VerticalModel) -> int:
    """Return the lowest depth at which the model has trainable parameters: 0 for the embeddings, 1 for the first layer.

    If no parameter is trainable, return the depth of the head plus 1.
    """
    trained = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    return min((depth_of(model, name) for name in trained), default=_outline(model.backbone).above + 1)


def quiet_below(model: VerticalModel, depth: int) -> None:
    """Turn off dropout in all stages of the model below this depth (0 is the embeddings, 1 the first layer).

    These stages are frozen; without dropout, they have the same outputs in every epoch.
    """
    for name, stage in _outline(model.backbone).stages.items():
        if stage < depth and name:
            model.backbone.get_submodule(name).eval()


def head_parameters(model: VerticalModel) -> dict[str, nn.Parameter]:
    """Return the head's parameters by their names in the model.

    If the head is one of the transformers library, the parameters of the pooler are included.
    """
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
    """Turn off dropout and gradients while the `with` block runs, for trial forward passes.

    Yields an empty list: forward hooks that the block adds to this list are removed at the end. Every module's training
    mode is then restored.
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
    """Run the backbone on a small batch; return the names of its modules in the order in which they ran.

    Raise ConfigError if the forward pass fails.
    """
    called: list[str] = []
    with probing(backbone) as hooks:
        for name, module in backbone.named_modules():
            hooks.append(module.register_forward_pre_hook(partial(_note, called, name)))
        try:
            backbone(**probe_of(backbone))
        except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
            raise ConfigError(
                f"The pretrained model {type(backbone).__name__} can't run on the arrays of its encoder alone: "
                f"{error}. Choose another base."
            ) from error
    return called


def _note(called: list[str], name: str, module: nn.Module, args: Any) -> None:
    called.append(name)


def _observed(backbone: nn.Module) -> _Outline:
    """Determine the structure of a backbone (pretrained model) from the order in which its modules run.

    The depth of a module depends on whether it runs before, between or after the layers.
    """
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
    """Yield the names of the stages, which are the modules into which the backbone is divided (see `stages`).

    `found` contains the layers by name. The modules `skipped` (poolers) and modules without parameters are no stages.
    """

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
    """Return whether `name` is the name of the module `owner` or of something inside it.

    An empty `owner` is the whole model, which contains every name.
    """
    return not owner or name == owner or name.startswith(f"{owner}.")


def _is_linear(backbone: nn.Module, name: str) -> bool:
    return isinstance(backbone.get_submodule(name), nn.Linear)


def _flattened(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the entries of a ModuleList with their names in the backbone; nested lists are flattened.

    If an entry is itself a ModuleList, or only wraps a ModuleList, the entries of this inner list are yielded instead.
    `name` is the name of the list `module`.
    """
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
