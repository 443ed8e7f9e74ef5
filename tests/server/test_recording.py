"""What a server stores of requests: answers by their ids, texts as they may be kept, and usage of each customer."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import select

from tests.server.conftest import TEXTS, admin
from tests.server.running import problem, until
from vertune.server.texts import _masked, without_quotes
from vertune.store import schema
from vertune.store.database import Database
from vertune.store.keys import Keys
from vertune.store.traffic import find_answer

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
PRIVATE = "Dr. Jane Doe, +1 202-555-0147, jane.doe@example.com, card 4111 1111 1111 1111, wants Oslo"
VALUES = ("Jane", "0147", "jane.doe", "4111")


def rows(running, table):
    """All rows of a table, after what is finished is stored."""
    assert running.service.recorder.writer.flush()
    with running.database.reading() as connection:
        return [row._asdict() for row in connection.execute(select(table))]


@pytest.fixture
def running(home, start):
    return start(home, admin(home))


def test_answers_are_found_by_their_ids(running) -> None:
    found = running.ask.post("/v1/predict", json={"verticals": ["intent", "spans"], "texts": TEXTS}).json()["results"]
    single = running.predict("intent", TEXTS[0]).json()
    assert running.service.recorder.writer.flush()
    with running.database.reading() as connection:
        for one in (*found, single):
            assert len(set(one["ids"])) == len(one["answers"])
            for id, answer, text in zip(one["ids"], one["answers"], TEXTS, strict=False):
                stored = find_answer(connection, id)
                assert (stored.vertical, stored.model, stored.customer) == (one["vertical"], one["model"], "default")
                assert stored.record == {"text": text}
                assert stored.answer["truncated"] == answer["truncated"]
                assert stored.answer.get("label") == answer.get("label")
                assert [span["label"] for span in stored.answer.get("spans", [])] == [span["label"] for span in answer.get("spans", [])]


@pytest.mark.parametrize("keep", ["no", "masked", "yes"])
def test_texts_are_kept_as_the_operator_says(home, start, keep) -> None:
    running = start(home, admin(home), traffic={"keep_text": keep})
    for name in ("intent", "spans", "find"):
        assert running.predict(name, PRIVATE).status_code == 200
    found = rows(running, schema.answers)
    assert len(found) == 3
    kept = json.dumps([(row["record"], row["answer"]) for row in found])
    assert all(value in kept for value in VALUES) if keep == "yes" else not any(value in kept for value in VALUES)
    assert [row["record"] is None for row in found] == [keep == "no"] * 3
    assert ("<CARD_1>" in kept) is (keep == "masked")
    assert all(row["fingerprint"] for row in found)


def test_a_vertical_says_itself_how_its_texts_are_kept(running) -> None:
    deployments = running.service.answers.fleet.deployments
    texts = running.service.texts
    assert texts.kept(deployments["intent"]) == "masked"
    deployments["intent"].predictor.written["serve"] = {"keep_text": "no"}
    assert texts.kept(deployments["intent"]) == "no"


def test_masked_answers_quote_nothing_that_was_masked() -> None:
    answer = {
        "text": "555-0147",
        "label": "NUMBER",
        "spans": [{"text": "Oslo", "start": 3, "label": "CITY"}, {"text": "1234"}],
        "score": 0.5,
    }
    shown = without_quotes(answer, frozenset({"NUMBER", "CITY"}), "call <PHONE_1> in Oslo")
    assert shown == {
        "text": None,
        "label": "NUMBER",
        "spans": [{"text": "Oslo", "start": 3, "label": "CITY"}, {"text": None}],
        "score": 0.5,
    }


def test_usage_is_that_of_the_customer_who_asked(home, start) -> None:
    running = start(home, admin(home))
    secret = Keys(Database(home.folder / "server.db")).create("app", ["predict"], customer="bank")[0]
    headers = {"Authorization": f"Bearer {secret}"}
    for _ in range(3):
        assert running.stranger.post("/v1/verticals/intent/predict", json={"texts": TEXTS}, headers=headers).status_code == 200
    both = running.stranger.post("/v1/predict", json={"verticals": ["intent", "spans"], "texts": TEXTS}, headers=headers)
    assert both.status_code == 200
    assert running.predict("spans", TEXTS[0]).status_code == 200
    found = {(row["customer"], row["vertical"]): row for row in rows(running, schema.usage)}
    assert {key: (row["requests"], row["records"]) for key, row in found.items()} == {
        ("bank", "intent"): (4, 4 * len(TEXTS)), ("bank", "spans"): (1, len(TEXTS)), ("default", "spans"): (1, 1),
    }  # fmt: skip
    assert found["bank", "intent"]["key"] == secret.split("_")[1]
    tokens = sum(row["tokens"] for row in rows(running, schema.requests) if row["customer"] == "bank")
    assert tokens == found["bank", "intent"]["tokens"] + found["bank", "spans"]["tokens"] > 0


def test_refused_requests_add_no_usage_and_those_without_a_model_no_row(running) -> None:
    problem(running.predict("nobody", "a"), 404)
    problem(running.stranger.post("/v1/verticals/intent/predict", json={"texts": ["a"]}), 401)
    problem(running.ask.post("/v1/verticals/intent/predict", json={"texts": 1}), 422)
    problem(running.predict("intent", ""), 422)
    assert [row["status"] for row in rows(running, schema.requests)] == [422]
    assert rows(running, schema.answers) == rows(running, schema.usage) == []


def test_vectors_are_not_stored(running) -> None:
    found = running.ask.post("/v1/embeddings", json={"model": "find", "input": ["a", "b"]})
    assert found.status_code == 200
    stored = rows(running, schema.answers)
    assert len(stored) == 2
    assert not any("vector" in row["answer"] for row in stored)


def test_nothing_is_stored_where_nothing_is_to_be(home, start) -> None:
    running = start(home, admin(home), traffic={"keep": False})
    assert running.predict("intent", "a").status_code == 200
    assert running.service.recorder is None
    with running.database.reading() as connection:
        assert not connection.execute(select(schema.requests)).all()


def test_a_database_that_fails_stops_no_answer_and_is_told(running, monkeypatch) -> None:
    monkeypatch.setattr("vertune.store.writer._RETRY", 0.1)
    moved = running.database.file.with_name("away.db")
    running.database.file.rename(moved)
    assert running.predict("intent", "a").status_code == 200
    running.service.recorder.writer.flush(0.6)
    assert "can't be written" in running.ask.get("/health/ready").json()["storage"]
    assert running.metric("vertune_storage_failing") == 1
    moved.rename(running.database.file)
    assert [row["status"] for row in rows(running, schema.requests)] == [200]
    assert running.metric("vertune_storage_failing") == 0
    until(lambda: running.ask.get("/health/ready").json()["storage"] == "")


def test_a_request_that_is_repeated_after_a_failure_is_counted(running) -> None:
    key = {"Idempotency-Key": "order 8"}
    problem(running.predict("intent", "a", X_Deadline_Ms="0.0001", **key), 503)
    assert running.predict("intent", "a", **key).status_code == 200
    assert [row["status"] for row in rows(running, schema.requests)] == [200]
    assert [row["requests"] for row in rows(running, schema.usage)] == [1]


def test_a_repeated_request_is_answered_again_and_counted_once(running, home) -> None:
    key = {"Idempotency-Key": "order 7"}
    first, again = (running.predict("intent", *TEXTS, **key).json() for _ in range(2))
    assert first == again
    assert "another request" in problem(running.predict("intent", "other", **key), 409)
    problem(running.predict("intent", "a", **{"Idempotency-Key": "a" * 201}), 422)
    secret = Keys(Database(home.folder / "server.db")).create("app", ["predict"], customer="bank")[0]
    headers = {"Authorization": f"Bearer {secret}", **key}
    theirs = running.stranger.post("/v1/verticals/intent/predict", json={"texts": ["b"]}, headers=headers)
    assert theirs.status_code == 200, "keys of customers are their own"
    assert running.service.recorder.writer.flush()
    running.service.repeated.clear()  # as in another server
    assert running.predict("intent", *TEXTS, **key).json()["answers"] == first["answers"]
    assert {row["customer"]: row["requests"] for row in rows(running, schema.usage)} == {"default": 1, "bank": 1}
    assert len([row for row in rows(running, schema.requests) if row["status"] == 200]) == 2


def test_a_key_that_comes_again_with_another_request_is_no_way_to_ask_for_nothing(running) -> None:
    key = {"Idempotency-Key": "order 9"}
    assert running.predict("intent", "a", **key).status_code == 200
    running.service.repeated.clear()  # as in another server, or after many other keys
    assert running.predict("intent", *TEXTS, **key).status_code == 200
    both = {"verticals": ["intent"], "texts": ["a"]}
    assert running.ask.post("/v1/predict", json=both, headers=key).status_code == 409
    for verticals in (["intent"], ["intent", "spans"]):
        running.service.repeated.clear()
        assert running.ask.post("/v1/predict", json={"verticals": verticals, "texts": ["a"]}, headers=key).status_code == 200
    assert "another request" in problem(running.ask.post("/v1/predict", json=both, headers=key), 409), "other models are another request"
    assert {row["vertical"]: row["requests"] for row in rows(running, schema.usage)} == {"intent": 4, "spans": 1}
    assert len(rows(running, schema.requests)) == 4


def test_a_number_of_a_person_is_masked_in_a_field_of_texts() -> None:
    record = {"phone": 4111111111111111, "age": 42, "share": 0.5, "new": True}
    assert _masked(record)[0] == {"phone": "<CARD_1>", "age": 42, "share": 0.5, "new": True}
