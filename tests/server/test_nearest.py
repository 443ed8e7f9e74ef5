"""Training rows that are like a record: those who may read them find them, others learn nothing, and a dataset may be gone."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.server.conftest import admin
from tests.server.running import problem
from vertune.core.integrity import CHECKSUM, FILES
from vertune.data import dataset
from vertune.server import nearest

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])


def ask(running, vertical, record, key=None, count=3):
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return running.ask.post(f"/v1/verticals/{vertical}/nearest", json={"record": record, "count": count}, headers=headers)


def trained_on(running, vertical: str = "intent") -> str:
    """Return a text of the training rows."""
    data = running.service.training_rows.dataset_of(running.service.answers.fleet.deployments[vertical].model)
    return next(text for text in dataset.read(data, "train")["text"] if "rome" in text)


def test_the_rows_of_the_model_are_found(server) -> None:
    text = trained_on(server)
    found = ask(server, "intent", {"text": text}).json()
    assert found["rows"][0] == {"record": {"text": text}, "target": {"label": "place"}, "similarity": 1}
    assert len(found["rows"]) == 3
    assert (found["searched"], found["missing"]) == (found["total"], None)
    text = trained_on(server, "spans")
    spans = ask(server, "spans", {"text": text}).json()["rows"][0]
    assert {span["label"] for span in spans["target"]["spans"]} >= {"CITY"}
    pair = ask(server, "faq", {"question": "which one", "context": text}).json()["rows"][0]
    assert pair["record"]["question"] == "which one"
    assert ask(server, "intent", {"text": "zzz"}).json()["rows"] == []
    assert "no text" in problem(ask(server, "intent", {"words": "soup"}), 422)
    problem(ask(server, "nobody", {"text": "soup"}), 404)


def test_of_many_rows_some_from_all_over_are_searched(server, monkeypatch) -> None:
    monkeypatch.setattr(nearest, "_ROWS", 10)
    monkeypatch.setattr(server.service, "training_rows", nearest.TrainingRows(server.service.home))
    found = ask(server, "intent", {"text": "tell me of rome and soup"}, count=20).json()
    assert (found["searched"] <= 10 < found["total"], len(found["rows"]) <= 10) == (True, True)


def test_only_the_owner_and_administrators_read_them_and_a_dataset_may_be_gone(home, start) -> None:
    running = start(home, admin(home))
    theirs, _ = running.keys.create("theirs", ["train"], customer="theirs")
    secret, _ = running.keys.create("mine", ["train"], customer="mine")
    reader, _ = running.keys.create("reader", ["predict"], customer="mine")
    record = {"text": trained_on(running)}
    model = running.service.answers.fleet.deployments["intent"].model
    manifest = home.get("datasets", model.manifest["parents"][0]).folder / "manifest.json"
    entries = {**json.loads(manifest.read_text()), "customer": "mine"}
    manifest.write_text(json.dumps({name: value for name, value in entries.items() if name not in (FILES, CHECKSUM)}))
    assert ask(running, "intent", record, secret).json()["rows"][0]["record"] == record
    assert "not yours" in problem(ask(running, "intent", record, theirs), 403)
    problem(ask(running, "intent", record, reader), 403)
    running.service.training_rows = nearest.TrainingRows(home)
    shutil.rmtree(manifest.parent)
    gone = ask(running, "intent", record).json()
    assert (gone["rows"], gone["missing"]) == ([], "no dataset")
