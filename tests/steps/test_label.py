"""Labelling projects made of tables, with what is there already, and the ranking of their records."""

import json
from datetime import UTC, datetime

import numpy as np
import pytest

from tests import databases
from vertune.core.artifact import Home
from vertune.core.errors import ConfigError, Conflict, DataError, UnknownName
from vertune.core.kinds import Source, Task
from vertune.core.parse import build
from vertune.learning.pool import StatePool
from vertune.steps.label import FROM_FILE, NewProject, checked_label, label, task_of
from vertune.steps.label.further import Further, add_records
from vertune.steps.label.settings import LabelHelp, ProjectSettings
from vertune.steps.rank import rank
from vertune.steps.record_states import FOLDER, neighbours
from vertune.store import labels, projects
from vertune.store.database import FILE, Database
from vertune.store.labels import Change, Decision

NOW = datetime(2030, 1, 1, tzinfo=UTC)
AB = ProjectSettings(labels=[LabelHelp(name="a"), LabelHelp(name="b")])


@pytest.fixture
def database(tmp_path):
    opened = Database(databases.new(tmp_path / FILE))
    yield opened
    opened.close()


def table(folder, rows, name="rows.jsonl"):
    path = folder / name
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return build(Source, {"name": "jsonl", "path": str(path)})


def new(folder, rows, task="classify", settings=AB, **options):
    return NewProject("mails", "bank", table(folder, rows), build(Task, {"name": task, **options}), settings=settings)


def stored(database, project):
    with database.reading() as connection:
        return list(projects.records(connection, project.id, [number for number, _ in projects.numbers(connection, project.id)]).values())


def test_every_row_is_in_the_project_or_counted(database, tmp_path):
    rows = [{"text": f"Text {number}", "label": "ab"[number % 2] if number < 6 else None} for number in range(60)]
    rows += [{"text": "Text 1", "label": None}, {"text": "", "label": "a"}, {"text": "Text 59", "label": "b"}]
    made = label(database, new(tmp_path, rows, settings=ProjectSettings()))
    records = stored(database, made.project)
    assert sorted(one.fields["text"] for one in records) == sorted({row["text"] for row in rows} - {""})
    assert {note.what: note.count for note in made.notes} == {
        "rows were rejected: text is empty": 1, "rows are equal to another one and were left out": 2,
    }  # fmt: skip
    given = list(labels.each_labelled(database, made.project.id))
    assert {one.record.fields["text"]: one.votes[FROM_FILE]["label"] for one in given} == {
        row["text"]: row["label"] for row in rows if row["text"] and row["label"]
    }
    assert [one["name"] for one in made.project.settings["labels"]] == ["b", "a"]
    assert made.project.records == 60
    assert made.project.held == 20 == sum(one.held for one in records)
    assert not any(one.record.held for one in given)


