"""Actions of the operator and other channels: signed, tried again, with an id that recognises repetitions, and answered once."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from functools import partial

import pytest

from tests.server.chat.conftest import SECRET, Visitor, chat_file, genuine, run, signed
from tests.server.chat.test_messages import expected
from tests.server.running import problem, together, until
from vertune.core.artifact import Home
from vertune.core.errors import ConfigError
from vertune.server.chat.file import ChatFile
from vertune.server.chat.talking import Talking
from vertune.server.chat.tidying import Tidying
from vertune.store.database import FILE

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
SENT = {"ok": True, "data": {"state": "sent"}}


def acted(result) -> str:
    return f"acted {result!r}"


@pytest.fixture(autouse=True)
def _fresh(receiver):
    receiver.calls.clear()
    receiver.answers.clear()
    receiver.delay = 0.0


def results(visitor) -> list[tuple]:
    with closing(sqlite3.connect(visitor.server.service.home.folder / FILE)) as connection:
        rows = connection.execute("SELECT state, attempts, result FROM actions WHERE conversation = ? ORDER BY number", [visitor.id])
        return [(state, attempts, result and json.loads(result)) for state, attempts, result in rows]


def test_an_action_is_called_with_a_signature_and_its_result_is_the_next_turn(visitor, receiver) -> None:
    asked = visitor.say("act order", sequence=1).json()
    assert (asked["pending"], asked["turns"][1]["action"]) == (True, "act")
    turns = visitor.until(4)
    assert turns[3]["text"] == expected("act order", acted(SENT))
    path, headers, body = receiver.calls[0]
    sent = json.loads(body)
    assert path == "/order"
    assert genuine(headers, body)
    assert headers["Idempotency-Key"] == f"{visitor.id}-3"
    assert {"action": "order", "arguments": {"said": "act order"}, "conversation": visitor.id, "turn": 3}.items() <= sent.items()
    assert results(visitor) == [("done", 1, SENT)]
    assert visitor.say("next", sequence=2).json()["turns"][1]["text"] == expected("act order", acted(SENT), "next")
    assert visitor.get()["pending"] is False


def test_a_visitor_goes_on_while_an_action_runs(visitor, receiver) -> None:
    receiver.delay = 0.3
    visitor.say("act order", sequence=1)
    assert visitor.get()["pending"] is True
    assert visitor.say("meanwhile", sequence=2).json()["turns"][1]["text"] == expected("act order", "meanwhile")
    assert visitor.until(6)[-1]["text"] == expected("act order", "meanwhile", acted(SENT))


@pytest.mark.parametrize(
    ("answers", "result", "attempts"),
    [
        ([(503, b""), (429, b"")], SENT, 3),
        ([(500, b"")] * 3, {"ok": False, "error": "status_500"}, 3),
        ([(404, b"")], {"ok": False, "error": "status_404"}, 1),
        ([(302, b"")], {"ok": False, "error": "status_302"}, 1),
        ([(200, b"<html>")], {"ok": False, "error": "no_json"}, 1),
        ([(200, b"[1]")], {"ok": False, "error": "no_object"}, 1),
        ([(200, b'"' + b"x" * 70_000 + b'"')], {"ok": False, "error": "too_large"}, 1),
        ([(200, b'{"ok": false, "error": "sold out"}')], {"ok": False, "error": "sold out"}, 1),
        ([(204, b"")], {"ok": True, "data": {}}, 1),
    ],
)
def test_an_action_is_tried_again_where_that_may_help(visitor, receiver, answers, result, attempts) -> None:
    receiver.answers[:] = answers
    visitor.say("act order", sequence=1)
    assert visitor.until(4)[-1]["text"] == expected("act order", acted(result))
    assert results(visitor) == [("done" if result["ok"] else "failed", attempts, result)]
    assert {headers["Idempotency-Key"] for _, headers, _ in receiver.calls} == {f"{visitor.id}-3"}


def test_an_action_that_nobody_takes_or_knows_fails_and_the_app_says_so(visitor) -> None:
    visitor.say("act dead", sequence=1)
    unreachable = {"ok": False, "error": "unreachable"}
    assert visitor.until(4)[-1]["text"] == expected("act dead", acted(unreachable))
    assert results(visitor) == [("failed", 3, unreachable)]
    visitor.say("act nothing", sequence=2)
    assert visitor.until(7)[-1]["text"].startswith("4 ")
    assert results(visitor)[1][2] == {"ok": False, "error": "not_configured"}


def test_an_action_whose_server_died_is_called_again_and_answered_once(visitor, receiver, monkeypatch) -> None:
    """The server dies after the receiver has acted, and before the result is stored: the call is repeated, with the same id."""
    chats = visitor.server.service.chats
    finish, died = chats.acting._finish, []

    async def die(call, result):
        if call.conversation == visitor.id and not died:
            died.append(result)
            raise asyncio.CancelledError
        await finish(call, result)

    monkeypatch.setattr(chats.acting, "_finish", die)
    monkeypatch.setattr("vertune.server.chat.acting._RESERVE", -0.9)
    visitor.say("act order", sequence=1)
    turns = visitor.until(4)
    assert died == [SENT]
    assert turns[3]["text"] == expected("act order", acted(SENT))
    keys = [headers["Idempotency-Key"] for _, headers, _ in receiver.calls]
    assert len(keys) >= 2
    assert set(keys) == {f"{visitor.id}-3"}
    assert len(visitor.turns()) == 4


def test_an_action_of_a_closed_conversation_is_dropped(visitor, receiver) -> None:
    receiver.delay = 0.2
    visitor.say("act order", sequence=1)
    until(lambda: receiver.calls)  # closing could be faster, and then nothing is called
    visitor.post("close", message="end", sequence=2)
    assert results(visitor)[0][0] == "dropped"
    assert visitor.turns()[-1]["event"] == "closed"


def test_the_result_of_an_action_reaches_the_person_who_has_taken_over(visitor, receiver, desk) -> None:
    receiver.delay = 0.2
    visitor.say("act order", sequence=1)
    visitor.post("handoff", message="h", sequence=2)
    until(lambda: visitor.turns()[-1]["event"] == "acted")
    assert desk("GET", f"conversations/{visitor.id}").json()["turns"][-1]["result"] == SENT


# ------------------------------------------------------------------ the operator's file


@pytest.mark.parametrize(
    "content",
    [
        "[]", "actions: {order: {url: 'ftp://x', secret_env: CHAT_SECRET}}", "actions: {order: {url: 'https://x'}}",
        "actions: {order: {url: 'https://u:p@x', secret_env: CHAT_SECRET}}", "actions: {order: {url: 'https://x', secret_env: hunter2!}}",
        "actions: {order: {url: 'https://x', secret_env: NOT_SET_ANYWHERE}}", "adapters: {one: {app: ledger}}", "more: 1",
    ],
)  # fmt: skip
def test_a_mistake_in_the_file_is_an_error_when_the_server_starts(tmp_path, monkeypatch, content) -> None:
    monkeypatch.setenv("CHAT_SECRET", SECRET)
    file = tmp_path / "chat.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError) as found:
        ChatFile.read(file)
    assert "hunter2" not in str(found.value)


# ------------------------------------------------------------------ adapters


def send(server, adapter: str, body: dict, **how):
    content, headers = signed(body, **how)
    return server.stranger.post(f"/v1/apps/ledger/incoming/{adapter}", content=content, headers=headers)


def test_a_sender_of_another_channel_has_one_conversation(server) -> None:
    first = send(server, "messenger", {"sender": "+49 1", "message": "m1", "text": "one"})
    assert first.status_code == 200, first.text
    assert first.json()["turns"][1]["text"] == expected("one")
    assert send(server, "messenger", {"sender": "+49 1", "message": "m1", "text": "one"}).json()["turns"] == first.json()["turns"]
    second = send(server, "messenger", {"sender": "+49 1", "message": "m2", "text": "two"}).json()
    assert second["turns"][1]["text"] == expected("one", "two")
    other = send(server, "messenger", {"sender": "+49 2", "message": "m1", "text": "one"}).json()
    assert other["turns"][1]["text"] == expected("one"), "another sender has another conversation"


def test_messages_of_a_new_sender_at_once_begin_one_conversation(server) -> None:
    bodies = [{"sender": "crowd", "message": f"m{number}", "text": f"t{number}"} for number in range(6)]
    found = together([lambda body=body: send(server, "messenger", body) for body in bodies])
    assert {answer.status_code for answer in found} == {200}
    assert sorted(int(answer.json()["turns"][1]["text"].split()[0]) for answer in found) == [1, 2, 3, 4, 5, 6]


def test_what_is_not_signed_with_the_secret_is_refused(server) -> None:
    body = {"sender": "x", "message": "m", "text": "one"}
    for how in ({"secret": "another"}, {"age": 400}, {"age": -400}):
        assert "no valid signature" in problem(send(server, "messenger", body, **how), 401)
    content, headers = signed(body)
    path = "/v1/apps/ledger/incoming/messenger"
    problem(server.stranger.post(path, content=content.replace(b"one", b"two"), headers=headers), 401)
    problem(server.stranger.post(path, content=content, headers={**headers, "X-Vertune-Delivery": "other"}), 401)
    problem(server.stranger.post(path, content=content, headers={"Content-Type": "application/json"}), 401)
    problem(send(server, "nothing", body), 404)
    for wrong in ({}, {**body, "choice": "x"}, {**body, "sender": ""}, {**body, "stage": "agent"}):
        problem(send(server, "messenger", wrong), 422)


def test_replies_are_posted_in_order_until_they_are_taken(server, receiver, desk) -> None:
    receiver.answers[:] = [(500, b"")]
    given = send(server, "posted", {"sender": "zoë", "message": "m1", "text": "person 030 1234567"}).json()
    assert given["turns"] == [], "the reply is posted"
    until(lambda: len(receiver.calls) >= 3)
    sent = [json.loads(body) for _, headers, body in receiver.calls if genuine(headers, body)]
    assert [(one["to"], one["turn"]["number"]) for one in sent[:3]] == [("zoë", 1), ("zoë", 1), ("zoë", 3)]
    assert sent[2]["turn"]["text"] == expected("person 030 1234567")
    id = sent[0]["conversation"]
    assert desk("POST", f"conversations/{id}/take").status_code == 200
    desk("POST", f"conversations/{id}/messages", message="a", text="Call 030 7654321")
    until(lambda: json.loads(receiver.calls[-1][2])["turn"]["text"] == "Call 030 7654321")
    desk("POST", f"conversations/{id}/close")
    until(lambda: json.loads(receiver.calls[-1][2])["turn"]["event"] == "closed")
    again = send(server, "posted", {"sender": "zoë", "message": "m9", "text": "again"})
    assert again.status_code == 200
    until(lambda: json.loads(receiver.calls[-1][2])["turn"]["text"] == expected("again"))
    assert json.loads(receiver.calls[-1][2])["conversation"] != id


@pytest.fixture
def two_servers(tmp_path, receiver, quick, monkeypatch):
    """Two servers of one database, neither of which looks for messages that wait."""
    monkeypatch.setattr(Tidying, "answer_waiting", lambda self: asyncio.sleep(0))
    home = Home(tmp_path / "home")
    home.folder.mkdir()
    file = chat_file(tmp_path, receiver.url)
    with run(home, None, file) as one, run(home, None, file) as two:
        yield one, two


def say_to(server, person, number) -> int:
    body = {"message": f"m{number}", "text": f"t{number}", "sequence": number}
    return server.stranger.post(f"{person.path}/messages", json=body, headers=person.headers).status_code


def test_what_waits_is_answered_at_once_by_the_server_that_closes_the_gap(two_servers) -> None:
    one, two = two_servers
    person = Visitor(one, "none")
    assert [say_to(one, person, 3), say_to(two, person, 2), say_to(two, person, 1)] == [202, 202, 200]
    until(lambda: person.get()["turn"] == 7)


def test_a_gap_that_is_closed_while_a_message_is_put_aside_is_noticed(two_servers, monkeypatch) -> None:
    one, two = two_servers
    person, put_aside = Visitor(one, "none"), Talking._out_of_order

    async def put_aside_slowly(self, talk, message):
        if talk.fresh:
            assert await asyncio.to_thread(say_to, two, person, 1) == 200
        return await put_aside(self, talk, message)

    monkeypatch.setattr(Talking, "_out_of_order", put_aside_slowly)
    assert say_to(one, person, 2) == 202
    until(lambda: person.get()["turn"] == 5)


def test_two_servers_of_one_database_answer_each_message_once(tmp_path, receiver, quick) -> None:
    """Messages of each conversation go to either server, twice, and in a wrong order."""
    home = Home(tmp_path / "home")
    home.folder.mkdir()
    file = chat_file(tmp_path, receiver.url)
    with run(home, None, file, rate="1000/second") as one, run(home, None, file, rate="1000/second") as two:
        people = [Visitor(one, "none") for _ in range(4)]

        for person in people:
            orders = [(one, 2), (two, 1), (two, 2), (one, 1), (one, 4), (two, 3), (one, 3), (two, 4)]
            found = together([partial(say_to, server, person, number) for server, number in orders])
            assert set(found) <= {200, 202}
        for person in people:
            until(lambda person=person: person.get()["turn"] == 9)
            said = ["t1", "t2", "t3", "t4"]
            replies = [turn["text"] for turn in person.turns() if turn["author"] == "bot"][1:]
            assert replies == [expected(*said[:count]) for count in range(1, 5)]
