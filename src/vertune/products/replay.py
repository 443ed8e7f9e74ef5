"""Replays labelled conversations with a product, and compares each reply with what must follow; knows no figures and no reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from vertune.core.app import Reply, Request
from vertune.core.artifact import Progress
from vertune.core.conversation import Conversation, Expected, Turn
from vertune.dialogue.entities import same

BEGIN = 1_893_456_000.0
"""The moment of the first turn where conversations name none: 2030-01-01 in UTC, so that a replay says the same on every day."""
ANSWERS = frozenset({"answer", "ask", "act"})
"""Actions that commit to an understanding of the message."""

Replies = Callable[[Request, dict[str, Any]], tuple[Reply, dict[str, Any]]]
"""Replies to a request in a state, and returns the new state, as `Product.reply` does."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one labelled turn."""

    conversation: int
    kind: str
    language: str
    text: str
    expected: Expected
    reply: Reply
    problem: str
    """Why the reply is not as expected; empty if it is."""

    @property
    def right(self) -> bool:
        """Whether the reply is as expected."""
        return not self.problem

    @property
    def given(self) -> bool:
        """Whether an answer was given of which can be told whether it is wrong: the reply commits to an intent, an entry or a passage.

        Turns inside a flow, in which details are collected, have no meaning of their own and do not count.
        """
        expected = self.expected
        labelled = expected.outside or expected.intent or expected.entry or expected.also or not set(expected.action) & ANSWERS
        return bool(labelled) and self.reply.action in ANSWERS and bool(answered(self.reply))

    @property
    def false(self) -> bool:
        """Whether a wrong answer was given: to another intent or entry than was meant, or where none is right."""
        return self.given and bool(wrong_answer(self.expected, self.reply))

    @property
    def inside(self) -> bool:
        """Whether there is a right answer to the message."""
        expected = self.expected
        return not expected.outside and (expected.intent is not None or expected.entry is not None) and expected.action != ["handoff"]


def replay(conversations: Sequence[Conversation], reply: Replies, progress: Progress | None = None) -> list[Outcome]:
    """Return the outcome of each turn that says what must follow, in order.

    A turn in which a button is pressed by its title gets the value of the button of this title in the reply before.
    """
    outcomes = []
    for number, conversation in enumerate(conversations):
        state: dict[str, Any] = {}
        known: dict[str, Any] = {}
        at, last = BEGIN, None
        for turn in conversation.turns:
            at = turn.at if turn.at is not None else at + 1
            known |= turn.known
            request = _request(turn, conversation.language, at, known, last)
            last, state = reply(request, state)
            if turn.expect == Expected():
                continue
            written = conversation.language or ("zh" if any("\u3400" <= one <= "\u9fff" for one in turn.say or "") else "en")
            text = turn.say if turn.say is not None else turn.choice or f"({turn.event})"
            why = problem(turn.expect, last)
            outcomes.append(Outcome(number, conversation.kind, written, text, turn.expect, reply=last, problem=why))
        if progress is not None:
            progress("replayed", step=number + 1, steps=len(conversations))
    return outcomes


def _request(turn: Turn, language: str | None, at: float, known: dict[str, Any], last: Reply | None) -> Request:
    choice = turn.choice
    if choice is not None and last is not None:
        choice = next((one.value for one in last.choices if choice in {one.value, one.title}), choice)
    return Request(turn.say or "", language, choice, turn.event or "message", turn.result, at=at, known=dict(known))


def answered(reply: Reply) -> set[str]:
    """Return the intents, entries and passages to which a reply commits."""
    found = {one.id for one in reply.evidence if one.kind in {"intent", "entry", "passage"}}
    return found | ({reply.intent} if reply.intent else set())


def wrong_answer(expected: Expected, reply: Reply) -> str:
    """Return why an answer that was given is wrong; empty if it is not, or if nothing is said about it."""
    given = answered(reply)
    meant = {one for one in (expected.intent, expected.entry, *expected.also) if one}
    if expected.outside:
        return f"answers {', '.join(sorted(given))}, although no answer is right"
    if meant and not given & meant:
        return f"answers {', '.join(sorted(given))}; expected {', '.join(sorted(meant))}"
    if not meant and expected.action and not set(expected.action) & ANSWERS:
        return f"answers {', '.join(sorted(given))}; expected the action {' or '.join(expected.action)}"
    return ""


def problem(expected: Expected, reply: Reply) -> str:
    """Return why a reply is not as expected; empty if it is."""
    checks = (_action, _meaning, _details, _wording)
    return next((why for check in checks if (why := check(expected, reply))), "")


def _action(expected: Expected, reply: Reply) -> str:
    if expected.action and reply.action not in expected.action:
        return f"the action is {reply.action}; expected {' or '.join(expected.action)}"
    if expected.outside and reply.action in ANSWERS and answered(reply):
        return wrong_answer(expected, reply)
    return ""


def _meaning(expected: Expected, reply: Reply) -> str:
    """Check what is meant: answered, or offered where asking back is right."""
    if not (expected.intent or expected.entry or expected.also):
        return ""
    offered = {value for one in reply.choices for value in (one.value, one.value.partition(":")[2])}
    known = answered(reply) | offered
    missing = [one for one in (expected.intent, expected.entry, *expected.also) if one and one not in known]
    return (
        f"{', '.join(missing)} is neither answered nor offered; the reply is about {', '.join(sorted(answered(reply))) or 'nothing'}"
        if missing
        else ""
    )


def _details(expected: Expected, reply: Reply) -> str:
    for name, value in expected.slots.items():
        if not same(value, reply.slots.get(name)):
            return f"{name} is {reply.slots.get(name)!r}; expected {value!r}"
    if lacking := [one for one in expected.reasons if one not in reply.reasons]:
        return f"the reasons are {', '.join(reply.reasons) or 'none'}; expected {lacking[0]}"
    called = reply.call.name if reply.call else None
    return f"it calls {called or 'nothing'}; expected {expected.call}" if expected.call is not None and called != expected.call else ""


def _wording(expected: Expected, reply: Reply) -> str:
    if expected.text and not any(part in reply.text for part in expected.text):
        return f"the text is '{reply.text[:80]}'; expected it to contain '{expected.text[0]}'"
    found = next((part for part in expected.never if part in reply.text), None)
    return f"the text contains '{found}', which must not be" if found is not None else ""
