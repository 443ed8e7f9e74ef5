"""Label columns: checks and orders labels, and converts them to class indices; independent of texts and models."""

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
    """Add the checks of a label column to `checks` and return the frame; raise DataError if the labels are fractional numbers.

    Whole numbers that were read as floats because a cell was empty (1.0 for 1) become whole numbers again.
    """
    import polars as pl

    whole = _as_whole(frame, name, known)
    checks.problems.append((words(name).is_null(), f"{name} is missing"))
    checks.results.append(words(name).alias(name))
    checks.changes.append(trimmed(name, "labels"))
    if whole is not frame:
        filled = pl.col(name).is_not_null()
        checks.changes.append(Change("labels are whole numbers that were read as fractions", filled, filled, pl.col(name)))
    return whole


def _as_whole(frame: pl.DataFrame, name: str, known: Sequence[str]) -> pl.DataFrame:
    """Return the frame, with the label column cast to integers if it contains whole numbers as floats."""
    import polars as pl

    column = frame[name]
    if column.dtype.is_nested():
        raise DataError(
            f"The column '{name}' holds {column.dtype}, and the task reads one label a row. Use task: multilabel for several labels a row."
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
            f"The column '{name}' must hold classes, but it holds numbers such as {filled.filter(fraction)[0]}. To answer numbers: "
            f"task: regress with `fields: {{score: …}}`. If they are classes, list them: task: {{name: classify, labels: [...]}}."
        )
    if column.dtype.is_float():
        return frame.with_columns(numbers.cast(pl.Int64).alias(name))
    return frame


def ordered(labels: Iterable[str]) -> list[str]:
    """Return the distinct labels, sorted by value if all are whole numbers, else by code points."""
    distinct = set(labels)
    if all(label.removeprefix("-").isdecimal() for label in distinct):
        return sorted(distinct, key=lambda label: (int(label), label))
    return sorted(distinct)


def learnt(counts: Mapping[str, int], given: Sequence[str], task: str) -> list[str]:
    """Return the labels of a task: the configured ones (`given`) if any, else the sorted labels of the training rows (`counts`).

    ConfigError if a label is configured twice. DataError if a training row has a label that is not configured, or if none are
    configured and the training rows have fewer than two.
    """
    if not given:
        if len(counts) < 2:
            only = f"all have '{next(iter(counts))}'" if counts else "none has a label"
            raise DataError(
                f"The task '{task}' needs training rows of at least two labels, but {only}. Check which column is read as the label."
            )
        return ordered(counts)
    twice = [label for label, count in Counter(given).items() if count > 1]
    if twice:
        raise ConfigError(f"The option `labels` of the task '{task}' lists {_some(twice)} more than once. Write each label once.")
    unknown = {label: count for label, count in counts.items() if label not in set(given)}
    if unknown:
        raise DataError(f"{_listed(unknown)}. The config lists: {_some(given)}. Add the label to `labels`, or correct the rows.")
    return list(given)


def index(names: Sequence[Any], labels: Sequence[str]) -> NDArray[np.int64]:
    """Return the index of each name in `labels`, shape (names,); raise DataError if a name is not in `labels`."""
    known = {label: number for number, label in enumerate(labels)}
    indices = np.fromiter((known.get(name, -1) for name in names), np.int64, len(names))
    if (indices < 0).any():
        unknown = Counter(str(names[row]) for row in np.flatnonzero(indices < 0).tolist())
        raise DataError(
            f"{_listed(unknown)}. The model knows: {_some(labels)}. Correct these rows, or train again with rows of that label."
        )
    return indices


def several(sets: Sequence[Sequence[str]], labels: Sequence[str]) -> NDArray[np.bool_]:
    """Return which labels each row has, bool of shape (rows, labels); raise DataError if a row has a label that is not in `labels`."""
    present = np.zeros((len(sets), len(labels)), bool)
    rows = np.repeat(np.arange(len(sets)), [len(names) for names in sets])
    present[rows, index([name for names in sets for name in names], labels)] = True
    return present


def _listed(unknown: Mapping[str, int]) -> str:
    """Format unknown labels and their counts as the beginning of an error message."""
    total = sum(unknown.values())
    shown = ", ".join(f"'{label}' ({count})" for label, count in sorted(unknown.items(), key=lambda item: (-item[1], item[0]))[:10])
    more = f" and {len(unknown) - 10} more" if len(unknown) > 10 else ""
    return f"{total} {'row has a label' if total == 1 else 'rows have labels'} that the task does not know: {shown}{more}"


def _some(labels: Sequence[str]) -> str:
    """Format up to 20 labels for a message, and the number of the others."""
    shown = ", ".join(labels[:20])
    return f"{shown} and {len(labels) - 20} more" if len(labels) > 20 else shown or "none yet"
