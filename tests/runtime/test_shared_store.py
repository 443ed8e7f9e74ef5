"""Damaged files of a backbone and of its models: refused when they are loaded, in the verticals that read them and in no other."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from vertune.core import integrity
from vertune.core.artifact import Artifact, Home
from vertune.runtime.fleet import Fleet

SHARED = {"intent", "spans", "find", "faq"}
"""The verticals on the backbone; `whole` has its own graph."""


def parts(home: Home, name: str = "intent"):
    """The backbone, the entry of a vertical on it, and its model."""
    backbone, model = home.shelf("backbones")[-1], Fleet(home).live()[name]
    return backbone, backbone.folder / "verticals" / model.id, model


def followed(home: Home, **options) -> tuple[Fleet, dict[str, str]]:
    served = Fleet(home, threads=1, **options)
    return served, served.follow(served.live())


def flip(file) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0x10
    file.write_bytes(content)


def edit_rows(entry, change, seal: bool = False) -> None:
    """Change the head in an entry's rows; `seal` writes the hashes that fit, as if a faulty program had written the entry."""
    tensors = load_file(entry / "rows.safetensors")
    head = {name: change(array) for name, array in tensors.items() if name.startswith("head/")}
    save_file({**tensors, **{name: np.ascontiguousarray(array) for name, array in head.items()}}, entry / "rows.safetensors")
    if seal:
        edit_served(entry, lambda served: served["files"].update({"rows.safetensors": integrity.cached_hash(entry / "rows.safetensors")}))


def edit_served(entry, change) -> None:
    served = json.loads((entry / "served.json").read_text())
    change(served)
    (entry / "served.json").write_text(json.dumps(integrity.sealed(served)))


def strip_hashes(entry) -> None:
    """Make an entry what an older version wrote."""
    served = json.loads((entry / "served.json").read_text())
    for name in ("files", "checksum", "model"):
        del served[name]
    (entry / "served.json").write_text(json.dumps(served))
    (entry / "reference.json").unlink()


def nan(array):
    return np.full_like(array, np.nan)


def others_are_served(served: Fleet, errors: dict[str, str], alone, missing: set[str]) -> None:
    assert errors.keys() == missing
    assert served.deployments.keys() == {*SHARED, "whole"} - missing
    for name in {"intent", "spans"} - missing:
        record = [{"text": "tell me of rome and bread"}]
        ours, theirs = (json.loads(json.dumps(one)) for one in (served.get(name).predictor.answer(record), alone(name, record)))
        assert ours[0].get("label") == theirs[0].get("label")


def test_head_rows_in_another_order_or_without_numbers_are_refused(home, alone):
    _, entry, _ = parts(home)
    kept = (entry / "rows.safetensors").read_bytes()
    for change in (lambda array: array[::-1], nan, lambda array: array[:1]):
        edit_rows(entry, change)
        served, errors = followed(home)
        others_are_served(served, errors, alone, {"intent"})
        assert "rows.safetensors has changed" in errors["intent"]
        (entry / "rows.safetensors").write_bytes(kept)
    assert not followed(home)[1]


@pytest.mark.parametrize(
    ("change", "why"),
    [(nan, "NaN or infinity"), (lambda array: array[:1], "has 1 outputs, but its task expects 2"), (lambda array: array[..., :1], "sizes")],
)
def test_weights_that_can_not_be_right_are_found_at_load_without_hashes(home, alone, change, why):
    _, entry, _ = parts(home)
    strip_hashes(entry)
    assert not followed(home)[1]  # what an older version wrote is served
    edit_rows(entry, change)
    served, errors = followed(home)
    others_are_served(served, errors, alone, {"intent"})
    assert why in errors["intent"]


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_flipped_bit_in_a_graph_stops_the_verticals_that_read_it(home, precision):
    backbone, _, _ = parts(home)
    exact = precision == "float32"
    read = {name for name, one in followed(home, exact=exact)[0].deployments.items() if one.shared and one.precision == precision}
    assert read
    files = sorted((backbone.folder / precision).iterdir())
    for file in files:
        kept = file.read_bytes()
        flip(file)
        _, errors = followed(home, exact=exact)
        assert errors.keys() == read
        assert all(f"{file} has changed" in why for why in errors.values())
        file.write_bytes(kept)


