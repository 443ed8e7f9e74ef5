from __future__ import annotations

import shutil

import polars as pl
import pytest

from vertune.core.artifact import Home
from vertune.core.config import load
from vertune.data import dataset
from vertune.steps.compare import compare
from vertune.steps.export import export
from vertune.steps.fit import fit
from vertune.steps.predict import predict_file


@pytest.mark.parametrize("name", ["项目 [a-z] #1 100%25 {x} *? 'q'"])
def test_a_project_folder_can_have_any_name(table, tiny_base, tmp_path, name):
    """Brackets in the path once were a pattern for the library that reads the datasets: "the dataset is damaged"."""
    folder = tmp_path / name
    folder.mkdir()
    shutil.copy(table, folder / "rows [1].csv")
    shutil.copytree(tiny_base, folder / "base")
    (folder / "run.yaml").write_text(
        "name: support\ndata: {source: 'rows [1].csv', fields: {text: query, label: kind}}\n"
        "base: base\nmethod: lora\ntraining: {epochs: 1, refit: never}\n"
    )
    home = Home(folder / ".vertune")
    fit(load(folder / "run.yaml", ["data.keep=[channel]"]), home)
    assert dataset.read(home.get("datasets", "support"), "train").height > 30
    model, report = home.get("models", "support"), home.get("reports", "support")
    for suffix in ("csv", "jsonl", "parquet"):
        assert not predict_file(model, table, folder / f"answers *.{suffix}").errors
    assert pl.read_parquet(folder / "answers *.parquet", glob=False).height == 60
    compare(report, report)
    for form in ("onnx", "peft"):
        export(model, form, folder / f"as [{form}]")
