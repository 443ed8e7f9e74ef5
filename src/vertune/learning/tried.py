"""Collects what was tried in a training: the score of each candidate on validation records, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from vertune.learning.held_out import HeldOutPredictions, intervals

WORDS, PROBE, MIXED = "words", "probe", "mixed"
"""Names of candidates; the others are called like the method with which they were trained."""


@dataclass(slots=True)
class Tried:
    """The candidates of one training, in the order in which they were tried."""

    seed: int
    entries: list[dict[str, Any]] = field(default_factory=list)
    """Name, main metric (`metric`, `value`, `low`, `high`), seconds of training, milliseconds per record, and bytes of each candidate."""

    def add(self, name: str, found: HeldOutPredictions, seconds: float, size: float) -> None:
        """Add a candidate; `seconds` is the duration of its training, `size` the bytes of its own weights.

        The milliseconds per record are those of predictions in batches, with the encoded records at hand.
        """
        goal = found.task.goal
        low, high = intervals(found, self.seed).get(goal, (None, None))
        self.entries.append(
            {
                "name": name, "metric": goal, "value": found.metrics[goal], "low": low, "high": high, "rows": len(found.records),
                "seconds": round(seconds, 2), "milliseconds": round(1000 * found.seconds / max(1, len(found.records)), 3),
                "bytes": int(size),
            }
        )  # fmt: skip

    def size_of(self, name: str) -> int:
        """Return the bytes of a candidate's own weights; 0 if there is none of this name."""
        return next((entry["bytes"] for entry in self.entries if entry["name"] == name), 0)

    def facts(self, kept: str) -> list[dict[str, Any]]:
        """Return all candidates; `kept` is the name of the one that became the model."""
        return [{**entry, "kept": entry["name"] == kept} for entry in self.entries]
