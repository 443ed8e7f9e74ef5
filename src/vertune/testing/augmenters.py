"""Checks that an augmenter, which makes additional training rows, obeys its contract; independent of how it makes them.

Authors of an augmenter run the checks on it:

    for check in CHECKS:
        check(MyAugmenter())
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl

from vertune.core.errors import ConfigError
from vertune.core.kinds import Augmenter
from vertune.core.records import Column

LABELLED = (Column("review", "The text."), Column("opinion", "The class.", role="target", type="label"))
MARKED = (Column("review", "The text."), Column("names", "The names in it.", role="target", type="spans"))
ANSWERED = (
    Column("asked", "The question."),
    Column("page", "The text that holds the answer."),
    Column("found", "The answers.", role="target", type="answers"),
)
"""`LABELLED`, `MARKED` and `ANSWERED` are the columns of three tasks. Their names are unusual, as an augmenter must not rely on them."""

_PEOPLE = ("Anna Smith", "Omar", "王芳", "李娜")
_PLACES = ("Paris", "New York", "北京", "上海")


def rows(columns: tuple[Column, ...], count: int = 40) -> pl.DataFrame:
    """Return a frame of sentences, in English and Chinese, about where people live.

    It has the task fields `columns`, and the columns `__file` and `__row`, which contain the file and the number of
    each row.
    """
    made = []
    for number in range(count):
        person, place = _PEOPLE[number % 4], _PLACES[number // 4 % 4]
        joint = "住在" if number % 2 else " has lived for a long time in "
        text = f"{number} {person}{joint}{place}, as everybody knows."
        values: dict[str, Any] = {"review": text, "page": text, "asked": f"Where does {person} live now?", "opinion": "xy"[number % 2]}
        start = text.index(person)
        values["names"] = [
            {"start": start, "end": start + len(person), "label": "person"},
            {"start": text.index(place), "end": text.index(place) + len(place), "label": "place"},
        ]
        values["found"] = [{"start": text.index(place), "text": place}] if number % 5 else []
        made.append({**{column.name: values[column.name] for column in columns}, "__file": "rows.csv", "__row": number + 1})
    return pl.DataFrame(made)


def check_rows(augmenter: Augmenter) -> None:
    """Check the rows that an augmenter makes.

    They must have the same columns and types as the given rows. Each must have the label of the row that it was made
    from, and another text, which is not blank.
    """
    frame = rows(LABELLED)
    new = augmenter.augment(frame, LABELLED, 0)
    assert new.schema == frame.schema, f"{augmenter.name}: the new rows have other columns or types than the given rows"
    assert new.height, f"{augmenter.name}: no row of the sample could be augmented"
    originals = {row["__row"]: row for row in frame.iter_rows(named=True)}
    for row in new.iter_rows(named=True):
        assert row["opinion"] == originals[row["__row"]]["opinion"], f"{augmenter.name}: a new row has another label than its original"
        assert row["review"] != originals[row["__row"]]["review"], f"{augmenter.name}: a new row is a copy of its original"
        assert row["review"].strip(), f"{augmenter.name}: a new row has no text left"


def check_content_decides(augmenter: Augmenter) -> None:
    """Check that the new rows depend on the content of the given rows and on the seed, not on the order of the rows.

    Two calls with the same rows in another order must return equal rows; a call with another seed must not.
    """
    frame = rows(LABELLED)
    first = augmenter.augment(frame, LABELLED, 0)
    again = augmenter.augment(frame.reverse(), LABELLED, 0)
    key = ["__row", "review"]
    assert first.sort(key).equals(again.sort(key)), f"{augmenter.name}: the new rows depend on the order of the given rows"
    assert not augmenter.augment(frame, LABELLED, 1).equals(first), f"{augmenter.name}: the seed has no effect on the new rows"


def check_places_move_along(augmenter: Augmenter) -> None:
    """Check that the spans and answers in a new row mark the same words as those in the row that it was made from.

    Instead, an augmenter may raise ConfigError for tasks with spans or answers, if it does not support them.
    """
    for columns, target in ((MARKED, "names"), (ANSWERED, "found")):
        frame = rows(columns)
        try:
            new = augmenter.augment(frame, columns, 0)
        except ConfigError:
            continue
        text = columns[-2].name
        originals = {row["__row"]: row for row in frame.iter_rows(named=True)}
        for row in new.iter_rows(named=True):
            original = originals[row["__row"]]
            assert _marked(row[text], row[target]) == _marked(original[text], original[target]), (
                f"{augmenter.name}: a span or answer marks other words than in the original row"
            )


def check_nothing_to_edit(augmenter: Augmenter) -> None:
    """Check that an augmenter makes no new rows from an empty frame, and none from texts of one character."""
    frame = rows(LABELLED)
    assert augmenter.augment(frame.clear(), LABELLED, 0).is_empty(), f"{augmenter.name}: rows are made from an empty frame"
    short = frame.with_columns(review=pl.lit("x"))
    assert augmenter.augment(short, LABELLED, 0).is_empty(), f"{augmenter.name}: a new row is made from a text of one character"


def _marked(text: str, items: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return, for each span or answer, the words that it marks in the text, and its label or, for an answer, its own text."""
    ends = [item["end"] if "end" in item else item["start"] + len(item["text"]) for item in items]
    return [(text[item["start"] : end], item.get("label") or item["text"]) for item, end in zip(items, ends, strict=True)]


CHECKS: tuple[Callable[[Augmenter], None], ...] = (check_rows, check_content_decides, check_places_move_along, check_nothing_to_edit)
