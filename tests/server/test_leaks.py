"""Personal data that clients send anywhere stays nowhere: not in the home, the log, the metrics, the audit or the traces."""

from __future__ import annotations

import io
import json
import logging
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import polars as pl
import pytest
import sqlalchemy

from tests.server.conftest import admin
from tests.server.running import Wire, request
from tests.server.test_jobs import LONG, as_csv, config, ended
from tests.server.test_tracing import collector as collector
from vertune.core import base as bases
from vertune.core.kinds import Mask
from vertune.core.parse import build
from vertune.masking import standard_names
from vertune.server import jobs as runner
from vertune.server import logs
from vertune.server.settings import JobSettings, TrafficSettings

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
OF_MASKS = [build(Mask, name).examples() for name in standard_names()]
EXAMPLES = [example for examples in OF_MASKS for example in examples]
"""Texts with the part of each that is personal data; a mask takes part as soon as it exists."""
EVERYWHERE = [examples[-(place % 2)] for place, examples in enumerate(OF_MASKS)]
"""One for each mask, of several languages, which is sent through all that accepts texts."""
TOGETHER = [
    (f"{text}\n{other}", value) for (text, value), (other, _) in zip(EVERYWHERE[::2], EVERYWHERE[1::2] + EVERYWHERE[:1], strict=False)
]
"""The same, two in one text, of which the first is also sent where a text has no place."""
FULL = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}
"""From the characters of ASCII to those of full width."""
LEAST_DIGITS = 7
"""Numbers with fewer digits also occur in times and sizes."""
OF_CUSTOMERS = (
    "table uploads",
    "table jobs",
    "table job_events",
    *(f"table {name}" for name in ("projects", "records", "labels", "decisions")),
)
"""The tables of uploads, jobs and labelling projects, which are the customer's own data and say what is in them."""


def forms(value: str) -> Iterator[bytes]:
    """Yield what a value may look like wherever it is written."""
    digits = "".join(filter(str.isdigit, unicodedata.normalize("NFKC", value)))
    plain = unicodedata.normalize("NFKC", value)
    for form in {value, plain, value.translate(FULL), *([digits, digits.translate(FULL)] if len(digits) >= LEAST_DIGITS else [])}:
        yield form.encode()
        yield json.dumps(form)[1:-1].encode()
        yield quote(form).encode()
        yield quote(form, safe="").lower().encode()
        yield ascii(form)[1:-1].encode()
        yield form.encode("utf-16-le")
        yield form.encode().decode("latin-1").encode()  # as headers are read


FORMS = {form: value for _, value in EXAMPLES for form in forms(value)}


def found_in(content: bytes) -> set[str]:
    """Return the values that something contains in any form."""
    return {value for form, value in FORMS.items() if form in content}


class Seen:
    """What a server leaves: in its log at the level of debugging, in the files of its home, in its database, and at a collector."""

    def __init__(self, home: Path, temporary: Path, received: list[bytes]) -> None:
        self.home, self.temporary, self.received = home, temporary, received
        self.streams = {"json": io.StringIO(), "text": io.StringIO()}
        self.before = {path: path.stat().st_mtime_ns for path in home.rglob("*")}
        """The files of the trained models, of which those that no server wrote need no search."""

    def leaks(self, running, output: str, allowed: tuple[str, ...] = ()) -> dict[str, list[str]]:
        """Return some of the values that were found, by place; `allowed` are beginnings of places that may contain some."""
        places = {f"log as {kind}": stream.getvalue().encode() for kind, stream in self.streams.items()}
        places |= {"output": output.encode(), "metrics": running.ask.get("/metrics").content, "traces": b"".join(self.received)}
        places["audit"] = running.ask.get("/v1/audit", params={"limit": 1000}).content
        changed = [path for path in self.home.rglob("*") if self.before.get(path) != path.stat().st_mtime_ns]
        places |= {f"file {path.relative_to(self.home)}": path.read_bytes() for path in changed if path.is_file()}
        places |= {f"temporary {path.name}": path.read_bytes() for path in self.temporary.rglob("*") if path.is_file()}
        places |= {f"name of {path.relative_to(self.home)}": str(path.relative_to(self.home)).encode() for path in self.home.rglob("*")}
        places |= {f"table {name}": content for name, content in rows(self.home / "server.db").items()}
        found = {place: found_in(content) for place, content in places.items() if not place.startswith(allowed)}
        return {place: sorted(values)[:3] for place, values in found.items() if values}


