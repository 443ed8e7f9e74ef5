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
_SIGNS = r"(?:[€$£¥￥₹%％‰元]|EUR|USD|GBP|CHF|CNY|RMB|JPY|INR)"
_UNIT = rf"^([+-]?)\s*{_SIGNS}\s*|\s*{_SIGNS}$"
"""A sign or code of a currency, or a percent sign, before or after a number."""
_SEPARATORS: dict[Decimal, str] = {"point": ",", "comma": r"[. \u00a0\u202f'\u2019]"}


def parsed(text: pl.Expr, decimal: Decimal) -> pl.Expr:
    """Return an expression that converts texts without surrounding white space to floats; null where a text is not a number.

    A currency or percent sign beside the number is left out: `42 %` is 42.
    """
    import polars as pl

    text = _bare(text)
    plain = text.cast(pl.Float64, strict=False)
    digits = text.str.replace_all(_SEPARATORS[decimal], "").str.replace(",", ".", literal=True).cast(pl.Float64, strict=False)
    written = pl.when(text.str.contains(_FORMS[decimal])).then(digits)
    # the plain form also has inf and nan, which the task rejects with a reason of its own
    return pl.coalesce(plain, written) if decimal == "point" else pl.coalesce(written, pl.when(~text.str.contains(r"\d")).then(plain))


def is_separated(text: pl.Expr, decimal: Decimal) -> pl.Expr:
    """Return an expression that is true where a text is a number that `float` would not read, such as `1,234.5` or `€ 20`."""
    return _bare(text).str.contains(_FORMS[decimal]) & text.cast(_float(), strict=False).is_null()


def decimal_mark(texts: pl.Series) -> Decimal | None:
    """Return the decimal mark with which all of these texts are numbers; None if there is none.

    If both marks are possible, it is the point, unless a text has one comma that is not followed by exactly three digits. Numbers with
    different units, such as `5 €` and `5 $`, are no numbers of one kind.
    """
    import polars as pl

    if len(units(texts)) > 1:
        return None
    texts = pl.select(_bare(pl.lit(texts))).to_series()
    for decimal in ("point", "comma"):
        if bool(texts.str.contains(_FORMS[decimal]).all()):
            return decimal
    return None


def units(texts: pl.Series) -> list[str]:
    """Return the different currency and percent signs beside the numbers in these texts, as they are written, in alphabetical order."""
    filled = texts.drop_nulls()
    sides = (filled.str.extract(rf"^[+-]?\s*({_SIGNS})\s*[\d.,]", 1), filled.str.extract(rf"[\d.,]\s*({_SIGNS})$", 1))
    return sorted({unit for side in sides for unit in side.drop_nulls().unique()})


def _bare(text: pl.Expr) -> pl.Expr:
    """Return an expression for texts without a currency or percent sign at their ends."""
    return text.str.replace(_UNIT, "$1").str.replace(_UNIT, "$1")


def _float() -> pl.DataType:
    import polars as pl

    return pl.Float64()
