"""What a reply to a confirmation says, in flows that cancel something and in others; what takes a yes back never acts."""

from __future__ import annotations

from typing import Any

import pytest

from vertune.dialogue.confirming import answer, does, repeats_wish
from vertune.dialogue.engine import Step, Turn, advance
from vertune.dialogue.flows import Flow, Flows
from vertune.dialogue.lexicon import Lexicon
from vertune.dialogue.patterns import read
from vertune.dialogue.state import Conversation, Frame

LEXICON = Lexicon.built_in()
NOW = 1_795_608_000.0  # 25 November 2026


def flow(name: str, en: str, zh: str, slots: list[dict[str, Any]]) -> dict[str, Any]:
    done = {"en": "Done.", "zh": "好了。"}
    return {
        "name": name, "title": {"en": en, "zh": zh}, "intents": [name], "slots": slots, "done": done,
        "confirm": {"en": "Shall I do this?", "zh": "确认吗？"}, "act": {"action": name},
    }  # fmt: skip


def slot(name: str, kind: str, en: str, zh: str) -> dict[str, Any]:
    return {"name": name, "kind": kind, "title": {"en": en, "zh": zh}, "ask": {"en": f"Which {en}?", "zh": f"{zh}？"}}


FLOWS = Flows.model_validate(
    {
        "flows": [
            flow("pay", "a payment", "付款", [slot("amount", "amount", "amount", "金额")]),
            flow("cancel_order", "cancel an order", "取消订单", [slot("number", "card_ending", "number", "号码")]),
            flow("return_goods", "return something", "申请退货", [slot("number", "card_ending", "number", "号码")]),
        ]
    }
)


def at_confirmation(name: str, text: str, intent: str | None = None) -> tuple[Step | None, Conversation]:
    slots = {"amount": "20.00 GBP"} if name == "pay" else {"number": "4821"}
    state = Conversation(stack=[Frame(flow=name, slots=slots, stage="confirm")])
    language = "en" if text.isascii() else "zh"
    return advance(FLOWS, LEXICON, state, Turn(text, language, NOW, intent=intent)), state


def acts(name: str, text: str) -> bool:
    step, _ = at_confirmation(name, text)
    return step is not None and step.action == "act"


CANCELS = [
    "okay, cancel",
    "yes, cancel it",
    "yes please cancel that",
    "yeah I want to cancel",
    "是的，取消吧",
    "好的，取消",
    "嗯 取消",
    "那就取消吧",
]


@pytest.mark.parametrize("text", CANCELS)
def test_an_answer_that_says_cancel_leaves_a_flow_that_cancels_nothing(text: str) -> None:
    for name in ("pay", "return_goods"):
        step, state = at_confirmation(name, text)
        assert step is not None
        assert (step.reason, state.stack) == ("cancelled", [])


@pytest.mark.parametrize("text", [*CANCELS, "cancel it", "取消吧", "please cancel", "cancel the order", "取消"])
def test_an_answer_that_says_cancel_is_a_yes_in_a_flow_that_cancels(text: str) -> None:
    assert acts("cancel_order", text)


@pytest.mark.parametrize(
    "text",
    [
        "no, cancel",
        "don't cancel",
        "never mind",
        "yes, never mind",
        "yes, stop it",
        "yes cancel but keep the shoes",
        "cancel the cancellation",
        "yes, don't",
        "先别取消",
        "不取消了",
        "好的，不取消了",
        "算了",
        "I want to keep my order, cancel this",
    ],
)
def test_a_flow_that_cancels_acts_on_no_answer_that_is_against_it(text: str) -> None:
    assert not acts("cancel_order", text)


