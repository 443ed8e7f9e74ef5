"""The gate: what it refuses, what it can't tell, and that no order of its arguments lets a worse model through."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertune.core.kinds import Task
from vertune.core.parse import build
from vertune.evaluation.gate import ACCEPTED, ECE, REFUSED, UNDECIDED, Candidate, Gate, GateOptions, Tolerance, decide, mark_best

HALF_A_POINT = Tolerance(0.005, share=True)


@pytest.mark.parametrize(
    ("loss", "high", "ece", "verdict"),
    [
        (0.0, 0.004, 0.0, ACCEPTED),
        (-0.01, 0.0, None, ACCEPTED),
        (0.005, 0.01, 0.02, ACCEPTED),
        (0.0051, 0.006, 0.0, REFUSED),
        (0.0, 0.001, 0.021, REFUSED),
        (0.0, 0.0101, 0.0, UNDECIDED),
        (math.nan, 0.0, 0.0, REFUSED),
        (0.0, math.nan, 0.0, UNDECIDED),
    ],
)
def test_verdicts(loss, high, ece, verdict):
    found, why = decide(loss, high, ece, HALF_A_POINT)
    assert found == verdict
    assert "points" in why or "calibration" in why


@given(st.floats(-0.1, 0.1), st.floats(0, 0.1), st.floats(-0.1, 0.1), st.floats(0, 0.05))
def test_losing_more_never_helps(loss, more, ece, wide):
    order = [ACCEPTED, UNDECIDED, REFUSED]
    first, _ = decide(loss, loss + wide, ece, HALF_A_POINT)
    second, _ = decide(loss + more, loss + more + wide, ece, HALF_A_POINT)
    assert order.index(second) >= order.index(first)
    assert ece <= ECE or first == REFUSED


def gate_of(rows=200, trained_on_records=False):
    task = build(Task, {"name": "classify", "labels": ["a", "b"]})
    records = [{"text": str(row), "label": "ab"[row % 2]} for row in range(rows)]

    def answers(wrong=0, sure=0.9):
        found = []
        for row, record in enumerate(records):
            label = record["label"] if row >= wrong else "ab"[(row + 1) % 2]
            found.append({"label": label, "probability": sure, "probabilities": {"a": sure, "b": 1 - sure}, "truncated": False})
        return found

    return Gate(task, records, answers(), GateOptions(0.005, trained_on_records)), answers


def test_the_same_answers_lose_nothing():
    gate, answers = gate_of()
    found = gate.verdict("x", answers())
    assert (found.loss, found.low, found.high, found.ece, found.verdict) == (0, 0, 0, 0, ACCEPTED)


def test_a_tenth_of_wrong_answers_is_refused_and_a_few_on_few_rows_can_t_be_told():
    gate, answers = gate_of()
    assert gate.verdict("x", answers(20)).verdict == REFUSED
    few, of_few = gate_of(rows=400)
    found = few.verdict("x", of_few(2))
    assert (round(found.loss, 4), found.verdict) == (0.005, UNDECIDED)


def test_answers_that_are_less_sure_than_they_should_be_are_refused():
    gate, answers = gate_of()
    found = gate.verdict("x", answers(sure=0.6))
    assert found.loss == 0
    assert found.verdict == REFUSED
    assert "calibration" in found.why


def test_rows_that_were_learnt_from_refuse_but_never_accept():
    gate, answers = gate_of(trained_on_records=True)
    found = gate.verdict("x", answers())
    assert found.verdict == UNDECIDED
    assert "trained on these rows" in found.why
    assert gate.verdict("x", answers(20)).verdict == REFUSED


def test_those_that_no_other_beats_are_marked():
    def one(loss, time):
        return Candidate("x", {}, loss, 0, 0, None, ACCEPTED, "", measured={"latency": {"16": time}})

    found = [one(0.0, 4.0), one(0.002, 1.0), one(0.004, 2.0), one(0.002, 1.0)]
    mark_best(found)
    assert [candidate.best for candidate in found] == [True, True, False, True]
