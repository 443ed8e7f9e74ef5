"""forget: which uploads, jobs and artifacts a deletion takes and names, and that a repeated one finishes what was interrupted."""

from __future__ import annotations

import json
import os
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta

import orjson
import polars as pl
import pytest

from tests import databases
from vertune.core.artifact import Home
from vertune.core.errors import ConfigError, StorageError
from vertune.core.ids import first_id_at, time_ordered_id
from vertune.core.kinds import Source, Task
from vertune.core.parse import build
from vertune.core.records import shortened
from vertune.server.searching import search_files
from vertune.steps.forget import Searched, forget
from vertune.steps.label import NewProject, label
from vertune.steps.label.settings import LabelHelp, ProjectSettings
from vertune.store import entries as added
from vertune.store import jobs, labels, outputs, projects, schema, uploads
from vertune.store.audit import entries
from vertune.store.database import FILE, Database, format_time
from vertune.store.deletion import Deletion
from vertune.store.traffic import fingerprint, fingerprint_key

TEXT, OTHER = "I am Jane Doe and lost my card", "where is the next branch"
DAY = 86_400


def search(files, records) -> Searched:
    found = search_files([str(file) for file in files], records)
    return Searched(found["found"], found["unread"])


class Served:
    """A home with the data of the customers `bank` and `shop`, each with an upload, a dataset and a model of it, and predictions."""

    def __init__(self, home: Home, database: Database) -> None:
        self.home, self.database = home, database
        self.uploads, self.jobs, self.datasets, self.models = {}, {}, {}, {}
        for customer, text, age in (("bank", TEXT, 9), ("shop", OTHER, 1)):
            self._add(customer, text, age)

    def _add(self, customer: str, text: str, age: int) -> None:
        folder = self.home.folder / uploads.FOLDER
        upload = uploads.Upload(_id(age), "", customer, "mine", "csv", hash="", bytes=1, report={})
        folder.mkdir(exist_ok=True)
        (folder / upload.file).write_text(f"text,label\n  {text} ,a\nsomething else,b\n")
        with self.database.writing() as connection:
            uploads.add(connection, upload, f"key of {customer}")
        own = Home(self.home.folder, customer)
        config = {"data": {"source": {"name": "csv", "path": str(folder / upload.file)}}}
        run = own.begin("datasets", customer, config=config, parents=[])
        pl.DataFrame({"text": [text]}).write_parquet(run.folder / "train.parquet")
        self.datasets[customer] = own.finish(run).id
        model = own.begin("models", customer, parents=[self.datasets[customer]])
        self.models[customer] = own.finish(model).id
        made = {"dataset": self.datasets[customer], "model": self.models[customer]}
        self.uploads[customer] = upload.id
        self.jobs[customer] = [
            self._job(customer, "train", age, {"config": config}, made),
            self._job(customer, "predict", age, {"file": str(folder / upload.file)}, {"model": self.models[customer]}),
        ]
        (self.home.folder / outputs.OUTPUTS).mkdir(exist_ok=True)
        self.output(customer).write_text(json.dumps({"text": text, "answer_label": "a"}) + "\n")

    def _job(self, customer: str, kind: str, age: int, request: dict, result: dict) -> str:
        row = {
            "id": _id(age), "at": "", "customer": customer, "key": f"key of {customer}", "kind": kind, "vertical": customer,
            "request": request, "priority": 4, "digest": b"",
        }  # fmt: skip
        job, _ = jobs.add(self.database, row)
        with self.database.writing() as connection:
            done = {"state": "done", "result": orjson.dumps(result).decode()}
            connection.execute(schema.jobs.update().where(schema.jobs.c.id == job.id).values(**done))
        return job.id

    def output(self, customer: str):
        return self.home.folder / outputs.OUTPUTS / f"{self.jobs[customer][1]}.jsonl"

    def forget(self, **wanted):
        return forget(self.home, self.database, Deletion(**wanted), "k0", search)

    def left(self, customer: str) -> dict[str, bool]:
        """Return what is still there of a customer."""
        with self.database.reading() as connection:
            rows = [one.id for one in uploads.find(connection, customer, None, 9)]
            done = [one.id for one in jobs.find(connection, jobs.Filter(customer), 9)]
        file = self.home.folder / uploads.FOLDER / f"{self.uploads[customer]}.csv"
        return {
            "upload": file.exists(), "row": rows != [], "jobs": done != [], "output": self.output(customer).exists(),
            "dataset": self.home.find("datasets", self.datasets[customer]) is not None,
            "model": self.home.find("models", self.models[customer]) is not None,
        }  # fmt: skip


