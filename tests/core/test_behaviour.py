"""tests.yaml: what can be written, and what is refused with a message that names the place."""

from __future__ import annotations

import pytest

from vertune.core import behaviour
from vertune.core.errors import ConfigError, NotFound

WRITTEN = """
tests:
  - name: refunds stay refunds
    cases:
      - {input: I want my money back, expect: refund, origin: feedback 1}
      - {input: {text: "Wo ist mein Geld?"}, never: fraud}
  - name: typos don't matter
    type: invariance
    edits: [typos, case]
    at_least: 0.9
    cases: [My card was stolen, 我的卡丢了]
  - name: anger is urgent
    type: direction
    cases: [{input: My card is lost, to: My card is lost!!, label: urgent, change: up}]
"""


def test_tests_are_read_and_written_again(tmp_path):
    (tmp_path / "tests.yaml").write_text(WRITTEN, encoding="utf-8")
    suite = behaviour.load(tmp_path / "tests.yaml")
    first, second, third = suite.tests
    assert (first.type, first.cases[0].expect, first.cases[1].never) == ("minimum", "refund", "fraud")
    assert [case.input for case in second.cases] == ["My card was stolen", "我的卡丢了"]
    assert third.cases[0].others == ["My card is lost!!"]
    (tmp_path / "again.yaml").write_text(behaviour.dump(suite.tests), encoding="utf-8")
    assert behaviour.load(tmp_path / "again.yaml") == suite


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tests: []", "at least 1 item"),
        ("[1, 2]", "expected a mapping"),
        ("tests: [{name: a, cases: [a text]}]", "needs 'expect' or 'never'"),
        ("tests: [{name: a, type: invariance, cases: [a text]}]", "needs 'to', or the test needs 'edits'"),
        ("tests: [{name: a, type: invariance, edits: [typo], cases: [a text]}]", "typos"),
        ("tests: [{name: a, type: direction, cases: [{input: a, to: b}]}]", "change: up"),
        ("tests: [{name: a, cases: [{input: a, expect: b, change: up}]}]", "does not read"),
        ("tests: [{name: a, edits: [case], cases: [{input: a, expect: b}]}]", "only for tests of the type invariance"),
        ("tests: [{name: a, cases: [{input: a, expect: b}]}, {name: a, cases: [{input: a, expect: b}]}]", "two tests have the name"),
        ("tests: [{name: a, cases: [{input: a, expected: b}]}]", "expect"),
        ("tests: &a [{name: a, cases: [{input: a, expect: *a}]}]", "alias"),
        ("tests: [{name: a, cases: [{input: '', expect: b}]}]", "input"),
    ],
)
def test_what_is_wrong_is_named(text, message, tmp_path):
    (tmp_path / "tests.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        behaviour.load(tmp_path / "tests.yaml")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(NotFound, match="nowhere"):
        behaviour.load(tmp_path / "nowhere.yaml")
