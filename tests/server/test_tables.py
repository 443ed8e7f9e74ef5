"""A vertical on a table is served on a graph of its own, beside verticals on texts."""

from __future__ import annotations

import pytest

from tests.encoders.test_table import RECORDS
from tests.server.running import problem, same
from vertune.runtime.predictor import Predictor

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
JSON = {"Content-Type": "application/json"}


def test_records_with_numbers_are_answered_as_the_graph_answers_them(table_model, start) -> None:
    home, model, graph = table_model
    home.alias("risk@live", model.id)
    running = start(home)
    found = running.ask.post("/v1/verticals/risk/predict", json={"records": RECORDS})
    assert found.status_code == 200, found.text
    assert same(found.json()["answers"], Predictor.open(graph).answer(RECORDS))
    assert running.ask.get("/health/ready").json()["ready"] is True


def test_a_number_that_is_none_is_refused_with_its_field(table_model, start) -> None:
    home, model, _ = table_model
    home.alias("risk@live", model.id)
    found = start(home).ask.post("/v1/verticals/risk/predict", json={"records": [{"age": "old", "job": "clerk"}]})
    assert "age" in problem(found, 422)


def test_a_number_is_a_number(table_model, start) -> None:
    home, model, _ = table_model
    home.alias("risk@live", model.id)
    ask = start(home).ask
    for age, status in (
        ("30", 200),
        ("30.5", 200),
        ('"30"', 200),
        ("null", 200),
        ("true", 422),
        ("[30]", 422),
        ("NaN", 422),
        ('"NaN"', 422),
    ):
        found = ask.post("/v1/verticals/risk/predict", content=f'{{"records": [{{"age": {age}, "job": "clerk"}}]}}', headers=JSON)
        assert found.status_code == status, (age, found.text)
    found = ask.post("/v1/verticals/risk/predict", content='{"records": [{"age": true, "job": 7}]}', headers=JSON)
    assert problem(found, 422) == "The field 'age' of record 1 is true or false; expected a number. Send a JSON number."
