"""Ranks documents for a query with Okapi BM25.

Documents and queries are lists of terms, so the caller decides how texts are split into terms.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class BM25:
    """An index of documents (lists of terms) that computes BM25 scores for queries (Robertson and Zaragoza 2009).

    The inverse document frequency (IDF) of a term that occurs in more than half of the documents would be negative. It
    is replaced by `floor` times the mean IDF of all terms.
    """

    def __init__(self, documents: Sequence[Sequence[str]], k1: float = 1.5, b: float = 0.75, floor: float = 0.25) -> None:
        self.size = len(documents)
        lengths = np.array([len(document) for document in documents], dtype=np.float64)
        penalty = k1 * (1 - b + b * lengths / max(float(lengths.mean()) if len(lengths) else 0.0, 1e-12))
        postings: dict[str, tuple[list[int], list[int]]] = {}
        for number, document in enumerate(documents):
            for term, count in Counter(document).items():
                numbers, counts = postings.setdefault(term, ([], []))
                numbers.append(number)
                counts.append(count)
        idf = {term: float(np.log(self.size - len(numbers) + 0.5) - np.log(len(numbers) + 0.5)) for term, (numbers, _) in postings.items()}
        minimum = floor * sum(idf.values()) / max(1, len(idf))
        self._index: dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]] = {}
        for term, (numbers, counts) in postings.items():
            rows, frequency = np.array(numbers, np.int64), np.array(counts, np.float64)
            weight = idf[term] if idf[term] >= 0 else minimum
            self._index[term] = (rows, weight * frequency * (k1 + 1) / (frequency + penalty[rows]))

    def scores(self, query: Sequence[str]) -> NDArray[np.float64]:
        """Return the score of each document for a query, shape (documents,); a term that occurs twice in the query counts twice."""
        total = np.zeros(self.size)
        for term in query:
            if term in self._index:
                rows, weights = self._index[term]
                total[rows] += weights
        return total
