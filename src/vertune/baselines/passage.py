"""A baseline that answers a question with the span of its context that has the most words of the question around it.

The sliding window of Richardson et al. (2013, MCTest), applied to spans of a fixed length.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from vertune.metrics.words import pieces

_AROUND = 10
"""Words on each side of a candidate span that count as its surroundings."""


def first(context: str, length: int) -> tuple[int, int]:
    """Return the start and end, in code points, of the first `length` words of the context."""
    bounds = [span for span in pieces(context) if context[span[0]].isalnum()]
    return (bounds[0][0], bounds[min(length, len(bounds)) - 1][1]) if bounds else (0, len(context))


def best(question: str, context: str, length: int) -> tuple[int, int]:
    """Return the start and end, in code points, of the span of `length` words with the most words of the question around it.

    Each word has the weight log(1 + 1 / its count in the context), so that rare words weigh more. Words of the question inside
    the span count against it, because an answer seldom repeats them. Of equally good spans, the first is returned.
    """
    bounds = [span for span in pieces(context) if context[span[0]].isalnum()]
    if len(bounds) <= length:
        return first(context, length)
    words = [context[start:end].lower() for start, end in bounds]
    question_words = {question[start:end].lower() for start, end in pieces(question)}
    counts = Counter(words)
    weight = np.array([np.log1p(1 / counts[word]) if word in question_words else 0.0 for word in words])
    summed = np.concatenate([[0.0], np.cumsum(weight)])
    begin = np.arange(len(words) - length + 1)
    around = summed[np.minimum(begin + length + _AROUND, len(words))] - summed[np.maximum(begin - _AROUND, 0)]
    within = summed[begin + length] - summed[begin]
    position = int(np.argmax(around - 2 * within))
    return bounds[position][0], bounds[position + length - 1][1]
