"""Uploaded datasets and jobs: what is taken and refused, what jobs make, and that none is lost when a process dies."""

from __future__ import annotations

import io
import json
import os
import signal
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.server.conftest import admin
from tests.server.running import problem, until
from vertune.client.client import Client
from vertune.core import base as bases
from vertune.core.errors import DataError
from vertune.server import job_process, uploading
from vertune.server import jobs as runner
from vertune.server.settings import JobSettings
from vertune.store import jobs
from vertune.store.database import Database
from vertune.store.keys import Keys

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
LONG = 120.0
ARGUMENTS = runner.ARGUMENTS
"""Those with which servers start the processes of jobs; in the tests, nearly all of these are forks."""
WORDS = (("rome", "place"), ("soup", "food"))
ROWS = [{"text": f"tell me {number} of {word}", "label": label} for number in range(15) for word, label in WORDS]


def as_csv(rows=ROWS) -> bytes:
    return pl.DataFrame(rows).write_csv().encode()


@pytest.fixture
def working(home, start, tiny_base, monkeypatch):
    """A server that runs jobs, on one processor; the tiny base may be named in configs."""
    monkeypatch.setitem(bases.ALIASES, str(tiny_base), str(tiny_base))
    return start(home, admin(home), jobs=JobSettings(cores=1))


def upload(client, content: bytes = b"", kind: str = "text/csv", name: str = "mine", **headers) -> dict:
    sent = client.post("/v1/datasets", content=content or as_csv(), params={"name": name}, headers={"Content-Type": kind, **headers})
    assert sent.status_code == 201, sent.text
    return sent.json()


def config(tiny_base, dataset: str, name: str = "fresh", **other) -> dict:
    training = {"epochs": 1, "refit": "never"}
    return {"name": name, "base": str(tiny_base), "method": "head", "training": training, "data": {"source": {"dataset": dataset}}, **other}


def ended(client, id: str) -> dict:
    until(lambda: client.get(f"/v1/jobs/{id}").json()["state"] not in ("queued", "running"), LONG)
    return client.get(f"/v1/jobs/{id}").json()


def parquet() -> bytes:
    file = io.BytesIO()
    pl.DataFrame(ROWS).write_parquet(file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (as_csv(), "text/csv; charset=utf-8"),
        ("\n".join(map(json.dumps, ROWS)).encode(), "application/x-ndjson"),
        (parquet(), "application/vnd.apache.parquet"),
    ],
)
def test_an_upload_tells_what_is_in_it(working, content, kind) -> None:
    found = upload(working.ask, content, kind)
    report = found["report"]
    assert (report["rows"], report["unreadable"], report["columns"]) == (30, 0, ["text", "label"])
    assert report["guess"]["task"] == "classify"
    assert report["guess"]["fields"] == {"text": ["text"], "label": ["label"]}
    assert found["bytes"] == len(content)
    stored = list((working.service.home.folder / "uploads").iterdir())
    assert [(file.read_bytes(), file.stat().st_mode & 0o077) for file in stored] == [(content, 0)]
    assert str(working.service.home.folder) not in json.dumps(found)
    assert working.ask.get("/v1/datasets").json()["datasets"] == [found]
    assert working.ask.delete(f"/v1/datasets/{found['id']}").status_code == 204
    assert not list((working.service.home.folder / "uploads").iterdir())
    problem(working.ask.get(f"/v1/datasets/{found['id']}"), 404)


def test_the_process_of_a_job_is_python_itself(working, monkeypatch) -> None:
    monkeypatch.setattr(runner, "ARGUMENTS", ARGUMENTS)
    assert upload(working.ask)["report"]["rows"] == 30


