"""Edits the input texts of a data frame with a cleaner's `edit`, and notes how many were changed; for use by any such cleaner."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from vertune.core.kinds import Cleaner
from vertune.core.records import MAX_EXAMPLES, Cleaned, Column, Note


def edited(cleaner: Cleaner, frame: pl.DataFrame, columns: Sequence[Column], what: str, show_original: bool = True) -> Cleaned:
    """Return all rows with edited input texts, and a note that says `what` was done, with the number of changed texts and examples.

    There is no note if no text was changed. The examples show the original texts, or the edited ones.
    """
    result = cleaner.edit_inputs(frame, columns)
    changed = [name for name in frame.columns if not result[name].equals(frame[name], null_equal=True)]
    texts = [column.name for column in columns if column.role == "input" and frame.schema.get(column.name) == pl.String]
    different = {name: (result[name] != frame[name]).fill_null(False) for name in changed}
    count = sum(int(rows.sum()) for rows in different.values())
    if not count:
        return Cleaned(result)
    shown = frame if show_original else result
    examples = [
        {"file": frame["__file"][row], "row": frame["__row"][row], "value": shown[name][row]}
        for name, rows in different.items()
        for row in rows.arg_true().head(MAX_EXAMPLES)
    ]
    total = sum(frame.height - frame[name].null_count() for name in texts)
    return Cleaned(result, notes=[Note(cleaner.name, what, count, total, tuple(examples[:MAX_EXAMPLES]))])