def test_a_project_of_a_name_is_made_once_and_an_interrupted_one_again(database, tmp_path, monkeypatch):
    wanted = new(tmp_path, [{"text": f"Text {number}"} for number in range(5)])

    def fail(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(projects, "add_records", fail)
        with pytest.raises(KeyboardInterrupt):
            label(database, wanted)
    assert label(database, wanted).project.records == 5
    with pytest.raises(Conflict, match="'mails' already"):
        label(database, wanted)


def test_a_project_without_labels_or_records_is_refused(database, tmp_path):
    with pytest.raises(ConfigError, match="has no labels"):
        label(database, new(tmp_path, [{"text": "a"}], settings=ProjectSettings()))
    with pytest.raises(DataError, match="No row of the table"):
        label(database, new(tmp_path, [{"text": ""}]))
    with pytest.raises(UnknownName, match="least_confidence"):
        ProjectSettings(query="least-confidence")


def test_settings_that_cannot_work_with_the_task_are_refused_by_name(database, tmp_path):
    rows = [{"text": "Ann left", "text_pair": "x"}]
    with pytest.raises(ConfigError, match="'consensus' is 'dawid_skene', but the task 'tag' has the target 'spans'"):
        label(database, new(tmp_path, rows, "tag", AB.model_copy(update={"consensus": "dawid_skene"})))
    with pytest.raises(ConfigError, match="'score' of the type 'number'"):
        label(database, new(tmp_path, rows, "regress", ProjectSettings(consensus="dawid_skene")))
    with pytest.raises(ConfigError, match="'train_after' is 'curve', but a project of the task 'extract'"):
        ProjectSettings(train_after="curve").check(build(Task, {"name": "extract"}))
    with pytest.raises(ConfigError, match="task 'embed' can't be labelled"):
        label(database, new(tmp_path, rows, "embed"))
    AB.model_copy(update={"consensus": "dawid_skene", "train_after": "curve"}).check(build(Task, {"name": "multilabel"}))


def further(database, project, source):
    with database.reading() as connection:
        current = projects.get(connection, project.name, project.customer)
    return add_records(database, Further(current, source))


def test_records_of_a_further_file_are_added_once(database, tmp_path):
    rows = [{"text": f"Text {number}"} for number in range(60)]
    made = label(database, new(tmp_path, rows, settings=AB.model_copy(update={"hold_out": 0.5}))).project
    before = {one.number: one for one in stored(database, made)}
    labels.save(database, made, "ann", [Change(3, "done", {"label": "a"}, 1.0, 1)], NOW)
    rest = [{"text": f"Text {number}", "label": None if number % 4 else "c"} for number in range(30, 130)]
    more = table(tmp_path, [*rest, {"text": "Text 3", "label": "b"}], "more.jsonl")
    added = further(database, made, more)
    assert (added.added, added.known) == (70, 31)
    assert added.project.records == 130
    records = {one.number: one for one in stored(database, made)}
    assert {number: one for number, one in records.items() if number in before} == before
    assert sorted(one.fields["text"] for one in records.values()) == sorted(f"Text {number}" for number in range(130))
    assert added.project.held == sum(one.held for one in records.values())
    new_held = [one for one in records.values() if one.held and one.number not in before]
    assert 15 <= len(new_held) <= 40  # half of the 52 without an answer
    given = {one.record.fields["text"]: one.votes for one in labels.each_labelled(database, made.id)}
    free = [one for one in before.values() if not one.held]
    wanted = {f"Text {number}" for number in range(32, 130, 4)} - {one.fields["text"] for one in before.values() if one.held}
    assert {text for text, votes in given.items() if votes.get(FROM_FILE) == {"label": "c"}} == wanted
    assert added.labelled == len(wanted)
    assert given["Text 3"] == {"ann": {"label": "a"}}
    assert [one["name"] for one in added.project.settings["labels"]] == ["a", "b", "c"]
    said = {note.what: note for note in added.notes}
    known = said["are in the project already and were not added again"]
    assert (known.count, known.of, len(known.examples)) == (31, 101, 5)
    assert set(known.examples[0]) == {"file", "row", "value"}
    assert said["are for records that are labelled, reserved or held out, and were left out"].count == 26 - len(wanted)
    assert len(free) == 30
    again = further(database, made, more)
    assert (again.added, again.known, again.labelled, again.project.records) == (0, 101, 0, 130)
    with database.writing() as connection:
        projects.change(connection, made.id, state="closed")
    with pytest.raises(Conflict, match="closed"):
        further(database, made, more)


def test_an_import_that_was_cut_off_is_finished_by_a_repetition(database, tmp_path, monkeypatch):
    made = label(database, new(tmp_path, [{"text": "Text 0"}])).project
    more = table(tmp_path, [{"text": f"Text {number}", "label": "a"} for number in range(7)], "more.jsonl")
    monkeypatch.setattr(projects, "_STEP", 2)
    real, calls = projects._added, []

    def cut_off(*given):
        calls.append(given)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*given)

    with monkeypatch.context() as patched:
        patched.setattr(projects, "_added", cut_off)
        with pytest.raises(KeyboardInterrupt):
            further(database, made, more)
    added = further(database, made, more)
    assert (added.added, added.known, added.labelled, added.project.records) == (3, 4, 7, 7)
    assert [one.number for one in stored(database, made)] == list(range(7))


@pytest.mark.parametrize(
    ("task", "fields", "good", "bad"),
    [
        ("classify", {"text": "x"}, {"label": "a"}, {"label": "c"}),
        ("multilabel", {"text": "x"}, {"labels": ["a", "b"]}, {"labels": ["a", "c"]}),
        (
            "tag",
            {"text": "Ann left"},
            {"spans": [{"start": 0, "end": 3, "label": "a"}]},
            {"spans": [{"start": 0, "end": 30, "label": "a"}]},
        ),
        ("tag", {"text": "Ann left"}, {"spans": []}, {"spans": [{"start": 0, "end": 3, "label": "c"}]}),
        ("match", {"text": "x", "text_pair": "y"}, {"label": "b"}, {"label": ""}),
        ("regress", {"text": "x"}, {"score": 1.5}, {"score": "many"}),
        ("classify", {"text": "x"}, {"label": "a"}, {"labels": "a"}),
    ],
)
def test_targets_are_what_the_task_accepts(database, tmp_path, task, fields, good, bad):
    made = label(database, new(tmp_path, [fields], task))
    known = task_of(made.project)
    assert checked_label(known, good, fields) == good
    with pytest.raises((DataError, UnknownName)):
        checked_label(known, bad, fields)


