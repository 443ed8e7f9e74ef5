"""Segments of an index: files with passages, their terms and their vectors, which are written once and never changed.

A segment holds *units*. A passage has one unit for its text, and one for each way to ask for it, so that a question is compared with each
by itself. Files are arrays of NumPy that are mapped into memory, so what no search touches takes none. Knows nothing of how units are
ranked.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vertune.core.documents import parse_json
from vertune.core.errors import DataError, ModelError
from vertune.core.files import storage_errors, write_json
from vertune.retrieval import normalise
from vertune.retrieval.passages import Passage

Vectors = Callable[[Sequence[str]], NDArray[Any]]
"""A function that returns one vector for each text, shape (texts, dimensions)."""
ARRAYS: dict[str, type] = {
    "terms": np.uint64,  # the hashes of the terms, sorted
    "starts": np.int64,  # where the units with each term begin in the next two, and where those of the last one end
    "units": np.int32,
    "counts": np.uint8,  # how often the term occurs in the unit
    "lengths": np.int32,  # words and Chinese characters of each unit
    "owners": np.int32,  # the passage of each unit
    "ids": np.uint64,  # the hash of the id of each passage
    "customers": np.uint64,  # the hash of its customer; EVERYBODY for all
    "valid": np.float64,  # (passages, 2): the first and the last second since 1970 at which it may be found
    "offsets": np.int64,  # where each passage begins in the file of passages, and where the last one ends
    "vectors": np.float16,  # (units, dimensions), of length 1; missing without vectors
    "short": np.float32,  # (units, axes): the vectors along their main axes, or as they are where there are few
    "axes": np.float32,  # (dimensions, axes); missing where `short` are the vectors themselves
}
PASSAGES, WORDS = "passages.jsonl", "words.json"
EVERYBODY = 0
OPTIONAL = frozenset({"vectors", "short", "axes"})
_MOST = 255
_REMEMBERED = 256
"""Passages of a segment that are kept as they were read."""


class _Rows:
    """Reads single rows of an array from its file, so that they alone take memory, and not the pages around them."""

    def __init__(self, file: Path, array: NDArray[Any]) -> None:
        self._array = array
        self._descriptor = os.open(file, os.O_RDONLY) if hasattr(os, "pread") else None
        self._first = file.stat().st_size - array.nbytes

    def __del__(self) -> None:
        if getattr(self, "_descriptor", None) is not None:
            os.close(self._descriptor)  # type: ignore[arg-type]

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return copies of rows."""
        if self._descriptor is None:
            return np.array(self._array[rows])
        size = self._array.itemsize * self._array.shape[1]
        content = b"".join(os.pread(self._descriptor, size, self._first + row * size) for row in rows.tolist())
        return np.frombuffer(content, self._array.dtype).reshape(-1, self._array.shape[1])


