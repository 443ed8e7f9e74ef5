"""Losses of this field, each one number a feature; knows nothing of tasks, class weights or batches.

Weights of classes and windows are not here: a task gives them a feature (`Targets.weights`), and the loop averages by them.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of logits (rows, classes) with class indices (rows,).

    `smoothing` is the share of the target that is spread over all classes (Szegedy et al. 2016).
    """
    return functional.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)


def focal(logits: Tensor, labels: Tensor, gamma: float = 2.0, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy scaled down by (1 - p)^gamma where the answer is right already (Lin et al. 2017)."""
    right = logits.log_softmax(-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1).exp()
    return remaining(right) ** gamma * cross_entropy(logits, labels, smoothing)


def binary_cross_entropy(logits: Tensor, present: Tensor) -> Tensor:
    """Sum over labels of the cross-entropy of each label's own logit; `present` is 0 or 1, both (rows, labels).

    A sum and no mean, so that a label is learnt and regularised as strongly however many others there are.
    """
    return functional.binary_cross_entropy_with_logits(logits, present, reduction="none").sum(-1)


def binary_focal(logits: Tensor, present: Tensor, gamma: float = 2.0) -> Tensor:
    """Binary cross-entropy with each label scaled down by (1 - p)^gamma of its right answer (Lin et al. 2017)."""
    right = torch.where(present > 0.5, logits, -logits).sigmoid()
    each = functional.binary_cross_entropy_with_logits(logits, present, reduction="none")
    return (remaining(right) ** gamma * each).sum(-1)


def squared_error(outputs: Tensor, values: Tensor) -> Tensor:
    """Squared difference of outputs (rows, 1) and values (rows,)."""
    return (outputs.squeeze(-1) - values) ** 2


def huber(outputs: Tensor, values: Tensor, delta: float = 1.0) -> Tensor:
    """Squared near 0 and linear beyond `delta`, so that outliers pull less (Huber 1964)."""
    return functional.huber_loss(outputs.squeeze(-1), values, reduction="none", delta=delta)


def remaining(right: Tensor) -> Tensor:
    """1 - p, kept off 0 because the gradient of a power below 1 is infinite there."""
    return (1 - right).clamp(min=1e-6)
