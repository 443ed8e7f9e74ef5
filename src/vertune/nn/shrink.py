"""Takes layers, inner rows and heads out of a backbone, so that what is left is smaller and computes less; trains nothing.

Every function changes the model that it is given, which should be a copy, and finds what to take out by structure.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from vertune.core.errors import ConfigError
from vertune.nn import structure
from vertune.nn.inputs import probe_of
from vertune.nn.vertical import VerticalModel

_ROWS = "Set heads: 0, and prune rows alone."

Feed = Callable[[VerticalModel], None]
"""Runs the model over texts; what hooks on the way see is not its business."""


def copied(model: VerticalModel) -> VerticalModel:
    """A copy that shares nothing with the model."""
    return copy.deepcopy(model).eval()


def evenly(count: int, number: int) -> list[int]:
    """Which of `count` layers stay when `number` do: from the first to the last, as far apart as they can be; the last alone of one."""
    if not 1 <= number <= count:
        raise ConfigError(f"The base has {count} layers, and {number} were to stay. Choose 1 to {count}.")
    return [count - 1] if number == 1 else sorted({round(place * (count - 1) / (number - 1)) for place in range(number)})


def keep_layers(model: VerticalModel, places: Sequence[int]) -> None:
    """Leave only the layers at these places, in their order; ConfigError where layers are shared or stand in no plain list."""
    backbone = model.backbone
    names = list(structure.layers(backbone))
    holders = {name.rpartition(".")[0] for name in names}
    if structure.shares_layers(backbone) or len(holders) != 1:
        raise ConfigError(f"{type(backbone).__name__} has no plain list of layers that some could be taken out of. Choose prune or int8.")
    (holder,) = holders
    layers = cast(nn.ModuleList, backbone.get_submodule(holder))
    owner, _, attribute = holder.rpartition(".")
    setattr(backbone.get_submodule(owner), attribute, nn.ModuleList([layers[place] for place in places]))
    config: Any = backbone.config
    for key in ("num_hidden_layers", "n_layers"):
        if hasattr(config, key):
            setattr(config, key, len(places))
    if isinstance(getattr(config, "layer_types", None), list):
        config.layer_types = [config.layer_types[place] for place in places]


def inner_weights(model: VerticalModel, feed: Feed) -> dict[str, Tensor]:
    """How much each inner row of every layer's feed-forward network adds to the states, on average over the tokens fed.

    That is the mean size of its activation times the length of its column in the way back to the states; shape (inner,).
    """
    found: dict[str, Tensor] = {}
    with _seen(model, _downs(model)) as sums:
        feed(model)
    for name, (total, count) in sums.items():
        down = cast(nn.Linear, model.backbone.get_submodule(name))
        found[name] = total / count * down.weight.detach().norm(dim=0).cpu()
    return found


def head_weights(model: VerticalModel, feed: Feed) -> dict[str, Tensor]:
    """The same for the heads of every layer's attention; shape (heads,)."""
    found: dict[str, Tensor] = {}
    outputs = {name: output for name, output in _outputs(model).items() if output}
    with _seen(model, list(outputs.values())) as sums:
        feed(model)
    for name, output in outputs.items():
        total, count = sums[output]
        linear = cast(nn.Linear, model.backbone.get_submodule(output))
        each = total / count * linear.weight.detach().norm(dim=0).cpu()
        found[name] = each.reshape(_heads(model, len(each)), -1).sum(1)
    return found


def keep_inner(model: VerticalModel, kept: dict[str, Tensor]) -> None:
    """Leave only these inner rows of each feed-forward network, named by its way down; gated ones lose both of their rows."""
    backbone = model.backbone
    for layer in structure.layers(backbone):
        sites = structure.sites(backbone, layer)
        down = f"{layer}.{sites['down'][0]}"
        rows = kept[down]
        inner = cast(nn.Linear, backbone.get_submodule(down)).in_features
        for up in sites["up"]:
            linear = cast(nn.Linear, backbone.get_submodule(f"{layer}.{up}"))
            both = linear.out_features == 2 * inner
            _narrow(linear, out=torch.cat([rows, rows + inner]) if both else rows)
        _narrow(cast(nn.Linear, backbone.get_submodule(down)), into=rows)


