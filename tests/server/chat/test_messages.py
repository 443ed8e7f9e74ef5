"""Messages of visitors: each is answered once, in order, from the state of its own conversation, whoever else writes at the time."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from tests.server.chat.conftest import ORIGIN, Visitor
from tests.server.running import problem, together, until
from tests.server.test_leaks import EVERYWHERE, found_in
from tests.server.test_leaks import together as as_few_texts
from vertune.core.ids import time_ordered_id
from vertune.server.chat.talking import Talking
from vertune.store.database import FILE
from vertune.testing.ledger import chained

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


def expected(*said: str) -> str:
    """The reply to the last of these messages, computed here."""
    chain = ""
    for one in said:
        chain = chained(chain, one)
    return f"{len(said)} {chain}"


def texts(turns, author="bot"):
    return [turn["text"] for turn in turns if turn["author"] == author]


def test_an_app_greets_and_answers_from_the_state_of_the_conversation(visitor) -> None:
    begun = visitor.begun.json()
    assert (begun["stage"], begun["sequence"], begun["title"]["zh"]) == ("bot", 1, "账本")
    assert begun["turns"][0]["choices"] == [{"title": "Person", "value": "person"}]
    for place, text in enumerate(["one", "two", "three"], 1):
        found = visitor.say(text, sequence=place)
        assert found.status_code == 200
        answer = found.json()
        assert [turn["author"] for turn in answer["turns"]] == ["visitor", "bot"]
        assert answer["turns"][1]["text"] == expected(*["one", "two", "three"][:place])
        assert answer["turns"][1]["action"] == "answer"
        assert (answer["stage"], answer["sequence"], answer["pending"]) == ("bot", place + 1, False)
    found = visitor.get()
    assert [turn["number"] for turn in found["turns"]] == [1, 2, 3, 4, 5, 6, 7]
    assert visitor.turns(after=5) == found["turns"][5:]
    assert "slots" not in found["turns"][2], "a visitor does not see what an app has understood"


def test_a_message_that_is_sent_again_gets_the_same_reply_and_changes_nothing(visitor) -> None:
    first, second = visitor.say("one", "a", sequence=1).json(), visitor.say("two", "b", sequence=2).json()
    for _ in range(2):
        assert visitor.say("one", "a", sequence=1).json()["turns"] == first["turns"]
        assert visitor.say("two", "b", sequence=9).json()["turns"] == second["turns"], "the id decides, not the number"
    assert texts(visitor.turns()) == ["Hello", expected("one"), expected("one", "two")]
    assert "another message" in problem(visitor.say("three", "a", sequence=3), 409)
    assert "has the number 2" in problem(visitor.say("three", "c", sequence=2), 409)


def test_the_same_message_sent_many_times_at_once_is_answered_once(visitor) -> None:
    found = together([lambda: visitor.say("one", "same", sequence=1)] * 8)
    assert {answer.status_code for answer in found} == {200}
    assert len({str(answer.json()["turns"]) for answer in found}) == 1
    assert texts(visitor.turns()) == ["Hello", expected("one")]


def test_messages_of_many_conversations_at_once_never_mix(server, secrets) -> None:
    people = [Visitor(server, secrets["own"]) for _ in range(6)]

    def talk(person: Visitor, name: str) -> list[str]:
        return [person.say(f"{name} {number}", sequence=number).json()["turns"][1]["text"] for number in range(1, 6)]

    found = together([lambda person=person, place=place: talk(person, f"p{place}") for place, person in enumerate(people)])
    for place, replies in enumerate(found):
        said = [f"p{place} {number}" for number in range(1, 6)]
        assert replies == [expected(*said[:count]) for count in range(1, 6)]


def test_a_button_is_stored_with_what_stands_on_it(visitor) -> None:
    pressed = visitor.post("messages", message="a", sequence=1, choice="person").json()
    assert (pressed["turns"][0]["text"], pressed["stage"]) == ("Person", "waiting")
    assert visitor.post("messages", message="a", sequence=1, choice="person").json()["turns"] == pressed["turns"]
    assert visitor.post("messages", message="b", sequence=2, choice="other").json()["turns"][0]["text"] == "other"


def test_a_message_that_comes_early_waits_and_is_answered_in_order(visitor) -> None:
    for number, text in ((3, "three"), (2, "two")):
        early = visitor.say(text, f"e{number}", sequence=number)
        assert (early.status_code, early.json()["turns"], early.json()["sequence"]) == (202, [], 1)
    assert visitor.say("one", "e1", sequence=1).json()["turns"][1]["text"] == expected("one")
    until(lambda: visitor.get()["turn"] == 7)
    assert texts(visitor.turns()) == ["Hello", expected("one"), expected("one", "two"), expected("one", "two", "three")]
    assert visitor.say("three", "e3", sequence=3).json()["turns"][1]["text"] == expected("one", "two", "three")
    with closing(sqlite3.connect(visitor.server.service.home.folder / FILE)) as connection:
        found = connection.execute("SELECT COUNT(*) FROM early_messages WHERE conversation = ?", [visitor.id]).fetchone()
    assert found == (0,), "what waited is not kept"


def test_what_waits_is_answered_by_another_server_if_the_first_one_has_died(visitor, monkeypatch) -> None:
    """The server that closed the gap died before it went on; the row is all that is left."""
    monkeypatch.setattr(Talking, "_catch_up_later", lambda self, id: None)
    assert visitor.say("two", "e2", sequence=2).status_code == 202
    assert visitor.say("one", "e1", sequence=1).status_code == 200
    until(lambda: visitor.get()["turn"] == 5)
    assert texts(visitor.turns()) == ["Hello", expected("one"), expected("one", "two")]


def test_many_conversations_that_wait_are_answered_though_some_fail(server, secrets, monkeypatch) -> None:
    answer = Talking._answer_early
    monkeypatch.setattr(Talking, "_catch_up_later", lambda self, id: None)
    people = [Visitor(server, secrets["own"]) for _ in range(20)]
    failing = {person.id for person in people[::5]}

    async def answer_or_fail(self, id):
        if id in failing:
            raise ValueError("as a defect would")
        return await answer(self, id)

    monkeypatch.setattr(Talking, "_answer_early", answer_or_fail)
    for person in people:
        assert person.say("two", "e2", sequence=2).status_code == 202
        assert person.say("one", "e1", sequence=1).status_code == 200
    for person in people:
        if person.id not in failing:
            until(lambda person=person: person.get()["turn"] == 5)
    assert {person.get()["turn"] for person in people if person.id in failing} == {3}
    failing.clear()
    until(lambda: {person.get()["turn"] for person in people} == {5})


def test_too_many_early_messages_and_numbers_that_are_taken_are_refused(visitor) -> None:
    assert "at most 21" in problem(visitor.say("far", sequence=22), 429)
    assert visitor.say("two", "e2", sequence=2).status_code == 202
    assert visitor.say("two", "e2", sequence=2).status_code == 202
    assert "belongs to another" in problem(visitor.say("other", "x2", sequence=2), 409)


def test_a_server_that_knows_an_older_state_reads_the_newer_one(visitor) -> None:
    """Another server has answered meanwhile: what this one has in memory is two turns old."""
    visitor.say("one", "a", sequence=1)
    keeper = visitor.server.service.chats.keeper
    old = keeper._talks[visitor.id]
    visitor.say("two", "b", sequence=2)
    keeper._talks[visitor.id] = old
    assert visitor.say("two", "b", sequence=2).json()["turns"][1]["text"] == expected("one", "two")
    keeper._talks[visitor.id] = old
    assert visitor.say("three", "c", sequence=3).json()["turns"][1]["text"] == expected("one", "two", "three")
    keeper._talks[visitor.id] = old
    assert problem(visitor.say("four", "d", sequence=2), 409)
    assert texts(visitor.turns())[1:] == [expected(*["one", "two", "three"][:count]) for count in (1, 2, 3)]


def test_a_failed_write_leaves_nothing_and_the_message_can_be_sent_again(visitor, monkeypatch) -> None:
    from vertune.core.errors import Unavailable
    from vertune.store import conversations

    apply, failures = conversations.apply, [True, True]

    def fail_once(connection, change):
        done = apply(connection, change)
        if failures and change.conversation == visitor.id:
            failures.pop()
            raise Unavailable("The connection was lost. Try again.")
        return done

    monkeypatch.setattr(conversations, "apply", fail_once)
    assert visitor.say("one", "a", sequence=1).status_code == 503
    assert len(visitor.turns()) == 1
    while visitor.say("one", "a", sequence=1).status_code == 503:
        pass
    assert texts(visitor.turns()) == ["Hello", expected("one")]


def test_a_group_in_which_one_write_fails_harms_no_other(server, secrets, monkeypatch) -> None:
    from vertune.store import conversations

    people = [Visitor(server, secrets["own"]) for _ in range(4)]
    apply = conversations.apply

    def fail(connection, change):
        if change.conversation == people[0].id:
            raise ValueError("a mistake")
        return apply(connection, change)

    monkeypatch.setattr(conversations, "apply", fail)
    found = together([lambda person=person: person.say("one", sequence=1).status_code for person in people])
    assert found == [500, 200, 200, 200]
    assert [len(person.turns()) for person in people] == [1, 3, 3, 3]


@pytest.mark.parametrize(
    "body",
    [
        {}, {"message": "a"}, {"message": "a", "text": ""}, {"message": "a b", "text": "x"}, {"message": "é", "text": "x"},
        {"message": "a", "text": "x", "choice": "y"}, {"message": "a", "text": "x", "sequence": 0}, {"message": "a", "event": "acted"},
        {"message": "a" * 65, "text": "x"}, {"message": "a", "text": "x\0"}, {"message": "a", "text": "x", "state": {}},
    ],
)  # fmt: skip
def test_what_is_no_message_is_refused(visitor, body) -> None:
    problem(visitor.post("messages", **body), 422)
    assert len(visitor.turns()) == 1


def test_a_long_message_is_refused(visitor) -> None:
    assert "4001 characters" in problem(visitor.say("x" * 4001), 413)


def test_nobody_reads_or_writes_without_the_secret_of_the_conversation(server, secrets, visitor) -> None:
    other = Visitor(server, secrets["own"])
    strangers = [
        {**visitor.headers, "X-Conversation-Token": other.headers["X-Conversation-Token"]},
        {"Authorization": visitor.headers["Authorization"]},
        {**visitor.headers, "Authorization": f"Bearer {secrets['other']}"},
    ]
    for headers in strangers:
        for method, path, body in (
            ("GET", visitor.path, None), ("GET", f"{visitor.path}/events", None), ("DELETE", visitor.path, None),
            ("POST", f"{visitor.path}/messages", {"message": "x", "text": "x"}), ("POST", f"{visitor.path}/close", {"message": "x"}),
            ("POST", f"{visitor.path}/satisfaction", {"score": 5}),
        ):  # fmt: skip
            assert "with this secret" in problem(server.stranger.request(method, path, headers=headers, json=body), 404)
    missing = visitor.path.replace(visitor.id, time_ordered_id())
    problem(server.stranger.get(missing, headers=visitor.headers), 404)
    assert len(visitor.turns()) == 1


def test_a_visitor_ends_and_deletes_a_conversation(visitor) -> None:
    visitor.say("one", sequence=1)
    ended = visitor.post("close", message="end", sequence=2).json()
    assert (ended["stage"], ended["turns"][-1]["event"]) == ("closed", "closed")
    assert visitor.post("close", message="end", sequence=2).json()["turns"] == ended["turns"]
    assert "closed" in problem(visitor.say("two", sequence=3), 409)
    assert visitor.post("satisfaction", score=4, comment="call +49 30 12345678").status_code == 204
    assert visitor.get()["satisfaction"] == 4
    gone = visitor.server.stranger.delete(visitor.path, headers=visitor.headers)
    assert gone.status_code == 204
    problem(visitor.server.stranger.get(visitor.path, headers=visitor.headers), 404)
    with closing(sqlite3.connect(visitor.server.service.home.folder / FILE)) as connection:
        for table in ("conversations", "turns", "actions"):
            column = "id" if table == "conversations" else "conversation"
            assert not connection.execute(f"SELECT * FROM {table} WHERE {column} = ?", [visitor.id]).fetchall()


def test_a_request_waits_for_a_turn(visitor) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(visitor.get, 1, 10.0)
        visitor.say("one", sequence=1)
        assert [turn["text"] for turn in waiting.result(5)["turns"]] == ["one", expected("one")]


def test_turns_are_streamed_as_they_come(visitor) -> None:
    import threading

    with visitor.server.stranger.stream("GET", f"{visitor.path}/events", headers=visitor.headers, params={"after": 1}) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.iter_lines()
        assert [next(lines), next(lines)] == ["event: stage", 'data: {"stage":"bot","position":null}']
        threading.Timer(0.05, lambda: visitor.say("one", sequence=1)).start()
        found = [next(lines) for _ in range(9)]
    assert found[1:3] == ["event: turn", "id: 2"]
    assert '"author":"visitor"' in found[3]
    assert found[5:7] == ["event: turn", "id: 3"]
    assert expected("one") in found[7]


def test_a_rate_limits_each_conversation_and_no_other(tmp_path, quick) -> None:
    from tests.server.chat.conftest import run
    from vertune.core.artifact import Home

    home = Home(tmp_path / "home")
    home.folder.mkdir()
    with run(home, None, None, rate="2/minute", beginnings="3/minute") as running:
        first, second = Visitor(running, "none"), Visitor(running, "none")
        assert [first.say(text).status_code for text in "abc"] == [200, 200, 429]
        assert second.say("a").status_code == 200
        Visitor(running, "none")
        refused = running.stranger.post("/v1/apps/ledger/conversations", json={})
        assert "rate limit" in problem(refused, 429)
        assert "Retry-After" in refused.headers


def test_personal_data_is_masked_and_what_an_app_knows_goes_when_the_conversation_ends(visitor) -> None:
    text = "my number is +49 30 12345678, ann@example.com"
    answer = visitor.say(text, sequence=1).json()
    assert answer["turns"][0]["text"] == "my number is <PHONE_1>, <MAIL_1>"
    assert answer["turns"][1]["text"] == expected(text), "the app reads what was written"
    file = visitor.server.service.home.folder / FILE

    def stored() -> str:
        with closing(sqlite3.connect(file)) as connection:
            return repr([connection.execute(f"SELECT * FROM {table}").fetchall() for table in ("conversations", "turns", "early_messages")])

    assert "ann@example.com" in stored(), "the app needs it until the conversation ends"
    visitor.post("close", message="end", sequence=2)
    assert "ann@example.com" not in stored()
    assert "12345678" not in stored()


def test_personal_data_of_no_kind_stays_after_a_conversation(server, secrets, desk, caplog) -> None:
    """Sent through all that takes texts, by a visitor, the app that repeats it, and a person."""
    person = Visitor(server, secrets["own"], known={"about": EVERYWHERE[0][0]}, visitor=EVERYWHERE[1][0][:200])
    texts = as_few_texts(3_000)
    bodies = [{"choice": EVERYWHERE[3][0][:200]}, *({"text": text} for text in texts), *({"text": f"act dead {text}"} for text in texts)]
    for number, body in enumerate(bodies, 1):
        assert person.post("messages", message=f"m{number}", sequence=number, **body).status_code == 200
    number = len(bodies) + 1
    person.post("handoff", message="h", sequence=number)
    assert desk("POST", f"conversations/{person.id}/take").status_code == 200
    for place, text in enumerate(texts):
        assert desk("POST", f"conversations/{person.id}/messages", message=f"a{place}", text=text).status_code == 200
    person.post("satisfaction", score=1, comment=texts[0][:2000])
    assert person.say(EVERYWHERE[2][0], "early", sequence=number + 5).status_code == 202
    until(lambda: not person.get()["pending"])
    assert desk("POST", f"conversations/{person.id}/close").status_code == 200
    with closing(sqlite3.connect(server.service.home.folder / FILE)) as connection:
        for table in ("conversations", "turns", "actions", "early_messages"):
            column = "id" if table == "conversations" else "conversation"
            rows = connection.execute(f"SELECT * FROM {table} WHERE {column} = ?", [person.id]).fetchall()
            assert found_in(repr(rows).encode()) == set(), table
            assert found_in("\n".join(str(cell) for row in rows for cell in row).encode()) == set(), table
    assert found_in(caplog.text.encode()) == set()
    assert found_in(server.ask.get("/metrics").content) == set()


def test_messages_are_counted_in_the_usage_and_the_metrics(server, secrets) -> None:
    def used() -> int:
        found = server.ask.get("/v1/usage", params={"by": ["customer", "vertical"]}).json()["usage"]
        return sum(row["requests"] for row in found if (row["customer"], row["vertical"]) == ("counted", "ledger"))

    secret, _ = server.keys.create("counted", ["chat"], customer="counted")
    before = server.metric("vertune_chat_messages_total", action="answer")
    person = Visitor(server, secret)
    for number in range(3):
        person.say("x", f"c{number}", sequence=number + 1)
        person.say("x", f"c{number}", sequence=number + 1)
    assert used() == 3, "a repeated message counts once"
    assert server.metric("vertune_chat_messages_total", action="answer") == before + 3
    assert server.metric("vertune_conversations_total", app="ledger") > 0


def test_forgetting_a_text_or_a_customer_deletes_its_conversations(server) -> None:
    secret, _ = server.keys.create("leaving", ["chat"], customer="leaving")
    first, second = Visitor(server, secret), Visitor(server, secret)
    first.say("a text that nobody else wrote", sequence=1)
    second.say("another text", sequence=1)
    found = server.ask.post("/v1/deletions", json={"text": "a text that nobody else wrote"}).json()
    assert found["conversations"] == 1
    problem(server.stranger.get(first.path, headers=first.headers), 404)
    problem(first.say("more"), 404)
    assert len(second.turns()) == 3
    assert server.ask.post("/v1/deletions", json={"customer": "leaving"}).json()["conversations"] == 1
    problem(server.stranger.get(second.path, headers=second.headers), 404)


def test_idle_conversations_end_and_old_ones_are_deleted(tmp_path, quick) -> None:
    from tests.server.chat.conftest import run
    from vertune.core.artifact import Home

    home = Home(tmp_path / "home")
    home.folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vertune.server.chat.tidying._OLD_EVERY", 1)
        with run(home, None, None, idle_hours=0.2 / 3600, days=0.6 / 86_400) as running:
            person = Visitor(running, "none")
            assert until(lambda: person.get()["stage"] == "closed")
            until(lambda: running.stranger.get(person.path, headers=person.headers).status_code == 404)


# ------------------------------------------------------------------ pages of other sites


def test_only_pages_of_the_origin_of_a_key_may_use_it_and_read_the_answer(server, secrets) -> None:
    person = Visitor(server, secrets["page"], origin=ORIGIN)
    found = person.say("one", sequence=1)
    assert found.headers["access-control-allow-origin"] == ORIGIN
    assert "origin" in found.headers["vary"].lower()
    refused = person.say("one", "x", sequence=5000)
    assert refused.status_code == 429
    assert refused.headers["access-control-allow-origin"] == ORIGIN, "a page must be able to read why"
    for origin in ("https://evil.example", "http://shop.example.com", None):
        headers = {**person.headers, **({"Origin": origin} if origin else {})}
        if origin is None:
            del headers["Origin"]
        answer = server.stranger.get(person.path, headers=headers)
        assert "is bound to" in problem(answer, 403)
        assert "access-control-allow-origin" not in answer.headers
    other = Visitor(server, secrets["own"], origin="https://evil.example").say("x")
    assert "access-control-allow-origin" not in other.headers


def test_a_preflight_is_answered_for_origins_of_valid_keys_alone(server, secrets) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type,x-conversation-token"}
    path = "/v1/apps/ledger/conversations"
    allowed = server.stranger.options(path, headers={"Origin": ORIGIN, **asked})
    assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (204, ORIGIN)
    assert "x-conversation-token" in allowed.headers["access-control-allow-headers"].lower()
    assert "access-control-allow-credentials" not in allowed.headers, "no cookie is sent from other pages"
    for origin in ("https://evil.example", "null", ""):
        refused = server.stranger.options(path, headers={"Origin": origin, **asked})
        assert refused.status_code == 405
        assert "access-control-allow-origin" not in refused.headers
    assert server.stranger.options("/v1/keys", headers={"Origin": ORIGIN, **asked}).status_code == 405
    _, key = server.keys.create("short", ["chat"], origin="https://short.example")
    assert server.stranger.options(path, headers={"Origin": "https://short.example", **asked}).status_code == 204
    server.keys.revoke(key.id)
    assert server.stranger.options(path, headers={"Origin": "https://short.example", **asked}).status_code == 405


def test_a_key_of_a_page_may_do_nothing_but_chat(server, secrets) -> None:
    for scopes, origin in (
        (["chat", "predict"], ORIGIN),
        (["admin"], ORIGIN),
        (["chat"], "shop.example.com"),
        (["chat"], "http://shop.example"),
    ):
        body = {"name": "x", "scopes": scopes, "origin": origin}
        problem(server.ask.post("/v1/keys", json=body), 422)
    made = server.ask.post("/v1/keys", json={"name": "x", "scopes": ["chat"], "origin": "https://Shop.Example.com/"}).json()
    assert made["origin"] == ORIGIN
    headers = {"Authorization": f"Bearer {made['secret']}", "Origin": ORIGIN}
    begun = server.stranger.post("/v1/apps/ledger/conversations", json={"known": {"tariff": "gold"}}, headers=headers)
    assert "can't tell" in problem(begun, 403)
    for method, path in (("GET", "/v1/desk/conversations"), ("GET", "/v1/usage"), ("POST", "/v1/apps/ledger/try")):
        assert server.stranger.request(method, path, headers=headers, json={"text": "x"} if method == "POST" else None).status_code == 403


def test_a_key_for_some_apps_can_use_no_other(server) -> None:
    secret, _ = server.keys.create("narrow", ["chat"], ["something-else"])
    begun = server.stranger.post("/v1/apps/ledger/conversations", json={}, headers={"Authorization": f"Bearer {secret}"})
    assert "'chat' on 'ledger'" in problem(begun, 403)
    problem(server.ask.post("/v1/apps/nothing/conversations", json={}), 404)