def test_rows_that_cannot_be_read_are_named(working) -> None:
    lines = [json.dumps(row) for row in ROWS]
    lines[4] = "{broken"
    report = upload(working.ask, "\n".join(lines).encode(), "application/x-ndjson")["report"]
    assert (report["rows"], report["unreadable"], report["unreadable_rows"][0]["row"]) == (29, 1, 5)


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [(b"a,b\n1,2\n", "application/json", 415), (b"a,b\n", "text/csv", 422), (b"PAR1 nothing", "application/vnd.apache.parquet", 422)],
)
def test_what_is_no_table_is_refused_and_leaves_nothing(working, content, kind, status) -> None:
    said = problem(working.ask.post("/v1/datasets", content=content, headers={"Content-Type": kind}), status)
    assert str(working.service.home.folder) not in said
    assert ".csv" not in said
    folder = working.service.home.folder / "uploads"
    assert not folder.exists() or not list(folder.iterdir())
    assert working.ask.get("/v1/datasets").json()["datasets"] == []


def test_a_file_that_is_too_large_is_refused_while_it_arrives(home, start) -> None:
    running = start(home, admin(home), jobs=JobSettings(cores=1, upload=500))
    problem(running.ask.post("/v1/datasets", content=as_csv(), headers={"Content-Type": "text/csv"}), 413)
    assert not list((home.folder / "uploads").iterdir())


def test_a_file_that_would_take_all_memory_takes_none_of_the_server(working, monkeypatch) -> None:
    """Two million equal texts of 5,000 characters take a few kilobytes in Parquet."""
    monkeypatch.setattr("vertune.server.uploading._LEAST_MEMORY", 4 << 30)
    table = pa.table({"text": pa.DictionaryArray.from_arrays(pa.array(np.zeros(2_000_000, np.int32)), pa.array(["x" * 5000]))})
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd")
    assert len(file.getvalue()) < 1 << 20
    sent = working.ask.post(
        "/v1/datasets", content=file.getvalue(), headers={"Content-Type": "application/vnd.apache.parquet"}, timeout=LONG
    )
    assert sent.status_code in (201, 422)
    assert working.ask.post("/v1/verticals/intent/predict", json={"texts": ["a"]}).status_code == 200


def test_a_customer_may_have_so_many_datasets(home, start) -> None:
    running = start(home, admin(home), jobs=JobSettings(cores=1, uploads=1))
    first = upload(running.ask)["id"]
    problem(running.ask.post("/v1/datasets", content=as_csv(), headers={"Content-Type": "text/csv"}), 409)
    running.ask.delete(f"/v1/datasets/{first}")
    upload(running.ask)


def test_a_server_that_stops_ends_its_streams(home, start, sleeping) -> None:
    running = start(home, admin(home), jobs=JobSettings(cores=1))
    id = begun(running)
    with running.ask.stream("GET", f"/v1/jobs/{id}/stream") as response:
        lines = response.iter_lines()
        assert next(lines) == "id: 1"
        running.service.draining = True
        began = time.monotonic()
        assert "event: state" not in list(lines)
        assert time.monotonic() - began < 5
    running.service.draining = False
    running.ask.post(f"/v1/jobs/{id}/cancel")
    ended(running.ask, id)


def test_a_server_without_processors_for_jobs_takes_none(server) -> None:
    problem(server.ask.post("/v1/jobs", json={"kind": "compress", "model": "intent"}), 422)
    problem(server.ask.post("/v1/datasets", content=as_csv(), headers={"Content-Type": "text/csv"}), 422)


