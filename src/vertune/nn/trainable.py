"""Selects the trainable parameters of a model; independent of methods and optimisers."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from vertune.core.errors import ConfigError
from vertune.nn import structure
from vertune.nn.vertical import VerticalModel


def train_only(model: VerticalModel, parameters: Iterable[nn.Parameter] = ()) -> None:
    """Make only the head and `parameters` trainable; those of `parameters` that were frozen before the call remain frozen."""
    free = [parameter for parameter in parameters if parameter.requires_grad]
    model.requires_grad_(False)
    for parameter in free:
        parameter.requires_grad_(True)
    open_head(model)


def open_head(model: VerticalModel) -> None:
    """Make the parameters of the head trainable, without changing any others."""
    for parameter in structure.head_parameters(model).values():
        parameter.requires_grad_(True)


def parameters_from(model: VerticalModel, depth: int = 0) -> list[nn.Parameter]:
    """Return the backbone's parameters that affect the head's output and are at this depth (stage number) or above."""
    stages = structure.stages(model.backbone)
    unused = [*structure.poolers(model.backbone).values(), *structure.fixed_positions(model.backbone).values()]
    skipped = {id(parameter) for module in unused for parameter in module.parameters()}
    return [
        parameter
        for name, parameter in model.backbone.named_parameters()
        if id(parameter) not in skipped and structure.depth_within(stages, name) >= depth
    ]


def require_some(model: VerticalModel, method: str, instead: str) -> None:
    """Raise ConfigError if no parameter is trainable; the message names the method `method` and suggests to choose `instead`."""
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError(f"The method '{method}' finds no weights to train in this model. Choose {instead}.")
