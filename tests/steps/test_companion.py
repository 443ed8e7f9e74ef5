"""A model's companion travels with it: to every engine, to what is made of the model, and out in the portable bundle."""

from __future__ import annotations

import contextlib
import json
import shutil

import numpy as np
import polars as pl
import pytest

from tests.conftest import unmeasured
from tests.exports.test_portable import asked, near
from tests.learning.conftest import sentences
from tests.steps.test_train import base, config_of, dataset_of
from vertune.core.artifact import Artifact, Home
from vertune.core.errors import ConfigError, ModelError, StorageError
from vertune.data import dataset as datasets
from vertune.lexical.companion import FILE, Companion
from vertune.runtime.fleet import Fleet, decode_outputs
from vertune.runtime.predictor import Predictor, load_companion
from vertune.steps.bundle import bundle
from vertune.steps.compress import compress
from vertune.steps.export import export
from vertune.steps.share import share
from vertune.steps.train import train

__all__ = ["base"]
ROWS = [{"text": row["text"]} for row in sentences(40, 7)]


@pytest.fixture(scope="module")
def made(base, tmp_path_factory) -> tuple[Home, Artifact]:
    """A home with a model whose answers depend on words."""
    home = Home(tmp_path_factory.mktemp("companion") / "home")
    model = train(config_of(base, method={"name": "lora", "layers": 1}, training={"epochs": 1, "refit": "never"}), dataset_of(home), home)
    home.alias("topics@live", model.id)
    return home, model


def named_people(count: int, seed: int = 0) -> list[dict]:
    """Texts in which capital letters alone tell the names of people from other words."""
    random = np.random.default_rng(seed)
    rows = []
    for _ in range(count):
        words = [str(word) for word in random.choice(["bank", "loan", "hotel", "soup", "very", "my"], random.integers(2, 8))]
        place = int(random.integers(len(words)))
        words[place] = words[place].capitalize()
        text, start = " ".join(words), len(" ".join(words[:place])) + (place > 0)
        rows.append({"text": text, "spans": [{"start": start, "end": start + len(words[place]), "label": "person"}]})
    return rows


@pytest.fixture(scope="module")
def tagger(base, tmp_path_factory) -> tuple[Home, Artifact]:
    """A home with a tagger on a base that doesn't see the case of letters."""
    home = Home(tmp_path_factory.mktemp("tagger") / "home")
    run = home.begin("datasets", "people", step="prepare")
    frames = {name: pl.DataFrame(named_people(rows, rows)) for name, rows in (("train", 120), ("validation", 40))}
    datasets.write(run.folder, frames)
    rows = {name: frame.height for name, frame in frames.items()}
    dataset = home.finish(run, rows=rows, data_hash=datasets.fingerprint(frames), config={}, validation_cut=True)
    config = config_of(base, name="people", task="tag", method="head", training={"epochs": 1, "refit": "never"})
    model = train(config, dataset, home)
    home.alias("people@live", model.id)
    return home, model


def test_a_tagger_sees_case_by_its_companion_and_keeps_it_everywhere(tagger, tmp_path, monkeypatch) -> None:
    home, model = tagger
    figures = model.manifest["chosen"]["companion"]
    assert figures["validation"]["mixed"]["f1"] > 0.95 > 0.5 > figures["validation"]["model"]["f1"]
    rows = [{"text": row["text"]} for row in named_people(25, 3)] + [{"text": "   loan Bank 我的 Soup!"}]
    expected = Predictor.open(model).answer(rows)
    assert near(asked(export(model, "onnx", tmp_path / "portable"), rows), expected)
    assert near(Predictor.open(Artifact(bundle(model, tmp_path / "bundle"))).answer(rows), expected)
    assert not share([model], home)
    fleet = Fleet(home, threads=1, exact=True)
    assert not fleet.follow(fleet.live())
    assert near(fleet.get("people").predictor.answer(rows), expected)
    unmeasured(monkeypatch)
    smaller = compress(model, home, ["compress.chain=[]"])
    assert near(Predictor.open(smaller).answer(rows), expected)


@pytest.fixture
def copied(made, tmp_path) -> tuple[Home, Artifact]:
    """A copy of that home which a test may change."""
    shutil.copytree(made[0].folder, tmp_path / "home")
    home = Home(tmp_path / "home")
    return home, home.get("models", "topics")


def close(ours, theirs) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert one["label"] == other["label"]
        assert one["probability"] == pytest.approx(other["probability"], abs=1e-4)


def test_the_words_change_answers_and_the_card_says_so(made) -> None:
    model = made[1]
    predictor = Predictor.open(model)
    assert predictor.companion is not None
    assert predictor.companion.scorer is not None
    features = predictor.encoder.encode(ROWS, predictor.views({"text"}))
    alone = predictor.task.decode(ROWS, features, predictor.outputs(features))
    mixed = predictor.answer(ROWS)
    assert max(abs(one["probability"] - other["probability"]) for one, other in zip(alone, mixed, strict=True)) > 0.01
    assert "Words beside the model: outputs times" in (model.folder / "README.md").read_text()


