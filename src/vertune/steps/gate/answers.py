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
from vertune.core.errors import ConfigError
from vertune.core.kinds import Task
from vertune.core.records import Answer
from vertune.data.dataset import find, of_model
from vertune.data.fields import map_fields
from vertune.data.validate import frame_of_records
from vertune.evaluation import rows
from vertune.evaluation.against_live import TRAFFIC, Answered
from vertune.evaluation.retired import renamed_answer
from vertune.reports.scales import plural
from vertune.runtime.predictor import Predictor
from vertune.steps.predict import answer

ORDER = ("live", "", "neither", "candidate")
"""Who is right about records that are answered differently, those first that matter most."""
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
        frames = [] if dataset is None else [find(dataset, split) for split in splits]
        found = [_input_keys(frame, names) for frame in frames if frame is not None]
        return np.concatenate(found) if found else np.empty(0, np.uint64)


@dataclass(frozen=True, slots=True)
class Read:
    """A set of rows that both models answered, and notes on rows that were left out."""

    answered: Answered
    notes: list[str] = field(default_factory=list)
    unlabelled: list[dict[str, Any]] = field(default_factory=list)
    """Records of traffic that the two models answer differently, and that have no right answer yet."""


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

    @cached_property
    def _retired(self) -> dict[str, str]:
        """The labels that a retraining replaced in the rows of the candidate, each with the label that took its place."""
        dataset = of_model(self.candidate.model.manifest, self.candidate.home)
        return dict((dataset.manifest.get("retired") if dataset else None) or {})

    def read(self, name: str, given: Rows, labelled: bool = True) -> Read:
        """Let both models answer rows; with `labelled`, rows without a right answer and rows that a model was trained on are left out."""
        frame = frame_of_records(given).drop("__row", strict=False).with_row_index("__row")
        cleaned, rejected = self._cleaned(frame, labelled)
        notes = [f"{plural(rejected, 'row')} of the set '{name}' could not be read and were left out."] if rejected else []
        cleaned, seen = self._unseen(cleaned) if labelled else (cleaned, 0)
        if seen:
            notes.append(f"{plural(seen, 'row')} of the set '{name}' were left out, because one of the models was trained on them.")
        return Read(self._answered(name, frame, cleaned), notes)

    def read_traffic(self, given: Rows) -> Read:
        """Let both models answer records of traffic, of which only those that are answered differently need a right answer.

        Of records with equal inputs, one counts, which is one with a right answer if there is any.
        """
        frame = frame_of_records(given).drop("__row", strict=False).with_row_index("__row")
        cleaned, _ = self._unseen(self._cleaned(frame, labelled=False)[0])
        labelled = self._with_targets(frame)
        marked = cleaned.with_columns(pl.col("__row").is_in(list(labelled)).alias("__known")).sort(
            "__known", descending=True, maintain_order=True
        )
        inputs = [column.name for column in self.task.input_columns if column.name in marked.columns]
        every = self._answered(TRAFFIC, frame, marked.unique(inputs, keep="first", maintain_order=True))
        places = rows.disagreements(self.task, every.candidate, every.live).tolist()
        known = [place for place in places if every.records[place]["__row"] in labelled]
        unlabelled = [{name: every.records[place][name] for name in inputs} for place in places if place not in set(known)]
        records = [{**every.records[place], **labelled[every.records[place]["__row"]]} for place in known]
        ours, theirs = ([side[place] for place in known] for side in (every.candidate, every.live))
        return Read(Answered(TRAFFIC, records, ours, theirs, len(every.records) - len(places)), unlabelled=unlabelled)

    def _with_targets(self, frame: pl.DataFrame) -> dict[int, dict[str, Any]]:
        """Return the target fields of the rows that have a right answer, by the number of the row."""
        sources = self.candidate.predictor.fields
        targets = [column.name for column in self.task.target_columns]
        if not any(name in frame.columns or sources.get(name) in frame.columns for name in targets):
            return {}
        return {int(row["__row"]): {name: row[name] for name in targets} for row in self._cleaned(frame, labelled=True)[0].to_dicts()}

    def _unseen(self, cleaned: pl.DataFrame) -> tuple[pl.DataFrame, int]:
        """Return the rows that neither model was trained on, and the number of the others."""
        if not cleaned.height:
            return cleaned, 0
        seen = np.isin(_input_keys(cleaned, [column.name for column in self.task.input_columns]), self._trained_on)
        return cleaned.filter(~pl.Series(seen)), int(seen.sum())

    def _answered(self, name: str, frame: pl.DataFrame, cleaned: pl.DataFrame) -> Answered:
        """Let both models answer the rows of `frame` that are in `cleaned`; rows that one can't read are left out."""
        places = cleaned["__row"].to_list()
        sides = [answer(side.predictor, frame[places]).answers for side in (self.candidate, self.live)]
        both = [place for place, pair in enumerate(zip(*sides, strict=True)) if None not in pair]
        records = cleaned.to_dicts()
        ours, theirs = ([_present(side[place]) for place in both] for side in sides)
        theirs = [renamed_answer(self.task, one, self._retired) for one in theirs]
        return Answered(name, [records[place] for place in both], ours, theirs)

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


def _input_keys(frame: pl.DataFrame, names: Sequence[str]) -> NDArray[np.uint64]:
    """Return a hash of the inputs of each row; a column that the frame lacks is an empty one, as an optional second text may be either."""
    missing = [pl.lit(None, dtype=pl.String).alias(name) for name in names if name not in frame.columns]
    return content.of_inputs(frame.with_columns(missing), names)


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
    return sorted(found, key=lambda one: (ORDER.index(one["right"]), -(one["confidence"] or 0.0)))


def _better(task: Task, answered: Answered) -> NDArray[np.float64] | None:
    """Return 1 for each record that the candidate answers better, -1 for each that the live model does, else 0; None without targets."""
    records = answered.records
    if not records or any(column.name not in records[0] for column in task.target_columns if column.required):
        return None
    task = rows.knowing(task, (label for record in records for label in rows.target_labels(task, record)))
    name = rows.row_metric(task, records, answered.live)
    ours, theirs = (rows.row_scores(task, records, answers, name).values for answers in (answered.candidate, answered.live))
    return np.asarray(np.sign(ours - theirs), np.float64) if len(ours) == len(records) else None
