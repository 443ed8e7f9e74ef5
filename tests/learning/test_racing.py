"""Of several candidates, none is chosen that another one clearly beats, and no time is spent on those that can't be chosen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.learning.conftest import method, sentences
from vertune.core import part
from vertune.core.config import Config, build
from vertune.learning import companion, racing
from vertune.learning.choice import TrainingGoal
from vertune.learning.examples import encode
from vertune.learning.held_out import HeldOutPredictions
from vertune.learning.training_input import TrainingInput

CLASSIFY = part.find("tasks", "classify")
LABELS = ["food", "money", "travel"]
NAMES = ["probe", "fine-tuning", "contrastive"]


def goals(*names: str) -> list[racing.Candidate]:
    return [racing.Candidate(name, TrainingGoal(method("head"), float(row)), float(row)) for row, name in enumerate(names)]


def score(candidate: racing.Candidate, right: int, losses: object = 0.0) -> racing.Score:
    """A score with so many right answers of 40, at the beginning; `losses` is the log-loss of each row."""
    task = CLASSIFY(labels=["a", "b"])
    records = [{"text": str(row), "label": "a"} for row in range(40)]
    answers = [{"label": "a" if row < right else "b"} for row in range(40)]
    return racing.Score(candidate, HeldOutPredictions(task, records, answers), np.zeros(40) + losses, seconds=1.0, bytes=0, folds=1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=5))
def test_the_last_candidate_is_chosen_that_none_clearly_beats(measured):
    scores = [score(*values) for values in zip(goals(*map(str, range(len(measured)))), measured, strict=True)]
    mine = racing.best(scores)
    # each candidate is right where a worse one is, so the standard error of a difference of d rows of 40 is √(d (40 - d) / 40)
    gaps = [max(measured) - right for right in measured]
    near = [gap == 0 or gap < 0.9 * (gap * (40 - gap) / 40) ** 0.5 for gap in gaps]
    far = [gap > 1.1 * (gap * (40 - gap) / 40) ** 0.5 for gap in gaps]
    place = scores.index(mine)
    assert not far[place] or gaps[place] == 0
    assert not any(near[place + 1 :])


def test_a_clearly_better_candidate_is_chosen_and_of_equal_ones_the_last():
    first, last = goals("probe", "contrastive")
    assert racing.best([score(first, 40), score(last, 30)]).candidate.name == "probe"
    assert racing.best([score(first, 40), score(last, 40)]).candidate.name == "contrastive"
    assert racing.best([score(first, 30), score(last, 40)]).candidate.name == "contrastive"


def test_where_the_metric_cannot_tell_the_log_loss_decides():
    first, last = goals("probe", "contrastive")
    spread = np.random.default_rng(0).permutation(np.linspace(-1, 1, 40))
    assert racing.best([score(first, 36, 0.3), score(last, 36, 0.6 + spread)]).candidate.name == "probe"
    assert racing.best([score(first, 36, 0.3), score(last, 36, 0.35 + spread)]).candidate.name == "contrastive"
    assert racing.best([score(first, 36, 0.3), score(last, 40, 0.6 + spread)]).candidate.name == "contrastive"


def test_without_a_log_loss_the_metric_alone_decides():
    first, last = (replace(score(candidate, 36), losses=np.empty(0)) for candidate in goals("probe", "contrastive"))
    assert not racing.beats(first, last)
    assert racing.best([first, last]) is last
    assert "log_loss" not in first.described(0, kept=False)


def test_a_score_that_is_not_a_number_is_the_worst(monkeypatch):
    bad, good = goals("bad", "good")
    scores = [score(good, 5), score(bad, 40)]
    of_bad = scores[1].found.answers
    right = HeldOutPredictions.metrics.fget
    monkeypatch.setattr(
        HeldOutPredictions, "metrics", property(lambda one: {"accuracy": float("nan")} if one.answers is of_bad else right(one))
    )
    assert racing.best(scores).candidate.name == "good"


@pytest.fixture
def pool(base, quiet):
    """The input of a training on 90 rows, and these rows."""
    config = build(Config, {"data": {}, "base": str(base), "task": {"name": "classify", "labels": LABELS}})
    encoded = encode(sentences(90), config.task, config.encoder, config.task.views(["text", "label"]))
    return TrainingInput(config, config.task, config.encoder, encoded, None, quiet), encoded


def outputs(held, right: float, sure: float = 3.0):
    """Outputs for rows, of which the fraction `right` is right, and as sure everywhere."""
    truth = np.array([held.targets.values[row] for row in range(len(held.features))])
    named = np.where(np.arange(len(truth)) < right * len(truth), truth, (truth + 1) % 3)
    return racing.Outputs(list(np.eye(3)[named] * sure), 0.1, 8)


def raced(pool, quality: dict[str, tuple[float, float]]):
    """Run a race on three parts; return the scores, and what was trained in each fold."""
    lesson, encoded = pool
    candidates, trained = goals(*NAMES), []

    def fit(goal, others, held):
        name = candidates[int(goal.epochs)].name
        trained.append((name, len(others.examples)))
        return outputs(held, *quality[name])

    parts = np.array_split(np.arange(len(encoded)), 3)
    return racing.race(lesson, encoded, fit, candidates, parts), [name for name, _ in trained]


def test_who_is_clearly_beaten_leaves_the_race_and_the_others_see_all_rows(pool):
    scores, trained = raced(pool, {"probe": (0.3, 3.0), "fine-tuning": (0.9, 3.0), "contrastive": (0.9, 3.0)})
    assert trained == ["probe", "fine-tuning", "contrastive", *["fine-tuning", "contrastive"] * 2]
    assert [(one.candidate.name, one.folds, len(one.found.records)) for one in scores] == [
        ("probe", 1, 30), ("fine-tuning", 3, 90), ("contrastive", 3, 90)
    ]  # fmt: skip
    assert racing.best(scores) is scores[2]
    table = [one.described(0, kept=False) for one in scores]
    assert [(row["folds"], row["rows"]) for row in table] == [(1, 30), (3, 90), (3, 90)]
    assert table[0]["log_loss"] > table[1]["log_loss"]


def test_the_race_ends_when_one_candidate_is_left(pool):
    scores, trained = raced(pool, {"probe": (0.95, 3.0), "fine-tuning": (0.6, 3.0), "contrastive": (0.6, 3.0)})
    assert trained == NAMES
    assert [(one.folds, len(one.found.records)) for one in scores] == [(1, 30)] * 3
    assert racing.best(scores) is scores[0]


def test_few_rows_end_no_race(pool):
    lesson, encoded = pool
    few = encoded.subset(np.arange(24))
    scores, trained = raced((lesson, few), {"probe": (0.0, 3.0), "fine-tuning": (0.5, 3.0), "contrastive": (1.0, 3.0)})
    assert len(trained) == 9
    assert {one.folds for one in scores} == {3}


def test_who_is_ahead_in_one_of_both_stays_in_the_race(pool):
    lesson, encoded = pool
    candidates = goals("probe", "contrastive")
    truth = np.array([encoded.targets.values[row] for row in range(len(encoded))])
    nearly = np.eye(3)[truth] - 0.1 * np.eye(3)[(truth + 1) % 3]
    wrong = np.arange(len(truth)) % 5 == 0
    nearly[wrong] = np.eye(3)[(truth[wrong] + 1) % 3] * 1.01 + np.eye(3)[truth[wrong]]

    def fit(goal, others, held):
        """The probe is right more often, and as sure of its worst errors; the other one errs more often, but hardly."""
        rows = [encoded.records.index(record) for record in held.records]
        if goal.epochs:
            return racing.Outputs(list(nearly[rows] * 9), 0.1, 8)
        return outputs(held, 0.94, 9.0)

    scores = racing.race(lesson, encoded, fit, candidates, np.array_split(np.arange(len(encoded)), 3))
    assert scores[0].metric > scores[1].metric
    assert scores[0].loss > scores[1].loss
    assert [one.folds for one in scores] == [3, 3]
    assert racing.best(scores).candidate.name == "probe"


def test_losses_are_those_of_calibrated_probabilities_and_copies_count_once(pool):
    lesson, encoded = pool
    found = outputs(encoded, 0.8)
    once = companion.calibrated_losses(lesson.task, encoded, found.values)
    texts = {record["text"] for record in encoded.records}
    assert len(once) == len(texts)
    sure = companion.calibrated_losses(lesson.task, encoded, [value * 5 for value in found.values])
    assert sure.mean() == pytest.approx(once.mean(), rel=0.1)
    share = 0.8
    least = -share * np.log(share) - (1 - share) * np.log((1 - share) / 2)
    assert once.mean() == pytest.approx(least, rel=0.1)


def test_a_task_without_probabilities_has_no_log_loss(pool):
    encoded = pool[1]
    assert len(companion.calibrated_losses(part.find("tasks", "regress")(), encoded, outputs(encoded, 0.8).values)) == 0