def rows(file: Path) -> dict[str, bytes]:
    """Return the content of each table of a database."""
    engine = sqlalchemy.create_engine(f"sqlite:///{file}")
    try:
        with engine.connect() as connection:
            names = sqlalchemy.inspect(connection).get_table_names()
            tables = {name: connection.exec_driver_sql(f'SELECT * FROM "{name}"').all() for name in names}
            return {name: "\n".join(str(cell) for row in table for cell in row).encode() for name, table in tables.items()}
    finally:
        engine.dispose()


@pytest.fixture
def seen(home, tmp_path, collector, monkeypatch):
    """What a server in the home leaves; the log is as it was afterwards."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", None)
    found = Seen(home.folder, tmp_path / "temporary", collector[1])
    own, clients = logging.getLogger("vertune"), [logging.getLogger(name) for name in ("httpx", "httpcore")]
    before = [(logger, logger.level, logger.propagate, [*logger.handlers]) for logger in (logging.getLogger(), own, *clients)]
    for kind, stream in found.streams.items():
        logs.configure(kind, stream)
    for logger in (own, logging.getLogger("vertune.requests"), logging.getLogger("uvicorn"), logging.getLogger("asyncio")):
        logger.setLevel(logging.DEBUG)
    for logger in clients:  # they are not part of the server
        logger.setLevel(logging.CRITICAL)
    yield found
    for logger, level, propagate, handlers in before:
        logger.setLevel(level)
        logger.propagate, logger.handlers[:] = propagate, handlers
    for name in ("vertune.requests", "uvicorn", "asyncio"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def header(value: str) -> bytes:
    """Return a value as a client writes it into a header: in UTF-8, on one line."""
    return value.replace("\n", " ").encode()


def send(running, text: str, value: str) -> None:
    """Send a text, and the value in it, through all that accepts text, for models that answer and requests that are refused."""
    ask = running.ask
    named = dict.fromkeys(("X-Request-Id", "X-Sticky-Key", "User-Agent"), header(text)) | {"traceparent": header(f"00-{value}-01")}
    wide = text.translate(FULL)
    place = {"start": text.index(value), "end": text.index(value) + len(value), "label": "CITY"}
    span = {"start": place["start"], "text": value}
    answered = ask.post("/v1/verticals/intent/predict", json={"texts": [text, wide]}, headers={**named, "Idempotency-Key": header(text)})
    assert answered.status_code == 200, answered.text
    answer = answered.json()["ids"][0]
    whole = {"question": text, "context": f"see {text}"}
    bodies = [
        ("/v1/verticals/intent/predict", {"records": [{"query": text, "other": text, text: "x"}]}),
        ("/v1/verticals/intent/predict", {"records": [{"text": text}]}),
        ("/v1/verticals/spans/predict", {"texts": [text]}),
        ("/v1/verticals/faq/predict", {"records": [whole]}),
        ("/v1/predict", {"verticals": ["intent", "spans", "whole"], "texts": [text]}),
        ("/v1/embeddings", {"model": "find", "input": [text, wide], "user": text}),
        ("/v1/feedback", {"answer": answer, "target": text, "new_labels": True, "comment": text, "author": text}),
        ("/v1/feedback", {"answer": answer, "text": text, "target": wide, "new_labels": True, "comment": wide}),
        ("/v1/feedback", {"vertical": "intent", "text": text, "target": {"label": text}, "new_labels": True, "author": wide}),
        ("/v1/feedback", {"vertical": "spans", "text": text, "target": [place], "comment": f"not {text}"}),
        ("/v1/feedback", {"vertical": "spans", "text": text, "target": [{**place, "label": text}], "new_labels": True}),
        ("/v1/silences", {"vertical": "intent", "hours": 1, "reason": text}),
        ("/v1/silences", {"hours": 0.1, "reason": wide}),
        ("/v1/feedback", {"vertical": "faq", "record": whole, "target": [{**span, "start": span["start"] + 4}]}),
    ]
    for number, (path, body) in enumerate(bodies):
        sent = ask.post(path, json=body, headers={"Idempotency-Key": header(f"{text} {number}")})
        assert sent.status_code in (200, 201), (path, body, sent.text)
    refused = [
        ("/v1/verticals/intent/predict", {"texts": [text, 5]}), ("/v1/verticals/intent/predict", {"texts": text}),
        ("/v1/verticals/intent/predict", {"texts": [text], text: 1}), ("/v1/verticals/intent/predict", {"texts": [text * 60_000]}),
        ("/v1/verticals/intent/predict", {"records": [{"query": {text: text}}]}),
        ("/v1/verticals/intent/predict", {"records": [{text: text}]}), ("/v1/verticals/intent/predict", {"records": [{"query": [text]}]}),
        ("/v1/predict", {"verticals": [value], "texts": [text]}), ("/v1/predict", {"verticals": [text], "texts": [text]}),
        ("/v1/embeddings", {"model": value, "input": text}), ("/v1/embeddings", {"model": "intent", "input": text}),
        ("/v1/feedback", {"answer": value, "comment": text}), ("/v1/feedback", {"vertical": value, "text": text, "score": 1}),
        ("/v1/feedback", {"vertical": "intent", "text": text, "target": text}),
        ("/v1/feedback", {"answer": answer, "target": {text: text}}),
        ("/v1/deletions", {"text": text, "record": {text: text}}), ("/v1/deletions", {text: text}),
        ("/v1/silences", {"vertical": value, "hours": 1}), ("/v1/silences", {"vertical": "intent", "rule": value, "hours": 1}),
        (f"/v1/alerts/{quote(value, safe='')}/false", {"comment": text}), ("/v1/silences", {"hours": text}),
        ("/v1/jobs", {"kind": text}), ("/v1/jobs", {"kind": "compress", "model": value}),
        ("/v1/jobs", {"kind": "prepare", "config": {"name": text, "data": {"source": {"declared": text}}}}),
        ("/v1/verticals/intent/rollout", {"model": value, "reason": text}),
        ("/v1/session", {"name": text[:200], "password": text[:1000]}), ("/v1/session", {"key": text[:200]}), ("/v1/session", {text: text}),
        ("/v1/users", {"name": f"{text} {value}", "role": "annotator", "password": f"long enough {text[:900]}"}),
        ("/v1/users", {"name": "ann", "role": "annotator", "password": text[:900], "customer": text}),
        ("/v1/keys", {"name": text[:80], "scopes": [text]}), ("/v1/keys", {"name": text[:80], "scopes": ["predict"], "rate": text}),
        ("/v1/keys", {"name": text[:80], "scopes": ["predict"], "verticals": [f"{text}!"]}),
        (f"/v1/keys/{quote(value, safe='')}/rotate", {"overlap": text}),
        (f"/v1/verticals/{quote(value, safe='')}/predict", {"texts": [text]}),
        (f"/v1/{quote(text, safe='')}", {}),
    ]  # fmt: skip
    for path, body in refused:
        sent = ask.post(path, json=body, headers={**named, "Idempotency-Key": header(text + "!")})
        assert 400 <= sent.status_code < 500, (path, body, sent.text)
    for path in ("/v1/feedback", "/v1/usage", "/v1/audit", "/v1/jobs", "/v1/datasets"):
        for name in ("author", "vertical", "after", "customer", "before", text):
            assert ask.get(path, params={name: text}, headers=named).status_code < 500
    for path in ("/v1/alerts", "/v1/silences", "/v1/retrainings", "/v1/monitoring", "/v1/verticals/intent/monitors/volume"):
        for name in ("vertical", "before", "language", text):
            assert ask.get(path, params={name: text}, headers=named).status_code < 500
    for path in ("/v1/feedback", "/v1/jobs", "/v1/datasets", "/v1/silences"):
        assert ask.delete(f"{path}/{quote(value, safe='')}").status_code in (404, 405)
    for path in ("/v1/users", "/v1/keys"):
        assert ask.delete(f"{path}/{quote(value, safe='')}").status_code in (404, 405)
    assert ask.patch(f"/v1/users/{quote(value, safe='')}", json={"password": f"long enough {text[:900]}"}).status_code in (404, 405, 422)
    cookie = {"Cookie": b"vertune_session=" + header(value.replace(";", ""))}
    assert running.stranger.get("/v1/session", headers=cookie).status_code == 401
    assert running.stranger.put("/v1/session/password", json={"old": text[:900], "new": text[:900]}, headers=cookie).status_code == 401
    back = {"state": text[:400], "code": text, "iss": text[:900], "error": text[:100]}
    assert running.stranger.get("/v1/session/openid/callback", params=back).status_code == 404
    wrong = {"Authorization": b"Bearer " + header(text)}
    assert running.stranger.post("/v1/verticals/intent/predict", json={"texts": [text]}, headers=wrong).status_code == 401
    ask.post("/v1/verticals/intent/predict", content=f'{{"texts": ["{value}"'.encode(), headers={"Content-Type": "application/json"})
    ask.post("/v1/verticals/intent/predict", content=text.encode(), headers={"Content-Type": header(text)})


def together(size: int) -> list[str]:
    """Return the examples in as few texts as possible, each of at most so many characters."""
    texts = [""]
    for text, _ in EXAMPLES:
        if len(texts[-1]) + len(text) >= size:
            texts.append("")
        texts[-1] += f"{text}\n"
    return texts


def raw(running, text: str) -> None:
    """Send what no well-behaved client sends: bytes that are no HTTP, and a connection that ends within a body."""
    with Wire(running.port, f"{text}\r\n\r\n".encode()) as wire:
        wire.end()
    body = json.dumps({"texts": [text] * 50}).encode()
    with Wire(running.port, request(f"/v1/verticals/{quote(text)}/predict", body[:99], f"X-Other: {quote(text)}", length=len(body))):
        pass


def test_the_examples_are_found_where_they_are_kept(home, start) -> None:
    """A check of the search itself: with texts kept as they are, each value is in the database."""
    running = start(home, admin(home), traffic=TrafficSettings(keep_text="yes"))
    assert running.predict("intent", *(text for text, _ in EXAMPLES)).status_code == 200
    assert running.service.recorder.writer.flush()
    kept = rows(home.folder / "server.db")["answers"]
    assert found_in(kept) == {value for _, value in EXAMPLES}


@pytest.mark.parametrize("sent", [TOGETHER, pytest.param(EVERYWHERE, marks=pytest.mark.matrix)], ids=["together", "each"])
def test_what_clients_send_stays_nowhere(collector, home, seen, start, capfd, sent) -> None:
    running = start(home, admin(home), traces=collector[0], jobs=JobSettings(cores=1))
    live = home.aliases()["intent@live"]
    other = next(one.id for one in home.shelf("models") if one.manifest["name"] == "intent" and one.id != live)
    for text, value in sent:
        send(running, text, value)
        raw(running, text)
    everything = [text for text, _ in EXAMPLES]
    assert running.predict("intent", *everything, *(text.translate(FULL) for text in everything)).status_code == 200
    for text in everything:
        body = {"vertical": "intent", "text": text, "target": text, "new_labels": True, "comment": text.translate(FULL)}
        assert running.ask.post("/v1/feedback", json=body).status_code == 201
    for text in together(180):
        about = {"vertical": text, "key": text, "customer": text}
        assert running.ask.post("/v1/deletions", json={**about, "text": text}).status_code == 200
        assert running.ask.post("/v1/deletions", json={"record": {"query": text}, "customer": text.translate(FULL)}).status_code == 200
    for text in together(900):
        given = running.ask.post("/v1/verticals/intent/rollout", json={"model": other, "reason": text})
        assert given.status_code == 201, given.text
        assert running.ask.post("/v1/verticals/intent/rollback", json={"reason": text.translate(FULL)}).status_code == 200
    assert running.service.recorder.writer.flush()
    running.service.tracer.stop()
    stored = rows(home.folder / "server.db")
    assert all(f"<{build(Mask, name).label}_".encode() in stored["answers"] for name in standard_names()), "texts were stored"
    said = capfd.readouterr()
    assert seen.leaks(running, said.out + said.err) == {}


def test_exceptions_and_dying_jobs_are_logged_without_texts(home, seen, start, monkeypatch, capfd) -> None:
    """Faults are injected here, whose messages quote the texts, as those of libraries do."""

    async def failing(self, call):
        raise ValueError(f"can't read {call.records}")

    monkeypatch.setattr("vertune.answering.service.AnswerService.answer", failing)
    popen, script = runner.subprocess.Popen, "import os, sys; sys.stderr.write(sys.stdin.readline()); sys.stderr.flush(); os.abort()"
    monkeypatch.setattr(runner.subprocess, "Popen", lambda command, **options: popen([command[0], "-c", script], **options))
    running = start(home, admin(home), jobs=JobSettings(cores=1))
    texts = [text for text, _ in EXAMPLES]
    assert running.predict("intent", *texts).status_code == 500
    about = {"name": "intent", "data": {"source": {"feedback": "intent"}, "fields": {"text": texts[0], "label": texts[1]}}}
    sent = running.ask.post("/v1/jobs", json={"kind": "prepare", "config": about})
    assert sent.status_code == 201, sent.text
    assert ended(running.ask, sent.json()["id"])["state"] == "failed"
    said = capfd.readouterr()
    logged = seen.streams["text"].getvalue()
    assert "ValueError" in logged
    assert "ended with status -6" in logged
    assert seen.leaks(running, said.out + said.err, ("file server.db", *OF_CUSTOMERS)) == {}


def test_uploads_and_jobs_hold_what_they_must_and_are_forgotten(collector, home, seen, start, tiny_base, monkeypatch, capfd) -> None:
    """Uploads are the customer's own: they, their jobs and what these make may contain texts, nothing else, and not after a deletion."""
    monkeypatch.setitem(bases.ALIASES, str(tiny_base), str(tiny_base))
    running = start(home, admin(home), traces=collector[0], jobs=JobSettings(cores=1))
    secret = running.keys.create("app", ["train", "label", "review"], customer="bank")[0]
    bank = running.stranger
    bank.headers["Authorization"] = f"Bearer {secret}"
    texts = [text for text, _ in EXAMPLES]
    table = [{"text": text, "label": ("food", "place")[place % 2], texts[0]: text} for place, text in enumerate(texts * 2)]
    sent = {
        "text/csv": as_csv(table), "application/x-ndjson": "\n".join(map(json.dumps, table)).encode(),
        "application/vnd.apache.parquet": parquet(table),
    }  # fmt: skip
    files = [post(bank, content, kind, texts[1][:100]) for kind, content in sent.items()]
    broken = b"\n".join(b"{" + text.encode() for text in texts)
    for content, kind in ((b"\x00" + broken, "application/vnd.apache.parquet"), (broken, texts[2])):
        answer = bank.post("/v1/datasets", content=content, params={"name": texts[1][:100]}, headers={"Content-Type": header(kind)})
        assert 400 <= answer.status_code < 500, answer.text
    dataset = files[0]
    fields = {"text": "text", "label": "label"}
    wanted = [
        {"kind": "prepare", "config": config(tiny_base, dataset, data={"source": {"dataset": dataset}, "fields": fields})},
        {"kind": "prepare", "config": config(tiny_base, dataset, data={"source": {"dataset": dataset}, "fields": {"text": texts[3]}})},
        {"kind": "predict", "model": "whole", "dataset": files[1]},
    ]  # fmt: skip
    keys = [{"Idempotency-Key": header(text)} for text in texts]
    ids = [bank.post("/v1/jobs", json=one, headers=key).json()["id"] for one, key in zip(wanted, keys, strict=False)]
    assert [ended(bank, id)["state"] for id in ids] == ["done", "failed", "done"]
    label(bank, dataset, texts)
    folders = tuple(f"file {name}" for name in ("uploads/", "outputs/", "datasets/", "runs/", "server.db"))
    said = capfd.readouterr()
    kept = seen.leaks(running, said.out + said.err)
    assert {place.partition("/")[0] for place in kept} >= {"file uploads", "file datasets", "table uploads", "table jobs"}
    assert seen.leaks(running, said.out + said.err, folders + OF_CUSTOMERS) == {}
    gone = running.ask.post("/v1/deletions", json={"customer": "bank"}).json()
    assert (gone["uploads"], gone["jobs"], gone["projects"], gone["remaining"]) == (3, 4, 1, {})
    running.service.tracer.stop()
    assert seen.leaks(running, said.out + said.err) == {}


