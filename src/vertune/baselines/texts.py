"""Sparse TF-IDF vectors of texts and pairs of texts, over words and characters; independent of tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vertune.core.errors import MissingExtra
from vertune.core.records import Record, texts

if TYPE_CHECKING:
    from scipy import sparse

FIELDS = ("text", "text_pair")
LONGEST = 4_000
"""Number of code points of a text that are read; reading more would improve a baseline less than it costs."""

_WORD = r"(?u)\b\w+\b"
_FILLER = ["0", "0"]
"""Two texts added to the training texts, so that the vocabulary is never empty, even if every word is rare."""


class Vectors:
    """Converts records to TF-IDF vectors: one over words and word pairs and one over characters, each of unit length, concatenated.

    Character n-grams suit languages that are written without spaces. The vector of a pair of texts contains the vectors of both
    texts, their elementwise products, and their cosine similarities.
    """

    def __init__(self, train: Sequence[Record], fields: Sequence[str] = FIELDS) -> None:
        try:
            from sklearn.feature_extraction.text import TfidfVectorizer
        except ImportError as error:
            raise MissingExtra("Fitting baselines", "train", "scikit-learn") from error
        self.fields = [field for field in fields if any(record.get(field) for record in train)] or list(fields[:1])
        seen = [text for field in self.fields for text in _read(train, field)]
        rare = 2 if len(seen) > 500 else 1
        options: dict[str, Any] = {"sublinear_tf": True, "min_df": rare, "dtype": np.float32, "max_features": 50_000}
        self.parts = [
            TfidfVectorizer(analyzer="word", token_pattern=_WORD, ngram_range=(1, 2), **options),
            TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), **options),
        ]
        for part in self.parts:
            part.fit([*seen, *_FILLER])

    def of(self, records: Sequence[Record]) -> sparse.csr_matrix:
        """Return the vectors of records, one float32 row per record."""
        from scipy import sparse

        blocks = []
        for part in self.parts:
            sides = [part.transform(_read(records, field)) for field in self.fields]
            blocks += sides
            if len(sides) == 2:
                product = sides[0].multiply(sides[1])
                blocks += [product, sparse.csr_matrix(product.sum(axis=1))]
        return sparse.csr_matrix(sparse.hstack(blocks, format="csr", dtype=np.float32))


def _read(records: Sequence[Record], field: str) -> list[str]:
    """Return one field of each record, cut to LONGEST code points."""
    return [text[:LONGEST] for text in texts(records, field)]
