"""Builds a model with an untrained head; independent of training.

The model consists of the pretrained model (backbone) of an encoder and the output layer (head) of a task.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from vertune.core.errors import ConfigError
from vertune.core.kinds import Encoder, Task
from vertune.nn.vertical import VerticalModel


def build(encoder: Encoder, task: Task) -> VerticalModel:
    """Build a new model: the pretrained model of the encoder, with an untrained head for the task.

    With the pooling `native`, the head is the one that the transformers library offers for this pretrained model. Raise
    ConfigError if the task does not support such a head. The head is initialised with torch's random generator; seed
    the generator for reproducible weights.
    """
    pooling = encoder.pooling_of(task.states)
    if pooling != "native":
        backbone = encoder.model()
        width = int(backbone.config.hidden_size)  # type: ignore[union-attr,arg-type]
        return VerticalModel(backbone, task.head(width), pooling)
    if not task.native_head:
        raise ConfigError(
            f"The task '{task.name}' does not support a head of the transformers library, which `pooling: native` "
            "selects. Set pooling: mean or cls."
        )
    whole: Any = encoder.native(task.states, task.size)
    return VerticalModel(whole.base_model, nn.Identity(), "tokens", native=whole)


def trainable(model: nn.Module) -> dict[str, torch.nn.Parameter]:
    """Return the trainable parameters, by their names in the model."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
