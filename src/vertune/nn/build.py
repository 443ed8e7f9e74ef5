"""Puts a task's head on an encoder's backbone; knows nothing of methods or training."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from vertune.core.errors import ConfigError
from vertune.core.kinds import Encoder, Task
from vertune.nn.vertical import VerticalModel


def build(encoder: Encoder, task: Task) -> VerticalModel:
    """A fresh model: the pretrained backbone under an untrained head.

    The head is drawn from torch's generator, so a caller seeds it for a repeatable start.
    """
    pooling = encoder.pooling_of(task.states)
    if pooling != "native":
        backbone = encoder.model()
        width = int(backbone.config.hidden_size)  # type: ignore[union-attr,arg-type]
        return VerticalModel(backbone, task.head(width), pooling)
    if not task.native_head:
        raise ConfigError(f"pooling: native has no head for the task '{task.name}'. Choose pooling: mean or cls.")
    whole: Any = encoder.native(task.states, task.size)
    return VerticalModel(whole.base_model, nn.Identity(), "tokens", native=whole)


def trainable(model: nn.Module) -> dict[str, torch.nn.Parameter]:
    """The parameters that may move, by their name in the model."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
