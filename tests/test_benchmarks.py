"""The accuracy table measures what it says: rows that parse, splits that others can rebuild, honest summaries."""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest

from vertune.core.config import Config
from vertune.core.errors import ConfigError
from vertune.core.files import read_json
from vertune.core.parse import build

ROOT = Path(__file__).resolve().parents[1]


def _module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


sys.path.insert(0, str(ROOT / "benchmarks"))  # its scripts import one another
accuracy, figures, measured_rows = _module("accuracy"), _module("figures"), _module("measured_rows")
ROWS = accuracy.rows()


def _row(**changes: Any) -> Any:
    given = {"about": "toy", "data": [], "config": {}, "seeds": [0, 1], "metric": "accuracy"}
    return build(accuracy.Row, {**given, **changes})


def _measured(value: float, baseline: float) -> dict[str, Any]:
    entry = {"value": value, "low": value - 0.01, "high": value + 0.02}
    gap = value - baseline
    return {
        "metrics": {"accuracy": entry},
        "baselines": {
            "majority": {"accuracy": {"value": 0.1}},
            "tfidf": {"accuracy": {"value": baseline}},
            "odd": {"accuracy": {"value": None}},
        },
        "differences": {name: {"accuracy": {"value": gap, "low": gap - 0.02, "high": gap + 0.02}} for name in ("majority", "tfidf", "odd")},
    }


@pytest.mark.parametrize("name", ROWS)
def test_row_is_a_config_that_can_run(name: str) -> None:
    row = ROWS[name]
    data = {
        **row.config.get("data", {}),
        "source": {"name": "parquet", "path": "rows.parquet"},
        "split": {"name": "given", "by": accuracy.SPLIT},
    }
    config = build(Config, {**row.config, "name": f"{name}-0", "data": data})
    assert row.metric in config.task.metrics
    assert row.near is None or row.near.row in ROWS


@pytest.mark.parametrize("name", ROWS)
def test_row_finds_its_rows(name: str) -> None:
    if not accuracy.data_folder().exists():
        pytest.skip(f"there are no data sets in {accuracy.data_folder()}; set VERTUNE_DATA")
    frame = accuracy.table(ROWS[name], ROWS[name].seeds[0], limit=40)
    wanted = {
        part
        for columns in ROWS[name].config.get("data", {}).get("fields", {}).values()
        for part in ([columns] if isinstance(columns, str) else columns)
    }
    assert wanted <= set(frame.columns)
    assert {"train", "test"} <= set(frame[accuracy.SPLIT])
    assert frame[accuracy.SPLIT].value_counts()["count"].max() <= 40


def test_a_hash_divides_as_the_published_rule() -> None:
    assert accuracy.bucket("") == 0xDA39A3EE5E6B4B0D3255BFEF95601890AFD80709 % 10
    folder = accuracy.data_folder() / "financial_phrasebank"
    if not folder.exists():
        pytest.skip(f"there is no {folder}; set VERTUNE_DATA")
    counts = dict(accuracy.table(ROWS["phrasebank-full"], 0)[accuracy.SPLIT].value_counts().iter_rows())
    assert counts == {"train": 1589, "validation": 215, "test": 460}


def test_drawn_rows_are_of_every_label_and_follow_the_seed() -> None:
    train = [("train", f"row {row}", "abc"[row % 3]) for row in range(60)]
    frame = pl.DataFrame([*train, *[("test", f"test {row}", "a") for row in range(5)]], [accuracy.SPLIT, "text", "label"], orient="row")
    draw = accuracy.Draw(rows=4, per="label")
    drawn = [accuracy._draw(frame, draw, seed) for seed in (0, 0, 1)]
    assert drawn[0].equals(drawn[1])
    assert not drawn[0].equals(drawn[2])
    assert drawn[0].filter(pl.col(accuracy.SPLIT) == "train")["label"].value_counts()["count"].to_list() == [4, 4, 4]
    assert drawn[0].filter(pl.col(accuracy.SPLIT) == "test").height == 5


def test_labels_that_only_one_side_has_are_left_out() -> None:
    frame = pl.DataFrame({"topics": [["a", "b"], ["c"], ["a", "d"], ["b", "z"]], accuracy.SPLIT: ["train", "train", "test", "unused"]})
    assert accuracy._shared(frame, "topics")["topics"].to_list() == [["a"], [], ["a"], []]


def test_a_misspelt_key_of_a_row_is_refused() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'metric'"):
        _row(metrik="accuracy")


def test_summary_takes_the_mean_and_the_strongest_baseline() -> None:
    result = accuracy.summary("toy", _row(bar=0.85), {"0": _measured(0.8, 0.7), "1": _measured(0.9, 0.75)})
    assert result["mean"] == pytest.approx(0.85)
    assert (result["low"], result["high"]) == (pytest.approx(0.84), pytest.approx(0.87))
    assert result["baseline"]["name"] == "tfidf"
    assert result["baseline"]["difference"]["low"] == pytest.approx(0.105)
    assert result["met"] is True