def _id(age: float) -> str:
    return first_id_at(time.time() - age * DAY)[:12] + time_ordered_id()[12:]


@pytest.fixture
def served(tmp_path):
    with closing(Database(databases.new(tmp_path / "home" / FILE))) as database:
        yield Served(Home(tmp_path / "home"), database)


ALL = dict.fromkeys(("upload", "row", "jobs", "output", "dataset", "model"), True)
ONLY_MODEL = {**dict.fromkeys(ALL, False), "model": True}
CONDITIONS = [
    lambda: {"customer": "bank"}, lambda: {"before": datetime.now(UTC) - timedelta(days=5)}, lambda: {"key": "key of bank"},
]  # fmt: skip


@pytest.mark.parametrize("conditions", CONDITIONS, ids=["customer", "time", "key"])
def test_uploads_and_what_jobs_made_of_them_go(served, conditions) -> None:
    found = served.forget(**conditions())
    assert {name: count for name, count in found.deleted.items() if count} == {"uploads": 1, "jobs": 2, "datasets": 1}
    assert found.remaining == {"models": [served.models["bank"]]}
    assert served.left("bank") == ONLY_MODEL
    assert served.left("shop") == ALL
    with served.database.reading() as connection:
        noted = entries(connection)
    assert [(one.action, one.actor) for one in noted] == [("delete", "k0")] * 5
    assert noted[-1].details["uploads"] == 1
    assert served.forget(**conditions()).deleted == {"answers": 0, "requests": 0, "feedback": 0}


def test_a_text_is_named_where_it_remains_and_deleted_if_asked(served) -> None:
    before = served.left("bank")
    answer = {"request": _id(0), "number": 0, "vertical": "bank", "model": "m", "answer": "{}", "record": json.dumps({"text": TEXT})}
    with served.database.writing() as connection:
        mark = fingerprint({"text": TEXT}, fingerprint_key(served.database))
        connection.execute(schema.answers.insert().values(fingerprint=mark, **answer))
    served.database.hold()  # as a server does, so that the log of SQLite stays
    found = served.forget(records=[{"text": TEXT}])
    assert found.deleted["answers"] == 1
    assert not any(TEXT.encode() in file.read_bytes() for file in served.home.folder.glob(f"{FILE}*"))
    bank = {
        "uploads": [served.uploads["bank"]], "jobs": served.jobs["bank"], "datasets": [served.datasets["bank"]],
        "models": [served.models["bank"]],
    }  # fmt: skip
    assert {kind: sorted(ids) for kind, ids in found.remaining.items()} == {kind: sorted(ids) for kind, ids in bank.items()}
    assert served.left("bank") == before == ALL
    assert served.forget(records=[{"text": "Jane Doe"}], uploads=True).deleted == {"answers": 0, "requests": 0, "feedback": 0}
    assert served.forget(records=[{"text": TEXT}], customer="shop", uploads=True).remaining == {}
    assert served.left("bank") == ALL, "a part of a text is another text, and another customer is not meant"
    found = served.forget(records=[{"text": TEXT}], uploads=True)
    assert (found.deleted["uploads"], found.deleted["jobs"], found.deleted["datasets"], found.deleted["models"]) == (1, 2, 1, 1)
    assert found.remaining == {}
    assert not any(served.left("bank").values())
    assert served.left("shop") == ALL
    with served.database.reading() as connection:
        assert "Jane" not in str(entries(connection))
    assert TEXT.encode() not in (served.home.folder / FILE).read_bytes()


