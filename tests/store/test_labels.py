"""Labels of several annotators: places, leases, repeated and late changes, searches and decisions, in SQLite and PostgreSQL."""

import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy

from vertune.core.errors import Conflict, NotFound
from vertune.store import label_search, labels, projects, schema
from vertune.store.labels import LEASE, Change, Decision
from vertune.store.projects import Project

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def change(number, label="a", version=1, state="done"):
    return Change(number, state, None if label is None else {"label": label}, seconds=2.0, version=version)


@pytest.fixture
def project(database):
    return made(database)


def made(database, count=20, overlap=1, held=0, name="mails"):
    project = Project(
        id=f"{name:0>32}", at="", customer="bank", name=name, upload="", task={"name": "classify"}, settings={}, state="filling"
    )
    projects.add(database, project)
    rows = (
        {"number": number, "record": f'{{"text": "Text {number}"}}', "fingerprint": b"", "held": int(number < held), "places": overlap,
         "rank": number, "suggestion": None, "confidence": None}
        for number in range(count)
    )  # fmt: skip
    projects.add_records(database, project, rows)
    with database.reading() as connection:
        return projects.get(connection, name, "bank")


@pytest.fixture(autouse=True)
def tallies_are_right(database):
    """After each test, what was counted along the way is what is there."""
    yield
    table = schema.labels.c
    with database.reading() as connection:
        rows = list(connection.execute(sqlalchemy.select(table.project, table.annotator, table.state, table.number)))
        kept = {
            (row.project, row.annotator, row.state): row.count for row in connection.execute(sqlalchemy.select(schema.tallies)) if row.count
        }
    counted = Counter((row.project, row.annotator, row.state) for row in rows)
    counted.update((project, "", "done") for project, _ in {(row.project, row.number) for row in rows if row.state == "done"})
    assert kept == counted


def places(database, project):
    with database.reading() as connection:
        table = schema.records.c
        return dict(map(tuple, connection.execute(sqlalchemy.select(table.number, table.places).where(table.project == project.id))))


def numbers(found):
    return [one.record.number for one in found]


def test_projects_are_found_by_their_customer_and_name(database, project):
    with database.reading() as connection:
        assert projects.find(connection, "bank") == [project]
        assert projects.find(connection, "other") == []
        with pytest.raises(NotFound, match="no project 'mails'"):
            projects.get(connection, "mails", "other")
    assert (project.state, project.records, project.held) == ("open", 20, 0)
    with pytest.raises(Conflict, match="'mails' already"):
        projects.add(database, project)
    projects.remove(database, project.id)
    with database.reading() as connection:
        assert projects.find(connection, None) == []
        assert not list(connection.execute(sqlalchemy.select(schema.records)))


def test_records_are_reserved_in_the_order_of_their_ranks_and_never_from_the_hold_out(database):
    project = made(database, count=10, held=3)
    projects.set_ranks(database, project, [7, 5])
    first = labels.reserve(database, project, "ann", 3, NOW)
    assert numbers(first) == [7, 5, 3]
    assert numbers(labels.reserve(database, project, "ann", 4, NOW)) == [7, 5, 3, 4]  # what is reserved comes again, first
    assert numbers(labels.reserve(database, project, "bob", 10, NOW)) == [6, 8, 9]
    assert labels.reserve(database, project, "eve", 1, NOW) == []


def test_a_place_is_free_again_after_the_lease(database, project):
    assert numbers(labels.reserve(database, project, "ann", 20, NOW)) == [*range(20)]
    assert labels.reserve(database, project, "bob", 1, NOW + LEASE) == []
    later = NOW + LEASE + timedelta(seconds=1)
    assert numbers(labels.reserve(database, project, "bob", 2, later)) == [0, 1]
    saved = labels.save(database, project, "ann", [change(0)], later)  # late, and kept
    assert saved.stored == [0]
    labels.save(database, project, "bob", [change(0, "b")], later)
    with database.reading() as connection:
        assert [label.target for label in labels.read(connection, project.id, [0])[0].labels] == [{"label": "a"}, {"label": "b"}]


def test_the_greatest_version_of_a_label_holds_however_changes_arrive(database, project):
    changes = [change(3, label, version) for version, label in enumerate("abcdef", 1)]
    random.Random(0).shuffle(changes)
    for one in [*changes, *changes]:
        labels.save(database, project, "ann", [one], NOW)
    saved = labels.save(database, project, "ann", [change(3, "old", 5), change(3, "f", 6), change(99)], NOW)
    assert (saved.stale, saved.stored, saved.unknown) == ([3], [3], [99])
    with database.reading() as connection:
        (found,) = labels.read(connection, project.id, [3])
    assert [(label.target, label.version) for label in found.labels] == [({"label": "f"}, 6)]
    assert places(database, project)[3] == 0


