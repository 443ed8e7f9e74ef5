"""Finds the training rows of a model that are most like a record, so that people see what an answer may come from; not part of HTTP.

The index of a model is made when it is first asked for, in the thread of that request, and a few of them are kept in memory.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from cachetools import LRUCache

from vertune.core.artifact import Artifact, Home
from vertune.core.columns import only
from vertune.core.errors import NotFound
from vertune.core.kinds import Task
from vertune.data import dataset
from vertune.lexical.nearest import TextIndex

if TYPE_CHECKING:
    import polars as pl

_KEPT = 4
"""Number of models whose indexes are kept."""
_ROWS, _CHARACTERS = 50_000, 8_000_000
"""Maximum number of rows of an index, and of the characters of their texts, which take at most some 200 MB."""
_LONGEST = 2000
"""Number of characters of a text that are compared."""

Missing = Literal["no dataset", "no texts"]


@dataclass(frozen=True, slots=True)
class Index:
    """The training rows of a model that can be found."""

    texts: TextIndex
    records: list[dict[str, Any]]
    """The rows with the fields of the task."""
    rows: int
    """The number of training rows; of a large dataset, not all can be found."""


@dataclass(slots=True)
class TrainingRows:
    """The training rows of the models of a home."""

    home: Home
    _indexes: LRUCache[str, Index] = field(default_factory=lambda: LRUCache(_KEPT))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def dataset_of(self, model: Artifact) -> Artifact | None:
        """Return the dataset that a model was trained on, also if it was made of another model; None if it is no longer there."""
        found = dataset.of_model(model.manifest_or_empty, self.home)
        parents = (self.home.find("models", id) for id in model.manifest_or_empty.get("parents", ()))
        return found or next((one for parent in parents if parent and (one := self.dataset_of(parent))), None)

    def index(self, model: Artifact, data: Artifact, task: Task) -> Index | Missing:
        """Return the index of a model; it is made by one thread at a time, because that takes memory. Raises StorageError for damage."""
        with self._lock:
            found = self._indexes.get(model.id)
            if found is None:
                made = _index(data, task)
                if isinstance(made, str):
                    return made
                self._indexes[model.id] = found = made
            return found


def text_of(record: dict[str, Any], task: Task) -> str:
    """Return the texts of a record as one."""
    return " ".join(str(record[name])[:_LONGEST] for name in _names(task) if isinstance(record.get(name), str))


def _names(task: Task) -> list[str]:
    """Return the names of the input fields that are texts."""
    return [column.name for column in task.input_columns if column.type == "text"]


def _index(data: Artifact, task: Task) -> Index | Missing:
    if not _names(task):
        return "no texts"
    try:
        frame = dataset.read(data, "train")
    except NotFound:
        return "no dataset"
    rows = frame.height
    frame = _limited(only(frame, [column.name for column in task.columns if column.name in frame.columns]), _names(task))
    records = frame.to_dicts()
    return Index(TextIndex.of([text_of(one, task) for one in records]), records, rows)


def _limited(frame: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    """Return rows from all over a table, so many that neither they nor the characters of their texts are too many."""
    import polars as pl

    lengths = [pl.col(name).str.len_chars().fill_null(0).clip(0, _LONGEST) for name in names if name in frame.columns]
    characters = int(frame.select(pl.sum_horizontal(lengths).sum()).item() or 0)
    step = max(-(-frame.height // _ROWS), -(-characters // _CHARACTERS), 1)
    return frame.gather_every(step)
