"""Names columns of Polars frames exactly, whatever they are called.

Polars reads names such as `*` and `^a$` as patterns for several columns; headers of real tables contain them. It does so even inside the
methods of a column with such a name.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl


def named(name: str) -> pl.Expr:
    """Return the Polars expression for the column of exactly this name."""
    from polars import selectors

    return selectors.by_name(name).as_expr()


def values(frame: pl.DataFrame, name: str) -> pl.Series:
    """Return the values of the column of exactly this name, as a column without a name, whose methods work whatever the name is."""
    return frame[name].alias("")


def only(frame: pl.DataFrame, names: Iterable[str]) -> pl.DataFrame:
    """Return a frame with exactly these columns, in this order."""
    return frame.select([named(name) for name in names])


def without(frame: pl.DataFrame, names: Iterable[str]) -> pl.DataFrame:
    """Return a frame without these columns; names that it lacks are skipped."""
    left_out = set(names)
    return only(frame, [name for name in frame.columns if name not in left_out])