def test_skipping_and_undoing_move_places(database, project):
    labels.reserve(database, project, "ann", 2, NOW)
    labels.save(database, project, "ann", [change(0, None, 1, "skipped"), change(1, "a", 1)], NOW)
    assert numbers(labels.reserve(database, project, "bob", 2, NOW)) == [0, 2]
    assert numbers(labels.reserve(database, project, "ann", 1, NOW)) == [3]  # not what she skipped
    labels.save(database, project, "ann", [change(1, None, 2, "pending")], NOW)
    assert set(numbers(labels.reserve(database, project, "ann", 2, NOW))) == {1, 3}
    assert places(database, project) == {**dict.fromkeys(range(20), 1), **dict.fromkeys(range(4), 0)}
    saved = labels.save(database, project, "ann", [change(0, "a", 2), change(1, "b", 3)], NOW)  # bob has the one that she skipped
    assert (saved.taken, saved.stored) == ([0], [1])
    labels.save(database, project, "bob", [change(0, None, 1, "skipped")], NOW)
    assert labels.save(database, project, "ann", [change(0, "a", 2)], NOW).stored == [0]
    assert places(database, project)[0] == 0


def test_many_annotators_at_once_lose_nothing_and_take_no_place_twice(opened, database):
    overlap, count, people = 2, 60, 6
    project = made(database, count, overlap)
    given, lock = Counter(), threading.Lock()

    def work(name):
        mine, turn = opened(), random.Random(name)
        while batch := labels.reserve(mine, project, name, turn.randint(1, 7), datetime.now(UTC)):
            changes = [change(one.record.number, turn.choice("ab")) for one in batch]
            labels.save(mine, project, name, changes, datetime.now(UTC))
            with lock:
                given.update(one.number for one in changes)

    with ThreadPoolExecutor(people) as pool:
        list(pool.map(work, [f"annotator {number}" for number in range(people)]))
    assert given == dict.fromkeys(range(count), overlap)
    found = list(labels.each_labelled(database, project.id))
    assert [len(one.labels) for one in found] == [overlap] * count
    assert set(places(database, project).values()) == {0}


def test_votes_rejections_and_decisions_are_read_together(database):
    project = made(database, overlap=3)
    for annotator, label in (("ann", "a"), ("bob", "a"), ("eve", "b")):
        labels.save(database, project, annotator, [change(1, label), change(2, label)], NOW)
    labels.save(database, project, "eve", [change(2, None, 2, "rejected")], NOW)
    labels.decide(database, project, Decision(4, "", "rita", {"label": "c"}, "as in the guidelines"))
    first, second, fourth = labels.each_labelled(database, project.id)
    assert first.votes == {"ann": {"label": "a"}, "bob": {"label": "a"}, "eve": {"label": "b"}}
    assert (first.rejected, second.rejected, list(second.votes)) == (False, True, ["ann", "bob"])
    assert (first.decided, fourth.decided) == (None, {"label": "c"})
    for label in "bc":
        labels.decide(database, project, Decision(1, "", "rita", {"label": label}, ""))
    with database.reading() as connection:
        assert labels.read(connection, project.id, [1])[0].decided == {"label": "c"}
    assert labels.withdraw(database, project, 1)
    assert not labels.withdraw(database, project, 1)
    with database.reading() as connection:
        assert labels.read(connection, project.id, [1])[0].decided is None


def test_all_labelled_records_are_read_whatever_their_pages(database, monkeypatch):
    monkeypatch.setattr(labels, "_STEP", 7)
    project = made(database, 60, held=20)
    chosen = random.Random(1).sample(range(60), 40)
    for number in chosen[:25]:
        labels.save(database, project, "ann", [change(number)], NOW)
    for number in chosen[15:]:
        labels.decide(database, project, Decision(number, "", "rita", {"label": "b"}, ""))
    assert numbers(labels.each_labelled(database, project.id)) == sorted(chosen)
    assert numbers(labels.each_labelled(database, project.id, held=True)) == sorted(number for number in chosen if number < 20)