def test_a_fit_makes_a_live_model_and_tells_how_it_goes_on(working, tiny_base) -> None:
    dataset = upload(working.ask)["id"]
    sent = working.ask.post("/v1/jobs", json={"kind": "fit", "config": config(tiny_base, dataset), "accept": True})
    assert sent.status_code == 201, sent.text
    id = sent.json()["id"]
    with working.ask.stream("GET", f"/v1/jobs/{id}/stream") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in response.iter_lines() if line.startswith(("id:", "event:", "data:"))]
    last = json.loads(lines[-1].removeprefix("data: "))
    assert (lines[-2], last["state"]) == ("event: state", "done"), last
    job = ended(working.ask, id)
    assert job == last
    assert working.service.home.aliases()["fresh@live"] == job["result"]["model"]
    assert job["result"]["metrics"]["accuracy"] > 0
    numbers = [int(line.removeprefix("id: ")) for line in lines if line.startswith("id:")]
    assert numbers == list(range(1, len(numbers) + 1))
    told = working.ask.get(f"/v1/jobs/{id}/events").json()
    assert {"describe", "saved"} <= {event["event"] for event in told["events"]} or len(told["events"]) > 3
    assert told["last"] == numbers[-1]
    assert working.ask.get(f"/v1/jobs/{id}/events", params={"after": told["last"]}).json()["events"] == []
    report = working.ask.get(f"/v1/jobs/{id}/files/report.html")
    assert "<html" in report.text
    assert report.headers["content-security-policy"].startswith("sandbox; default-src 'none'; style-src 'unsafe-inline'")
    assert (
        working.ask.get(f"/v1/jobs/{id}/files/metrics.json").json()["metrics"]["accuracy"]["value"] == job["result"]["metrics"]["accuracy"]
    )
    problem(working.ask.get(f"/v1/jobs/{id}/files/manifest.json"), 404)
    predicted = working.ask.post("/v1/jobs", json={"kind": "predict", "model": "fresh", "dataset": dataset}).json()["id"]
    assert ended(working.ask, predicted)["result"] == {
        "model": job["result"]["model"],
        "rows": 30,
        "errors": 0,
        "output": f"{predicted}.jsonl",
    }
    rows = [json.loads(line) for line in working.ask.get(f"/v1/jobs/{predicted}/output").text.splitlines()]
    assert [row["text"] for row in rows] == [row["text"] for row in ROWS]
    assert {row["answer_label"] for row in rows} <= {"food", "place"}
    again = working.ask.post("/v1/jobs", json={"kind": "retrain", "model": "fresh", "on": [{"dataset": dataset}]})
    assert again.json()["vertical"] == "fresh"
    assert "There is nothing new to learn: none of the 30 rows can be used" in ended(working.ask, again.json()["id"])["why"]
    problem(working.ask.post("/v1/jobs", json={"kind": "retrain", "model": "fresh", "on": [{"path": "/etc/passwd"}]}), 422)
    assert working.ask.delete(f"/v1/jobs/{predicted}").status_code == 204
    problem(working.ask.get(f"/v1/jobs/{predicted}/output"), 404)
    measured = working.ask.post("/v1/jobs", json={"kind": "evaluate", "model": "fresh", "dataset": dataset}).json()["id"]
    assert ended(working.ask, measured)["result"]["metrics"]["accuracy"] > 0


def test_the_client_uploads_starts_and_waits(working, tiny_base, tmp_path) -> None:
    (tmp_path / "rows.csv").write_bytes(as_csv())
    with Client(working.url, working._key, deadline=LONG) as client:
        dataset = client.upload(tmp_path / "rows.csv")
        assert (dataset["name"], dataset["report"]["rows"]) == ("rows.csv", 30)
        job = client.start_job("prepare", config=config(tiny_base, dataset["id"]))
        assert client.wait(job["id"], 0.1)["state"] == "done"
        with pytest.raises(DataError, match="can't be uploaded"):
            client.upload(tmp_path / "rows.xlsx")


def test_feedback_is_a_source_of_jobs(working, tiny_base) -> None:
    for row in ROWS:
        body = {"vertical": "intent", "text": row["text"], "target": {"label": row["label"]}}
        assert working.ask.post("/v1/feedback", json=body).status_code == 201
    source = {"source": {"feedback": "intent"}, "fields": {"text": "text", "label": "label"}}
    given = config(tiny_base, "", name="intent", data=source)
    job = ended(working.ask, working.ask.post("/v1/jobs", json={"kind": "prepare", "config": given}).json()["id"])
    assert job["state"] == "done", job
    assert sum(job["result"]["rows"][split] for split in ("train", "validation", "test")) == 30


def test_an_error_of_the_work_is_told(working, tiny_base) -> None:
    dataset = upload(working.ask)["id"]
    given = config(tiny_base, dataset, data={"source": {"dataset": dataset}, "fields": {"text": "missing", "label": "label"}})
    job = ended(working.ask, working.ask.post("/v1/jobs", json={"kind": "prepare", "config": given}).json()["id"])
    assert (job["state"], "missing" in job["why"], job["result"]) == ("failed", True, None)


