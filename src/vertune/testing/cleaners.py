"""Contract checks of cleaners; independent of what a cleaner changes.

Authors of cleaners run them on their own:

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
"""The columns of a task; a cleaner must not rely on their names."""

_TEXTS = (
    "the card  was swallowed ", "cafe\u0301 \u200bcards", "我的卡被吞了", "ＡＢＣ１２３", "\tline\nend",
    "", " ", "x", "👩\u200d💻 code", "x" * 3000,
)  # fmt: skip


def rows() -> pl.DataFrame:
    """Return texts of several scripts, some with invisible characters, blank or duplicate, with a label and with `__file` and `__row`."""
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
    """Check that each row is either kept once, in order, or rejected with its file, its number and a reason."""
    frame = rows()
    cleaned = cleaner.clean(frame, COLUMNS)
    kept = cleaned.frame["__row"].to_list()
    rejected = [row["row"] for row in cleaned.rejected]
    assert sorted([*kept, *rejected]) == frame["__row"].to_list(), f"{cleaner.name}: rows are lost, or there twice"
    assert kept == sorted(kept), f"{cleaner.name}: the rows that stay change their order"
    assert all(row["reason"] and row["file"] == "rows.csv" for row in cleaned.rejected), f"{cleaner.name}: a rejected row has no reason"
    assert cleaned.frame.schema == frame.schema, f"{cleaner.name}: columns or their types change"


def check_targets_stay(cleaner: Cleaner) -> None:
    """Check that targets and other columns that are not inputs keep their values."""
    frame = rows()
    stayed = cleaner.clean(frame, COLUMNS).frame
    same = frame.join(stayed.select("__row"), on="__row", how="semi", maintain_order="left")
    for name in ("opinion", "channel", "__file"):
        assert stayed[name].equals(same[name]), f"{cleaner.name}: the column {name} changes, but only inputs may"


def check_changes_are_noted(cleaner: Cleaner) -> None:
    """Check that notes count the texts that changed and name the cleaner."""
    frame = rows()
    cleaned = cleaner.clean(frame, COLUMNS)
    before = frame.join(cleaned.frame.select("__row"), on="__row", how="semi", maintain_order="left")
    changed = sum(int((cleaned.frame[name] != before[name]).fill_null(False).sum()) for name in ("review", "reply"))
    assert sum(note.count for note in cleaned.notes) == changed, f"{cleaner.name}: {changed} texts change, the notes count others"
    assert all(note.where == cleaner.name for note in cleaned.notes), f"{cleaner.name}: a note does not name the cleaner"


def check_again(cleaner: Cleaner) -> None:
    """Check that cleaning rows a second time changes nothing."""
    once = cleaner.clean(rows(), COLUMNS).frame
    assert cleaner.clean(once, COLUMNS).frame.equals(once, null_equal=True), f"{cleaner.name}: a second run changes the rows again"


def check_prediction(cleaner: Cleaner) -> None:
    """Check that a cleaner with `at_prediction` drops no row and that `edit` equals `clean`; `edit` of other cleaners changes nothing."""
    frame = rows()
    cleaned = cleaner.clean(frame, COLUMNS)
    edited = [cleaner.edit(text) for text in frame["review"]]
    if cleaner.at_prediction:
        assert not cleaned.rejected, f"{cleaner.name}: rows are dropped, but at prediction every row needs an answer"
        assert cleaned.frame["review"].to_list() == edited, f"{cleaner.name}: edit and clean differ"
        assert [cleaner.edit(text) for text in edited] == edited, f"{cleaner.name}: editing an edited text changes it again"
    else:
        assert edited == frame["review"].to_list(), f"{cleaner.name}: edit changes texts, so at_prediction must be True"


CHECKS: tuple[Callable[[Cleaner], None], ...] = (
    check_every_row_is_there_or_rejected,
    check_targets_stay,
    check_changes_are_noted,
    check_again,
    check_prediction,
)
