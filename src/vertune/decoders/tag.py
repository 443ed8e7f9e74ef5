"""Decodes tagging: scores of BIO tags per token to labelled spans of the text, over all its windows."""

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
"""Number of records decoded at once; bounds the memory of the padded scores."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The units (words) of one record, per window and merged."""

    numbers: list[int]
    """Indices of the record's features."""
    cuts: list[bio.Units]
    """The units of each feature."""
    merged: bio.Units
    """Every unit of the record once, in order."""
    owners: NDArray[np.int64]
    """Index of the feature that each merged unit's tag is read from: the one where it has the most context."""


def read(records: Sequence[Record], features: Sequence[Feature], text: str) -> list[Reading]:
    """Split the field `text` of each record into units (words), per window and merged over its windows."""
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
    """Return the spans of the most probable valid tags; a unit in several windows is tagged in the one where it has the most context."""
    readings = read(records, features, text)
    answers: list[Answer] = []
    for start in range(0, len(records), _TOGETHER):
        part = readings[start : start + _TOGETHER]
        scores = [_log_softmax(_logits(reading, outputs, 1 + 2 * len(labels))) for reading in part]
        for reading, score, path in zip(part, scores, bio.viterbi(scores), strict=True):
            sure = np.take_along_axis(score, path[:, None], axis=1)[:, 0]
            spans = bio.spans(path, reading.merged, labels)
            answers.append({"spans": [{**span, "probability": float(np.exp(sure[units].sum()))} for span, units in spans]})
    for answer, flag in zip(answers, windows.truncated(len(records), features), strict=True):
        answer["truncated"] = flag
    return answers


def _logits(reading: Reading, outputs: Sequence[NDArray[Any]], size: int) -> NDArray[Any]:
    """Return the outputs at the first token of each unit, shape (units, tags)."""
    if not len(reading.merged):
        return np.zeros((0, size))
    return np.stack([outputs[owner][token] for owner, token in zip(reading.owners, reading.merged.tokens, strict=True)])


def _log_softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Return log-probabilities over the last axis of logits (units, tags)."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True, initial=-np.inf)
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result
