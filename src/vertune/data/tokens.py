"""Computes, writes and loads the token ids of a dataset's texts, so that each text is tokenised only once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from vertune.core.artifact import Artifact
from vertune.core.columns import only
from vertune.core.integrity import FILES
from vertune.core.kinds import Encoder, Task, Tokens

FOLDER = "tokens"
"""Name of the dataset's subfolder with the tokens, one safetensors file per split."""
_SLICE = 100_000
"""Number of rows that are converted to records at once, to limit memory."""


def read(encoder: Encoder, task: Task, frames: Mapping[str, pl.DataFrame], columns: Sequence[str]) -> dict[str, Tokens]:
    """Tokenise the texts of each split; return a mapping from the name of a split to its tokens.

    The mapping is empty if the encoder has no tokenizer. `columns` are the task's columns that have values in the training rows: they
    decide which fields the model reads, and only these fields are tokenised.
    """
    fields = list(dict.fromkeys(field for view in task.views(columns) for field in view.fields))
    tokens: dict[str, Tokens] = {}
    for name, frame in frames.items():
        present = only(frame, [field for field in fields if field in frame.columns])
        for part in present.iter_slices(_SLICE):
            read_now = encoder.read(part.to_dicts(), fields)
            if read_now is not None:
                tokens[name] = tokens[name].joined(read_now) if name in tokens else read_now
    return tokens


def write(folder: Path, tokens: Mapping[str, Tokens]) -> None:
    """Write the tokens of each split into the folder of a dataset; raise StorageError if the disk is full."""
    for name, split in tokens.items():
        split.save(folder / FOLDER / f"{name}.safetensors")


def load(dataset: Artifact, split: str, encoder: Encoder) -> Tokens | None:
    """Load the stored tokens of a split; return None if the dataset has none, or if another tokenizer made them.

    Raises StorageError if the file is missing or has changed.
    """
    name = f"{FOLDER}/{split}.safetensors"
    file = dataset.folder / name
    if name not in dataset.manifest_or_empty.get(FILES, ()) and not file.exists():
        return None
    dataset.check_files([name])
    return encoder.load_tokens(file)