def keep_heads(model: VerticalModel, kept: dict[str, Tensor]) -> None:
    """Leave only these heads of each layer's attention; ConfigError where its maps are not one each."""
    backbone = model.backbone
    for layer, heads in kept.items():
        sites = structure.sites(backbone, layer)
        parts = [sites.get(role) for role in ("query", "key", "value")]
        output = sites.get("attention_output")
        if not all(parts) or not output:
            raise ConfigError(f"{type(backbone).__name__} keeps query, key and value in one map; its heads can't be taken out. {_ROWS}")
        first = cast(nn.Linear, backbone.get_submodule(f"{layer}.{parts[0][0]}"))  # type: ignore[index]
        size = first.out_features // _heads(model, first.out_features)
        rows = (heads[:, None] * size + torch.arange(size)).reshape(-1)
        for part in parts:
            _narrow(cast(nn.Linear, backbone.get_submodule(f"{layer}.{part[0]}")), out=rows)  # type: ignore[index]
        _narrow(cast(nn.Linear, backbone.get_submodule(f"{layer}.{output[0]}")), into=rows)
        for module in backbone.get_submodule(layer).modules():  # what counts heads when it divides the states among them
            for name in ("num_attention_heads", "n_heads", "num_heads"):
                if isinstance(getattr(module, name, None), int):
                    setattr(module, name, len(heads))
            if isinstance(getattr(module, "all_head_size", None), int):
                module.all_head_size = len(rows)  # type: ignore[assignment]
    config: Any = backbone.config
    for name in ("num_attention_heads", "n_heads"):
        if isinstance(getattr(config, name, None), int):
            setattr(config, name, max(len(heads) for heads in kept.values()))
    try:
        with structure.probing(backbone):
            backbone(**probe_of(backbone))
    except RuntimeError as error:  # positions that are counted a head, outside the layers
        raise ConfigError(f"{type(backbone).__name__} counts its heads elsewhere too, so that they can't be taken out. {_ROWS}") from error


def largest(weights: Tensor, share: float) -> Tensor:
    """The places of this share of the weights, the largest ones, at least one, in their order."""
    number = max(1, round(share * len(weights)))
    return weights.topk(number).indices.sort().values


def keep_tokens(model: VerticalModel, ids: Tensor) -> None:
    """Leave only the rows of these ids in the table of word embeddings, in this order."""
    backbone: Any = model.backbone
    table = backbone.get_input_embeddings()
    padding = table.padding_idx
    places = {int(old): new for new, old in enumerate(ids.tolist())}
    made = nn.Embedding(len(ids), table.embedding_dim, padding_idx=places.get(padding) if padding is not None else None)
    with torch.no_grad():
        made.weight.copy_(table.weight[ids])
    backbone.set_input_embeddings(made)
    backbone.config.vocab_size = len(ids)


def _narrow(linear: nn.Linear, out: Tensor | None = None, into: Tensor | None = None) -> None:
    """Leave only some outputs or some inputs of a linear map."""
    with torch.no_grad():
        if out is not None:
            linear.weight = nn.Parameter(linear.weight[out].clone())
            linear.bias = nn.Parameter(linear.bias[out].clone()) if linear.bias is not None else None
            linear.out_features = len(out)
        if into is not None:
            linear.weight = nn.Parameter(linear.weight[:, into].clone())
            linear.in_features = len(into)


def _downs(model: VerticalModel) -> list[str]:
    return [f"{layer}.{structure.sites(model.backbone, layer)['down'][0]}" for layer in structure.layers(model.backbone)]


def _outputs(model: VerticalModel) -> dict[str, str]:
    """Of each layer: its way out of attention, named as in the backbone; empty where there is none."""
    found = {}
    for layer in structure.layers(model.backbone):
        names = structure.sites(model.backbone, layer).get("attention_output") or []
        found[layer] = f"{layer}.{names[0]}" if names else ""
    return found


def _heads(model: VerticalModel, width: int) -> int:
    """Heads of attention; ConfigError where the base does not say, or where they don't divide its width."""
    config: Any = model.backbone.config
    said = getattr(config, "num_attention_heads", None) or getattr(config, "n_heads", None)
    if not isinstance(said, int) or width % said:
        raise ConfigError(f"{type(model.backbone).__name__} does not say how many heads of equal size it has. Prune rows only.")
    return said


@contextmanager
def _seen(model: VerticalModel, names: Sequence[str]) -> Iterator[dict[str, tuple[Tensor, int]]]:
    """The sum of the sizes of what enters each of these maps, and over how many tokens."""
    sums: dict[str, tuple[Tensor, int]] = {}

    def add(name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            sizes = args[0].detach().abs().reshape(-1, args[0].shape[-1])
            total, count = sums.get(name, (torch.zeros(sizes.shape[1]), 0))
            sums[name] = (total + sizes.sum(0).cpu(), count + len(sizes))

        return hook

    with structure.probing(model.backbone) as hooks:
        hooks += [model.backbone.get_submodule(name).register_forward_pre_hook(add(name)) for name in names]
        yield sums
