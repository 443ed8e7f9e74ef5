"""A server watches: monitors in a child process, alerts, messages, and a candidate that becomes live step by step."""

from __future__ import annotations

import json
from contextlib import closing

import pytest

from tests.server.conftest import admin
from tests.server.running import until
from vertune.core.artifact import Home
from vertune.core.errors import ConfigError, NotFound
from vertune.server import watching
from vertune.server.settings import JobSettings, Settings, TrafficSettings
from vertune.server.watching import Watching
from vertune.store import jobs, measurements, retrainings
from vertune.store.database import FILE, Database

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(watching, "STEP", 0.05)
    monkeypatch.setattr(watching, "DELIVERY", 0.05)
    monkeypatch.setattr("vertune.server.rollouts.INTERVAL", 0.05)


def written(folder, **options) -> str:
    file = folder / "watch.yaml"
    file.write_text(json.dumps({"channels": [{"name": "file", "path": str(folder / "alerts.jsonl")}], **options}))
    return str(file)


@pytest.fixture
def other(home) -> str:
    live = home.get("models", "intent@live").id
    return next(model.id for model in home.shelf("models") if model.manifest_or_empty["name"] == "intent" and model.id != live)


def test_a_candidate_that_passes_becomes_live_by_itself_while_others_are_answered(home, start, tmp_path, other, monkeypatch) -> None:
    """The job of training and the gate are done by this test; everything after them is the server's."""
    monkeypatch.setattr("vertune.server.jobs.Jobs.take", lambda self: None)
    retrain = {"labels": 2, "go_live": "live", "enough": 3}
    running = start(home, admin(home), exact=True, watch=written(tmp_path, every="1w", retrain=retrain))
    live = home.get("models", "intent@live").id
    for text in ("rome", "soup"):
        said = running.ask.post("/v1/feedback", json={"vertical": "intent", "text": text, "target": "food"})
        assert said.status_code == 201

    def newest():
        with running.database.reading() as connection:
            return next(iter(retrainings.find(connection, ["intent"], 1)), None)

    begun = until(lambda: (found := newest()) and found.stage == "train" and found)
    assert begun.request == {"reason": "labels", "new": 2, "on": [{"name": "feedback", "vertical": "intent", "customer": None}]}
    with running.database.writing() as connection:
        mine = jobs.schema.jobs.c.id == begun.job
        connection.execute(jobs.schema.jobs.update().where(mine).values(state="running", worker="test"))
    report = home.finish(home.begin("reports", "intent", step="gate", parents=[other, live]))
    result = {"dataset": "d", "model": other, "report": report.id, "verdict": "pass", "headline": "It is better."}
    jobs.end(running.database, begun.job, "test", "done", result=result)
    numbers = iter(range(10_000))

    def asked():
        running.predict("intent", f"tell me {next(numbers)} of rome")
        return newest().stage == "done"

    until(asked)
    assert Home(home.folder).aliases()["intent@live"] == other
    until(lambda: running.predict("intent", "soup").json()["model"] == other)
    history = running.ask.get("/v1/verticals/intent/history").json()["versions"]
    assert [one["action"] for one in history] == ["promote", "canary", "shadow"]
    assert history[0]["evidence"]["candidate"]["answers"] >= 3
    (shown,) = running.ask.get("/v1/retrainings").json()["retrainings"]
    assert (shown["stage"], shown["reason"], shown["report"]) == ("done", "labels", report.id)
    noted = running.ask.get("/v1/audit", params={"limit": 1000}).json()["entries"]
    assert [one["actor"] for one in noted if one["action"] == "retrain"] == ["watch"]


