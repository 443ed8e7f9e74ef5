from __future__ import annotations

import pytest

from vertune.core.config import Config, build, dump, load, override
from vertune.core.errors import ConfigError, NotFound


def test_base_at_the_top_is_short_for_the_encoders_option():
    short = build(Config, {"data": {}, "base": "some/base"})
    long = build(Config, {"data": {}, "encoder": {"name": "text", "base": "some/base"}})
    assert short == long


def test_a_resolved_config_runs_again_as_it_is():
    config = build(
        Config, {"data": {"source": "a.csv", "fields": {"text": ["a", "b"]}}, "method": {"name": "lora", "rank": 4}, "task": "match"}
    )
    assert build(Config, dump(config)) == config


def test_auto_is_a_method_and_a_typo_is_not():
    assert build(Config, {"data": {}}).method == "auto"
    with pytest.raises(ConfigError, match="Did you mean 'lora'"):
        build(Config, {"data": {}, "method": "loraa"})


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"data": {}, "trainning": {}}, "Did you mean 'training'"),
        ({"data": {}, "training": {"epoch": 3}}, r"'training.epoch'.*Did you mean 'epochs'"),
        ({"data": {}, "training": {"batch": 0}}, "'training.batch' is 0"),
        ({"data": {}, "training": {"epochs": -1}}, "is -1"),
        ({"data": {}, "training": {"epochs": float("inf")}}, "is inf"),
        ({"data": {}, "optimiser": {"rate": 0}}, "is 0"),
        ({"data": {}, "base": "one", "encoder": {"name": "text", "base": "other"}}, "names two pretrained models"),
        ({"data": {}, "name": "../x"}, "expected 1 to 80 characters"),
        ({}, "'data' is missing"),
        ({"data": {"source": "a.unknown"}}, "No source reads files"),
    ],
)
def test_mistakes_are_named(value, says):
    with pytest.raises(ConfigError, match=says):
        build(Config, value)


def test_override_reaches_into_a_part_that_was_given_by_name():
    assert override({"method": "lora"}, ["method.rank=16"]) == {"method": {"name": "lora", "rank": 16}}
    assert override({}, ["training.batch=8", "seed=3"]) == {"training": {"batch": 8}, "seed": 3}
    assert override({}, ["data.source=/my data #1/*.csv", "name=*.csv"]) == {"data": {"source": "/my data #1/*.csv"}, "name": "*.csv"}
    with pytest.raises(ConfigError, match="key=value"):
        override({}, ["batch"])
    with pytest.raises(ConfigError, match="'x' inside the value 3"):
        override({"seed": 3}, ["seed.x=1"])


def test_paths_in_a_file_are_relative_to_the_file(tmp_path):
    (tmp_path / "run.yaml").write_text("data: {source: train.csv}\nbase: here\n")
    (tmp_path / "here").mkdir()
    config = load(tmp_path / "run.yaml")
    assert config.data.source.path == str(tmp_path / "train.csv")
    assert config.encoder.base == str(tmp_path / "here")
    (tmp_path / "run.yaml").write_text("data: {}\nencoder: {name: text, base: here}\n")
    assert load(tmp_path / "run.yaml").encoder.base == str(tmp_path / "here")


def test_a_hub_id_is_no_path_unless_it_is_there(tmp_path):
    (tmp_path / "run.yaml").write_text("data: {source: {name: huggingface, path: owner/name}}\n")
    assert load(tmp_path / "run.yaml").data.source.path == "owner/name"
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert load(tmp_path / "run.yaml").data.source.path == str(tmp_path / "owner" / "name")


def test_a_missing_or_broken_file_is_said(tmp_path):
    with pytest.raises(NotFound, match="vertune init"):
        load(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- a\n")
    with pytest.raises(ConfigError, match="mapping"):
        load(tmp_path / "list.yaml")
    (tmp_path / "broken.yaml").write_text("a: [\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load(tmp_path / "broken.yaml")
