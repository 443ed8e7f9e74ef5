"""The frozen lower part of a vertical, whose states may be given instead of computed; knows nothing of files or training.

Below the lowest edit a model says the same of a sequence every time. What leaves the last layer below it (or, where only the
head moves, what the head reads) can be remembered: then the layers below pass on what they get, and the last one gives the
remembered states.
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
    """The last frozen layer has answered; what comes above need not run."""


class Trunk:
    """The stages of a vertical below a depth."""

    def __init__(self, model: VerticalModel, depth: int) -> None:
        """`depth` is that of the lowest stage that moves, from 2 to one above the layers."""
        self.model = model
        self.depth = depth
        above = structure.count(model.backbone) + 1
        self.whole = depth >= above and model.native is None
        """Whether all but the head is frozen, so that the states are what the head reads."""
        self.pooled = self.whole and model.pooling != "tokens"
        """Whether there is one state a sequence, and not one a token."""
        self.frozen = [] if self.whole else list(structure.layers(model.backbone).values())[: depth - 1]
        self.forms: list[int | None] = []
        """What each frozen layer returns: a tensor (0), or a tuple of so many entries with the states first; None is neither.

        The other entries, such as attention shares, are given as None.
        """

    def run(self, inputs: dict[str, Tensor]) -> Tensor:
        """The states of a batch, without dropout or gradients: shape (rows, width) or (rows, tokens, width)."""
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
        """Forward passes start from these states of their batch."""
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
        """Whether answers from given states are those of the whole model; layers may hand on more than their states."""
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
    """Note what a layer returns."""
    if isinstance(output, Tensor):
        forms.append(0)
    else:
        known = isinstance(output, tuple) and output and isinstance(output[0], Tensor)
        forms.append(len(output) if known else None)


def _reach(found: list[Tensor], layer: nn.Module, args: Any, output: Any) -> None:
    found.append(output if isinstance(output, Tensor) else output[0])
    raise _Reached


def _pass(form: int | None, *args: Any, **kwargs: Any) -> Any:
    """A layer that hands on the states that it gets."""
    return _formed(args[0] if args else next(iter(kwargs.values())), form)


def _answer(states: Tensor, form: int | None) -> Callable[..., Any]:
    """A layer that says these states, whatever it gets; positions that a method put in front stay in front."""

    def answer(*args: Any, **kwargs: Any) -> Any:
        entering: Tensor = args[0] if args else next(iter(kwargs.values()))
        added = entering.shape[1] - states.shape[1]
        return _formed(torch.cat([entering[:, :added].to(states.dtype), states], 1) if added else states, form)

    return answer


def _formed(states: Tensor, form: int | None) -> Any:
    return (states, *[None] * (form - 1)) if form else states
