from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.forks import Forks
from tests.learning.conftest import FILLERS, TOPICS, sentences
from vertune.core import part
from vertune.core.artifact import Artifact, Home
from vertune.core.config import Config, build, dump
from vertune.core.errors import ConfigError, MissingExtra, ModelError, NotFound, StorageError
from vertune.core.kinds import Task
from vertune.data import dataset as datasets
from vertune.runtime.predictor import Predictor
from vertune.steps.prepare import prepare
from vertune.steps.train import train
from vertune.testing import tiny


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    words = [*FILLERS, *(word for members in TOPICS.values() for word in members)]
    return tiny.write("bert", tmp_path_factory.mktemp("train") / "bert", words)


def config_of(base, **options) -> Config:
    settings = {"name": "topics", "data": {}, "base": str(base), "method": "full", "device": {"threads": 1, "precision": "float32"}}
    training = {"optimiser": {"rate": 3e-3}, **options.pop("training", {"epochs": 3, "refit": "never"})}
    return build(Config, {**settings, "training": training, **options})


def dataset_of(home: Home) -> Artifact:
    """A dataset as prepare makes it."""
    run = home.begin("datasets", "topics", step="prepare")
    frames = {"train": pl.DataFrame(sentences(160)), "validation": pl.DataFrame(sentences(60, 1)), "test": pl.DataFrame(sentences(60, 2))}
    datasets.write(run.folder, frames)
    rows = {name: frame.height for name, frame in frames.items()}
    return home.finish(run, rows=rows, data_hash=datasets.fingerprint(frames), config={}, validation_cut=True)


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


def test_a_model_holds_only_what_changed_and_answers_as_it_was_trained(home, base):
    model = train(config_of(base, method={"name": "lora", "layers": 1}), dataset_of(home), home)
    manifest = model.manifest
    assert manifest["status"] == "done"
    assert manifest["metrics"]["validation"]["accuracy"] > 0.8
    files = {file.name for file in model.folder.iterdir()}
    assert files == {"manifest.json", "events.jsonl", "delta.safetensors", "edits.json", "companion.safetensors", "README.md"}
    tensors = load_file(model.folder / "delta.safetensors")
    assert sum(tensor.numel() for tensor in tensors.values()) == manifest["trained"]
    answers = Predictor.open(model).answer([{"text": "my bank loan"}, {"text": "train ticket"}])
    assert [answer["label"] for answer in answers] == ["money", "travel"]
    assert build(Config, manifest["config"]).task.labels == ["food", "money", "travel"]


def test_answers_do_not_depend_on_their_neighbours(home, base):
    predictor = Predictor.open(train(config_of(base), dataset_of(home), home))
    records = sentences(40, 3)
    together = predictor.answer(records)
    for record, answer in list(zip(records, together, strict=True))[::5]:
        (alone,) = predictor.answer([record])
        assert alone["label"] == answer["label"]
        assert alone["probability"] == pytest.approx(answer["probability"], abs=1e-5)


def test_another_base_is_refused(home, base, tmp_path):
    model = train(config_of(base, method="head"), dataset_of(home), home)
    weights = load_file(base / "model.safetensors")
    other = tmp_path / "other"
    other.mkdir()
    for file in base.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    save_file({name: tensor + 1e-3 for name, tensor in weights.items()}, other / "model.safetensors", {"format": "pt"})
    manifest = model.manifest
    manifest["config"]["encoder"]["base"] = str(other)
    model.update(**manifest)
    with pytest.raises(ModelError, match=r"base of .* has changed"):
        Predictor.open(model)


def test_a_delta_cut_short_is_said(home, base):
    model = train(config_of(base, method="head"), dataset_of(home), home)
    file = model.folder / "delta.safetensors"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(StorageError, match="delta"):
        Predictor.open(model)


def test_a_manifest_that_lost_its_config_is_said(home, base):
    model = train(config_of(base, method="head"), dataset_of(home), home)
    model.update(config=None)
    with pytest.raises(StorageError, match="no config"):
        Predictor.open(model)


def test_a_model_that_does_not_answer_as_trained_fails_the_step(home, base, monkeypatch):
    from vertune.nn import delta

    monkeypatch.setattr(delta, "save", lambda folder, edits, keep=delta.save: keep(folder, edits[1:]))
    with pytest.raises(ModelError, match="outputs of the saved model differ"):
        train(config_of(base), dataset_of(home), home)
    assert home.shelf("models") == []
    assert home.runs()[0].manifest["status"] == "failed"


def test_an_embedder_without_time_to_learn_is_its_base(home, base):
    run = home.begin("datasets", "faq", step="prepare")
    rows = pl.DataFrame(part.find("tasks", "embed")().example(48))
    frames = {"train": rows[:32], "validation": rows[32:]}
    datasets.write(run.folder, frames)
    data = home.finish(run, rows={"train": 32, "validation": 16}, data_hash=datasets.fingerprint(frames), config={}, validation_cut=True)
    model = train(config_of(base, task="embed", method="auto", training={"time_limit": 1e-6}), data, home)
    assert model.manifest["trained"] == 0
    assert len(Predictor.open(model).answer([{"text": "tea"}])[0]["vector"]) > 1


