"""The guarantee of the decision, by simulation, and its rules; the oracle of the bounds is scipy."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from vertune.core.errors import DataError
from vertune.dialogue.bounds import fewest, lower_tail, upper_bound
from vertune.dialogue.decision import Decision, Thresholds, decide, learn, rows_needed, trust, wishes_of

INTENTS = ("a", "b", "c", "d", "e", "f")


@settings(deadline=None)
@given(st.integers(1, 2_000), st.data(), st.floats(0.0005, 0.9995))
def test_tails_and_bounds_are_those_of_scipy(trials: int, data: Any, share: float) -> None:
    count = data.draw(st.integers(0, trials))
    assert lower_tail(count, trials, share) == pytest.approx(stats.binom.cdf(count, trials, share), rel=1e-6, abs=1e-12)
    expected = 1.0 if count == trials else stats.beta.ppf(1 - 0.1, count + 1, trials - count)
    assert upper_bound(count, trials, 0.1) == pytest.approx(expected, abs=1e-6)


@settings(deadline=None)
@given(st.floats(0.005, 0.5), st.floats(0.001, 0.5))
def test_fewest_is_the_smallest_number_without_a_failure_that_is_enough(share: float, error: float) -> None:
    count = fewest(share, error)
    assert lower_tail(0, count, share) <= error * (1 + 1e-9)
    assert lower_tail(0, count - 1, share) > error * (1 - 1e-9)


def sample(chance: np.random.Generator, rows: int, power: float) -> tuple[Any, Any, Any]:
    """Rows of which the model is wrong with the probability (1 - u) ** power at the trust u, which is uniform."""
    top = chance.uniform(0.01, 1, rows)
    wrong = chance.random(rows) < (1 - top) ** power
    probabilities = np.stack([top, np.zeros(rows)], 1)
    return probabilities, np.where(wrong, -1, 0), np.zeros(rows)


def risk(threshold: float, power: float) -> float:
    """The rate of false answers above a threshold: the mean of (1 - u) ** power over u from the threshold to 1."""
    return float((1 - max(threshold, 0.01)) ** power / (power + 1))


@pytest.mark.parametrize(("rows", "target", "power"), [(800, 0.05, 2.0), (1_000, 0.02, 3.0), (1_000, 0.05, 1.5)])
def test_the_stated_rate_holds_as_often_as_promised(rows: int, target: float, power: float) -> None:
    chance = np.random.default_rng(rows)
    kept, answered = 0, []
    for _ in range(80):
        thresholds = learn(*sample(chance, rows, power), targets=(target,))[target]
        kept += thresholds.answer is None or risk(thresholds.answer, power) <= target
        answered.append(thresholds.answered)
    assert stats.binom.cdf(kept, 80, 0.9) > 0.001
    assert np.median(answered) > 0.4 * rows * min(1, (target * (power + 1)) ** (1 / power))


def test_a_threshold_counts_what_it_answers() -> None:
    probabilities, right, outside = sample(np.random.default_rng(0), 2_000, 3.0)
    for target, thresholds in learn(probabilities, right, outside).items():
        answered = trust(probabilities, outside) > (math.inf if thresholds.answer is None else thresholds.answer)
        assert thresholds.answered == answered.sum()
        assert thresholds.wrong == (right[answered] < 0).sum()
        assert thresholds.answer is None or thresholds.bound <= target + 1e-9
        assert Thresholds.read(thresholds.as_json()) == thresholds


def test_a_looser_target_answers_at_least_as_much() -> None:
    learnt = learn(*sample(np.random.default_rng(1), 2_000, 3.0))
    assert learnt[0.01].answered < learnt[0.02].answered < learnt[0.05].answered


def test_nothing_is_answered_if_the_rows_cannot_show_the_rate() -> None:
    probabilities, right, outside = sample(np.random.default_rng(2), 60, 3.0)
    assert learn(probabilities, right, outside, (0.01,))[0.01].answer is None
    wrong = np.full(1_000, -1)
    wrong[::2] = 0
    thresholds = learn(np.tile([0.9, 0.1], (1_000, 1)), wrong, np.zeros(1_000), (0.05,))[0.05]
    assert (thresholds.answer, thresholds.answered) == (None, 0)


def test_rows_with_the_same_trust_are_answered_together() -> None:
    thresholds = learn(np.tile([0.9, 0.1], (500, 1)), np.zeros(500, int), np.zeros(500), (0.05,))[0.05]
    assert (thresholds.answered, thresholds.wrong) == (500, 0)
    assert decide([0.9, 0.1], 0.0, thresholds, ("a", "b")).kind == "answer"


def test_offers_miss_at_most_a_tenth_of_the_intents_that_are_meant() -> None:
    chance = np.random.default_rng(3)
    logits = chance.normal(size=(4_000, 6))
    probabilities = np.exp(2 * logits) / np.exp(2 * logits).sum(1, keepdims=True)
    right = np.array([chance.choice(6, p=row) for row in probabilities])
    thresholds = learn(probabilities[:2_000], right[:2_000], np.zeros(2_000), (0.02,))[0.02]
    unsure = probabilities[2_000:].max(1) <= (thresholds.answer or 2)
    covered = probabilities[2_000:][np.arange(2_000), right[2_000:]] >= thresholds.offer
    assert covered[unsure].mean() == pytest.approx(0.9, abs=0.03)


@pytest.mark.parametrize("rows", [5, 30])
def test_rows_that_are_too_few_or_without_an_intent_are_refused(rows: int) -> None:
    with pytest.raises(DataError, match=f"{rows} calibration rows"):
        learn(np.tile([0.9, 0.1], (rows, 1)), np.full(rows, -1), np.zeros(rows))


def test_values_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(DataError, match="not finite numbers"):
        learn(np.tile([0.9, np.nan], (30, 1)), np.zeros(30, int), np.zeros(30))


LEARNT = Thresholds(
    target=0.02, answer=0.8, offer=0.15, outside=0.6, confidence=0.9, rows=1_000, answered=500, wrong=3, bound=0.013
)  # fmt: skip


@pytest.mark.parametrize(
    ("probabilities", "outside", "kind", "intents"),
    [
        ([0.9, 0.1, 0, 0, 0, 0], 0.0, "answer", "a"),
        ([0.9, 0.1, 0, 0, 0, 0], 0.2, "clarify", "ab"),
        ([0.9, 0.1, 0, 0, 0, 0], 0.7, "search", ""),
        ([0.4, 0.3, 0.2, 0.1, 0, 0], 0.0, "clarify", "abc"),
        ([0.1, 0.15, 0.15, 0.2, 0.2, 0.2], 0.0, "search", ""),
        ([0.14, 0.14, 0.14, 0.14, 0.14, 0.13], 0.0, "clarify", "ab"),
        ([0, 0, 0, 0, 0, 0], 0.0, "search", ""),
    ],
)
def test_a_message_is_answered_asked_about_or_searched(probabilities: list[float], outside: float, kind: str, intents: str) -> None:
    decision = decide(probabilities, outside, LEARNT, INTENTS)
    assert (decision.kind, "".join(decision.intents)) == (kind, intents)


def test_what_was_rejected_is_neither_answered_nor_offered_nor_makes_others_sure() -> None:
    decision = decide([0.9, 0.08, 0.02, 0, 0, 0], 0.0, LEARNT, INTENTS, rejected={"a"})
    assert (decision.kind, decision.intents) == ("clarify", ("b", "c"))


def test_nothing_is_answered_without_a_threshold() -> None:
    unable = Thresholds(**{**LEARNT.as_json(), "answer": None})
    assert decide([1.0, 0, 0, 0, 0, 0], 0.0, unable, INTENTS).kind == "clarify"


def test_wishes_are_kept_apart_only_if_two_parts_are_sure_and_differ() -> None:
    whole, a, b = (Decision("answer", (name,), 0.9) for name in "wab")
    unsure = Decision("clarify", ("a", "c"), 0.4)
    assert wishes_of(whole, [a, b]) == [a, b]
    assert wishes_of(whole, [a, a]) == wishes_of(whole, [a, unsure]) == wishes_of(whole, []) == [whole]


def test_as_many_rows_as_needed_are_enough_if_they_are_alike() -> None:
    values = np.linspace(1, 0, 60)
    right = values > 0.5
    needed = rows_needed(values, right, 0.02)
    assert needed is not None
    assert needed > 60
    times = -(-needed // 60) + 1
    many = np.repeat(values, times), np.repeat(right, times)
    assert learn(many[0][:, None], np.where(many[1], 0, -1), np.zeros(60 * times), (0.02,))[0.02].answer is not None
    assert learn(values[:, None], np.where(right, 0, -1), np.zeros(60), (0.02,))[0.02].answer is None


def test_no_number_of_rows_is_enough_if_the_most_trusted_ones_are_wrong() -> None:
    values = np.linspace(1, 0, 60)
    assert rows_needed(values, values < 0.9, 0.02) is None
