"""Checks and sorts the labels in a column, and converts them to class indices; independent of texts and models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vertune.core.errors import ConfigError, DataError
from vertune.tasks._rows import Change, Checks, trimmed, words

if TYPE_CHECKING:
    import polars as pl


def check(frame: pl.DataFrame, name: str, known: Sequence[str], checks: Checks) -> pl.DataFrame:
    """Add the checks and conversions of the label column `name` to `checks`; return the frame, with whole numbers as integers.

    Whole numbers that were read as floats because a cell was empty (1.0 for 1) are converted back to integers. `known` are the
    configured labels, if any. Raises DataError if a row has a list of labels, or if labels are numbers such as 0.5 that are not in
    `known`.
    """
    import polars as pl

    whole = _as_whole(frame, name, known)
    checks.problems.append((words(name).is_null(), f"{name} is missing"))
    checks.results.append(words(name).alias(name))
    checks.changes.append(trimmed(name, "labels"))
    if whole is not frame:
        filled = pl.col(name).is_not_null()
        checks.changes.append(
            Change("labels were read with a decimal point and were converted to whole numbers", filled, filled, pl.col(name))
        )
    return whole


def _as_whole(frame: pl.DataFrame, name: str, known: Sequence[str]) -> pl.DataFrame:
    """Return the frame; a label column of floats that are all whole numbers is converted to integers.

    Raises DataError if a row has a list of labels, or if labels are numbers such as 0.5, unless all labels are in `known`.
    """
    import polars as pl

    column = frame[name]
    if column.dtype.is_nested():
        raise DataError(
            f"The column '{name}' has the type {column.dtype}, but the task needs one label per row. "
            "Use `task: multilabel` for several labels per row."
        )
    numbers = column.cast(pl.Float64, strict=False) if column.dtype.is_numeric() or column.dtype == pl.String else None
    if numbers is None or column.dtype.is_integer():
        return frame
    filled = column.drop_nulls().cast(pl.String).str.strip_chars()
    filled = filled.filter(filled != "")
    parsed = filled.cast(pl.Float64, strict=False)
    if filled.is_empty() or not bool(parsed.is_finite().fill_null(False).all()) or filled.is_in(list(known)).all():
        return frame
    fraction = parsed != parsed.round()
    if fraction.any():
        raise DataError(
            f"The column '{name}' must contain classes, but it contains numbers such as {filled.filter(fraction)[0]}. To predict numbers, "
            f"use `task: regress` with `fields: {{score: {name}}}`. If the numbers are names of classes, list them in the config: "
            "`task: {name: classify, labels: [...]}`."
        )
    if column.dtype.is_float():
        return frame.with_columns(numbers.cast(pl.Int64).alias(name))
    return frame


def ordered(labels: Iterable[str]) -> list[str]:
    """Return the distinct labels, sorted as numbers if all are whole numbers, else as texts by code points."""
    distinct = set(labels)
    if all(label.removeprefix("-").isdecimal() for label in distinct):
        return sorted(distinct, key=lambda label: (int(label), label))
    return sorted(distinct)


def learnt(counts: Mapping[str, int], given: Sequence[str], task: str) -> list[str]:
    """Return the labels of a task: the configured ones (`given`) if any, else the sorted labels of the training rows.

    `counts` is the number of training rows of each label. Raises ConfigError if a label is configured twice; DataError if a training
    row has a label that is not configured, or if no labels are configured and the training rows have fewer than two distinct ones.
    """
    if not given:
        if len(counts) < 2:
            only = f"all have '{next(iter(counts))}'" if counts else "none has a label"
            raise DataError(
                f"The task '{task}' needs training rows with at least two labels, but {only}. "
                "Check in `data.fields` of the config which column is read as the label."
            )
        return ordered(counts)
    twice = [label for label, count in Counter(given).items() if count > 1]
    if twice:
        raise ConfigError(f"The option `labels` of the task '{task}' lists {_some(twice)} more than once. Write each label only once.")
    unknown = {label: count for label, count in counts.items() if label not in set(given)}
    if unknown:
        raise DataError(f"{_listed(unknown)}. The config lists: {_some(given)}. Add the label to the option `labels`, or correct the rows.")
    return list(given)


def index(names: Sequence[Any], labels: Sequence[str]) -> NDArray[np.int64]:
    """Return the index of each name in `labels`, shape (names,); raise DataError if a name is not in `labels`."""
    known = {label: number for number, label in enumerate(labels)}
    indices = np.fromiter((known.get(name, -1) for name in names), np.int64, len(names))
    if (indices < 0).any():
        unknown = Counter(str(names[row]) for row in np.flatnonzero(indices < 0).tolist())
        raise DataError(
            f"{_listed(unknown)}. The model knows: {_some(labels)}. Correct these rows, or train again with rows that have the label."
        )
    return indices


def several(sets: Sequence[Sequence[str]], labels: Sequence[str]) -> NDArray[np.bool_]:
    """Return a bool array of shape (rows, labels) that marks the labels of each row; raise DataError for a label not in `labels`."""
    present = np.zeros((len(sets), len(labels)), bool)
    rows = np.repeat(np.arange(len(sets)), [len(names) for names in sets])
    present[rows, index([name for names in sets for name in names], labels)] = True
    return present


def _listed(unknown: Mapping[str, int]) -> str:
    """Return the beginning of an error message that lists up to 10 unknown labels with their numbers of rows."""
    total = sum(unknown.values())
    shown = ", ".join(f"'{label}' ({count})" for label, count in sorted(unknown.items(), key=lambda item: (-item[1], item[0]))[:10])
    more = f" and {len(unknown) - 10} more" if len(unknown) > 10 else ""
    return f"{total} {'row has a label' if total == 1 else 'rows have labels'} that the task does not know: {shown}{more}"


def _some(labels: Sequence[str]) -> str:
    """Format labels for a message: the first 20, and how many more there are."""
    shown = ", ".join(labels[:20])
    return f"{shown} and {len(labels) - 20} more" if len(labels) > 20 else shown or "none yet"
