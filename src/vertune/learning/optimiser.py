"""Builds the optimiser with its parameter groups and learning rate schedule; independent of data."""

from __future__ import annotations

import math
from typing import Any

import torch

from vertune.core.config import Optimiser
from vertune.learning.defaults import Rates
from vertune.learning.rows import EmbeddingRows
from vertune.nn.build import trainable
from vertune.nn.structure import count, depth_of, word_table
from vertune.nn.vertical import VerticalModel


def factor(schedule: str, warmup: float, step: int, steps: int) -> float:
    """Return the factor by which the peak learning rate is multiplied at a step (counted from 0).

    It rises linearly to 1 during the warm-up; then it stays at 1 if `schedule` is `constant`, else it falls to 0.
    """
    rise = round(warmup * steps)
    if step < rise:
        return (step + 1) / (rise + 1)
    done = (step - rise) / max(1, steps - rise)
    if schedule == "constant":
        return 1.0
    return 1 - done if schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))


def groups(model: VerticalModel, options: Optimiser, rates: Rates, without: EmbeddingRows | None = None) -> list[dict[str, Any]]:
    """Return the optimiser's parameter groups; they contain all trainable parameters except the word embeddings that `without` updates.

    The head has its own learning rate, lower layers have smaller learning rates, and biases and norms have no weight decay.
    """
    top = count(model.backbone) + 1
    found: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in trainable(model).items():
        if without and parameter is without.module.weight:
            continue
        depth = depth_of(model, name)
        rate = rates.head if depth == top else rates.body * options.layer_decay ** (top - 1 - depth)
        decay = options.weight_decay if parameter.ndim > 1 else 0.0
        found.setdefault((rate, decay), []).append(parameter)
    return [{"params": members, "lr": rate, "peak": rate, "weight_decay": decay} for (rate, decay), members in found.items()]


def embedding_rows(model: VerticalModel, options: Optimiser, rates: Rates) -> EmbeddingRows | None:
    """Return a sparse AdamW for the word embeddings.

    Return None if the model has no trainable word embeddings, or if the config sets another optimiser or `exact`.
    """
    module = word_table(model.backbone)
    if options.name != "adamw" or options.exact or module is None or not module.weight.requires_grad:
        return None
    return EmbeddingRows(module, rates.body * options.layer_decay ** count(model.backbone), options.weight_decay)


def build(model: VerticalModel, options: Optimiser, rates: Rates, without: EmbeddingRows | None = None) -> torch.optim.Optimizer:
    """Return the configured optimiser for all trainable parameters, except for word embeddings that `without` updates."""
    members = groups(model, options, rates, without)
    if options.name == "adafactor":
        return torch.optim.Adafactor(members)
    if options.name == "sgd":
        return torch.optim.SGD(members, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(members, fused=True)


def set_rate(optimiser: torch.optim.Optimizer, rows: EmbeddingRows | None, share: float) -> None:
    """Set the learning rate of every parameter group and of the word embeddings (`rows`) to the fraction `share` of its peak."""
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * share
    if rows:
        rows.rate = rows.peak * share