def test_monitors_run_in_a_process_of_their_own_and_what_they_find_is_told(home, start, tmp_path) -> None:
    rule = {"name": "drift", "monitors": ["label_shares"], "after": 1}
    options = {"every": "1s", "window": 200, "monitors": ["label_shares", "length"], "rules": [rule]}
    running = start(home, admin(home), exact=True, watch=written(tmp_path, **options), only=["intent"])
    for number in range(25):
        running.predict("intent", *(f"tell me {number * 16 + place} of rome" for place in range(16)))
    assert running.service.recorder.writer.flush()

    def found():
        with running.database.reading() as connection:
            latest = measurements.latest(connection, "intent")
        return latest if latest and latest["length"][0].n >= 200 else None  # the first look may come before all requests are stored

    latest = until(found)
    assert set(latest) == {"label_shares", "length"}
    if latest["label_shares"][0].verdict == "changed":  # a tiny model may give all texts one label, as it did before
        until(lambda: (tmp_path / "alerts.jsonl").exists())
    (shown,) = [one for one in running.ask.get("/v1/monitoring").json()["verticals"] if one["vertical"] == "intent"]
    assert {one["name"] for one in shown["monitors"]} == {"label_shares", "length"}


def test_what_a_server_can_not_watch_with_is_refused_at_its_start(home, tmp_path, monkeypatch) -> None:
    from vertune.server.service import Service

    monkeypatch.delenv("HOOK_SECRET", raising=False)
    with closing(Database(home.folder / FILE)) as database:
        for file, why in [(tmp_path / "none.yaml", NotFound), (tmp_path, NotFound)]:
            with pytest.raises(why):
                Service(Settings(watch=file), home, database)
        hook = {"name": "webhook", "url": "https://example.com/", "secret_env": "HOOK_SECRET"}
        file = written(tmp_path, channels=[hook])
        with pytest.raises(ConfigError, match=r"traffic\.keep"):
            Service(Settings(watch=file, traffic=TrafficSettings(keep=False)), home, database)
        service = Service(Settings(watch=file, jobs=JobSettings(cores=1)), home, database)
        with pytest.raises(ConfigError, match="HOOK_SECRET"):
            service.watching.start()


def test_a_process_that_answers_nothing_knows_from_stored_requests_how_far_a_shadow_is(home, other) -> None:
    from datetime import UTC, datetime, timedelta

    from vertune.core.ids import first_id_of, time_ordered_id
    from vertune.core.watch import WatchFile
    from vertune.store import schema
    from vertune.store.rollouts import Rollout, Rules

    live, now = home.get("models", "intent@live").id, datetime.now(UTC)
    first = first_id_of(now - timedelta(hours=1))
    rollout = Rollout("intent", other, live, "shadow", 0.5, rules=Rules(), began="", first=first, actor="watch")
    answer = {"number": 0, "vertical": "intent", "model": live, "record": None, "answer": "{}", "confidence": None}
    about = {"at": "", "customer": "c", "resource": "predict", "status": 200, "seconds": 0.1, "records": 1, "tokens": 1, "cached_tokens": 0}
    ids = [f"{first_id_of(now - timedelta(minutes=place))[:12]}{time_ordered_id()[12:]}" for place in range(40, 140)]
    with closing(Database(home.folder / FILE)) as database:
        with database.writing() as connection:
            connection.execute(schema.requests.insert(), [{**about, "id": id} for id in ids])
            connection.execute(schema.answers.insert(), [{**answer, "request": id} for id in ids])
        assert Watching(home, database, WatchFile())._compared(rollout) == 10  # half of the 20 after the rollout began


def test_work_is_put_into_the_queue_once(home, tmp_path) -> None:
    from vertune.core.watch import WatchFile

    with closing(Database(home.folder / FILE)) as database:
        first, second = (Watching(home, database, WatchFile())._queue("retrain", "intent", {"on": []}, "r1:retrain") for _ in range(2))
        third = Watching(home, database, WatchFile())._queue("retrain", "intent", {"on": []}, "r2:retrain")
    assert first.id == second.id != third.id
    assert (first.state, first.priority, first.customer) == ("queued", 3, "default")
