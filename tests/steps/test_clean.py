"""What clean and remove delete, and what they leave alone."""

import os
import time
from contextlib import closing

import pytest

from vertune.core.artifact import Home
from vertune.core.errors import Conflict, UnknownName
from vertune.steps.clean import clean
from vertune.steps.remove import everything, find, remove
from vertune.store import retrainings, rollouts
from vertune.store.database import FILE, Database
from vertune.store.rollouts import Rollout, Rules


@pytest.fixture
def shelves(tmp_path):
    home = Home(tmp_path)
    dataset = home.finish(home.begin("datasets", "a", parents=[]))
    model = home.finish(home.begin("models", "a", parents=[dataset.id]))
    report = home.finish(home.begin("reports", "a", parents=[model.id]))
    other = home.finish(home.begin("models", "a", parents=[]))
    home.alias("a@live", model.id)
    return home, dataset, model, report, other


def test_unfinished_runs_go_and_one_that_works_stays(shelves):
    home = shelves[0]
    failed, working, dead = (home.begin("models", name) for name in ("failed", "working", "dead"))
    failed.update(status="failed")
    for path in (dead.folder / "manifest.json", dead.folder):
        os.utime(path, (1, 1))
    before = {artifact.id for artifact in everything(home)}
    assert {item.id for item in clean(home, dry=True)} == {failed.id, dead.id}
    assert {artifact.id for artifact in everything(home)} == before
    freed = clean(home)
    assert all(item.size > 0 for item in freed)
    assert {artifact.id for artifact in everything(home)} == before - {failed.id, dead.id}
    assert working.folder.exists()


def test_unused_keeps_what_an_alias_needs(shelves):
    home, dataset, model, report, other = shelves
    assert [item.id for item in clean(home, unused=True)] == [other.id]
    assert {artifact.id for artifact in everything(home)} == {dataset.id, model.id, report.id}


def test_unused_keeps_what_a_retraining_and_a_rollout_go_on_with(shelves):
    home, _, live, _, other = shelves
    dataset, candidate, report = (home.finish(home.begin(shelf, "a", parents=[])) for shelf in ("datasets", "models", "reports"))
    with closing(Database(home.folder / FILE)) as database:
        with database.writing() as connection:
            one = retrainings.begin(connection, "a", {})
            retrainings.move(connection, one, "gate", dataset=dataset.id, model=candidate.id, report=report.id)
            rollouts.start(connection, Rollout("b", other.id, live.id, "canary", 0.1, Rules(), "", "", "ann"))
        assert clean(home, unused=True, database=database) == []
        with database.writing() as connection:
            rollouts.end(connection, "b")
            retrainings.move(connection, retrainings.get(connection, one.id), "refused")
        assert {item.id for item in clean(home, unused=True, database=database)} == {dataset.id, candidate.id, report.id, other.id}


def test_rests_of_a_removal_go(shelves):
    home = shelves[0]
    rest = home.folder / "models" / ".x.removed"
    rest.mkdir()
    assert [item.id for item in clean(home)] == [".x.removed"]
    assert not rest.exists()


def test_remove_takes_ids_only_and_refuses_what_is_aliased(shelves):
    home, _, model, _, other = shelves
    with pytest.raises(UnknownName):
        remove(home, "a")
    with pytest.raises(Conflict, match="a@live"):
        remove(home, model.id)
    assert remove(home, other.id) > 0
    run = home.begin("models", "b")
    remove(home, run.id)
    assert not home.runs()


def test_find_by_id_name_alias_and_path(shelves):
    home, dataset, model, report, other = shelves
    assert find(home, dataset.id) == dataset
    assert find(home, report.id) == report
    assert find(home, other.id) == other
    assert find(home, "a") == find(home, "a@live") == find(home, str(model.folder)) == model
    with pytest.raises(UnknownName, match=f"Did you mean '{model.id[:-1]}"):
        find(home, model.id[:-1] + "_")


def test_unused_frees_states_that_no_training_reads_now(shelves):
    home = shelves[0]
    for name, age in (("idle", 1e5), ("read", 0)):
        folder = home.folder / "cache" / "trunk" / name
        folder.mkdir(parents=True)
        (folder / "a.states").write_bytes(b"0" * 10)
        os.utime(folder, (time.time() - age,) * 2)
    assert not [item for item in clean(home) if "trunk cache" in item.id]
    assert [item.size for item in clean(home, unused=True) if item.id == "trunk cache idle"] == [10]
    assert sorted(path.name for path in (home.folder / "cache" / "trunk").iterdir()) == ["read"]
