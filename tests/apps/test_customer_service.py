"""What the app does with messages: with real thresholds, learnt on labelled messages, and predictions by common words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from vertune.apps.customer_service import CustomerService
from vertune.core.app import App, Hit, Request, Said
from vertune.core.errors import ConfigError, UnknownName
from vertune.core.pack import Pack
from vertune.products.passages import learnt_from_faq
from vertune.products.training import read_messages
from vertune.retrieval.normalise import terms
from vertune.testing.apps import ByWords
from vertune.testing.tiny_pack import tiny_pack

MONDAY = datetime(2030, 1, 7, 9, tzinfo=UTC).timestamp()
RETURNS, PAYMENT, HOURS = "what about return for me", "what about invoice for me", "what about closing for me"
TRACK, COMPLAINT, OUTSIDE = "what about parcel for me", "what about complaint for me", "what about football for me"


@dataclass
class Chat:
    """A conversation with an app."""

    app: App
    ask: Any
    state: Any

    def say(self, text: str = "", at: float = MONDAY, **more: Any):
        return self.app.answer(Request(text, at=at, **more), self.state, self.ask)


@pytest.fixture(scope="module")
def pack(tmp_path_factory) -> Pack:
    return tiny_pack(tmp_path_factory.mktemp("pack") / "tiny", "bert")


@pytest.fixture(scope="module")
def words(pack) -> ByWords:
    return ByWords(pack)


@pytest.fixture(scope="module")
def app(pack, words) -> App:
    app = CustomerService.of_pack(pack)
    messages = [*read_messages(pack.path("calibration.csv")), *learnt_from_faq(pack)[0]]
    return CustomerService.of_pack(pack, app.learn(messages, words))


@pytest.fixture
def chat(app, words) -> Chat:
    return Chat(app, words, app.state())


def test_it_greets_as_a_machine(app):
    assert "not a person" in app.greet(Request("")).text
    assert "不是真人" in app.greet(Request("", language="zh")).text
    assert "not a person" in app.greet(Request("", language="fr")).text  # the first language of the pack


def test_an_intent_gets_its_answer_word_for_word(chat):
    reply = chat.say(RETURNS)
    assert (reply.action, reply.intent, reply.text) == ("answer", "returns", "You can return items within 30 days.")
    assert [(one.title, one.value) for one in reply.choices] == [("Opening hours", "intent:hours")]
    assert [one.url for one in reply.attachments] == ["/returns"]
    assert 0.5 < reply.confidence <= 1
    assert chat.say(RETURNS).text == "Items can be returned for 30 days."  # the next variant


def test_the_language_is_that_of_the_message_or_the_chosen_one(chat):
    assert chat.say("我想问退货现在").text == "30 天内可以退货。"
    assert chat.say(RETURNS, language="zh").text == "30 天内可以退货。"


def test_conditions_and_dates_choose_the_answer(chat):
    winter = datetime(2029, 12, 31, 12, tzinfo=UTC).timestamp()
    assert chat.say(RETURNS, known={"member": "silver"}).text == "Silver members return within 60 days."
    reply = chat.say(RETURNS, at=winter)
    assert (reply.text, reply.evidence[0].text) == ("The winter rule: 40 days.", "winter")


def test_known_facts_fill_texts_and_messages_never_do(chat):
    assert chat.say(HOURS, known={"member": "silver"}).text == "We are open from 8 to 18, silver member."
    assert chat.say(HOURS).text == "We are open from 8 to 18, {member} member."
    assert "silver" not in chat.say("{member} {member}", known={"member": "silver"}).text


def test_a_button_asks_for_an_intent(chat):
    chat.say(RETURNS)
    reply = chat.say(choice="intent:hours")
    assert (reply.action, reply.intent) == ("answer", "hours")


def test_what_is_not_sure_is_asked_back_and_a_button_answers(chat):
    reply = chat.say("return card open")
    assert reply.action == "clarify"
    values = [one.value for one in reply.choices]
    assert {"intent:returns", "intent:payment"} <= set(values)
    assert values[-2:] == ["none", "person"]
    assert chat.say(choice="intent:payment").intent == "payment"


def test_without_thresholds_nothing_is_sure(pack, words):
    app = CustomerService.of_pack(pack)
    assert Chat(app, words, app.state()).say(RETURNS).action == "clarify"


def test_two_wishes_in_one_message_are_both_answered(chat):
    reply = chat.say("tell me of return now please. tell me of invoice now please")
    assert reply.action == "answer"
    assert {one.id for one in reply.evidence} == {"returns", "payment"}
    assert "30 days" in reply.text
    assert "invoices by mail" in reply.text


def test_an_answer_and_a_flow_in_one_message(chat):
    reply = chat.say("tell me of return now please. tell me of parcel now please")
    assert reply.action == "ask"
    assert reply.text.endswith("What is your order number?")
    assert "30 days" in reply.text
    assert {"returns", "track_order"} <= {one.id for one in reply.evidence}


def test_a_flow_collects_confirms_calls_and_ends(chat):
    assert chat.say(TRACK).text == "What is your order number?"
    reply = chat.say("AB1234")
    assert (reply.action, reply.text, reply.slots) == ("ask", "Look up AB1234?", {"order": "AB1234"})
    assert [one.title for one in reply.choices] == ["Yes", "No"]
    reply = chat.say("yes")
    assert (reply.action, reply.call.name, reply.call.arguments) == ("act", "track_order", {"number": "AB1234"})
    assert chat.say("hello?").text == "One moment, please …"
    reply = chat.say(event="acted", result={"ok": True, "data": {"status": "on its way {order}"}})
    assert (reply.action, reply.text) == ("answer", "AB1234: on its way {order}.")
    assert chat.state.frame is None


def test_a_digression_is_answered_and_the_flow_goes_on(chat):
    chat.say(TRACK)
    reply = chat.say(RETURNS)
    assert reply.action == "answer"
    assert "30 days" in reply.text
    assert reply.text.endswith("What is your order number?")


def test_an_action_that_fails_hands_over(chat):
    for text in (TRACK, "AB1234", "yes"):
        chat.say(text)
    reply = chat.say(event="acted", result={"ok": False, "error": "timeout"})
    assert (reply.action, reply.reasons) == ("handoff", ["action_failed"])


def test_an_entry_of_the_faq_is_found_or_offered(chat):
    reply = chat.say("can it be wrapped as a gift")
    assert reply.action in {"answer", "clarify"}
    assert "gift_wrap" in {one.id for one in reply.evidence}
    if reply.action == "clarify":
        reply = chat.say(choice="entry:gift_wrap")
    assert reply.text == "Yes, gift wrapping costs 2 euros."


def test_a_passage_that_was_offered_is_shown(chat):
    reply = chat.say("damaged parcels picture of the box")
    offered = [one.value for one in reply.choices if one.value.startswith("entry:")]
    if reply.action == "clarify" and offered:
        reply = chat.say(choice=offered[0])
        assert "take a picture" in reply.text
        assert reply.evidence[0].kind == "passage"
    else:
        assert reply.action in {"answer", "ask", "clarify", "refuse"}


def test_a_flow_whose_words_may_mean_another_one_has_a_button_for_it(app, words):
    (track,) = app.knowledge.flows.flows
    back = track.model_copy(update={"name": "give_back", "intents": ["returns"], "slots": [track.slots[0]]})
    flows = app.knowledge.flows.model_copy(update={"flows": [track.model_copy(update={"instead": ["give_back"]}), back]})
    other = CustomerService(knowledge=app.knowledge.model_copy(update={"flows": flows}), learnt=app.learnt)
    chat = Chat(other, words, other.state())
    assert [(one.title, one.value) for one in chat.say(TRACK).choices] == [("Return an item", "intent:returns")]
    assert chat.say("what is that").choices == []  # with the first question alone
    reply = chat.say(choice="intent:returns")
    assert (reply.action, reply.intent) == ("ask", "returns")
    assert [frame.flow for frame in chat.state.stack] == ["give_back"]
    asked = Chat(other, words, other.state()).say("parcel card open")
    values = [one.value for one in asked.choices]
    assert asked.action == "clarify"
    assert values[values.index("intent:track_order") + 1] == "intent:returns"  # also where it is asked which intent is meant


class Finding(ByWords):
    """Also finds an intent by its training messages, before all else."""

    def search(self, text, number):
        return [Hit("intent:returns", "Return an item", "Return an item", 2.0), *super().search(text, number)]


def test_search_gives_no_intent_that_was_rejected(pack, app):
    sure = CustomerService.of_pack(pack, {**app.learnt, "search": {"answer": -1.0, "offer": None}})
    chat = Chat(sure, Finding(pack), sure.state())
    assert chat.say("return card open").intent == "returns"
    assert chat.say("no, that's not what I meant. return card open").intent != "returns"


class Reading(ByWords):
    """Also ranks passages again, and extracts sentences, by common words."""

    def predict(self, questions):
        found = super().predict(questions)
        if pairs := questions.get("match"):
            shared = [len(set(terms(one["text"])) & set(terms(one["text_pair"]))) for one in pairs]
            found["match"] = [{"probabilities": {"1": count / (1 + count), "0": 1 / (1 + count)}} for count in shared]
        if asked := questions.get("extract"):
            found["extract"] = [{"text": self._sentence(one["question"], one["context"])} for one in asked]
        return found

    def _sentence(self, question: str, text: str) -> str:
        return max(text.split(", "), key=lambda part: len(set(terms(part)) & set(terms(question))))


def test_what_was_found_is_ranked_again_and_extracted_from(pack, app):
    sure = CustomerService.of_pack(pack, {**app.learnt, "search": {"answer": 0.6, "offer": 0.1}})
    reply = Chat(sure, Reading(pack), sure.state()).say("damaged box picture week")
    assert (reply.action, reply.evidence[0].kind) == ("answer", "passage")
    assert reply.evidence[0].score > 0.7
    extract, passage = reply.text.split("\n\n")[-2:]
    assert extract in passage != extract
    assert "picture" in extract


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("I want to talk to a human", "asked_for"), ("转人工", "asked_for"), ("I will call my lawyer", "sensitive_topic"),
        (COMPLAINT, "policy"), ("this is ridiculous, you idiots", "angry"), ("你们太垃圾了", "angry"),
    ],
)  # fmt: skip
def test_a_person_takes_over_for_a_reason(chat, text, reason):
    reply = chat.say(text)
    assert (reply.action, reply.reasons) == ("handoff", [reason])
    assert chat.state.stage == "waiting"
    assert chat.say(RETURNS).action == "handoff"  # the person answers, not the app


def test_a_rule_of_the_business_hands_over(chat):
    assert chat.say(PAYMENT, known={"member": "gold"}).reasons == ["business_rule"]


def test_the_button_for_a_person(chat):
    assert chat.say(choice="person").reasons == ["asked_for"]


def test_twice_not_understood_hands_over_and_an_answer_between_resets(chat):
    first = chat.say("xyzzy plugh")
    assert (first.action, first.choices[-1].value) == ("refuse", "person")
    chat.say(RETURNS)
    assert chat.say("xyzzy plugh").action == "refuse"
    assert chat.say("qwerty uiop").reasons == ["not_understood"]


def test_after_a_person_gave_it_back_the_app_answers_again(chat):
    for text in ("xyzzy plugh", "qwerty uiop"):
        chat.say(text)
    reply = chat.say(event="returned")
    assert (reply.action, chat.state.stage) == ("answer", "bot")
    assert chat.say("xyzzy plugh").action == "refuse"  # no hand-over at once
    assert chat.say(RETURNS).action == "answer"


def test_outside_of_hours_it_is_said_when_people_are_there(chat):
    saturday = datetime(2030, 1, 5, 12, tzinfo=UTC).timestamp()
    reply = chat.say("a human please", at=saturday)
    assert reply.reasons == ["asked_for", "outside_hours"]
    assert "2030-01-07 08:00" in reply.text
    chat.state.hand_back()
    early = datetime(2030, 1, 7, 6, tzinfo=UTC).timestamp()
    assert "2030-01-07 08:00" in chat.say("a human please", at=early).text


def test_not_that_offers_something_else(chat):
    chat.say("return card open")
    chat.say(choice="intent:payment")
    reply = chat.say("no, that's not what I meant")
    assert reply.action == "clarify"
    assert "intent:payment" not in [one.value for one in reply.choices]


@pytest.mark.parametrize("reply", ["the first one", "1", "第一个", "title"])
def test_a_button_is_meant_by_its_place_or_title(chat, app, words, reply):
    offered = chat.say("return card open").choices
    pressed = Chat(app, words, chat.state.model_copy(deep=True)).say(choice=offered[0].value)
    assert chat.say(offered[0].title if reply == "title" else reply).text == pressed.text


@pytest.mark.parametrize("reply", ["the ninth one", "the first time I asked", "one more question"])
def test_what_is_no_place_of_a_button_is_read_as_a_message(chat, reply):
    offered = chat.say("return card open")
    assert offered.action == "clarify"
    chat.say(reply)
    assert chat.state.answered is None


def test_a_detail_in_place_of_another_one_does_not_leave_the_flow(chat):
    chat.say(TRACK)
    assert chat.say("not this one, AB1234").slots == {"order": "AB1234"}
    chat.state.end()
    chat.say(TRACK)
    chat.say("not that, I lost my card")
    assert chat.state.frame is None


def test_what_asks_again_repeats_and_a_question_does_not(chat):
    chat.say(TRACK)
    assert chat.say("what?").reasons == ["repeated"]
    assert chat.say("what is that").reasons != ["repeated"]


def test_none_of_what_was_offered(chat):
    chat.say("return card open")
    reply = chat.say(choice="none")
    assert reply.reasons == ["not_understood"]  # the message fitted nothing, and so did what was offered
    assert {"payment", "returns"} <= set(chat.state.rejected)


def test_courtesies_are_returned(chat):
    assert chat.say("hello").text.startswith("Hello")
    assert chat.say("thanks!").text in {"You're welcome. Is there anything else?", "Glad to help. Anything else?"}
    assert "Goodbye" in chat.say("bye").text
    assert "automated" in chat.say("are you a robot?").text


def test_the_last_reply_is_said_again(chat):
    assert chat.say("say that again").text == "I haven't said anything yet. How can I help?"
    text = chat.say(RETURNS).text
    assert chat.say("say that again please").text == text


def test_silence_is_asked_about_and_then_left(chat):
    chat.say(TRACK)
    assert chat.say(event="silence").text == 'Are you still there?\n\nBack to "track an order".\n\nWhat is your order number?'
    assert "whenever" in chat.say(event="silence").text


def test_waiting_ends_if_the_customer_says_so(chat):
    chat.say("a human please")
    assert chat.say("never mind").action == "answer"
    assert chat.say(RETURNS).action == "answer"


def test_the_summary_quotes_the_customer(app, chat):
    chat.say("AB1234 " + TRACK)
    chat.say("I want to talk to a human")
    said = [Said("visitor", "hello"), Said("bot", "Hi"), Said("visitor", TRACK), Said("visitor", "my parcel was damaged and wet")]
    text = app.summarise(said, chat.state)
    assert "asked for a person" in text
    assert "my parcel was damaged and wet" in text
    assert "– hello" not in text


@pytest.mark.parametrize(
    ("file", "text", "error", "match"),
    [
        ("answers.yaml", "[{intent: a, title: {en: A, zh: 甲}}, {intent: track_order, title: {en: B, zh: 乙}}]", ConfigError, "no answer"),
        ("answers.yaml", "- {intent: a, title: {en: A}, handoff: policy}", ConfigError, "no text in 'zh'"),
        ("answers.yaml", "- {intent: a, title: {en: A, zh: 甲}, answers: [{text: {en: yes, zh: 是}}]}", ConfigError, "put quotes"),
        ("texts.yaml", "helo: {en: Hi}", UnknownName, "Did you mean 'hello'"),
        ("flows.yaml", "flows: [{name: x, title: {en: X}, intents: [nothing], done: {en: Done}}]", UnknownName, "nothing"),
        ("pack.yaml", "{title: {en: A}, languages: [en], slots: {intent: a.yaml}}", UnknownName, "Did you mean 'intents'"),
        ("pack.yaml", "{title: {en: A}, languages: [en], hours: {zone: Mars/Base, week: {}}}", ConfigError, "no such time zone"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(tmp_path, file, text, error, match):
    pack = tiny_pack(tmp_path / "tiny", "bert")
    (pack.folder / file).write_text(text, encoding="utf-8")
    with pytest.raises(error, match=match):
        CustomerService.of_pack(Pack(pack.folder))
