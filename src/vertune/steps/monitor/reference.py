"""The labelled rows of a model's dataset with its answers, as the reference that traffic is compared with; computed once for a model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.core.artifact import Artifact, Home
from vertune.core.files import read_json, replacing, storage_errors, write_json
from vertune.core.monitor import Window
from vertune.core.records import Answer
from vertune.data.dataset import find, of_model
from vertune.steps.monitor.reader import Reader

FOLDER = "references"
"""Name of the folder in the home folder with what models answered to the rows of their reference."""
MOST = 2000
"""Largest number of rows of a reference, a random sample of more."""
FEWEST = 50
"""Least number of rows of a reference; with fewer, the first requests take their place."""
_ANSWERS, _STATES = "answers.json", "states.npy"


def labelled_reference(reader: Reader, home: Home) -> tuple[Window | None, str]:
    """Return the validation rows of a model's dataset with its answers, and a sentence about them.

    If the final model was trained on these rows too, its test rows take their place. The window is None if there are no such rows, or if
    the model can't answer them here.
    """
    model = reader.artifact
    dataset = of_model(model.manifest, home)
    if dataset is None:
        return None, "The dataset of the model is not in this home folder, so the first requests are the reference."
    split = "test" if model.refitted else "validation"
    rows = _rows(dataset, split)
    if len(rows) < FEWEST:
        return None, f"The dataset has {len(rows)} {split} rows that the model was not trained on, so the first requests are the reference."
    answers = _answers(reader, home, rows, split)
    if answers is None:
        return None, "The model can't be loaded here to answer its validation rows, so the first requests are the reference."
    names = [column.name for column in reader.task.target_columns]
    targets: list[dict[str, Any]] = [{name: row[name] for name in names if row.get(name) is not None} for row in rows]
    right = [reader.is_right(row, answer, target) for row, answer, target in zip(rows, answers, targets, strict=True)]
    errors = [reader.error(*one) for one in zip(answers, targets, strict=True)]
    window = Window.of(reader.task, rows, answers, right=right, targets=targets, errors=errors)
    why = " The final model was trained on the validation rows, so these are test rows." if model.refitted else ""
    return _with_kept_states(
        reader.complete(window), home.folder / FOLDER / model.id / _STATES
    ), f"{len(rows):,} {split} rows of the dataset {dataset.id}.{why}"


def forget_reference(home: Path, model: str) -> None:
    """Delete what a model answered to the rows of its reference; other artifacts have no such folder."""
    folder = home / FOLDER / model
    with storage_errors(folder):
        shutil.rmtree(folder, ignore_errors=True)


def _rows(dataset: Artifact, split: str) -> list[dict[str, Any]]:
    """Return the rows of a split, a random sample of `MOST` if there are more."""
    frame = find(dataset, split)
    if frame is None:
        return []
    if frame.height > MOST:
        frame = frame[np.sort(np.random.default_rng(0).choice(frame.height, MOST, replace=False))]
    return list(frame.to_dicts())


def _with_kept_states(window: Window, file: Path) -> Window:
    """Return the window with vectors that are computed once, and then read from a file."""
    computed = window.states

    def states(positions: Sequence[int]) -> NDArray[np.float32] | None:
        found = np.load(file, allow_pickle=False) if file.exists() else None
        if found is None or len(found) != len(window):
            found = computed(range(len(window)))
            if found is None:
                return computed(positions)  # some rows have no vector
            with storage_errors(file), replacing(file) as temporary, temporary.open("wb") as opened:
                np.save(opened, found.astype(np.float16), allow_pickle=False)
        vectors: NDArray[np.float32] = found[list(positions)].astype(np.float32)
        return vectors

    return replace(window, states=states)


def _answers(reader: Reader, home: Home, rows: list[dict[str, Any]], split: str) -> list[Answer | None] | None:
    """Return the answers of the model to these rows, which are kept in a file, because a look at traffic comes every hour."""
    file = home.folder / FOLDER / reader.artifact.id / _ANSWERS
    kept = read_json(file) if file.exists() else {}
    if isinstance(kept, dict) and kept.get("split") == split and len(kept.get("answers", ())) == len(rows):
        return list(kept["answers"])
    if reader.predictor is None:
        return None
    answers = reader.answers(rows)
    with storage_errors(file):
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_json(file, {"split": split, "answers": json.loads(json.dumps(answers, default=float))})
    return answers
