"""What a command that is still running needs is never deleted, and neither is the backbone of a live model."""

import threading

import pytest

from vertune.core.artifact import Home
from vertune.core.errors import Conflict
from vertune.evaluation.gate import UNDECIDED
from vertune.runtime.shared_store import VERTICALS
from vertune.steps.clean import clean
from vertune.steps.remove import everything, remove


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


def made(home, shelf, *parents):
    return home.finish(home.begin(shelf, "a", parents=[parent.id for parent in parents]))


def left(home):
    return {artifact.id for artifact in everything(home)}


def test_what_a_running_training_reads_stays(home):
    dataset, unused = made(home, "datasets"), made(home, "datasets")
    run = home.begin("models", "a", step="train", parents=[dataset.id])
    assert [item.id for item in clean(home, unused=True)] == [unused.id]
    assert left(home) == {dataset.id, run.id}
    with pytest.raises(Conflict, match=run.id):
        remove(home, dataset.id)
    run.update(status="failed")
    assert {item.id for item in clean(home, unused=True)} == {dataset.id, run.id}


def test_the_ancestors_of_what_a_running_step_reads_stay_too(home):
    dataset = made(home, "datasets")
    model = made(home, "models", dataset)
    home.begin("reports", "a", step="evaluate", parents=[model.id])
    clean(home, unused=True)
    assert {dataset.id, model.id} <= left(home)
    with pytest.raises(Conflict, match="can't be removed"):
        remove(home, dataset.id)


def test_what_a_compression_that_waits_for_a_decision_needs_stays(home):
    dataset = made(home, "datasets")
    model = made(home, "models", dataset)
    waiting = home.begin("models", "a", step="compress", parents=[model.id])
    waiting.update(status=UNDECIDED)
    assert clean(home, unused=True) == []
    remove(home, waiting.id)
    assert {item.id for item in clean(home, unused=True)} == {dataset.id, model.id}


def test_a_run_that_works_is_not_removed(home, monkeypatch):
    run = home.begin("models", "a")
    run.update(pid=1)  # a process that always runs
    with pytest.raises(Conflict, match="process 1"):
        remove(home, run.id)


def test_the_backbone_of_a_live_model_stays(home):
    live, other = made(home, "models"), made(home, "models")
    used, unused = made(home, "backbones", other, live), made(home, "backbones", other)
    for backbone, models in ((used, (live, other)), (unused, (other,))):
        for model in models:
            (backbone.folder / VERTICALS / model.id).mkdir(parents=True)
    home.alias("a@live", live.id)
    assert {item.id for item in clean(home, unused=True)} == {other.id, unused.id}
    with pytest.raises(Conflict, match="a@live"):
        remove(home, used.id)


def test_a_run_that_begins_while_others_are_deleted_keeps_its_dataset(home, monkeypatch):
    dataset, other = made(home, "datasets"), made(home, "datasets")
    begun = []

    def remove_later(home, name):
        begun.extend([home.begin("models", "a", step="train", parents=[dataset.id])] if not begun else [])
        return remove(home, name)

    monkeypatch.setattr("vertune.steps.clean.remove", remove_later)
    assert [item.id for item in clean(home, unused=True)] == [other.id]
    assert left(home) == {dataset.id, begun[0].id}


def test_a_run_begins_before_or_after_a_removal_and_not_within_it(home):
    started, dataset = threading.Event(), made(home, "datasets")

    def begin():
        started.set()
        home.begin("models", "a", parents=[dataset.id])

    with home.locked():
        thread = threading.Thread(target=begin)
        thread.start()
        assert started.wait(5)
        thread.join(0.1)
        assert home.runs() == []
    thread.join(5)
    assert len(home.runs()) == 1


def test_what_another_process_has_just_finished_stays_until_it_is_used(home):
    dataset = made(home, "datasets")
    dataset.update(pid=1)  # a process that always runs, such as a `fit` between its steps
    assert clean(home, unused=True) == []
    dataset.update(finished="2020-01-01T00:00:00+00:00")
    assert [item.id for item in clean(home, unused=True)] == [dataset.id]
