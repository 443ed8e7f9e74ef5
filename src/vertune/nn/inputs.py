"""Stores, in a pretrained model (backbone), the names of its input arrays and a small example batch.

They are an attribute of the torch module, so that copies of the module have them too. Independent of what the arrays
contain.
"""

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
"""Length of the example input, in tokens or in the encoder's unit of cost; short, because it only shows the order in which modules run."""

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True, slots=True)
class BackboneInputs:
    """The names of a backbone's input arrays, and a small example batch with which a forward pass can be tried."""

    names: InputNames
    probe: dict[str, NDArray[Any]]
    """A small batch, with only the arrays that the backbone's forward pass accepts."""


def declare(backbone: Module, encoder: Encoder) -> Module:
    """Store the names of the encoder's arrays, and a small batch for trial forward passes, in the backbone.

    Return the backbone. An encoder must call this function for each pretrained model that it loads.
    """
    accepted = inspect.signature(backbone.forward).parameters
    probe = {name: array for name, array in encoder.probe([_PROBED]).items() if name in accepted}
    setattr(backbone, _DECLARED, BackboneInputs(encoder.input_names, probe))
    return backbone


def names_of(backbone: nn.Module) -> InputNames:
    """Return the names of the backbone's input arrays with the sequences (such as token ids) and their padding mask.

    Raise ConfigError if `declare` was not called on the backbone.
    """
    return _declared(backbone).names


def probe_of(backbone: nn.Module) -> dict[str, Tensor]:
    """Return the example batch that `declare` stored, as tensors on the backbone's device.

    Raise ConfigError if `declare` was not called on the backbone.
    """
    device = next(backbone.parameters()).device
    return {name: torch.from_numpy(array).to(device) for name, array in _declared(backbone).probe.items()}


def _declared(backbone: nn.Module) -> BackboneInputs:
    found = getattr(backbone, _DECLARED, None)
    if not isinstance(found, BackboneInputs):
        raise ConfigError(
            f"The pretrained model {type(backbone).__name__} declares no input arrays, so vertune can't run it. Return "
            "vertune.nn.inputs.declare(backbone, self) in the method `model` of its encoder."
        )
    return found
