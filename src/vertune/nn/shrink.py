"""Removes layers, feed-forward neurons, attention heads and vocabulary from a backbone; independent of training.

The functions change the model in place, so pass a copy (`copied`). They find the modules to change by the model's structure.
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
    """Return `number` evenly spaced indices of `count` layers, including the first and the last; if `number` is 1, only the last.

    Raise ConfigError unless `number` is between 1 and `count`.
    """
    if not 1 <= number <= count:
        raise ConfigError(f"Can't keep {number} layers of a model with {count}. Choose 1 to {count}.")
    return [count - 1] if number == 1 else sorted({round(index * (count - 1) / (number - 1)) for index in range(number)})


def keep_layers(model: VerticalModel, places: Sequence[int]) -> None:
    """Keep only the layers with these indices; raise ConfigError if layers share weights or are not in one ModuleList."""
    backbone = model.backbone
    names = list(structure.layers(backbone))
    holders = {name.rpartition(".")[0] for name in names}
    if structure.shares_layers(backbone) or len(holders) != 1:
        raise ConfigError(
            f"Layers of {type(backbone).__name__} can't be removed: they share weights or form no single list of modules. "
            "Choose the compressor int8 instead."
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
    """Map the name of each layer's down projection to the importance of the layer's feed-forward neurons, shape (neurons,).

    Importance is the mean absolute activation over all tokens of the texts that `feed` runs, times the norm of the neuron's column
    in the down projection.
    """
    importance: dict[str, Tensor] = {}
    with _activation_sums(model, _downs(model)) as sums:
        feed(model)
    for name, (total, count) in sums.items():
        down = cast(nn.Linear, model.backbone.get_submodule(name))
        importance[name] = total / count * down.weight.detach().norm(dim=0).cpu()
    return importance


def head_weights(model: VerticalModel, feed: Feed) -> dict[str, Tensor]:
    """Map each layer's name to the importance of the layer's attention heads, shape (heads,).

    Importance is measured as in `inner_weights`, but for each input of the attention's output projection. The importance of a head
    is the sum over the inputs that come from this head.
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
    """Keep only some feed-forward neurons; `kept` maps the name of each layer's down projection to the indices to keep.

    In a gated network (GLU), a neuron has two rows in the up projection; for a kept neuron, both rows are kept.
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
    """Keep only some attention heads; `kept` maps each layer's name to the indices of the heads to keep.

    Raise ConfigError if query, key and value are not separate modules, or if other modules depend on the number of heads.
    """
    backbone = model.backbone
    for layer, heads in kept.items():
        sites = structure.sites(backbone, layer)
        parts = [sites.get(role) for role in ("query", "key", "value")]
        output = sites.get("attention_output")
        if not all(parts) or not output:
            raise ConfigError(
                f"Attention heads of {type(backbone).__name__} can't be pruned: one module computes query, key and value. {_ROWS}"
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
            f"Attention heads of {type(backbone).__name__} can't be pruned: other modules depend on their number. {_ROWS}"
        ) from error


def largest(weights: Tensor, share: float) -> Tensor:
    """Return the indices (in ascending order) of the largest weights: a fraction `share` of all weights, but at least one."""
    number = max(1, round(share * len(weights)))
    return weights.topk(number).indices.sort().values


def keep_tokens(model: VerticalModel, ids: Tensor) -> None:
    """Reduce the embedding table to the rows of these token ids, in this order."""
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
    """Keep only the outputs with the indices `out`, or the inputs with the indices `into`, of a linear module."""
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
    """Map each layer's name to the name of its attention output projection in the backbone, or to "" if the layer has none."""
    outputs = {}
    for layer in structure.layers(model.backbone):
        names = structure.sites(model.backbone, layer).get("attention_output") or []
        outputs[layer] = f"{layer}.{names[0]}" if names else ""
    return outputs


def _heads(model: VerticalModel, width: int) -> int:
    """Return the number of attention heads; raise ConfigError if the config lacks this number, or it does not divide `width`."""
    config: Any = model.backbone.config
    heads = getattr(config, "num_attention_heads", None) or getattr(config, "n_heads", None)
    if not isinstance(heads, int) or width % heads:
        raise ConfigError(
            f"The config of {type(model.backbone).__name__} gives {heads} attention heads; expected a number that divides {width}. {_ROWS}"
        )
    return heads


@contextmanager
def _activation_sums(model: VerticalModel, names: Sequence[str]) -> Iterator[dict[str, tuple[Tensor, int]]]:
    """Yield a dictionary that the forward passes inside the `with` block fill.

    It maps the name of each module to a pair: the sum of the absolute values of its inputs over all tokens, and the number of tokens.
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
