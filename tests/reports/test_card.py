from __future__ import annotations

import pytest
import yaml

from vertune.reports.card import base_licence, card, data_licence


@pytest.fixture
def base(tmp_path):
    folder = tmp_path / "base"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_text("{}")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Base\n")
    return folder


@pytest.fixture
def manifest(base, tmp_path):
    (tmp_path / "rows.csv").write_text("text,label\n")
    (tmp_path / "LICENSE").write_text("\n# Some Licence 1.0\nmore\n")
    return {
        "name": "topics",
        "id": "topics-1",
        "config": {
            "task": {"name": "classify", "labels": [f"label {place}" for place in range(50)]},
            "encoder": {"base": str(base), "max_tokens": 64, "truncation": "head_tail"},
            "method": {"name": "lora"},
            "data": {"source": {"name": "csv", "path": str(tmp_path / "rows.csv")}},
        },
        "metrics": {"validation": {"accuracy": 0.93, "mcc": 0.9}},
        "intervals": {"validation": {"accuracy": [0.92, 0.94]}},
        "chosen": {"why": "12 s were left", "epochs": 3.0, "refit": 120, "warnings": ["The time limit of 12 s was too short."]},
        "trained": 1000,
        "seed": 7,
        "versions": {"vertune": "0.1.0"},
        "data_hash": "abc",
    }


def test_a_card_says_what_a_reader_must_know(manifest, base):
    text = card(manifest, {"rows": {"train": 100, "validation": 20, "test": 0}})
    for wanted in (
        "# topics", 'vertune.load("topics-1")', "`label 0`", "and 10 more",
        "93.0\u00a0%", "92.0 to 94.0\u00a0%", "| 0.900 |", "100 train, 20 validation.",
        "`abc`", "`lora`, 1,000 trained weights", "12 s were left", "- The time limit of 12 s was too short.", "it reads both ends",
        "only 100 rows", "retrained on all labelled rows", "apache-2.0, as its own card states", "Some Licence 1.0",
        "Data: unknown", "Code, vertune: Apache-2.0", "not measured on test rows yet",
    ):  # fmt: skip
        assert wanted in text, wanted
    front = yaml.safe_load(text.split("---")[1])
    assert front == {"library_name": "vertune", "base_model": str(base), "license": "unknown", "tags": ["vertune", "classify"]}
    assert "\n\n\n" not in text


def test_what_is_not_known_is_said_to_be_unknown(manifest, tmp_path):
    bare = {
        "name": "topics",
        "id": "topics-1",
        "config": {"task": {"name": "regress"}, "encoder": {"base": str(tmp_path / "gone")}, "method": "full"},
    }
    text = card(bare)
    assert "not stated by the base" in text
    assert "Data: unknown" in text
    assert "It was not measured" in text


@pytest.mark.parametrize(("measured", "columns"), [({"log_loss": 0.4567}, 6), ({}, 5)])
def test_the_log_loss_of_candidates_has_a_column_if_it_was_measured(manifest, measured, columns):
    costs = {"low": None, "high": None, "rows": 96, "seconds": 1.0, "milliseconds": 2.0, "bytes": 10, "metric": "accuracy"}
    tried = [
        {"name": "probe", "value": 0.6, "kept": False, **costs},
        {"name": "contrastive", "value": 0.9, "kept": True, **costs, **measured},
    ]
    text = card({**manifest, "chosen": {**manifest["chosen"], "folds": 3, "tried": tried}})
    lines = text[text.index("| candidate |") :].splitlines()[:4]
    assert [line.strip("|").count("|") + 1 for line in lines] == [columns] * 4
    assert ("| log-loss |" in lines[0], "| 0.457 |" in lines[3]) == (bool(measured), bool(measured))


def test_a_table_without_intervals_has_no_column_for_them(manifest):
    text = card({**manifest, "intervals": {}})
    assert "95 % interval |" not in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {4}


@pytest.mark.parametrize(
    ("stated", "licence"), [(None, "unknown"), ("Apache-2.0", "apache-2.0"), ("cc-by-4.0", "other")], ids=["unknown", "equal", "different"]
)
def test_the_licence_of_the_base_is_not_that_of_the_model(manifest, stated, licence):
    manifest["config"]["data"]["licence"] = stated
    text = card(manifest)
    assert yaml.safe_load(text.split("---")[1])["license"] == licence
    assert f"Data: {stated or 'unknown'}" in text


def test_figures_of_test_rows_come_first_and_are_told_apart(manifest):
    entry = {"value": 0.895, "low": 0.88, "high": 0.91}
    evaluated = {
        "split": "test", "rows": 2000, "units": 2000, "goal": "accuracy", "lower_is_better": [], "metrics": {"accuracy": entry},
        "baselines": {"tfidf": {"accuracy": {"value": 0.92, "low": 0.91, "high": 0.93}}},
        "differences": {"tfidf": {"accuracy": {"value": -0.025, "low": -0.04, "high": -0.01}}},
        "verdicts": {"tfidf": {"winner": "baseline", "sentence": ""}},
    }  # fmt: skip
    text = card(manifest, {"rows": {"train": 100, "validation": 20, "test": 2000}}, evaluated)
    assert "89.5\u00a0%" in text
    assert text.index("**test** rows (2,000 rows)") < text.index("88.0 to 91.0") < text.index("**validation** rows (20 rows)")
    assert "Don't use this model" in text
    assert "not measured on test rows" not in text
    assert "\n\n\n" not in text


def test_a_licence_that_can_not_be_read_is_none(base, tmp_path):
    (base / "README.md").write_text("---\nlicense: [mit, apache-2.0]\n---\n")
    assert base_licence(str(base)) == "mit, apache-2.0"
    (base / "README.md").write_text("---\n: : :\n---\n")
    assert base_licence(str(base)) is None
    assert base_licence(None) is None
    assert data_licence(str(tmp_path / "nowhere" / "rows.csv")) is None
