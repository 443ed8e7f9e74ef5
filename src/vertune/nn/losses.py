"""Loss functions that return one number per feature (encoded input); independent of tasks and batches.

They do not apply weights. A task may give each feature a weight (`Targets.weights`), for example by its class; the
training loop computes the weighted mean of the losses.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the cross-entropy of each row, of shape (rows,).

    Shapes: logits (rows, classes), labels (rows,), which are class indices. `smoothing` is the fraction of the target
    probability that is spread evenly over all classes (label smoothing, Szegedy et al. 2016).
    """
    return functional.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)


def focal(logits: Tensor, labels: Tensor, gamma: float = 2.0, smoothing: float = 0.0) -> Tensor:
    """Return the focal loss (Lin et al. 2017) of each row, of shape (rows,).

    It is the cross-entropy times (1 - p)^gamma, where p is the predicted probability of the correct class. The shapes
    and `smoothing` are those of `cross_entropy`.
    """
    right = logits.log_softmax(-1).gather(-1, labels.unsqueeze(-1)).squeeze(-1).exp()
    return remaining(right) ** gamma * cross_entropy(logits, labels, smoothing)


def binary_cross_entropy(logits: Tensor, present: Tensor) -> Tensor:
    """Return the binary cross-entropy of each row, summed over labels; shape (rows,).

    Both arguments have shape (rows, labels); `present` is 1 if the row has the label, else 0. The sum is used because,
    with the mean, the gradient of each label would shrink as the number of labels grows.
    """
    return functional.binary_cross_entropy_with_logits(logits, present, reduction="none").sum(-1)


def binary_focal(logits: Tensor, present: Tensor, gamma: float = 2.0) -> Tensor:
    """Return the binary focal loss (Lin et al. 2017) of each row, summed over labels; shape (rows,).

    The cross-entropy of each label is multiplied by (1 - p)^gamma, where p is the predicted probability of the correct
    value (present or not). Both arguments have shape (rows, labels).
    """
    right = torch.where(present > 0.5, logits, -logits).sigmoid()
    each = functional.binary_cross_entropy_with_logits(logits, present, reduction="none")
    return (remaining(right) ** gamma * each).sum(-1)


def squared_error(outputs: Tensor, values: Tensor) -> Tensor:
    """Return the squared error of each row, of shape (rows,); shapes: outputs (rows, 1), values (rows,)."""
    return (outputs.squeeze(-1) - values) ** 2


def huber(outputs: Tensor, values: Tensor, delta: float = 1.0) -> Tensor:
    """Return the Huber loss (Huber 1964) of each row, of shape (rows,); shapes: outputs (rows, 1), values (rows,).

    It is quadratic for errors up to `delta`, and linear for larger errors, so that outliers have less influence.
    """
    return functional.huber_loss(outputs.squeeze(-1), values, reduction="none", delta=delta)


def remaining(right: Tensor) -> Tensor:
    """Return 1 - p, which the focal loss raises to the power gamma; `right` contains the probabilities p.

    The result is at least 1e-6, because for gamma below 1, the gradient of this power is infinite at 0.
    """
    return (1 - right).clamp(min=1e-6)
