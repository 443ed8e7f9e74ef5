"""Trainable vectors at added positions in front of every sequence, for the methods prompt and prefix.

The real tokens are embedded as usual, and the positions are inserted afterwards. So each real token keeps its position
number, and the outputs do not depend on the padding of the batch. The vectors of a prompt (Lester et al. 2021) are
inserted once and pass through all layers. A prefix (P-tuning v2, Liu et al. 2022, after Li & Liang 2021) has separate
vectors for each selected layer: at the input of this layer, they replace the hidden states at the added positions. In
all layers below the selected ones, tokens can't attend to the added positions. Both methods remove the positions before
a pooler or head. Independent of tasks and model families.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vertune.core.errors import ConfigError
from vertune.nn import structure
from vertune.nn.inputs import names_of


class PrefixRows(nn.Module):
    """The trainable vectors at the added positions in front of a text, of shape (positions, width)."""

    def __init__(self, rows: Tensor) -> None:
        super().__init__()
        self.rows = nn.Parameter(rows)

    def before(self, states: Tensor) -> Tensor:
        """Return the hidden states, of shape (texts, tokens, width), with the trained vectors inserted in front of each text."""
        rows = self.rows.to(states.dtype).expand(states.shape[0], -1, -1)
        return torch.cat([rows, states], dim=1)


def initial(backbone: nn.Module, positions: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Return initial values for trainable vectors in front of a text: for a prompt, and for a prefix.

    The first value is for a prompt: a tensor of shape (positions, width). The second is for a prefix: such a tensor for
    each layer, by the layer's name. All vectors are the hidden states of random words of the vocabulary, which is a
    better initialisation than noise (Li & Liang 2021, section 7.4).
    """
    seen: dict[str, Tensor] = {}
    sequence, mask = _names(backbone)
    words = backbone.get_input_embeddings().num_embeddings  # type: ignore[operator]
    ids = torch.randint(words, (1, positions), device=next(backbone.parameters()).device)
    with structure.probing(backbone) as hooks:
        hooks.append(structure.embeddings(backbone)[1].register_forward_hook(partial(_embedded, seen)))
        for name, layer in structure.layers(backbone).items():
            hooks.append(layer.register_forward_pre_hook(partial(_entering, seen, name), with_kwargs=True))
        backbone(**{sequence: ids, mask: torch.ones_like(ids)})
    return seen.pop(""), seen


def _embedded(seen: dict[str, Tensor], module: nn.Module, args: Any, out: Tensor) -> None:
    seen[""] = out[0].clone()


