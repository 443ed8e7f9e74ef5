"""People who answer: the queue, who may take what, what a visitor sees, and what people teach."""

from __future__ import annotations

import pytest

from tests.server.chat.conftest import IDS, Visitor
from tests.server.chat.test_messages import expected
from tests.server.running import problem, together

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


def waiting(visitor: Visitor, text: str = "person") -> Visitor:
    """Let a conversation wait for a person."""
    assert visitor.say(text, sequence=1).json()["stage"] == "waiting"
    return visitor


@pytest.fixture
def queued(visitor) -> Visitor:
    return waiting(visitor)


def write(desk, visitor: Visitor, text: str, who: str = "agent", message: str | None = None):
    return desk("POST", f"conversations/{visitor.id}/messages", who, message=message or f"a{next(IDS)}", text=text)


def test_a_conversation_goes_from_the_app_to_a_person_and_back(queued, desk) -> None:
    listed = desk("GET", "conversations", stage="waiting").json()
    mine = next(one for one in listed["conversations"] if one["id"] == queued.id)
    assert (mine["reasons"], mine["last"], mine["summary"], mine["agent"]) == (["asked_for"], "person", "person", None)
    assert queued.get()["position"] >= 1
    assert queued.turns()[-1]["event"] == "handoff"
    stored = queued.say("are you there?", sequence=2).json()
    assert [turn["author"] for turn in stored["turns"]] == ["visitor"], "an app does not answer for a person"
    taken = desk("POST", f"conversations/{queued.id}/take").json()
    assert (taken["stage"], taken["agent"]) == ("agent", taken["agent"])
    assert "only one person answers" in problem(desk("POST", f"conversations/{queued.id}/take", "colleague"), 409)
    assert "Take it first" in problem(write(desk, queued, "hello", "colleague"), 409)
    first = write(desk, queued, "Hello, my number is +49 30 12345678", message="a")
    assert first.json()["turns"][0]["author"] == "agent"
    assert write(desk, queued, "Hello, my number is +49 30 12345678", message="a").json()["turns"] == first.json()["turns"]
    assert problem(write(desk, queued, "something else", message="a"), 409)
    assert queued.get()["agent"] is True
    assert queued.turns()[-1]["text"] == "Hello, my number is +49 30 12345678", "a visitor reads what a person wrote"
    assert queued.turns()[-1]["message"] is None
    assert desk("POST", f"conversations/{queued.id}/return").json()["stage"] == "bot"
    assert [turn["text"] for turn in queued.turns()[-2:]] == [None, "I am back."]
    answer = queued.say("thanks", sequence=3).json()
    assert answer["turns"][1]["text"] == expected("person", "thanks"), "the app did not read what was for a person"


def test_a_button_always_leads_to_a_person(visitor, desk) -> None:
    visitor.say("one", sequence=1)
    asked = visitor.post("handoff", message="h", sequence=2)
    assert asked.json()["stage"] == "waiting"
    assert visitor.post("handoff", message="h", sequence=2).json()["turns"] == asked.json()["turns"]
    assert sum(turn["event"] == "handoff" for turn in visitor.turns()) == 1


def test_a_conversation_is_closed_and_rated(queued, desk) -> None:
    desk("POST", f"conversations/{queued.id}/take")
    write(desk, queued, "Done: +49 30 12345678")
    closed = desk("POST", f"conversations/{queued.id}/close").json()
    assert closed["stage"] == "closed"
    assert "closed" in problem(queued.say("more", sequence=2), 409)
    assert queued.post("satisfaction", score=5, comment="quick").status_code == 204
    found = desk("GET", f"conversations/{queued.id}").json()
    assert (found["satisfaction"], found["comment"]) == (5, "quick")
    assert found["turns"][-2]["text"] == "Done: <PHONE_1>", "what was said is masked when a conversation ends"
    assert "closed" in problem(desk("POST", f"conversations/{queued.id}/take"), 409)


