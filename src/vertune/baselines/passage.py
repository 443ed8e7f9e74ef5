"""A baseline for question answering: answers with the part of a text around which most words of the question occur.

This is the sliding window of Richardson et al. (2013, MCTest), applied to parts with a fixed number of words. The text
that contains the answer is called the context.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from vertune.metrics.words import pieces

_AROUND = 10
"""Number of words before and after a candidate span in which words of the question are counted."""


def first(context: str, length: int) -> tuple[int, int]:
    """Return the start and end, in code points, of the first `length` words of the context: an answer that ignores the question."""
    bounds = [span for span in pieces(context) if context[span[0]].isalnum()]
    return (bounds[0][0], bounds[min(length, len(bounds)) - 1][1]) if bounds else (0, len(context))


def best(question: str, context: str, length: int) -> tuple[int, int]:
    """Return the start and end, in code points, of the `length` words around which most words of the question occur.

    Words of the question are counted up to 10 words before and after such a span. Each counts log(1 + 1 / n) if it
    occurs n times in the context, so rare words count more. Words of the question inside the span are subtracted
    instead, because an answer seldom contains them. The span with the highest sum is returned, or the first of several.
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