def answer(database, project, rows, decide=()):
    """Label the records with the letter that their text contains, and decide on those of the hold-out."""
    changes = [Change(one.number, "done", {"label": "ab"["blue" in one.fields["text"]]}, 1.0, 1) for one in rows]
    labels.save(database, project, "ann", changes, NOW)
    for one in decide:
        labels.decide(database, project, Decision(one.number, "", "rita", {"label": "ab"["blue" in one.fields["text"]]}, ""))


def test_records_are_ranked_by_a_model_of_the_labels(database, tmp_path, tiny_base):
    rows = [{"text": f"{'blue sky' if number % 3 else 'red sun'} number {number}"} for number in range(120)]
    settings = AB.model_copy(update={"batch": 5, "hold_out": 0.3, "base": str(tiny_base)})
    made = label(database, new(tmp_path, rows, settings=settings)).project
    home = Home(tmp_path)
    first = rank(database, home, made)
    assert (len(first.order), first.labels) == (10, 0)
    records = {one.number: one for one in stored(database, made)}
    assert not any(records[number].held for number in first.order)

    def current():
        with database.reading() as connection:
            return projects.get(connection, "mails", "bank")

    assert [one.record.number for one in labels.reserve(database, current(), "bob", 3, NOW)] == first.order[:3]
    held = [one for one in records.values() if one.held]
    answer(database, made, [records[number] for number in first.order[3:]] + [one for one in records.values() if not one.held][:20], held)
    labels.decide(database, made, Decision(held[0].number, "", "rita", {"label": "c"}, "a label that nobody gave"))
    second = rank(database, home, current())
    assert not {*second.order} & {one.record.number for one in labels.each_labelled(database, made.id)}
    (point,) = current().found["curve"]
    assert (point["labels"], point["held_out"], point["measured"]) == (second.labels, True, len(held))
    assert point["score"] > 0.7
    suggested = stored(database, made)
    assert current().found["advice"] is None  # three points are needed
    answer(database, made, [one for one in records.values() if not one.held][20:40])
    rank(database, home, current())
    answer(database, made, [one for one in records.values() if not one.held][40:])
    rank(database, home, current())
    found = current().found
    assert [one["labels"] for one in found["curve"]] == sorted(one["labels"] for one in found["curve"])
    assert found["worth"]["labels"] == 100
    assert found["advice"] in ("go on", "little", "stable")
    assert 0 <= found["curve"][-1]["changed"] <= 1
    right = [one.suggestion == {"label": "ab"["blue" in one.fields["text"]]} for one in suggested]
    assert sum(right) / len(right) > 0.7
    assert all(0 <= one.confidence <= 1 for one in suggested)
    with pytest.raises(Conflict, match="meanwhile"):
        rank(database, home, made)
    folder = home.folder / FOLDER / made.id
    old = np.load(folder / "states.npy")
    steps = []
    further(database, made, table(tmp_path, [{"text": f"yellow sun number {number}"} for number in range(5)] + rows[:3], "more.jsonl"))
    rank(database, home, current(), lambda kind, **about: steps.append(about["steps"]) if kind == "states" else None)
    assert set(steps) == {5}, "records that have states get no new ones"
    states, numbers, vectors = (np.load(folder / f"{name}.npy") for name in ("states", "numbers", "vectors"))
    assert np.array_equal(states[: len(old)], old)
    assert (len(states), numbers.tolist(), len(vectors)) == (125, list(range(125)), 125)
    alone = StatePool.open(task_of(made), folder).vectors()
    assert vectors == pytest.approx(alone.astype(np.float16), abs=1e-3)
    assert [number for number, _ in neighbours(home.folder, current(), 124, 0.0)][:1] != [124]
    (folder / "about.json").write_text(json.dumps({**json.loads((folder / "about.json").read_text()), "columns": []}))
    further(database, made, table(tmp_path, [{"text": "green tea"}], "last.jsonl"))
    rank(database, home, current())  # states of an earlier version do not say which fields were read, so all are computed again
    assert len(np.load(folder / "states.npy")) == 126
