"""Usage, deletions and the audit over HTTP: who sees what, and that a person's text can be found and deleted."""

from __future__ import annotations

import csv
import io

import pytest

from tests.server.conftest import TEXTS, admin
from tests.server.running import problem
from vertune.server.tables import csv_lines
from vertune.store.database import Database
from vertune.store.keys import Keys

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
PRIVATE = "I am Jane Doe, jane.doe@example.com, and lost my card"


@pytest.fixture
def running(home, start):
    return start(home, admin(home))


@pytest.fixture
def bank(home, running):
    """Headers of a customer's key."""
    secret = Keys(Database(home.folder / "server.db")).create("app", ["predict", "feedback"], customer="bank")[0]
    return {"Authorization": f"Bearer {secret}"}


def test_a_customer_sees_its_own_usage(running, bank) -> None:
    assert running.predict("spans", "a").status_code == 200
    for _ in range(2):
        assert running.stranger.post("/v1/verticals/intent/predict", json={"texts": TEXTS}, headers=bank).status_code == 200
    assert running.service.recorder.writer.flush()
    mine = running.stranger.get("/v1/usage", headers=bank, params={"by": ["customer", "vertical"]}).json()["usage"]
    assert [(row["customer"], row["vertical"], row["requests"], row["records"]) for row in mine] == [("bank", "intent", 2, 2 * len(TEXTS))]
    everybody = running.ask.get("/v1/usage", params={"by": "customer"}).json()["usage"]
    assert [(row["customer"], row["requests"]) for row in everybody] == [("bank", 2), ("default", 1)]
    table = running.ask.get("/v1/usage", params={"by": "customer", "media_type": "text/csv"})
    assert [row["customer"] for row in csv.DictReader(io.StringIO(table.text))] == ["bank", "default"]
    assert running.ask.get("/v1/usage", params={"since": "2999-01-01"}).json() == {"usage": []}
    problem(running.ask.get("/v1/usage", params={"by": "price"}), 422)
    problem(running.ask.get("/v1/usage", params={"since": "yesterday"}), 422)


def test_a_text_of_a_person_is_deleted_everywhere(running, bank) -> None:
    found = running.stranger.post("/v1/verticals/intent/predict", json={"texts": [PRIVATE, "another"]}, headers=bank).json()
    other = running.predict("spans", PRIVATE).json()
    said = running.ask.post("/v1/feedback", json={"vertical": "intent", "text": PRIVATE, "score": 1}).json()
    gone = running.ask.post("/v1/deletions", json={"text": PRIVATE}).json()
    assert {name: count for name, count in gone.items() if count} == {"answers": 2, "feedback": 1}
    for id in (found["ids"][0], other["ids"][0]):
        problem(running.ask.post("/v1/feedback", json={"answer": id, "score": 1}), 404)
    assert running.stranger.post("/v1/feedback", json={"answer": found["ids"][1], "score": 1}, headers=bank).status_code == 201
    assert said["id"] not in [one["id"] for one in running.ask.get("/v1/feedback").json()["feedback"]]
    entries = running.ask.get("/v1/audit").json()["entries"]
    assert [one["action"] for one in entries] == ["create key", "create key", "delete"]
    assert entries[-1]["actor"] == running._key.split("_")[1]
    assert "Jane" not in str(entries)


def test_deletions_and_the_audit_are_for_administrators(running, bank) -> None:
    problem(running.stranger.post("/v1/deletions", json={"text": "a"}, headers=bank), 403)
    problem(running.stranger.get("/v1/audit", headers=bank), 403)
    assert "No condition" in problem(running.ask.post("/v1/deletions", json={}), 422)
    problem(running.ask.post("/v1/deletions", json={"text": "a", "record": {"text": "a"}}), 422)
    problem(running.ask.post("/v1/deletions", json={"everything": True}), 422)


def test_the_audit_comes_in_pages(running) -> None:
    for name in "abc":
        running.ask.post("/v1/deletions", json={"customer": name})
    first = running.ask.get("/v1/audit", params={"limit": 3}).json()
    rest = running.ask.get("/v1/audit", params={"after": first["next"]}).json()
    assert rest["next"] is None
    assert [one["details"].get("customer") for one in [*first["entries"], *rest["entries"]]][1:] == [*"abc"]


def test_the_first_rows_decide_the_columns_of_a_table() -> None:
    assert "".join(csv_lines([{"a": 1}, {"a": 2, "b": 3}])) == "a,b\r\n1,\r\n2,3\r\n"
    assert "".join(csv_lines([])) == ""


def test_cells_are_no_formulas() -> None:
    rows = [{"a": "=1+1", "b": [1, "x"], "c": None}, {"a": "plain", "b": {"d": 1}, "c": -1}]
    assert "".join(csv_lines(rows)) == 'a,b,c\r\n\'=1+1,"[1,""x""]",\r\nplain,"{""d"":1}",-1\r\n'