def test_a_live_model_and_a_running_job_remain_and_are_named(served) -> None:
    served.home.alias("bank@live", served.models["bank"])
    job = served.jobs["bank"][0]
    with served.database.writing() as connection:
        lease = format_time(datetime.now(UTC) + timedelta(hours=1))
        about = {"state": "running", "worker": "another", "lease": lease}
        connection.execute(schema.jobs.update().where(schema.jobs.c.id == job).values(**about))
    found = served.forget(records=[{"text": TEXT}], uploads=True)
    assert found.remaining == {"models": [served.models["bank"]], "jobs": [job]}
    assert served.left("bank") == {**dict.fromkeys(ALL, False), "jobs": True, "model": True}
    with served.database.reading() as connection:
        assert jobs.get(connection, job, jobs.Filter()).stop, "it is cancelled"


@pytest.mark.parametrize(("module", "name"), [(uploads, "remove"), (jobs, "remove"), (uploads, "note"), (outputs, "note")])
def test_a_repeated_deletion_finishes_an_interrupted_one(served, monkeypatch, module, name) -> None:
    def failing(*given) -> None:
        raise StorageError("The process died. Start it again.")

    with monkeypatch.context() as patch:
        patch.setattr(module, name, failing)
        with pytest.raises(StorageError):
            served.forget(customer="bank")
    assert served.left("bank") != ONLY_MODEL
    served.forget(customer="bank")
    assert served.left("bank") == ONLY_MODEL
    assert served.left("shop") == ALL


def _feedback(customer: str, text: str) -> dict:
    said = {"record": json.dumps({"text": text}), "target": json.dumps({"label": "a"}), "trust": 1.0, "digest": b""}
    return {"id": _id(1), "at": "", "customer": customer, "key": f"key of {customer}", "vertical": "intent", **said}


@pytest.mark.parametrize("conditions", [{"customer": "bank"}, {"key": "key of bank"}], ids=["customer", "key"])
def test_what_a_retraining_learnt_of_a_customer_is_named(served, conditions) -> None:
    """Its dataset has the rows of all customers and belongs to none, and its job was asked for by nobody."""
    made = {}
    for name, texts in (("both", [TEXT, OTHER]), ("shop", [OTHER])):
        run = served.home.begin("datasets", name, config={}, parents=[])
        pl.DataFrame({"text": texts}).write_parquet(run.folder / "train.parquet")
        made[name] = served.home.finish(run).id
    model = served.home.finish(served.home.begin("models", "both", parents=[made["both"]])).id
    with served.database.writing() as connection:
        connection.execute(schema.feedback.insert(), [_feedback("bank", TEXT), _feedback("shop", OTHER)])
    found = served.forget(**conditions)
    assert found.remaining == {"datasets": [made["both"]], "models": [served.models["bank"], model]}
    assert found.deleted["feedback"] == 1
    assert served.home.find("datasets", made["both"]) is not None


def test_labels_of_a_customer_that_the_operator_trained_on_are_named(served) -> None:
    about = {"at": "", "name": "p", "upload": "", "task": "{}", "settings": "{}", "state": "open", "records": 1, "held": 0, "turn": 0}
    record = {"project": "p", "number": 0, "record": json.dumps({"text": TEXT}), "fingerprint": b"", "held": 0, "places": 0, "rank": 0}
    label = {"project": "p", "number": 0, "annotator": "ann", "id": "l", "at": "", "state": "done", "version": 1}
    run = served.home.begin("datasets", "theirs", config={}, parents=[])
    pl.DataFrame({"text": [TEXT]}).write_parquet(run.folder / "gold.parquet")
    made = served.home.finish(run).id
    with served.database.writing() as connection:
        connection.execute(schema.projects.insert().values(id="p", customer="bank", **about))
        connection.execute(schema.records.insert().values(record))
        connection.execute(schema.labels.insert().values(label))
    assert served.forget(customer="shop").remaining == {"models": [served.models["shop"]]}
    assert served.forget(customer="bank").remaining["datasets"] == [made]


