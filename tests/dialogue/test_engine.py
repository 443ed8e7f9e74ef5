"""Flows as they run: scripted customers with a known wish, single turns, and what must hold after any message."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertune.dialogue.details import Reader
from vertune.dialogue.engine import BUTTONS, REASONS, TEXTS, Step, Turn, advance, begin, resume
from vertune.dialogue.flows import Flows
from vertune.dialogue.lexicon import Lexicon
from vertune.dialogue.state import Conversation

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC).timestamp()
LEXICON = Lexicon.built_in()


def both(en: str, zh: str = "") -> dict[str, str]:
    return {"en": en, "zh": zh or en}


def slot(name: str, kind: str, ask: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "kind": kind, "title": both(name), "ask": both(ask), **more}


FLOWS = Flows.model_validate(
    {
        "flows": [
            {
                "name": "transfer",
                "title": both("a transfer", "转账"),
                "intents": ["transfer"],
                "slots": [
                    slot(
                        "amount",
                        "amount",
                        "How much?",
                        currency="USD",
                        check={"minimum": 1, "maximum": 5000, "wrong": both("Not {value}.")},
                    ),
                    slot("to", "text", "To whom?", cues={"en": ["to"], "zh": ["给"]}, pattern=r"[A-Z]\w+|[\u4e00-\u9fff]{2,3}"),
                    slot(
                        "account",
                        "choice",
                        "From which?",
                        options=[
                            {"value": "checking", "title": both("checking", "活期")},
                            {"value": "savings", "title": both("savings", "定期")},
                        ],
                    ),
                ],
                "confirm": both("Send {amount} to {to} from {account}?"),
                "act": {"action": "transfer"},
                "done": both("Sent, {reference}."),
                "failed": both("It failed."),
            },
            {
                "name": "trip",
                "title": both("a trip"),
                "intents": ["trip"],
                "slots": [
                    slot("leave", "date", "When do you leave?", cues={"en": ["from", "leave on"], "zh": ["从"]}),
                    slot("back", "date", "When are you back?", cues={"en": ["to", "until", "back on"], "zh": ["到"]}),
                    slot("card", "card_ending", "Which card?", known="card"),
                    slot("insured", "yes_no", "With insurance?"),
                    slot("email", "mail", "Where do we write to?", when={"insured": True}),
                ],
                "act": {"action": "notify", "arguments": {"start": "leave", "end": "back", "card": "card"}},
                "done": both("Noted from {leave} to {back}."),
            },
            {
                "name": "idea",
                "title": both("an idea"),
                "intents": ["idea"],
                "slots": [slot("what", "text", "What is it?")],
                "done": both("Noted: {what}"),
            },
        ]
    }
)


class Talk:
    """A conversation in a test: each message goes through JSON, as it does between servers."""

    def __init__(self, language: str = "en", **known: Any) -> None:
        self.state, self.language, self.known = Conversation(), language, known

    def say(self, text: str, **turn: Any) -> Step | None:
        self.state = Conversation.model_validate_json(self.state.model_dump_json())
        return advance(FLOWS, LEXICON, self.state, Turn(text, self.language, NOW, known=self.known, **turn))

    def expect(self, text: str, **turn: Any) -> Step:
        step = self.say(text, **turn)
        assert step is not None
        return step


def test_a_message_with_all_details_is_confirmed_at_once_and_called() -> None:
    talk = Talk()
    step = talk.expect("Transfer $1,200 to Oscar from checking", intent="transfer")
    assert (step.action, step.text, step.buttons) == ("ask", "Send $1,200 to Oscar from checking?", ("yes", "no"))
    step = talk.expect("yes")
    assert step.action == "act"
    assert step.call is not None
    assert step.call.model_dump() == {"name": "transfer", "arguments": {"amount": "1200.00 USD", "to": "Oscar", "account": "checking"}}
    assert talk.say("are you done?", intent="transfer") is None
    step = talk.expect("", result={"ok": True, "data": {"reference": "R1", "nested": {"a": 1}}})
    assert (step.action, step.text, talk.state.stack) == ("answer", "Sent, R1.", [])


def test_details_that_are_missing_are_asked_for_one_after_the_other() -> None:
    talk = Talk("zh")
    assert talk.expect("我要转账", intent="transfer").text == "How much?"
    step = talk.expect("转给王芳200元")
    assert (step.text, [choice.title for choice in step.choices]) == ("From which?", ["活期", "定期"])
    assert talk.expect("", choice="savings").text == "Send ¥200 to 王芳 from 定期?"


def test_no_with_a_detail_corrects_it_and_asks_again() -> None:
    talk = Talk()
    talk.say("Transfer $1,200 to Oscar from checking", intent="transfer")
    step = talk.expect("no, make it 1,100 dollars")
    assert (step.before, step.text) == (("corrected",), "Send $1,100 to Oscar from checking?")
    step = talk.expect("不对，是200美元")
    assert step.slots["amount"] == "200.00 USD"


def test_no_alone_asks_what_to_change_and_a_second_no_cancels() -> None:
    talk = Talk()
    talk.say("Transfer $1,200 to Oscar from checking", intent="transfer")
    step = talk.expect("no")
    assert (step.before, [choice.value for choice in step.choices], step.buttons) == (
        ("what_to_change",),
        ["amount", "to", "account"],
        ("cancel",),
    )
    assert talk.expect("the account").text == "From which?"
    assert talk.expect("savings").text == "Send $1,200 to Oscar from savings?"
    talk.say("no")
    assert talk.expect("no").reason == "cancelled"
    assert talk.state.stack == []


def test_a_yes_to_what_is_to_be_changed_is_no_confirmation() -> None:
    talk = Talk()
    talk.say("Transfer $1,200 to Oscar from checking", intent="transfer")
    talk.say("no")
    assert talk.expect("yes").action == "ask"


def test_values_that_fail_their_check_are_asked_for_again_with_what_was_written() -> None:
    talk = Talk()
    talk.say("transfer", intent="transfer")
    step = talk.expect("9000 dollars")
    assert (step.action, step.text, step.reason, step.slots) == ("ask", "Not 9000 dollars.", "slot_invalid", {})
    assert talk.expect("9000 dollars").action == "handoff"


def test_what_a_customer_writes_fills_in_no_further_value() -> None:
    talk = Talk()
    talk.say("i have an idea", intent="idea")
    assert talk.expect("{what} {flow} {card} %s ${7*7}").text == "Noted: {what} {flow} {card} %s ${7*7}"


def test_two_replies_of_no_use_hand_over() -> None:
    talk = Talk()
    talk.say("transfer", intent="transfer")
    step = talk.expect("purple")
    assert (step.before, step.text, step.reason) == (("not_understood",), "How much?", "slot_not_understood")
    assert talk.expect("monkeys").action == "handoff"


def test_another_flow_interrupts_and_then_the_first_goes_on() -> None:
    talk = Talk()
    talk.say("Transfer $1,200 to Oscar", intent="transfer")
    assert talk.expect("oh, i have an idea", intent="idea").text == "What is it?"
    step = talk.expect("paint it blue")
    assert (step.text, step.then and step.then.before, step.then and step.then.text) == (
        "Noted: paint it blue",
        ("back_to",),
        "From which?",
    )
    assert talk.expect("savings").text == "Send $1,200 to Oscar from savings?"


def test_a_question_in_between_is_left_to_the_app_and_the_flow_resumed() -> None:
    talk = Talk()
    talk.say("transfer", intent="transfer")
    assert talk.say("what does a transfer abroad cost?", intent="fees") is None
    step = resume(FLOWS, LEXICON, talk.state, "en")
    assert step is not None
    assert (step.before, step.text, step.values) == (("back_to",), "How much?", {"flow": "a transfer"})
    assert talk.expect("50").slots == {"amount": "50.00 USD"}


@pytest.mark.parametrize("aside", ["thanks", "hello", "who are you?", "谢谢"])
def test_courtesy_in_between_is_no_reply(aside: str) -> None:
    talk = Talk()
    talk.say("i have an idea", intent="idea")
    assert talk.say(aside) is None
    assert talk.expect("paint it").text == "Noted: paint it"


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("never mind", None), ("算了", None), ("", "cancel"), ("cancel", None), ("please stop the transfer", None), ("请取消转账", None),
    ],
)  # fmt: skip
def test_a_flow_can_be_cancelled_at_any_question(text: str, choice: str | None) -> None:
    talk = Talk()
    talk.say("transfer $5", intent="transfer")
    assert talk.expect(text, choice=choice).before == ("cancelled",)
    assert talk.state.stack == []


@pytest.mark.parametrize("text", ["no, don't send it", "不要转了", "别转", "I don't want to send money"])
def test_a_negated_wish_at_the_confirmation_cancels(text: str) -> None:
    talk = Talk()
    talk.say("Transfer $1,200 to Oscar from checking", intent="transfer")
    assert talk.expect(text).reason == "cancelled"


@pytest.mark.parametrize(
    "text",
    [
        "That's right. How long will it take?",
        "Yep. How many days do you think?",
        "Yes, that is correct. About how many days?",
        "对，要多久到账？",
    ],
)
def test_a_yes_confirms_although_a_question_follows(text: str) -> None:
    talk = Talk()
    talk.say("Transfer $1,200 to Oscar from checking", intent="transfer")
    assert talk.expect(text, intent="fees").action == "act"


def test_a_yes_with_another_value_does_not_confirm() -> None:
    talk = Talk()
    talk.say("Transfer $1,200 to Oscar from checking", intent="transfer")
    assert talk.expect("yes, but 50 dollars").text == "Send $50 to Oscar from checking?"
    assert talk.expect("yes, 50 dollars").action == "act"


@pytest.mark.parametrize(
    ("reply", "name"),
    [
        ("Diego", "Diego"), ("I want Diego to get it.", "Diego"), ("It will be sent to my friend Yumi, but not now", "Yumi"),
        ("nadia", "nadia"), ("to nadia", "nadia"), ("Nadia please", "Nadia"), ("No thanks; that's all", None),
        ("what do you mean by that?", None), ("转给王芳", "王芳"),
    ],
)  # fmt: skip
def test_a_text_with_a_pattern_is_found_in_a_sentence(reply: str, name: str | None) -> None:
    talk = Talk()
    talk.say("transfer 5 dollars from savings", intent="transfer")
    step = talk.say(reply)
    assert (step.slots.get("to") if step else None) == name


def test_details_of_one_kind_are_told_apart_by_their_cues_else_by_order() -> None:
    talk = Talk(card="1111")
    step = talk.expect("I'm away until 5 May 2027, from 3 May 2027", intent="trip")
    assert step.slots == {"leave": "2027-05-03", "back": "2027-05-05", "card": "1111"}
    talk = Talk(card="1111")
    talk.say("notify you of a trip", intent="trip")
    assert talk.expect("3 May 2027 and 5 May 2027").slots == {"leave": "2027-05-03", "back": "2027-05-05", "card": "1111"}


def test_a_slot_under_a_condition_is_asked_for_only_then() -> None:
    talk = Talk(card="1111")
    talk.say("from 3 May 2027 until 5 May 2027", intent="trip")
    assert talk.expect("yes").text == "Where do we write to?"
    assert talk.expect("no, without insurance please, change the insured").action in {"ask", "act"}
    step = talk.expect("a@example.com")
    assert step.call is not None
    assert step.call.arguments == {"start": "2027-05-03", "end": "2027-05-05", "card": "1111"}


def test_a_failure_without_a_text_hands_over_and_with_one_says_it() -> None:
    talk = Talk(card="1111")
    talk.say("from 3 May 2027 until 5 May 2027", intent="trip")
    talk.say("no")
    assert talk.expect("", result={"ok": False, "error": "no answer"}).action == "handoff"
    talk = Talk()
    talk.say("Transfer $1,200 to Oscar from checking", intent="transfer")
    talk.say("yes")
    assert talk.expect("", result={"ok": False}).text == "It failed."


def test_what_a_model_tagged_fills_slots_that_rules_leave_empty() -> None:
    step = Talk().expect("send 5 dollars, recipient oscar", intent="transfer", tags={"to": "oscar", "amount": "7 dollars"})
    assert step.slots == {"amount": "5.00 USD", "to": "oscar"}


def test_a_flow_that_the_pack_no_longer_has_is_left() -> None:
    state = Conversation()
    state.begin("gone")
    step = advance(FLOWS, LEXICON, state, Turn("transfer", "en", NOW, intent="transfer"))
    assert step is not None
    assert [frame.flow for frame in state.stack] == ["transfer"]


MESSAGES = [
    "transfer", "transfer $5 to Oscar", "yes", "no", "cancel", "9000 dollars", "50 dollars", "to Nadia", "savings", "from 3 May 2027",
    "tomorrow", "ending in 1234", "1234", "a@b.org", "what?", "thanks", "I don't know", "{amount}", "", "no, 7 dollars",
    "活期", "给王芳", "不对", "change the amount",
]  # fmt: skip
TURNS = st.tuples(
    st.sampled_from(MESSAGES),
    st.sampled_from([None, None, "transfer", "trip", "idea", "fees"]),
    st.sampled_from([None, None, None, "yes", "no", "cancel", "savings", "amount", "junk"]),
    st.sampled_from([None, None, None, None, {"ok": True, "data": {"reference": 1}}, {"ok": False}]),
)


@settings(deadline=None)
@given(st.lists(TURNS, max_size=14))
def test_nothing_is_called_that_was_not_complete_right_and_confirmed(turns: list[tuple[Any, ...]]) -> None:
    talk = Talk()
    for text, intent, choice, result in turns:
        stage = (talk.state.frame.stage, talk.state.frame.flow) if talk.state.frame else None
        again = Talk()
        again.state = talk.state.model_copy(deep=True)
        step = talk.say(text, intent=intent, choice=choice, result=result)
        assert again.say(text, intent=intent, choice=choice, result=result) == step
        assert again.state == talk.state
        if step is None:
            continue
        assert step.reason in REASONS
        assert set(step.before) <= set(TEXTS)
        assert set(step.buttons) <= set(BUTTONS)
        flow = FLOWS.flow(step.flow)
        assert flow is not None
        reader = Reader(FLOWS, LEXICON, "", NOW)
        assert all(reader.problem(slot, step.slots[slot.name]) is None for slot in flow.slots if slot.name in step.slots)
        if step.call:
            assert flow.missing(step.slots) is None
            assert flow.confirm is None or stage == ("confirm", flow.name)


NAMES = ["Oscar", "Nadia", "王芳"]
ACCOUNTS = ["checking", "savings"]


@settings(deadline=None)
@given(st.randoms(use_true_random=False))
def test_scripted_customers_get_what_they_want(chance: random.Random) -> None:
    """A customer gives details in any order and grouping, digresses, corrects one, and must end with the last values."""
    wish = {"amount": chance.randint(1, 5000), "to": chance.choice(NAMES), "account": chance.choice(ACCOUNTS)}
    talk = Talk()
    said = [name for name in wish if chance.random() < 0.5]
    corrections = chance.randint(0, 2)
    step = talk.expect(f"transfer {_said(said, wish)}", intent="transfer")
    for _ in range(12):
        if step.action == "act":
            break
        if step.reason == "confirm":
            if corrections:
                corrections -= 1
                wish["amount"] = chance.randint(1, 5000)
                step = talk.expect(f"no, make it {wish['amount']} dollars")
                continue
            step = talk.expect(chance.choice(["yes", "ok", "好的", "yes please"]))
            continue
        if chance.random() < 0.2:
            assert talk.say("what does that cost in all?", intent="fees") is None
        asked = talk.state.stack[-1].asked
        assert asked is not None
        more = [asked, *(name for name in wish if name != asked and name not in step.slots and chance.random() < 0.3)]
        step = talk.expect(_said(more, wish))
    assert step.call is not None
    assert step.call.arguments == {"amount": f"{wish['amount']}.00 USD", "to": wish["to"], "account": wish["account"]}


def _said(names: list[str], wish: dict[str, Any]) -> str:
    forms = {"amount": f"{wish['amount']} dollars", "to": f"to {wish['to']}", "account": f"from my {wish['account']}"}
    return " ".join(forms[name] for name in names)


def _either(**changes: Any) -> Flows:
    """The flow of a transfer, and one of a payment that may be meant instead of it."""
    transfer, _, idea = FLOWS.model_dump(mode="json")["flows"]
    wallet = slot("wallet", "choice", "From which?", options=[{"value": "card", "title": both("card")}])
    slots = [*transfer["slots"][:2], {**wallet, **changes}]
    payment = {**transfer, "name": "payment", "intents": ["payment"], "slots": slots, "confirm": both("Pay {amount} to {to}?")}
    return Flows.model_validate({"flows": [{**transfer, "instead": ["payment"]}, payment, idea]})


def test_the_flow_that_was_meant_instead_takes_the_details_over_and_the_other_one_is_left() -> None:
    flows, state = _either(), Conversation()
    advance(flows, LEXICON, state, Turn("Transfer $1,200 to Oscar", "en", NOW, intent="transfer"))
    step = begin(flows, LEXICON, state, Turn("", "en", NOW, intent="payment"))
    assert step is not None
    assert (step.text, step.slots) == ("From which?", {"amount": "1200.00 USD", "to": "Oscar"})
    assert [frame.flow for frame in state.stack] == ["payment"]


def test_a_detail_that_takes_other_values_is_not_taken_over() -> None:
    flows, state = _either(name="account"), Conversation()
    advance(flows, LEXICON, state, Turn("Transfer $1,200 to Oscar from checking", "en", NOW, intent="transfer"))
    step = begin(flows, LEXICON, state, Turn("", "en", NOW, intent="payment"))
    assert step is not None
    assert set(step.slots) == {"amount", "to"}


def test_another_flow_is_begun_inside_of_one_that_asks_for_a_text() -> None:
    flows, state = _either(), Conversation()
    advance(flows, LEXICON, state, Turn("I have an idea", "en", NOW, intent="idea"))
    step = begin(flows, LEXICON, state, Turn("Transfer $5", "en", NOW, intent="transfer"))
    assert step is not None
    assert step.slots == {"amount": "5.00 USD"}
    assert [frame.flow for frame in state.stack] == ["idea", "transfer"]
    state.frame.stage = "act"  # type: ignore[union-attr]
    assert begin(flows, LEXICON, state, Turn("", "en", NOW, intent="payment")) is None
    assert begin(flows, LEXICON, Conversation(), Turn("", "en", NOW, intent="nothing")) is None


def test_what_a_model_tagged_fills_what_rules_did_not_and_corrects() -> None:
    talk = Talk()
    step = talk.expect("Transfer $1,200 to my aunt mary", intent="transfer", tags={"to": "aunt mary", "account": "$1,200"})
    assert step.slots == {"amount": "1200.00 USD", "to": "aunt mary"}  # the amount is no account, although it was tagged as one
    talk.expect("checking")
    step = talk.expect("no, for uncle bob", tags={"to": "uncle bob"})
    assert (step.before, step.slots["to"]) == (("corrected",), "uncle bob")


def test_a_tag_on_what_is_another_detail_already_is_not_used() -> None:
    step = Talk().expect("Transfer $1,200", intent="transfer", tags={"to": "1,200"})
    assert step.slots == {"amount": "1200.00 USD"}


CONFIRMED = "Transfer $200 to Oscar from checking"


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("no, make it 300", "amount", "300.00 USD"),
        ("not 200, 300", "amount", "300.00 USD"),
        ("oops, 20 not 200", "amount", "20.00 USD"),
        ("yes, and make it 500", "amount", "500.00 USD"),
        ("ok but 150", "amount", "150.00 USD"),
        ("can you make it 300 instead?", "amount", "300.00 USD"),
        ("不，500", "amount", "500.00 USD"),
        ("不是200，是300", "amount", "300.00 USD"),
        ("多了，100就行", "amount", "100.00 USD"),
        ("改成两千五", "amount", "2500.00 USD"),
        ("It's not for Oscar, it's for Nadia", "to", "Nadia"),
        ("should be Nadia", "to", "Nadia"),
        ("不是奥斯卡，是王芳", "to", "王芳"),
        ("应该是给王芳", "to", "王芳"),
        ("换成李雷", "to", "李雷"),
        ("not checking", "account", "savings"),
        ("不是活期，另一个", "account", "savings"),
        ("not Oscar, Nadia", "to", "Nadia"),
        ("Nadia, not Oscar", "to", "Nadia"),
        ("No, Nadia", "to", "Nadia"),
        ("lower it to 60", "amount", "60.00 USD"),
        ("不，李雷", "to", "李雷"),
        ("三百，不是二百", "amount", "300.00 USD"),
        ("给李雷，不是奥斯卡", "to", "李雷"),
        ("200 is wrong, 90", "amount", "90.00 USD"),
        ("给李雷吧", "to", "李雷"),
        ("其他都对，改成25", "amount", "25.00 USD"),
        ("everything is fine but make it 25 please", "amount", "25.00 USD"),
        ("no i don't think that's right can you change the amount to fifty", "amount", "50.00 USD"),
    ],
)
def test_a_correction_says_only_the_new_value(text: str, name: str, value: str) -> None:
    talk = Talk()
    talk.say(CONFIRMED, intent="transfer")
    step = talk.expect(text)
    assert (step.action, step.slots) == ("ask", {"amount": "200.00 USD", "to": "Oscar", "account": "checking", name: value})


@pytest.mark.parametrize(
    "text",
    [
        "the fee is 5 dollars?",
        "手续费5美元吗",
        "is Nadia the right one?",
        "I have 2 accounts",
        "is it 2 days?",
        "I called 3 times",
        "does that take 5 minutes",
        "转3笔行吗",
        "50 or 60",
        "改成明天",
        "再加十块",
        "10 dollars more",
        "no, 300 times no",
    ],
)
def test_a_number_of_something_else_corrects_nothing(text: str) -> None:
    talk = Talk()
    talk.say(CONFIRMED, intent="transfer")
    step = talk.expect(text)
    assert (step.action, step.slots) == ("ask", {"amount": "200.00 USD", "to": "Oscar", "account": "checking"})


@pytest.mark.parametrize(
    "text",
    [
        "yes or no?", "what happens if I say yes?", "ok but how much does it cost?", "sure?", "is that ok?", "好的，但是多少钱",
        "对了，你们几点下班", "可以撤回吗", "可以多久到账", "absolutely not", "definitely not", "不确定", "maybe", "好好想想", "对吗",
        "yes or maybe no", "ok wait", "yeah no", "yes and no", "ok bye",
        "yes, the other card", "好的，等一下", "对，是另一张",
        "确定不了", "No, Thanks",
        "if it's free, yes", "好的话什么时候能到", "not sure yet",
    ],
)  # fmt: skip
def test_what_only_contains_a_yes_confirms_nothing(text: str) -> None:
    talk = Talk()
    talk.say(CONFIRMED, intent="transfer")
    assert talk.expect(text).action == "ask"


@pytest.mark.parametrize("text", ["👍", "yesss", "好嘞", "make the transfer now please", "马上转账", "转账吧", "没毛病", "对的对的"])
def test_a_yes_in_other_words_confirms(text: str) -> None:
    talk = Talk("zh")
    talk.say(CONFIRMED, intent="transfer")
    assert talk.expect(text).action == "act" or text.startswith("make")


@pytest.mark.parametrize("text", ["不转了", "好吧，算了", "钱不够，不转了", "别转账", "先不转账了", "我不想转账了"])
def test_the_negated_title_of_a_flow_leaves_it(text: str) -> None:
    talk = Talk("zh")
    talk.say(CONFIRMED, intent="transfer")
    assert talk.expect(text).reason == "cancelled"


@pytest.mark.parametrize(
    ("text", "slots"),
    [
        ("send 200 to Nadia", {"to": "Nadia"}),
        ("两千五给王芳", {"amount": "2500.00 USD", "to": "王芳"}),
        ("Nadia, 50, savings", {"amount": "50.00 USD", "account": "savings"}),
        ("我有2个问题", {}),
        ("3 of my friends", {}),
    ],
)
def test_an_amount_without_a_currency_counts_if_nothing_else_is_said_or_in_a_list(text: str, slots: dict[str, str]) -> None:
    talk = Talk()
    assert talk.expect(text, intent="transfer").slots == slots


def _sending() -> Flows:
    flows = FLOWS.model_dump(mode="json")
    flows["flows"][0]["slots"][0]["cues"] = {"en": ["send", "transfer"], "zh": ["转"]}
    return Flows.model_validate(flows)


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("please send 200 to Nadia for the pizza", "200.00 USD"), ("send 200 Nadia", "200.00 USD"), ("帮我转200给王芳买披萨", "200.00 USD"),
        ("send 3 payments to Nadia", None), ("转2笔给王芳", None), ("send 50-60 to Nadia", None),
    ],
)  # fmt: skip
def test_an_amount_without_a_currency_counts_behind_its_cue(text: str, amount: str | None) -> None:
    step = advance(_sending(), LEXICON, Conversation(), Turn(text, "en", NOW, intent="transfer"))
    assert step is not None
    assert step.slots.get("amount") == amount


@pytest.mark.parametrize(
    ("reply", "name"), [("是王芳", "王芳"), ("名字是王芳", "王芳"), ("her name is Nadia", "Nadia"), ("王芳吧", "王芳")]
)
def test_a_name_is_taken_without_what_stands_in_front_of_it(reply: str, name: str) -> None:
    talk = Talk()
    talk.say("transfer 5 dollars from savings", intent="transfer")
    assert talk.expect(reply).slots["to"] == name


@pytest.mark.parametrize(
    "reply",
    [
        "what?",
        "I don't know",
        "不知道",
        "好的",
        "why do you ask?",
        "可以不说吗？",
        "忘了",
        "is it free to change",
        "等我查一下",
        "let me look it up",
        "give me two minutes",
        "我翻一下手机",
        "I can't think of it, wait",
    ],
)
def test_a_reply_that_gives_no_text_is_no_text(reply: str) -> None:
    talk = Talk()
    talk.say("i have an idea", intent="idea")
    step = talk.say(reply)
    assert step is None or step.action == "ask"
    assert talk.expect("paint it blue").text == "Noted: paint it blue"


@pytest.mark.parametrize(
    ("reply", "text"),
    [("what I want is more light", "what I want is more light"), ("it's broken", "it's broken"), ("改成红色", "红色"), ("no", "no")],
)
def test_a_reply_is_the_text_without_words_that_only_bring_it(reply: str, text: str) -> None:
    talk = Talk()
    talk.say("i have an idea", intent="idea")
    assert talk.expect(reply).text in {f"Noted: {text}", "What is it?"}


def _invoice() -> Flows:
    number = slot(
        "tax", "text", "Number?", title={"en": "tax number", "zh": "税号"}, check={"pattern": "[0-9A-Z]{8}", "wrong": both("Not {value}.")}
    )
    address = slot("address", "text", "Where?", title={"en": "new address", "zh": "新地址"})
    flow = {"name": "invoice", "title": both("an invoice"), "intents": ["invoice"], "slots": [number, address], "done": both("Done.")}
    return Flows.model_validate({"flows": [flow]})


@pytest.mark.parametrize("reply", ["税号是AB123456", "ＡＢ１２３４５６", "my tax number is AB123456, thanks", "AB123456"])
def test_a_text_with_a_check_is_the_part_that_fulfils_it(reply: str) -> None:
    flows, state = _invoice(), Conversation()
    advance(flows, LEXICON, state, Turn("an invoice", "en", NOW, intent="invoice"))
    step = advance(flows, LEXICON, state, Turn(reply, "en", NOW))
    assert step is not None
    assert step.slots == {"tax": "AB123456"}


@pytest.mark.parametrize(
    ("reply", "address"),
    [
        ("新地址是世纪大道100号", "世纪大道100号"), ("收货地址改成世纪大道100号", "世纪大道100号"),
        ("My new address is 5 High Street", "5 High Street"),
        ("世纪大道100号是我家", "世纪大道100号是我家"),
        ("你好，亲水湾小区88号，谢谢", "亲水湾小区88号"),
    ],
)  # fmt: skip
def test_a_text_is_taken_without_its_title(reply: str, address: str) -> None:
    flows, state = _invoice(), Conversation()
    advance(flows, LEXICON, state, Turn("an invoice", "en", NOW, intent="invoice"))
    advance(flows, LEXICON, state, Turn("AB123456", "en", NOW))
    step = advance(flows, LEXICON, state, Turn(reply, "en", NOW))
    assert step is not None
    assert step.slots["address"] == address


def test_a_detail_that_is_called_wrong_is_asked_for_again_while_others_are_collected() -> None:
    talk = Talk()
    talk.say("transfer $200 to Oscar", intent="transfer")
    assert talk.expect("wrong amount").text == "How much?"
    assert talk.expect("70").slots == {"amount": "70.00 USD", "to": "Oscar"}


@pytest.mark.parametrize("text", ["取消要钱吗", "is there a fee if I cancel", "取消要多久"])
def test_a_question_about_cancelling_cancels_nothing(text: str) -> None:
    talk = Talk("zh")
    talk.say("transfer $200 to Oscar", intent="transfer")
    talk.say(text)
    assert talk.state.frame is not None


def test_an_option_is_meant_by_its_place_and_a_negated_one_is_not() -> None:
    for reply, account in (
        ("the second one", "savings"),
        ("1", "checking"),
        ("not savings, the other one", "checking"),
        ("checking or savings", None),
    ):
        talk = Talk()
        talk.say("transfer $200 to Oscar", intent="transfer")
        assert talk.expect(reply).slots.get("account") == account


def test_a_word_that_corrects_is_an_option_only_if_there_is_no_other_one() -> None:
    options = [{"value": "wrong", "title": both("the wrong item came")}, {"value": "faulty", "title": both("broken")}]
    flow = {
        "name": "back", "title": both("a return"), "intents": ["back"], "done": both("Done."), "confirm": both("Right?"),
        "act": {"action": "back"}, "slots": [slot("reason", "choice", "Why?", options=options)],
    }  # fmt: skip
    flows = Flows.model_validate({"flows": [flow]})
    for reply, reason in (("the reason is wrong, it is broken", "faulty"), ("it's broken", "faulty"), ("wrong", "wrong")):
        state = Conversation()
        advance(flows, LEXICON, state, Turn("a return", "en", NOW, intent="back"))
        step = advance(flows, LEXICON, state, Turn(reply, "en", NOW))
        assert step is not None
        assert step.slots == {"reason": reason}


def test_a_number_is_taken_for_one_detail_alone_and_only_behind_its_cue() -> None:
    flow = {
        "name": "table", "title": both("a table"), "intents": ["table"], "done": both("Done."),
        "slots": [slot("time", "time", "When?"), slot("guests", "number", "How many?", cues={"en": ["for"]})],
    }  # fmt: skip
    flows, state = Flows.model_validate({"flows": [flow]}), Conversation()
    advance(flows, LEXICON, state, Turn("I have 2 questions on a table", "en", NOW, intent="table"))
    step = advance(flows, LEXICON, state, Turn("7", "en", NOW))
    assert step is not None
    assert step.slots == {"time": "07:00"}
    step = advance(flows, LEXICON, state, Turn("8 pm for 3 people", "en", NOW))
    assert step is not None
    assert step.slots == {"time": "20:00", "guests": 3}
