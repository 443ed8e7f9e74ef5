"""Behaviour tests on models whose answers are known: which cases hold, and what is said of those that do not."""

from __future__ import annotations

import pytest

from vertune.core.behaviour import Suite
from vertune.core.errors import ConfigError
from vertune.core.kinds import Task
from vertune.core.parse import build
from vertune.evaluation.behaviour import Subject, TestResult, run

CLASSES = build(Task, {"name": "classify", "labels": ["refund", "card"]})
SPANS = build(Task, {"name": "tag", "labels": ["city"]})
NUMBERS = build(Task, {"name": "regress", "mean": 0.0, "deviation": 1.0})


def by_word(record):
    """A classifier that looks for the word `money`, in small letters."""
    sure = min(0.99, 0.6 + 0.1 * record["text"].count("!"))
    label = "refund" if "money" in record["text"] else "card"
    return {"label": label, "probability": sure, "probabilities": {label: sure, ("card" if label == "refund" else "refund"): 1 - sure}}


def subject(task=CLASSES, answer=by_word) -> Subject:
    return Subject(
        task, lambda inputs: [dict(one) for one in inputs], lambda records: [answer(one) for one in records], lambda record, fields: fields
    )


def only(test: dict, of: Subject | None = None) -> TestResult:
    [result] = run(build(Suite, {"tests": [{"name": "it", **test}]}), of or subject())
    return result


def test_minimum_functionality():
    cases = [
        {"input": "my money", "expect": "refund"},
        {"input": "my card", "expect": "refund"},
        {"input": {"text": "hello"}, "never": "refund"},
    ]
    found = only({"cases": cases})
    assert (found.cases, found.held, found.passed) == (3, 2, False)
    assert found.failures == ["“my card” was answered card; expected refund."]
    assert only({"cases": cases, "at_least": 0.6}).passed


def test_what_must_never_be_answered():
    assert only({"cases": [{"input": "money", "never": "refund"}]}).failures == ["“money” was answered refund, which it must never be."]


def test_a_label_that_the_model_does_not_know_fails_and_is_named():
    found = only({"cases": [{"input": "money", "expect": "refnd"}]})
    assert "does not know (similar: refund)" in found.failures[0]


def test_a_test_about_a_label_that_does_not_exist_can_not_pass_unnoticed():
    assert (
        "it must never be refnud, a label that the model does not know (similar: refund)"
        in (only({"cases": [{"input": "hello", "never": "refnud"}]}).failures[0])
    )
    case = {"input": "hello", "to": "money", "label": "refnud", "change": "up"}
    assert "the model does not know this label (similar: refund)" in only({"type": "direction", "cases": [case]}).failures[0]


def test_invariance_names_the_edit_that_changed_the_answer():
    found = only({"type": "invariance", "edits": ["punctuation", "case"], "cases": ["Where is my money?", "Where is it?"]})
    assert (found.cases, found.held) == (2, 1)
    assert found.failures == ["“Where is my money?” was answered refund, but “WHERE IS MY MONEY?” card."]


def test_invariance_under_written_variants():
    case = {"input": "my money", "to": ["the money of mine", "my cash"]}
    assert "but “my cash” card" in only({"type": "invariance", "cases": [case]}).failures[0]


def test_cases_that_no_edit_changes_do_not_count():
    found = only({"type": "invariance", "edits": ["numbers"], "cases": ["no digits", "order 17"]})
    assert found.cases == 1
    with pytest.raises(ConfigError, match="tries nothing"):
        only({"type": "invariance", "edits": ["numbers"], "cases": ["no digits"]})


@pytest.mark.parametrize(("change", "held"), [("up", 1), ("down", 0)])
def test_direction(change, held):
    case = {"input": "my money", "to": "my money!!", "label": "refund", "change": change}
    found = only({"type": "direction", "cases": [case]})
    assert found.held == held
    if not held:
        assert found.failures == ["From “my money” to “my money!!”, the level of refund moved from 0.6 to 0.8; expected it to go down."]
    assert not only({"type": "direction", "within": 0.5, "cases": [case]}).passed


def test_spans_are_expected_by_their_words():
    def tagged(record):
        place = record["text"].find("Oslo")
        return {"spans": [{"start": place, "end": place + 4, "label": "city", "probability": 0.9}] if place >= 0 else []}

    of = subject(SPANS, tagged)
    assert only({"cases": [{"input": "from Oslo", "expect": [{"text": "Oslo", "label": "city"}]}]}, of).passed
    wrong = only({"cases": [{"input": "from Rome", "expect": [{"text": "Rome", "label": "city"}]}]}, of)
    assert wrong.failures == ["“from Rome” was answered nothing; expected Rome (city)."]
    assert only({"type": "invariance", "edits": ["spaces"], "cases": ["from Oslo"]}, of).passed


def test_numbers_may_differ_by_a_little():
    of = subject(NUMBERS, lambda record: {"score": float(len(record["text"]))})
    assert only({"cases": [{"input": "four", "expect": 4.2}], "within": 0.3}, of).passed
    assert not only({"cases": [{"input": "four", "expect": 4.2}]}, of).passed
    assert only({"type": "invariance", "edits": ["punctuation"], "within": 1, "cases": ["four."]}, of).passed
    assert only({"type": "direction", "cases": [{"input": "four", "to": "seventeen", "change": "up"}]}, of).passed


def test_all_inputs_are_answered_together():
    calls = []

    def answer(records):
        calls.append(len(records))
        return [by_word(one) for one in records]

    suite = build(Suite, {"tests": [{"name": str(number), "cases": [{"input": "money", "expect": "refund"}]} for number in range(5)]})
    assert all(one.passed for one in run(suite, Subject(CLASSES, list, answer, lambda record, fields: fields)))
    assert calls == [5]