@pytest.mark.parametrize("damage", ["changed", "removed"])
def test_a_changed_or_missing_file_is_refused(copied, damage) -> None:
    file = copied[1].folder / FILE
    if damage == "removed":
        file.unlink()
    else:
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(data)
    with pytest.raises(StorageError, match=FILE):
        Predictor.open(copied[1])


def test_a_file_that_nobody_listed_is_refused(copied) -> None:
    model = copied[1]
    model.update(files={name: value for name, value in model.manifest["files"].items() if name != FILE})
    Companion("softmax", 1.0).save(model.folder / FILE)
    with pytest.raises(StorageError, match="not listed"):
        load_companion(model)


def test_a_model_of_an_older_version_has_none(copied) -> None:
    model = copied[1]
    (model.folder / FILE).unlink()
    model.update(files={name: value for name, value in model.manifest["files"].items() if name != FILE})
    assert Predictor.open(model).companion is None


def test_a_shared_backbone_answers_as_the_model_alone(made) -> None:
    home, model = made
    assert not share([model], home)
    fleet = Fleet(home, threads=1, exact=True)
    assert not fleet.follow(fleet.live())
    served = fleet.get("topics")
    expected = Predictor.open(model).answer(ROWS)
    close(served.predictor.answer(ROWS), expected)
    features = served.predictor.encoder.encode(ROWS, served.predictor.views({"text"}))
    outputs = [row[0] for row in served.executor.compute([(feature, (served.slot,)) for feature in features])]
    close(decode_outputs(served, ROWS, features, outputs), expected)


def test_a_compressed_model_keeps_it(copied, monkeypatch) -> None:
    unmeasured(monkeypatch)
    home, model = copied
    smaller = compress(model, home, ["compress.chain=[]"])
    assert (smaller.folder / FILE).read_bytes() == (model.folder / FILE).read_bytes()
    close(Predictor.open(smaller).answer(ROWS), Predictor.open(model).answer(ROWS))


def test_a_fold_of_a_cross_validation_has_words_of_its_own(copied, monkeypatch) -> None:
    from vertune.learning import companion

    unmeasured(monkeypatch)
    home, model = copied
    seen: list[int] = []
    fit = companion.fit
    monkeypatch.setattr(companion, "fit", lambda data, *given: (seen.append(len(data.texts[0])), fit(data, *given))[1])
    model.update(chosen={**model.manifest["chosen"], "refit": 220})
    with contextlib.suppress(ModelError):  # whether int8 is accepted does not matter here
        compress(model, home, ["compress.chain=[int8]", "compress.folds=2"])
    assert len(seen) >= 2
    assert seen[0] + seen[1] == 220


def test_a_bundle_contains_it(made, tmp_path) -> None:
    folder = bundle(made[1], tmp_path / "bundle")
    close(Predictor.open(Artifact(folder)).answer(ROWS), Predictor.open(made[1]).answer(ROWS))


def test_the_portable_bundle_answers_as_the_model(made, tmp_path) -> None:
    folder = export(made[1], "onnx", tmp_path / "portable")
    odd = [*ROWS, {"text": "订单什么时候到"}, {"text": "ＢＡＮＫ  loan\n"}]
    close(asked(folder, odd), Predictor.open(made[1]).answer(odd))


@pytest.mark.parametrize("damage", ["changed", "unlisted"])
def test_the_portable_bundle_refuses_another_file(made, tmp_path, damage) -> None:
    folder = export(made[1], "onnx", tmp_path / "portable")
    if damage == "changed":
        Companion("softmax", 1.0).save(folder / FILE)
    else:
        listed = json.loads((folder / "files.json").read_text())
        (folder / "files.json").write_text(json.dumps({name: value for name, value in listed.items() if name != FILE}))
    with pytest.raises(Exception, match="exit status 1"):
        asked(folder, ROWS[:1])


def test_a_format_that_can_not_hold_it_says_so(made, tmp_path, caplog) -> None:
    folder = export(made[1], "sentence_transformers", tmp_path / "other")
    assert "mixed with those of the model's companion" in (folder / "README.md").read_text()
    assert "Export to onnx to keep the mix" in caplog.text


def test_words_alone_are_not_written_without_words(copied, tmp_path) -> None:
    model = copied[1]
    companion = Predictor.open(model).companion
    assert companion is not None
    Companion(companion.activation, 0.0, 1.0, companion.scorer).save(model.folder / FILE)
    model.seal()
    with pytest.raises(ConfigError, match="words of the texts alone"):
        export(model, "sentence_transformers", tmp_path / "other")
    answers = Predictor.open(model).answer(ROWS)
    assert np.mean([answer["label"] == row["label"] for answer, row in zip(answers, sentences(40, 7), strict=True)]) > 0.8
