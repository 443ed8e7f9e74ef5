"""Reference outputs: what a model computed for eight fixed records when it was made, compared again before and while it is served.

The records contain neutral texts and the example values of the task, never rows of the training data, because the folder of a model
may be given to others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.core.errors import ModelError, StorageError
from vertune.core.files import read_json, write_text
from vertune.core.kinds import Task
from vertune.core.machine import cpu_features
from vertune.core.records import Record
from vertune.runtime.predictor import Predictor, check_finite

FILE = "reference.json"
"""Name of the file with the reference outputs."""
_TEXTS = (
    "The parcel arrived late.",
    "请查一下订单",
    "Is this right?",
    "12.50 € (no. 7)",
    "这本书很有意思",
    "ok",
    "CLEAN - it wasn't",
    "Straße 5, Köln",
)
"""The texts of the records: several languages and scripts, digits and punctuation, so that a changed tokenizer is seen. They are short,
because each model computes them when it is loaded."""
_TOLERANCE = {"float32": 1e-3, "int8": 0.05}
_OTHER_PROCESSOR = 0.3
"""Tolerance of int8 on a processor with other instruction sets than the one that computed the reference: it may round differently."""
_DIGITS = 7


@dataclass(frozen=True, slots=True)
class Reference:
    """The eight records, and the outputs that a model must have for them."""

    records: list[Record]
    outputs: list[NDArray[Any]] | None = None
    """One array per model input; None if an older version of vertune made the model, so that only damage that shows by itself is seen."""
    tolerance: float = 0.0
    """Largest allowed difference, relative to the largest output."""

    def check(self, predictor: Predictor) -> None:
        """Compute the records with a model; raise ModelError if an output has another size or value than it must, or is not finite."""
        found = _compute(predictor, self.records)
        size = predictor.task.size
        wrong = next((output.shape[-1] for output in found if size and output.shape[-1] != size), None)
        if wrong is not None:
            raise ModelError(
                f"The head of the model has {wrong} outputs, but its task expects {size}. Prepare the model again, or restore its files."
            )
        check_finite(found)
        if self.outputs is None:
            return
        if [output.shape for output in found] != [output.shape for output in self.outputs]:
            raise ModelError(
                "The model reads its reference texts as other tokens than when it was made, so its tokenizer has changed. "
                "Restore the files of the model, or make it again."
            )
        scale = max(float(np.abs(output).max(initial=0.0)) for output in self.outputs) or 1.0
        differences = (np.abs(ours - theirs).max(initial=0.0) for ours, theirs in zip(self.outputs, found, strict=True))
        difference = float(max(differences)) / scale
        if difference > self.tolerance:
            raise ModelError(
                f"The model's outputs for its reference texts differ by {difference:.2g} of the largest output from those that it had when "
                f"it was made; expected at most {self.tolerance:g}. Restore the files of the model, or make it again."
            )


def _compute(predictor: Predictor, records: Sequence[Record]) -> list[NDArray[Any]]:
    try:
        features = predictor.encoder.encode(records, predictor.views({key for record in records for key in record}))
        return predictor.outputs(features)
    except (KeyError, ValueError, IndexError) as error:
        raise ModelError(
            f"The model can't compute its reference texts: {type(error).__name__}: {error}. The sizes of its weights don't fit together; "
            "prepare the model again, or restore its files."
        ) from error


def records_of(task: Task, columns: Sequence[str] = ()) -> list[Record]:
    """Return the records: the task's example records, with only the inputs in `columns` (all if empty), and neutral texts."""
    inputs = [column for column in task.input_columns if not columns or column.name in columns or column.required]
    rows: list[Record] = []
    for number, example in enumerate(task.example(len(_TEXTS))):
        row: dict[str, Any] = {}
        for offset, column in enumerate(inputs):
            value, text = example.get(column.name), _TEXTS[(number + offset) % len(_TEXTS)]
            if value is None:  # a field that the user named, which the example lacks
                value = float(number) if column.type == "number" else text
            row[column.name] = text if column.type == "text" and isinstance(value, str) else value
        rows.append(row)
    return rows


def write(folder: Path, predictors: Mapping[str, Predictor]) -> None:
    """Compute the outputs of a model and write them into `folder`; `predictors` contains the model in each precision, such as int8."""
    first = next(iter(predictors.values()))
    records = records_of(first.task, first.columns)
    outputs = {name: [output.round(_DIGITS).tolist() for output in _compute(one, records)] for name, one in predictors.items()}
    content = {"processor": list(cpu_features()), "records": records, "outputs": outputs}
    write_text(folder / FILE, json.dumps(content, ensure_ascii=False) + "\n")


def load(folder: Path, precision: str, predictor: Predictor) -> Reference:
    """Load the reference outputs of a model in one precision from its folder; an older version wrote none.

    Raises StorageError if the file is damaged.
    """
    if not (folder / FILE).exists():
        return Reference(records_of(predictor.task, predictor.columns))
    content = read_json(folder / FILE)
    try:
        outputs = content["outputs"].get(precision)
        tolerance = _TOLERANCE.get(precision, _TOLERANCE["int8"])
        if precision != "float32" and content["processor"] != list(cpu_features()):
            tolerance = _OTHER_PROCESSOR
        arrays = None if outputs is None else [np.asarray(output, np.float32) for output in outputs]
        return Reference(list(content["records"]), arrays, tolerance)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StorageError(f"The file {folder / FILE} is damaged: {error!r}. Restore it, or prepare the model again.") from error
