"""Hashes the content of data rows; the hash of a row is the same on every machine and at every position; independent of tasks.

All code that compares rows (to divide, describe or identify datasets) uses these functions, so the same rows count as equal everywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vertune.core.columns import named

if TYPE_CHECKING:
    import polars as pl


def hashes(texts: Iterable[str], salt: str = "") -> NDArray[np.uint64]:
    """Return a 64-bit BLAKE2b hash of each text, shape (texts,); `salt` is the key of the hash, so another salt gives other hashes."""
    seed = salt.encode()
    digests = b"".join(hashlib.blake2b(text.encode(), digest_size=8, key=seed).digest() for text in texts)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def of_rows(frame: pl.DataFrame, columns: Sequence[str], salt: str = "") -> NDArray[np.uint64]:
    """Return one 64-bit hash per row, computed from the row's values in these columns, shape (rows,)."""
    import polars as pl

    values = pl.struct(_writable(name, frame.schema[name]) for name in columns).struct.json_encode()
    # slices keep the memory for the texts of all rows small
    parts = [hashes(part.select(values).to_series().to_list(), salt) for part in frame.iter_slices(100_000)]
    return np.concatenate(parts) if parts else np.empty(0, np.uint64)


def _writable(name: str, kind: pl.DataType) -> pl.Expr:
    """Return a Polars expression for the column `name` whose values can be encoded as JSON; bytes become hexadecimal text."""
    import polars as pl

    return named(name).bin.encode("hex") if kind == pl.Binary else named(name)


def of_inputs(frame: pl.DataFrame, names: Sequence[str], salt: str = "") -> NDArray[np.uint64]:
    """Return one 64-bit hash per row, computed from the row's values in the columns `names`, shape (rows,).

    Columns that the frame lacks are skipped. Texts are hashed in lower case and with single spaces, so that rows that differ only in
    case or white space get equal hashes.
    """
    import polars as pl

    there = [name for name in names if name in frame.columns]
    values = [
        _writable(name, frame.schema[name])
        if frame.schema[name] == pl.Binary or frame.schema[name].is_nested()
        else named(name).cast(pl.String).fill_null("").str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars()
        for name in there
    ]
    return of_rows(frame.select(values), there, salt)


def of_table(frame: pl.DataFrame, columns: Sequence[str]) -> str:
    """Return the SHA-256, in hexadecimal, of the values of all rows in these columns; the order of the rows does not change it."""
    digest = hashlib.sha256("\0".join(columns).encode())
    digest.update(np.sort(of_rows(frame, columns)).tobytes())
    return digest.hexdigest()


def of_texts(texts: Iterable[str]) -> str:
    """Return the SHA-256, in hexadecimal, of texts joined by NUL characters; another order gives another hash."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def groups(records: Sequence[Mapping[str, Any]], fields: Sequence[str]) -> NDArray[np.int64]:
    """Return the number of the group of each record, from 0: records with equal values in all these fields are in one group."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(repr([record.get(field) for field in fields]), len(numbers)) for record in records], np.int64)
