"""Labelling over HTTP: from an uploaded table to labels, decisions and a model, and what is refused on the way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import pytest

from tests.server.conftest import admin
from tests.server.running import Running, problem
from tests.server.test_jobs import LONG, ended, upload
from vertune.core import base as bases
from vertune.core import part
from vertune.core.artifact import Home
from vertune.core.kinds import Source
from vertune.core.parse import build
from vertune.server import jobs as runner
from vertune.server.label_training import _is_due
from vertune.server.settings import JobSettings

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
ROWS = [{"text": f"tell me {number} of {word}"} for number in range(40) for word in ("rome", "soup")]
SKIPPED = {"labels": [{"record": 1, "state": "skipped", "version": 1}]}
LABELS = [{"name": "place", "description": "A town."}, {"name": "food"}]


@pytest.fixture(scope="module")
def queueing(fleet, tmp_path_factory, _quick_start) -> Iterator[Running]:
    """A server whose jobs are queued, and nothing runs them."""
    shutil.copytree(fleet.folder, folder := tmp_path_factory.mktemp("queueing") / "home")
    home = Home(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner.Jobs, "take", lambda self: None)
        running = Running(home, admin(home), jobs=JobSettings(cores=1))
    with running:
        yield running


@pytest.fixture
def idle() -> None:
    """The server is the one that runs no job, which tests share."""


@pytest.fixture
def working(request, tiny_base, monkeypatch) -> Iterator[Running]:
    """A server that runs jobs, unless the test asks for `idle`; the tiny base may be named in settings."""
    monkeypatch.setitem(bases.ALIASES, str(tiny_base), str(tiny_base))
    if "idle" not in request.fixturenames:
        home = request.getfixturevalue("home")
        yield request.getfixturevalue("start")(home, admin(home), jobs=JobSettings(cores=1))
        return
    shared = request.getfixturevalue("queueing")
    yield shared
    assert shared.ask.delete("/v1/projects/mails").status_code in (204, 404)


@pytest.fixture
def project(working, tiny_base):
    """A project with the rows above."""
    dataset = upload(working.ask, "\n".join(map(json.dumps, ROWS)).encode(), "application/x-ndjson")["id"]
    settings = {"labels": LABELS, "batch": 5, "hold_out": 0.4, "base": str(tiny_base)}
    made = working.ask.post(
        "/v1/projects", json={"name": "mails", "dataset": dataset, "task": "classify", "settings": settings}, timeout=LONG
    )
    assert made.status_code == 201, made.text
    return made.json()


def right(fields):
    return {"label": "place" if "rome" in fields["text"] else "food"}


def given(items, version=1, state="done"):
    return {
        "labels": [
            {"record": one["record"], "state": state, "target": right(one["fields"]) if state == "done" else None, "seconds": 1.5,
             "version": version}
            for one in items
        ]
    }  # fmt: skip


def test_a_table_becomes_labels_decisions_and_a_model(working, project) -> None:
    ask = working.ask
    assert (project["records"], project["held"], project["state"], project["target"]) == (80, 32, "open", "label")
    assert project["labels"][0] == {"name": "place", "description": "A town.", "examples": []}
    (first,) = ask.get("/v1/jobs").json()["jobs"]
    ended(ask, first["id"])  # else it may be the ranking that is asked for below, and may have begun before there are labels
    items = ask.post("/v1/projects/mails/next", json={"count": 20}).json()
    assert (len(items["records"]), items["left"]) == (20, 28)
    saved = ask.put("/v1/projects/mails/labels", json=given(items["records"])).json()
    assert saved == {"stored": [one["record"] for one in items["records"]], "stale": [], "refused": []}
    job = ask.post("/v1/projects/mails/rank").json()
    assert ended(ask, job["id"])["state"] == "done", ended(ask, job["id"])["why"]
    progress = ask.get("/v1/projects/mails/progress").json()
    assert (progress["labelled"], progress["annotators"][0]["done"], progress["annotators"][0]["seconds"]) == (20, 20, 1.5)
    assert progress["curve"][0]["labels"] == 20
    suggested = ask.post("/v1/projects/mails/next", json={"count": 3}).json()["records"]
    assert all(set(one["suggestion"]) == {"target", "confidence"} for one in suggested)
    near = ask.get("/v1/projects/mails/similar", params={"record": suggested[0]["record"], "least": 0.5}).json()["records"]
    assert near
    assert near == sorted(near, key=lambda one: -one["similarity"])
    many = {"records": [one["record"] for one in near[:5]], "target": {"label": "food"}}
    batch = ask.post("/v1/projects/mails/labels/many", json=many).json()
    assert batch["labelled"] == len(near[:5])
    assert ask.post("/v1/projects/mails/labels/undo", json={"batch": batch["batch"]}).json() == {"undone": batch["labelled"]}
    held = ask.get("/v1/projects/mails/reviews", params={"kind": "held", "limit": 100}).json()
    assert (len(held["records"]), held["next"]) == (32, None)
    for one in held["records"]:
        decided = ask.put("/v1/projects/mails/decisions", json={"record": one["record"], "target": right(one["fields"]), "reason": "clear"})
        assert decided.status_code == 200, decided.text
    config = {"base": project["settings"]["base"], "method": "head", "training": {"epochs": 1, "refit": "never"}}
    job = ask.post("/v1/projects/mails/train", json={"vertical": "towns", "config": config, "accept": True}).json()
    done = ended(ask, job["id"])
    assert done["state"] == "done", done["why"]
    model = working.service.home.get("models", done["result"]["model"])
    assert model.manifest["name"] == "towns"
    dataset = working.service.home.get("datasets", done["result"]["dataset"])
    assert dataset.manifest["rows"]["test"] == 32


def test_records_are_ranked_once_for_each_batch_of_labels(working, project) -> None:
    ask = working.ask

    def rankings():
        return [one["id"] for one in ask.get("/v1/jobs").json()["jobs"] if one["kind"] == "rank"]

    (first,) = rankings()
    assert ask.post("/v1/projects/mails/rank").json()["id"] == first  # it is queued or running
    ended(ask, first)
    items = ask.post("/v1/projects/mails/next", json={"count": 5}).json()["records"]
    ask.put("/v1/projects/mails/labels", json=given(items[:4]))
    ask.post("/v1/projects/mails/next", json={"count": 1})
    assert rankings() == [first]  # a batch is five labels
    ask.put("/v1/projects/mails/labels", json=given(items[4:]))
    for _ in range(3):
        ask.post("/v1/projects/mails/next", json={"count": 1})
    second, _ = rankings()
    ended(ask, second)
    ask.post("/v1/projects/mails/next", json={"count": 1})
    assert rankings() == [second, first]


@pytest.mark.usefixtures("idle")
def test_what_cannot_be_stored_is_named_and_the_rest_is_stored(working, project) -> None:
    ask = working.ask
    first, second, third = ask.post("/v1/projects/mails/next", json={"count": 3}).json()["records"]
    body = given([first, second])
    body["labels"][1]["target"] = {"label": "town"}
    body["labels"].append({"record": 10_000, "state": "done", "target": {"label": "food"}, "version": 1})
    saved = ask.put("/v1/projects/mails/labels", json=body).json()
    assert saved["stored"] == [first["record"]]
    assert [one["record"] for one in saved["refused"]] == [second["record"], 10_000]
    assert "'town'" in saved["refused"][0]["why"]
    assert ask.put("/v1/projects/mails/labels", json=given([first])).json()["stored"] == [first["record"]]
    assert ask.put("/v1/projects/mails/labels", json=given([first], 5, "pending")).json()["stored"] == [first["record"]]
    assert ask.put("/v1/projects/mails/labels", json=given([first], 4)).json()["stale"] == [first["record"]]
    ask.put("/v1/projects/mails/labels", json=given([third], 1, "skipped"))
    listed = ask.get("/v1/projects/mails/labels", params={"state": "skipped"}).json()
    assert [one["record"] for one in listed["labels"]] == [third["record"]]
    assert ask.get("/v1/projects/mails").json()["mine"] == {"pending": 2, "skipped": 1}


@pytest.mark.usefixtures("idle")
def test_reviewers_find_records_and_take_decisions_back(working, project) -> None:
    ask = working.ask
    items = ask.post("/v1/projects/mails/next", json={"count": 4}).json()["records"]
    ask.put("/v1/projects/mails/labels", json=given(items[:3]))
    ask.put("/v1/projects/mails/labels", json=given(items[3:], 1, "rejected"))
    found = ask.get("/v1/projects/mails/records", params={"state": "done"}).json()["records"]
    assert sorted(one["record"] for one in found) == sorted(one["record"] for one in items[:3])
    (rejected,) = ask.get("/v1/projects/mails/reviews", params={"kind": "rejected"}).json()["records"]
    decision = {"record": rejected["record"], "target": {"label": "food"}, "reason": "it is a soup"}
    assert ask.put("/v1/projects/mails/decisions", json=decision).json()["target"] == {"label": "food"}
    assert not ask.get("/v1/projects/mails/reviews", params={"kind": "rejected"}).json()["records"]
    assert ask.delete(f"/v1/projects/mails/decisions/{rejected['record']}").status_code == 204
    problem(ask.delete(f"/v1/projects/mails/decisions/{rejected['record']}"), 404)
    problem(ask.put("/v1/projects/mails/decisions", json={**decision, "target": {"label": "town"}}), 422)
    problem(ask.put("/v1/projects/mails/decisions", json={**decision, "record": 9999}), 404)
    assert ask.get("/v1/projects/mails/quality").json()["annotators"][0]["labels"] == 3


@pytest.mark.usefixtures("idle")
def test_labels_are_exported_for_other_software(working, project) -> None:
    ask = working.ask
    items = ask.post("/v1/projects/mails/next", json={"count": 3}).json()["records"]
    ask.put("/v1/projects/mails/labels", json=given(items))
    decided = {"record": items[0]["record"], "target": {"label": "food"}}
    ask.put("/v1/projects/mails/decisions", json=decided)
    sent = ask.get("/v1/projects/mails/export")
    rows = [json.loads(line) for line in sent.text.splitlines()]
    assert {(row["text"], row["label"]) for row in rows} == {
        (one["fields"]["text"], "food" if one is items[0] else right(one["fields"])["label"]) for one in items
    }
    assert sent.headers["content-disposition"] == "attachment; filename*=UTF-8''mails.jsonl"
    assert len(ask.get("/v1/projects/mails/export", params={"all": True}).text.splitlines()) == 4
    for name in part.names("formats"):
        sent = ask.get("/v1/projects/mails/export", params={"format": name})
        assert sent.status_code == (422 if name in ("conll", "squad") else 200), (name, sent.text)
    problem(ask.get("/v1/projects/mails/export", params={"format": "excel"}), 422)


@pytest.mark.usefixtures("idle")
def test_records_of_a_further_file_are_added_and_ranked(working, project) -> None:
    ask = working.ask
    more = [*ROWS[:3], *({"body": f"send me {number} of soup", "kind": "food" if number < 2 else None} for number in range(6))]
    dataset = upload(ask, "\n".join(map(json.dumps, more[3:])).encode(), "application/x-ndjson")["id"]
    body = {"dataset": dataset, "fields": {"text": "body", "label": "kind"}}
    added = ask.post("/v1/projects/mails/records", json=body, timeout=LONG)
    assert added.status_code == 200, added.text
    assert {**added.json(), "notes": None} == {"added": 6, "known": 0, "labelled": 2, "notes": None}
    same = ask.post("/v1/projects/mails/records", json=body, timeout=LONG).json()
    assert (same["added"], same["known"], same["labelled"]) == (0, 6, 0)
    assert same["notes"][0]["count"] == 6
    described = ask.get("/v1/projects/mails").json()
    assert (described["records"], described["given"], described["labelled"]) == (86, 2, 2)
    assert [note["what"] for note in described["notes"]][-1] == "are for records that are labelled, reserved or held out, and were left out"
    problem(ask.post("/v1/projects/mails/records", json={"dataset": "nothing"}), 404)
    ask.patch("/v1/projects/mails", json={"state": "closed"})
    assert "closed" in problem(ask.post("/v1/projects/mails/records", json=body), 409)


def label_as(running, name, records, label):
    """Let a new annotator say the same of records."""
    secret, _ = running.keys.create(name, ["label"])
    given = [{"record": one, "state": "done", "target": {"label": label}, "version": 1} for one in records]
    sent = running.ask.put("/v1/projects/mails/labels", json={"labels": given}, headers={"Authorization": f"Bearer {secret}"})
    assert sent.json()["stored"] == records, sent.text
    return secret


@pytest.mark.usefixtures("idle")
def test_the_most_probable_answer_counts_if_the_project_says_so(working, project) -> None:
    """Of the first records, one annotator is nearly always of the opinion of the reviewer; then two disagree."""
    ask = working.ask
    records = [one["record"] for one in ask.get("/v1/projects/mails/records", params={"limit": 20}).json()["records"]]
    label_as(working, "right", records, "food")
    label_as(working, "wrong", records, "place")
    for one in records[:12]:
        ask.put("/v1/projects/mails/decisions", json={"record": one, "target": {"label": "food"}})
    (first, *_) = ask.get("/v1/projects/mails/reviews").json()["records"]
    assert (first["record"], first["consensus"]) == (records[12], None)
    assert len(ask.get("/v1/projects/mails/export").text.splitlines()) == 12
    changed = ask.patch("/v1/projects/mails", json={"settings": {"consensus": "dawid_skene"}})
    assert changed.json()["settings"]["consensus"] == "dawid_skene"
    reviews = ask.get("/v1/projects/mails/reviews").json()["records"]
    assert [one["consensus"]["target"] for one in reviews] == [{"label": "food"}] * 8
    assert all(0.9 < one["consensus"]["probability"] <= 1 for one in reviews)
    rows = [json.loads(line) for line in ask.get("/v1/projects/mails/export").text.splitlines()]
    assert [row["label"] for row in rows] == ["food"] * 20
    source = build(Source, {"name": "labels", "project": "mails", "home": str(working.service.home.folder)})
    held = build(Source, {"name": "labels", "project": "mails", "home": str(working.service.home.folder), "held": True})
    assert [*source.read()["label"], *held.read()["label"]] == ["food"] * 20


@pytest.mark.usefixtures("idle")
def test_a_model_is_trained_after_so_many_labels_and_once(working, project) -> None:
    ask = working.ask

    def fits():
        return [one for one in ask.get("/v1/jobs").json()["jobs"] if one["kind"] == "fit"]

    assert ask.patch("/v1/projects/mails", json={"settings": {"train_after": 20}}).json()["settings"]["train_after"] == 20
    items = ask.post("/v1/projects/mails/next", json={"count": 45}).json()["records"]
    ask.put("/v1/projects/mails/labels", json=given(items[:19]))
    assert fits() == []
    ask.put("/v1/projects/mails/labels", json=given(items[19:21]))
    (job,) = fits()
    assert (job["vertical"], job["priority"]) == ("mails", 4)
    ask.put("/v1/projects/mails/labels", json=given(items[21:42]))  # the first one has not ended
    assert len(fits()) == 1
    ask.post(f"/v1/jobs/{job['id']}/cancel")
    ended(ask, job["id"])
    ask.post("/v1/projects/mails/next", json={"count": 1})
    assert len(fits()) == 2
    narrow, _ = working.keys.create("narrow", ["train", "label"], verticals=["other"])
    body = {"settings": {"train_after": 30}}
    problem(ask.patch("/v1/projects/mails", json=body, headers={"Authorization": f"Bearer {narrow}"}), 403)


@pytest.mark.parametrize(
    ("rule", "done", "last", "advice", "due"),
    [
        (50, 49, 0, None, False), (50, 50, 0, None, True), (50, 99, 50, "stable", False), (50, 100, 50, None, True),
        ("curve", 500, 0, "go on", False), ("curve", 500, 0, "little", True), ("curve", 500, 0, None, False),
        ("curve", 120, 100, "stable", False), ("curve", 125, 100, "stable", True),
    ],
)  # fmt: skip
def test_when_a_model_is_trained_by_rule(rule, done, last, advice, due) -> None:
    assert _is_due(rule, done, last, advice) == due


@pytest.mark.usefixtures("idle")
def test_projects_that_people_cannot_label_are_refused_by_name(working) -> None:
    dataset = upload(working.ask, b'{"text": "a"}', "application/x-ndjson")["id"]
    body = {"name": "vectors", "dataset": dataset, "task": "embed"}
    assert "'embed' can't be labelled" in problem(working.ask.post("/v1/projects", json=body), 422)
    body = {"name": "stars", "dataset": dataset, "task": "regress", "settings": {"consensus": "dawid_skene"}}
    assert "'regress' has the target 'score'" in problem(working.ask.post("/v1/projects", json=body), 422)


@pytest.mark.usefixtures("idle")
def test_settings_are_checked_and_a_closed_project_takes_nothing(working, project) -> None:
    ask = working.ask
    changed = ask.patch("/v1/projects/mails", json={"settings": {"guidelines": "# Towns", "suggestions": "hidden"}}).json()
    assert changed["settings"] == {**project["settings"], "guidelines": "# Towns", "suggestions": "hidden"}
    problem(ask.patch("/v1/projects/mails", json={"settings": {"overlap": 2}}), 409)
    problem(ask.patch("/v1/projects/mails", json={"settings": {"query": "luck"}}), 422)
    problem(ask.patch("/v1/projects/mails", json={"settings": {"base": "/etc"}}), 422)
    problem(ask.patch("/v1/projects/mails", json={"settings": {"labels": []}}), 422)
    assert ask.patch("/v1/projects/mails", json={"state": "closed"}).json()["state"] == "closed"
    problem(ask.post("/v1/projects/mails/next", json={}), 409)
    problem(ask.post("/v1/projects/mails/rank"), 422)
    assert [one["name"] for one in ask.get("/v1/projects").json()["projects"]] == ["mails"]
    assert ask.delete("/v1/projects/mails").status_code == 204
    problem(ask.get("/v1/projects/mails"), 404)


@pytest.mark.usefixtures("idle")
def test_a_project_is_its_customers_alone(working, project) -> None:
    secret, _ = working.keys.create("other", ["label", "review", "train"], customer="other")
    other = {"Authorization": f"Bearer {secret}"}
    assert working.ask.get("/v1/projects", headers=other).json() == {"projects": []}
    for method, path, body in (
        ("GET", "", None), ("PATCH", "", {"state": "closed"}), ("DELETE", "", None), ("POST", "/next", {}), ("POST", "/rank", None),
        ("GET", "/labels", None), ("GET", "/records", None), ("GET", "/progress", None), ("GET", "/quality", None), ("POST", "/train", {}),
        ("GET", "/reviews", None), ("GET", "/similar?record=1", None), ("PUT", "/labels", SKIPPED),
        ("POST", "/labels/many", {"records": [1], "target": {"label": "food"}}), ("POST", "/labels/undo", {"batch": "0" * 32}),
        ("PUT", "/decisions", {"record": 1, "target": {"label": "food"}}), ("DELETE", "/decisions/1", None),
        ("POST", "/records", {"dataset": "any"}),
    ):  # fmt: skip
        problem(working.ask.request(method, f"/v1/projects/mails{path}", json=body, headers=other), 404)
    secret, _ = working.keys.create("ann", ["label"])
    ann = {"Authorization": f"Bearer {secret}"}
    assert working.ask.post("/v1/projects/mails/next", json={}, headers=ann).status_code == 200
    problem(working.ask.get("/v1/projects/mails/records", headers=ann), 403)
    problem(working.ask.get("/v1/projects/mails/labels", params={"annotator": "bob"}, headers=ann), 403)
    problem(working.ask.delete("/v1/projects/mails", headers=ann), 403)
