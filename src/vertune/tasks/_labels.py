"""Checks and sorts the labels in a column, and converts them to class indices; independent of texts and models."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from vertune.core.columns import named
from vertune.core.errors import ConfigError, DataError, UnknownName
from vertune.core.records import Answer
from vertune.tasks._rows import Change, Checks, trimmed, words

if TYPE_CHECKING:
    import polars as pl

_PARTS = re.compile(r"[\W_]+|(?<=[a-z])(?=[A-Z])")
"""What divides the words of a name: characters that are no letters or digits, and the place before a capital in `OrderStatus`."""
_MEANING = re.compile(r"[^\W\d_]{3}|[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7ff]")
"""What a name needs to say something: three letters in a row, or a character of a script in which one character is a word."""
_TOO_LARGE = 2.0**63
"""Size of a number from which it is no integer of 64 bits."""
MOST_PROBABILITIES = 20
"""Number of probabilities that an answer keeps in a file, so that files do not grow with the number of labels."""


def described(labels: Sequence[str], descriptions: Mapping[str, str] | Literal["auto", "none"]) -> dict[str, str]:
    """Return a text about each label: the given descriptions or, with `auto`, the names of the labels in words.

    Names without words, such as numbers, describe nothing; if most are, there are no descriptions.
    """
    if descriptions == "none":
        return {}
    if descriptions != "auto":
        unknown = sorted(set(descriptions) - set(labels))
        if unknown:
            raise UnknownName("label", unknown[0], labels)
        return {label: text for label, text in descriptions.items() if text.strip()}
    found = {label: " ".join(_PARTS.sub(" ", label).split()) for label in labels}
    named = {label: text for label, text in found.items() if _MEANING.search(text)}
    return named if 2 * len(named) > len(labels) else {}


def check(frame: pl.DataFrame, name: str, known: Sequence[str], checks: Checks) -> pl.DataFrame:
    """Add the checks and conversions of the label column `name` to `checks`, and return the frame.

    If the labels are whole numbers that were read as floats (1.0 for 1, because a cell was empty), they are integers in
    the returned frame. If the labels are lists, as annotation tools write them, and none has more than one label, they
    are these labels. `known` are the labels that the config lists, if any. Raises DataError if a list has several labels.
    Also raises DataError if labels are numbers such as 0.5, unless `known` contains all labels of the column.
    """
    frame = _unlisted(frame, name)
    whole = _as_whole(frame, name, known)
    checks.problems.append((words(name).is_null(), f"{name} is missing"))
    checks.results.append(words(name).alias(name))
    checks.changes.append(trimmed(name, "labels"))
    if whole is not frame:
        filled = named(name).is_not_null()
        checks.changes.append(
            Change("labels were read with a decimal point and were converted to whole numbers", filled, filled, named(name))
        )
    return whole


def _unlisted(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """If the label column `name` contains lists with at most one label, return the frame with the labels; else return it unchanged."""
    import polars as pl

    kind = frame[name].dtype
    if not isinstance(kind, pl.List) or kind.inner.is_nested() or (frame[name].list.len() > 1).any():
        return frame
    return frame.with_columns(frame[name].list.first())


def _as_whole(frame: pl.DataFrame, name: str, known: Sequence[str]) -> pl.DataFrame:
    """If the label column `name` contains floats that are all whole numbers, return the frame with them as integers.

    Otherwise, return the frame unchanged. Raises DataError if the column contains lists or objects. Also raises DataError if
    labels are numbers such as 0.5, unless `known` (the labels that the config lists) contains all labels of the column.
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
        if not (fits := parsed.is_between(-_TOO_LARGE, _TOO_LARGE, closed="none")).all():
            raise DataError(
                f"The column '{name}' must contain classes, but it contains numbers such as {filled.filter(~fits)[0]}, which have more "
                "than 64 bits. To use them as names of classes, write them as texts."
            )
        return frame.with_columns(numbers.cast(pl.Int64).alias(name))
    return frame


def ordered(labels: Iterable[str]) -> list[str]:
    """Return the distinct labels in order: by number if all are whole numbers, otherwise as texts, by Unicode code points."""
    distinct = set(labels)
    if all(label.removeprefix("-").isdecimal() for label in distinct):
        return sorted(distinct, key=lambda label: (int(label), label))
    return sorted(distinct)


