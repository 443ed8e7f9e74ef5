"""From a trained model to a smaller one: what is kept, what is refused, and what a damaged one says."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.conftest import unmeasured
from vertune.core import part
from vertune.core.errors import ConfigError, DataError, ModelError, NotFound, StorageError
from vertune.runtime.graph import Graph
from vertune.runtime.predictor import BASE, GRAPH, Predictor
from vertune.steps import compress as step
from vertune.steps.compress import CompressOptions, compress
from vertune.steps.evaluate import evaluate
from vertune.steps.predict import predict

TEXTS = ["tell me of paris and rome", "tell me of soup and bread", "zzz unknown words ¡olé!"]
LOOSE = "compress.tolerance=1"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """These tests need no figure of speed."""
    unmeasured(monkeypatch)


@pytest.fixture
def loose(monkeypatch):
    """A gate that lets through what learnt for a moment only."""
    monkeypatch.setattr("vertune.evaluation.gate.ECE", 10)


def trained(home):
    return home.get("models", "support")


def records(texts=TEXTS):
    return [{"text": text} for text in texts]


def test_the_default_is_int8_and_says_what_it_keeps(compressed):
    home, made = compressed
    manifest = made.manifest
    assert [one["name"] for one in manifest["candidates"]] == ["float32", "int8"]
    assert manifest["parents"][0] == trained(home).id
    assert manifest["candidates"][0]["loss"] == 0
    assert manifest["candidates"][-1]["verdict"] == "accepted"
    assert (made.folder / "report.html").exists()
    assert {path.name for path in made.folder.iterdir()} >= {GRAPH, BASE, "manifest.json", "report.html"}
    assert not list(made.folder.rglob("*.safetensors"))


def test_it_answers_as_the_model_that_it_was_made_from(compressed):
    home, made = compressed
    ours, theirs = predict(trained(home), records()), predict(made, records())
    for one, other in zip(ours, theirs, strict=True):
        assert one["label"] == other["label"]
        assert abs(one["probability"] - other["probability"]) < 0.1


def test_a_report_of_it_can_be_made(compressed):
    home, made = compressed
    measured = json.loads((evaluate(made, home).folder / "metrics.json").read_text())
    assert measured["metrics"]["accuracy"]["value"] > 0.5


def test_the_name_still_means_the_live_model(compressed):
    home, made = compressed
    assert home.get("models", "support").id != made.id
    home.alias("support@small", made.id)
    assert home.get("models", "support@small").id == made.id


@pytest.mark.parametrize("name", part.names("compressors"))
def test_every_compressor_keeps_the_contract(home, loose, name):
    """Smaller or equal on disk, the same schema of answers, the model itself untouched, the same again from the same seed."""
    model = trained(home)
    before = {path.name: path.read_bytes() for path in model.folder.iterdir() if path.is_file()}
    options = {"distill": "{name: distill, layers: 1, epochs: 1}", "drop_layers": "{name: drop_layers, number: 1, epochs: 1}"}
    chain = options.get(name, "{name: prune, epochs: 1}" if name == "prune" else name)
    made = [compress(model, home, [f"compress.chain=[{chain}]", LOOSE]) for _ in range(2)]
    first, second = (predict(one, records()) for one in made)
    assert set(first[0]) == set(predict(model, records())[0])
    for one, other in zip(first, second, strict=True):
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)
    candidates = made[0].manifest["candidates"]
    assert candidates[-1]["bytes"] <= candidates[0]["bytes"]  # the tiny base has no token that could go
    assert {path.name: path.read_bytes() for path in model.folder.iterdir() if path.is_file()} == before


def test_a_chain_goes_from_torch_to_onnx(home, loose):
    chain = "compress.chain=[{name: distill, layers: 1, epochs: 1}, trim_vocabulary, int8]"
    made = compress(trained(home), home, [chain, LOOSE])
    sizes = [one["bytes"] for one in made.manifest["candidates"]]
    assert sizes == sorted(sizes, reverse=True)
    assert len(predict(made, records(["a text of words that nobody trained on: 🙂 naïve"]))) == 1
    with pytest.raises(
        ConfigError,
        match=r"a compressor of torch models comes after one of ONNX graphs\. "
        r"Put .* torch models first: .*{chain: \[trim_vocabulary, int8\]}",
    ):
        compress(trained(home), home, ["compress.chain=[int8, trim_vocabulary]"])


def test_an_empty_chain_is_the_graph_itself(home):
    made = compress(trained(home), home, ["compress.chain=[]", LOOSE])
    ours, theirs = (Predictor.open(one) for one in (trained(home), made))
    features = ours.encoder.encode(records(), ours.task.views(["text"]))
    for one, other in zip(ours.outputs(features), theirs.outputs(features), strict=True):
        np.testing.assert_allclose(other, one, atol=1e-5)


@pytest.mark.parametrize("setting", ["task.threshold=0.9", "encoder.max_tokens=16", "base=other", "data.source=x.csv"])
def test_what_the_model_is_can_t_be_changed_by_the_way(home, setting):
    with pytest.raises(ConfigError, match="would change the trained model"):
        compress(trained(home), home, [setting])


def test_a_student_on_another_base_takes_its_layers(home, loose, tiny_base):
    chain = f"compress.chain=[{{name: distill, base: {tiny_base}, epochs: 1}}]"
    seen = []
    compress(trained(home), home, [chain, LOOSE], lambda kind, **fields: seen.append(kind))
    assert "step" in seen


def test_another_base_with_other_tokens_is_refused_where_tokens_answer(tmp_path, tiny_base):
    from vertune.core.kinds import Encoder
    from vertune.core.records import View
    from vertune.learning.distil import _check
    from vertune.testing import tiny

    views = (View("text", ("text",)),)
    bases = (tiny_base, tiny.write("bert", tmp_path / "other"))
    one, two = (Encoder.model_validate({"name": "text", "base": str(base)}).encode(records(["tell me of paris"]), views) for base in bases)
    _check(one, two, tokens=False)
    with pytest.raises(ConfigError, match="other tokens"):
        _check(one, two, tokens=True)
    with pytest.raises(ConfigError, match="other tokens"):
        _check([*one, *one], two, tokens=False)


def refitted(home):
    """The trained model, as if it had been trained on its validation rows too."""
    model = trained(home)
    model.update(chosen={**model.manifest["chosen"], "refit": 60})
    return model


def test_rows_that_the_model_learnt_from_can_t_tell(home):
    model = refitted(home)
    with pytest.raises(ModelError, match="trained on these rows too"):
        compress(model, home, [LOOSE, "compress.folds=0"])
    made = compress(model, home, [LOOSE, "compress.folds=0"], options=CompressOptions(accept=True))
    assert "finally retrained on all labelled rows" in (made.folder / "report.html").read_text()


def test_what_is_only_exported_needs_no_other_rows(home):
    assert compress(refitted(home), home, ["compress.chain=[]"]).manifest["candidates"][-1]["verdict"] == "accepted"


def test_few_rows_are_decided_by_training_without_each_part_of_them(home, loose):
    seen = []
    made = compress(refitted(home), home, [LOOSE], lambda kind, **fields: seen.append((kind, fields)))
    parts = [fields for kind, fields in seen if kind == "cross-validating"]
    rows = made.manifest["gate"]["cross_validation"]["rows"]
    assert [fields["number"] for fields in parts] == [1, 2, 3, 4, 5]
    assert sum(fields["rows"] for fields in parts) == rows > made.manifest["gate"]["rows"]
    assert made.manifest["candidates"][-1]["verdict"] == "accepted"
    assert made.manifest["candidates"][-1]["why"].count("in a cross-validation") == 1
    page = (made.folder / "report.html").read_text()
    assert "were repeated 5 times" in page
    assert "finally retrained on all labelled rows" in page  # the figures above are of rows that it learnt
    assert not (made.folder / "folds").exists()


def test_a_loss_on_rows_that_were_not_trained_on_is_refused(home, loose, monkeypatch):
    from vertune.steps.compress.compression import Compression

    def halved(self, chain, fold):
        """Every answer is right before compression, and none after it."""
        assert not {record["text"] for record in fold.train} & {record["text"] for record in fold.held_out}
        other = {"food": "place", "place": "food"}
        pairs = list(zip(self._answers(fold.model, fold.held_out), fold.held_out, strict=True))
        return (
            [{**answer, "label": row["label"]} for answer, row in pairs],
            [{**answer, "label": other[row["label"]]} for answer, row in pairs],
        )

    monkeypatch.setattr(Compression, "on_held_out", halved)
    with pytest.raises(ModelError, match=r"loses 100\.00 points in a cross-validation"):
        compress(refitted(home), home, [LOOSE.replace("1", "0.1")])


def test_parts_that_can_t_decide_are_drawn_again(home, loose, monkeypatch):
    from vertune.evaluation import gate

    decided = iter(["undecided", "undecided", "accepted"])
    known = gate.decide

    def decide(loss, high, ece, tolerance, where=None):
        if where is None:
            return known(loss, high, ece, tolerance)
        return next(decided), where

    monkeypatch.setattr(gate, "decide", decide)
    seen = []
    made = compress(refitted(home), home, [LOOSE, "compress.folds=2"], lambda kind, **fields: seen.append((kind, fields)))
    assert made.manifest["gate"]["cross_validation"]["trainings"] == 6
    assert made.manifest["candidates"][-1]["verdict"] == "accepted"
    assert [fields["verdict"] for kind, fields in seen if kind == "judged"][-3:] == ["undecided", "undecided", "accepted"]


def test_a_killed_cross_validation_trains_no_part_twice(home, loose):
    def kill(kind, **fields):
        if kind == "cross-validating" and fields["number"] == 3:
            raise KeyboardInterrupt

    model, settings = refitted(home), [LOOSE, "compress.folds=3"]
    with pytest.raises(KeyboardInterrupt):
        compress(model, home, settings, kill)
    (run,) = [run for run in home.runs() if run.manifest_or_empty.get("step") == "compress"]
    kept = {path: path.stat().st_mtime_ns for path in run.folder.glob("folds/*/*/edits.json")}
    assert len(kept) == 2
    times = {}

    def watch(kind, **fields):
        if kind == "measuring":
            times.update({path: path.stat().st_mtime_ns for path in run.folder.glob("folds/*/*/edits.json")})

    compress(model, home, settings, watch, CompressOptions(resume=True))
    assert times == kept


@pytest.mark.parametrize("rows", [7, 60])
def test_a_text_is_in_one_part_only(rows):
    from vertune.steps.compress import folds

    records = [{"text": f"text {number % 6}"} for number in range(rows)]
    divided = folds.parts(records, ["text"], 5, seed=0)
    assert sorted(np.concatenate(divided)) == list(range(rows))
    texts = [{records[row]["text"] for row in part} for part in divided]
    assert sum(len(part) for part in texts) == 6
    assert max(len(part) for part in texts) - min(len(part) for part in texts) <= 1


def test_what_waits_for_a_decision_is_not_cleaned_away(home, monkeypatch):
    from vertune.steps.clean import clean

    monkeypatch.setattr("vertune.evaluation.gate.decide", lambda *given: ("undecided", "nobody knows"))
    with pytest.raises(ModelError, match="can't decide"):
        compress(trained(home), home, ["compress.folds=0"])
    clean(home)
    assert compress(trained(home), home, ["compress.folds=0"], options=CompressOptions(accept=True)).manifest["status"] == "done"


def test_a_student_learns_from_texts_without_labels(home, loose, tmp_path):
    more = tmp_path / "more.csv"
    more.write_text("query\ntell me 99 of lima and oslo\ntell me 98 of cake and rice\n")
    seen = []
    settings = [f"data.unlabelled={more}", "compress.chain=[{name: distill, layers: 1, epochs: 1}]", LOOSE]
    compress(trained(home), home, settings, lambda kind, **fields: seen.append((kind, fields)))
    steps = [fields["steps"] for kind, fields in seen if kind == "step"]
    rows = home.get("datasets", trained(home).manifest["parents"][0]).manifest["rows"]["train"]
    assert set(steps) == {-(-(rows + 2) // 32)}


def test_what_loses_too_much_is_refused_and_shown(home, monkeypatch):
    monkeypatch.setattr("vertune.compressors.int8.quantise_matrix", lambda matrix, levels, axis: damaged(matrix, axis))
    with pytest.raises(
        ModelError, match=r"did not pass the check .*: it loses .* points on validation, more than the 0.50 points allowed.*report.html"
    ):
        compress(trained(home), home, ["compress.chain=[{name: int8, search: false}]", "compress.folds=0"])
    (run,) = [run for run in home.runs() if run.manifest_or_empty.get("step") == "compress"]
    assert run.manifest["status"] == "failed"
    assert (run.folder / "report.html").exists()
    with pytest.raises(ModelError, match="did not pass the check"):  # a hand can't let it through either
        compress(
            trained(home), home, ["compress.chain=[{name: int8, search: false}]", "compress.folds=0"], options=CompressOptions(accept=True)
        )


def damaged(matrix, axis):
    shape = matrix.shape[1] if axis == 0 else matrix.shape[0]
    return np.random.default_rng(0).integers(-127, 128, matrix.shape).astype(np.int8), np.ones(shape, np.float32)


def test_where_validation_can_t_tell_a_hand_decides_and_nothing_is_done_twice(home, monkeypatch):
    monkeypatch.setattr("vertune.evaluation.gate.decide", lambda *given: ("undecided", "nobody knows"))
    with pytest.raises(ModelError, match=r"The rows can't decide whether .*: nobody knows.*--accept"):
        compress(trained(home), home, ["compress.folds=0"])
    (run,) = [run for run in home.runs() if run.manifest_or_empty.get("status") == "undecided"]
    monkeypatch.setattr(step, "Compression", None)  # a second computation would fail
    made = compress(trained(home), home, ["compress.folds=0"], options=CompressOptions(accept=True))
    assert made.id == run.id
    assert made.manifest["accepted"].startswith("by hand")
    assert made.manifest["status"] == "done"


def test_a_killed_compression_goes_on_to_the_same_model(home, loose):
    settings = ["compress.chain=[{name: distill, layers: 1, epochs: 4}]", "training.checkpoint=0", LOOSE]
    whole = compress(trained(home), home, settings)

    def kill(kind, **fields):
        if kind == "step" and fields["step"] == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compress(trained(home), home, settings, kill)
    (run,) = [run for run in home.runs() if run.manifest_or_empty.get("step") == "compress"]
    assert run.manifest["status"] == "stopped"
    seen = []
    again = compress(trained(home), home, settings, lambda kind, **fields: seen.append((kind, fields)), CompressOptions(resume=True))
    assert again.id == run.id
    assert next(fields["step"] for kind, fields in seen if kind == "resumed") >= 4
    assert (again.folder / GRAPH).read_bytes() == (whole.folder / GRAPH).read_bytes()
    assert not list(again.folder.glob("learnt-*"))


def test_without_validation_rows_nothing_can_be_shown(home):
    model = trained(home)
    dataset = home.get("datasets", model.manifest["parents"][0])
    (dataset.folder / "validation.parquet").unlink()
    with pytest.raises(StorageError, match=r"validation\.parquet is missing"):
        compress(model, home)
    files = dataset.manifest["files"]
    del files["validation.parquet"]
    dataset.update(files=files)
    with pytest.raises(DataError, match="no validation rows"):
        compress(model, home)
    home.remove("datasets", dataset.id)
    with pytest.raises(NotFound, match="The dataset of"):
        compress(model, home)


def test_what_was_compressed_is_not_compressed_again(compressed):
    home, made = compressed
    with pytest.raises(ConfigError, match="is compressed already"):
        compress(made, home)


@pytest.fixture
def copied(compressed, tmp_path):
    import shutil

    from vertune.core.artifact import Artifact

    shutil.copytree(compressed[1].folder, tmp_path / "model")
    return Artifact(tmp_path / "model")


def test_a_graph_changed_by_one_byte_is_refused(copied):
    file = copied.folder / GRAPH
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(ModelError, match=r"The graph of .* has changed"):
        Predictor.open(copied)


def test_a_graph_cut_short_is_refused(copied):
    file = copied.folder / GRAPH
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ModelError, match="has changed"):
        Predictor.open(copied)
    with pytest.raises(StorageError, match="not an ONNX graph that can be run"):
        Graph(file)


def test_another_tokenizer_is_refused(copied):
    file = copied.folder / BASE / "tokenizer.json"
    file.write_text(file.read_text().replace("paris", "pariz"))
    with pytest.raises(StorageError, match=r"tokenizer\.json has changed"):
        Predictor.open(copied)


def test_labels_that_don_t_fit_the_graph_are_refused(copied):
    config = copied.manifest["config"]
    config["task"]["labels"] = ["only", "three", "labels"]
    copied.update(config=config)
    with pytest.raises(ModelError, match=r"The task of .* has changed"):
        Predictor.open(copied)


def test_a_label_that_changes_its_place_is_refused(copied):
    config = copied.manifest["config"]
    config["task"]["labels"] = config["task"]["labels"][::-1]
    copied.update(config=config)
    with pytest.raises(ModelError, match="The task of"):
        Predictor.open(copied)


@pytest.mark.parametrize("name", [GRAPH, f"{BASE}/tokenizer.json"])
def test_a_missing_file_is_said(copied, name):
    (copied.folder / name).unlink()
    with pytest.raises((StorageError, NotFound, ConfigError)):
        Predictor.open(copied)


def test_hard_inputs_end_in_an_error_or_a_flagged_answer(copied):
    predictor = Predictor.open(copied)
    (long,) = predict(predictor, records(["paris " * 20_000]))
    assert long["truncated"]
    for bad in ([{"text": "  "}], [{"text": None}], [{"text": "\ud800"}]):
        with pytest.raises(DataError):
            predict(predictor, bad)
    with pytest.raises(ConfigError, match="There is no column"):
        predict(predictor, [{"other": "x"}])
    assert predict(predictor, []) == []
