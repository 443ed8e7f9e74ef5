"""Simulated labelling: what is measured, with how many labels, and that informed choices beat random ones where they can."""

from __future__ import annotations

import random

import numpy as np
import polars as pl
import pytest

from vertune.core.artifact import Home
from vertune.core.config import Config
from vertune.core.errors import ConfigError
from vertune.core.parse import build
from vertune.steps.prepare import prepare
from vertune.steps.simulate import Curve, Plan, query_of, simulate, summary

WORDS = {"food": ["bread", "cheese", "soup"], "place": ["london", "paris", "rome"], "seldom": ["oslo"]}


def rows(count: int, seldom: float = 0.1) -> pl.DataFrame:
    """Texts that name one thing each; one of the labels is seldom."""
    draw = random.Random(count)
    labels = [("seldom" if draw.random() < seldom else draw.choice(["food", "place"])) for _ in range(count)]
    return pl.DataFrame(
        [{"text": f"tell me {number} of {draw.choice(WORDS[label])}", "label": label} for number, label in enumerate(labels)]
    )


@pytest.fixture
def dataset(tmp_path, tiny_base):
    home = Home(tmp_path / "home")
    config = build(Config, {"name": "things", "base": str(tiny_base), "task": "classify", "data": {}})
    return prepare(config, home, None, {"train": rows(120), "test": rows(60)})


def test_each_query_is_measured_at_the_same_numbers_of_labels(dataset) -> None:
    events = []
    found = simulate(dataset, Plan(("auto", "uniform", "margin"), 2, 10, 35), lambda kind, **fields: events.append((kind, fields)))
    assert found.metric == "accuracy"
    assert [curve.query for curve in found.curves] == ["auto", "uniform", "margin"]
    assert all(curve.labels == [10, 20, 30, 35] for curve in found.curves)
    assert all(np.shape(curve.scores) == (2, 4) for curve in found.curves)
    assert all(0 <= score <= 1 for curve in found.curves for line in curve.scores for score in line)
    assert {kind for kind, _ in events} == {"states", "simulated"}
    told = [one["labels"] for one in summary(found)]
    assert told == [35, 35, 35]


def test_all_labels_give_the_score_of_all(dataset) -> None:
    pool = dataset.manifest["rows"]["train"]
    found = simulate(dataset, Plan(("auto", "uniform"), 1, pool // 2, 10_000))
    assert found.rows == pool
    for curve in found.curves:
        assert curve.labels[-1] == pool
        assert curve.scores[0][-1] == found.full
        assert curve.needed(found.full) is not None


def test_the_same_seed_gives_the_same_curve(dataset) -> None:
    first, again = (simulate(dataset, Plan(("auto",), 1, 10, 20)) for _ in range(2))
    assert first.curves[0].scores == again.curves[0].scores


@pytest.mark.parametrize(
    ("scores", "wanted", "needed"),
    [([0.1, 0.5, 0.9], 0.5, 20), ([0.1, 0.5, 0.9], 0.05, 10), ([0.1, 0.5, 0.9], 0.95, None), ([0.9, 0.1, 0.9], 0.8, 30)],
)
def test_the_labels_that_are_needed_are_those_after_which_the_score_stays(scores, wanted, needed) -> None:
    assert Curve("q", [10, 20, 30], [scores, scores]).needed(wanted) == needed


def test_what_can_not_be_simulated_is_told(dataset) -> None:
    with pytest.raises(ConfigError, match="batches of 50"):
        simulate(dataset, Plan(labels=20))
    with pytest.raises(ConfigError, match="margin"):
        simulate(dataset, Plan(("margn",), 1, 10, 20))


def test_auto_is_a_query() -> None:
    assert query_of("auto") == query_of(query_of("auto").name)
