"""The trunk of a model: its frozen lower layers, whose outputs can be cached; independent of files and training.

The layers below the lowest trained layer always have the same outputs for the same sequence. Therefore the output of the last of
them (or the head's input, if only the head is trained) can be cached. A forward pass with these cached states skips the frozen
layers: each returns its input unchanged, and the last one returns the cached states.
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
    """Raised when the last frozen layer has run, to skip the layers above it."""


class Trunk:
    """The frozen lower part of a model: all stages (embeddings and layers) below a given depth."""

    def __init__(self, model: VerticalModel, depth: int) -> None:
        """`depth` is the depth of the lowest trained stage: at least 2; the number of layers + 1 means that only the head is trained."""
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
        """Return the output of the frozen part for a batch, computed without dropout or gradients.

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
        raise AssertionError("a forward pass must reach every layer")

    @contextmanager
    def given(self, states: Tensor) -> Iterator[None]:
        """While the block runs, forward passes of the model use these cached states of their batch instead of computing the frozen part."""
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
        """Return whether the model has the same outputs with cached states as without.

        The result is false, for example, if a layer passes other tensors than its hidden states to the next layer.
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
    """Append the type of a layer's output to `forms`, as a forward hook."""
    if isinstance(output, Tensor):
        forms.append(0)
    else:
        known = isinstance(output, tuple) and output and isinstance(output[0], Tensor)
        forms.append(len(output) if known else None)


def _reach(found: list[Tensor], layer: nn.Module, args: Any, output: Any) -> None:
    found.append(output if isinstance(output, Tensor) else output[0])
    raise _Reached


def _pass(form: int | None, *args: Any, **kwargs: Any) -> Any:
    """Replace the forward function of a skipped layer: return the input states unchanged."""
    return _formed(args[0] if args else next(iter(kwargs.values())), form)


def _answer(states: Tensor, form: int | None) -> Callable[..., Any]:
    """Return a forward function that outputs the cached states for any input; positions added in front are copied from the input."""

    def answer(*args: Any, **kwargs: Any) -> Any:
        entering: Tensor = args[0] if args else next(iter(kwargs.values()))
        added = entering.shape[1] - states.shape[1]
        return _formed(torch.cat([entering[:, :added].to(states.dtype), states], 1) if added else states, form)

    return answer


def _formed(states: Tensor, form: int | None) -> Any:
    return (states, *[None] * (form - 1)) if form else states
