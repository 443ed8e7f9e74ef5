"""A trained model in the form that exports (components that write models for other software) need.

The module also compares the outputs of an exported model with the original outputs. Independent of the formats of
exports.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.core.edits import Edit
from vertune.core.errors import ConfigError, ModelError
from vertune.core.kinds import Encoder, Mixer, Run, Task
from vertune.core.records import Answer, Feature, Record, View
from vertune.nn import edits as changes
from vertune.nn import run
from vertune.nn.build import build
from vertune.nn.vertical import VerticalModel

TOLERANCE = 1e-4
"""Largest accepted difference between the outputs of two programs, which round differently; multiplied by the largest output if above 1."""


@dataclass(slots=True)
class TrainedModel:
    """A trained model with everything that an export to other software needs."""

    name: str
    encoder: Encoder
    task: Task
    model: Any
    """The VerticalModel; None for a compressed model, which exists only as an ONNX graph."""
    edits: Sequence[Edit]
    """The trained changes to the pretrained model."""
    reads: Sequence[str] = ()
    """The columns that the model was trained on; empty if unknown."""
    graph: Path | None = None
    """The ONNX file of a compressed model."""
    run: Run | None = None
    """A function that computes the outputs of a compressed model."""
    companion: Mixer | None = None
    """What is mixed with the outputs before they are decoded; None if nothing is."""

    @property
    def base(self) -> str:
        """The name of the pretrained model, as written in the config of the training."""
        return self.encoder.base_name

    def plain(self) -> VerticalModel:
        """Return a new model with all trained changes (edits) merged into its weights.

        Raise ConfigError if a change can't be merged, because it consists of an added module.
        """
        model = build(self.encoder, self.task)
        changes.merge(model, self.edits)
        return model.eval()

    def probes(self) -> list[list[str]]:
        """Return test inputs on which an exported model is checked, made from the example records of the task.

        Each test input is a list of the one or two texts of which an input sequence of the model consists.
        """
        records, views = self._examples()
        return [[record[field] for field in view.fields if record.get(field)] for record in records for view in views]

    def outputs(self, model: VerticalModel | None = None) -> list[NDArray[Any]]:
        """Return the outputs for the test inputs of `probes`, one array per input.

        They are computed by `model` or, by default, by this trained model.
        """
        records, views = self._examples()
        return self._outputs(self.encoder.encode(records, views), model or self.model)

    def records(self) -> list[dict[str, Any]]:
        """Return the task's example records, with only the columns that the model reads.

        The examples have no values for columns of type number; there, the index of the record is used.
        """
        inputs = [column.name for column in self.task.input_columns]
        inputs = [name for name in inputs if not self.reads or name in self.reads]
        types = {column.name: column.type for column in self.task.input_columns}
        records = [{key: str(row[key]) for key in inputs if row.get(key)} for row in self.task.example(8)]
        numbers = [key for key in inputs if types[key] == "number"]  # the task's examples have no values for these columns
        return [{**record, **dict.fromkeys(numbers, float(place))} for place, record in enumerate(records)]

    def answers(self, records: Sequence[Record]) -> list[Answer]:
        """Return the model's answers (predictions) for these records."""
        features = self.encoder.encode(records, self.task.views(sorted({key for record in records for key in record})))
        outputs = self._outputs(features, self.model)
        if self.companion is not None:
            outputs = self.companion.mixed(records, features, outputs)
        return self.task.decode(records, features, outputs, run=lambda more: self._outputs(more, self.model))

    def _outputs(self, features: Sequence[Feature], model: VerticalModel | None) -> list[NDArray[Any]]:
        if model is None:
            assert self.run is not None
            return self.run(features)
        return run.outputs(model, self.encoder, features)

    def _examples(self) -> tuple[list[dict[str, Any]], Sequence[View]]:
        """Return example records, and the views of the task: each lists the record fields to encode together.

        The texts are shortened until the encoder truncates none of them, because other software may truncate
        differently.
        """
        records = self.records()
        views = self.task.views(sorted({key for record in records for key in record}))
        while self._cut(records, views):
            records = [{key: text[: len(text) // 2].strip() for key, text in record.items()} for record in records]
            if not all(text for record in records for text in record.values()):
                raise ConfigError(
                    "The exported model can't be checked on test texts, because encoder.max_tokens is too small for "
                    "any text. Train the model with a larger value of encoder.max_tokens."
                )
        return records, views

    def _cut(self, records: Sequence[Record], views: Sequence[View]) -> bool:
        features = self.encoder.encode(records, views)
        return len(features) != len(records) * len(views) or any(feature.truncated for feature in features)


def check_same_outputs(expected: Sequence[NDArray[Any]], found: Sequence[NDArray[Any]], where: str) -> None:
    """Check that other software computes the same outputs for an exported model.

    Raise ModelError unless the outputs `found` equal the outputs `expected`, up to rounding errors. `where` is the name
    of the other software, for the message.
    """
    for number, (ours, theirs) in enumerate(zip(expected, found, strict=True)):
        if ours.shape != theirs.shape:
            raise ModelError(
                f"In {where}, the outputs for test input {number + 1} have shape {theirs.shape}; expected {ours.shape}. The export was "
                "not kept. Report this as a bug, with the names of the pretrained model and the task."
            )
        difference = float(np.abs(ours - theirs).max(initial=0.0))
        limit = TOLERANCE * max(1.0, float(np.abs(ours).max(initial=0.0)))
        if not difference <= limit:
            raise ModelError(
                f"In {where}, the outputs for test input {number + 1} differ from the model's by {difference:.2g}. Expected at most "
                f"{limit:.2g}. The export was not kept. Report this as a bug, with the names of the pretrained model and the task."
            )