def _entering(seen: dict[str, Tensor], name: str, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    states = args[0] if args else kwargs["hidden_states"]
    seen.setdefault(name, states[0].clone())  # a shared layer uses the states of its first pass


def attach_prompt(backbone: nn.Module, rows: Tensor) -> None:
    """Insert trainable vectors (a prompt) in front of the embedded tokens of every sequence.

    `rows` contains the vectors, shape (positions, width).
    """
    _, module = structure.embeddings(backbone)
    module.add_module("prompt", PrefixRows(rows))
    _open(backbone, len(rows), visible=True)


def attach_prefix(backbone: nn.Module, states: Mapping[str, Tensor]) -> None:
    """Insert trainable vectors (a prefix) at the input of layers, in front of every sequence.

    `states` maps the name of each such layer to its vectors, shape (positions, width). Raise ConfigError unless all
    layers have the same number of vectors.
    """
    positions = {len(rows) for rows in states.values()}
    if len(positions) != 1:
        raise ConfigError(
            "The layers have prefixes (trained vectors in front of the text) of different lengths: "
            f"{sorted(positions)}. Give all layers the same number of vectors."
        )
    (number,) = positions
    _open(backbone, number, visible=False)
    for name, rows in states.items():
        layer = backbone.get_submodule(name)
        layer.add_module("prefix", PrefixRows(rows))
        names = tuple(inspect.signature(layer.forward).parameters)
        layer.register_forward_pre_hook(partial(_replace, names, _names(backbone)[1]), with_kwargs=True)


def _open(backbone: nn.Module, positions: int, visible: bool) -> None:
    """Register hooks that insert `positions` positions after the embeddings and remove them after the layers.

    `visible` is whether layers without trained vectors may attend to these positions.
    """
    names = tuple(inspect.signature(backbone.forward).parameters)
    extend = partial(_extend, names, positions, int(visible), _limit(backbone))
    backbone.register_forward_pre_hook(extend, with_kwargs=True)
    _, module = structure.embeddings(backbone)
    module.register_forward_pre_hook(partial(_real_tokens, positions), with_kwargs=True)
    module.register_forward_hook(partial(_make_room, positions))
    holder = backbone.get_submodule(next(iter(structure.layers(backbone))).partition(".")[0])
    # A ModuleList is never called; in that case the backbone itself returns the states, and has no pooler that reads them.
    (backbone if isinstance(holder, nn.ModuleList) else holder).register_forward_hook(partial(close, positions))


def _names(backbone: nn.Module) -> tuple[str, str]:
    """Return the names of two input arrays: the sequences (such as token ids), and their padding mask.

    Raise ConfigError if the backbone has no such arrays.
    """
    names = names_of(backbone)
    if names.sequence is None or names.mask is None:
        raise ConfigError(
            f"The pretrained model {type(backbone).__name__} reads no token sequences, so the method can't insert "
            "vectors in front of them. Expected the model of a text encoder. Choose the method full or head."
        )
    return names.sequence, names.mask


def _limit(backbone: nn.Module) -> int | None:
    """Return the largest length of a sequence, with added positions, that the backbone's fixed position tables allow.

    Such tables contain one vector per position. The smallest table decides; None means that there are no such tables.
    """
    return min((table.num_embeddings for table in structure.fixed_positions(backbone).values()), default=None)


# A hook reads rows only from the module that it is called for, so that a copied model uses its own rows.


def _extend(
    names: tuple[str, ...], positions: int, seen: int, limit: int | None, module: nn.Module, *call: Any
) -> tuple[tuple[()], dict[str, Any]]:
    """Insert entries for the added positions into every input array of the backbone that has one entry per token.

    In the mask, the new entries are `seen`: 1 if all layers may attend to the added positions, else 0. In other arrays,
    they repeat the entry of the first token. Raise ConfigError if the sequence becomes longer than `limit`. This is a
    forward pre-hook; it returns the new arguments.
    """
    args, kwargs = call
    inputs = {**dict(zip(names, args, strict=False)), **kwargs}
    sequence, mask = _names(module)
    ids: Tensor = inputs[sequence]
    length = ids.shape[1] + positions
    if limit is not None and length > limit:
        raise ConfigError(
            f"The input has {ids.shape[1]} tokens and {positions} trained vectors in front of them, {length} positions "
            f"in total. The pretrained model accepts at most {limit} positions. Set max_tokens: {limit - positions}, "
            "or reduce the option `positions` of the method."
        )
    if inputs.get(mask) is None:
        inputs[mask] = torch.ones_like(ids)
    for name, value in inputs.items():
        if isinstance(value, Tensor) and value.shape == ids.shape:
            first = value[:, :1].expand(-1, positions)
            inputs[name] = torch.cat([torch.full_like(first, seen) if name == mask else first, value], dim=1)
    return (), inputs


def _real_tokens(
    positions: int, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Remove the added positions from the arguments of the embeddings module, which must embed only real tokens.

    This is a forward pre-hook; it returns the new arguments.
    """

    def cut(value: Any) -> Any:
        return value[:, positions:] if isinstance(value, Tensor) and value.dim() == 2 else value

    return tuple(map(cut, args)), {name: cut(value) for name, value in kwargs.items()}


def _make_room(positions: int, module: Any, args: tuple[Any, ...], states: Tensor) -> Tensor:
    """Insert the added positions in front of the embedded tokens; a forward hook of the embeddings module.

    With the method prompt, the positions contain the trained vectors. With the method prefix, they contain zeros, which
    the trained vectors of a layer replace later.
    """
    if hasattr(module, "prompt"):
        extended: Tensor = module.prompt.before(states)
        return extended
    return torch.cat([states.new_zeros(states.shape[0], positions, states.shape[2]), states], dim=1)


def _replace(names: tuple[str, ...], mask: str, layer: Any, *call: Any) -> tuple[tuple[()], dict[str, Any]]:
    """Before a layer runs, replace the hidden states at the added positions by the layer's trained vectors.

    The attention mask is changed so that every token can attend to these positions. `mask` is the name of this mask,
    which is the same in the arguments of the backbone and of a layer.
    """
    args, kwargs = call
    inputs = {**dict(zip(names, args, strict=False)), **kwargs}
    positions = len(layer.prefix.rows)
    inputs[names[0]] = layer.prefix.before(inputs[names[0]][:, positions:])
    if isinstance(inputs.get(mask), Tensor):
        inputs[mask] = _seen(inputs[mask], positions)
    return (), inputs


def _seen(mask: Tensor, positions: int) -> Tensor:
    """Return a copy of a layer's attention mask that lets all tokens attend to the added positions.

    The entries of these positions become 0 in a float mask, which is added to the attention scores, and 1 (or true) in
    any other mask.
    """
    value = 0 if mask.dtype.is_floating_point else 1
    return torch.cat([torch.full_like(mask[..., :positions], value), mask[..., positions:]], dim=-1)


def close(positions: int, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
    """Remove the added positions, which come first, from all hidden states in the output of the layers."""
    first = output if isinstance(output, Tensor) else next(value for value in _values(output) if isinstance(value, Tensor))
    return _shortened(output, positions, first.shape[1])


def _values(output: Any) -> list[Any]:
    return list(output.values()) if isinstance(output, dict) else list(output)


def _shortened(output: Any, positions: int, length: int) -> Any:
    if isinstance(output, Tensor):
        return output[:, positions:] if output.dim() == 3 and output.shape[1] == length else output
    if isinstance(output, dict):
        for key, value in output.items():
            output[key] = _shortened(value, positions, length)
        return output
    if isinstance(output, tuple | list):
        return type(output)(_shortened(value, positions, length) for value in output)
    return output
