"""The card and the report of any model of a vertical, and what the list of its models says of each."""

from __future__ import annotations

import shutil

import pytest

from tests.server.conftest import admin
from tests.server.running import problem, until
from tests.server.test_jobs import ended
from vertune.runtime.shared_store import VERTICALS
from vertune.server.settings import JobSettings

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


@pytest.fixture
def running(home, start):
    return start(home, admin(home))


def test_versions_have_their_method_size_and_intervals(running) -> None:
    for version in running.ask.get("/v1/verticals/intent/versions").json()["versions"]:
        assert version["method"] in ("lora", "bitfit")
        assert version["bytes"] > 0
        assert not version["compressed"]
        assert not version["report"]
        assert version["prepared"]
        for split, intervals in version["intervals"].items():
            assert all(low <= version["metrics"][split][name] <= high for name, (low, high) in intervals.items())


def test_a_card_is_read_of_a_model_that_is_not_live(running) -> None:
    for model in running.service.home.shelf("models"):
        vertical = model.manifest["name"]
        found = running.ask.get(f"/v1/verticals/{vertical}/versions/{model.id}/card").json()
        assert found == {"model": model.id, "card": (model.folder / "README.md").read_text("utf-8")}
        assert "There is no" not in problem(running.ask.get(f"/v1/verticals/nobody/versions/{model.id}/card"), 404)


def test_a_report_can_do_nothing_and_is_for_administrators(running) -> None:
    from vertune.steps.evaluate import evaluate

    home = running.service.home
    model = home.get("models", "intent")
    path = f"/v1/verticals/intent/versions/{model.id}/report"
    assert "no report" in problem(running.ask.get(path), 404)
    evaluate(model, home, "validation")
    found = running.ask.get(path)
    assert "<html" in found.text
    policy = found.headers["content-security-policy"].split("; ")
    assert {"sandbox", "default-src 'none'", "frame-ancestors 'none'"} <= set(policy)
    assert not any("script" in part for part in policy)
    versions = running.ask.get("/v1/verticals/intent/versions").json()["versions"]
    assert [one["model"] for one in versions if one["report"]] == [model.id]
    secret = running.ask.post("/v1/keys", json={"name": "k", "scopes": ["train", "predict"]}).json()["secret"]
    problem(running.stranger.get(path, headers={"Authorization": f"Bearer {secret}"}), 403)


def test_a_job_prepares_a_model_that_can_then_be_compared(home, start) -> None:
    unused = next(model for model in home.shelf("models") if model.manifest["name"] == "intent" and model.id not in home.aliases().values())
    for backbone in home.shelf("backbones"):
        shutil.rmtree(backbone.folder / VERTICALS / unused.id, ignore_errors=True)
    running = start(home, admin(home), jobs=JobSettings(cores=1))
    path = "/v1/verticals/intent"
    other = next(one for one in running.ask.get(f"{path}/versions").json()["versions"] if not one["prepared"])["model"]
    assert "of the kind 'share'" in problem(running.ask.post(f"{path}/rollout", json={"model": other}), 409)
    id = running.ask.post("/v1/jobs", json={"kind": "share", "model": other}).json()["id"]
    job = ended(running.ask, id)
    assert (job["state"], job["result"], job["vertical"]) == ("done", {"model": other}, "intent"), job["why"]
    assert all(one["prepared"] for one in running.ask.get(f"{path}/versions").json()["versions"])
    assert running.ask.get(path).json()["candidate"] is None
    assert running.ask.post(f"{path}/rollout", json={"model": other}).status_code == 201
    until(lambda: running.ask.get(path).json()["candidate"] == other)


def test_fields_that_may_be_left_out_are_named(running) -> None:
    found = running.ask.get("/v1/verticals/intent").json()
    assert (list(found["fields"]), found["optional"]) == (["text", "text_pair"], ["text_pair"])
    assert running.ask.get("/v1/verticals/faq").json()["optional"] == []
