"""When what search found may be given: the stated rate holds for new messages, and what is missing is said."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from vertune.apps.customer_service import CustomerService, certainty
from vertune.apps.customer_service.searching import Found
from vertune.apps.customer_service.understanding import Belief
from vertune.core.app import Hit

ERROR = 0.05


def found(*scores: float, words: float | None = 0.5, meaning: float | None = 0.5, id: str = "e@en") -> list[Found]:
    hits = [Hit(id if not number else f"other{number}", "t", "text", score, answer="a", words=words, meaning=meaning)
            for number, score in enumerate(scores)]  # fmt: skip
    return [Found(hit, hit.score) for hit in hits]


def drawn(rows: int, seed: int) -> tuple[list[list[float]], list[bool]]:
    """Signals of messages and whether the best that was found is right, which the lead and the meaning say, and the fit hardly does."""
    chance = np.random.default_rng(seed)
    values = np.tile(certainty.signals(found(2.0, 1.0), Belief({"a": 0.1}, 0.2)), (rows, 1))
    values[:, 0] = chance.uniform(0.5, 4, rows)
    values[:, 1], values[:, 4] = chance.uniform(-1, 3, rows), chance.uniform(0, 1, rows)
    sure = 1 / (1 + np.exp(-(4 * values[:, 1] + 8 * values[:, 4] - 8)))
    return values.tolist(), (chance.uniform(0, 1, rows) < sure).tolist()


def test_signals_say_how_much_the_best_stands_out_and_what_the_intents_say():
    got = dict(zip(certainty.SIGNALS, certainty.signals(found(2.0, 1.25), Belief({"a": 0.75, "b": 0.1}, 0.2)), strict=True))
    assert got == {
        "fit": 2.0, "lead": 0.75, "words": 0.5, "lead_in_words": 0.0, "meaning": 0.5, "lead_in_meaning": 0.0,
        "believed": pytest.approx(np.log(0.25 / 0.75)), "outside": pytest.approx(np.log(0.2 / 0.8)), "is_entry": 1.0, "is_intent": 0.0,
    }  # fmt: skip
    intent = [Found(Hit("intent:b", "t", "t", 3.0), 3.0)]
    got = dict(zip(certainty.SIGNALS, certainty.signals(intent, Belief({"a": 0.75, "b": 0.1})), strict=True))
    assert (got["lead"], got["is_intent"], got["is_entry"]) == (3.0, 1.0, 0.0)
    assert got["believed"] == pytest.approx(np.log(0.1 / 0.9))
    assert np.isfinite(got["outside"])  # also of a probability of 0
    assert np.isnan([got["words"], got["meaning"], got["lead_in_meaning"]]).all()


@pytest.mark.parametrize("seed", range(3))
def test_the_stated_rate_holds_for_new_messages(seed: int):
    learnt = json.loads(json.dumps(certainty.learn(*drawn(800, seed), ERROR)))
    rows, right = drawn(20_000, seed + 100)
    fits = np.array(rows)[:, 0]
    trust = certainty.Regression.read(learnt["regression"]).score(np.array(rows))
    given = trust > learnt["answer"]
    assert given.mean() > 0.1
    assert 1 - np.array(right)[given].mean() < ERROR
    surest = np.argsort(-fits)[: int(given.sum())]  # as many answers by the fit alone are wrong far more often
    assert 1 - np.array(right)[surest].mean() > 2 * ERROR


def test_few_messages_promise_nothing_and_say_how_many_would():
    learnt = certainty.learn(*drawn(80, 0), 0.02)
    assert learnt["answer"] is None
    assert learnt["needed"] > 80
    assert certainty.kind_of(found(9.0), {**learnt, "offer": 0.5}, Belief({"a": 0.5})) == "several"
    text = certainty.described({**learnt, "offer": 0.5, "messages": 80}, 0.02)
    assert f"About {learnt['needed']:,} would" in text
    assert "2 % wrong answers" in text


def test_what_is_always_wrong_is_never_sure():
    rows, _ = drawn(60, 0)
    learnt = certainty.learn(rows, [False] * 60, ERROR)
    assert (learnt["answer"], learnt["needed"], learnt["regression"]) == (None, None, None)
    assert "wrong too often" in certainty.described({**learnt, "offer": None, "messages": 60}, ERROR)
    assert certainty.kind_of(found(9.0), {**learnt, "offer": None}, Belief()) == "nothing"


def test_with_too_few_wrong_ones_for_a_regression_the_fit_decides():
    rows, _ = drawn(200, 0)
    learnt = certainty.learn(rows, [True] * 200, ERROR)
    assert learnt["regression"] is None
    assert learnt["answer"] == -1.0
    assert certainty.kind_of(found(0.1), {**learnt, "offer": None}, Belief()) == "answer"
    assert "0 of 200 were wrong" in certainty.described({**learnt, "offer": None, "messages": 200}, ERROR)


def test_what_an_older_version_learnt_still_decides_by_the_fit():
    learnt: dict[str, Any] = {"answer": 0.6, "offer": 0.1, "messages": 50}
    assert [certainty.kind_of(found(fit), learnt, Belief()) for fit in (0.7, 0.3, 0.05)] == ["answer", "several", "nothing"]
    assert "answers by itself" in certainty.described(learnt, ERROR)


def test_an_app_says_what_it_has_learnt_of_search():
    assert CustomerService().notes() == []
    assert "column entry" in CustomerService(learnt={"messages": 30}).notes()[0]
