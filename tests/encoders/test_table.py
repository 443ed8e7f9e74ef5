"""The table encoder alone, and a table's vertical from a file to the server."""

from __future__ import annotations

import random
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

from vertune.core.artifact import Artifact, Home
from vertune.core.config import Config
from vertune.core.errors import ConfigError
from vertune.core.kinds import Encoder
from vertune.core.parse import build
from vertune.core.records import View
from vertune.encoders.table import Table
from vertune.nn import structure
from vertune.runtime.predictor import Predictor

VIEW = View("record", ("age", "job"), types=("number", "category"))
ROWS = [{"age": float(20 + row % 40), "job": ["clerk", "nurse", None][row % 3]} for row in range(90)]


@pytest.fixture(scope="module")
def encoder() -> Table:
    return Table(width=16).resolve(ROWS, [VIEW])


def collated(encoder: Table, *records: dict) -> dict[str, np.ndarray]:
    return encoder.collate(encoder.encode(records, [VIEW]))


def test_fields_are_learnt_and_survive_being_written(encoder: Table) -> None:
    assert encoder.categories == {"job": ["clerk", "nurse"]}
    assert encoder.bins["age"][0] == 20
    assert encoder.bins["age"][-1] == 59
    assert Encoder.model_validate(encoder.model_dump(mode="json")) == encoder
    assert encoder.resolve(ROWS[:3], [VIEW]) == encoder


def test_numbers_fill_their_bins_and_say_when_they_are_missing(encoder: Table) -> None:
    (low, middle, high, missing) = collated(encoder, *({"age": age} for age in (0.0, 40.0, 99.0, None)))["numbers"][:, 0]
    assert low.tolist() == [0.0] * len(low)
    assert high[:-1].tolist() == [1.0] * (len(high) - 1)
    assert 0 < middle.sum() < high.sum()
    assert (np.diff(middle[:-1]) <= 0).all(), "a bin fills before the next one"
    assert missing.tolist() == [0.0] * (len(missing) - 1) + [1.0]


def test_equal_numbers_have_equal_content_and_order_does_not_matter(encoder: Table) -> None:
    one, other, again = encoder.encode([{"age": 30.0, "job": "clerk"}, {"age": 31.0, "job": "clerk"}, {"job": "clerk", "age": 30}], [VIEW])
    assert encoder.content(one) == encoder.content(again) != encoder.content(other)


def test_rare_and_new_values_are_unknown_and_missing_ones_are_not() -> None:
    encoder = Table(min_count=3).resolve([{"job": word} for word in ["a"] * 3 + ["b"] * 2], [View("record", ("job",), types=("category",))])
    places = collated(encoder, {"job": "a"}, {"job": "b"}, {"job": "new"}, {"job": None})["categories"][:, 0].tolist()
    assert places[1] == places[2]
    assert len(set(places)) == 3


def test_a_number_that_never_changes_and_one_that_is_never_there_are_taken() -> None:
    views = [View("record", ("same", "none"), types=("number", "number"))]
    encoder = Table().resolve([{"same": 3.0, "none": None}] * 4, views)
    arrays = encoder.collate(encoder.encode([{"same": 3.0}, {"same": 9.0, "none": 1.0}], views))
    assert np.isfinite(arrays["numbers"]).all()


def test_first_weights_are_the_same_each_time_and_follow_the_seed(encoder: Table) -> None:
    arrays = {name: torch.from_numpy(array) for name, array in encoder.probe([1, 1]).items()}
    one, again = (encoder.model().eval()(**arrays).last_hidden_state for _ in range(2))
    assert torch.equal(one, again)
    other = encoder.model_copy(update={"seed": 1})
    assert other.fingerprint()["base"] != encoder.fingerprint()["base"]
    assert other.fingerprint()["fields"] == encoder.fingerprint()["fields"]


def test_structure_is_found_and_roles_of_attention_are_refused(encoder: Table) -> None:
    backbone = encoder.model()
    assert list(structure.layers(backbone)) == ["layers.0", "layers.1"]
    assert structure.stages(backbone) == {"fields": 0, "input": 0, "layers.0": 1, "layers.1": 2, "norm": 2}
    assert structure.word_table(backbone) is None
    with pytest.raises(ConfigError, match="attention"):
        structure.sites(backbone, "layers.0")


