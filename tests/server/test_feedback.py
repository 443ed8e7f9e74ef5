"""Feedback: what is taken and refused, who sees it, and what a model can learn from it."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from contextlib import closing

import polars as pl
import pytest
from sqlalchemy import select

from tests.server.conftest import TEXTS, admin
from tests.server.running import LONG, problem, until
from vertune.server.feedback import FeedbackLimits, _is_same, _Space
from vertune.store import schema
from vertune.store.database import Database
from vertune.store.keys import Keys

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
PRIVATE = "Call Dr. Jane Doe at jane.doe@example.com in Oslo"


@pytest.fixture(scope="module")
def secrets(server):
    """Secrets of keys, by name: two customers, and one that may only predict."""
    keys = Keys(Database(server.service.home.folder / "server.db"))
    return {
        "bank": keys.create("app", ["predict", "feedback"], customer="bank")[0],
        "shop": keys.create("app", ["predict", "feedback"], customer="shop")[0],
        "narrow": keys.create("app", ["predict", "feedback"], ["spans"], customer="bank")[0],
        "predict": keys.create("app", ["predict"], customer="bank")[0],
    }


@pytest.fixture
def by(server, secrets):
    """Sends a request with the key of somebody."""

    def ask(who, method, path, **options):
        headers = {"Authorization": f"Bearer {secrets[who]}", **options.pop("headers", {})}
        return server.stranger.request(method, path, headers=headers, **options)

    return ask


@pytest.fixture
def give(by):
    return lambda who="bank", headers=None, **body: by(who, "POST", "/v1/feedback", json=body, headers=headers or {})


@pytest.fixture
def asked(by, monkeypatch):
    """Predicts, and returns the answer and its id; feedback on it waits until it is stored, however busy the machine is."""
    monkeypatch.setattr("vertune.server.feedback._UNWRITTEN_SECONDS", LONG)

    def predict(vertical, text, who="bank"):
        found = by(who, "POST", f"/v1/verticals/{vertical}/predict", json={"texts": [text]}).json()
        return found["answers"][0], found["ids"][0]

    return predict


def other_label(server, vertical, label):
    return next(one for one in server.service.answers.fleet.get(vertical).task.known_labels if one != label)


@pytest.mark.parametrize(
    "odd",
    [
        {"score": True}, {"score": 2.0}, {"score": "2"}, {"trust": "1", "score": 2}, {"trust": True, "score": 2},
        {"target": [{"start": -1, "end": 10**30, "label": "CITY"}]}, {"target": [{"start": 1, "end": 2**63, "label": "CITY"}]},
        {"target": {}},
    ],
)  # fmt: skip
def test_values_of_another_type_are_refused(give, odd) -> None:
    problem(give(vertical="spans", text="rome", **odd), 422)


def test_a_number_that_is_no_class_is_refused(give) -> None:
    assert "64 bits" in problem(give(vertical="intent", text="rome", target=1e308), 422)


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_times_out_of_the_range_of_utc_are_refused(server, by, time) -> None:
    problem(by("bank", "GET", "/v1/feedback", params={"since": time}), 422)
    problem(server.ask.post("/v1/deletions", json={"vertical": "intent", "before": time}), 422)
    problem(server.ask.post("/v1/keys", json={"name": "late", "scopes": ["predict"], "expires": time}), 422)


def test_the_right_label_of_an_answer(server, asked, give) -> None:
    answer, id = asked("intent", TEXTS[0])
    right = other_label(server, "intent", answer["label"])
    found = give(answer=id, target=right, comment="no", score=2, author="Ann", trust=0.8)
    assert found.status_code == 201
    told = found.json()
    assert {name: told[name] for name in ("answer", "vertical", "verdict", "target", "comment", "score", "author", "trust", "usable")} == {
        "answer": id, "vertical": "intent", "verdict": "wrong", "target": {"label": right}, "comment": "no", "score": 2, "author": "Ann",
        "trust": 0.8, "usable": True,
    }  # fmt: skip
    assert told["record"] == {"text": TEXTS[0]}
    assert told["model"] == server.service.answers.fleet.get("intent").model.id
    assert give(answer=id, target={"label": answer["label"]}).json()["verdict"] == "right"


def test_an_answer_that_is_right_becomes_the_target(asked, give) -> None:
    answer, id = asked("intent", TEXTS[0])
    told = give(answer=id, verdict="right").json()
    assert (told["target"], told["usable"]) == ({"label": answer["label"]}, True)
    told = give(answer=id, verdict="wrong").json()
    assert (told["target"], told["usable"]) == (None, False)


def test_a_text_of_ones_own(server, give) -> None:
    label = server.service.answers.fleet.get("intent").task.known_labels[0]
    told = give(vertical="intent", text=PRIVATE, target=label).json()
    assert (told["answer"], told["verdict"], told["target"], told["usable"]) == (None, None, {"label": label}, True)
    assert told["record"] == {"text": "Call Dr. <NAME_1> at <MAIL_1> in Oslo"}


def test_spans_move_with_the_text_that_is_masked(asked, give, server) -> None:
    _, id = asked("spans", PRIVATE)
    city = server.service.answers.fleet.get("spans").task.known_labels[0]
    start = PRIVATE.index("Oslo")
    spans = [{"start": start, "end": start + 4, "label": city}, {"start": 9, "end": 13, "label": city}]
    assert "Send the text or record too" in problem(give(answer=id, target=spans), 422)
    told = give(answer=id, text=PRIVATE, target=spans).json()
    text = told["record"]["text"]
    assert [(text[span["start"] : span["end"]], span["label"]) for span in told["target"]["spans"]] == [("Oslo", city), ("<NAME_1>", city)]
    assert "not the one that the answer was given to" in problem(give(answer=id, text=PRIVATE + ".", target=spans), 422)
    assert "can't be used" in problem(give(answer=id, text=PRIVATE, target=[{"start": 5, "end": 500, "label": city}]), 422)
    for start, end in ((True, 4), (False, 4), (0, True)):
        one = {"start": start, "end": end, "label": city}
        assert "true or false" in problem(give(answer=id, text=PRIVATE, target=[spans[0], one]), 422), "it is not 1 or 0"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "exactly one of"), ({"answer": "x", "vertical": "intent"}, "exactly one of"),
        ({"vertical": "intent", "verdict": "right"}, "'text' or 'record'"),
        ({"vertical": "intent", "text": "a"}, "at least one of"), ({"vertical": "intent", "text": "a", "record": {}}, "at most one of"),
        ({"vertical": "intent", "text": "a", "verdict": "right", "target": "x"}, "no field 'target'"),
        ({"vertical": "intent", "text": "a", "score": 6}, "less than or equal to 5"),
        ({"vertical": "intent", "text": "a", "score": 1, "trust": 2}, "less than or equal to 1"),
        ({"vertical": "intent", "text": "a", "stars": 3}, "not permitted"),
        ({"vertical": "intent", "text": "", "score": 3}, "empty"), ({"vertical": "intent", "record": {}, "score": 3}, ""),
        ({"vertical": "intent", "text": "a", "target": "plase"}, "place"), ({"vertical": "intent", "text": "a", "target": ["a", "b"]}, ""),
        ({"vertical": "intent", "text": "a", "target": {"lable": "a"}}, "'lable'; expected label"),
        ({"vertical": "intent", "text": "a", "target": None, "comment": "a" * 10_001}, "10000"),
    ],
)  # fmt: skip
def test_what_is_no_feedback(give, body, said) -> None:
    assert said in problem(give(**body), 422)


def test_a_new_label_is_taken_where_it_is_meant(give) -> None:
    assert "animal" in problem(give(vertical="intent", text="a", target="animal"), 422)
    assert give(vertical="intent", text="a", target="animal", new_labels=True).json()["target"] == {"label": "animal"}


def test_answers_of_others_are_as_unknown_as_those_that_never_were(asked, give, monkeypatch) -> None:
    _, id = asked("intent", TEXTS[0])
    assert give(answer=id, verdict="right").status_code == 201
    monkeypatch.setattr("vertune.server.feedback._UNWRITTEN_SECONDS", 0.0)  # it is stored now: nothing to wait for
    theirs = problem(give("shop", answer=id, verdict="right"), 404)
    never = f"{id[:31]}{'0' if id[31] != '0' else '1'}-0"
    assert theirs.replace(id, "") == problem(give("shop", answer=never, verdict="right"), 404).replace(never, "")
    problem(give(answer="x", verdict="right"), 404)
    problem(give("narrow", answer=id, verdict="right"), 403)
    problem(give("predict", answer=id, verdict="right"), 403)
    problem(give(vertical="nobody", text="a", verdict="right"), 404)


def test_feedback_of_others_is_never_seen(asked, give, by, server) -> None:
    _, id = asked("intent", TEXTS[0])
    mine = give(answer=id, verdict="right").json()["id"]
    for who, sees in (("bank", True), ("shop", False), ("narrow", False)):
        for vertical in ({}, {"vertical": "intent"}):
            found = by(who, "GET", "/v1/feedback", params={"limit": 1000, **vertical})
            if who == "narrow" and vertical:
                problem(found, 403)
            else:
                assert (mine in [one["id"] for one in found.json()["feedback"]]) is sees
    assert mine in [one["id"] for one in server.ask.get("/v1/feedback", params={"limit": 1000}).json()["feedback"]]
    assert mine not in by("shop", "GET", "/v1/feedback/export", params={"vertical": "intent"}).text
    problem(by("shop", "DELETE", f"/v1/feedback/{mine}"), 404)
    assert by("bank", "DELETE", f"/v1/feedback/{mine}").status_code == 204
    problem(by("bank", "DELETE", f"/v1/feedback/{mine}"), 404)


def test_no_customer_fills_the_database_with_feedback(give, server, monkeypatch) -> None:
    box = server.service.feedback
    monkeypatch.setattr(box, "_limits", FeedbackLimits(characters=100, megabytes=0.1))
    monkeypatch.setattr(box, "_space", _Space(box.database, 0.1))
    assert "at most 100" in problem(give(vertical="intent", text="a" * 101, score=1), 413)
    assert "at most 100" in problem(give(vertical="intent", text="a", target="b" * 100, new_labels=True), 413)
    statuses = [give("shop", vertical="intent", text="a", score=1, comment="c" * 9000).status_code for _ in range(12)]
    assert statuses[:8] == [201] * 8
    assert statuses[-1] == 507
    assert "may take 0.1 MB" in problem(give("shop", vertical="intent", text="a", score=1, comment="c" * 9000), 507)
    monkeypatch.setattr(box, "_space", _Space(box.database, 0.1))
    assert give("shop", vertical="intent", text="a", score=1, comment="c" * 9000).status_code == 507, "another server knows it, too"
    assert give("bank", vertical="intent", text="a", score=1).status_code == 201, "other customers go on"


def test_a_repeated_request_is_stored_once(asked, give, server) -> None:
    _, id = asked("intent", TEXTS[0])
    key = {"Idempotency-Key": "order 1"}
    first = give(answer=id, score=4, headers=key)
    again = give(answer=id, score=4, headers=key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert "order 1" in problem(give(answer=id, score=5, headers=key), 409)
    assert give("shop", vertical="intent", text="a", score=5, headers=key).status_code == 201, "keys of customers are their own"


def test_a_request_that_is_repeated_at_once_is_stored_once(give) -> None:
    ready = threading.Barrier(4)
    found = []

    def send():
        ready.wait()
        found.append(give(vertical="intent", text="at once", score=3, headers={"Idempotency-Key": "at once"}))

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.status_code for one in found) == [200, 200, 200, 201]
    assert len({one.json()["id"] for one in found}) == 1


def test_feedback_is_listed_in_pages(give, by) -> None:
    made = [give("shop", vertical="intent", text=f"page {number}", score=1, author="pages").json()["id"] for number in range(5)]
    listed, after = [], None
    while True:
        params = {"author": "pages", "limit": 2, **({"after": after} if after else {})}
        page = by("shop", "GET", "/v1/feedback", params=params).json()
        listed += [one["id"] for one in page["feedback"]]
        after = page["next"]
        if after is None:
            break
    assert listed == made
    future = by("shop", "GET", "/v1/feedback", params={"since": "2999-01-01T00:00:00Z"}).json()
    assert future == {"feedback": [], "next": None}
    past = by("shop", "GET", "/v1/feedback", params={"until": "2020-01-01T00:00:00Z"}).json()
    assert past["feedback"] == []
    problem(by("shop", "GET", "/v1/feedback", params={"limit": 0}), 422)
    problem(by("shop", "GET", "/v1/feedback", params={"after": "' OR 1=1"}), 422)


@pytest.mark.parametrize("media_type", ["application/x-ndjson", "text/csv"])
def test_an_export_is_a_file_of_training_records(server, give, by, tmp_path, media_type) -> None:
    label = server.service.answers.fleet.get("intent").task.known_labels[0]
    give("shop", vertical="intent", text="export, me", target=label, author="Ann")
    give("shop", vertical="intent", text="no target", score=1)
    found = by("shop", "GET", "/v1/feedback/export", params={"vertical": "intent", "media_type": media_type})
    assert found.status_code == 200
    file = tmp_path / "feedback"
    file.write_bytes(found.content)
    frame = pl.read_ndjson(file) if "json" in media_type else pl.read_csv(file)
    rows = frame.filter(pl.col("text") == "export, me").to_dicts()
    assert {(row["label"], row["feedback_author"]) for row in rows} == {(label, "Ann")}
    assert "no target" not in frame["text"]
    everything = by("shop", "GET", "/v1/feedback/export", params={"vertical": "intent", "usable": False})
    assert "no target" in [json.loads(line)["text"] for line in everything.text.splitlines()]


@pytest.mark.parametrize("keep", ["no", "yes"])
def test_texts_of_feedback_are_kept_as_the_operator_says(home, start, keep) -> None:
    running = start(home, admin(home), traffic={"keep_text": keep})
    id = running.predict("intent", PRIVATE).json()["ids"][0]
    told = running.ask.post("/v1/feedback", json={"answer": id, "verdict": "right", "comment": PRIVATE}).json()
    own = running.ask.post("/v1/feedback", json={"vertical": "intent", "text": PRIVATE, "score": 3}).json()
    for one in (told, own):
        assert one["record"] == (None if keep == "no" else {"text": PRIVATE})
    assert ("jane" in told["comment"]) is (keep == "yes")
    assert told["usable"] is (keep == "yes")
    with running.database.reading() as connection:
        rows = connection.execute(select(schema.feedback)).all()
    assert ("jane" in str(rows)) is (keep == "yes")


def test_feedback_is_refused_clearly_where_it_can_not_be_kept(home, start) -> None:
    running = start(home, admin(home))
    moved = running.database.file.with_name("away.db")
    running.database.file.rename(moved)
    refused = running.ask.post("/v1/feedback", json={"vertical": "intent", "text": "a", "score": 3})
    assert "removed while in use" in problem(refused, 503)
    assert int(refused.headers["retry-after"]) > 0
    assert running.predict("intent", "a").status_code == 200
    moved.rename(running.database.file)
    assert running.ask.post("/v1/feedback", json={"vertical": "intent", "text": "a", "score": 3}).status_code == 201


def test_feedback_on_an_answer_that_is_not_stored_yet_is_to_be_sent_again(home, start) -> None:
    with closing(Keys(Database(home.folder / "server.db"))) as keys:
        mine, other = (keys.create(name, ["predict", "feedback"], customer=name)[0] for name in ("bank", "shop"))
    running = start(home, mine)
    other = {"Authorization": f"Bearer {other}"}
    with closing(sqlite3.connect(running.database.file, isolation_level=None)) as writing:
        writing.execute("BEGIN IMMEDIATE")
        body = {"answer": running.predict("intent", "a").json()["ids"][0], "score": 3}
        refused = running.ask.post("/v1/feedback", json=body)
        assert "not stored yet" in problem(refused, 503)
        assert int(refused.headers["retry-after"]) == 2
        assert "No answer with the id" in problem(running.ask.post("/v1/feedback", json=body, headers=other), 404)
        writing.execute("ROLLBACK")
    until(lambda: running.ask.post("/v1/feedback", json=body).status_code == 201)


def test_feedback_is_taken_as_soon_as_its_answer_is_stored(asked, give) -> None:
    _, id = asked("intent", "asked a moment ago")
    began = time.monotonic()
    assert give(answer=id, score=3).status_code == 201
    assert time.monotonic() - began < LONG / 2


def test_feedback_of_an_administrator_belongs_to_who_was_answered(asked, server, by) -> None:
    _, id = asked("intent", "asked by a bank")
    told = server.ask.post("/v1/feedback", json={"answer": id, "verdict": "right", "comment": "seen by the bank"})
    assert told.status_code == 201

    def seen(who):
        found = by(who, "GET", "/v1/feedback", params={"limit": 1000}).json()["feedback"]
        return told.json()["id"] in [one["id"] for one in found]

    assert seen("bank")
    assert not seen("shop")


def test_a_key_deletes_feedback_on_its_own_verticals_alone(asked, give, by, server) -> None:
    _, id = asked("intent", TEXTS[0])
    mine = give(answer=id, score=3).json()["id"]
    problem(by("narrow", "DELETE", f"/v1/feedback/{mine}"), 404)
    assert by("bank", "DELETE", f"/v1/feedback/{mine}").status_code == 204
    entries = server.ask.get("/v1/audit", params={"limit": 1000}).json()["entries"]
    assert f"feedback {mine}" in [one["subject"] for one in entries]


def test_an_extracted_answer_is_right_in_the_text_that_was_sent(server, by) -> None:
    record = {"question": "which one", "context": f"tell me of {PRIVATE}"}
    found = by("bank", "POST", "/v1/verticals/faq/predict", json={"records": [record]}).json()
    told = by("bank", "POST", "/v1/feedback", json={"answer": found["ids"][0], "record": record, "verdict": "right"})
    assert told.status_code == 201, told.text
    context = told.json()["record"]["context"]
    assert "jane" not in told.text
    for one in told.json()["target"]["answers"]:
        assert context[one["start"] :].startswith(one["text"])


@pytest.mark.parametrize(("given", "target", "same"), [
    (["a", "b"], ["b", "a"], True), (["a"], ["a", "b"], False), ([{"start": 1}, {"start": 0}], [{"start": 0}, {"start": 1}], True),
    ("a", "a", True), ("a", "b", False),
])  # fmt: skip
def test_the_order_of_labels_and_spans_means_nothing(given, target, same) -> None:
    assert _is_same(given, target) is same


def test_a_character_that_no_database_stores_is_refused(give) -> None:
    for field in ("comment", "author", "vertical"):
        problem(give(**{"vertical": "intent", "text": "a", "score": 3, field: "a\0b"}), 422)


def test_unread_fields_are_not_stored_and_a_record_is_deleted_as_it_was_sent(server, by) -> None:
    record = {"query": "a text with an id", "+49 170 1234567": 7, "number": 12345}
    found = by("bank", "POST", "/v1/verticals/intent/predict", json={"records": [record]}).json()
    told = by("bank", "POST", "/v1/feedback", json={"answer": found["ids"][0], "text": "a text with an id", "score": 3})
    assert told.status_code == 201, told.text
    assert server.service.recorder.writer.flush()
    with server.database.reading() as connection:
        (stored,) = connection.scalars(select(schema.answers.c.record).where(schema.answers.c.request == found["ids"][0][:32]))
    assert json.loads(stored) == {"query": "a text with an id"}
    gone = server.ask.post("/v1/deletions", json={"record": record}).json()
    assert {name: count for name, count in gone.items() if count} == {"answers": 1, "feedback": 1}
