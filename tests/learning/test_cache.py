"""States that are remembered are those that would be computed, whatever happens to the files."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.learning.conftest import method, sentences
from tests.learning.test_loop import lesson_of
from vertune.learning import cache, session
from vertune.learning.cache import States, TrunkCache
from vertune.learning.loop import accelerator
from vertune.nn.build import build, trainable
from vertune.nn.run import tensors
from vertune.testing import tiny

TOP = [("top_layers", {"n": 1}), ("lora", {"layers": 1}), ("adapter", {"layers": 1}), ("prefix", {"layers": 1}), ("bitfit", {"layers": 1})]


def remember(config, material, folder, quiet, depth=2):
    """Model, examples and their remembered states."""
    torch.manual_seed(0)
    model = build(config.encoder, config.task).eval()
    examples = lesson_of(config, material, quiet).examples
    found = TrunkCache(folder, config, accelerator(config), quiet).recall(model, depth, examples.features)
    return model, examples, found


@pytest.fixture
def counted(monkeypatch):
    """How many features each call has computed the states of."""
    seen = []
    real = cache.Trunk.run
    monkeypatch.setattr(cache.Trunk, "run", lambda self, inputs: seen.append(len(inputs["input_ids"])) or real(self, inputs))
    return seen


@pytest.mark.parametrize(("name", "options"), [*TOP, ("head", {})])
def test_with_and_without_the_cache_weights_are_the_same(configured, tmp_path, quiet, name, options):
    config, material = configured(
        method={"name": name, **options}, training={"epochs": 2, "start": "random"}, device={"cache_precision": "float32", "threads": 1}
    )
    found = {}
    for folder in (None, tmp_path / "cache"):
        result = session.train(config, material, session.TrainingFolders(tmp_path / str(folder), folder), quiet)
        found[folder] = trainable(result.model)
    plain, remembered = found.values()
    assert list((tmp_path / "cache").rglob("*.states"))
    for key, value in plain.items():
        assert torch.allclose(value, remembered[key], atol=2e-5), key


def test_half_precision_is_near(configured, tmp_path, quiet):
    config, material = configured()
    _, examples, found = remember(config, material, tmp_path, quiet)
    assert found.states.kind == np.float16
    rows = [3, 1, 7]
    expected = found.trunk.run(tensors(config.encoder.collate([examples.features[row] for row in rows])))
    given = found.batch(rows)
    for place, row in enumerate(rows):
        length = examples.features[row].positions
        assert torch.allclose(expected[place, :length], given[place, :length], rtol=2e-3, atol=2e-3)
        assert not given[place, length:].any()


def test_a_second_training_computes_nothing_and_new_records_only_themselves(configured, tmp_path, quiet, counted):
    config, material = configured()
    remember(config, material, tmp_path, quiet)
    tried = cache.TRIED
    first = sum(counted) - tried
    distinct = {row["text"] for row in material.train}
    assert first == len(distinct)
    counted.clear()
    remember(config, material, tmp_path, quiet)
    assert sum(counted) == tried
    counted.clear()
    material.train = [*material.train, *sentences(20, seed=9)]
    remember(config, material, tmp_path, quiet)
    assert sum(counted) - tried == len({row["text"] for row in material.train} - distinct)


@pytest.mark.parametrize("change", ["depth", "base", "settings", "truncation"])
def test_what_makes_other_states_is_never_answered_from_old_ones(configured, tmp_path, quiet, counted, change):
    config, material = configured()
    remember(config, material, tmp_path / "cache", quiet)
    counted.clear()
    if change == "base":
        vocabulary = json.loads((Path(config.encoder.base) / "tokenizer.json").read_text())["model"]["vocab"]
        other = tiny.write("bert", tmp_path / "other", [word for word in vocabulary if word.isalpha() and len(word) > 1], seed=5)
        config = config.model_copy(update={"encoder": type(config.encoder)(base=str(other), max_tokens=config.encoder.max_tokens)})
    if change == "settings":
        other = Path(shutil.copytree(config.encoder.base, tmp_path / "other"))
        settings = json.loads((other / "config.json").read_text())
        (other / "config.json").write_text(json.dumps({**settings, "hidden_act": "relu"}))
        config = config.model_copy(update={"encoder": type(config.encoder)(base=str(other), max_tokens=config.encoder.max_tokens)})
    if change == "truncation":
        config = config.model_copy(update={"encoder": config.encoder.model_copy(update={"max_tokens": 6})})
    _, examples, found = remember(config, material, tmp_path / "cache", quiet, depth=3 if change == "depth" else 2)
    assert sum(counted) > cache.TRIED
    rows = list(range(6))
    expected = found.trunk.run(tensors(config.encoder.collate([examples.features[row] for row in rows])))
    given = found.batch(rows)
    for place, row in enumerate(rows):
        kept = slice(None) if found.trunk.pooled else slice(examples.features[row].positions)
        assert torch.allclose(expected[place][kept], given[place][kept], atol=5e-3)


def test_a_write_that_is_cut_short_leaves_nothing_that_looks_whole(configured, tmp_path, quiet, monkeypatch):
    config, material = configured()

    def die(self, inputs, real=cache.Trunk.run, calls=[]):  # noqa: B006
        calls.append(1)
        if len(calls) > 2:  # the first call tries the base
            raise KeyboardInterrupt
        return real(self, inputs)

    monkeypatch.setattr(cache, "_SEGMENT", 200)
    with monkeypatch.context() as broken:
        broken.setattr(cache.Trunk, "run", die)
        with pytest.raises(KeyboardInterrupt):
            remember(config, material, tmp_path, quiet)
    assert not list(tmp_path.rglob(".*")), "nothing lies beside"
    _, _, whole = remember(config, material, tmp_path, quiet)
    _, _, fresh = remember(config, material, tmp_path / "fresh", quiet)
    rows = list(range(len(material.train)))
    assert torch.equal(whole.batch(rows), fresh.batch(rows)), "a killed pass ends with the same bits"


def test_a_file_that_was_cut_or_lost_its_index_is_not_read(tmp_path):
    states = States(tmp_path, 4, np.float32)
    states.add(iter([(b"a" * 16, np.ones((3, 4))), (b"b" * 16, np.zeros((2, 4)))]))
    states.add(iter([(b"c" * 16, np.full((1, 4), 7))]))
    states.refresh()
    assert sorted(states.places) == [b"a" * 16, b"b" * 16, b"c" * 16]
    for file in tmp_path.glob("*.states"):
        with file.open("r+b") as opened:
            opened.truncate(file.stat().st_size - 1)
    fresh = States(tmp_path, 4, np.float32)
    fresh.refresh()
    assert not fresh.places


def test_trainings_side_by_side_share_a_folder(configured, tmp_path, quiet):
    config, material = configured()
    found = []
    threads = [threading.Thread(target=lambda: found.append(remember(config, material, tmp_path, quiet)[2])) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = list(range(len(material.train)))
    assert torch.allclose(found[0].batch(rows), found[1].batch(rows), atol=2e-3)


def test_what_does_not_fit_is_said_and_computed(configured, tmp_path):
    config, material = configured(method={"name": "top_layers", "n": 1}, training={"epochs": 1}, device={"cache": 1e-6, "threads": 1})
    said = []
    result = session.train(
        config, material, session.TrainingFolders(tmp_path / "run", tmp_path / "cache"), lambda kind, **fields: said.append((kind, fields))
    )
    reasons = [fields["reason"] for kind, fields in said if kind == "uncached"]
    assert "device.cache allows 1e-06 GB" in reasons[0]
    assert result.chosen["steps"]
    assert not list((tmp_path / "cache").rglob("*.states"))


def test_room_is_made_from_what_was_not_used_for_long(configured, tmp_path, quiet):
    config, material = configured(device={"cache": 1e-3, "threads": 1})
    for name, age in (("old", 10_000), ("used", 0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.states").write_bytes(b"0" * 990_000 if name == "old" else b"0")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    assert remember(config, material, tmp_path, quiet)[2]
    assert not (tmp_path / "old").exists()
    assert (tmp_path / "used").exists()


def test_states_beyond_float16_are_not_remembered_wrongly(configured, tmp_path, monkeypatch):
    config, material = configured()
    said = []
    real = cache.Trunk.run
    monkeypatch.setattr(cache.Trunk, "run", lambda self, inputs: real(self, inputs) * 1e6)
    monkeypatch.setattr(cache.Trunk, "works", lambda self, inputs: True)
    model = build(config.encoder, config.task)
    features = lesson_of(config, material, None).examples.features
    keep = TrunkCache(tmp_path, config, accelerator(config), lambda kind, **fields: said.append(fields.get("reason", "")))
    assert keep.recall(model, 2, features) is None
    assert "float32" in said[-1]


def test_a_solved_head_starts_from_what_is_remembered(configured, tmp_path, quiet, counted):
    config, material = configured(method="head")
    place = session.TrainingFolders(tmp_path / "a", tmp_path / "cache")
    first = session.train(config, material, place, quiet)
    ran = len(counted)
    second = session.train(config, material, session.TrainingFolders(tmp_path / "b", tmp_path / "cache"), quiet)
    assert len(counted) - ran <= 1  # the base is tried
    assert first.metrics == second.metrics
    assert method("head").depth(2) == 3


def test_room_is_made_from_segments_of_other_records(configured, tmp_path, quiet):
    config, material = configured(device={"cache": 0.07, "cache_precision": "float32", "threads": 1})
    remember(config, material, tmp_path, quiet)
    (folder,) = tmp_path.iterdir()
    size = sum(file.stat().st_size for file in folder.iterdir())
    first = set(folder.iterdir())
    config = config.model_copy(update={"device": config.device.model_copy(update={"cache": 1.5 * size / 1e9})})
    material.train = sentences(120, seed=7)
    said = []
    keep = TrunkCache(tmp_path, config, accelerator(config), lambda kind, **fields: said.append(kind))
    model = build(config.encoder, config.task)
    features = lesson_of(config, material, quiet).examples.features
    assert keep.recall(model, 2, features) is None, "what was used just now stays"
    for path in first:
        os.utime(path, (time.time() - 1e4,) * 2)
    assert keep.recall(model, 2, features)
    assert not first & set(folder.iterdir())
