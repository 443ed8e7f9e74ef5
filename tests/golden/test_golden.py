"""Artifacts written by each format version keep loading and answer as they did."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vertune.core.artifact import FORMAT, Artifact
from vertune.data.dataset import read
from vertune.runtime.predictor import Predictor

VERSIONS = sorted(path for path in Path(__file__).parent.glob("v*") if path.is_dir())


def test_every_format_has_its_golden_artifacts():
    assert [path.name for path in VERSIONS] == [f"v{number}" for number in range(1, FORMAT + 1)]


@pytest.mark.parametrize("folder", VERSIONS, ids=lambda path: path.name)
def test_a_model_answers_as_it_did(folder, monkeypatch):
    monkeypatch.chdir(folder)  # the manifest names its base by a relative path
    cases = json.loads((folder / "answers.json").read_text())
    answers = Predictor.open(Artifact(folder / "model")).answer([case["record"] for case in cases])
    for case, answer in zip(cases, answers, strict=True):
        assert answer["label"] == case["answer"]["label"]
        assert answer["probability"] == pytest.approx(case["answer"]["probability"], abs=1e-4)


@pytest.mark.parametrize("folder", VERSIONS, ids=lambda path: path.name)
def test_a_compressed_model_answers_as_it_did(folder):
    cases = json.loads((folder / "small" / "answers.json").read_text())
    answers = Predictor.open(Artifact(folder / "small" / "model")).answer([case["record"] for case in cases])
    for case, answer in zip(cases, answers, strict=True):
        assert answer["label"] == case["answer"]["label"]
        assert answer["probability"] == pytest.approx(case["answer"]["probability"], abs=5e-3)  # 8 bits round otherwise elsewhere


@pytest.mark.parametrize("folder", VERSIONS, ids=lambda path: path.name)
def test_a_dataset_is_read(folder):
    dataset = Artifact(folder / "dataset")
    assert {split: read(dataset, split).height for split in ("train", "validation", "test")} == dataset.manifest["rows"]
