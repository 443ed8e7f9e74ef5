"""The advice at the top of a report: which model to use, and how many rows would make it clear."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertune.reports.verdict import KEYS, beaten_by, best_baseline, verdict
from vertune.reports.words import comparison_sentence


def measured(difference, low, high, goal="accuracy", baseline=0.9, units=900):
    """The figures of a report in which the model differs so much from its only baseline."""
    entry = {"value": difference, "low": low, "high": high}
    lower = ["mae"] if goal == "mae" else []
    winner, sentence = comparison_sentence(entry, goal in lower, "the model", "X")
    value = baseline + (difference or 0)
    return {
        "split": "test", "rows": units, "units": units, "goal": goal, "lower_is_better": lower,
        "metrics": {goal: {"value": value, "low": value - 0.02, "high": value + 0.02}},
        "baselines": {"tfidf": {goal: {"value": baseline, "low": None, "high": None}}},
        "differences": {"tfidf": {goal: entry}},
        "verdicts": {"tfidf": {"winner": (None, "model", "baseline")[winner], "sentence": sentence}},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("difference", "low", "high", "choice", "tone", "said"),
    [
        (0.042, 0.021, 0.063, "model", "good", "Use this model"),
        (-0.042, -0.063, -0.021, "baseline", "bad", "Don't use this model: counting words (TF-IDF) is better"),
        (-0.02, -0.041, 0.0, "baseline", "bad", "probably worse than counting words (TF-IDF)"),
        (0.02, -0.001, 0.041, "model", "warn", "probably better"),
        (0.005, -0.03, 0.04, "rows", "warn", "get more rows"),
        (0.001, -0.004, 0.006, "baseline", "warn", "equally good"),
        (None, None, None, "rows", "warn", "get more rows"),
    ],
)
def test_the_advice_follows_the_paired_interval(difference, low, high, choice, tone, said):
    found = verdict(measured(difference, low, high))
    assert (found.choice, found.tone) == (choice, tone)
    assert said in found.headline
    assert bool(beaten_by(measured(difference, low, high))) == (high is not None and high < 0)


def test_without_a_baseline_the_figure_decides():
    figures = measured(0.1, 0.05, 0.15) | {"baselines": {}, "differences": {}, "verdicts": {}}
    found = verdict(figures)
    assert (found.choice, found.tone) == ("unknown", "warn")
    assert "100.0\u00a0%" in found.headline
    assert beaten_by(figures) is None


def test_lower_values_of_an_error_are_better():
    assert verdict(measured(-0.2, -0.3, -0.1, "mae")).choice == "model"
    assert verdict(measured(0.2, 0.1, 0.3, "mae")).choice == "baseline"
    assert beaten_by(measured(0.2, 0.1, 0.3, "mae")) == "tfidf"


def test_the_best_of_several_baselines_counts():
    figures = measured(0.1, 0.05, 0.15)
    for name, value in {"majority": 0.2, "odd": None}.items():
        figures["baselines"][name] = {"accuracy": {"value": value, "low": None, "high": None}}
    assert best_baseline(figures) == "tfidf"
    assert best_baseline({key: figures[key] for key in KEYS}) == "tfidf"


@given(st.floats(0.002, 0.2), st.floats(1.0, 9.0), st.integers(50, 5000), st.sampled_from([-1, 1]))
def test_with_the_rows_that_are_named_the_interval_excludes_zero(size, times, units, sign):
    half = size * times
    more = verdict(measured(sign * size, sign * size - half, sign * size + half, units=units)).more
    needed = int(re.search(r"About ([\d,]+) test rows", more)[1].replace(",", ""))
    assert needed > units
    assert half * (units / needed) ** 0.5 < size  # the width of an interval shrinks with the root of the number of rows
    assert needed < 1.5 * units * times**2 + 10


def test_rows_with_equal_inputs_count_as_one_in_words_that_anybody_knows():
    figures = {**measured(0.02, -0.02, 0.06, units=40), "rows": 41}
    more = verdict(figures).more
    assert re.search(r"About \d+ different test rows instead of 40 would decide", more)
    assert more.endswith("By default, a fifth of all labelled rows are test rows.")
    assert "By default" not in verdict({**figures, "split": "new.csv"}).more


def test_few_rows_without_a_difference_do_not_show_that_both_are_equally_good():
    few, many = verdict(measured(0.0, 0.0, 0.0, units=25)), verdict(measured(0.0, 0.0, 0.0, units=300))
    assert (few.choice, many.choice) == ("rows", "baseline")
    assert "expect" not in few.reason
    assert few.more.startswith("About 300 test rows without a difference would show")
    assert many.more == ""


def test_no_number_of_rows_is_named_where_it_would_not_help():
    assert verdict(measured(0.04, 0.02, 0.06)).more == ""
    assert "hardly decide" in verdict(measured(0.0001, -0.03, 0.0302)).more
