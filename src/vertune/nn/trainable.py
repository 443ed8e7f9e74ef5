"""Selects which parameters of a model are trained; independent of fine-tuning methods and optimisers."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from vertune.core.errors import ConfigError
from vertune.nn import structure
from vertune.nn.vertical import VerticalModel


def train_only(model: VerticalModel, parameters: Iterable[nn.Parameter] = ()) -> None:
    """Make only the head and these parameters trainable.

    A parameter in `parameters` that was already frozen before the call stays frozen.
    """
    free = [parameter for parameter in parameters if parameter.requires_grad]
    model.requires_grad_(False)
    for parameter in free:
        parameter.requires_grad_(True)
    open_head(model)


def open_head(model: VerticalModel) -> None:
    """Make the parameters of the head trainable, without changing any other parameters."""
    for parameter in structure.head_parameters(model).values():
        parameter.requires_grad_(True)


def parameters_from(model: VerticalModel, depth: int = 0) -> list[nn.Parameter]:
    """Return the backbone's parameters at this depth (0 for the embeddings, 1 for the first layer) or above.

    Poolers, which do not affect the head's output, and position tables that are never trained are left out.
    """
    stages = structure.stages(model.backbone)
    unused = [*structure.poolers(model.backbone).values(), *structure.fixed_positions(model.backbone).values()]
    skipped = {id(parameter) for module in unused for parameter in module.parameters()}
    return [
        parameter
        for name, parameter in model.backbone.named_parameters()
        if id(parameter) not in skipped and structure.depth_within(stages, name) >= depth
    ]


def require_some(model: VerticalModel, method: str, instead: str) -> None:
    """Raise ConfigError if the model has no trainable parameter.

    In the error message, `method` is the name of the fine-tuning method, and `instead` is the text after "Choose".
    """
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError(f"With the method '{method}', the model has no weights to train. Choose {instead}.")
