"""The page of the gate: the verdict first, then the checks, then what changes."""

from __future__ import annotations

import re

import pytest

from vertune.reports.release import page

CHECK = {"name": "gold rows", "verdict": "pass", "value": 0.004, "low": -0.003, "high": 0.011, "limit": -0.005, "why": "Why.",
         "labels_needed": None, "measure": "share"}  # fmt: skip
GROUP = {"kind": "label", "name": "<refund>", "rows": 40, "value": -0.1, "low": -0.2, "high": 0.0, "p": 0.5, "verdict": "unknown",
         "judged": True, "error": 0.05, "measure": "share"}  # fmt: skip
CHANGE = {"set": "gold", "text": "<b>my card</b>", "live": "card", "candidate": "refund", "right": "live", "confidence": 0.9}
CONTENT = {
    "name": "support", "candidate": "support-2", "live": "support-1", "look": 1, "verdict": "pass", "headline": "Release it.",
    "labels_needed": None, "checks": [CHECK, {**CHECK, "name": "speed", "value": 1.2, "limit": 1.5, "measure": "ratio"}],
    "groups": [GROUP], "sets": {"gold": {"rows": 200, "changed": 1}}, "notes": ["One row was left out."], "changes": [CHANGE], "changed": 1,
    "version": "1", "bounds": {"alpha": 0.05}, "tests": [],
}  # fmt: skip


def test_the_verdict_comes_first_and_texts_are_escaped():
    html = page(CONTENT)
    assert html.index("Release it.") < html.index("What was checked") < html.index("Texts that are answered differently")
    assert "<b>my card" not in html
    assert "&lt;refund&gt;" in html
    assert "+0.4 points (−0.3 to +1.1)" in html
    assert "1.20 times" in html
    assert "vertune deploy support support-2 --canary 10%" in html


@pytest.mark.parametrize(("verdict", "tone"), [("pass", "good"), ("fail", "bad"), ("unknown", "warn")])
def test_each_verdict_has_its_colour_and_next_step(verdict, tone):
    html = page({**CONTENT, "verdict": verdict})
    assert f'class="advice {tone}"' in html
    assert ("vertune deploy support support-2\n" in html or "vertune deploy support support-2<" in html) == (verdict == "pass")


def test_models_with_equal_answers_and_no_tests_have_a_short_page():
    html = page({**CONTENT, "changes": [], "changed": 0, "groups": [], "notes": []})
    assert "the same answer to every text" in html
    assert "Behaviour tests" not in html


def test_tests_that_fail_come_first():
    kept = {"name": "kept", "cases": 2, "held": 2, "passed": True, "failures": [], "live": 2, "about": None}
    lost = {**kept, "name": "lost", "held": 1, "passed": False, "failures": ["“x” was answered y."]}
    tests = [kept, lost]
    html = page({**CONTENT, "tests": tests})
    assert html.index("lost") < html.index("kept")
    assert "“x” was answered y." in html


def test_every_table_becomes_cards_on_a_phone():
    from vertune.reports import _TEMPLATES

    for name in ("release.html", "behaviour.html"):
        tables = re.findall(r"<table.*?</table>", (_TEMPLATES / name).read_text(encoding="utf-8"), re.DOTALL)
        assert tables
        for table in tables:
            assert table.startswith('<table class="cards">')
            cells = re.findall(r"<td[^>]*?(?:\{\{.*?\}\}[^>]*?)*>", table.partition("<tbody>")[2])
            assert all("data-title" in cell or "lead" in cell for cell in cells)