def test_one_of_two_people_who_take_at_once_gets_it(queued, desk) -> None:
    found = together(
        [lambda who=who: desk("POST", f"conversations/{queued.id}/take", who).status_code for who in ("agent", "colleague") * 3]
    )
    assert sorted(set(found)) == [200, 409]
    assert found.count(200) == 3, "who has it may take it again"


def test_a_desk_sees_conversations_of_its_customer_alone(server, secrets, desk) -> None:
    foreign = waiting(Visitor(server, secrets["other"]))
    for who in ("agent", "colleague"):
        listed = desk("GET", "conversations", who, limit=200).json()["conversations"]
        assert foreign.id not in {one["id"] for one in listed}
        for method, path in (
            ("GET", ""), ("POST", "/take"), ("POST", "/return"), ("POST", "/close"), ("GET", "/suggestions"),
        ):  # fmt: skip
            problem(desk(method, f"conversations/{foreign.id}{path}", who), 404)
        problem(write(desk, foreign, "hello", who), 404)
        problem(desk("POST", f"conversations/{foreign.id}/label", who, turn=2, intent="x"), 404)
    assert foreign.id in {one["id"] for one in desk("GET", "conversations", "other", limit=200).json()["conversations"]}
    for who in ("predict", "page"):
        assert desk("GET", "conversations", who).status_code == 403


def test_a_list_is_read_in_pages(server, secrets, desk) -> None:
    key, _ = server.keys.create("pages", ["chat", "review"], customer="pages")
    secrets["pages"] = key
    made = [waiting(Visitor(server, key)).id for _ in range(5)]
    queue = desk("GET", "conversations", "pages", stage="waiting").json()
    assert [one["id"] for one in queue["conversations"]] == made
    assert queue["counts"] == {"waiting": 5, "mine": 0}
    desk("POST", f"conversations/{made[2]}/take", "pages")
    assert [one["id"] for one in desk("GET", "conversations", "pages", mine=True).json()["conversations"]] == [made[2]]
    found, before = [], None
    while True:
        page = desk("GET", "conversations", "pages", limit=2, **({"before": before} if before else {})).json()
        found += [one["id"] for one in page["conversations"]]
        before = page["next"]
        if before is None:
            break
    assert found == made[::-1]


def test_a_label_says_what_would_have_been_right(server, visitor, desk) -> None:
    visitor.say("unknown thing about a parcel", sequence=1)
    labelled = desk("POST", f"conversations/{visitor.id}/label", turn=2, intent="parcel")
    assert labelled.json() == {"feedback": None, "entry": None}, "no model of this app learns from it"
    problem(desk("POST", f"conversations/{visitor.id}/label", turn=3, intent="parcel"), 404)
    problem(desk("POST", f"conversations/{visitor.id}/label", turn=2), 422)
    entry = {"question": "Where is it?", "answer": "On its way.", "language": "en"}
    added = desk("POST", f"conversations/{visitor.id}/label", turn=2, entry=entry).json()["entry"]
    turn = desk("GET", f"conversations/{visitor.id}").json()["turns"][1]
    assert turn["label"]["entry"] == {"id": added, **entry}
    key, _ = server.keys.create("reader", ["review"], customer="bank")
    headers = {"Authorization": f"Bearer {key}"}
    found, after = [], ""
    while after is not None:
        page = server.stranger.get("/v1/apps/ledger/labels", params={"after": after, "limit": 1}, headers=headers).json()
        found += page["labels"]
        after = page["next"]
    assert {"conversation": visitor.id, "turn": 2, "text": "unknown thing about a parcel"}.items() <= found[-1].items()