@pytest.mark.parametrize(
    "text",
    [
        "ok don't",
        "yes I said no",
        "yes, I don't want it anymore",
        "是的，哦不",
        "yes I can't do that",
        "yeah so basically I was thinking maybe not",
        "yes stop it",
        "ok scratch that",
        "ok leave it then",
        "okay skip it",
        "right, scrap that",
        "yes, undo it",
        "嗯，撤销",
        "ok let me ask my wife first",
        "okay I'll check with my bank",
        "yes give me a moment",
        "好的，我先问问老婆",
        "可以，我再想想",
        "嗯，我找一下",
        "yes but only half",
        "yes, one of them",
        "yes, keep it",
        "是的，只付一半",
        "yes, tomorrow",
        "好的，下周",
        "yes I am not sure",
        "好，不过太贵了",
        "my wife says yes",
        "can you confirm",
        "could you please confirm the fee",
        "he will confirm",
        "who told you yes",
        "他说可以",
        "correct the amount",
        "确认一下金额",
        "I'm fine thanks",
        "I can't confirm that",
    ],
)
def test_a_yes_that_is_taken_back_limited_or_somebody_elses_never_acts(text: str) -> None:
    assert not any(acts(flow.name, text) for flow in FLOWS.flows)


@pytest.mark.parametrize(
    "text",
    [
        "yes",
        "yes. When will it arrive?",
        "yes, no problem",
        "no issue, go ahead",
        "everything is correct",
        "thanks, that's right",
        "I said yes",
        "the amount is correct",
        "thats right mate",
        "um yes please go ahead",
        "spot on",
        "yes, that sounds great",
        "um yes please go ahead and make the payment thank you",
        "yes kindly do the needful",
        "嗯那个就是对的你付吧",
        "好喔",
        "可以，要多久到账？",
        "是的没有问题",
        "对的，麻烦快点",
        "谢谢，确认",
        "付吧",
    ],
)
def test_a_clear_yes_acts(text: str) -> None:
    assert acts("pay", text)


@pytest.mark.parametrize(
    ("text", "repeats"), [("退吧", True), ("退货", True), ("return something now", True), ("退货吗", False), ("货物", False)]
)
def test_who_says_the_wish_again_agrees(text: str, repeats: bool) -> None:
    returned = FLOWS.flow("return_goods")
    assert returned is not None
    assert repeats_wish(text, returned) is repeats


def test_only_what_begins_a_reply_agrees_whatever_follows() -> None:
    pay = FLOWS.flow("pay")
    assert pay is not None
    for text, expected in (("yes", (True, True)), ("everything is right", (True, False)), ("no", (False, True)), ("purple", (None, False))):
        assert answer(text, read(text, LEXICON), LEXICON, pay) == expected


@pytest.mark.parametrize(
    ("name", "en", "zh", "verb", "cancels"),
    [
        ("cancel_order", "an order", "订单", "cancel", True),
        ("stop_it", "an order", "取消订单", "取消", True),
        ("end", "a cancellation", "订单取消", "取消", True),
        ("end", "request a cancellation", "申请取消", "cancel it", True),
        ("stop_payments", "stop payments", "停止付款", "cancel", False),
        ("restore", "restore a cancelled order", "恢复已取消的订单", "取消", False),
        ("undo", "undo a cancellation", "撤销取消", "取消", False),
        ("undo", "undo a cancellation", "撤销取消", "cancelled", False),
        ("pay", "a payment", "付款", "stop", False),
        ("reverse_charge", "reverse a charge", "退回扣款", "reverse it", True),
        ("interest", "interest", "利息", "i changed my mind", False),
    ],
)
def test_a_flow_does_what_its_name_or_title_begins_or_ends_with(name: str, en: str, zh: str, verb: str, cancels: bool) -> None:
    assert does(Flow.model_validate(flow(name, en, zh, [])), verb) is cancels


def test_what_another_flow_cancels_is_left_to_it() -> None:
    step, state = at_confirmation("return_goods", "cancel my order", intent="cancel_order")
    assert step is not None
    assert [frame.flow for frame in state.stack] == ["return_goods", "cancel_order"]
    step, state = at_confirmation("pay", "cancel the payment", intent="cancel_order")
    assert step is not None
    assert (step.reason, state.stack) == ("cancelled", [])


@pytest.mark.parametrize("text", ["fine. cancel.", "never mind the payment", "okay never mind the payment then"])
def test_a_flow_is_left_behind_marks_and_by_its_title(text: str) -> None:
    step, _ = at_confirmation("pay", text)
    assert step is not None
    assert step.reason == "cancelled"


def test_going_back_to_something_leaves_nothing() -> None:
    step, state = at_confirmation("pay", "ok back to the payment")
    assert step is not None
    assert state.frame is not None