def learnt(counts: Mapping[str, int], given: Sequence[str], task: str) -> list[str]:
    """Return the labels of a task: those in the config (`given`) or, if it lists none, the sorted labels of the training rows.

    `counts` maps each label to its number of training rows. Raises ConfigError if the config lists a label twice.
    Raises DataError if the config lists labels, but a training row has another one. Without labels in the config,
    raises DataError if the training rows have fewer than two different labels. `task` is the name of the task, for the
    messages.
    """
    if not given:
        if len(counts) < 2:
            only = f"all have the label '{next(iter(counts))}'" if counts else "none has a label"
            raise DataError(
                f"The task '{task}' needs at least two different labels in the training rows, but of these rows, {only}. "
                "Check in `data.fields` of the config which column is read as the label."
            )
        return ordered(counts)
    twice = [label for label, count in Counter(given).items() if count > 1]
    if twice:
        raise ConfigError(f"The option `labels` of the task '{task}' lists {_some(twice)} more than once. Write each label only once.")
    unknown = {label: count for label, count in counts.items() if label not in set(given)}
    if unknown:
        raise DataError(
            f"{_listed(unknown)}. The labels in the config are: {_some(given)}. "
            "Add the unknown labels to the option `labels`, or correct the rows."
        )
    return list(given)


def index(names: Sequence[Any], labels: Sequence[str]) -> NDArray[np.int64]:
    """Convert label names to class indices, which are their positions in `labels`; the result has the shape (names,).

    Raises DataError if a name is not in `labels`.
    """
    known = {label: number for number, label in enumerate(labels)}
    indices = np.fromiter((known.get(name, -1) for name in names), np.int64, len(names))
    if (indices < 0).any():
        unknown = Counter(str(names[row]) for row in np.flatnonzero(indices < 0).tolist())
        raise DataError(
            f"{_listed(unknown)}. The labels of the task are: {_some(labels)}. "
            "Correct these rows, or train again with rows that have the new labels."
        )
    return indices


def several(sets: Sequence[Sequence[str]], labels: Sequence[str]) -> NDArray[np.bool_]:
    """Convert the set of labels of each row to a row of a bool array, true for each label that the set contains.

    The array has the shape (rows, labels). Raises DataError if a set contains a label that is not in `labels`.
    """
    present = np.zeros((len(sets), len(labels)), bool)
    rows = np.repeat(np.arange(len(sets)), [len(names) for names in sets])
    present[rows, index([name for names in sets for name in names], labels)] = True
    return present


def brief(answer: Answer, named: Iterable[str]) -> Answer:
    """Return an answer that has at most `MOST_PROBABILITIES` probabilities, and further those of the labels in `named`.

    The highest ones are kept, in falling order; the sum of the others is `rest`. An answer with few labels is not changed.
    """
    probabilities: Mapping[str, float] = answer["probabilities"]
    if len(probabilities) <= MOST_PROBABILITIES:
        return answer
    highest = sorted(probabilities, key=probabilities.__getitem__, reverse=True)[:MOST_PROBABILITIES]
    kept = {label: probabilities[label] for label in dict.fromkeys([*highest, *named])}
    return {**answer, "probabilities": kept, "rest": max(0.0, sum(probabilities.values()) - sum(kept.values()))}


def _listed(unknown: Mapping[str, int]) -> str:
    """Return the first sentence of an error message, without its full stop: how many rows have unknown labels, and which.

    `unknown` maps each unknown label to its number of rows; the sentence lists the 10 most frequent ones with these
    numbers.
    """
    total = sum(unknown.values())
    shown = ", ".join(f"'{label}' ({count})" for label, count in sorted(unknown.items(), key=lambda item: (-item[1], item[0]))[:10])
    more = f" and {len(unknown) - 10} more" if len(unknown) > 10 else ""
    return f"{total} {'row has a label' if total == 1 else 'rows have labels'} that the task does not have: {shown}{more}"


def _some(labels: Sequence[str]) -> str:
    """Format labels for an error message: the first 20 labels, and how many more there are."""
    shown = ", ".join(labels[:20])
    return f"{shown} and {len(labels) - 20} more" if len(labels) > 20 else shown or "none yet"