def test_a_changed_tokenizer_stops_the_verticals_that_read_it(home):
    backbone, _, _ = parts(home)
    tokenizer = backbone.folder / "base" / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace("rome", "rohm"))
    assert followed(home)[1].keys() == SHARED
    shutil.copy(tokenizer, tokenizer.with_name("tokenizer.copy"))
    tokenizer.write_text(tokenizer.read_text().replace("rohm", "rome"))
    assert "not listed" in followed(home)[1]["intent"]


def test_a_graph_of_its_own_is_checked_with_its_tokenizer(home):
    graph = next(one for one in home.shelf("models") if (one.folder / "model.onnx").exists())
    for file in (graph.folder / "model.onnx", graph.folder / "base" / "tokenizer.json", graph.folder / "base" / "config.json"):
        kept = file.read_bytes()
        flip(file)
        served, errors = followed(home)
        assert errors.keys() == {"whole"}
        assert file.name in errors["whole"] or "graph" in errors["whole"]
        assert served.deployments.keys() == SHARED
        file.write_bytes(kept)
    assert not followed(home)[1]


def test_files_and_folders_of_two_models_that_were_swapped_are_refused(home):
    (_, ours, _), (_, theirs, _) = parts(home, "intent"), parts(home, "spans")
    away = ours.with_name("away")
    for names in (["rows.safetensors"], ["served.json", "reference.json"]):
        for name in names:
            (ours / name).rename(away)
            (theirs / name).rename(ours / name)
            away.rename(theirs / name)
        assert followed(home)[1].keys() == {"intent", "spans"}
    assert "made for another model" in followed(home)[1]["intent"]


def test_labels_that_change_in_the_manifest_are_refused(home):
    _, _, model = parts(home)
    file = model.folder / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["config"]["task"]["labels"].reverse()
    file.write_text(json.dumps(manifest))
    assert "manifest.json has changed" in followed(home)[1]["intent"]
    file.write_text(json.dumps(integrity.sealed(manifest)))
    assert "its manifest has changed since" in followed(home)[1]["intent"]


def test_an_older_copy_of_rows_is_refused(home):
    """From the other model of the vertical: the same names and shapes."""
    _, entry, model = parts(home)
    older = next(one for one in home.shelf("models") if one.manifest["name"] == "intent" and one.id != model.id)
    shutil.copy(entry.parent / older.id / "rows.safetensors", entry)
    assert followed(home)[1].keys() == {"intent"}


def test_a_model_that_computes_something_else_never_goes_live(home, alone):
    """Its hashes fit; its reference outputs don't. The previous model goes on."""
    _, entry, model = parts(home)
    other = next(one for one in home.shelf("models") if one.manifest["name"] == "intent" and one.id != model.id)
    served = Fleet(home, threads=1)
    assert not served.follow({**served.live(), "intent": other})
    edit_rows(entry, lambda array: array[::-1], seal=True)
    errors = served.follow(served.live())
    assert errors.keys() == {"intent"}
    assert "reference texts differ by" in errors["intent"]
    assert served.get("intent").model.id == other.id
    assert not served.get("intent").health.fault
    served.get("intent").check()


def test_a_reference_that_is_damaged_or_of_other_shapes_is_refused(home):
    _, entry, _ = parts(home)
    file = entry / "reference.json"
    content = json.loads(file.read_text())
    shorter = {**content, "outputs": {name: rows[:-1] for name, rows in content["outputs"].items()}}
    for changed, why in (({}, "is damaged"), ([], "is damaged"), (shorter, "other tokens")):
        file.write_text(json.dumps(changed))
        edit_served(entry, lambda served: served["files"].update({file.name: integrity.cached_hash(file)}))
        assert why in followed(home)[1]["intent"]


def test_a_graph_that_changed_while_it_was_out_of_memory_is_refused(home, tmp_path):
    from vertune.core.errors import StorageError
    from vertune.runtime.fleet import GraphCache

    graph = next(one for one in home.shelf("models") if (one.folder / "model.onnx").exists())
    shutil.copytree(graph.folder, tmp_path / "other")
    cache = GraphCache(limit=1, threads=1)
    cache.graph(graph)
    cache.graph(Artifact(tmp_path / "other"))
    flip(graph.folder / "model.onnx")
    with pytest.raises(StorageError, match=r"model\.onnx has changed"):
        cache.graph(graph)
