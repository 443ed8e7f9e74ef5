from __future__ import annotations

import pytest

from vertune.core import part
from vertune.reports.words import baseline_name, comparison_sentence, format_difference, metric


def entry(value, low, high):
    return {"value": value, "low": low, "high": high}


@pytest.mark.parametrize("name", part.names("tasks"))
def test_every_metric_of_every_task_has_words(name):
    task = part.find("tasks", name)
    lower = task.lower_is_better
    for shown in map(metric, task.metrics):
        assert shown.about, f"{shown.name} needs a sentence in reports/metrics.yaml"
        assert ("lower is better" in shown.about) == (shown.name in lower)
        assert "{" not in shown.explain(0.5)


def test_a_metric_without_words_is_a_number_under_its_own_name():
    shown = metric("some_new_metric")
    assert (shown.title, shown.unit, shown.explain(0.2)) == ("some new metric", "number", "")
    assert baseline_name("some-way") == "some-way"


@pytest.mark.parametrize(
    ("low", "high", "lower", "winner", "said"),
    [
        (0.01, 0.03, False, 1, "The model is better than X: the 95 % interval of the difference excludes 0."),
        (-0.03, -0.01, False, -1, "The model is worse than X: the 95 % interval of the difference excludes 0."),
        (-0.03, -0.01, True, 1, "The model is better"),
        (0.01, 0.03, True, -1, "The model is worse"),
        (-0.02, 0.06, False, 0, "The data can't decide whether the model is better than X: the 95 % interval of the difference includes"),
        (-0.01, 0.03, False, 0, "The model is probably better than X, but the 95 % interval of the difference includes 0."),
        (0.0, 0.03, True, 0, "The model is probably worse than X"),
        (0.0, 0.0, False, 0, "results are equal"),
        (None, None, False, 0, "there is no interval"),
    ],
)
def test_a_verdict_needs_an_interval_beyond_zero(low, high, lower, winner, said):
    found, sentence = comparison_sentence(entry(0.02, low, high), lower, "the model", "X")
    assert found == winner
    assert said in sentence


def test_a_gap_names_its_ends():
    assert format_difference(entry(0.04, 0.031, 0.049), metric("accuracy")) == "+4.0 points (+3.1 to +4.9)"
    assert format_difference(entry(-0.2, -0.3, 0.1), metric("pearson")) == "−0.200 (−0.300 to +0.100)"
