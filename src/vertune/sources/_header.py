"""Finds the row of a table that contains the names of its columns, from the cells of the first rows; independent of the file format."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from vertune.core.column_names import roles

_NUMBER = re.compile(r"[+-]?(\d[\d., ]*|[.,]\d+)([eE][+-]?\d+)?\s?%?")
_DATE = re.compile(r"\d{1,4}[-/.年]\d{1,2}([-/.月]\d{1,4}日?)?([T ].*)?")
_LIST = re.compile(r"\[.*\]|\{.*\}", re.DOTALL)
_REPEATED = 0.05
"""Largest number of different values of a column, as a fraction of its cells, that are so few that another value among them is unlikely."""
_SENTENCE = 60
"""Length in characters above which a cell is a text rather than a name, if the cells below it are as long."""
_SAME = 0.8
"""Fraction of the cells of a column that must be numbers in a column of numbers."""

_USUAL = 0.7
"""How strongly a name must suggest what its column contains (`column_names.roles`) to count as a usual name."""

Cells = Sequence[Sequence[str]]


def row_of_names(rows: Cells) -> int | None:
    """Return the index of the row with the names of the columns; None if already the first row contains data.

    Rows above it that fill fewer columns, such as a title, are skipped. `rows` are the first rows of the table, as texts without blanks
    around them; an empty cell is an empty text.
    """
    filled = [sum(map(bool, row)) for row in rows]
    widths = Counter(count for count in filled if count)
    if not widths:
        return 0
    usual = max(widths, key=lambda count: (widths[count], count))
    start = next((place for place, count in enumerate(filled) if count >= max(1, 0.6 * usual) and (usual == 1 or count > 1)), 0)
    above = next((place for place in range(start - 1, -1, -1) if filled[place]), None)
    if above is not None and any(map(_is_usual, rows[above])) and is_data(rows[start], rows[start + 1 :]):
        return above  # the header of a table in which columns have no names
    return None if start == 0 and is_data(rows[0], rows[1:]) else start


def is_data(first: Sequence[str], rest: Cells) -> bool:
    """Return whether the cells of a row are values like those below them, and not names of columns.

    A header may have a name such as `2024` above numbers; so there must be at least as many values as names. A usual name, such as
    `text`, and a word above numbers, dates, lists or a few repeated values count as names; if several are usual, there must be more values
    than names.
    """
    filled = [cell for cell in first if cell]
    if not rest or not filled:
        return False
    if len(set(filled)) < len(filled) and 2 * sum(map(_is_usual, filled)) <= len(filled):
        return True
    other = [row for row in rest if list(row) != list(first)]  # a header may be repeated, where files were joined
    values = names = usual_names = 0
    for place, cell in enumerate(first):
        below = [row[place] for row in other if place < len(row) and row[place]]
        values += bool(cell and below and _is_value(cell, below))
        usual = cell not in below and _is_usual(cell)
        usual_names += usual
        names += bool(cell) and (usual or _stands_out(cell, below))
    return values >= max(1, names + (usual_names > 1))


def _is_usual(cell: str) -> bool:
    """Return whether a cell is a usual name of a column."""
    return max(roles(cell).values(), default=0.0) >= _USUAL


def _is_value(cell: str, below: Sequence[str]) -> bool:
    """Return whether a cell is a value like those below it: an equal one, a number among numbers, or a text among texts."""
    if below.count(cell) >= max(1, 0.02 * len(below)) and len(set(below)) < len(below):
        return True
    for form in (_NUMBER, _DATE):
        if form.fullmatch(cell) and _mostly(form, below):
            return True
    return len(cell) > _SENTENCE and sum(map(len, below)) / len(below) > _SENTENCE / 2


def _stands_out(cell: str, below: Sequence[str]) -> bool:
    """Return whether a cell is unlike the cells below it, as a name is: not a number, a date or a list, or none of few repeated values."""
    if any(not form.fullmatch(cell) and _mostly(form, below) for form in (_NUMBER, _DATE, _LIST)):
        return True
    return cell not in below and len(set(below)) <= _REPEATED * len(below)


def _mostly(form: re.Pattern[str], values: Sequence[str]) -> bool:
    """Return whether most of these values have this form; False if there are none."""
    return sum(form.fullmatch(value) is not None for value in values) >= max(1, _SAME * len(values))
