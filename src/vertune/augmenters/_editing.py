"""Makes new rows by editing the texts of rows; independent of how an augmenter edits a text.

If the targets mark spans of a text (such as entities), no character inside a marked span is changed; the new row marks the same
words as the original row, at adapted offsets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from vertune.core import content
from vertune.core.errors import ConfigError
from vertune.core.records import Column

_PLACES = frozenset({"spans", "answers"})
"""Types of target columns whose values mark spans of a text by their offsets."""

Place = tuple[int, int]
"""Start and end (exclusive) of a span of a text, in code points."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """A span of a text, which is not empty, and the new text to write in its place."""

    start: int
    end: int
    text: str


Edit = Callable[[str, np.random.Generator], Sequence[Replacement]]
"""A function that returns replacements to make in a text; they must be sorted and must not overlap."""


@dataclass(frozen=True, slots=True)
class EditedText:
    """An edited text, with the replacements that were made in the original text."""

    text: str
    replacements: tuple[Replacement, ...]

    def offset(self, old: int) -> int:
        """Return the offset in the edited text for an offset in the original text, which must not be inside a replaced span."""
        return old + sum(len(part.text) - (part.end - part.start) for part in self.replacements if part.end <= old)


def replace(text: str, replacements: Sequence[Replacement], marked: Sequence[Place] = ()) -> EditedText:
    """Edit a text: make those replacements that do not overlap any of the spans `marked`."""
    allowed = tuple(part for part in replacements if all(part.end <= start or end <= part.start for start, end in marked))
    pieces, position = [], 0
    for part in allowed:
        pieces += [text[position : part.start], part.text]
        position = part.end
    return EditedText("".join([*pieces, text[position:]]), allowed)


def edited_copies(frame: pl.DataFrame, columns: Sequence[Column], copies: int, edit: Edit, salt: str) -> pl.DataFrame:
    """Return up to `copies` edited copies of each row, all different; a copy whose texts equal those of the row is dropped.

    Edits are random; the seed of a row depends on the content of the row and on `salt`. Raises ConfigError if the task has no text
    input, or has targets with spans and more than one text input.
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
    """Raise ConfigError if there is no text to edit, or if there are several and target spans could refer to any of them."""
    if not texts:
        raise ConfigError("The task has no text input, so no text can be edited. Remove the augmenter from data.augment.")
    if len(texts) > 1 and any(column.type == "spans" for column in targets):
        raise ConfigError(
            f"The task has spans and several texts ({', '.join(texts)}), so it is unknown to which text the spans refer. "
            "Remove the augmenter from data.augment."
        )


def _edited(
    row: Mapping[str, Any], texts: Sequence[str], targets: Sequence[Column], edit: Edit, random: np.random.Generator
) -> dict[str, Any]:
    """Return a copy of the row with edited texts and adapted span offsets.

    If it is not clear which text the spans of a target refer to, because none or several could contain them, the copy is not
    edited.
    """
    marks: dict[str, list[tuple[str, Place]]] = {name: [] for name in texts}
    owners: dict[str, str] = {}
    for target in targets:
        items = row[target.name] or ()
        if target.type not in _PLACES or not items:
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
    """Return the start and end offsets of a span ({start, end}) or an answer ({start, text})."""
    return item["start"], item["end"] if "end" in item else item["start"] + len(item["text"])


def _is_in(item: Mapping[str, Any], text: str) -> bool:
    """Return whether the offsets of a span or answer are inside this text and, for an answer, whether its text is at these offsets."""
    start, end = _place(item)
    return end <= len(text) and ("text" not in item or text[start:end] == item["text"])


def _moved(item: Mapping[str, Any], edited: EditedText) -> dict[str, Any]:
    """Return a copy of a span or answer with its offsets in the edited text."""
    start, end = map(edited.offset, _place(item))
    return {**item, "start": start, "end": end} if "end" in item else {**item, "start": start}
