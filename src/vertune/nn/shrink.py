"""Removes layers, feed-forward neurons, attention heads or vocabulary from a pretrained model (backbone).

The functions change the model in place, so pass a copy (see `copied`). They find the modules to change by the order in
which the modules run. Independent of training.
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

_ROWS = "Set heads: 0, to prune only feed-forward neurons."

Feed = Callable[[VerticalModel], None]
"""A function that runs the model over texts, so that hooks can observe the activations."""


def copied(model: VerticalModel) -> VerticalModel:
    """Return an independent copy of the model, in evaluation mode."""
    return copy.deepcopy(model).eval()


def evenly(count: int, number: int) -> list[int]:
    """Choose `number` of `count` layers at even distances, and return their indices.

    The first and the last layer are included; if `number` is 1, only the last. Raise ConfigError unless `number` is
    between 1 and `count`.
    """
    if not 1 <= number <= count:
        raise ConfigError(f"A model with {count} layers can't be reduced to {number} layers. Choose a number of layers from 1 to {count}.")
    return [count - 1] if number == 1 else sorted({round(index * (count - 1) / (number - 1)) for index in range(number)})


def keep_layers(model: VerticalModel, places: Sequence[int]) -> None:
    """Remove all layers of the model except those with the indices `places`.

    Raise ConfigError if several layers share weights, or if the layers are not in a single ModuleList.
    """
    backbone = model.backbone
    names = list(structure.layers(backbone))
    holders = {name.rpartition(".")[0] for name in names}
    if structure.shares_layers(backbone) or len(holders) != 1:
        raise ConfigError(
            f"Layers of the pretrained model {type(backbone).__name__} can't be removed, because they share weights or "
            "are not all in one ModuleList. Choose the compressor int8 instead."
        )
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
    """Measure how important each feed-forward neuron of each layer is, while `feed` runs the model over texts.

    Returns the importance of a layer's neurons, shape (neurons,), by the name of the layer's down projection (the last
    linear module of the feed-forward network). The importance of a neuron is its mean absolute activation over all
    tokens, times the norm of its column in the down projection.
    """
    importance: dict[str, Tensor] = {}
    with _activation_sums(model, _downs(model)) as sums:
        feed(model)
    for name, (total, count) in sums.items():
        down = cast(nn.Linear, model.backbone.get_submodule(name))
        importance[name] = total / count * down.weight.detach().norm(dim=0).cpu()
    return importance


def head_weights(model: VerticalModel, feed: Feed) -> dict[str, Tensor]:
    """Measure how important each attention head of each layer is, while `feed` runs the model over texts.

    Returns the importance of a layer's heads, shape (heads,), by the layer's name. First, the importance of each input
    of attention's output projection is measured as in `inner_weights`. The importance of a head is the sum over the
    inputs that come from this head.
    """
    importance: dict[str, Tensor] = {}
    outputs = {name: output for name, output in _outputs(model).items() if output}
    with _activation_sums(model, list(outputs.values())) as sums:
        feed(model)
    for name, output in outputs.items():
        total, count = sums[output]
        linear = cast(nn.Linear, model.backbone.get_submodule(output))
        each = total / count * linear.weight.detach().norm(dim=0).cpu()
        importance[name] = each.reshape(_heads(model, len(each)), -1).sum(1)
    return importance


def keep_inner(model: VerticalModel, kept: dict[str, Tensor]) -> None:
    """Remove feed-forward neurons from every layer.

    `kept` maps the name of each layer's down projection (the last linear module of the feed-forward network) to the
    indices of the neurons to keep. In a gated network (GLU), a neuron has two rows in the up projection, which are kept
    or removed together.
    """
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
    """Remove attention heads from layers; `kept` maps each layer's name to the indices of the heads to keep.

    Raise ConfigError if query, key and value are not separate modules, if there is no output projection, or if other
    modules depend on the number of heads.
    """
    backbone = model.backbone
    for layer, heads in kept.items():
        sites = structure.sites(backbone, layer)
        parts = [sites.get(role) for role in ("query", "key", "value")]
        output = sites.get("attention_output")
        if not all(parts) or not output:
            raise ConfigError(
                f"Attention heads of {type(backbone).__name__} can't be pruned, because one module computes query, key "
                f"and value, or attention has no output projection. {_ROWS}"
            )
        first = cast(nn.Linear, backbone.get_submodule(f"{layer}.{parts[0][0]}"))  # type: ignore[index]
        size = first.out_features // _heads(model, first.out_features)
        rows = (heads[:, None] * size + torch.arange(size)).reshape(-1)
        for part in parts:
            _narrow(cast(nn.Linear, backbone.get_submodule(f"{layer}.{part[0]}")), out=rows)  # type: ignore[index]
        _narrow(cast(nn.Linear, backbone.get_submodule(f"{layer}.{output[0]}")), into=rows)
        for module in backbone.get_submodule(layer).modules():  # attributes with which a module splits the states into heads
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
    except RuntimeError as error:  # for example position biases per head, outside the layers
        raise ConfigError(
            f"Attention heads of {type(backbone).__name__} can't be pruned, because other modules, such as position "
            f"biases, depend on the number of heads. {_ROWS}"
        ) from error


def largest(weights: Tensor, share: float) -> Tensor:
    """Return the indices of the largest weights, sorted in ascending order of the index.

    `share` is the fraction of all weights to select, from 0 to 1; at least one index is returned.
    """
    number = max(1, round(share * len(weights)))
    return weights.topk(number).indices.sort().values


def keep_tokens(model: VerticalModel, ids: Tensor) -> None:
    """Reduce the embedding table to the rows of these token ids; row i of the new table belongs to `ids[i]`."""
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
    """Reduce a linear module to the outputs with the indices `out`, or to the inputs with the indices `into`."""
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
    """Find the output projection of attention in each layer.

    Returns a dictionary from the layer's name to the projection's name in the backbone, which is "" if there is none.
    """
    outputs = {}
    for layer in structure.layers(model.backbone):
        names = structure.sites(model.backbone, layer).get("attention_output") or []
        outputs[layer] = f"{layer}.{names[0]}" if names else ""
    return outputs


def _heads(model: VerticalModel, width: int) -> int:
    """Return the number of attention heads in the model's config; `width` is the total width of all heads.

    Raise ConfigError if the config lacks this number, or if `width` is not divisible by it.
    """
    config: Any = model.backbone.config
    heads = getattr(config, "num_attention_heads", None) or getattr(config, "n_heads", None)
    if not isinstance(heads, int) or width % heads:
        raise ConfigError(
            f"Attention heads of {type(model.backbone).__name__} can't be pruned, because the number of heads in its "
            f"config is {heads}. Expected a number by which the width of all heads, {width}, is divisible. {_ROWS}"
        )
    return heads


@contextmanager
def _activation_sums(model: VerticalModel, names: Sequence[str]) -> Iterator[dict[str, tuple[Tensor, int]]]:
    """Sum up the absolute inputs of these modules in all forward passes inside the `with` block.

    Yields a dictionary that these forward passes fill. It maps the name of each module to a pair: the sum over all
    tokens, shape (inputs,), and the number of tokens.
    """
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
