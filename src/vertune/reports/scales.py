"""Numbers as a reader sees them: in words, on an axis, in a width; knows nothing of what they measure."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

Unit = Literal["share", "number"]
"""`share` is shown in per cent, `number` with the digits that matter."""
Axis = Literal["share", "number", "points", "change"]
"""What an axis shows: a unit, or signed differences of one (`points` of a share, `change` of a number)."""

MISSING = "–"
PER_CENT = "\u00a0%"
"""The sign with a space before it that no line breaks at."""


def format_count(value: float | None) -> str:
    """A whole number with its thousands apart: 10003 is `10,003`."""
    return MISSING if value is None else f"{value:,.0f}"


def format_value(value: float | None, unit: Unit = "number") -> str:
    """A value with its unit: 0.9342 as a share is `93.4 %`, as a number `0.934`; an int is a count."""
    if value is None or not math.isfinite(value):
        return MISSING
    if isinstance(value, int) and unit == "number":
        return _minus(format_count(value))
    if unit == "share":
        return _minus(f"{100 * value:.1f}{PER_CENT}")
    size = abs(value)
    return _minus(f"{value:,.0f}" if size >= 1000 else f"{value:.1f}" if size >= 100 else f"{value:.2f}" if size >= 10 else f"{value:.3f}")


def format_change(value: float | None, unit: Unit = "number") -> str:
    """A difference with its sign: 0.041 as a share is `+4.1 points`."""
    if value is None or not math.isfinite(value):
        return MISSING
    text = format_value(value, unit).replace(PER_CENT, " points")
    return f"+{text}" if value > 0 and any(digit in text for digit in "123456789") else text


def _minus(text: str) -> str:
    """A true minus sign, and none before a zero."""
    if not text.startswith("-"):
        return text
    return f"−{text[1:]}" if any(digit in text for digit in "123456789") else text[1:]


def format_interval(low: float | None, high: float | None, unit: Unit = "number") -> str:
    """A range in words: `92.4 to 94.3 %`."""
    if low is None or high is None:
        return MISSING
    return f"{format_value(low, unit).removesuffix(PER_CENT)} to {format_value(high, unit)}"


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round values inside a range, 1, 2 or 5 times a power of ten apart, at most about `wanted` of them."""
    if not high > low:
        return [low]
    raw = (high - low) / max(1, wanted)
    power = 10.0 ** math.floor(math.log10(raw))
    steps = [factor * power for factor in (1, 2, 5, 10)]
    place = next(place for place, step in enumerate(steps) if step >= raw * 0.999)
    found: list[float] = []
    while not found:  # a range between two multiples of a step holds none of them
        step = steps[place]
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        found = [round(number * step, 12) for number in range(first, last + 1)]
        place -= 1
    return found


def tick(value: float, unit: Axis = "number") -> str:
    """The label of a tick, with no more digits than it needs."""
    sign = "+" if value > 0 and unit in {"points", "change"} else ""
    text = f"{100 * value:.6g}" if unit in {"share", "points"} else f"{value:,.6g}"
    return sign + _minus(text) + (PER_CENT if unit == "share" else "")


def domain(values: Iterable[float | None], unit: Unit = "number", zero: bool = True) -> tuple[float, float]:
    """The ends of an axis that holds these values: 0 to 1 for shares, else from 0 (or, without `zero`, near the least) up."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    if zero:
        low, high = min(low, 0.0), max(high, 1.0 if unit == "share" else 0.0)
    if high <= low:
        low, high = low - 0.5, high + 0.5
    margin = 0.0 if zero and unit == "share" else 0.05 * (high - low)
    return (low if zero and low == 0 else low - margin), high + margin


def place(value: float, ends: Sequence[float]) -> float:
    """Where a value stands between the ends of an axis, in per cent of its length, cut at the ends."""
    low, high = ends
    return round(min(100.0, max(0.0, 100 * (value - low) / (high - low))), 3)


def width(text: str) -> int:
    """Columns that a text takes: a Chinese character takes two."""
    return sum(_columns(letter) for letter in text)


def _columns(letter: str) -> int:
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 0 if unicodedata.combining(letter) else 1


def ems(text: str) -> float:
    """About how wide a text is drawn, in units of the size of its letters."""
    return sum((0.0, 0.64, 1.0)[_columns(letter)] for letter in text)


def short(text: Any, columns: int = 40) -> str:
    """A text cut to this many columns, with an ellipsis where something is left out."""
    whole = " ".join(str(text).split())
    return whole if width(whole) <= columns else _head(whole, columns - 1).rstrip() + "…"


def middle(text: Any, columns: int = 28) -> str:
    """A name cut in its middle, because names that begin alike often end differently."""
    whole = " ".join(str(text).split())
    if width(whole) <= columns:
        return whole
    tail = (columns - 1) // 2
    return _head(whole, columns - 1 - tail) + "…" + _head(whole[::-1], tail)[::-1]


def _head(text: str, columns: int) -> str:
    """The first letters of a text that fit."""
    room = columns
    for place, letter in enumerate(text):
        room -= _columns(letter)
        if room < 0:
            return text[:place]
    return text


def plural(number: float, one: str, many: str | None = None) -> str:
    """A count with its noun: `1 row`, `2,000 rows`."""
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
