"""Formats numbers, and computes axes and text widths, for the report pages."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

Unit = Literal["share", "number"]
"""The unit of a value: `share` (a fraction from 0 to 1) is shown in per cent, `number` with about three significant digits."""
Axis = Literal["share", "number", "points", "change"]
"""The unit of an axis: `share` or `number` for values; for signed differences, `points` (of shares) or `change` (of numbers)."""

MISSING = "–"
"""The text for a missing value."""
PER_CENT = "\u00a0%"
"""The per cent sign after a non-breaking space."""


def format_count(value: float | None) -> str:
    """Format a whole number with thousands separators: 10003 as `10,003`."""
    return MISSING if value is None else f"{value:,.0f}"


def format_value(value: float | None, unit: Unit = "number") -> str:
    """Format a value in its unit: 0.9342 becomes `93.4 %` if the unit is `share`, and `0.934` if it is `number`.

    An int with the unit `number` is formatted as a count, with thousands separators.
    """
    if value is None or not math.isfinite(value):
        return MISSING
    if isinstance(value, int) and unit == "number":
        return _minus(format_count(value))
    if unit == "share":
        return _minus(f"{100 * value:.1f}{PER_CENT}")
    size = abs(value)
    return _minus(f"{value:,.0f}" if size >= 1000 else f"{value:.1f}" if size >= 100 else f"{value:.2f}" if size >= 10 else f"{value:.3f}")


def format_change(value: float | None, unit: Unit = "number") -> str:
    """Format a difference of two values, with its sign.

    For example, 0.041 becomes `+4.1 points` if the unit of the values is `share`, and `+0.041` if it is `number`.
    """
    if value is None or not math.isfinite(value):
        return MISSING
    text = format_value(value, unit).replace(PER_CENT, " points")
    return f"+{text}" if value > 0 and any(digit in text for digit in "123456789") else text


def _minus(text: str) -> str:
    """Replace the hyphen before a formatted negative number by a minus sign.

    If the number was rounded to zero, the hyphen is dropped.
    """
    if not text.startswith("-"):
        return text
    return f"−{text[1:]}" if any(digit in text for digit in "123456789") else text[1:]


def format_interval(low: float | None, high: float | None, unit: Unit = "number") -> str:
    """Format the two ends of an interval, for example as `92.4 to 94.3 %` for the unit `share`.

    If an end is missing, the result is a dash.
    """
    if low is None or high is None:
        return MISSING
    return f"{format_value(low, unit).removesuffix(PER_CENT)} to {format_value(high, unit)}"


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return about `count` round values from `low` to `high`, at which an axis has ticks.

    The distance between two ticks is 1, 2 or 5 times a power of ten.
    """
    if not high > low:
        return [low]
    raw = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(raw))
    steps = [factor * power for factor in (1, 2, 5, 10)]
    index = next(index for index, step in enumerate(steps) if step >= raw * 0.999)
    values: list[float] = []
    while not values:  # no multiple of the step lies in the range: take a smaller step
        step = steps[index]
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        values = [round(number * step, 12) for number in range(first, last + 1)]
        index -= 1
    return values


def tick(value: float, unit: Axis = "number") -> str:
    """Format the value at a tick of an axis, in the unit of the axis and without superfluous digits."""
    sign = "+" if value > 0 and unit in {"points", "change"} else ""
    text = f"{100 * value:.6g}" if unit in {"share", "points"} else f"{value:,.6g}"
    return sign + _minus(text) + (PER_CENT if unit == "share" else "")


def domain(values: Iterable[float | None], unit: Unit = "number", zero: bool = True) -> tuple[float, float]:
    """Return the lower and upper end of an axis that shows these values.

    If `zero` is true, the axis includes 0 and, for the unit `share`, also 1. If it is false, the axis extends slightly
    below the smallest and above the largest value.
    """
    finite = [value for value in values if value is not None and math.isfinite(value)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    if zero:
        low, high = min(low, 0.0), max(high, 1.0 if unit == "share" else 0.0)
    if high <= low:
        low, high = low - 0.5, high + 0.5
    margin = 0.0 if zero and unit == "share" else 0.05 * (high - low)
    return (low if zero and low == 0 else low - margin), high + margin


def place(value: float, ends: Sequence[float]) -> float:
    """Return the position of a value on an axis, in per cent of the length of the axis, from 0 to 100.

    `ends` contains the values at the two ends of the axis. A value outside of the axis gets the position of the nearer
    end.
    """
    low, high = ends
    return round(min(100.0, max(0.0, 100 * (value - low) / (high - low))), 3)


def width(text: str) -> int:
    """Return the width of a text in terminal columns; for example, a Chinese character takes two columns."""
    return sum(_columns(letter) for letter in text)


def _columns(letter: str) -> int:
    """Return the width of a character in terminal columns: 0, 1 or 2."""
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 0 if unicodedata.combining(letter) else 1


def ems(text: str) -> float:
    """Return the approximate width of a text in a chart, in multiples of the font size (em)."""
    return sum((0.0, 0.64, 1.0)[_columns(letter)] for letter in text)


def short(text: Any, columns: int = 40) -> str:
    """Shorten a text to at most this many terminal columns; a shortened text ends with an ellipsis.

    White space, such as a line break, becomes a single space.
    """
    line = " ".join(str(text).split())
    return line if width(line) <= columns else _head(line, columns - 1).rstrip() + "…"


def middle(text: Any, columns: int = 28) -> str:
    """Shorten a name to at most this many terminal columns, by replacing its middle by an ellipsis.

    The end of the name is kept, because similar names often differ only there.
    """
    line = " ".join(str(text).split())
    if width(line) <= columns:
        return line
    tail = (columns - 1) // 2
    return _head(line, columns - 1 - tail) + "…" + _head(line[::-1], tail)[::-1]


def _head(text: str, columns: int) -> str:
    """Return the beginning of a text that fits into this many terminal columns."""
    room = columns
    for position, letter in enumerate(text):
        room -= _columns(letter)
        if room < 0:
            return text[:position]
    return text


def plural(number: float, one: str, many: str | None = None) -> str:
    """Format a number with its noun, as `1 row` or `2,000 rows`; `many` is the plural if it is not `one` with an s."""
    return f"{format_count(number)} {one if number == 1 else many or one + 's'}"


FILTERS: dict[str, Callable[..., Any]] = {
    "count": format_count,
    "measure": format_value,
    "change": format_change,
    "tick": tick,
    "short": short,
    "middle": middle,
    "plural": plural,
    "ems": ems,
}
FUNCTIONS: dict[str, Callable[..., Any]] = {"ticks": ticks, "domain": domain, "place": place, "interval": format_interval}
