"""The written rule behind every `auto` of training; docs/defaults.md tells it with its evidence. Knows nothing of data sets."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vertune.core.config import Config
from vertune.core.kinds import Method


@dataclass(frozen=True, slots=True)
class Rates:
    """Peak learning rates."""

    body: float
    head: float


def rates(config: Config, method: Method, width: int, solved: bool) -> Rates:
    """Rates of the body and of the head.

    The method's pace holds at width 384 and falls with the square root of the width; a head that was solved moves at the
    body's rate, one that was drawn at random at ten times it.
    """
    said = config.optimiser
    body = method.pace * math.sqrt(384 / width) if said.rate == "auto" else said.rate
    head = body * (1 if solved else 10) if said.head_rate == "auto" else said.head_rate
    return Rates(body, head)


def epochs(config: Config, rows: int) -> float:
    """Passes over the data: 4 from 8,000 rows on, more on fewer rows, never more than 12."""
    if config.training.epochs != "auto":
        return config.training.epochs
    return float(min(12, max(4, math.ceil(1000 * config.training.batch / max(1, rows)))))
