"""Readiness by vertical: a model that computes something else than it must is seen, in readiness, in the list and in the metrics."""

from __future__ import annotations

import numpy as np
import pytest

from tests.server.running import problem, until
from vertune.server import readiness

pytestmark = [pytest.mark.enable_socket, pytest.mark.allow_hosts(["127.0.0.1"])]


def unhealthy(running) -> int:
    return running.ask.get("/health/ready").json()["unhealthy"]


def test_a_vertical_whose_outputs_are_no_numbers_is_told_and_the_others_answer(home, start):
    running = start(home, exact=True)
    assert unhealthy(running) == 0
    damaged = running.service.answers.fleet.get("intent")
    damaged.slot.head = {name: np.full_like(array, np.nan) for name, array in damaged.slot.head.items()}
    assert "NaN or infinity" in problem(running.predict("intent", "soup"), 500)
    assert running.predict("spans", "soup").status_code == 200
    ready = running.ask.get("/health/ready")
    assert (ready.status_code, ready.json()["unhealthy"]) == (200, 1)
    assert "NaN" in running.ask.get("/v1/verticals/intent").json()["fault"]
    assert running.ask.get("/v1/verticals/spans").json()["fault"] is None
    assert [running.metric("vertune_vertical_healthy", vertical=name) for name in ("intent", "spans")] == [0, 1]
    other = next(one for one in home.shelf("models") if one.manifest["name"] == "intent" and one.id != damaged.model.id)
    home.alias("intent@live", other.id)
    until(lambda: unhealthy(running) == 0)
    assert running.predict("intent", "soup").status_code == 200


def test_weights_that_change_in_memory_are_seen_and_heal(home, start, monkeypatch):
    monkeypatch.setattr(readiness, "COMPARE_AFTER", 0.0)
    running = start(home, exact=True, only=["intent", "whole"])
    fleet = running.service.answers.fleet
    kept = fleet.get("intent").slot.head
    fleet.get("intent").slot.head = {name: array[::-1] for name, array in kept.items()}
    until(lambda: unhealthy(running) == 1)
    assert "reference texts" in running.ask.get("/v1/verticals/intent").json()["fault"]
    fleet.get("intent").slot.head = kept
    until(lambda: unhealthy(running) == 0)


def test_not_ready_where_every_vertical_computes_something_else(home, start):
    running = start(home, exact=True, only=["intent"])
    running.service.answers.fleet.get("intent").health.fault = "wrong"
    response = running.ask.get("/health/ready")
    assert response.status_code == 503
    assert response.json()["why"] == "no vertical computes what it must"


def test_a_damaged_model_does_not_go_live_and_the_one_before_goes_on(home, start):
    running = start(home, exact=True)
    before = running.service.answers.fleet.get("intent").model.id
    other = next(one for one in home.shelf("models") if one.manifest["name"] == "intent" and one.id != before)
    rows = home.shelf("backbones")[-1].folder / "verticals" / other.id / "rows.safetensors"
    content = bytearray(rows.read_bytes())
    content[-1] ^= 1
    rows.write_bytes(content)
    home.alias("intent@live", other.id)
    until(lambda: (running.ask.get("/v1/verticals/intent").json()["coming"] or {}).get("state") == "damaged")
    assert "rows.safetensors has changed" in running.ask.get("/v1/verticals/intent").json()["coming"]["why"]
    assert running.ask.get("/v1/verticals/intent").json()["model"] == before
    assert running.predict("intent", "soup").status_code == 200
