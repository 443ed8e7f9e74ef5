"""Draws the measurements of a monitor over time as a picture (SVG) of its own, in light or dark colours; knows nothing of databases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from xml.sax.saxutils import escape, quoteattr

from vertune.reports.scales import Unit, domain, tick, ticks

Theme = Literal["light", "dark"]
_COLOURS = {
    "light": {"text": "#515c69", "line": "#d5dae1", "quiet": "#1353b8", "changed": "#ab2219", "unknown": "#848e9b", "band": "#e6effc"},
    "dark": {"text": "#a6b0bd", "line": "#313a46", "quiet": "#8cb5ff", "changed": "#ffa198", "unknown": "#76818f", "band": "#1c2b45"},
}
"""The colours of the console in both themes."""
_HEIGHT = 170
_TOP, _BOTTOM, _RIGHT = 12, 26, 10
_CHARACTER = 6.4
"""About the width of a character of the ticks."""
_APART = 92
"""Least distance of two times on the axis."""
_STEPS = (60, 300, 900, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86_400, 2 * 86_400, 7 * 86_400, 14 * 86_400, 30 * 86_400, 91 * 86_400)
"""Seconds that two times on the axis can be apart."""


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement."""

    at: datetime
    value: float
    low: float | None
    high: float | None
    verdict: Literal["quiet", "changed", "unknown"]


def draw(points: Sequence[Point], title: str, unit: Unit, width: int, theme: Theme) -> str:
    """Return the picture: the values with their intervals, in red where a change was seen; `width` is in pixels.

    A window in which nothing could be told is an empty circle. Times are in UTC. Without points, there is a dash in place of axes.
    """
    colours = _COLOURS[theme]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{_HEIGHT}" viewBox="0 0 {width} {_HEIGHT}" role="img" '
        f'aria-label={quoteattr(title)} font-family="system-ui, sans-serif" font-size="11"><title>{escape(title)}</title>'
    )
    if not points:
        return f'{head}<text x="{width / 2}" y="{_HEIGHT / 2}" text-anchor="middle" fill="{colours["text"]}">–</text></svg>'
    low, high = domain([value for one in points for value in (one.value, one.low, one.high)], zero=False)
    if unit == "share":
        low, high = max(low, -1.0), min(high, 1.02)
    marks = [(value, tick(value, unit)) for value in ticks(low, high, 4)]
    left = 12 + _CHARACTER * max((len(text) for _, text in marks), default=0)
    begin, end = _span(points)

    def x(at: datetime) -> float:
        return round(left + (width - left - _RIGHT) * ((at - begin) / (end - begin)), 1)

    def y(value: float) -> float:
        return round(_TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - min(max(value, low), high)) / (high - low), 1)

    parts = [head]
    for value, text in marks:
        parts.append(f'<line x1="{left}" x2="{width - _RIGHT}" y1="{y(value)}" y2="{y(value)}" stroke="{colours["line"]}"/>')
        parts.append(f'<text x="{left - 6}" y="{y(value) + 4}" text-anchor="end" fill="{colours["text"]}">{escape(text)}</text>')
    for at, text in _times(begin, end, max(1, int((width - left) // _APART))):
        parts.append(f'<text x="{x(at)}" y="{_HEIGHT - 8}" text-anchor="middle" fill="{colours["text"]}">{text}</text>')
    for one in points:
        if one.low is not None and one.high is not None:
            where = f'x1="{x(one.at)}" x2="{x(one.at)}" y1="{y(one.low)}" y2="{y(one.high)}"'
            parts.append(f'<line {where} stroke="{colours[one.verdict]}" stroke-opacity="0.35" stroke-width="3" stroke-linecap="round"/>')
    path = " ".join(f"{x(one.at)},{y(one.value)}" for one in points)
    parts.append(f'<polyline points="{path}" fill="none" stroke="{colours["quiet"]}" stroke-opacity="0.6" stroke-width="1.5"/>')
    for one in points:
        fill = "none" if one.verdict == "unknown" else colours[one.verdict]
        radius = 4 if one.verdict == "changed" else 2.5
        parts.append(f'<circle cx="{x(one.at)}" cy="{y(one.value)}" r="{radius}" fill="{fill}" stroke="{colours[one.verdict]}"/>')
    return "".join([*parts, "</svg>"])


def _span(points: Sequence[Point]) -> tuple[datetime, datetime]:
    """Return the beginning and the end of the axis; one point lies in its middle."""
    times = [one.at.astimezone(UTC) for one in points] or [datetime.fromtimestamp(0, UTC)]
    begin, end = min(times), max(times)
    return (begin, end) if end - begin >= timedelta(seconds=1) else (begin - timedelta(hours=1), end + timedelta(hours=1))


def _times(begin: datetime, end: datetime, most: int) -> list[tuple[datetime, str]]:
    """Return at most so many round times of the axis, with their texts."""
    seconds = (end - begin).total_seconds()
    step = next((one for one in _STEPS if seconds / one <= most), math.ceil(seconds / most / 86_400) * 86_400)
    first = math.ceil(begin.timestamp() / step) * step
    found = [datetime.fromtimestamp(at, UTC) for at in range(first, int(end.timestamp()) + 1, step)]
    return [(one, f"{one:%m-%d}" if step >= 86_400 else f"{one:%m-%d %H:%M}") for one in found]
