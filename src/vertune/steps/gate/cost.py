"""Compares the size and the speed of two models on this machine."""

from __future__ import annotations

import time
from collections.abc import Sequence

from vertune.core import base
from vertune.core.artifact import Artifact
from vertune.core.errors import VertuneError
from vertune.core.files import folder_size
from vertune.core.records import Record
from vertune.runtime.predictor import BASE, GRAPH, Predictor

ROUNDS = 7
"""Number of times that each model answers the records; the two take turns."""
_RECORDS = 16
_SECONDS = 1.0
"""Longest time of one round of one model; with slower models, fewer records are answered."""


def size(model: Artifact) -> int:
    """Return the size in bytes of all files from which a model is loaded, its base included."""
    files = folder_size(model.folder)
    if (model.folder / BASE).is_dir() or (model.folder / GRAPH).exists():
        return files
    named = str(model.manifest["config"].get("encoder", {}).get("base") or "")
    try:
        return files + (folder_size(base.resolve(named)) if named else 0)
    except VertuneError:  # a base that is not on this machine; the model can't be loaded then
        return files


def ratios(candidate: Predictor, live: Predictor, records: Sequence[Record]) -> list[float]:
    """Return the time in which the candidate answers records one by one, as a multiple of the live model's, once per round."""
    chosen = list(records[:_RECORDS])
    slow = max(_seconds(candidate, chosen[:1]), _seconds(live, chosen[:1]))  # also the warm-up
    slow = max(_seconds(candidate, chosen[:1]), _seconds(live, chosen[:1]), slow * 0.1)
    chosen = chosen[: max(1, int(_SECONDS / max(slow, 1e-9)))]
    return [_seconds(candidate, chosen) / max(_seconds(live, chosen), 1e-9) for _ in range(ROUNDS)]


def _seconds(predictor: Predictor, records: Sequence[Record]) -> float:
    started = time.perf_counter()
    for record in records:
        predictor.answer([record])
    return time.perf_counter() - started
