"""Tokens of a dataset's splits: read once, stored."""

from __future__ import annotations

import polars as pl
import pytest

from vertune.core.artifact import Artifact
from vertune.data import tokens
from vertune.encoders.table import Table
from vertune.encoders.text import Text
from vertune.tasks.classify import Classify

FRAMES = {
    name: pl.DataFrame({"text": [f"tell me of {word}" for word in words], "label": ["place", "food"] * 2})
    for name, words in {"train": ["rome", "bread", "paris", "soup"], "validation": ["paris", "rice", "oslo", "tea"]}.items()
}


@pytest.fixture
def encoder(tiny_base) -> Text:
    return Text(base=str(tiny_base))


def test_splits_are_stored_and_found_again(encoder, tmp_path) -> None:
    tokens.write(tmp_path, tokens.read(encoder, Classify(), {**FRAMES, "test": FRAMES["train"].clear()}, ["text", "label"]))
    (tmp_path / "manifest.json").write_text('{"format": 1}')
    dataset = Artifact(tmp_path)
    found = tokens.load(dataset, "train", encoder)
    assert found is not None
    assert len(found) == 4
    assert tokens.load(dataset, "test", encoder) is None


def test_an_encoder_that_keeps_nothing_stores_nothing(tmp_path) -> None:
    task = Classify(inputs={"age": "number"})
    assert tokens.read(Table(), task, {"train": pl.DataFrame({"age": [1.0, 2.0]})}, ["age"]) == {}