@pytest.mark.parametrize(
    ("views", "message"),
    [
        ([View("text", ("text",))], "'text' is of type text"),
        ([View("record", ("scan",), types=("image",))], "'scan' is of type image"),
        ([VIEW, VIEW], "needs 2 vectors"),
    ],
)
def test_other_fields_and_tasks_are_refused(views: list[View], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Table().resolve(ROWS, views)


def test_one_state_a_position_is_refused_and_so_is_encoding_without_fields(encoder: Table) -> None:
    with pytest.raises(ConfigError, match="one vector per record"):
        encoder.pooling_of("tokens")
    with pytest.raises(ConfigError, match="has no bins or categories yet"):
        Table().encode(ROWS, [VIEW])
    with pytest.raises(ConfigError, match="no vocabulary"):
        encoder.trimmed(ROWS, [VIEW], Path())


# ------------------------------------------------------------------ from a file to the server


def config(home: Home, **changes: object) -> Config:
    """A config for a file in which the answer follows from both fields, with holes."""
    draw = random.Random(0)
    lines = ["age,job,risk"]
    for _ in range(240):
        age, job = draw.randrange(20, 80), draw.choice(["clerk", "nurse", "pilot"])
        risk = "high" if (age > 50) != (job == "pilot") else "low"
        lines.append(f"{'' if draw.random() < 0.05 else age},{job},{risk}")
    file = home.folder.parent / "risk.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines))
    value = {
        "name": "risk", "encoder": {"name": "table", "dropout": 0.1}, "method": "full", "tolerance": 1,
        "task": {"name": "classify", "inputs": {"age": "number", "job": "category"}},
        "data": {"source": str(file), "fields": {"label": "risk"}}, "training": {"epochs": 20, "refit": "never"},
    }  # fmt: skip
    return build(Config, {**value, **changes})


def make_table_model(folder: Path) -> tuple[Home, Artifact, Artifact]:
    """Return a home with a trained model on a table and the graph that was made of it, and both."""
    from vertune.runtime.benchmark import benchmark
    from vertune.steps.compress import compress
    from vertune.steps.prepare import prepare
    from vertune.steps.train import train

    measured: list[dict] = []

    def measure(workload) -> dict:
        """The speed of the first graph, which is measured in a process of its own."""
        return measured[0] if measured else measured.append(benchmark(workload)) or measured[0]

    home = Home(folder / "home")
    settings = config(home)
    model = train(settings, prepare(settings, home), home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vertune.evaluation.gate.ECE", 10)
        patch.setattr("vertune.evaluation.gate.benchmark", measure)
        return home, model, compress(model, home)


RECORDS = [{"age": 70.0, "job": "clerk"}, {"age": 25.0, "job": "nurse"}, {"age": 70.0, "job": "pilot"}, {"age": None, "job": "new"}]


def test_it_learns_and_the_graph_answers_as_the_model(table_model) -> None:
    _, model, graph = table_model
    ours, theirs = Predictor.open(model).answer(RECORDS), Predictor.open(graph).answer(RECORDS)
    assert [answer["label"] for answer in ours[:3]] == ["high", "low", "low"]
    assert not any(answer["truncated"] for answer in ours)
    for one, other in zip(ours, theirs, strict=True):
        assert other["probabilities"] == pytest.approx(one["probabilities"], abs=0.05)
    assert graph.manifest["candidates"][0]["name"] == "float32"
    assert graph.manifest["candidates"][0]["measured"]["latency"].keys() == {"1"}


def test_evaluation_compares_it_with_simple_baselines(table_model) -> None:
    from vertune.core.files import read_json
    from vertune.steps.evaluate import evaluate

    home, model, _ = table_model
    metrics = read_json(evaluate(model, home).folder / "metrics.json")
    assert metrics["metrics"]["accuracy"]["value"] > 0.85
    assert metrics["baselines"]


def test_answering_with_the_graph_needs_no_torch(table_model) -> None:
    code = f"""
        import sys, vertune
        from pathlib import Path
        from vertune.core.artifact import Artifact
        from vertune.runtime.predictor import Predictor
        found = Predictor.open(Artifact(Path({str(table_model[2].folder)!r}))).answer({RECORDS!r})
        assert found[0]["label"] == "high", found
        assert not {{"torch", "transformers", "tokenizers"}} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


def test_a_changed_model_file_is_seen(table_model, tmp_path) -> None:
    import shutil

    from vertune.core.errors import ModelError

    folder = Path(shutil.copytree(table_model[2].folder, tmp_path / "copy"))
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(ModelError, match="graph of"):
        Predictor.open(Artifact(folder))


def test_a_bundle_holds_all_that_is_needed(table_model, tmp_path) -> None:
    from vertune.steps.bundle import bundle

    folder = bundle(table_model[1], tmp_path / "bundle")
    assert Predictor.open(Artifact(folder)).answer(RECORDS) == Predictor.open(table_model[1]).answer(RECORDS)


def test_the_onnx_export_answers_as_the_model_and_other_software_is_refused(table_model, tmp_path) -> None:
    from vertune.steps.export import export

    folder = export(table_model[1], "onnx", tmp_path / "onnx")
    assert {path.name for path in folder.iterdir()} >= {"model.onnx", "README.md"}
    for form in ("transformers", "sentence_transformers", "peft"):
        with pytest.raises(ConfigError, match="reads no token sequences"):
            export(table_model[1], form, tmp_path / form)


def test_a_backbone_is_not_shared_and_says_why(table_model) -> None:
    from vertune.steps.share import share

    home, model, _ = table_model
    (reason,) = share([model], home).values()
    assert "reads no token sequences" in reason


@pytest.mark.parametrize("method", ["head", "top_layers"])
def test_other_methods_train(table_model, method) -> None:
    from vertune.steps.prepare import prepare
    from vertune.steps.train import train

    settings = config(table_model[0], method=method, training={"epochs": 2, "refit": "never"})
    model = train(settings, prepare(settings, table_model[0]), table_model[0])
    assert Predictor.open(model).answer(RECORDS)


@pytest.mark.parametrize("method", ["lora", "prefix", "prompt"])
def test_methods_that_need_attention_are_refused(table_model, method) -> None:
    from vertune.steps.prepare import prepare
    from vertune.steps.train import train

    settings = config(table_model[0], method=method)
    with pytest.raises(ConfigError, match=r"Choose (the method )?full or"):
        train(settings, prepare(settings, table_model[0]), table_model[0])
