"""What the encoder has read of a dataset's splits, stored beside the rows, so that each text is tokenised once; knows no encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from vertune.core.artifact import Artifact
from vertune.core.kinds import Encoder, Task, Tokens

FOLDER = "tokens"
"""The folder of a dataset that holds a safetensors file a split."""
_SLICE = 100_000
"""Rows that are records at a time, so that a large frame is not held twice."""


def read(encoder: Encoder, task: Task, frames: Mapping[str, pl.DataFrame], columns: Sequence[str]) -> dict[str, Tokens]:
    """What the encoder reads of each split that has rows; nothing where the encoder keeps nothing.

    `columns` are the task's columns that hold values in the training rows: they decide the task's views, and with them the fields.
    """
    fields = list(dict.fromkeys(field for view in task.views(columns) for field in view.fields))
    tokens: dict[str, Tokens] = {}
    for name, frame in frames.items():
        present = frame.select([field for field in fields if field in frame.columns])
        for part in present.iter_slices(_SLICE):
            read_now = encoder.read(part.to_dicts(), fields)
            if read_now is not None:
                tokens[name] = tokens[name].joined(read_now) if name in tokens else read_now
    return tokens


def write(folder: Path, tokens: Mapping[str, Tokens]) -> None:
    """Write them into the folder of a dataset; StorageError when the disk is full."""
    for name, split in tokens.items():
        split.save(folder / FOLDER / f"{name}.safetensors")


def load(dataset: Artifact, split: str, encoder: Encoder) -> Tokens | None:
    """The tokens of a split; None where the dataset has none, or another tokenizer made them."""
    file = dataset.folder / FOLDER / f"{split}.safetensors"
    return encoder.load_tokens(file) if file.exists() else None
