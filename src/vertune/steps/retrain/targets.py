"""Reads, compares and renames the targets of rows, whatever their types; knows nothing of where rows come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vertune.core import content
from vertune.core.columns import only
from vertune.core.kinds import Task
from vertune.core.records import Answer, Record
from vertune.evaluation.retired import rename
from vertune.evaluation.rows import target_labels


def input_names(task: Task, frame: pl.DataFrame) -> list[str]:
    """Return the names of the input fields that the frame has."""
    return [column.name for column in task.input_columns if column.name in frame.columns]


def target_names(task: Task, frame: pl.DataFrame) -> list[str]:
    """Return the names of the target fields that the frame has."""
    return [column.name for column in task.target_columns if column.name in frame.columns]


def input_keys(task: Task, frame: pl.DataFrame) -> NDArray[np.uint64]:
    """Return a hash of the inputs of each row; texts that differ only in case or white space have equal ones."""
    names = [column.name for column in task.input_columns]
    given = frame.with_columns(pl.lit(None, dtype=pl.String).alias(name) for name in names if name not in frame.columns)
    return content.of_inputs(given, names)


def target_keys(task: Task, frame: pl.DataFrame) -> NDArray[np.uint64]:
    """Return a hash of the targets of each row; labels of which a row may have several are compared as sets."""
    names = target_names(task, frame)
    sets = {column.name for column in task.target_columns if column.type == "labels"}
    plain = [frame[name].list.sort() if name in sets else frame[name] for name in names]
    return content.of_rows(pl.DataFrame(plain), names) if names else np.zeros(frame.height, np.uint64)


def labels_of(task: Task, frame: pl.DataFrame) -> list[tuple[str, ...]]:
    """Return the labels that each row must be answered with; empty tuples if the task has none."""
    names = target_names(task, frame)
    return [target_labels(task, record) for record in only(frame, names).iter_rows(named=True)]


def renamed(task: Task, frame: pl.DataFrame, labels: Mapping[str, str]) -> tuple[pl.DataFrame, NDArray[np.bool_]]:
    """Return the frame with retired labels replaced by those that they are mapped to, and which rows have changed."""
    changed = np.array([bool(set(found) & set(labels)) for found in labels_of(task, frame)], bool)
    if not changed.any():
        return frame, changed
    columns = []
    for column in task.target_columns:
        if column.name in frame.columns and column.type in ("label", "labels", "spans"):
            values = [rename(value, column.type, labels) for value in frame[column.name].to_list()]
            columns.append(pl.Series(column.name, values, frame.schema[column.name]))
    return frame.with_columns(columns), changed


def agreeing(task: Task, records: Sequence[Record], answers: Sequence[Answer]) -> list[bool]:
    """Return whether each answer says what the target of its record says."""
    found = []
    for record, answer in zip(records, answers, strict=True):
        named, expected = task.named(answer), target_labels(task, record)
        if named or expected:
            found.append(sorted(named) == sorted(expected))
        else:
            wanted = {column.name: record.get(column.name) for column in task.target_columns}
            found.append(task.agrees({**answer, **wanted}, answer))
    return found
