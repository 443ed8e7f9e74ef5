"""The written rule behind every `auto` of training; docs/defaults.md tells it with its evidence. Knows nothing of data sets."""

from __future__ import annotations

from dataclasses import dataclass

from vertune.core.config import Config
from vertune.core.kinds import Method

_RANDOM_HEAD = 2e-3
_OPTIMISERS = {"adamw": 1.0, "adafactor": 20.0, "sgd": 50.0}
"""How much larger a rate the rule of an update needs to move weights as far as AdamW does: Adafactor's is relative to the size
of the weights, SGD's to that of the gradient, which is clipped."""

_FIRST_WEIGHTS = 1e-3
"""The learning rate of a base that was not pretrained, whatever its width."""

FEW = 3_000
"""Rows below which methods may have another pace, and more passes are made."""
_PASSES = ((1_000, 8.0), (FEW, 5.0))
"""Rows, and the passes over fewer of them."""
_MANY_ROWS_PASSES = 4.0


@dataclass(frozen=True, slots=True)
class Rates:
    """Peak learning rates."""

    body: float
    head: float


def rates(config: Config, method: Method, model: tuple[int, bool], rows: int) -> Rates:
    """Rates of the body and of the head, for a model of this width whose head is solved or not.

    The method's pace holds up to width 384 and falls with the square of the width above it, which is what published
    recipes of base and large encoders come to; a head that was solved moves at the body's rate, one that was drawn at
    random at least at 2e-3 at width 384, because it has further to go. A base without pretrained weights learns at 1e-3.
    """
    said, (width, solved) = config.optimiser, model
    learning_rate = method.learning_rate if method.learning_rate_few_rows is None or rows >= FEW else method.learning_rate_few_rows
    share = min(1.0, 384 / width) ** 2 * _OPTIMISERS[said.name]
    if not config.encoder.pretrained:
        learning_rate, share = _FIRST_WEIGHTS, _OPTIMISERS[said.name]
    body = learning_rate * share if said.rate == "auto" else said.rate
    head = (body if solved else max(body, _RANDOM_HEAD * share)) if said.head_rate == "auto" else said.head_rate
    return Rates(body, head)


def epochs(config: Config, rows: int) -> float:
    """Passes over the data: 8 over fewer than 1,000 rows, 5 over fewer than 3,000, else 4."""
    if config.training.epochs != "auto":
        return config.training.epochs
    return next((passes for below, passes in _PASSES if rows < below), _MANY_ROWS_PASSES)
