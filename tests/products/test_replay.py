"""What counts as right, as given and as wrong, and the figures of it."""

from __future__ import annotations

import pytest

from vertune.core.app import ActionCall, Choice, Evidence, Reply
from vertune.core.conversation import Conversation, Expected, read_conversations
from vertune.core.errors import ConfigError, DataError
from vertune.products.figures import Figure, Given, baseline_figures, by, difference, figures
from vertune.products.replay import Outcome, problem, replay


def answer(*intents: str, action: str = "answer", **more) -> Reply:
    evidence = [Evidence(kind="intent", id=one) for one in intents]
    return Reply(action=action, text="Yes.", intent=intents[0] if intents else None, evidence=evidence, **more)


def outcome(expected: dict, reply: Reply, conversation: int = 0, language: str = "en") -> Outcome:
    wanted = Expected(**expected)
    return Outcome(conversation, "kind", language, "text", wanted, reply, problem(wanted, reply))


@pytest.mark.parametrize(
    ("expected", "reply", "why"),
    [
        ({"action": "answer", "intent": "a"}, answer("a"), ""),
        ({"action": "answer", "intent": "a"}, answer("b"), "a is neither answered nor offered"),
        ({"action": ["answer", "clarify"], "intent": "a"}, answer(action="clarify", choices=[Choice(title="A", value="intent:a")]), ""),
        ({"action": "answer"}, answer(action="refuse"), "the action is refuse; expected answer"),
        ({"outside": True}, answer("a"), "answers a, although no answer is right"),
        ({"outside": True}, answer(action="refuse"), ""),
        ({"intent": "a", "also": ["b"]}, answer("a", "b"), ""),
        ({"intent": "a", "also": ["b"]}, answer("a"), "b is neither answered nor offered"),
        ({"slots": {"amount": 250}}, answer(slots={"amount": "250.00 USD"}), ""),
        ({"slots": {"amount": 250}}, answer(slots={"amount": "25.00 USD"}), "amount is '25.00 USD'; expected 250"),
        ({"reasons": ["angry"]}, answer(action="handoff", reasons=["asked_for"]), "the reasons are asked_for; expected angry"),
        ({"call": "block"}, answer(action="act", call=ActionCall(name="block")), ""),
        ({"call": "block"}, answer(), "it calls nothing; expected block"),
        ({"text": ["No", "Yes"]}, answer(), ""),
        ({"text": "No"}, answer(), "expected it to contain 'No'"),
        ({"never": "Yes"}, answer(), "the text contains 'Yes'"),
    ],
)  # fmt: skip
def test_a_reply_is_compared_with_what_must_follow(expected, reply, why):
    found = problem(Expected(**expected), reply)
    assert (why in found) if why else not found


@pytest.mark.parametrize(
    ("expected", "reply", "given", "false"),
    [
        ({"intent": "a"}, answer("a"), True, False),
        ({"intent": "a"}, answer("b"), True, True),
        ({"intent": "a"}, answer("b", action="ask"), True, True),  # the flow of another intent begins
        ({"intent": "a"}, answer("b", action="clarify"), False, False),
        ({"intent": "a"}, answer(), False, False),  # small talk commits to nothing
        ({"outside": True}, answer("a"), True, True),
        ({"action": "handoff"}, answer("a"), True, True),
        ({"action": "ask"}, answer("a", action="ask"), False, False),  # inside a flow, nothing says what is meant
    ],
)
def test_an_answer_is_wrong_if_it_is_given_and_not_what_was_meant(expected, reply, given, false):
    one = outcome(expected, reply)
    assert (one.given, one.false) == (given, false)


def test_figures_count_what_their_names_say():
    outcomes = [
        outcome({"action": "answer", "intent": "a"}, answer("a"), 0),
        outcome({"action": "answer", "intent": "a"}, answer("b"), 1),
        outcome({"action": "answer", "intent": "b"}, answer("b", action="clarify"), 2, "zh"),
        outcome({"outside": True}, answer("a"), 3),
        outcome({"action": "handoff"}, answer(action="handoff"), 4),
        outcome({"action": "handoff"}, answer(action="refuse"), 5),
        outcome({"action": "answer", "intent": "a"}, answer(action="handoff"), 6),
    ]
    found = {name: (one.hits, one.of) for name, one in figures(outcomes).items()}
    assert found == {
        "false_answers": (2, 3), "containment": (1, 4), "right": (2, 7), "clarified": (1, 7), "handoff_precision": (1, 2),
        "handoff_recall": (1, 2), "resolved": (5, 7),
    }  # fmt: skip
    assert [(name, one["right"].of) for name, one in by(outcomes, lambda one: one.language).items()] == [("en", 6), ("zh", 1)]


def test_an_interval_holds_the_share_and_shrinks():
    few, many = Figure.of_hits(1, 10), Figure.of_hits(100, 1000)
    assert few.low < 0.1 < few.high
    assert many.high - many.low < few.high - few.low
    assert Figure.of_hits(0, 0).value is None


def test_baselines_are_counted_on_the_same_messages():
    outcomes = [outcome({"intent": "a"}, answer("a"), number) for number in range(20)] + [
        outcome({"outside": True}, answer(action="refuse"), 99)
    ]
    given = [Given("a" if number < 5 else "b" if number < 10 else None) for number in range(20)] + [Given("a")]
    found = baseline_figures(outcomes, given)
    assert (found["false_answers"].hits, found["false_answers"].of) == (6, 11)
    assert (found["containment"].hits, found["containment"].of) == (5, 20)
    ahead = difference(outcomes, given)
    assert ahead.value == pytest.approx(0.75)
    assert ahead.low > 0.4


def test_buttons_are_pressed_by_their_titles_and_the_state_goes_on():
    asked = []

    def reply(request, state):
        asked.append((request.text, request.choice, request.event, dict(request.known), state.get("n", 0)))
        return answer(action="clarify", choices=[Choice(title="Yes please", value="intent:a")]), {"n": state.get("n", 0) + 1}

    conversation = Conversation(turns=[
        {"say": "x", "known": {"member": "gold"}}, {"choice": "Yes please", "expect": {"action": "clarify"}},
        {"event": "silence", "expect": {"action": "answer"}},
    ])  # fmt: skip
    outcomes = replay([conversation], reply)
    assert asked == [
        ("x", None, "message", {"member": "gold"}, 0), ("", "intent:a", "message", {"member": "gold"}, 1),
        ("", None, "silence", {"member": "gold"}, 2),
    ]  # fmt: skip
    assert [(one.text, one.right) for one in outcomes] == [("Yes please", True), ("(silence)", False)]


@pytest.mark.parametrize(
    ("line", "error", "match"),
    [
        ("{", DataError, "Line 1"), ("", DataError, "no conversation"), ('{"turns": []}', ConfigError, "turns"),
        ('{"turns": [{"say": "a", "choice": "b"}]}', ConfigError, "exactly one of"),
        ('{"turns": [{"say": "a", "expect": {"outside": true, "intent": "b"}}]}', ConfigError, "outside means"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_conversations_is_refused(tmp_path, line, error, match):
    (tmp_path / "c.jsonl").write_text(line)
    with pytest.raises(error, match=match):
        read_conversations(tmp_path / "c.jsonl")
