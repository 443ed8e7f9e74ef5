"""The page of a product says how often it was wrong, in figures that are those of the content."""

from __future__ import annotations

import pytest

from vertune.reports.product import page


def figure(hits: int, of: int) -> dict:
    return {"hits": hits, "of": of, "value": hits / of if of else None, "low": 0.01, "high": 0.2}


FIGURES = {
    name: figure(3, 40)
    for name in ("false_answers", "containment", "right", "clarified", "handoff_precision", "handoff_recall", "resolved")
}
CONTENT = {
    "name": "shop", "product": "shop-1", "app": "customer_service", "pack": "shop_zh", "error": 0.02, "version": "1", "conversations": 30,
    "turns": 40, "figures": FIGURES, "baselines": {"nearest": {name: figure(9, 40) for name in ("false_answers", "containment")}},
    "ahead": {"nearest": {"value": 0.25, "low": 0.1, "high": 0.4}}, "languages": {"zh": FIGURES}, "kinds": {"negation": FIGURES},
    "intents": {f"intent {number}": FIGURES for number in range(20)}, "live": None,
    "checks": [{"name": "false answers", "verdict": "unknown", "why": "The interval contains it."}], "verdict": "unknown",
    "problems": [
        {"text": "<script>alert(1)</script>", "reply": "Yes.", "action": "answer", "problem": "", "false": True},
        {"text": "first", "reply": "No.", "action": "refuse", "problem": "the action is refuse", "false": False},
    ],
}  # fmt: skip


def test_the_figures_are_on_the_page():
    shown = page(CONTENT)
    assert "3 of 40 answers given were wrong." in shown
    assert "7.5" in shown
    assert "+25.0 points (+10.0 to +40.0)" in shown
    assert "5 more" in shown  # of the intents
    assert "vertune app shop eval FILE.jsonl" in shown


def test_what_customers_wrote_is_text_and_wrong_answers_come_first():
    shown = page(CONTENT)
    assert "<script>alert" not in shown
    assert shown.index("&lt;script&gt;") < shown.index("the action is refuse")


@pytest.mark.parametrize(("verdict", "command"), [("pass", "vertune app shop serve"), ("fail", "vertune app shop train")])
def test_what_to_do_next_follows_from_the_verdict(verdict, command):
    assert command in page({**CONTENT, "verdict": verdict, "checks": [], "problems": []})


def test_nothing_given_is_said():
    assert "No answer was given" in page({**CONTENT, "figures": {**FIGURES, "false_answers": figure(0, 0)}})
