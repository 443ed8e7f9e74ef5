"""Models of one base join one backbone, are proved against torch, gated in 8 bits; those that can't share get a graph of their own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from tests.conftest import unmeasured
from vertune.core.artifact import Artifact, Home
from vertune.core.config import load
from vertune.core.errors import MissingExtra, StorageError
from vertune.core.files import write_json
from vertune.core.kinds import Task
from vertune.core.parse import build
from vertune.data.dataset import of_model, records_of
from vertune.runtime import shared_store
from vertune.runtime.fleet import Fleet
from vertune.runtime.predictor import Predictor
from vertune.steps import share
from vertune.steps.fit import fit

METHODS = {
    "words": "{name: lora, layers: 1, rank: 2}", "heads": "head", "biases": "bitfit", "tops": "{name: top_layers, n: 1}", "whole": "full",
}  # fmt: skip
TEXTS = [{"text": text} for text in ("tell me of rome", "soup", "tell me 3 of paris and bread " * 3)]


@pytest.fixture(scope="module")
def home(fitted, run_yaml, tmp_path_factory) -> Home:
    """A home with one live vertical of each way to be served."""
    folder = tmp_path_factory.mktemp("shared") / "home"
    shutil.copytree(fitted[0].folder, folder)
    (folder / "aliases" / "support@live").unlink()
    made = Home(folder)
    for name, method in METHODS.items():
        text = (
            run_yaml.read_text()
            .replace("name: support", f"name: {name}")
            .replace("method: head", f"method: {method}\ncompress: {{tolerance: 1}}")
        )
        file = run_yaml.with_name(f"{name}.yaml")
        file.write_text(text)
        fit(load(file), made, accept=True)
    with pytest.MonkeyPatch.context() as patch:
        unmeasured(patch)
        assert not share.make_servable(list(Fleet(made).live().values()), made)
    return made


@pytest.fixture
def fleet(home) -> Fleet:
    found = Fleet(home, threads=1)
    assert not found.follow(found.live())
    return found


def test_all_but_the_whole_share_one_backbone(fleet) -> None:
    shared = {name: one.shared for name, one in fleet.deployments.items()}
    assert shared.pop("whole") is None
    assert len(set(shared.values())) == 1
    assert len({id(one.executor) for name, one in fleet.deployments.items() if one.shared and one.precision == "int8"}) == 1


@pytest.mark.parametrize("name", METHODS)
def test_float32_answers_as_torch_does(home, name) -> None:
    exact = Fleet(home, threads=1, exact=True)
    exact.follow(exact.live())
    alone = Predictor.open(home.get("models", name))
    served = exact.get(name)
    assert served.precision == ("int8" if name == "whole" else "float32")
    for ours, theirs in zip(served.predictor.answer(TEXTS), alone.answer(TEXTS), strict=True):
        if name != "whole":  # which was compressed, with no limit to what it may lose
            assert ours["label"] == theirs["label"]
            assert ours["probability"] == pytest.approx(theirs["probability"], abs=1e-4)


def test_torch_answers_as_the_graph_does(home) -> None:
    """The path for GPUs, here on the processor; layers of a model's own stay graphs."""
    graphs, torch = Fleet(home, threads=1, exact=True), Fleet(home, device="cpu", exact=True)
    for fleet in (graphs, torch):
        assert not fleet.follow(fleet.live())
    for name in ("words", "heads", "biases", "tops"):
        for ours, theirs in zip(torch.get(name).predictor.answer(TEXTS), graphs.get(name).predictor.answer(TEXTS), strict=True):
            assert ours["probability"] == pytest.approx(theirs["probability"], abs=1e-4)
    assert type(torch.get("words").executor.segments[0]).__module__.endswith("eager")
    assert type(torch.get("tops").executor.segments[0]).__module__.endswith("graph")


def test_the_gate_decides_the_precision(home) -> None:
    backbone = home.shelf("backbones")[-1]
    for name in ("words", "heads", "biases", "tops"):
        said = shared_store.read_verdict(backbone, home.get("models", name).id)
        assert said is not None
        assert said.precision == "int8", said.why  # the tolerance of these is 1
        assert said.loss is not None
        assert said.loss <= 1
        assert "validation" in said.why