def test_a_job_whose_events_quote_a_text_goes_with_it(served) -> None:
    long = TEXT * 20
    quoting = {text: served._job("bank", "prepare", 1, {}, {}) for text in (TEXT + "!", long)}
    with served.database.writing() as connection:
        for text, job in quoting.items():
            note = {"kind": "note", "examples": [{"row": 3, "value": {"text": shortened(text)}}]}
            connection.execute(schema.job_events.insert().values(job=job, number=1, event=orjson.dumps(note).decode()))
    for text, job in quoting.items():
        assert job not in served.forget(records=[{"text": text[1:]}]).remaining.get("jobs", [])
        assert served.forget(records=[{"text": text}]).remaining == {"jobs": [job]}
        assert served.forget(records=[{"text": text}], uploads=True).deleted["jobs"] == 1
    with served.database.reading() as connection:
        assert not connection.execute(schema.job_events.select()).all()


def test_a_model_that_remains_loses_its_answers_to_the_rows_that_are_deleted(served) -> None:
    for customer in ("bank", "shop"):
        folder = served.home.folder / "references" / served.models[customer]
        folder.mkdir(parents=True)
        (folder / "answers.json").write_text(TEXT)
    served.forget(customer="bank")
    assert [file.parent.name for file in served.home.folder.glob("references/*/answers.json")] == [served.models["shop"]]


def test_what_dead_processes_left_goes_too(served) -> None:
    folder = served.home.folder
    old = [folder / uploads.FOLDER / f".{_id(0)}.csv", folder / uploads.FOLDER / f"{_id(0)}.csv"]
    received = folder / uploads.FOLDER / f".{_id(0)}.jsonl"
    partial = folder / outputs.OUTPUTS / f".{served.jobs['bank'][1]}.jsonl.ab12"
    for file in (*old, received, partial):
        file.write_text(TEXT)
    for file in (*old, folder / uploads.FOLDER / f"{served.uploads['shop']}.csv"):
        os.utime(file, (time.time() - DAY, time.time() - DAY))
    removed = folder / "datasets" / ".x.removed"
    removed.mkdir()
    (removed / "train.parquet").write_text(TEXT)
    served.forget(customer="bank")
    assert not any(file.exists() for file in (*old, partial, removed))
    assert received.exists(), "it may be an upload that is being received"
    assert served.left("shop") == ALL


def test_a_deleted_upload_leaves_the_link_to_what_was_made_of_it(served) -> None:
    """The customer deleted its upload and jobs before, so that the manifests alone say whose the dataset is."""
    with served.database.reading() as connection:
        upload = uploads.get(connection, served.uploads["bank"], "bank")
        done = [jobs.get(connection, id, jobs.Filter()) for id in served.jobs["bank"]]
    uploads.delete_upload(served.database, served.home.folder, upload, "k1")
    for job in done:
        outputs.delete_job(served.database, served.home.folder, job, "k1")
    assert served.left("bank") == {**ONLY_MODEL, "dataset": True}
    assert served.forget(customer="bank").deleted["datasets"] == 1
    assert served.left("bank") == ONLY_MODEL


def test_records_are_found_in_one_row_of_any_format(tmp_path) -> None:
    frame = pl.DataFrame({"a": [TEXT, "x"], "b": ["y", OTHER], "n": [5, 13812345678], "l": [["p"], [OTHER, TEXT]]})
    frame.write_parquet(tmp_path / "a.parquet")
    frame.write_ndjson(tmp_path / "a.jsonl")
    (tmp_path / "a.csv").write_text(f'a,b,n\n"{TEXT}",y,5\nx,"{OTHER}",13812345678\n')
    (tmp_path / "broken.parquet").write_text(TEXT)
    files = [str(tmp_path / name) for name in ("a.parquet", "a.jsonl", "a.csv")]
    for record, places in (
        ({"text": TEXT}, [0, 1, 2]), ({"q": TEXT, "r": "y"}, [0, 1, 2]), ({"q": TEXT, "r": "x"}, []), ({"n": 13812345678}, [0, 1, 2]),
        ({"text": f" {TEXT}\n"}, [0, 1, 2]), ({"text": TEXT[:9]}, []), ({"text": ""}, []), ({"text": "p"}, [0, 1]),
    ):  # fmt: skip
        assert search_files(files, [record])["found"] == places, record
    assert search_files([*files, str(tmp_path / "broken.parquet")], [{"text": OTHER}]) == {"found": [0, 1, 2], "unread": [3]}