def test_a_bar_is_judged_on_all_seeds_only() -> None:
    one = {"0": _measured(0.9, 0.7)}
    assert accuracy.summary("toy", _row(bar=0.85), one)["met"] is None
    two = {**one, "1": _measured(0.7, 0.72)}
    assert accuracy.summary("toy", _row(bar=0.85), two)["met"] is False
    assert accuracy.summary("toy", _row(beats=True), two)["met"] is True
    assert accuracy.summary("toy", _row(beats=True, seeds=[0]), {"0": _measured(0.71, 0.7)})["met"] is False
    assert accuracy.summary("toy", _row(), two)["met"] is None


def test_figures_are_written_as_the_field_writes_them() -> None:
    assert figures._figure("accuracy", 0.93456) == "93.5"
    assert figures._figure("pearson", 0.8765) == "0.876"
    page = "before\n<!-- figures: accuracy -->\nstale words\n<!-- /figures -->\nafter\n"
    new = figures.filled(page, "en")
    assert new.startswith("before\n")
    assert new.endswith("<!-- /figures -->\nafter\n")
    assert "stale words" not in new
    assert all(f"`{name}`" in new for name in ROWS)
    assert figures.filled(new, "en") == new


def test_results_name_the_processor_and_the_day() -> None:
    recorded = _module("processor").measured_here()
    assert recorded["cpu"]["model"]
    assert recorded["cpu"]["cores"] >= 1
    assert figures.machines({"machine": recorded}).startswith(f"Processor: {recorded['cpu']['model']}")
    assert recorded["date"] in figures.machines(recorded)
    assert figures.machines({"seconds": 1.0}) == "Processor: not recorded."
    assert "Not recorded for 1 of 2 entries." in figures.machines(recorded, {})


@pytest.mark.parametrize(
    ("model", "flags", "shown"),
    [
        ("AMD EPYC", ["avx2", "avx512f", "avx512_bf16", "avx512_vp2intersect"], "AMD EPYC (Zen 5), 2 cores (AVX2, AVX-512, BF16)"),
        ("AMD EPYC", ["avx2", "avx512f", "avx512_bf16"], "AMD EPYC (Zen 4), 2 cores (AVX2, AVX-512, BF16)"),
        ("Intel(R) Xeon(R) Processor", ["avx512f", "amx_bf16"], "Xeon(R) Processor (Sapphire or Emerald Rapids), 2 cores (AVX-512, AMX)"),
        ("Intel(R) Xeon(R) Platinum 8481C", ["amx_bf16"], "Xeon(R) Platinum 8481C, 2 cores (AMX)"),
        ("Some Processor", ["avx2"], "Some Processor, 2 cores (AVX2)"),
    ],
)
def test_a_processor_without_a_number_is_named_by_its_generation(model: str, flags: list[str], shown: str) -> None:
    assert shown in figures.machines({"date": "2026-01-01", "cpu": {"model": model, "cores": 2, "flags": flags}})


def _repository(folder: Path) -> Path:
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "a.py").write_text("x = 1\n")
    return folder


def test_a_row_joins_those_that_were_measured_meanwhile(tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    assert measured_rows.read(out) == {}
    measured_rows.add(out, "a", {"gain": 1.0})
    measured_rows.add(out, "b", {"gain": 3.0}, lambda rows: {"mean": sum(one["gain"] for one in rows.values()) / len(rows)})
    stored = read_json(out)
    assert (stored["rows"], stored["mean"]) == ({"a": {"gain": 1.0}, "b": {"gain": 3.0}}, 2.0)
    assert {"date", "cpu"} < set(stored)
    assert measured_rows.read(out) == stored["rows"]


def test_the_code_is_named_by_its_commit_or_by_a_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    processor = _module("processor")
    outside = processor.code(_repository(tmp_path / "copy"))
    assert (outside["commit"], outside["changed"]) == (None, None)
    (tmp_path / "copy" / "src" / "a.py").write_text("x = 2\n")
    assert processor.code(tmp_path / "copy")["source_hash"] != outside["source_hash"]
    inside = _repository(tmp_path / "checkout")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "First"]):
        subprocess.run([*git, *command], cwd=inside, check=True)
    assert processor.code(inside)["changed"] is False
    assert len(processor.code(inside)["commit"]) == 40
    (inside / "src" / "a.py").write_text("x = 2\n")
    assert processor.code(inside)["changed"] is True
    assert processor.code(_repository(inside / "copy"))["commit"] is None  # the commit of another project says nothing
    monkeypatch.setenv("PATH", "")
    assert processor.code(inside)["commit"] is None


def test_a_measured_seed_is_kept_outside_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import processor

    monkeypatch.setattr(processor, "_git", lambda *command: None)
    monkeypatch.setattr(accuracy, "RESULTS", tmp_path)
    monkeypatch.setattr(accuracy, "measure", lambda *given: _measured(0.9, 0.8))
    options = argparse.Namespace(seeds=[0], again=False, limit=None, set=[], split="test")
    accuracy.measure_row("toy", _row(), options)
    assert read_json(tmp_path / "toy.json")["seeds"]["0"]["source_hash"] == processor.source_hash()
