"""Which parameters of a vertical move; knows nothing of methods or optimisers."""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from vertune.core.errors import ConfigError
from vertune.nn import structure
from vertune.nn.vertical import VerticalModel


def train_only(model: VerticalModel, parameters: Iterable[nn.Parameter] = ()) -> None:
    """Train the head and these parameters, nothing else; what the base itself holds fixed stays fixed."""
    free = [parameter for parameter in parameters if parameter.requires_grad]
    model.requires_grad_(False)
    for parameter in free:
        parameter.requires_grad_(True)
    open_head(model)


def open_head(model: VerticalModel) -> None:
    """Train the head besides what is trained already."""
    for parameter in structure.head_parameters(model).values():
        parameter.requires_grad_(True)


def parameters_from(model: VerticalModel, depth: int = 0) -> list[nn.Parameter]:
    """Every parameter of the backbone's stages from this depth on, which a head can feel."""
    stages = structure.stages(model.backbone)
    unfelt = [*structure.poolers(model.backbone).values(), *structure.fixed_positions(model.backbone).values()]
    skipped = {id(parameter) for module in unfelt for parameter in module.parameters()}
    return [
        parameter
        for name, parameter in model.backbone.named_parameters()
        if id(parameter) not in skipped and structure.depth_within(stages, name) >= depth
    ]


def require_some(model: VerticalModel, method: str, instead: str) -> None:
    """ConfigError unless something is trained."""
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError(f"method '{method}' has nothing to train here. Choose {instead}.")
