"""Fits the model of units on labelled texts, by multinomial logistic regression; only training imports this module."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vertune.decoders import bio
from vertune.lexical.fitting import BYTES, most_influential, quantised, to_matrix
from vertune.lexical.tagging import UnitModel, vectors
from vertune.lexical.units import LONGEST, KnownSpans, describe, lower_hashes, span_hash

if TYPE_CHECKING:
    from scipy import sparse

UNITS, _UNITS_TIMES_TAGS = 200_000, 3_000_000
"""Largest number of units, and of units times tags, on which the model is fitted; of more, a random sample of texts is taken."""
_DESCRIPTIONS = 150_000
"""Largest number of descriptions with weights."""
_RARE = 2_000
"""Number of units above which a description must fit two of them."""
_INVERSE_REGULARISATION, _ITERATIONS = 0.1, 40
_ABSENT = -10.0
"""The intercept of a tag that no unit has."""
_BYTES_PER_SPAN, _BYTES_PER_DESCRIPTION = 10, 12


@dataclass(frozen=True, slots=True)
class TaggedTexts:
    """The units of texts, and the BIO tag of each unit (0 outside, 1 + 2k begins a span with label k, 2 + 2k continues it)."""

    units: Sequence[Sequence[str]]
    tags: Sequence[NDArray[np.int64]]


def fit(data: TaggedTexts, name: str, size: int) -> UnitModel:
    """Fit a model with `size` tags for the texts of the field `name`.

    It is the same for the same data, and takes at most about 5 MB when it is stored.
    """
    known, repeated = known_spans(data)
    rows = _sample(data.units, min(UNITS, _UNITS_TIMES_TAGS // size))
    texts, truth = [data.units[row] for row in rows], np.concatenate([data.tags[row] for row in rows])
    described = describe(texts, repeated)  # a span that only one text has would always be right there
    hashes, counts = np.unique(described, return_counts=True)
    enough = np.flatnonzero(counts >= (2 if len(described) > _RARE else 1))
    most = np.sort(enough[np.argsort(-counts[enough], kind="stable")[:_DESCRIPTIONS]])
    descriptions = hashes[most]
    matrix = to_matrix(vectors(described, descriptions), len(described), len(descriptions))
    coefficients, intercepts = _regression(matrix, truth, size)
    influence = np.sqrt(counts[most] / len(described)).astype(np.float32)
    room = BYTES - _BYTES_PER_SPAN * len(known.hashes) - _BYTES_PER_DESCRIPTION * len(descriptions) - 8 * size
    kept = most_influential(coefficients, influence, max(0, room) // 2)
    return UnitModel((name,), descriptions, known, quantised(kept, intercepts))


def known_spans(data: TaggedTexts) -> tuple[KnownSpans, KnownSpans]:
    """Return the spans that are labelled in at least half of their occurrences; and of these, those that more than one text contains.

    Each has its most frequent label.
    """
    labelled: dict[int, _Seen] = {}
    hashed = [lower_hashes(text) for text in data.units]
    for row, (lower, tags) in enumerate(zip(hashed, data.tags, strict=True)):
        for start, end in _bounds(tags):
            seen = labelled.setdefault(span_hash(lower[start:end]), _Seen(lower[start]))
            seen.labels[(int(tags[start]) - 1) // 2] += 1
            seen.rows.add(row)
    found, unlabelled = _known(labelled), Counter[int]()
    for lower, tags in zip(hashed, data.tags, strict=True):
        unlabelled.update(value for length, start, value in found.find(lower) if not tags[start : start + length].any())
    kept = {value: seen for value, seen in labelled.items() if unlabelled[value] <= seen.labels.total()}
    return _known(kept), _known({value: seen for value, seen in kept.items() if len(seen.rows) > 1})


@dataclass(slots=True)
class _Seen:
    """Where a span is labelled."""

    first: int
    """The hash of its first unit."""
    labels: Counter[int] = field(default_factory=Counter)
    rows: set[int] = field(default_factory=set)


def _bounds(tags: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return the first unit of each span, and the unit after its last one; spans that are too long for a list are left out."""
    return [(start, end) for start, end in bio.bounds(tags) if end - start <= LONGEST]


def _known(spans: Mapping[int, _Seen]) -> KnownSpans:
    ordered = sorted(spans.items())
    labels = [max(sorted(seen.labels), key=lambda label: seen.labels[label]) for _, seen in ordered]
    firsts = np.array(sorted({seen.first for _, seen in ordered}), np.uint32)
    return KnownSpans(np.array([value for value, _ in ordered], np.uint64), np.array(labels, np.uint16), firsts)


def _sample(texts: Sequence[Sequence[str]], most: int) -> list[int]:
    """Return the indices of all texts, or of a random sample with about `most` units together."""
    order = np.random.default_rng(0).permutation(len(texts))
    units = np.cumsum([len(texts[row]) for row in order])
    return sorted(order[: max(1, int(np.searchsorted(units, most, side="right")))].tolist())


def _regression(matrix: sparse.csr_matrix, truth: NDArray[np.int64], size: int) -> tuple[sparse.csr_matrix, NDArray[np.float32]]:
    """Return coefficients, shape (tags, descriptions), and intercepts; tags without units get a score far below that of the others."""
    from scipy import sparse
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    coefficients, intercepts = np.zeros((size, matrix.shape[1]), np.float32), np.full(size, _ABSENT, np.float32)
    present = np.unique(truth)
    if len(present) == 1:
        intercepts[present] = 0.0
        return sparse.csr_matrix(coefficients), intercepts
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # more iterations would hardly change the scores
        model = LogisticRegression(C=_INVERSE_REGULARISATION, max_iter=_ITERATIONS, tol=1e-3).fit(matrix, truth)
    weights, biases = (model.coef_, model.intercept_) if len(present) > 2 else (_both(model.coef_), _both(model.intercept_))
    coefficients[present], intercepts[present] = weights, biases
    return sparse.csr_matrix(coefficients), intercepts


def _both(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the scores of both classes, from the log-odds of the second."""
    return np.concatenate([-scores / 2, scores / 2])