REFUSED_CONFIGS = (
    ({"data": {"source": "/etc/passwd"}}, 422),
    ({"data": {"source": {"name": "csv", "path": "/etc/passwd"}}}, 422),
    ({"data": {"source": {"name": "sql", "url": "sqlite:////etc/passwd", "query": "select 1"}}}, 422),
    ({"data": {}}, 422),
    ({"data": {"source": {"declared": "nothing"}}}, 422),
    ({"data": {"source": {"dataset": "../../etc/passwd"}}}, 404),
    ({"data": {"source": {"dataset": "0" * 32}}}, 404),
    ({"base": "/etc"}, 422),
    ({"encoder": {"base": "someone/model"}}, 422),
    ({"base": None, "encoder": {"name": "text", "base": "../models"}}, 422),
    ({"compress": {"chain": [{"name": "distill", "teacher": "other"}]}}, 422),
    ({"training": {"trackers": ["wandb"]}}, 422),
    ({"device": {"threads": 64}}, 422),
    ({"method": "nothing"}, 422),
    ({"name": "../x"}, 422),
)
"""What is changed in a config that is right, and the status of the refusal."""
INCOMPLETE = (
    ({"kind": "fit"}, 422),
    ({"kind": "fit", "config": {}, "model": "intent"}, 422),
    ({"kind": "predict", "model": "intent"}, 422),
    ({"kind": "compress", "model": "nobody"}, 404),
    ({"kind": "compress", "model": "../models/x"}, 404),
    ({"kind": "sleep"}, 422),
    ({"kind": "compress", "model": "intent\0"}, 422),
    ({"kind": "fit", "config": {"name": "x", "seed": 10**30, "data": {"source": {"dataset": "0"}}}}, 422),
    ({"kind": "fit", "config": {"name": "x", "data": {"source": {"dataset": "0\0"}}}}, 422),
    ({"kind": "compress", "model": "intent", "priority": 10}, 422),
    ({"kind": "retrain", "model": "intent"}, 422),
    ({"kind": "retrain", "model": "intent", "on": []}, 422),
    ({"kind": "evaluate", "model": "intent", "on": [{"feedback": "intent"}]}, 422),
)


def test_paths_what_is_not_the_customers_and_incomplete_requests_are_refused(working, tiny_base) -> None:
    dataset = upload(working.ask)["id"]
    for change, status in REFUSED_CONFIGS:
        given = {key: value for key, value in {**config(tiny_base, dataset), **change}.items() if value is not None}
        sent = working.ask.post("/v1/jobs", json={"kind": "fit", "config": given})
        assert sent.status_code == status, (change, sent.text)
        problem(sent, status)
    for body, status in INCOMPLETE:
        sent = working.ask.post("/v1/jobs", json=body)
        assert sent.status_code == status, (body, sent.text)
        problem(sent, status)
    assert working.ask.get("/v1/jobs").json()["jobs"] == []


