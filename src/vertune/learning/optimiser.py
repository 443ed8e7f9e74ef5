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
    """Return the factor (0 to 1) by which the peak learning rate is multiplied at a step, counted from 0.

    `steps` is the number of all steps, and `warmup` the fraction of them in which the factor rises linearly to 1. Then
    it stays 1 if `schedule` is `constant`; otherwise it falls to 0, linearly (`linear`) or along a cosine.
    """
    rise = round(warmup * steps)
    if step < rise:
        return (step + 1) / (rise + 1)
    done = (step - rise) / max(1, steps - rise)
    if schedule == "constant":
        return 1.0
    return 1 - done if schedule == "linear" else 0.5 * (1 + math.cos(math.pi * done))


def groups(model: VerticalModel, options: Optimiser, rates: Rates, without: EmbeddingRows | None = None) -> list[dict[str, Any]]:
    """Divide the trainable parameters into groups of equal learning rate and weight decay, as a torch optimiser expects.

    The head has its own learning rate. The rate of a layer is multiplied by `options.layer_decay` for each layer
    between it and the head. Biases and norms have no weight decay. Word embeddings that `without` updates are left out.
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
    """Return a sparse AdamW for the word embeddings, which updates only the rows that a step uses.

    Return None if it can't be used: if the word embeddings are not trained, if the config sets another optimiser, or if
    it sets the option `exact`, with which every row is updated in every step.
    """
    module = word_table(model.backbone)
    if options.name != "adamw" or options.exact or module is None or not module.weight.requires_grad:
        return None
    return EmbeddingRows(module, rates.body * options.layer_decay ** count(model.backbone), options.weight_decay)


def build(model: VerticalModel, options: Optimiser, rates: Rates, without: EmbeddingRows | None = None) -> torch.optim.Optimizer:
    """Return the configured optimiser for all trainable parameters.

    If `without` is given, the word embeddings are left out, because `without` updates them.
    """
    members = groups(model, options, rates, without)
    if options.name == "adafactor":
        return torch.optim.Adafactor(members)
    if options.name == "sgd":
        return torch.optim.SGD(members, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(members, fused=True)


def set_rate(optimiser: torch.optim.Optimizer, rows: EmbeddingRows | None, share: float) -> None:
    """Set the current learning rates to the fraction `share` (0 to 1) of their peaks.

    These are the rates of all parameter groups and, if `rows` is given, that of the word embeddings.
    """
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * share
    if rows:
        rows.rate = rows.peak * share
