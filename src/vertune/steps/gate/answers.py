"""Reads sets of rows for the gate, and lets the candidate and the live model answer them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vertune.core import content
from vertune.core.artifact import Artifact, Home
from vertune.core.errors import ConfigError, NotFound
from vertune.core.kinds import Task
from vertune.core.records import Answer
from vertune.data.dataset import of_model, read
from vertune.data.fields import map_fields
from vertune.data.validate import frame_of_records
from vertune.evaluation import rows
from vertune.evaluation.against_live import Answered
from vertune.reports.scales import plural
from vertune.runtime.predictor import Predictor
from vertune.steps.predict import answer

Rows = Sequence[Mapping[str, Any]] | pl.DataFrame
"""Labelled rows, whose columns are named like those of the training data, or like the fields of the task."""


@dataclass(frozen=True)
class Side:
    """One of the two models, in memory."""

    model: Artifact
    home: Home

    @cached_property
    def predictor(self) -> Predictor:
        """The loaded model."""
        return Predictor.open(self.model, many=True)

    def trained_on(self, names: Sequence[str]) -> NDArray[np.uint64]:
        """Return a hash of the inputs, which are the columns `names`, of each row that the model was trained on.

        Empty if its dataset is not in the home.
        """
        dataset = of_model(self.model.manifest, self.home)
        splits = ("train", "validation") if self.model.refitted else ("train",)
        found = [content.of_inputs(frame, names) for split in splits if (frame := _split(dataset, split)) is not None]
        return np.concatenate(found) if found else np.empty(0, np.uint64)


def _split(dataset: Artifact | None, split: str) -> pl.DataFrame | None:
    """Return the rows of a split; None if there are none."""
    if dataset is None:
        return None
    try:
        return read(dataset, split)
    except NotFound:
        return None


@dataclass(frozen=True, slots=True)
class Read:
    """A set of rows that both models answered, and notes on rows that were left out."""

    answered: Answered
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Pair:
    """The candidate and the live model."""

    candidate: Side
    live: Side

    @cached_property
    def task(self) -> Task:
        """The candidate's task, which also knows the labels of the live model; raises ConfigError if the two tasks differ."""
        ours, theirs = self.candidate.predictor.task, self.live.predictor.task
        if ours.name != theirs.name:
            raise ConfigError(
                f"The task of {self.candidate.model.id} is {ours.name}; expected {theirs.name}, as the live model's. Choose another model."
            )
        return rows.knowing(ours, theirs.known_labels)

    @cached_property
    def _trained_on(self) -> NDArray[np.uint64]:
        names = [column.name for column in self.task.input_columns]
        return np.unique(np.concatenate([side.trained_on(names) for side in (self.candidate, self.live)]))

    def read(self, name: str, given: Rows, labelled: bool = True) -> Read:
        """Let both models answer rows; with `labelled`, rows without a right answer and rows that a model was trained on are left out."""
        frame = frame_of_records(given).drop("__row", strict=False).with_row_index("__row")
        cleaned, rejected = self._cleaned(frame, labelled)
        notes = [f"{plural(rejected, 'row')} of the set '{name}' could not be read and were left out."] if rejected else []
        if labelled and cleaned.height:
            inputs = [column.name for column in self.task.input_columns if column.name in cleaned.columns]
            seen = np.isin(content.of_inputs(cleaned, inputs), self._trained_on)
            if seen.any():
                cleaned = cleaned.filter(~pl.Series(seen))
                notes.append(
                    f"{plural(int(seen.sum()), 'row')} of the set '{name}' were left out, because one of the models was trained on them."
                )
        places = cleaned["__row"].to_list()
        sides = [answer(side.predictor, frame[places]).answers for side in (self.candidate, self.live)]
        both = [place for place, pair in enumerate(zip(*sides, strict=True)) if None not in pair]
        records = cleaned.to_dicts()
        ours, theirs = ([_present(side[place]) for place in both] for side in sides)
        return Read(Answered(name, [records[place] for place in both], ours, theirs), notes)

    def _cleaned(self, frame: pl.DataFrame, labelled: bool) -> tuple[pl.DataFrame, int]:
        """Return the rows as the candidate reads them, and the number of those that can't be read."""
        predictor, there = self.candidate.predictor, set(frame.columns)
        config = predictor.config
        targets = {column.name for column in self.task.target_columns}
        fields = {
            name: value
            for name, value in config.data.fields.items()
            if ({value} if isinstance(value, str) else {*value}) <= there and (labelled or name not in targets)
        }
        keep = [name for name in config.evaluate.slices if name in there]
        if not labelled:
            frame = frame.drop(targets - {str(value) for value in fields.values()}, strict=False)
        table = map_fields(frame, fields, self.task, keep=keep, targets=labelled).frame
        for cleaner in predictor.cleaners:
            table = cleaner.edit_inputs(table, self.task.columns)
        valid = table.filter(pl.col("__error").is_null()) if "__error" in table.columns else table
        cleaned = self.task.clean(valid)
        return cleaned.frame, table.height - cleaned.frame.height


def _present(one: Answer | None) -> Answer:
    assert one is not None
    return one


def differences(task: Task, answered: Answered) -> list[dict[str, Any]]:
    """Return the records that the two models answer differently, those that the candidate alone gets wrong first.

    Each is `{"set", "text", "live", "candidate", "right"}`; `right` is `live`, `candidate`, `neither`, or empty for records without a
    right answer. With equal importance, the candidate's most confident answers come first.
    """
    better = _better(task, answered)
    found = []
    for row in rows.disagreements(task, answered.candidate, answered.live).tolist():
        record, ours, theirs = answered.records[row], answered.candidate[row], answered.live[row]
        found.append(
            {
                "set": answered.name,
                "text": rows.text_of(task, record),
                "live": rows.answer_text(task, theirs, record),
                "candidate": rows.answer_text(task, ours, record),
                "right": ("neither", "candidate", "live")[int(better[row])] if better is not None else "",
                "confidence": task.confidence(ours),
            }
        )
    order = ("live", "", "neither", "candidate")
    return sorted(found, key=lambda one: (order.index(one["right"]), -(one["confidence"] or 0.0)))


def _better(task: Task, answered: Answered) -> NDArray[np.float64] | None:
    """Return 1 for each record that the candidate answers better, -1 for each that the live model does, else 0; None without targets."""
    records = answered.records
    if not records or any(column.name not in records[0] for column in task.target_columns if column.required):
        return None
    name = rows.row_metric(task, records, answered.live)
    ours, theirs = (rows.row_scores(task, records, answers, name).values for answers in (answered.candidate, answered.live))
    return np.asarray(np.sign(ours - theirs), np.float64) if len(ours) == len(records) else None