def test_messages_without_an_answer_are_grouped_and_dealt_with(server, desk, secrets) -> None:
    key, _ = server.keys.create("learning", ["chat", "review"], customer="learning")
    headers = {"Authorization": f"Bearer {key}"}
    for text in ("unknown parcel from abroad", "lost parcel abroad customs", "unknown window is broken", "an answer", "person"):
        Visitor(server, key).say(text, sequence=1)
    path = "/v1/apps/ledger/unanswered"
    found = server.stranger.get(path, headers=headers).json()
    assert found["messages"] == 3
    assert [one["size"] for one in found["clusters"]] == [2, 1]
    first = found["clusters"][0]
    assert "parcel" in first["words"]
    assert first["proposal"] == {"kind": "intent", "name": None}
    places = [{"conversation": one["conversation"], "turn": one["turn"]} for one in first["examples"]]
    other = {"Authorization": f"Bearer {secrets['other']}"}
    assert server.stranger.get(path, headers=other).json()["messages"] == 0
    problem(server.stranger.post(path, json={"examples": places, "dismiss": True}, headers=other), 404)
    problem(server.stranger.post(path, json={"examples": places}, headers=headers), 422)
    assert server.stranger.post(path, json={"examples": places, "intent": "parcel"}, headers=headers).json() == {"labels": 2, "entries": []}
    assert [one["size"] for one in server.stranger.get(path, headers=headers).json()["clusters"]] == [1]


def test_suggestions_are_what_the_app_would_answer_and_canned_replies(visitor, desk) -> None:
    assert desk("PUT", "canned/thanks", texts={"en": "Thank you.", "zh": "谢谢。"}).status_code == 200
    visitor.say("a question", sequence=1)
    found = desk("GET", f"conversations/{visitor.id}/suggestions").json()["suggestions"]
    assert [(one["kind"], one["text"]) for one in found] == [("answer", expected("a question")), ("canned", "Thank you.")]
    assert len(visitor.turns()) == 3, "a suggestion is not sent"


def test_canned_replies_belong_to_a_customer(desk) -> None:
    made = desk("PUT", "canned/hours open", "colleague", texts={"en": "9 to 5"})
    assert made.json()["texts"] == {"en": "9 to 5"}
    desk("PUT", "canned/hours open", texts={"en": "9 to 6"})
    assert {one["name"]: one["texts"] for one in desk("GET", "canned").json()["canned"]}["hours open"] == {"en": "9 to 6"}
    assert desk("GET", "canned", "other").json()["canned"] == []
    problem(desk("DELETE", "canned/hours open", "other"), 404)
    assert desk("DELETE", "canned/hours open").status_code == 204
    problem(desk("PUT", "canned/a;b", texts={"en": "x"}), 422)
    problem(desk("PUT", "canned/x", texts={"english": "x"}), 422)


def test_an_app_is_listed_described_and_tried_by_the_code_of_the_chat(server, visitor) -> None:
    listed = server.ask.get("/v1/apps").json()["apps"]
    assert [(one["name"], one["title"]["en"], one["languages"]) for one in listed] == [("ledger", "Ledger", ["en", "zh"])]
    described = server.ask.get("/v1/apps/ledger").json()
    assert (described["intents"], described["slots"], described["error"]) == ([], {}, 0.02)
    first = server.ask.post("/v1/apps/ledger/try", json={"text": "one"}).json()
    second = server.ask.post("/v1/apps/ledger/try", json={"text": "two", "state": first["state"]}).json()
    assert [one["reply"]["text"] for one in (first, second)] == [expected("one"), expected("one", "two")]
    visitor.say("one", sequence=1)
    assert visitor.say("two", sequence=2).json()["turns"][1]["text"] == second["reply"]["text"]
    problem(server.ask.post("/v1/apps/ledger/try", json={"text": "x", "choice": "y"}), 422)
    for state in ({"count": "many"}, {"count": -1e300}, {"count": "9" * 3999}, {"chain": "x" * 70_000}):
        assert "The state" in problem(server.ask.post("/v1/apps/ledger/try", json={"text": "x", "state": state}), 422)
