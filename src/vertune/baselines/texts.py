"""Converts texts, and pairs of texts, to sparse TF-IDF vectors of words and characters, for baselines; independent of tasks."""

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
"""Number of code points at the beginning of a text that are read; the rest is ignored to limit the time of a baseline."""

_WORD = r"(?u)\b\w+\b"
_FILLER = ["0", "0"]
"""Two equal texts that are added to the training texts, so that the vocabulary is not empty even if every other word is rare."""


class Vectors:
    """Converts records to TF-IDF vectors; the vocabulary is that of the training records.

    The vector of a text consists of a part for words and word pairs, and a part for character n-grams, which are needed
    for languages that are written without spaces. The vector of a pair of texts consists of the vectors of both texts,
    the elementwise products of these vectors, and their cosine similarities.
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
        """Convert records to TF-IDF vectors; return a sparse float32 matrix with one row per record."""
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
    """Return the text of one field of each record, cut to its first LONGEST (4,000) code points."""
    return [text[:LONGEST] for text in texts(records, field)]
