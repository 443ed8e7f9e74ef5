"""Loss functions for models with one output per token.

They are independent of what the outputs mean, such as tags or answers, and of the text.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from vertune.nn.losses import remaining

IGNORED = -100
"""The target value of a token that the loss ignores."""


def labelled(outputs: Tensor, targets: Tensor, smoothing: float = 0.0, gamma: float = 0.0) -> Tensor:
    """Return the mean cross-entropy of the labelled tokens of each sequence, of shape (sequences,).

    It is 0 for a sequence without labelled tokens. Shapes: outputs (sequences, tokens, classes); targets (sequences,
    tokens), which are class indices, or IGNORED for tokens without a label. `smoothing` is label smoothing; `gamma` is
    the exponent of the focal loss (Lin et al. 2017), 0 for plain cross-entropy.
    """
    scores = outputs.transpose(1, 2)
    losses = functional.cross_entropy(scores, targets.long(), ignore_index=IGNORED, reduction="none", label_smoothing=smoothing)
    if gamma:
        plain = losses if not smoothing else functional.cross_entropy(scores, targets.long(), ignore_index=IGNORED, reduction="none")
        losses = remaining((-plain).exp()) ** gamma * losses
    return losses.sum(1) / (targets != IGNORED).sum(1).clamp(min=1)


def pointed(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of predicting where an answer starts and ends, per sequence (Devlin et al. 2019).

    It is the mean of two cross-entropies over the tokens: for the start and for the end of the answer. Shapes: outputs
    (sequences, tokens, 2), the scores of start and end; targets (sequences, tokens). A target is IGNORED where no
    answer may start or end, else 1 at a start, 2 at an end, 3 at both, 0 elsewhere. If several tokens are marked,
    predicting any of them is correct.
    """
    barred = targets == IGNORED
    bits = targets.masked_fill(barred, 0)
    losses = []
    for place, bit in enumerate((1, 2)):
        scores = outputs[..., place].masked_fill(barred, -1e4)
        marked = scores.masked_fill((bits & bit) == 0, -1e4)
        losses.append(scores.logsumexp(1) - marked.logsumexp(1))
    return (losses[0] + losses[1]) / 2