@pytest.mark.parametrize("name", ["words", "heads", "biases", "tops"])
def test_how_many_labels_are_the_same_in_8_bits_is_said(home, name) -> None:
    backbone, model = home.shelf("backbones")[0], home.get("models", name)
    records = records_of(of_model(model.manifest, home), "validation", Task.model_validate(model.manifest["config"]["task"]))
    exact, small = (
        [
            answer["label"]
            for answer in shared_store.attach_model(shared_store.load_backbone(backbone, precision), backbone, model).answer(records)
        ]
        for precision in shared_store.PRECISIONS
    )
    said = shared_store.read_verdict(backbone, model.id)
    assert said is not None
    assert said.same == np.mean([ours == theirs for ours, theirs in zip(exact, small, strict=True)])


@pytest.mark.parametrize(
    ("task", "before", "after", "expected"),
    [
        ("classify", [{"label": "a", "probability": 0.9}] * 2, [{"label": "a", "probability": 0.8}, {"label": "b"}], 0.5),
        ("multilabel", [{"labels": ["u", "v"]}, {"labels": []}], [{"labels": ["v", "u"]}, {"labels": ["u"]}], 0.5),
        (
            "tag",
            [{"spans": [{"start": 0, "end": 2, "label": "X", "probability": 0.9}]}, {"spans": []}],
            [{"spans": [{"start": 0, "end": 2, "label": "X", "probability": 0.8}]}, {"spans": [{"start": 0, "end": 1, "label": "X"}]}],
            0.5,
        ),
        ("extract", [{"spans": [], "text": "", "probability": 0.9}], [{"spans": [], "text": "", "probability": 0.8}], 1.0),
        ("regress", [{"score": 1.0, "truncated": False}], [{"score": 9.0, "truncated": False}], None),
        ("embed", [{"vector": [1.0, 0.0], "truncated": False}], [{"vector": [1.0, 0.0], "truncated": False}], None),
    ],
)  # fmt: skip
def test_answers_agree_in_labels_and_spans(task, before, after, expected) -> None:
    assert share.agreement(build(Task, task), before, after) == expected


def test_a_broken_model_does_not_keep_the_others_back(home, tmp_path) -> None:
    shutil.copytree(home.folder, tmp_path / "home")
    other = Home(tmp_path / "home")
    live = Fleet(other).live()
    for backbone in other.shelf("backbones"):
        shutil.rmtree(backbone.folder / shared_store.VERTICALS)
    config = live["heads"].manifest["config"]
    live["heads"].update(config={**config, "encoder": {**config["encoder"], "base": str(tmp_path / "moved")}})
    (live["biases"].folder / "delta.safetensors").write_bytes(b"damaged")
    troubles = share.make_servable(list(live.values()), other)
    assert troubles.keys() == {live["heads"].id, live["biases"].id}
    assert "moved" in troubles[live["heads"].id]
    assert "delta.safetensors has changed" in troubles[live["biases"].id]
    fleet = Fleet(other, threads=1)
    assert [name for name, model in live.items() if not fleet.ready(model)] == ["biases", "heads"]


def test_a_model_that_fails_half_way_leaves_nothing_and_joins_later(home, tmp_path, monkeypatch) -> None:
    shutil.copytree(home.folder, tmp_path / "home")
    other = Home(tmp_path / "home")
    live = Fleet(other).live()
    models, backbone = [live["words"], live["biases"]], other.shelf("backbones")[0]
    folders = [backbone.folder / shared_store.VERTICALS / model.id for model in models]
    for folder in folders:
        shutil.rmtree(folder)
    gate = share._choose_precision

    def full(member, *given):
        if member.model.id == models[0].id:
            raise StorageError("The disk is full.")
        return gate(member, *given)

    with monkeypatch.context() as patch:
        patch.setattr(share, "find_backbone", lambda *given: backbone)
        patch.setattr(share, "_choose_precision", full)
        assert share.share(models, other) == {models[0].id: "The disk is full."}
    assert [folder.exists() for folder in folders] == [False, True]
    assert not share.share(models, other)
    assert all(Fleet(other).ready(model) for model in models)


def test_a_package_that_is_missing_concerns_all(home, monkeypatch) -> None:
    def missing(*given):
        raise MissingExtra("Sharing", "train")

    monkeypatch.setattr(share, "_load_member", missing)
    with pytest.raises(MissingExtra):
        share.make_servable(list(Fleet(home).live().values()), home)


