"""Collects what was tried in a training: the score of each candidate on validation records, and what it costs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from vertune.learning import companion
from vertune.learning.companion import LearntCompanion
from vertune.learning.examples import Examples
from vertune.learning.held_out import HeldOutPredictions, intervals
from vertune.learning.training_input import TrainingInput
from vertune.lexical.companion import WordModel
from vertune.lexical.tagging import UnitModel

_WORDS, PROBE, _MIXED = "words", "probe", "mixed"
"""Names of candidates; the others are called like the method with which they were trained."""


@dataclass(slots=True)
class Tried:
    """The candidates of one training, in the order in which they were tried."""

    seed: int
    started: float = field(default_factory=time.monotonic)
    counting: float = 0.0
    """Seconds that the model of words took."""
    entries: list[dict[str, Any]] = field(default_factory=list)
    """Name, main metric (`metric`, `value`, `low`, `high`), seconds of training, milliseconds per record, and bytes of each candidate."""

    def seconds(self) -> float:
        """Return the seconds since the training started."""
        return time.monotonic() - self.started

    def fit_words(self, training_input: TrainingInput, held_out: Examples | None) -> WordModel | UnitModel | None:
        """Fit the model of words, and remember how long this took."""
        before = self.seconds()
        words = companion.fit_words(training_input, held_out)
        self.counting = self.seconds() - before
        return words

    def add(self, name: str, found: HeldOutPredictions, seconds: float, weights: Mapping[str, torch.nn.Parameter] | int) -> None:
        """Add a candidate; `seconds` is the duration of its training, and `weights` are those of its own, or their bytes.

        The milliseconds per record are those of predictions in batches, with the encoded records at hand.
        """
        size = weights if isinstance(weights, int) else stored(weights)
        self.entries.append(entry(name, found, (seconds, size), self.seed))

    def finish(self, kept: str, words: WordModel | UnitModel | None, learnt: LearntCompanion | None) -> list[dict[str, Any]]:
        """Add the words alone and the mix, if there are any; return all candidates with the one that became the model.

        `kept` is the name of the method of the model with which the words are mixed; a head that was only fitted is the linear probe.
        """
        sizes = {str(entry["name"]): int(entry["bytes"]) for entry in self.entries}
        kept = kept if kept in sizes else PROBE
        if learnt and learnt.words and words:
            self.add(_WORDS, learnt.words, self.counting, words.bytes)
        if learnt and learnt.companion.scorer:
            self.add(_MIXED, learnt.mixed, self.seconds(), sizes.get(kept, 0) + learnt.companion.scorer.bytes)
            kept = _MIXED
        return [{**entry, "kept": entry["name"] == kept} for entry in self.entries]


def entry(name: str, found: HeldOutPredictions, cost: tuple[float, int], seed: int) -> dict[str, Any]:
    """Return what is stored about a candidate; `cost` is the seconds of its training, and the bytes of its own weights."""
    goal = found.task.goal
    low, high = intervals(found, seed).get(goal, (None, None))
    seconds, size = cost
    return {
        "name": name, "metric": goal, "value": found.metrics[goal], "low": low, "high": high, "rows": len(found.records),
        "seconds": round(seconds, 2), "milliseconds": round(1000 * found.seconds / max(1, len(found.records)), 3), "bytes": size,
    }  # fmt: skip


def stored(weights: Mapping[str, torch.nn.Parameter]) -> int:
    """Return the bytes of these weights."""
    return sum(item.numel() * item.element_size() for item in weights.values())
