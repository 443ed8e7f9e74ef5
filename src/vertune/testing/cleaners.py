"""Checks that a cleaner, which corrects or drops rows, obeys its contract; independent of what it changes.

Authors of a cleaner run the checks on it:

    for check in CHECKS:
        check(MyCleaner())
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from vertune.core.kinds import Cleaner
from vertune.core.records import Column

COLUMNS = (
    Column("review", "The text."),
    Column("reply", "Another text.", required=False),
    Column("opinion", "The class.", role="target", type="label"),
)
"""The columns of a task. Their names are unusual, because a cleaner must not rely on names."""

_TEXTS = (
    "the card  was swallowed ", "cafe\u0301 \u200bcards", "我的卡被吞了", "ＡＢＣ１２３", "\tline\nend",
    "", " ", "x", "👩\u200d💻 code", "x" * 3000,
)  # fmt: skip


def rows() -> pl.DataFrame:
    """Return a frame of texts in several scripts, with labels, other columns, and the file and number of each row.

    Some texts are blank, occur twice or contain invisible characters.
    """
    texts = [*_TEXTS, *_TEXTS[:4]]
    return pl.DataFrame(
        {
            "review": texts,
            "reply": [text if place % 2 else None for place, text in enumerate(texts)],
            "opinion": ["good" if len(text) % 2 else "bad" for text in texts],
            "channel": [f"channel {place}" for place in range(len(texts))],
            "__file": ["rows.csv"] * len(texts),
            "__row": range(1, len(texts) + 1),
        }
    )


def check_every_row_is_there_or_rejected(cleaner: Cleaner) -> None:
    """Check that a cleaner either keeps a row or lists it as rejected, with its file, its number and a reason.

    The rows that are kept must keep their order, and the columns their names and types.
    """
    frame = rows()
    cleaned = cleaner.clean(frame, COLUMNS)
    kept = cleaned.frame["__row"].to_list()
    rejected = [row["row"] for row in cleaned.rejected]
    assert sorted([*kept, *rejected]) == frame["__row"].to_list(), f"{cleaner.name}: rows are missing or duplicated"
    assert kept == sorted(kept), f"{cleaner.name}: the order of the remaining rows has changed"
    assert all(row["reason"] and row["file"] == "rows.csv" for row in cleaned.rejected), (
        f"{cleaner.name}: a rejected row has no reason or not the right file"
    )
    assert cleaned.frame.schema == frame.schema, f"{cleaner.name}: columns or their types have changed"


def check_targets_stay(cleaner: Cleaner) -> None:
    """Check that a cleaner changes values only in the input columns of a task, not in its target or in other columns."""
    frame = rows()
    stayed = cleaner.clean(frame, COLUMNS).frame
    same = frame.join(stayed.select("__row"), on="__row", how="semi", maintain_order="left")
    for name in ("opinion", "channel", "__file"):
        assert stayed[name].equals(same[name]), f"{cleaner.name}: the column {name} has changed, but only input columns may change"


def check_changes_are_noted(cleaner: Cleaner) -> None:
    """Check that the notes in the result of a cleaner report the right number of changed texts.

    Each note must also contain the name of the cleaner.
    """
    frame = rows()
    cleaned = cleaner.clean(frame, COLUMNS)
    before = frame.join(cleaned.frame.select("__row"), on="__row", how="semi", maintain_order="left")
    changed = sum(int((cleaned.frame[name] != before[name]).fill_null(False).sum()) for name in ("review", "reply"))
    assert sum(note.count for note in cleaned.notes) == changed, (
        f"{cleaner.name}: {changed} texts have changed, but the notes contain another number"
    )
    assert all(note.where == cleaner.name for note in cleaned.notes), f"{cleaner.name}: a note does not name the cleaner"


def check_again(cleaner: Cleaner) -> None:
    """Check that a cleaner changes nothing if it is applied a second time, to its own result."""
    once = cleaner.clean(rows(), COLUMNS).frame
    assert cleaner.clean(once, COLUMNS).frame.equals(once, null_equal=True), f"{cleaner.name}: cleaning cleaned rows changes them again"


def check_prediction(cleaner: Cleaner) -> None:
    """Check that the method `edit` of a cleaner, which is applied to texts before a prediction, fits its `at_prediction`.

    If `at_prediction` is true, `clean` must drop no row, `edit` must change each text as `clean` does, and a second
    call of `edit` must change nothing. If `at_prediction` is false, `edit` must change nothing.
    """
    frame = rows()
    cleaned = cleaner.clean(frame, COLUMNS)
    edited = [cleaner.edit(text) for text in frame["review"]]
    if cleaner.at_prediction:
        assert not cleaned.rejected, f"{cleaner.name}: rows are dropped, but with at_prediction every row needs a prediction"
        assert cleaned.frame["review"].to_list() == edited, f"{cleaner.name}: edit changes texts in another way than clean"
        assert [cleaner.edit(text) for text in edited] == edited, f"{cleaner.name}: editing an edited text changes it again"
    else:
        assert edited == frame["review"].to_list(), f"{cleaner.name}: edit changes texts, which is allowed only if at_prediction is True"


CHECKS: tuple[Callable[[Cleaner], None], ...] = (
    check_every_row_is_there_or_rejected,
    check_targets_stay,
    check_changes_are_noted,
    check_again,
    check_prediction,
)