def test_what_8_bits_spoil_is_served_in_float32(home, tmp_path, monkeypatch) -> None:
    """A model whose accuracy falls in 8 bits is refused by the gate, and says so."""
    shutil.copytree(home.folder, tmp_path / "home")
    other = Home(tmp_path / "home")
    shutil.rmtree(other.folder / "backbones")
    model = other.get("models", "words")
    config = model.manifest["config"]
    model.update(config={**config, "compress": {**config["compress"], "tolerance": 0.0}})
    small = shared_store.attach_model

    def spoilt(backbone, *given):
        opened = small(backbone, *given)
        if backbone.precision == "int8":
            opened.engine.place.head = {key: -value for key, value in opened.engine.place.head.items()}
        return opened

    monkeypatch.setattr(shared_store, "attach_model", spoilt)
    assert not share.share([model], other)
    said = shared_store.read_verdict(other.shelf("backbones")[-1], model.id)
    assert said is not None
    assert said.precision == "float32"
    assert "loses" in said.why


def test_a_model_that_answers_otherwise_than_alone_is_not_shared(home, tmp_path, monkeypatch) -> None:
    shutil.copytree(home.folder, tmp_path / "home")
    other = Home(tmp_path / "home")
    shutil.rmtree(other.folder / "backbones")
    rows = share.SharedEntry
    monkeypatch.setattr(share, "SharedEntry", lambda own, *more: rows({name: array + 0.1 for name, array in own.items()}, *more))
    refused = share.share([other.get("models", "words")], other)
    assert "differ from its outputs in torch by" in next(iter(refused.values()))


def test_a_model_that_fits_joins_without_a_new_graph(home, run_yaml) -> None:
    text = run_yaml.read_text().replace("name: support", "name: late").replace("method: head", "method: {name: lora, layers: 1, rank: 1}")
    file = run_yaml.with_name("late.yaml")
    file.write_text(text)
    fit(load(file), home)
    before = [one.id for one in home.shelf("backbones")]
    assert not share.share([home.get("models", "late")], home)
    assert [one.id for one in home.shelf("backbones")] == before
    wider = run_yaml.with_name("wider.yaml")
    wider.write_text(text.replace("name: late", "name: wider").replace("rank: 1", "rank: 5"))
    fit(load(wider), home)
    assert not share.share([home.get("models", "wider")], home)
    assert len(home.shelf("backbones")) == len(before) + 1
    for name in ("late", "wider"):
        home.unalias(f"{name}@live")