def test_nothing_is_deleted_without_a_condition(served) -> None:
    with pytest.raises(ConfigError):
        served.forget(uploads=True)
    assert served.left("bank") == served.left("shop") == ALL


def test_records_of_projects_labels_of_keys_and_projects_of_customers_are_deleted(tmp_path):
    with closing(Database(tmp_path / FILE)) as database:
        home, kept = Home(tmp_path), {}
        for customer in ("bank", "shop"):
            file = tmp_path / f"{customer}.jsonl"
            file.write_text("".join(json.dumps({"text": text}) + "\n" for text in (TEXT, OTHER)))
            settings = ProjectSettings(labels=[LabelHelp(name="a"), LabelHelp(name="b")])
            source, task = build(Source, {"name": "jsonl", "path": str(file)}), build(Task, {"name": "classify"})
            kept[customer] = label(database, NewProject("mails", customer, source, task, settings=settings)).project
            for annotator in ("0123456789ab", "ann"):
                given = [labels.Change(number, "done", {"label": "a"}, None, 1) for number in (0, 1)]
                labels.save(database, kept[customer], annotator, given, datetime.now(UTC))
            (tmp_path / "pools" / kept[customer].id).mkdir(parents=True)

        def left(customer):
            return [(one.record.fields["text"], len(one.labels)) for one in labels.each_labelled(database, kept[customer].id)]

        wanted = Deletion(customer="bank", records=[{"text": TEXT}])
        assert forget(home, database, wanted, "test", search).deleted["records"] == 1
        assert (left("bank"), left("shop")) == ([(OTHER, 2)], [(TEXT, 2), (OTHER, 2)])
        assert [(tmp_path / "pools" / kept[name].id).exists() for name in ("bank", "shop")] == [False, True]
        with database.reading() as connection:
            assert projects.get(connection, "mails", "bank").records == 1
        assert forget(home, database, Deletion(key="0123456789ab"), "test", search).deleted["labels"] == 3
        assert (left("bank"), left("shop")) == ([(OTHER, 1)], [(TEXT, 1), (OTHER, 1)])
        assert forget(home, database, Deletion(customer="shop"), "test", search).deleted["projects"] == 1
        with database.reading() as connection:
            assert [one.customer for one in projects.find(connection, None)] == ["bank"]
        assert not (tmp_path / "pools" / kept["shop"].id).exists()
        assert TEXT not in json.dumps([one.details for one in _entries(database)])


def _entries(database):
    with database.reading() as connection:
        return entries(connection)


def test_products_that_were_made_with_a_deleted_entry_are_named(tmp_path):
    home = Home(tmp_path / "home")
    with closing(Database(databases.new(home.folder / FILE))) as database:
        mark = fingerprint({"text": TEXT}, fingerprint_key(database))
        with database.writing() as connection:
            quoted = added.add(connection, added.Draft("shop", "bank", "en", TEXT, "Yes.", fingerprint=mark), "ann")
            other = added.add(connection, added.Draft("shop", "bank", "en", OTHER, "Yes."), "ann")
            added.withdraw(connection, added.Named(other.id, "shop", None), "ann")
        made = []
        for kept in (quoted, other):
            run = home.begin("products", "shop", parents=[])
            (run.folder / "entries.json").write_text(json.dumps([{"id": kept.id}]))
            made.append(home.finish(run).id)
        found = forget(home, database, Deletion(records=[{"text": TEXT}]), "test", search)
        assert (found.deleted["entries"], found.remaining) == (1, {"products": [made[0]]})
        assert forget(home, database, Deletion(vertical="shop"), "test", search).remaining == {}
