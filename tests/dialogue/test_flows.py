"""The schema of flows and the state of conversations."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from vertune.dialogue.flows import Flows, fill, pick
from vertune.dialogue.state import DEEPEST, Conversation

TEXT = {"en": "text", "zh": "文字"}


def flow(**changes: Any) -> dict[str, Any]:
    slot = {"name": "card", "kind": "card_ending", "title": TEXT, "ask": TEXT}
    return {"name": "block", "title": TEXT, "done": TEXT, "slots": [slot], **changes}


def slot(**changes: Any) -> dict[str, Any]:
    return flow(slots=[{"name": "card", "title": TEXT, "ask": TEXT, **changes}])


@pytest.mark.parametrize(
    ("flows", "message"),
    [
        ([flow(), flow()], "several flows with the name block"),
        ([flow(intents=["lost"]), flow(name="other", intents=["lost"])], "start with the intent lost"),
        ([flow(confirm={"en": "Block {number}?"})], "no slot number"),
        ([flow(act={"action": "block", "arguments": {"card": "number"}})], "no slot number"),
        ([slot(kind="choice")], "write options or a gazetteer"),
        ([slot(kind="date", options=[{"value": "a", "title": TEXT}])], "for no other kind"),
        ([slot(kind="order_number", pattern="[A")], "no regular expression"),
        ([slot(when={"reason": "lost"})], "no slot reason"),
        ([flow(slots=[*flow()["slots"], *flow()["slots"]])], "several slots card"),
        ([flow(intents=["lost"], instead=["block"])], "names block in instead"),
        ([flow(), flow(name="other", instead=["block"])], "names block in instead"),
        ([flow(done={})], "done"),
        ([flow(colour="red")], "colour"),
    ],
)
def test_flows_that_cannot_work_are_refused(flows: list[Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Flows.model_validate({"flows": flows})


def test_an_unknown_time_zone_is_refused() -> None:
    with pytest.raises(ValidationError, match="no such time zone"):
        Flows.model_validate({"timezone": "Mars/Base"})


def test_slots_with_a_condition_are_missing_only_under_it() -> None:
    reason = {"name": "reason", "title": TEXT, "ask": TEXT}
    found = Flows.model_validate({"flows": [flow(slots=[reason, {**flow()["slots"][0], "when": {"reason": "lost"}}])]}).flows[0]
    missing = [found.missing(known) for known in ({}, {"reason": "lost"}, {"reason": "old"}, {"reason": "lost", "card": "1234"})]
    assert [slot.name if slot else None for slot in missing] == ["reason", "card", None, None]


def test_a_text_is_picked_by_language_else_in_english() -> None:
    assert [pick(TEXT, language) for language in ("zh", "en", "fr", None)] == ["文字", "text", "text", "text"]
    assert pick({"zh": "文字"}, "en") == "文字"


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(["a", "b", "c"]), st.text("{}abc!", max_size=8)),
    st.lists(st.sampled_from(["{a}", "{b}", "{c}", "{", "x}"])),
)
def test_values_are_filled_in_once(values: dict[str, str], parts: list[str]) -> None:
    filled = [values.get(part[1], part) if len(part) == 3 else part for part in parts]
    assert fill(" ".join(parts), values) == " ".join(filled)


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcdefgh"), max_size=20))
def test_the_stack_holds_the_latest_flows_each_once(names: list[str]) -> None:
    state = Conversation()
    for name in names:
        state.begin(name).slots["from"] = name
    latest = list(dict.fromkeys(reversed(names)))[:DEEPEST]
    assert [frame.flow for frame in state.stack] == latest[::-1]
    assert Conversation.model_validate_json(state.model_dump_json()) == state


def test_a_conversation_that_is_given_back_starts_without_reasons_to_hand_over() -> None:
    state = Conversation(not_understood=2, angry=3, silences=1, offered=["a"], pending=["b"], rejected=["c"])
    state.begin("block")
    state.hand_over(["angry"])
    assert (state.stage, state.reasons, state.offered, state.pending) == ("waiting", ["angry"], [], [])
    state.hand_back()
    assert state == Conversation(returned=1)


def test_wishes_wait_in_order_and_not_without_end() -> None:
    state = Conversation()
    state.wait_with(["a", "b"])
    state.wait_with(["c", "d", "e"])
    assert state.pending == ["a", "b", "c", "d"]