def test_answering_holds_no_torch(home) -> None:
    code = f"""
        import sys
        from vertune.core.artifact import Artifact, Home
        from vertune.runtime.fleet import Fleet
        fleet = Fleet(Home({str(home.folder)!r}))
        assert not fleet.follow(fleet.live())
        for name in {list(METHODS)!r}:
            assert fleet.get(name).predictor.answer([{{"text": "tell me of rome"}}])[0]["label"] in ("place", "food")
        assert not {{"torch", "transformers", "onnx", "polars", "sklearn"}} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


def test_graphs_of_their_own_leave_memory_and_come_back(home, tmp_path) -> None:
    from vertune.runtime.fleet import GraphCache

    model = [one for one in home.shelf("models") if (one.folder / "model.onnx").exists()][-1]
    keeper = GraphCache(limit=1, threads=1)
    first = keeper.graph(model)
    assert keeper.graph(model) is first
    shutil.copytree(model.folder, tmp_path / "other")
    keeper.graph(Artifact(tmp_path / "other"))
    assert "other" in keeper
    assert model.id not in keeper
    assert keeper.graph(model) is not first


def test_a_fleet_follows_the_aliases(home) -> None:
    fleet = Fleet(home, threads=1)
    live = fleet.live()
    fleet.follow(live)
    before = fleet.get("words")
    fleet.follow({name: model for name, model in live.items() if name != "heads"})
    assert "heads" not in fleet.deployments
    assert fleet.get("words") is before
    fleet.follow({**live, "words": live["heads"]})
    assert fleet.get("words").model.id == live["heads"].id


def test_a_damaged_backbone_is_told(home, tmp_path) -> None:
    shutil.copytree(home.folder, tmp_path / "home")
    other = Home(tmp_path / "home")
    model = other.get("models", "words")
    backbone = next(one for one in reversed(other.shelf("backbones")) if shared_store.read_verdict(one, model.id))
    (backbone.folder / "verticals" / model.id / "rows.safetensors").write_bytes(b"broken")
    fleet = Fleet(other, threads=1)
    assert "rows.safetensors has changed" in fleet.follow({"words": model})["words"]


def test_without_anything_to_learn_8_bits_from_float32_is_served(home, tmp_path) -> None:
    shutil.copytree(home.folder, tmp_path / "home")
    other = Home(tmp_path / "home")
    shutil.rmtree(other.folder / "backbones")
    shutil.rmtree(other.folder / "datasets")
    assert not share.share([other.get("models", "heads")], other)
    backbone = other.shelf("backbones")[-1]
    assert not (backbone.folder / "int8").exists()
    said = shared_store.read_verdict(backbone, other.get("models", "heads").id)
    assert said is not None
    assert said.precision == "float32"


def test_outputs_of_8_bits_do_not_depend_on_who_is_in_the_batch(fleet) -> None:
    executors: dict[int, list] = {}
    for one in fleet.deployments.values():
        if one.shared:
            executors.setdefault(id(one.executor), []).append(one)
    for served in executors.values():
        executor = served[0].executor
        feature = served[0].predictor.encoder.encode(TEXTS[:1], served[0].task.views(["text"]))[0]
        together = executor.compute([(feature, [one.slot for one in served])])[0]
        for one, output in zip(served, together, strict=True):
            np.testing.assert_allclose(executor.compute([(feature, [one.slot])])[0][0], output, atol=1e-4)


def test_the_command_says_what_it_did(home, capsys) -> None:
    from vertune.cli import main

    with pytest.raises(SystemExit) as left:
        main(["share", "--home", str(home.folder)])
    assert left.value.code == 0
    assert "words" in capsys.readouterr().out


def test_models_with_damaged_files_harm_no_other(home, tmp_path) -> None:
    """One with NaN among its weights, one without edits, one whose entry in the backbone can't be read, and a damaged backbone beside."""
    from safetensors.numpy import load_file, save_file

    shutil.copytree(home.folder, tmp_path / "home")
    other = Home(tmp_path / "home")
    words, heads, tops = (other.get("models", name) for name in ("words", "heads", "tops"))
    backbone = next(one for one in other.shelf("backbones") if shared_store.read_verdict(one, words.id))
    for model in (words, heads):
        shutil.rmtree(backbone.folder / "verticals" / model.id)
    (backbone.folder / "verticals" / tops.id / "served.json").write_bytes(b"\xff")
    tensors = load_file(words.folder / "delta.safetensors")
    name = next(iter(tensors))
    tensors[name] = np.full_like(tensors[name], np.nan)
    save_file(tensors, words.folder / "delta.safetensors")
    (heads.folder / "edits.json").write_text("[5]")
    broken = backbone.folder.with_name("broken-backbone")
    broken.mkdir()
    write_json(broken / "manifest.json", {**backbone.manifest, "created": "9999", "banks": 5})
    reasons = share.share([words, heads, tops], other)
    assert reasons.keys() == {words.id, heads.id}
    assert "NaN" in reasons[words.id] or "changed" in reasons[words.id]
    fleet = Fleet(other, threads=1)
    assert not fleet.follow({"tops": tops})


def test_where_no_backbone_can_be_made_for_all_each_model_is_tried_alone(home, tmp_path, monkeypatch) -> None:
    shutil.copytree(home.folder, tmp_path / "home")
    other = Home(tmp_path / "home")
    shutil.rmtree(other.folder / "backbones")
    words, heads = (other.get("models", name) for name in ("words", "heads"))
    make = share._make_backbone

    def fail(members, *given):
        if any(member.model.id == words.id for member in members):
            raise ValueError("a shape that no graph has")
        return make(members, *given)

    monkeypatch.setattr(share, "_make_backbone", fail)
    reasons = share.share([words, heads], other)
    assert reasons.keys() == {words.id}
    assert "a shape that no graph has" in reasons[words.id]
    assert len(other.shelf("backbones")) == 1
