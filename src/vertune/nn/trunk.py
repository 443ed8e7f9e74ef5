"""The trunk of a model: its frozen lower layers, whose outputs can be cached; independent of files and training.

For the same sequence, the layers below the lowest trained layer always have the same outputs. So the output of the last
frozen layer can be cached; if only the head is trained, the input of the head is cached. A forward pass with these
cached states skips the frozen layers: each returns its input unchanged, except the last one, which returns the cached
states.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vertune.nn import structure
from vertune.nn.vertical import VerticalModel


class _Reached(Exception):
    """Raised when the last frozen layer has run, to end the forward pass before the trained layers."""


class Trunk:
    """The frozen lower part of a model: the embeddings and all layers below the lowest trained one."""

    def __init__(self, model: VerticalModel, depth: int) -> None:
        """`depth` is the number of the lowest trained layer, counted from 1; it must be at least 2.

        The number of layers + 1 means that only the head is trained.
        """
        self.model = model
        self.depth = depth
        above = structure.count(model.backbone) + 1
        self.whole = depth >= above and model.native is None
        """Whether everything except the head is frozen, so that the cached states are the head's input."""
        self.pooled = self.whole and model.pooling != "tokens"
        """Whether one vector is cached per sequence, instead of one per token."""
        self.frozen = [] if self.whole else list(structure.layers(model.backbone).values())[: depth - 1]
        self.forms: list[int | None] = []
        """The type of each frozen layer's output: 0 for a tensor, n for a tuple of n with the hidden states first, else None.

        In a forward pass with cached states, all other entries of a tuple, such as attention weights, are None.
        """

    def run(self, inputs: dict[str, Tensor]) -> Tensor:
        """Run the frozen part of the model on a batch, without dropout or gradients, and return its output.

        The shape is (rows, width) if `pooled`, else (rows, tokens, width).
        """
        with structure.probing(self.model.backbone) as hooks:
            if self.whole:
                return self.model.states(inputs)
            found: list[Tensor] = []
            forms: list[int | None] = []
            for layer in self.frozen:
                hooks.append(layer.register_forward_hook(partial(_form, forms)))
            hooks.append(self.frozen[-1].register_forward_hook(partial(_reach, found)))
            try:
                self.model(inputs)
            except _Reached:
                self.forms = forms
                return found[0]
        raise AssertionError(
            "The forward pass of the pretrained model ended before its last frozen layer ran; expected that every layer runs. Report this "
            "as a bug, with the name of the pretrained model."
        )

    @contextmanager
    def given(self, states: Tensor) -> Iterator[None]:
        """While the `with` block runs, forward passes skip the frozen part, and use `states` as its output.

        `states` contains the cached output of the frozen part for the batch of the forward pass.
        """
        if self.whole:
            patched: list[tuple[Any, str]] = [(self.model, "states")]
            self.model.states = lambda inputs: states  # type: ignore[method-assign]
        else:
            patched = [(layer, "forward") for layer in self.frozen]
            for layer, form in zip(self.frozen[:-1], self.forms, strict=False):
                layer.forward = partial(_pass, form)
            self.frozen[-1].forward = _answer(states, self.forms[-1])
        try:
            yield
        finally:
            for module, name in patched:
                delattr(module, name)

    def works(self, inputs: dict[str, Tensor]) -> bool:
        """Test on a batch whether a forward pass with cached states has the same outputs as a complete forward pass.

        If the result is false, caching can't be used for this model. An example is a model in which layers pass further
        tensors, besides the hidden states, to the next layer.
        """
        if self.depth < 2 or (not self.whole and structure.shares_layers(self.model.backbone)):
            return False
        states = self.run(inputs)
        if None in self.forms:
            return False
        with structure.probing(self.model.backbone):
            plain = self.model(inputs)
            try:
                with self.given(states):
                    given = self.model(inputs)
            except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
                return False
        return bool(torch.allclose(plain, given, rtol=1e-4, atol=1e-5 * float(plain.abs().max().clamp(min=1))))


def _form(forms: list[int | None], layer: nn.Module, args: Any, output: Any) -> None:
    """Forward hook that appends a code for the type of a layer's output to `forms`.

    The code is 0 for a tensor, n for a tuple of n entries that starts with a tensor, and None for anything else.
    """
    if isinstance(output, Tensor):
        forms.append(0)
    else:
        known = isinstance(output, tuple) and output and isinstance(output[0], Tensor)
        forms.append(len(output) if known else None)


def _reach(found: list[Tensor], layer: nn.Module, args: Any, output: Any) -> None:
    found.append(output if isinstance(output, Tensor) else output[0])
    raise _Reached


def _pass(form: int | None, *args: Any, **kwargs: Any) -> Any:
    """Forward function of a skipped layer: return the hidden states that the layer gets as input unchanged.

    `form` is the type of the layer's output: 0 for a tensor, n for a tuple of n entries.
    """
    return _formed(args[0] if args else next(iter(kwargs.values())), form)


def _answer(states: Tensor, form: int | None) -> Callable[..., Any]:
    """Return a forward function that returns the cached states, whatever its input is.

    Positions that a fine-tuning method adds in front of a text are not cached; they are copied from the input. `form`
    is the type of the output: 0 for a tensor, n for a tuple of n entries.
    """

    def answer(*args: Any, **kwargs: Any) -> Any:
        entering: Tensor = args[0] if args else next(iter(kwargs.values()))
        added = entering.shape[1] - states.shape[1]
        return _formed(torch.cat([entering[:, :added].to(states.dtype), states], 1) if added else states, form)

    return answer


def _formed(states: Tensor, form: int | None) -> Any:
    return (states, *[None] * (form - 1)) if form else states
