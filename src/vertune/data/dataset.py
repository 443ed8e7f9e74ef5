"""Reads and writes the files of a dataset: one Parquet file per split, and the list of rejected rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from vertune.core import content
from vertune.core.artifact import Artifact, Home
from vertune.core.columns import only
from vertune.core.documents import lines
from vertune.core.errors import NotFound, StorageError, first_line, machine_error
from vertune.core.files import storage_errors, write_text
from vertune.core.integrity import FILES
from vertune.core.kinds import Task
from vertune.core.records import Record

SPLITS = ("train", "validation", "test")
MARKS = ("__file", "__row")
"""Names of the columns with the origin of each row: its file, and its number in the file, counted from 1."""
ROUND, TRUST = "__round", "__trust"
"""Names of the columns that a retraining adds: the number of the retraining that added a row, 0 for those of the first dataset; and how
much a training row counts, from 0 to 1."""
GOLD = "gold"
"""Name of the rows by which each later model of a vertical is judged; they are test rows, and stay the same."""


def read(dataset: Artifact, split: str) -> pl.DataFrame:
    """Read the rows of one split; raise NotFound if there is no such split, StorageError if its file is damaged."""
    path = dataset.folder / f"{split}.parquet"
    if path.name in dataset.manifest_or_empty.get(FILES, ()) or path.exists():
        dataset.check_files([path.name])
    if not path.exists():
        there = [name for name in SPLITS if (dataset.folder / f"{name}.parquet").exists()]
        raise NotFound(f"The dataset {dataset.id} has no split '{split}'. It has: {', '.join(there) or 'none'}. Choose one of them.")
    try:
        return pl.read_parquet(path, glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise machine_error(error) or StorageError(
            f"{path} can't be read ({first_line(error)}): the dataset is damaged. Prepare the dataset again."
        ) from error


def find(dataset: Artifact, split: str) -> pl.DataFrame | None:
    """Read the rows of one split; None if there is no such split."""
    try:
        return read(dataset, split)
    except NotFound:
        return None


def made_from(home: Home, name: str, inputs_hash: str) -> Artifact | None:
    """Return the newest dataset of a vertical that was made from inputs with this hash; None if there is none."""
    manifests = ((one, one.manifest_or_empty) for one in reversed(home.shelf("datasets")))  # empty if a dataset is damaged
    return next((one for one, found in manifests if found.get("name") == name and found.get("inputs_hash") == inputs_hash), None)


def records_of(dataset: Artifact, split: str, task: Task) -> list[Record]:
    """Read the rows of a split as records (dicts) with only the task's columns; return an empty list if there is no such split."""
    frame = find(dataset, split)
    if frame is None:
        return []
    used = [column.name for column in task.columns if column.name in frame.columns]
    return list(only(frame, used).to_dicts())


def of_model(manifest: Mapping[str, Any], home: Home) -> Artifact | None:
    """Return the dataset that a model was trained on; None if it is not in the folder `home`, where vertune stores datasets and models.

    `manifest` describes the model, and its entry `parents` contains the id of the dataset.
    """
    datasets = (home.find("datasets", parent) for parent in manifest.get("parents", ()))
    return next((dataset for dataset in datasets if dataset is not None), None)


def rejected(dataset: Artifact) -> list[dict[str, Any]]:
    """Read the list of rows that were rejected when the dataset was made; each is a dict with `file`, `row`, `reason` and `values`."""
    path = dataset.folder / "rejected.jsonl"
    return [json.loads(line) for line in lines(path.read_text(encoding="utf-8"))] if path.exists() else []


def write(folder: Path, frames: Mapping[str, pl.DataFrame]) -> None:
    """Write one Parquet file per split that has rows; raise StorageError if the disk is full."""
    for name, frame in frames.items():
        if frame.height:
            with storage_errors(folder):
                frame.write_parquet(folder / f"{name}.parquet", compression="zstd")


def write_rejected(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rejected rows to rejected.jsonl, one JSON object per line."""
    write_text(folder / "rejected.jsonl", "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows))


def fingerprint(frames: Mapping[str, pl.DataFrame]) -> str:
    """Return one hash of the rows of all splits. The order of the rows and the files that they were read from don't change the hash."""
    parts = []
    for name in sorted(frames):
        columns = sorted(column for column in frames[name].columns if column not in MARKS)
        parts.append(f"{name}:{content.of_table(frames[name], columns)}")
    return content.of_texts(parts)
