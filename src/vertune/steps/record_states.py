"""The states of the records of labelling projects: computed once, kept in the home folder, and compared with each other.

Records that are added later get states of their own; those that are there stay. Knows nothing of labels.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vertune.core.artifact import Progress
from vertune.core.errors import Conflict, NotFound
from vertune.core.files import storage_errors, write_json
from vertune.core.kinds import Encoder, Task
from vertune.core.parse import build
from vertune.core.records import Record
from vertune.store.projects import Project

if TYPE_CHECKING:
    from vertune.learning.pool import StatePool

FOLDER = "pools"
"""Name of the folder in the home folder that holds the states of projects."""
_ABOUT, _NUMBERS, _VECTORS = "about.json", "numbers.npy", "vectors.npy"
"""Files with what the states are made with, the numbers of the records, in order, and a vector of length 1 for each of them."""
_ROWS = 1 << 16
"""Number of vectors that are compared at once."""
_TEXTS = 2000
"""Number of records whose texts decide about the language."""


def remove_states(home: Path, project: str) -> None:
    """Delete the states of a project's records; the next ranking computes those of the records that are left."""
    folder = home / FOLDER / project
    with storage_errors(folder):
        shutil.rmtree(folder, ignore_errors=True)


def neighbours(home: Path, project: Project, number: int, least: float) -> list[tuple[int, float]]:
    """Return the numbers of records whose states are similar to that of a record, with their similarity, the most similar first.

    Raises Conflict if the states have not been computed yet, and NotFound if the record is not among them.
    """
    folder = home / FOLDER / project.id
    if not (folder / _NUMBERS).exists():
        raise Conflict(
            f"The records of '{project.name}' have not been compared with each other yet. Rank them first, and wait for the job."
        )
    numbers, vectors = (np.load(folder / name, "r", allow_pickle=False) for name in (_NUMBERS, _VECTORS))
    place = int(np.searchsorted(numbers, number))
    if place == len(numbers) or numbers[place] != number:
        raise NotFound(f"There is no record {number} in this project. It may have been deleted; choose another one.")
    query = vectors[place].astype(np.float32)
    shares = np.concatenate([vectors[start : start + _ROWS].astype(np.float32) @ query for start in range(0, len(vectors), _ROWS)])
    near = (shares >= least).nonzero()[0]
    near = near[np.argsort(-shares[near], kind="stable")]
    return [(int(numbers[row]), min(1.0, float(shares[row]))) for row in near if row != place]


@dataclass(frozen=True, slots=True)
class ProjectTexts:
    """The records of a project, by their place in `numbers`."""

    numbers: NDArray[np.int64]
    """In order."""
    read: Callable[[NDArray[np.int64]], list[Record]]
    """Returns records by their places."""


def states(texts: ProjectTexts, task: Task, base: str, folder: Path, progress: Progress) -> StatePool:
    """Return the records with their states; computes those of records that have none, and all of them if the base is another one."""
    from vertune.learning.pool import StatePool

    known = _known(folder, task, base)
    if known is not None and np.array_equal(known.numbers, texts.numbers):
        return StatePool.open(task, folder)
    further = None if known is None else known.further(texts)
    if known is not None and further is not None:
        records, encoder, columns = further, known.encoder, known.columns
    else:
        records = texts.read(np.arange(len(texts.numbers)))
        columns = _columns(records)
        encoder = _chosen(records, task, base, columns)
    made = StatePool.of(task, encoder, records, columns, lambda done: progress("states", step=done, steps=len(records)))
    pool = made if further is None else StatePool.open(task, folder).with_further(made)
    about = {"encoder": encoder.model_dump(mode="json"), "base": encoder.fingerprint(), "columns": columns}
    _store(pool, texts.numbers, folder, {"key": _key(texts.numbers, task, base), **about})
    return StatePool.open(task, folder)


@dataclass(frozen=True, slots=True)
class _Known:
    """What the stored states are made with."""

    numbers: NDArray[np.int64]
    encoder: Encoder
    columns: list[str]
    """The fields that were read; empty if an earlier version stored the states, which did not say."""

    def further(self, texts: ProjectTexts) -> list[Record] | None:
        """Return the records that came later; None if others are gone, or if they were read without a field that later ones have."""
        count = len(self.numbers)
        if not self.columns or not np.array_equal(self.numbers, texts.numbers[:count]):
            return None
        records = texts.read(np.arange(count, len(texts.numbers)))
        return None if set(_columns(records)) - set(self.columns) else records


def _known(folder: Path, task: Task, base: str) -> _Known | None:
    """Return what is stored of this task and base; None if nothing is, or if the files of the base have changed."""
    if not (folder / _ABOUT).exists():
        return None
    about = json.loads((folder / _ABOUT).read_text("utf-8"))
    numbers = np.load(folder / _NUMBERS, allow_pickle=False)
    encoder: Encoder = build(Encoder, about["encoder"])
    if about["key"] != _key(numbers, task, base) or about["base"] != encoder.fingerprint():
        return None
    return _Known(numbers, encoder, about.get("columns", []))


def _key(numbers: NDArray[np.int64], task: Task, base: str) -> str:
    return hashlib.sha256(numbers.tobytes() + f"{task.name} {base}".encode()).hexdigest()


def _columns(records: Sequence[Record]) -> list[str]:
    """Return the names of the fields that have a value in one of the first records."""
    return [name for name in records[0] if any(one.get(name) is not None for one in records[:_TEXTS])]


def _chosen(records: Sequence[Record], task: Task, base: str, columns: Sequence[str]) -> Encoder:
    """Return the encoder for records, with the base that suits the language of their texts."""
    views = task.views(columns)
    texts = [str(value) for one in records[:: max(1, len(records) // _TEXTS)] for value in one.values() if isinstance(value, str)]
    encoder: Encoder = build(Encoder, {"name": "text", "base": base})
    return encoder.choose_base(texts, views).resolve(records[:_TEXTS], views)


def _store(pool: StatePool, numbers: NDArray[np.int64], folder: Path, about: dict[str, Any]) -> None:
    """Write states beside their place, and put them there when all are written."""
    with storage_errors(folder):
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=".", dir=folder.parent))
        try:
            pool.save(beside)
            np.save(beside / _NUMBERS, numbers, allow_pickle=False)
            np.save(beside / _VECTORS, pool.vectors().astype(np.float16), allow_pickle=False)
            write_json(beside / _ABOUT, about)
            shutil.rmtree(folder, ignore_errors=True)
            beside.rename(folder)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
