from __future__ import annotations

import os

import pytest

from vertune.core.config import load
from vertune.core.errors import NotFound
from vertune.steps.fit import prepared
from vertune.steps.train import train


def test_a_dataset_is_used_again_until_its_file_or_its_columns_change(home, fitted, table, run_yaml, tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / table.name).write_bytes(table.read_bytes())
    (folder / "run.yaml").write_bytes(run_yaml.read_bytes())
    config = load(folder / "run.yaml")
    first = prepared(config, home)
    assert prepared(config, home) == first
    other = folder / "other.csv"
    other.write_bytes(table.read_bytes())
    os.utime(other, (1e9, 1e9))
    other.replace(folder / table.name)  # its time of writing is long past
    assert prepared(config, home) != first
    sliced = prepared(config.model_copy(update={"slices": ["channel"]}), home)
    assert sliced.manifest["config"]["slices"] == ["channel"]


def test_a_run_that_was_killed_before_its_manifest_is_no_obstacle(home, run_yaml):
    (home.folder / "runs" / "support-20990101-000000-abcd").mkdir(parents=True)
    config = load(run_yaml)
    dataset = prepared(config, home, resume=True)
    with pytest.raises(NotFound, match="without --resume"):
        train(config, dataset, home, resume=True)


def test_a_damaged_dataset_is_no_obstacle(home, run_yaml):
    config = load(run_yaml)
    damaged = prepared(config, home)
    (damaged.folder / "manifest.json").write_text('{"format": 1, "id"')
    assert prepared(config, home).id != damaged.id
