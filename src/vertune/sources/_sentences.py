"""Tells lines of text with commas from the rows of a table; knows nothing of files."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from vertune.core.column_names import roles

_USUAL = 0.6
"""How strongly a name must suggest what a column contains, so that it is a name and no part of a sentence."""
_REPEATED = 0.5
"""Fraction of the different lines up to which the different values of a column are labels rather than parts of sentences."""


def contain(lines: Sequence[str], delimiter: str) -> bool:
    """Return whether the lines are sentences in which the delimiter is a mark, such as `I called twice, nobody answered`.

    A blank follows each such mark. In a table, the first line has usual names, or a column contains single words, such as labels, codes
    and numbers, or values that repeat.
    """
    distinct = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if delimiter not in {",", ";"} or any(delimiter in line.replace(f"{delimiter} ", "") for line in distinct):
        return False
    rows = [[part.strip() for part in line.split(delimiter)] for line in distinct]
    if any(max(roles(part).values(), default=0.0) >= _USUAL for part in rows[0]):
        return False
    columns = [[value for value in column if value] for column in zip_longest(*rows)]
    return not any(all(len(value.split()) == 1 for value in values) or len(set(values)) <= _REPEATED * len(values) for values in columns)
