"""A trained model as exports see it: how it answers, what was changed, and a plain copy; knows nothing of any other software."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.core.edits import Edit
from vertune.core.errors import ConfigError, ModelError
from vertune.core.kinds import Encoder, Run, Task
from vertune.core.records import Answer, Feature, Record, View
from vertune.nn import edits as changes
from vertune.nn import run
from vertune.nn.build import build
from vertune.nn.vertical import VerticalModel

TOLERANCE = 1e-4
"""Largest difference of an output, in parts of the largest output, that still counts as the same: float32 in another order."""


@dataclass(slots=True)
class TrainedModel:
    """A model as it answers, with all that a form for other software is made from."""

    name: str
    encoder: Encoder
    task: Task
    model: Any
    """A vertical (nn/vertical.py); None where only the graph is left."""
    edits: Sequence[Edit]
    reads: Sequence[str] = ()
    """The columns that the model was trained on; none where that is not known."""
    graph: Path | None = None
    """The ONNX file of a compressed model."""
    run: Run | None = None
    """What computes outputs, where the model does not."""

    @property
    def base(self) -> str:
        """How the config names the base."""
        return self.encoder.base_name

    def plain(self) -> VerticalModel:
        """A fresh copy whose plain weights hold every change; ConfigError where a change has no such form."""
        model = build(self.encoder, self.task)
        changes.merge(model, self.edits)
        return model.eval()

    def probes(self) -> list[list[str]]:
        """The one or two texts of each sequence that the task's own examples make."""
        records, views = self._examples()
        return [[record[field] for field in view.fields if record.get(field)] for record in records for view in views]

    def outputs(self, model: VerticalModel | None = None) -> list[NDArray[Any]]:
        """What the model, or another one in its place, says of each probe."""
        records, views = self._examples()
        return self._outputs(self.encoder.encode(records, views), model or self.model)

    def records(self) -> list[dict[str, Any]]:
        """Records of the task's own examples, with the columns that the model reads."""
        inputs = [column.name for column in self.task.columns if column.role == "input"]
        inputs = [name for name in inputs if not self.reads or name in self.reads]
        types = {column.name: column.type for column in self.task.input_columns}
        records = [{key: str(row[key]) for key in inputs if row.get(key)} for row in self.task.example(8)]
        numbers = [key for key in inputs if types[key] == "number"]  # whose fields an example of texts does not have
        return [{**record, **dict.fromkeys(numbers, float(place))} for place, record in enumerate(records)]

    def answers(self, records: Sequence[Record]) -> list[Answer]:
        """What the model answers to these records."""
        features = self.encoder.encode(records, self.task.views(sorted({key for record in records for key in record})))
        return self.task.decode(records, features, self._outputs(features, self.model), run=lambda more: self._outputs(more, self.model))

    def _outputs(self, features: Sequence[Feature], model: VerticalModel | None) -> list[NDArray[Any]]:
        if model is None:
            assert self.run is not None
            return self.run(features)
        return run.outputs(model, self.encoder, features)

    def _examples(self) -> tuple[list[dict[str, Any]], Sequence[View]]:
        """Records and views, the texts short enough that none is cut: how long texts are cut is not what an export must match."""
        records = self.records()
        views = self.task.views(sorted({key for record in records for key in record}))
        while self._cut(records, views):
            records = [{key: text[: len(text) // 2].strip() for key, text in record.items()} for record in records]
            if not all(text for record in records for text in record.values()):
                raise ConfigError("max_tokens leaves no room for a text, so an export can't be checked. Train with more.")
        return records, views

    def _cut(self, records: Sequence[Record], views: Sequence[View]) -> bool:
        features = self.encoder.encode(records, views)
        return len(features) != len(records) * len(views) or any(feature.truncated for feature in features)


def check_same_outputs(expected: Sequence[NDArray[Any]], found: Sequence[NDArray[Any]], where: str) -> None:
    """ModelError unless another software gives these outputs too."""
    for place, (ours, theirs) in enumerate(zip(expected, found, strict=True)):
        if ours.shape != theirs.shape:
            raise ModelError(
                f"{where} gives outputs of shape {theirs.shape} for probe {place}, the model {ours.shape}. The export was not kept."
            )
        gap = float(np.abs(ours - theirs).max(initial=0.0))
        if not gap <= TOLERANCE * max(1.0, float(np.abs(ours).max(initial=0.0))):
            raise ModelError(f"{where} answers otherwise than the model: probe {place} differs by {gap:.2g}. The export was not kept.")