@dataclass(frozen=True)
class Segment:
    """A segment, mapped into memory."""

    folder: Path
    removed: frozenset[int] = frozenset()
    """The numbers of passages that are no longer found."""

    def __getattr__(self, name: str) -> Any:
        """Map an array when it is needed first; None for one that this segment lacks."""
        if name not in ARRAYS:
            raise AttributeError(name)
        array = _mapped(self.folder / f"{name}.npy", name)
        object.__setattr__(self, name, array)
        return array

    def without(self, removed: frozenset[int]) -> Segment:
        """Return the segment without exactly these passages; what is mapped already is shared."""
        if removed == self.removed:
            return self
        other = Segment(self.folder, removed)
        other.__dict__.update({name: value for name, value in self.__dict__.items() if name not in {"removed", "kept"}})
        return other

    def load(self) -> None:
        """Map all files now, so that they can be read after they were deleted."""
        for name in ARRAYS:
            getattr(self, name)
        self._passages, self._words, self._vector_rows  # noqa: B018 - they are kept

    @cached_property
    def kept(self) -> NDArray[np.bool_]:
        """Whether each passage is still found."""
        kept = np.ones(len(self.ids), np.bool_)
        kept[list(self.removed)] = False
        return kept

    def words(self, customer: str) -> dict[str, int]:
        """Return the words in Latin letters of a customer, given by its hash in hexadecimal, and in how many of its passages each is."""
        return dict(parse_json(self._words.decode("utf-8")).get(customer, {}))

    @cached_property
    def _words(self) -> bytes:
        return (self.folder / WORDS).read_bytes()

    @cached_property
    def _passages(self) -> NDArray[np.uint8]:
        file = self.folder / PASSAGES
        return np.asarray(np.memmap(file, np.uint8, "r")) if file.stat().st_size else np.empty(0, np.uint8)

    @cached_property
    def _vector_rows(self) -> _Rows | None:
        return None if self.vectors is None else _Rows(self.folder / "vectors.npy", self.vectors)

    def cosines(self, units: NDArray[np.int64], vector: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Return the cosines of the vectors of some units with a vector of length 1; None without vectors."""
        rows = self._vector_rows
        return None if rows is None else rows.take(units).astype(np.float32) @ vector

    @cached_property
    def passage(self) -> Callable[[int], Passage]:
        """Returns a passage by its number; those that were found last are kept."""
        return lru_cache(_REMEMBERED)(self._passage)

    def _passage(self, number: int) -> Passage:
        fields = json.loads(self._passages[self.offsets[number] : self.offsets[number + 1]].tobytes())
        return Passage(**{**fields, "questions": tuple(fields["questions"])})

    def units_of(self, passage: int) -> slice:
        """Return where the units of a passage are."""
        first, last = np.searchsorted(self.owners, [passage, passage + 1])
        return slice(int(first), int(last))

    def all_postings(self, terms: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return where the units with each term, given by its hash, begin and end among all postings; both are 0 for an unknown term."""
        if not len(self.terms):
            return np.zeros(len(terms), np.int64), np.zeros(len(terms), np.int64)
        places = np.minimum(np.searchsorted(self.terms, terms), len(self.terms) - 1)
        known = self.terms[places] == terms
        return self.starts[places] * known, self.starts[places + 1] * known


def text_hash(text: str) -> int:
    """Return a 64-bit hash of a text that is the same on every machine, and never EVERYBODY."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little") or 1


def customer_hash(customer: str | None) -> int:
    """Return the hash by which a customer's passages are marked; EVERYBODY for those of all customers."""
    return EVERYBODY if customer is None else text_hash(customer)


def seconds(moment: str, last: bool = False) -> float:
    """Return a day or moment in ISO 8601 in seconds since 1970; of a day, its beginning, or its end with `last`.

    Raises DataError for a text that is neither.
    """
    try:
        found = datetime.fromisoformat(moment)
    except ValueError as error:
        raise DataError(f"'{moment[:60]}' is no date; expected one in ISO 8601, such as 2026-12-31. Correct the date.") from error
    at = (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    return at + 86_400 - 1e-3 if last and len(moment) <= len("2026-12-31") else at


def units_of(passage: Passage) -> list[str]:
    """Return the texts of a passage that are compared with a question, each by itself: its title with its text, and its questions."""
    body = passage.text if passage.title in {"", passage.text} else f"{passage.title}\n{passage.text}"
    return [body, *passage.questions]


def write(folder: Path, passages: Sequence[Passage], vectors: Vectors | None) -> None:
    """Write passages as a segment into a new folder, without the array `short`."""
    folder.mkdir(parents=True)
    texts = [units_of(passage) for passage in passages]
    owners = np.repeat(np.arange(len(passages)), [len(one) for one in texts])
    flat = list(chain.from_iterable(texts))
    _write_postings(folder, [normalise.forms(text) for text in flat])
    _save(folder, "owners", owners)
    _save(folder, "ids", np.array([text_hash(one.id) for one in passages], np.uint64))
    _save(folder, "customers", np.array([customer_hash(one.customer) for one in passages], np.uint64))
    _save(folder, "valid", np.array([_valid(one) for one in passages], np.float64).reshape(-1, 2))
    rows = [json.dumps(asdict(one), ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n" for one in passages]
    _save(folder, "offsets", np.concatenate([[0], np.cumsum([len(row) for row in rows])]))
    _write_bytes(folder / PASSAGES, rows)
    write_json(folder / WORDS, _words(passages, texts))
    if vectors is not None:
        _save(folder, "vectors", _unit_length(vectors(flat), len(flat)))


def unit_vector(vector: NDArray[Any]) -> NDArray[np.float32]:
    """Return a vector with the length 1; zeros stay zeros."""
    values = np.asarray(vector, np.float32).reshape(-1)
    return values / max(float(np.linalg.norm(values)), 1e-12)


def writer(folder: Path, name: str, shape: tuple[int, ...]) -> BinaryIO:
    """Open the file of an array, whose values are then appended in their order as bytes."""
    file = (folder / f"{name}.npy").open("wb")
    header: Any = {"descr": np.lib.format.dtype_to_descr(np.dtype(ARRAYS[name])), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file


def finish(file: BinaryIO) -> None:
    """Close a file after its content has reached the disk."""
    file.flush()
    os.fsync(file.fileno())
    file.close()


def _mapped(file: Path, name: str) -> NDArray[Any] | None:
    if name in OPTIONAL and not file.exists():
        return None
    with storage_errors(file):
        array = np.load(file, mmap_mode="r", allow_pickle=False) if file.stat().st_size > 128 else np.load(file, allow_pickle=False)
    return np.asarray(array)


def _save(folder: Path, name: str, array: NDArray[Any]) -> None:
    values: NDArray[Any] = np.ascontiguousarray(array, ARRAYS[name])
    file = writer(folder, name, values.shape)
    file.write(values.tobytes())
    finish(file)


def _write_bytes(path: Path, rows: Sequence[bytes]) -> None:
    with path.open("wb") as file:
        file.writelines(rows)
        file.flush()
        os.fsync(file.fileno())


def _valid(passage: Passage) -> tuple[float, float]:
    first = seconds(passage.valid_from) if passage.valid_from else -np.inf
    return first, seconds(passage.valid_until, last=True) if passage.valid_until else np.inf


def _unit_length(vectors: NDArray[Any], count: int) -> NDArray[np.float16]:
    values = np.asarray(vectors, np.float32)
    if values.ndim != 2 or len(values) != count or not np.isfinite(values).all():
        raise ModelError(
            f"The vectors of {count} texts have the shape {values.shape}{'' if np.isfinite(values).all() else ' and are not all finite'}; "
            "expected one row of finite numbers for each text. Correct the function that computes them."
        )
    scaled: NDArray[np.float16] = (values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)).astype(np.float16)
    return scaled


def _write_postings(folder: Path, texts: Sequence[str]) -> None:
    """Write the terms of units in normal form, and in which units each occurs."""
    numbers: dict[str, int] = {}
    found: list[NDArray[np.int64]] = []
    lengths = []
    for text in texts:
        terms = normalise.terms(text)
        found.append(np.fromiter((numbers.setdefault(term, len(numbers)) for term in terms), np.int64, len(terms)))
        lengths.append(sum(len(token) if normalise.is_ideographic(token) else 1 for token in normalise.tokens(text)))
    hashes = np.fromiter(map(text_hash, numbers), np.uint64, len(numbers))
    order = np.argsort(hashes)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    owners = np.repeat(np.arange(len(texts)), [len(one) for one in found])
    keys, counts = np.unique(place[np.concatenate([*found, np.empty(0, np.int64)])] * max(1, len(texts)) + owners, return_counts=True)
    terms_of, units = np.divmod(keys, max(1, len(texts)))
    _save(folder, "terms", hashes[order])
    _save(folder, "starts", np.concatenate([[0], np.cumsum(np.bincount(terms_of, minlength=len(order)))]))
    _save(folder, "units", units)
    _save(folder, "counts", np.minimum(counts, _MOST))
    _save(folder, "lengths", np.array(lengths))


def _words(passages: Sequence[Passage], texts: Sequence[Sequence[str]]) -> dict[str, dict[str, int]]:
    """Count the passages with each word in Latin letters, by customer, because no customer sees the words of others."""
    found: dict[str, Counter[str]] = {}
    for passage, units in zip(passages, texts, strict=True):
        counter = found.setdefault(f"{customer_hash(passage.customer):016x}", Counter())
        counter.update({word for text in units for word in latin_words(normalise.forms(text))})
    return {customer: dict(counter) for customer, counter in found.items()}


def latin_words(plain: str) -> Iterator[str]:
    """Yield the words of a text in normal form that have only Latin letters without accents."""
    return (token for token in normalise.tokens(plain) if token.isascii() and token.isalpha())
