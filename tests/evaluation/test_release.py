"""Verdicts on releases: what passes, what fails, what can't be told, and how many labels would tell."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertune.evaluation import release
from vertune.evaluation.release import Bounds, Check, Difference
from vertune.metrics.bootstrap import Interval

LOOK = Bounds().look(1)
ORDER = ["fail", "unknown", "pass"]


def scores(gains: int, losses: int, rows: int) -> np.ndarray:
    return np.r_[np.ones(gains), -np.ones(losses), np.zeros(rows - gains - losses)]


def gold(gains: int, losses: int, rows: int = 2000, limit: float = 0.005) -> Check:
    return release.not_worse("gold", Difference.of_scores(scores(gains, losses, rows), LOOK.side), limit, LOOK)


@pytest.mark.parametrize(
    ("gains", "losses", "verdict"), [(80, 30, "pass"), (30, 80, "fail"), (50, 50, "unknown"), (0, 0, "pass"), (40, 20, "pass")]
)
def test_a_candidate_passes_only_if_a_loss_is_excluded(gains, losses, verdict):
    check = gold(gains, losses)
    assert check.verdict == verdict
    assert check.value == pytest.approx((gains - losses) / 2000)
    assert (check.labels_needed is not None) == (verdict == "unknown")


@given(st.integers(0, 60), st.integers(0, 60))
def test_one_more_loss_never_helps(gains, losses):
    assert ORDER.index(gold(gains, losses + 1).verdict) <= ORDER.index(gold(gains, losses).verdict)
    assert ORDER.index(gold(gains + 1, losses).verdict) >= ORDER.index(gold(gains, losses).verdict)


def test_the_labels_asked_for_grow_with_the_share_of_rows_that_are_answered_differently():
    needed = [gold(count, count).labels_needed for count in (30, 60, 120)]
    assert needed == sorted(needed)
    assert needed[2] / needed[0] == pytest.approx(120 / 30, rel=0.35)


def test_a_candidate_that_seems_bad_needs_as_many_labels_as_show_that():
    assert gold(35, 60).labels_needed < gold(47, 48).labels_needed  # 1.2 points worse, against as good, with equal spread


def test_without_a_tolerance_the_measured_difference_is_assumed():
    check = gold(60, 45, limit=0.0)
    assert check.verdict == "unknown"
    assert check.labels_needed is not None
    assert gold(45, 45, limit=0.0).labels_needed is None


def test_all_looks_together_spend_alpha():
    spent = sum(Bounds(alpha=0.05).look(number).side for number in range(1, 40))
    assert spent == pytest.approx(0.05)
    assert Bounds().look(1).side == 0.025
    assert Bounds().look(1).next_side == Bounds().look(2).side


@pytest.mark.parametrize(("gains", "losses", "verdict"), [(30, 5, "pass"), (5, 30, "fail"), (12, 8, "unknown"), (0, 0, "unknown")])
def test_on_new_rows_it_must_be_better(gains, losses, verdict):
    check = release.better("new", Difference.of_scores(scores(gains, losses, 300), LOOK.side), LOOK)
    assert check.verdict == verdict
    assert check.limit == 0


def test_one_label_that_collapses_fails_among_many():
    groups = {f"label {number}": scores(1, 1, 30) for number in range(50)} | {"refund": scores(0, 20, 30)}
    found = release.compared_groups("label", groups, 0.03, LOOK.side)
    check = release.no_group_worse("labels", found, 0.03, LOOK)
    assert check.verdict == "fail"
    assert "refund (−66.7 points on 30 rows)" in check.why
    assert [group.name for group in found if group.verdict == "fail"] == ["refund"]


def test_chance_in_one_of_many_labels_does_not_fail():
    """Fifty labels that are as good as before, drawn many times: at most about the stated share of families has one that fails."""
    random, failed = np.random.default_rng(0), 0
    for _ in range(60):
        groups = {str(number): random.choice([1.0, -1.0, 0.0], 30, p=[0.04, 0.04, 0.92]) for number in range(50)}
        failed += any(group.verdict == "fail" for group in release.compared_groups("label", groups, 0.03, LOOK.side))
    assert failed <= 3


def test_groups_with_too_few_rows_are_not_judged_and_cost_no_power():
    tiny = {f"tiny {number}": scores(0, 2, 2) for number in range(200)}
    found = release.compared_groups("label", {**tiny, "large": scores(0, 12, 60)}, 0.03, LOOK.side)
    assert [group.name for group in found if group.judged] == ["large"]
    assert [group.name for group in found if group.verdict == "fail"] == ["large"]
    check = release.no_group_worse("labels", [group for group in found if not group.judged], 0.03, LOOK)
    assert check.verdict == "unknown"
    assert check.labels_needed  # with as many in each, groups could be judged:
    rows = 2 + check.labels_needed // 200
    assert all(
        group.judged for group in release.compared_groups("label", {str(n): scores(0, 0, rows + 1) for n in range(200)}, 0.03, LOOK.side)
    )


@pytest.mark.parametrize("scale", [0.01, 1.0, 1000.0])
def test_groups_of_numbers_are_judged_whatever_their_scale(scale):
    errors = np.random.default_rng(0).normal(0, scale, (3, 40))
    groups = {"short": errors[0], "long": errors[1] - 3 * scale, "few": errors[2, :4]}
    found = release.compared_groups("slice", groups, 0.03 * scale, LOOK.side, "number")
    assert {group.name: (group.judged, group.verdict) for group in found} == {
        "short": (True, "pass"), "long": (True, "fail"), "few": (False, "pass")
    }  # fmt: skip
    check = release.no_group_worse("groups of rows", found, 0.03 * scale, LOOK)
    assert check.verdict == "fail"
    assert "points" not in check.why


def test_groups_that_no_number_of_rows_could_judge_ask_for_none():
    check = release.no_group_worse("labels", release.compared_groups("label", {"one": scores(0, 3, 9)}, 1.0, LOOK.side), 1.0, LOOK)
    assert (check.verdict, check.labels_needed) == ("unknown", None)
    assert "no number of rows" in check.why


def test_one_unit_does_not_tell_how_many_would_decide():
    check = release.not_worse("gold", Difference.of_scores(np.array([0.5]), LOOK.side), 0.005, LOOK)
    assert (check.verdict, check.labels_needed) == ("unknown", None)
    assert "A single row" in check.why


def test_a_label_that_may_be_worse_by_chance_is_named_and_does_not_decide():
    groups = {f"label {number}": scores(0, 0, 40) for number in range(20)} | {"card": scores(0, 7, 40)}
    check = release.no_group_worse("labels", release.compared_groups("label", groups, 0.03, LOOK.side), 0.03, LOOK)
    assert check.verdict == "pass"
    assert "Look at card (−17.5 points on 40 rows)" in check.why


@pytest.mark.parametrize(("ends", "verdict"), [((-0.01, 0.01), "pass"), ((0.03, 0.06), "fail"), ((0.0, 0.05), "unknown")])
def test_calibration(ends, verdict):
    check = release.calibrated(Interval(sum(ends) / 2, *ends), 400, 0.02, LOOK)
    assert check is not None
    assert check.verdict == verdict
    assert (check.labels_needed is not None) == (verdict == "unknown")
    assert release.calibrated(None, 400, 0.02, LOOK) is None


def test_no_interval_of_few_rows_goes_beyond_what_is_possible():
    differences = np.array([0.9, -0.8, 0.3])
    found = {measure: Difference.of_scores(differences, LOOK.side, measure) for measure in ("share", "number")}
    assert found["share"].found.low < -1
    as_good = {measure: release.not_worse("gold", one, 0.005, LOOK) for measure, one in found.items()}
    assert (as_good["share"].low, as_good["share"].high) == (-1, 1)
    assert "(−100.0 to +100.0)" in as_good["share"].why
    assert as_good["number"].low == found["number"].found.low
    better = {measure: release.better("new rows", one, LOOK) for measure, one in found.items()}
    assert (better["share"].low, better["share"].high) == (-1, 1)
    for checks in (as_good, better):  # how uncertain it is decides how many labels are needed
        assert checks["share"].labels_needed == checks["number"].labels_needed
    [group] = release.compared_groups("label", {"a": differences}, 0.03, LOOK.side)
    assert (group.low, group.high) == (-1, 1)
    check = release.calibrated(Interval(0.1, -1.2, 1.4), 3, 0.02, LOOK)
    assert (check.low, check.high) == (-1, 1)


@pytest.mark.parametrize(("ratios", "verdict"), [([1.0, 1.1, 9.0], "pass"), ([1.6, 1.7, 1.8], "fail"), ([1.0, 1.6, 1.7], "unknown")])
def test_size_and_speed_are_ratios(ratios, verdict):
    check = release.within("speed", ratios, 1.5, "it takes")
    assert (check.verdict, check.value) == (verdict, sorted(ratios)[1])


def test_tests_that_both_fail_are_no_reason_to_refuse():
    assert release.kept([("a", True, True), ("b", False, False)]).verdict == "pass"
    check = release.kept([("a", True, True), ("refunds stay", False, True)])
    assert check.verdict == "fail"
    assert "refunds stay" in check.why


def test_the_verdict_is_that_of_the_worst_check():
    made = {verdict: Check(verdict, verdict, 0.0, None, None, None, "") for verdict in ORDER}
    assert release.released([made["pass"]]).verdict == "pass"
    assert release.released([made["pass"], made["unknown"]]).verdict == "unknown"
    assert release.released([made["unknown"], made["fail"]]).verdict == "fail"
    assert release.released([]).verdict == "unknown"


def test_the_headline_says_what_to_do():
    assert release.released([gold(80, 30)]).headline == "Release it: 1 check passed."
    assert release.released([gold(30, 80)]).headline == "Don't release it: it fails on gold."
    undecided = release.released([gold(50, 50)])
    assert f"label about {undecided.labels_needed:,} more rows" in undecided.headline