def test_a_training_goes_on_with_the_threads_it_began_with(home, base, monkeypatch):
    data, config = dataset_of(home), config_of(base, device={"precision": "float32"}, method="head")
    cores = iter([{0}, {0, 1}])
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: next(cores))

    def stop(kind, **fields):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(config, data, home, stop)
    assert train(config, data, home, resume=True).manifest["threads"] == 1


def test_what_can_not_work_is_refused(home, base):
    data = dataset_of(home)
    with pytest.raises(ConfigError, match="pretrained model has only 2"):
        train(config_of(base, method={"name": "top_layers", "n": 3}), data, home)
    with pytest.raises(NotFound, match="without --resume"):
        train(config_of(base, seed=9), data, home, resume=True)
    with pytest.raises(ConfigError, match="start: probe"):
        train(config_of(base, encoder={"name": "text", "base": str(base), "pooling": "native"}, training={"start": "probe"}), data, home)


def test_a_tracker_that_is_not_installed_is_said(home, base, monkeypatch):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "wandb" else real(name, *rest))
    with pytest.raises(MissingExtra, match=r"vertune\[wandb\]"):
        train(config_of(base, training={"trackers": ["wandb"], "epochs": 1}), dataset_of(home), home)


def test_tensorboard_holds_the_curves(home, base):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    model = train(config_of(base, training={"trackers": ["tensorboard"], "epochs": 1, "refit": "never"}), dataset_of(home), home)
    folder = next(file.parent for file in model.folder.rglob("events.out.tfevents*") if file.stat().st_size > 200)
    curves = EventAccumulator(str(folder)).Reload()
    assert len(curves.Scalars("loss")) == 5
    assert "metric" in curves.Tags()["scalars"]


_CHILD = """
import json, os, sys
from pathlib import Path
from vertune.core.artifact import Artifact, Home
from vertune.core.config import Config, build
from vertune.steps.train import train
print(os.getpid(), flush=True)
train(build(Config, json.loads(sys.argv[1])), Artifact(Path(sys.argv[3])), Home(sys.argv[2]))
"""


def _spawn(forks: Forks, config: Config, home: Home, data: Artifact) -> subprocess.Popen[bytes]:
    script = home.folder.parent / "child.py"
    script.write_text(_CHILD)
    arguments = [json.dumps(dump(config)), str(home.folder), str(data.folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, *forks.words(str(script)), *arguments], env=environment, stdout=subprocess.PIPE)


@pytest.mark.parametrize("name", ["auto", pytest.param("full", marks=pytest.mark.matrix)])
def test_a_process_killed_at_a_random_step_goes_on_to_the_same_weights(forks, home, base, name):
    options = {"checkpoint": 0, "epochs": 4, "refit": "never"}
    config = config_of(base, method=name, training=options, companion="none")
    data = dataset_of(home)
    with _spawn(forks, config, home, data) as child:
        training = int(child.stdout.readline())
        until = int(np.random.default_rng().integers(3, 15))
        deadline = time.monotonic() + 300
        while child.poll() is None and time.monotonic() < deadline:
            if sum(event["event"] == "step" for run in home.runs() for event in run.events()) >= until:
                os.kill(training, signal.SIGKILL)
                break
            time.sleep(0.005)
        assert child.wait() == -signal.SIGKILL
    assert home.shelf("models") == []
    chosen = home.runs()[0].folder / "choice.json"
    choice = chosen.read_text() if name == "auto" else None
    torch.set_num_threads(1)
    killed = train(config, data, home, resume=True)
    assert any(event["event"] == "resumed" for event in killed.events())

    whole = home.begin("models", "topics", step="train", asked=dump(config), parents=[data.id])
    if choice:
        (whole.folder / "choice.json").write_text(choice)  # auto measures speed, so the other run is told what was chosen
    plain = train(config, data, home, resume=True)
    assert (plain.folder / "delta.safetensors").read_bytes() == (killed.folder / "delta.safetensors").read_bytes()


def test_the_task_and_the_encoder_of_the_dataset_are_used_where_they_are_for_this_config(home, base, monkeypatch):
    config = config_of(base, method="head")
    data = prepare(config, home, frames={"train": pl.DataFrame(sentences(120))})
    assert data.manifest["task"]["labels"] == sorted(TOPICS)
    assert isinstance(data.manifest["encoder"]["max_tokens"], int)
    other = train(config.model_copy(update={"task": build(Task, {"name": "classify", "metric": "macro_f1"})}), data, home)
    assert other.manifest["config"]["task"]["metric"] == "macro_f1"
    assert other.manifest["config"]["task"]["labels"] == sorted(TOPICS)

    def again(*_arguments):
        raise AssertionError("fitted or resolved a second time")

    monkeypatch.setattr(type(config.task), "fit", again)
    monkeypatch.setattr(type(config.encoder), "resolve", again)
    model = train(config, data, home)
    assert {key: model.manifest["config"][key] for key in ("task", "encoder")} == {key: data.manifest[key] for key in ("task", "encoder")}
