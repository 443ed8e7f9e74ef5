"""Decodes classification: converts one row of logits per model input to a label with probabilities; independent of encoders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vertune.decoders import windows

if TYPE_CHECKING:
    from vertune.core.records import Answer, Feature, Record


def decode(records: Sequence[Record], features: Sequence[Feature], outputs: Sequence[NDArray[Any]], labels: Sequence[str]) -> list[Answer]:
    """Return, for each record, the most probable class and the probabilities of all classes.

    If a long text was divided into windows (overlapping pieces), the probabilities of its windows are averaged; each
    window is weighted by its number of tokens.
    """
    logits = windows.stacked(outputs, len(labels))
    merged = windows.merge(len(records), features, windows.softmax(logits))
    return answers(merged, labels, windows.truncated(len(records), features))


def answers(probabilities: NDArray[np.float64], labels: Sequence[str], truncated: Sequence[bool] = ()) -> list[Answer]:
    """Convert probabilities of shape (records, classes) to one answer per record.

    `truncated` contains, for each record, whether its input was truncated; if it is empty, no input was.
    """
    best = probabilities.argmax(axis=1).tolist() if len(probabilities) else []
    flags = truncated or [False] * len(probabilities)
    return [
        {"label": labels[index], "probability": row[index], "probabilities": dict(zip(labels, row, strict=True)), "truncated": flag}
        for index, row, flag in zip(best, probabilities.tolist(), flags, strict=True)
    ]