def test_records_are_found_by_all_that_is_known_of_them(database, monkeypatch):
    monkeypatch.setattr(label_search, "_SCANNED", 6)
    project = made(database, 20, overlap=2, held=2)
    rows = [projects.Suggestion(number, labels.as_text({"label": "a"}), number / 20) for number in range(20)]
    projects.set_suggestions(database, project.id, rows)
    labels.save(database, project, "ann", [change(number, "a") for number in (3, 4, 5)], NOW)
    labels.save(database, project, "bob", [change(4, "b"), change(6, 'quoted "é"'), change(7, None, 1, "skipped")], NOW)
    labels.decide(database, project, Decision(4, "", "rita", {"label": "c"}, ""))

    def found(**wanted):
        after, pages = -1, []
        while after is not None:
            with database.reading() as connection:
                page, after = label_search.find(connection, project.id, label_search.Filter(**wanted), after, 4)
            pages += numbers(page)
        return pages

    assert found() == [*range(20)]
    assert found(text="TEXT 1") == [1, *range(10, 20)]
    assert found(text="%") == found(text='"') == []
    assert found(label="a") == [3, 4, 5]
    assert found(label="c") == [4]
    assert found(label='quoted "é"') == [6]
    assert found(annotator="bob") == [4, 6, 7]
    assert found(annotator="bob", state="skipped") == [7]
    assert found(differs=True) == [4, 6]
    assert found(disagree=True) == [4]
    assert found(disagree=True, undecided=True) == []
    assert found(held=True) == [0, 1]
    assert found(least=0.5, most=0.6) == [10, 11, 12]


def test_labels_given_together_are_undone_together(database, project):
    batch = "b" * 32
    labels.save(database, project, "ann", [change(number, version=1) for number in range(5)], NOW, batch)
    labels.save(database, project, "ann", [change(3, "b", version=2)], NOW)  # changed since
    assert labels.undo_batch(database, project, "ann", batch) == 4
    assert numbers(labels.each_labelled(database, project.id)) == [3]
    assert places(database, project) == {**dict.fromkeys(range(20), 1), 3: 0}


def test_labels_are_listed_with_the_last_changed_first(database, project):
    labels.save(database, project, "ann", [change(number, version=number) for number in (1, 2, 3)], NOW)
    labels.save(database, project, "ann", [change(1, "b", version=9)], NOW)
    with database.reading() as connection:
        found = labels.labels_of(connection, project.id, "ann", "done", None, 2)
        assert numbers(found) == [1, 3]
        assert numbers(labels.labels_of(connection, project.id, "ann", "done", found[-1].labels[0].id, 2)) == [2]
        assert labels.labels_of(connection, project.id, "bob", None, None, 2) == []
        assert labels.counts(connection, project.id) == {"ann": {"done": 3}}
        assert labels.seconds(connection, project.id, "ann", 2) == [2.0, 2.0]
        assert labels.labelled_records(connection, project.id) == 3
        assert labels.decided_records(connection, project.id) == 0


def test_the_revision_is_another_one_after_each_change_and_no_other(database):
    project, other = made(database, held=2), made(database, name="other")
    seen = []

    def look():
        with database.reading() as connection:
            seen.append(labels.revision(connection, project.id))
            return labels.decided_held(connection, project.id)

    assert look() == 0
    labels.save(database, project, "ann", [change(4)], NOW)
    look()
    labels.save(database, project, "ann", [change(4, "b", 2), change(5)], NOW)
    look()
    labels.decide(database, project, Decision(4, "2030-01-01T00:00:00", "bob", {"label": "a"}, ""))
    look()
    labels.decide(database, project, Decision(4, "2030-01-01T00:00:01", "bob", {"label": "b"}, ""))
    assert look() == 0
    labels.decide(database, project, Decision(0, "2030-01-01T00:00:02", "bob", {"label": "b"}, ""))
    assert look() == 1
    labels.withdraw(database, project, 4)
    look()
    labels.save(database, project, "ann", [change(5, None, 3, "skipped")], NOW)
    look()
    labels.remove_of(database, "ann", None)
    look()
    assert len(set(seen)) == len(seen)
    labels.save(database, other, "ann", [change(4)], NOW)
    labels.reserve(database, project, "cid", 2, NOW)
    labels.save(database, project, "cid", [change(7, "b", 1, "draft")], NOW)
    look()
    assert seen[-1] == seen[-2], "what other projects, reservations and drafts contain changes nothing"


def test_the_order_of_labels_and_spans_means_nothing():
    assert labels.as_text({"labels": ["b", "a"]}) == labels.as_text({"labels": ["a", "b"]})
    assert labels.as_text({"spans": [{"start": 5, "end": 6, "label": "x"}, {"label": "y", "end": 2, "start": 1}]}) == labels.as_text(
        {"spans": [{"start": 1, "end": 2, "label": "y"}, {"start": 5, "end": 6, "label": "x"}]}
    )
