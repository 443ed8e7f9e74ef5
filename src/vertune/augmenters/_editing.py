"""Makes new training rows from copies of existing rows; the caller passes the function that edits a text.

If the expected answers of a row mark spans of a text (such as entities), no character inside a marked span is changed. The new row
marks the same words as the original row, with offsets that fit the edited text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from vertune.core import content
from vertune.core.errors import ConfigError
from vertune.core.records import PLACES, Column

Place = tuple[int, int]
"""Start and end (exclusive) of a span of a text, in code points."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """One change of a text: the characters from `start` to `end` (exclusive; at least one character) are replaced by `text`."""

    start: int
    end: int
    text: str


Edit = Callable[[str, np.random.Generator], Sequence[Replacement]]
"""A function that returns replacements to make in a text; they must be sorted and must not overlap."""


@dataclass(frozen=True, slots=True)
class EditedText:
    """The result of editing a text: the new text, and the replacements that were made in the original text."""

    text: str
    replacements: tuple[Replacement, ...]

    def offset(self, old: int) -> int:
        """Convert an offset in the original text to the offset of the same position in the edited text.

        `old` must not be inside a span that was replaced.
        """
        return old + sum(len(part.text) - (part.end - part.start) for part in self.replacements if part.end <= old)


def replace(text: str, replacements: Sequence[Replacement], marked: Sequence[Place] = ()) -> EditedText:
    """Make replacements in a text, except those that overlap a span in `marked`.

    `replacements` must be sorted and must not overlap each other. Returns the new text with the replacements that were made.
    """
    allowed = tuple(part for part in replacements if all(part.end <= start or end <= part.start for start, end in marked))
    pieces, position = [], 0
    for part in allowed:
        pieces += [text[position : part.start], part.text]
        position = part.end
    return EditedText("".join([*pieces, text[position:]]), allowed)


def edited_copies(frame: pl.DataFrame, columns: Sequence[Column], copies: int, edit: Edit, salt: str) -> pl.DataFrame:
    """Return only new rows: for each row of the frame, up to `copies` copies with texts that `edit` changed at random.

    A copy is dropped if its texts equal those of the original row or of an earlier copy of this row. The random seed of a row depends
    on the content of the row and on `salt`. Raises ConfigError if the task has no text input. Also raises it if the expected answers
    are spans and the task has several text inputs, because the spans could refer to any of these texts.
    """
    texts = [column.name for column in columns if column.role == "input" and column.type == "text" and column.name in frame.columns]
    targets = [column for column in columns if column.role == "target" and column.name in frame.columns]
    _check(texts, targets)
    if frame.is_empty():
        return frame
    seeds = content.of_rows(frame, [*texts, *(column.name for column in targets)], salt)
    rows = []
    for row, seed in zip(frame.iter_rows(named=True), seeds, strict=True):
        seen = [{name: row[name] for name in texts}]
        for copy in range(copies):
            new = _edited(row, texts, targets, edit, np.random.default_rng([int(seed), copy]))
            shown = {name: new[name] for name in texts}
            if shown not in seen:
                seen.append(shown)
                rows.append(new)
    return pl.DataFrame(rows, schema=frame.schema)


def _check(texts: Sequence[str], targets: Sequence[Column]) -> None:
    """Raise ConfigError if the task has no text input to edit, or several text inputs although its expected answers are spans.

    With several texts, it would be unknown to which of them the spans refer. `texts` are the names of the text inputs.
    """
    if not texts:
        raise ConfigError("The task has no text input, so no text can be edited. Remove the augmenter from data.augment.")
    if len(texts) > 1 and any(column.type == "spans" for column in targets):
        raise ConfigError(
            f"The answers of the task are spans, and it reads several texts ({', '.join(texts)}), so it is unknown to which text the spans "
            "refer. Remove the augmenter from data.augment."
        )


def _edited(
    row: Mapping[str, Any], texts: Sequence[str], targets: Sequence[Column], edit: Edit, random: np.random.Generator
) -> dict[str, Any]:
    """Return a copy of the row with edited texts, in which the offsets of spans and answers fit the edited texts.

    `texts` are the names of the text columns. The spans of a target column refer to the text that contains all of them. If no text
    or more than one text could contain them, the copy is returned unedited.
    """
    marks: dict[str, list[tuple[str, Place]]] = {name: [] for name in texts}
    owners: dict[str, str] = {}
    for target in targets:
        items = row[target.name] or ()
        if target.type not in PLACES or not items:
            continue
        holders = [name for name in texts if all(_is_in(item, row[name] or "") for item in items)]
        if len(holders) != 1:
            return dict(row)
        owners[target.name] = holders[0]
        marks[holders[0]] += [(target.name, _place(item)) for item in items]
    new = dict(row)
    for name in texts:
        text = row[name] or ""
        edited = replace(text, edit(text, random), [place for _, place in marks[name]])
        new[name] = edited.text if row[name] is not None else None
        for moved, owner in owners.items():
            if owner == name:
                new[moved] = [_moved(item, edited) for item in row[moved]]
    return new


def _place(item: Mapping[str, Any]) -> Place:
    """Return the start and the end (exclusive) of a span, which is given as {start, end}, or of an answer, given as {start, text}."""
    return item["start"], item["end"] if "end" in item else item["start"] + len(item["text"])


def _is_in(item: Mapping[str, Any], text: str) -> bool:
    """Return whether the offsets of a span or answer are inside `text`.

    For an answer, which has a text of its own, also check that `text` contains the answer's text at these offsets.
    """
    start, end = _place(item)
    return end <= len(text) and ("text" not in item or text[start:end] == item["text"])


def _moved(item: Mapping[str, Any], edited: EditedText) -> dict[str, Any]:
    """Return a copy of a span or answer of the original text, with the offsets that it has in the edited text."""
    start, end = map(edited.offset, _place(item))
    return {**item, "start": start, "end": end} if "end" in item else {**item, "start": start}
