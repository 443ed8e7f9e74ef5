"""Chooses the learning rates and the number of epochs where the config contains `auto`; docs/defaults.md gives the evidence."""

from __future__ import annotations

from dataclasses import dataclass

from vertune.core.config import Config
from vertune.core.kinds import Method

_RANDOM_HEAD = 2e-3
"""Smallest learning rate of a randomly initialised head, at width 384."""
_OPTIMISERS = {"adamw": 1.0, "adafactor": 20.0, "sgd": 50.0}
"""For each optimiser, the factor by which AdamW's learning rate is multiplied so that its updates are about as large as AdamW's.
Adafactor scales its updates by the size of the weights, SGD by the size of the clipped gradient."""

_FIRST_WEIGHTS = 1e-3
"""The learning rate of an encoder that was not pretrained; it does not depend on the width."""

FEW = 3_000
"""With fewer training rows, a method uses its `learning_rate_few_rows` if it has one, and more epochs are trained."""
_EPOCHS = ((1_000, 8.0), (FEW, 5.0))
"""Pairs (limit, epochs): a training set with fewer rows than `limit` is trained for this number of epochs."""
_MANY_ROWS_EPOCHS = 4.0


@dataclass(frozen=True, slots=True)
class Rates:
    """Peak learning rates: `body` for the encoder, `head` for the head (the last layer)."""

    body: float
    head: float


def rates(config: Config, method: Method, model: tuple[int, bool], rows: int) -> Rates:
    """Return the peak learning rates of the encoder (`body`) and of the head (the last layer).

    `model` is a pair: the hidden size (width) of the model, and whether its head is already fitted (a linear probe).
    The rates are those in the config or, where it contains `auto`, the following ones. The encoder's rate is that of
    the method, divided by (width / 384)² for widths over 384, in line with published recipes for base and large
    encoders; it is 1e-3 for an encoder without pretrained weights. A fitted head has the encoder's rate. A randomly
    initialised head has at least 2e-3 (at width 384), because its weights must change more. All these rates are for
    AdamW; for other optimisers, they are multiplied by a constant.
    """
    options, (width, fitted) = config.training.optimiser, model
    learning_rate = method.learning_rate if method.learning_rate_few_rows is None or rows >= FEW else method.learning_rate_few_rows
    scale = min(1.0, 384 / width) ** 2 * _OPTIMISERS[options.name]
    if not config.encoder.pretrained:
        learning_rate, scale = _FIRST_WEIGHTS, _OPTIMISERS[options.name]
    body = learning_rate * scale if options.rate == "auto" else options.rate
    head = (body if fitted else max(body, _RANDOM_HEAD * scale)) if options.head_rate == "auto" else options.head_rate
    return Rates(body, head)


def epochs(config: Config, rows: int) -> float:
    """Return the number of epochs to train for: the configured number, or one that depends on the number of training rows.

    With `auto`, it is 8 for fewer than 1,000 rows, 5 for fewer than 3,000 rows, and else 4.
    """
    if config.training.epochs != "auto":
        return config.training.epochs
    return next((number for limit, number in _EPOCHS if rows < limit), _MANY_ROWS_EPOCHS)
