"""Loss functions that return one number per feature; knows nothing of tasks, class weights or batches.

Weights of classes and windows are applied elsewhere: a task sets them (`Targets.weights`), and the loop averages with them.
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
    """Focal loss (Lin et al. 2017): cross-entropy times (1 - p)^gamma, with p the probability of the correct class."""
    right = logits.log_softmax(-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1).exp()
    return remaining(right) ** gamma * cross_entropy(logits, labels, smoothing)


def binary_cross_entropy(logits: Tensor, present: Tensor) -> Tensor:
    """Sum over labels of the cross-entropy of each label's own logit; `present` is 0 or 1, both (rows, labels).

    A sum instead of a mean, so that the number of labels does not change how strongly each is trained and regularised.
    """
    return functional.binary_cross_entropy_with_logits(logits, present, reduction="none").sum(-1)


def binary_focal(logits: Tensor, present: Tensor, gamma: float = 2.0) -> Tensor:
    """Binary focal loss (Lin et al. 2017): each label's cross-entropy times (1 - p)^gamma, p being its correct answer's probability."""
    right = torch.where(present > 0.5, logits, -logits).sigmoid()
    each = functional.binary_cross_entropy_with_logits(logits, present, reduction="none")
    return (remaining(right) ** gamma * each).sum(-1)


def squared_error(outputs: Tensor, values: Tensor) -> Tensor:
    """Squared difference of outputs (rows, 1) and values (rows,)."""
    return (outputs.squeeze(-1) - values) ** 2


def huber(outputs: Tensor, values: Tensor, delta: float = 1.0) -> Tensor:
    """Huber loss (1964): squared up to `delta` and linear beyond, so that outliers have less influence."""
    return functional.huber_loss(outputs.squeeze(-1), values, reduction="none", delta=delta)


def remaining(right: Tensor) -> Tensor:
    """Return 1 - p, at least 1e-6, because a power below 1 has an infinite gradient at 0."""
    return (1 - right).clamp(min=1e-6)
