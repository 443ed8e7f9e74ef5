"""Merges segments of an index into one, in little memory, and shortens the vectors of large ones; knows nothing of texts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.core.files import write_json
from vertune.retrieval.segment import ARRAYS, PASSAGES, WORDS, Segment, finish, writer

EXACT = 16_384
"""Number of units up to which all vectors are compared as they are."""
AXES = 96
"""Number of main axes along which the vectors of more units are compared first."""
_SAMPLE = 20_000
"""Number of vectors from which the axes are computed."""
_POSTINGS = 500_000
"""Number of postings that are merged at once, about; each takes some 50 bytes."""
_ROWS = 8_192
"""Number of vectors that are read at once."""


def merge(folder: Path, sources: Sequence[Segment]) -> None:
    """Write a new segment with the passages of others that are still found, in their order."""
    folder.mkdir(parents=True)
    kept_units = [source.kept[source.owners] for source in sources]
    numbers = _numbers(kept_units)
    passages = _numbers([source.kept for source in sources])
    _write(folder, "owners", [new[source.owners][kept] for source, new, kept in zip(sources, passages, kept_units, strict=True)])
    _write(folder, "lengths", [source.lengths[kept] for source, kept in zip(sources, kept_units, strict=True)])
    for name in ("ids", "customers", "valid"):
        _write(folder, name, [getattr(source, name)[source.kept] for source in sources])
    _merge_passages(folder, sources)
    _merge_words(folder, sources)
    _merge_postings(folder, sources, numbers)
    if all(source.vectors is not None for source in sources):
        _merge_vectors(folder, sources, kept_units)
        shorten(folder)


def shorten(folder: Path) -> None:
    """Write the vectors of a segment as single precision numbers: all their dimensions or, if there are many units, those of the main axes.

    The axes are the eigenvectors of the matrix of second moments with the largest eigenvalues, which keep inner products best (Eckart and
    Young 1936).
    """
    vectors = Segment(folder).vectors
    if vectors is None:
        return
    count, dimensions = vectors.shape
    axes = None
    if count > EXACT and dimensions > AXES:
        sample = vectors[np.linspace(0, count - 1, min(count, _SAMPLE)).astype(np.int64)].astype(np.float32)
        axes = np.linalg.eigh(sample.T @ sample)[1][:, : -AXES - 1 : -1].astype(np.float32)
        _write(folder, "axes", [axes])
    file = writer(folder, "short", (count, dimensions if axes is None else AXES))
    for start in range(0, count, _ROWS):
        part = vectors[start : start + _ROWS].astype(np.float32)
        file.write((part if axes is None else part @ axes).astype(np.float32).tobytes())
    finish(file)


def _numbers(kept: Sequence[NDArray[np.bool_]]) -> list[NDArray[np.int64]]:
    """Return the new number of each row of each source; those of rows that aren't kept mean nothing."""
    firsts = np.cumsum([0, *(int(one.sum()) for one in kept)])
    return [first + np.cumsum(one) - 1 for first, one in zip(firsts, kept, strict=False)]


def _write(folder: Path, name: str, parts: Sequence[NDArray[Any]]) -> None:
    file = writer(folder, name, (sum(len(part) for part in parts), *parts[0].shape[1:]))
    for part in parts:
        file.write(np.ascontiguousarray(part, ARRAYS[name]).tobytes())
    finish(file)


def _merge_passages(folder: Path, sources: Sequence[Segment]) -> None:
    lengths: list[NDArray[np.int64]] = []
    with (folder / PASSAGES).open("wb") as file:
        for source in sources:
            lengths.append(np.diff(source.offsets)[source.kept])
            content = (source.folder / PASSAGES).open("rb")
            with content:
                for first, last in _stretches(source.kept):
                    content.seek(int(source.offsets[first]))
                    file.write(content.read(int(source.offsets[last] - source.offsets[first])))
        file.flush()
    _write(folder, "offsets", [np.concatenate([[0], np.cumsum(np.concatenate(lengths))])])


def _stretches(kept: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Yield the beginning and the end of each stretch of rows that are kept."""
    changes = np.flatnonzero(np.diff(np.concatenate([[False], kept, [False]]).astype(np.int8)))
    yield from zip(changes[::2].tolist(), changes[1::2].tolist(), strict=True)


def _merge_words(folder: Path, sources: Sequence[Segment]) -> None:
    """Add up the counts of words; words of passages that were removed are left out only where a source has none left."""
    found: dict[str, Counter[str]] = {}
    for source in sources:
        if source.kept.any():
            for customer, words in json.loads((source.folder / WORDS).read_text("utf-8")).items():
                found.setdefault(customer, Counter()).update(words)
    write_json(folder / WORDS, {customer: dict(words) for customer, words in found.items()})


def _merge_vectors(folder: Path, sources: Sequence[Segment], kept: Sequence[NDArray[np.bool_]]) -> None:
    file = writer(folder, "vectors", (sum(int(one.sum()) for one in kept), sources[0].vectors.shape[1]))
    for source, chosen in zip(sources, kept, strict=True):
        opened = Segment(source.folder)
        for start in range(0, len(chosen), _ROWS):
            file.write(opened.vectors[start : start + _ROWS][chosen[start : start + _ROWS]].tobytes())
    finish(file)


def _merge_postings(folder: Path, sources: Sequence[Segment], numbers: Sequence[NDArray[np.int64]]) -> None:
    """Merge the postings range by range of the hashes of terms."""
    kept = [source.kept[source.owners] for source in sources]
    sized = zip(sources, kept, strict=True)
    total = sum(int(chosen[source.units].sum()) if source.removed else len(source.units) for source, chosen in sized)
    units, counts = writer(folder, "units", (total,)), writer(folder, "counts", (total,))
    terms: list[NDArray[np.uint64]] = []
    sizes: list[NDArray[np.int64]] = []
    ranges = max(1, sum(len(source.units) for source in sources) // _POSTINGS)
    bounds = [(number << 64) // ranges for number in range(ranges)] + [None]
    for low, high in pairwise(bounds):
        opened = [Segment(source.folder, source.removed) for source in sources]  # what was read before is no longer in memory
        parts = [_part(source, chosen, new, (low, high)) for source, chosen, new in zip(opened, kept, numbers, strict=True)]
        of, rows, times = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        order = np.argsort(of, kind="stable")  # units ascend from source to source
        units.write(rows[order].astype(np.int32).tobytes())
        counts.write(times[order].astype(np.uint8).tobytes())
        found, size = np.unique(of, return_counts=True)
        terms.append(found)
        sizes.append(size)
    finish(units)
    finish(counts)
    _write(folder, "terms", [np.concatenate(terms)])
    _write(folder, "starts", [np.concatenate([[0], np.cumsum(np.concatenate(sizes))])])


def _part(
    source: Segment, kept: NDArray[np.bool_], numbers: NDArray[np.int64], bounds: tuple[int | None, int | None]
) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.uint8]]:
    """Return term, new unit and count of the postings of a source whose terms are between two hashes."""
    low, high = (len(source.terms) if one is None else int(np.searchsorted(source.terms, np.uint64(one))) for one in bounds)
    first, last = int(source.starts[low]), int(source.starts[high])
    terms = np.repeat(source.terms[low:high], np.diff(source.starts[low : high + 1]))
    units, counts = source.units[first:last], source.counts[first:last]
    if source.removed:
        chosen = kept[units]
        terms, units, counts = terms[chosen], units[chosen], counts[chosen]
    return terms, numbers[units], counts
