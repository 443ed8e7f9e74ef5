"""Which arrays a backbone reads, declared on the module itself, so that copies keep it; knows nothing of what they hold."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vertune.core.errors import ConfigError
from vertune.core.kinds import Encoder
from vertune.core.records import InputNames

_DECLARED = "vertune_inputs"
_PROBED = 4
"""Cost of the probe feature: a few positions show the order in which modules run."""

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class BackboneInputs:
    """The inputs of one backbone."""

    names: InputNames
    probe: dict[str, NDArray[Any]]
    """A small collated batch of what the backbone's forward takes."""


def declare(backbone: Module, encoder: Encoder) -> Module:
    """Write down on a backbone what its encoder feeds it, and return it."""
    accepted = inspect.signature(backbone.forward).parameters
    probe = {name: array for name, array in encoder.probe([_PROBED]).items() if name in accepted}
    setattr(backbone, _DECLARED, BackboneInputs(encoder.input_names, probe))
    return backbone


def names_of(backbone: nn.Module) -> InputNames:
    """The names of the arrays that have a role of their own; ConfigError where the backbone was not declared."""
    return _declared(backbone).names


def probe_of(backbone: nn.Module) -> dict[str, Tensor]:
    """A small batch on the backbone's device."""
    device = next(backbone.parameters()).device
    return {name: torch.from_numpy(array).to(device) for name, array in _declared(backbone).probe.items()}


def _declared(backbone: nn.Module) -> BackboneInputs:
    found = getattr(backbone, _DECLARED, None)
    if not isinstance(found, BackboneInputs):
        raise ConfigError(
            f"{type(backbone).__name__} declares no input arrays, but a backbone must. "
            "Return it from the encoder's `model` through vertune.nn.inputs.declare."
        )
    return found
