"""Decides from the figures of a report what to do with a model: use it, use a baseline, or measure on more rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from vertune.reports.scales import MISSING, format_change, format_count, format_value, plural
from vertune.reports.words import Metric, baseline_name, likely_better, metric

Measured = Mapping[str, Any]
Choice = Literal["model", "baseline", "rows", "unknown"]

_EQUAL = 0.01
"""If the interval of a difference between shares lies within this distance of 0, the model and the baseline count as equally good."""
_FEWEST = 300
"""Rows without any difference from which the share of rows that differ is at most `_EQUAL` with 95 % confidence: 3 / `_EQUAL`, by the rule
of three (Hanley and Lippman-Hand, 1983). Resampling fewer rows that are all alike shows no spread, but does not exclude one."""
_MANY_TIMES = 100
"""If deciding takes more than this multiple of the measured rows, the advice is not to wait for more rows."""
KEYS = ("split", "rows", "units", "goal", "lower_is_better", "metrics", "baselines", "differences", "verdicts")
"""The entries of metrics.json that `verdict` reads."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with a model, and why."""

    choice: Choice
    """Use the `model`, use the `baseline`, get more `rows` before deciding, or `unknown` if there was no baseline."""
    tone: Literal["good", "warn", "bad"]
    headline: str
    """What to do, in one sentence."""
    reason: str
    """The figures behind it."""
    more: str
    """How many rows would make it clearer; empty if more rows would not change the advice, or if the number can't be estimated."""


def best_baseline(measured: Measured) -> str | None:
    """Return the name of the baseline that is best in the main metric of the task; return None if there is none."""
    goal, baselines = measured["goal"], measured["baselines"]
    names = [name for name in baselines if baselines[name].get(goal, {}).get("value") is not None]
    sign = -1 if goal in measured["lower_is_better"] else 1
    return max(names, key=lambda name: sign * baselines[name][goal]["value"]) if names else None


def beaten_by(measured: Measured) -> str | None:
    """Return the name of the best baseline if the model is worse; the paired 95 % interval of the difference excludes 0 then.

    Otherwise, return None.
    """
    name = best_baseline(measured)
    return name if name is not None and measured["verdicts"][name]["winner"] == "baseline" else None


def verdict(measured: Measured) -> Verdict:
    """Return what to do with a model; `measured` is the content of a report's metrics.json, or at least the entries `KEYS`."""
    goal = metric(measured["goal"])
    name = best_baseline(measured)
    value = format_value(measured["metrics"][goal.name]["value"], goal.unit)
    measured_on = plural(measured["rows"], f"{measured['split']} row")
    if name is None:
        reason = f"{goal.title} on {measured_on}: {value}. There was no baseline to compare with."
        return Verdict("unknown", "warn", f"Use this model if {value} is good enough for you.", reason, "")
    other = baseline_name(name)
    theirs = format_value(measured["baselines"][name][goal.name]["value"], goal.unit)
    difference = measured["differences"][name].get(goal.name)
    reason = f"{goal.title} on {measured_on}: {value}. The best simple baseline, {other}, reaches {theirs}."
    if difference and difference["value"] is not None:
        reason += f" The difference is {format_change(difference['value'], goal.unit)}"
        low, high = (format_change(difference[end], goal.unit) for end in ("low", "high"))
        known = MISSING not in (low, high) and difference["low"] != difference["high"]
        reason += f"; on other rows of this kind, expect {low.removesuffix(' points')} to {high}." if known else "."
    choice, tone, headline = _choose(measured, name, goal, other)
    return Verdict(choice, tone, headline, reason, _more_rows(measured, difference, choice))


def _choose(measured: Measured, name: str, goal: Metric, other: str) -> tuple[Choice, Literal["good", "warn", "bad"], str]:
    """Return the choice, its tone and its headline; `name` is the best baseline, `other` its name for readers."""
    winner = measured["verdicts"][name]["winner"]
    if winner == "model":
        return "model", "good", f"Use this model: it is better than {other}."
    if winner == "baseline":
        return "baseline", "bad", f"Don't use this model: {other} is better and costs less, so use that baseline."
    difference = measured["differences"][name].get(goal.name) or {"value": None, "low": None, "high": None}
    ends = (difference["low"], difference["high"])
    few = ends[0] == ends[1] and measured["units"] < _FEWEST
    if None not in ends and goal.unit == "share" and max(map(abs, ends)) <= _EQUAL and not few:
        return "baseline", "warn", f"This model and {other} are equally good: use that baseline, which costs less."
    sign = likely_better(difference, goal.name in measured["lower_is_better"])
    if sign > 0:
        return "model", "warn", f"This model is probably better than {other}: use it, and measure again on more rows."
    if sign < 0:
        return "baseline", "bad", f"This model is probably worse than {other}: use that baseline, or get more rows."
    return "rows", "warn", f"Too few rows to choose between this model and {other}: get more rows, or use that baseline, which costs less."


def _more_rows(measured: Measured, difference: Mapping[str, float | None] | None, choice: Choice) -> str:
    """Return a sentence with the number of rows that would decide between the model and the best baseline.

    The width of an interval shrinks with the square root of the number of rows. The sentence is empty if the interval
    already excludes 0.
    """
    if difference is None or difference["low"] is None or difference["high"] is None or difference["value"] is None:
        return ""
    if difference["low"] == difference["high"] == 0 and measured["units"] < _FEWEST:
        return f"About {_FEWEST} {measured['split']} rows without a difference would show that they are equally good."
    half, size = (difference["high"] - difference["low"]) / 2, abs(difference["value"])
    if half <= 0 or not difference["low"] <= 0 <= difference["high"]:
        return ""
    times = (half / size) ** 2 if size else math.inf
    if times > _MANY_TIMES:
        return "The difference is so small that more test rows would hardly decide. More or better training rows may change it."
    # the estimate is rough, so it is rounded up to two digits; a touch more than the border keeps the interval off 0
    needed = _round_up(1.2 * max(times, 1.0) * measured["units"])
    kind = "" if measured["units"] == measured["rows"] else "different "
    share = " By default, a fifth of all labelled rows are test rows." if measured["split"] == "test" else ""
    return (
        f"About {format_count(needed)} {kind}{measured['split']} rows instead of {format_count(measured['units'])} would decide, if the "
        f"difference stays as it is.{share}"
    )


def _round_up(number: float) -> int:
    """Round up to two significant digits: 1234 becomes 1300."""
    step = int(10 ** max(0, math.floor(math.log10(number)) - 1))
    return math.ceil(number / step) * step
