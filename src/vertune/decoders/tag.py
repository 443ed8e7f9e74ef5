"""Decodes tagging: converts the scores of the BIO tags of each token to labelled spans of the text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vertune.decoders import bio, windows

if TYPE_CHECKING:
    from vertune.core.records import Answer, Feature, Record

_TOGETHER = 256
"""Number of records that are decoded at once; it limits the memory for their padded scores."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The units (words or tokens that get one tag each) of one record.

    They are listed per window (piece of a long text), with duplicates where windows overlap, and for the whole text
    without duplicates.
    """

    numbers: list[int]
    """Indices of the record's features (model inputs, one per window of the text)."""
    cuts: list[bio.Units]
    """The units in each of these features."""
    merged: bio.Units
    """Every unit of the record once, in the order of the text."""
    owners: NDArray[np.int64]
    """For each unit of `merged`, the index of the feature whose outputs decide its tag: the one where the unit has the most context."""


def read(records: Sequence[Record], features: Sequence[Feature], text: str) -> list[Reading]:
    """Split the text of each record into units (words or tokens that get one tag each); `text` is the name of the text field."""
    numbers: list[list[int]] = [[] for _ in records]
    for number, feature in enumerate(features):
        numbers[feature.record].append(number)
    readings = []
    for record, indices in zip(records, numbers, strict=True):
        inside = bio.inside(record[text])
        parts = [features[index] for index in indices]
        cuts = [bio.units(record[text], feature, inside) for feature in parts]
        merged, window = bio.merge(cuts, parts)
        readings.append(Reading(indices, cuts, merged, np.array(indices, np.int64)[window]))
    return readings


def decode(
    records: Sequence[Record], features: Sequence[Feature], outputs: Sequence[NDArray[Any]], labels: Sequence[str], text: str
) -> list[Answer]:
    """Return the labelled spans of each record, taken from its most probable valid sequence of BIO tags.

    If windows (pieces) of a long text overlap, the tag of a word comes from the window where the word has the most
    context. `text` is the name of the text field.
    """
    readings = read(records, features, text)
    answers: list[Answer] = []
    for start in range(0, len(records), _TOGETHER):
        part = readings[start : start + _TOGETHER]
        scores = [_log_softmax(unit_outputs(reading, outputs, 1 + 2 * len(labels))) for reading in part]
        for reading, score, path in zip(part, scores, bio.viterbi(scores), strict=True):
            sure = np.take_along_axis(score, path[:, None], axis=1)[:, 0]
            spans = bio.spans(path, reading.merged, labels)
            answers.append({"spans": [{**span, "probability": float(np.exp(sure[units].sum()))} for span, units in spans]})
    for answer, flag in zip(answers, windows.truncated(len(records), features), strict=True):
        answer["truncated"] = flag
    return answers


def unit_outputs(reading: Reading, outputs: Sequence[NDArray[Any]], size: int) -> NDArray[Any]:
    """Return the model's outputs at the first token of each unit (word or token) of a record, shape (units, tags)."""
    if not len(reading.merged):
        return np.zeros((0, size))
    return np.stack([outputs[owner][token] for owner, token in zip(reading.owners, reading.merged.tokens, strict=True)])


def _log_softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Convert logits of shape (units, tags) to log-probabilities of the tags."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True, initial=-np.inf)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result