def test_declared_sources_are_read_by_name(home, start, tiny_base, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(bases.ALIASES, str(tiny_base), str(tiny_base))
    (tmp_path / "rows.csv").write_bytes(as_csv())
    (tmp_path / "sources.yaml").write_text(f"ours: {{name: csv, path: {tmp_path / 'rows.csv'}}}\n")
    running = start(home, admin(home), jobs=JobSettings(cores=1, sources=tmp_path / "sources.yaml"))
    given = config(tiny_base, "", data={"source": {"declared": "ours"}})
    sent = running.ask.post("/v1/jobs", json={"kind": "prepare", "config": given})
    assert ended(running.ask, sent.json()["id"])["state"] == "done"


def test_a_key_starts_and_sees_only_what_it_may(working, tiny_base) -> None:
    keys = Keys(Database(working.service.home.folder / "server.db"))

    def client(*given, **options):
        headers = {"Authorization": f"Bearer {keys.create(*given, **options)[0]}"}
        return lambda method, path, **sent: working.stranger.request(method, path, headers={**headers, **sent.pop("headers", {})}, **sent)

    bank, shop = (client(name, ["train"], customer=name) for name in ("bank", "shop"))
    narrow = client("narrow", ["train"], ["spans"], customer="bank")
    reader = client("reader", ["predict", "feedback"], customer="bank")
    sent = bank("POST", "/v1/datasets", content=as_csv(), headers={"Content-Type": "text/csv"})
    dataset = sent.json()["id"]
    given = {"kind": "prepare", "config": config(tiny_base, dataset)}
    problem(shop("POST", "/v1/jobs", json=given), 404)
    problem(narrow("POST", "/v1/jobs", json=given), 403)
    problem(reader("POST", "/v1/jobs", json=given), 403)
    problem(bank("POST", "/v1/jobs", json={**given, "priority": 9}), 403)
    problem(narrow("POST", "/v1/jobs", json={"kind": "compress", "model": "intent"}), 404)
    problem(bank("POST", "/v1/jobs", json={"kind": "retrain", "model": "intent", "on": [{"dataset": dataset}]}), 403)
    problem(bank("POST", "/v1/jobs", json={"kind": "prepare", "config": config(tiny_base, "", data={"source": {"feedback": "x"}})}), 403)
    first = bank("POST", "/v1/jobs", json=given, headers={"Idempotency-Key": "a"})
    again = bank("POST", "/v1/jobs", json=given, headers={"Idempotency-Key": "a"})
    assert (first.status_code, again.status_code, again.json()["id"]) == (201, 200, first.json()["id"])
    job = first.json()["id"]
    for who in (shop, narrow):
        assert who("GET", "/v1/jobs").json()["jobs"] == []
        for path in ("", "/events", "/stream", "/output", "/files/report.html"):
            problem(who("GET", f"/v1/jobs/{job}{path}"), 404)
        problem(who("POST", f"/v1/jobs/{job}/cancel"), 404)
        problem(who("DELETE", f"/v1/jobs/{job}"), 404)
    problem(shop("GET", f"/v1/datasets/{dataset}"), 404)
    problem(shop("DELETE", f"/v1/datasets/{dataset}"), 404)
    assert ended(working.ask, job)["state"] == "done"


def test_more_jobs_than_a_customer_may_have_are_refused(home, start, tiny_base, monkeypatch) -> None:
    monkeypatch.setitem(bases.ALIASES, str(tiny_base), str(tiny_base))
    monkeypatch.setattr(runner.Jobs, "take", lambda self: None)
    running = start(home, admin(home), jobs=JobSettings(cores=1, per_customer=1))
    given = {"kind": "compress", "model": "intent"}
    first = running.ask.post("/v1/jobs", json=given).json()
    refused = running.ask.post("/v1/jobs", json=given)
    problem(refused, 429)
    assert float(refused.headers["retry-after"]) >= 1
    assert running.ask.post(f"/v1/jobs/{first['id']}/cancel").json()["state"] == "cancelled"
    assert running.ask.post("/v1/jobs", json=given).status_code == 201


def test_a_repeated_request_is_answered_where_no_more_jobs_may_begin(home, start, monkeypatch) -> None:
    monkeypatch.setattr(runner.Jobs, "take", lambda self: None)
    running = start(home, admin(home), jobs=JobSettings(cores=1, per_customer=1))
    given, key = {"kind": "compress", "model": "intent"}, {"Idempotency-Key": "once"}
    first = running.ask.post("/v1/jobs", json=given, headers=key)
    again = running.ask.post("/v1/jobs", json=given, headers=key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    problem(running.ask.post("/v1/jobs", json={**given, "priority": 1}, headers=key), 409)
    problem(running.ask.post("/v1/jobs", json=given), 429)
    problem(running.ask.post("/v1/jobs", json={**given, "priority": 1}, headers={"Idempotency-Key": "other"}), 429)


def test_a_model_is_evaluated_on_its_own_rows_by_their_customer_alone(home, start, monkeypatch) -> None:
    """The report shows some of the test rows."""
    monkeypatch.setattr(runner.Jobs, "take", lambda self: None)
    running = start(home, admin(home), jobs=JobSettings(cores=1))
    secret, _ = Keys(running.database).create("bank", ["train"], customer="bank")
    headers = {"Authorization": f"Bearer {secret}"}
    given = {"kind": "evaluate", "model": "intent"}
    assert "test rows" in problem(running.stranger.post("/v1/jobs", json=given, headers=headers), 403)
    sent = running.stranger.post("/v1/datasets", content=as_csv(), headers={"Content-Type": "text/csv", **headers})
    mine = {**given, "dataset": sent.json()["id"]}
    assert running.stranger.post("/v1/jobs", json=mine, headers=headers).status_code == 201
    assert running.ask.post("/v1/jobs", json=given).status_code == 201


def test_no_task_is_guessed_from_a_very_wide_file(tmp_path) -> None:
    pl.DataFrame({f"c{number}": ["a", "b"] for number in range(1001)}).write_parquet(tmp_path / "wide.parquet")
    found = uploading.describe(tmp_path / "wide.parquet", "parquet")
    assert (found["guess"], found["rows"], len(found["columns"])) == (None, 2, 1001)
    assert any("1,001 columns" in note for note in found["notes"])


def test_messages_of_jobs_name_no_folder_of_the_server(tmp_path) -> None:
    home, file = str(tmp_path / "home"), str(tmp_path / "home" / "uploads" / ".1.csv")
    request = {"home": home, "file": file}
    assert job_process.without_folders(f"{file} has no rows.", request) == "The file has no rows."
    assert job_process.without_folders(f"The header of {file} is bad.", request) == "The header of the file is bad."
    assert job_process.without_folders(f"{home}/uploads/1.csv has no rows.", {"home": home}) == "uploads/1.csv has no rows."


def test_the_name_of_a_dataset_has_no_character_0(working) -> None:
    sent = working.ask.post("/v1/datasets", params={"name": "a\0"}, content=as_csv(), headers={"Content-Type": "text/csv"})
    problem(sent, 422)
    assert "character 0" in problem(working.ask.get("/v1/datasets/%00"), 404)


def test_jobs_of_a_plan_are_used_up_and_billed(home, start, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(runner.Jobs, "take", lambda self: None)
    (tmp_path / "plans.yaml").write_text("plans: {small: {jobs: 1, verticals: [intent], prices: {jobs: 2.5}}}\ndefault: small\n")
    running = start(home, admin(home), jobs=JobSettings(cores=1), plans=tmp_path / "plans.yaml")
    problem(running.ask.post("/v1/jobs", json={"kind": "compress", "model": "spans"}), 403)
    given = {"kind": "compress", "model": "intent"}
    assert running.ask.post("/v1/jobs", json=given).status_code == 201
    assert "allows 1 jobs in a month" in problem(running.ask.post("/v1/jobs", json=given), 429)
    assert running.ask.get("/v1/usage", params={"by": "vertical"}).json()["usage"][0]["jobs"] == 1
    month = datetime.now(UTC).strftime("%Y-%m")
    (line,) = running.ask.get("/v1/invoice", params={"month": month}).json()["lines"]
    assert (line["item"], line["used"], line["charged"], line["amount"]) == ("jobs", 1, 1, "2.50")


SLEEP = 'import sys, time; sys.stdin.readline(); print(\'{"event": {"event": "begun"}}\', flush=True); time.sleep(600)'


@pytest.fixture
def sleeping(monkeypatch):
    """Processes of jobs that only wait."""
    popen = runner.subprocess.Popen
    monkeypatch.setattr(runner.subprocess, "Popen", lambda command, **options: popen([command[0], "-c", SLEEP], **options))


def begun(running, **other) -> str:
    """Start a job, and wait until its process has told something."""
    id = running.ask.post("/v1/jobs", json={"kind": "compress", "model": "intent", **other}).json()["id"]
    until(lambda: running.ask.get(f"/v1/jobs/{id}/events").json()["events"], LONG)
    return id


def children() -> list[int]:
    """The ids of the processes that wait."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and SLEEP in (entry / "cmdline").read_text():
                found.append(int(entry.name))
    return found


def test_a_job_that_runs_can_be_cancelled(working, sleeping) -> None:
    id = begun(working)
    assert len(children()) == 1
    working.ask.post(f"/v1/jobs/{id}/cancel")
    assert ended(working.ask, id)["state"] == "cancelled"
    until(lambda: not children(), LONG)


def test_a_process_that_dies_is_started_again_until_it_has_died_too_often(working, sleeping) -> None:
    id = begun(working)
    for attempt in range(1, jobs.ATTEMPTS + 1):
        until(lambda attempt=attempt: working.ask.get(f"/v1/jobs/{id}").json()["attempts"] == attempt and children(), LONG)
        for child in children():
            os.kill(child, signal.SIGKILL)
        until(lambda: not children() or working.ask.get(f"/v1/jobs/{id}").json()["attempts"] > attempt, LONG)  # noqa: B023
    job = ended(working.ask, id)
    assert (job["state"], job["attempts"], "status -9" in job["why"]) == ("failed", 3, True)


def test_a_job_that_takes_too_long_has_failed(home, start, sleeping) -> None:
    running = start(home, admin(home), jobs=JobSettings(cores=1, hours=0.0005))
    job = ended(running.ask, begun(running))
    assert (job["state"], "longer than 0.0005 hours" in job["why"]) == ("failed", True)
    chinese = {"language": "zh"}
    shown = running.ask.get("/v1/jobs", params=chinese).json()["jobs"] + [running.ask.get(f"/v1/jobs/{job['id']}", params=chinese).json()]
    assert [one["why"] for one in shown] == ["任务用时超过 0.0005 小时。"] * 2
    assert "任务用时超过" in running.ask.get(f"/v1/jobs/{job['id']}/stream", params=chinese).text


def test_another_server_goes_on_with_the_jobs_of_one_that_stops(home, start, sleeping) -> None:
    secret = admin(home)
    first = start(home, secret, jobs=JobSettings(cores=1))
    id = begun(first)
    first.service.jobs.stop()
    assert first.ask.get(f"/v1/jobs/{id}").json()["state"] == "queued"
    assert not children()
    second = start(home, secret, jobs=JobSettings(cores=2, at_once=2))
    until(lambda: second.ask.get(f"/v1/jobs/{id}").json()["state"] == "running", LONG)
    assert second.ask.get(f"/v1/jobs/{id}").json()["attempts"] == 1
    second.ask.post(f"/v1/jobs/{id}/cancel")
    ended(second.ask, id)


def test_the_end_of_a_job_is_stored_when_the_database_can_be_written_again(working, monkeypatch) -> None:
    from vertune.core.errors import StorageError

    end, failures = jobs.end, []

    def failing(*given, **about):
        if len(failures) < 2:
            failures.append(given)
            raise StorageError("The disk is full. Delete something.")
        return end(*given, **about)

    monkeypatch.setattr(runner.jobs, "end", failing)
    monkeypatch.setattr(runner, "_RETRY", 0.05)
    id = working.ask.post("/v1/jobs", json={"kind": "predict", "model": "intent", "dataset": upload(working.ask)["id"]}).json()["id"]
    job = ended(working.ask, id)
    assert len(failures) == 2
    assert job["state"] in ("done", "failed")


def test_a_child_ends_with_the_server() -> None:
    import subprocess
    import sys

    child = subprocess.Popen([sys.executable, "-m", "vertune.server.job_process"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    request = {"kind": "prepare", "home": "/nonexistent", "config": {"data": {"source": {"name": "csv", "path": "/dev/stdin"}}}}
    child.stdin.write(json.dumps(request).encode() + b"\n")
    child.stdin.flush()
    time.sleep(0.5)
    child.stdin.close()
    assert child.wait(30) is not None
