"""Describes metrics, and differences between models, in words for readers of reports."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from vertune.metrics.normal import QUANTILE
from vertune.reports.scales import Unit, format_change, format_value

_INCLUDES = "the 95 % interval of the difference includes 0"
_QUANTILE_90 = 1.2816
"""Of a normal distribution, 90 % lies below this number of standard deviations above the mean."""
_WIDTH_95 = 2 * QUANTILE
"""Width of the 95 % interval of a normal distribution, in standard deviations."""


@dataclass(frozen=True, slots=True)
class Metric:
    """How reports show a metric: its title, its unit, and an explanation of its value."""

    name: str
    title: str
    unit: Unit
    about: str
    """The explanation; `{hundred}` is replaced by the metric's value times 100, `{value}` by the formatted value."""

    def explain(self, value: float | None) -> str:
        """Return one sentence for readers without knowledge of statistics that explains this value of the metric."""
        hundred = "?" if value is None else f"{100 * value:.0f}"
        return self.about.format(hundred=hundred, value=format_value(value, self.unit))


@cache
def _read(file: str) -> dict[str, Any]:
    """Return the content of a YAML file in the folder of this module."""
    content: dict[str, Any] = yaml.safe_load((Path(__file__).parent / file).read_text(encoding="utf-8"))
    return content


def baseline_name(name: str) -> str:
    """Return the name under which reports show a baseline, such as `word search (BM25)` for `bm25`.

    The names come from baselines.yaml; a baseline that is not listed there is shown under its own name.
    """
    return str(_read("baselines.yaml").get(name, name))


def metric(name: str) -> Metric:
    """Return how reports show a metric, from metrics.yaml.

    A metric that is not listed there is shown as a number, under its own name and without an explanation.
    """
    words = _read("metrics.yaml").get(name, {})
    return Metric(name, words.get("title", name.replace("_", " ")), words.get("unit", "number"), words.get("about", ""))


def limits(name: str) -> tuple[float, float]:
    """Return the smallest and the largest possible value of a metric: 0 and 1 if it is a proportion, else unlimited."""
    return (0.0, 1.0) if metric(name).unit == "share" else (-math.inf, math.inf)


def change_limits(name: str) -> tuple[float, float]:
    """Return the smallest and the largest possible difference of two values of a metric: -1 and 1 if it is a proportion, else unlimited."""
    least, most = limits(name)
    return least - most, most - least


def comparison_sentence(difference: Mapping[str, float | None], lower_is_better: bool, ours: str, theirs: str) -> tuple[int, str]:
    """Return which of two models is better, and a sentence that states it.

    The first value is 1 if `ours` is better, -1 if `theirs` is, and 0 if the data is not sufficient to decide.
    `difference` describes the metric of `ours` minus that of `theirs`: its `value`, and the ends `low` and `high` of
    its 95 % interval. `ours` and `theirs` are the names of the models in the sentence.
    """
    low, high = difference["low"], difference["high"]
    subject = f"{ours[:1].upper()}{ours[1:]} is"
    if low is None or high is None or low == high == 0:
        why = "there is no interval" if low is None else "their results are equal"
        return 0, f"The data can't decide whether {ours} is better than {theirs}: {why}."
    if low <= 0 <= high:
        likely = likely_better(difference, lower_is_better)
        if likely:
            return 0, f"{subject} probably {'better' if likely > 0 else 'worse'} than {theirs}, but {_INCLUDES}."
        return 0, f"The data can't decide whether {ours} is better than {theirs}: {_INCLUDES}."
    better = (low > 0) is not lower_is_better
    verdict = f"{'better' if better else 'worse'} than {theirs}: the 95 % interval of the difference excludes 0."
    return (1 if better else -1), f"{subject} {verdict}"


def likely_better(difference: Mapping[str, float | None], lower_is_better: bool) -> int:
    """Return 1 if the first of two models is probably better, -1 if it is probably worse, and 0 if neither is likely.

    `difference` has the same keys as in `comparison_sentence`. A result counts as probable if its probability is about
    90 % or more, for a normal distribution whose 95 % interval has the width of the given interval.
    """
    value, low, high = difference["value"], difference["low"], difference["high"]
    if value is None or low is None or high is None or abs(value) * _WIDTH_95 < _QUANTILE_90 * (high - low) or value == 0:
        return 0
    return 1 if (value > 0) is not lower_is_better else -1


def format_difference(difference: Mapping[str, float | None], shown: Metric) -> str:
    """Format the difference between two models in a metric, with its confidence interval.

    An example is `+4.0 points (+3.1 to +4.9)`.
    """
    low, high = (format_change(difference[end], shown.unit).removesuffix(" points") for end in ("low", "high"))
    return f"{format_change(difference['value'], shown.unit)} ({low} to {high})"
