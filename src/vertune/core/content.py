"""What a row says, as numbers that are the same on every machine and in every order; knows nothing of tasks.

Splits, the report of a dataset and its hash must agree on which rows are the same: they all ask here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import polars as pl

INPUTS = ("text", "text_pair", "question", "context")
"""The fields of a record that an encoder reads, by the names that all tasks share."""
TARGETS = ("label", "labels", "score", "spans", "answers")
"""The fields that must be answered."""


def hashes(texts: Iterable[str], salt: str = "") -> NDArray[np.uint64]:
    """64 bits of BLAKE2b of each text."""
    seed = salt.encode()
    digests = b"".join(hashlib.blake2b(text.encode(), digest_size=8, key=seed).digest() for text in texts)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def of_rows(frame: pl.DataFrame, columns: Sequence[str], salt: str = "") -> NDArray[np.uint64]:
    """A hash of the values of these columns in each row."""
    import polars as pl

    values = pl.struct(columns).struct.json_encode()
    # slices keep the memory for the texts of all rows small
    found = [hashes(part.select(values).to_series().to_list(), salt) for part in frame.iter_slices(100_000)]
    return np.concatenate(found) if found else np.empty(0, np.uint64)


def of_inputs(frame: pl.DataFrame, salt: str = "") -> NDArray[np.uint64]:
    """A hash of what the encoder reads of each row; case and white space don't count, so that near copies are the same text."""
    import polars as pl

    names = [name for name in INPUTS if name in frame.columns]
    plain = frame.select(
        pl.col(name).cast(pl.String).fill_null("").str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars() for name in names
    )
    return of_rows(plain, names, salt)


def of_table(frame: pl.DataFrame, columns: Sequence[str]) -> str:
    """A hash of all rows, in hex, whatever their order."""
    digest = hashlib.sha256("\0".join(columns).encode())
    digest.update(np.sort(of_rows(frame, columns)).tobytes())
    return digest.hexdigest()


def of_texts(texts: Iterable[str]) -> str:
    """A hash of texts in their order, in hex."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()
