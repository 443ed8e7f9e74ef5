"""Reads numbers as people write them: with a decimal point or comma, and with separators between thousands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import polars as pl

Decimal = Literal["point", "comma"]
_FORMS: dict[Decimal, str] = {
    "point": r"^[+-]?(\d{1,3}(,\d{3})+(\.\d*)?|\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?)$",
    "comma": r"^[+-]?(\d{1,3}([. \u00a0\u202f'\u2019]\d{3})+(,\d*)?|\d+,?\d*([eE][+-]?\d+)?|,\d+([eE][+-]?\d+)?)$",
}
"""A number with each decimal mark; thousands may be separated by a comma if the mark is a point, else by a point, space or apostrophe."""
_SEPARATORS: dict[Decimal, str] = {"point": ",", "comma": r"[. \u00a0\u202f'\u2019]"}


def parsed(text: pl.Expr, decimal: Decimal) -> pl.Expr:
    """Return an expression that converts texts without surrounding white space to floats; null where a text is not a number."""
    import polars as pl

    plain = text.cast(pl.Float64, strict=False)
    digits = text.str.replace_all(_SEPARATORS[decimal], "").str.replace(",", ".", literal=True).cast(pl.Float64, strict=False)
    written = pl.when(text.str.contains(_FORMS[decimal])).then(digits)
    # the plain form also has inf and nan, which the task rejects with a reason of its own
    return pl.coalesce(plain, written) if decimal == "point" else pl.coalesce(written, pl.when(~text.str.contains(r"\d")).then(plain))


def is_separated(text: pl.Expr, decimal: Decimal) -> pl.Expr:
    """Return an expression that is true where a text is a number that `float` would not read, such as `1,234.5`."""
    return text.str.contains(_FORMS[decimal]) & text.cast(_float(), strict=False).is_null()


def decimal_mark(texts: pl.Series) -> Decimal | None:
    """Return the decimal mark with which all of these texts are numbers; None if there is none.

    If both marks are possible, it is the point, unless a text has one comma that is not followed by exactly three digits.
    """
    for decimal in ("point", "comma"):
        if bool(texts.str.contains(_FORMS[decimal]).all()):
            return decimal
    return None


def _float() -> pl.DataType:
    import polars as pl

    return pl.Float64()
