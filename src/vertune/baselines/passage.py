"""Finds the words of a context that stand among most words of a question; knows nothing of models.

The sliding window of Richardson et al. (2013, MCTest), turned to spans of one length.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from vertune.metrics.words import pieces

_AROUND = 10
"""Words on each side of a candidate that count as its surroundings."""


def first(context: str, length: int) -> tuple[int, int]:
    """The first words of the context, as start and end in code points."""
    found = [span for span in pieces(context) if context[span[0]].isalnum()]
    return (found[0][0], found[min(length, len(found)) - 1][1]) if found else (0, len(context))


def best(question: str, context: str, length: int) -> tuple[int, int]:
    """The stretch of this many words whose surroundings share most with the question, as start and end in code points.

    A shared word weighs log(1 + 1 / its count in the context), so that rare words weigh more; words of the question inside
    the stretch count against it, because an answer seldom repeats them. Of equals the first is taken.
    """
    found = [span for span in pieces(context) if context[span[0]].isalnum()]
    if len(found) <= length:
        return first(context, length)
    words = [context[start:end].lower() for start, end in found]
    asked = {question[start:end].lower() for start, end in pieces(question)}
    counts = Counter(words)
    weight = np.array([np.log1p(1 / counts[word]) if word in asked else 0.0 for word in words])
    summed = np.concatenate([[0.0], np.cumsum(weight)])
    begin = np.arange(len(words) - length + 1)
    around = summed[np.minimum(begin + length + _AROUND, len(words))] - summed[np.maximum(begin - _AROUND, 0)]
    within = summed[begin + length] - summed[begin]
    place = int(np.argmax(around - 2 * within))
    return found[place][0], found[place + length - 1][1]