def label(client, dataset: str, texts: list[str]) -> None:
    """Send texts through all that takes labels, as they are and where they do not belong."""
    labels = [{"name": "food"}, {"name": "place", "description": texts[0], "examples": texts[:3]}]
    project = {
        "name": "mails",
        "dataset": dataset,
        "task": "classify",
        "settings": {"labels": labels, "guidelines": "\n".join(texts), "overlap": 2},
    }
    assert client.post("/v1/projects", json=project, timeout=LONG).status_code == 201
    (job,) = [one for one in client.get("/v1/jobs").json()["jobs"] if one["kind"] == "rank"]
    assert ended(client, job["id"])["state"] == "done"
    items = client.post("/v1/projects/mails/next", json={"count": 3}).json()["records"]
    given = [
        {"record": one["record"], "state": "draft", "target": {"label": text}, "version": 1}
        for one, text in zip(items, texts, strict=False)
    ]
    assert client.put("/v1/projects/mails/labels", json={"labels": given}).json()["stored"]
    refused = [{**one, "state": "done", "version": 2} for one in given]
    assert client.put("/v1/projects/mails/labels", json={"labels": refused}).json()["refused"]
    decision = {"record": 0, "target": {"label": "food"}, "reason": texts[4]}
    assert client.put("/v1/projects/mails/decisions", json=decision).status_code == 200
    for text in texts:
        client.get("/v1/projects/mails/records", params={"text": text[:200], "label": text[:200]})
        client.get(f"/v1/projects/{text[:80].replace('/', ' ')}/progress")
    for path in ("export", "progress", "labels", "reviews?kind=held"):
        assert client.get(f"/v1/projects/mails/{path}").status_code == 200


def post(client, content: bytes, kind: str, name: str) -> str:
    sent = client.post("/v1/datasets", content=content, params={"name": name}, headers={"Content-Type": kind})
    assert sent.status_code == 201, sent.text
    return sent.json()["id"]


def parquet(table: list[dict]) -> bytes:
    file = io.BytesIO()
    pl.DataFrame(table).write_parquet(file)
    return file.getvalue()
