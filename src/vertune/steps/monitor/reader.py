"""What monitors need of a model besides stored answers: numbers of tokens, vectors, answers, and whether an answer is right."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from vertune.core.artifact import Artifact
from vertune.core.errors import DataError, MissingExtra, ModelError, NotFound, StorageError
from vertune.core.kinds import Encoder, Task
from vertune.core.monitor import UNKNOWN, States, Window
from vertune.core.records import Answer, Record
from vertune.evaluation.rows import row_scores
from vertune.runtime.predictor import BASE, Predictor

_log = logging.getLogger("vertune")


class Reader:
    """A model of a vertical that reads records for monitors, as far as its files and packages are here."""

    def __init__(self, artifact: Artifact) -> None:
        """Raise StorageError if the manifest of the model is damaged."""
        self.artifact = artifact
        config = artifact.verified().get("config")
        if not isinstance(config, dict):
            raise StorageError(f"The manifest of the model {artifact.id} is damaged: it has no config. Restore it, or train again.")
        self.task = Task.model_validate(config["task"])
        encoder, base = Encoder.model_validate(config["encoder"]), artifact.folder / BASE
        self.encoder = encoder.at(base) if base.is_dir() else encoder

    @cached_property
    def predictor(self) -> Predictor | None:
        """The model in memory; None if it can't be loaded here, for example because torch is not installed."""
        try:
            return Predictor.open(self.artifact, many=True)
        except (MissingExtra, ModelError, NotFound, StorageError) as error:
            _log.warning("The model %s can't be loaded for monitors, so they get no vectors of it: %s", self.artifact.id, error)
            return None

    def complete(self, window: Window) -> Window:
        """Return the window with numbers of tokens, and with vectors that are computed when a monitor asks for them."""
        rows = [row for row, record in enumerate(window.records) if record is not None and self.can_read(record)]
        records = [self._inputs(window.records[row] or {}) for row in rows]
        arrays: dict[str, Any] = {name: np.full(len(window), UNKNOWN, np.int64) for name in ("tokens", "cut", "unknown")}
        try:
            for name, counts in self._counts(records).items():
                arrays[name][rows] = counts
        except (MissingExtra, NotFound, StorageError) as error:
            _log.warning("The tokens of the requests to %s can't be counted: %s", self.artifact.id, error)
        return replace(window, **arrays, states=self._states(window.records, dict.fromkeys(rows)))

    def answers(self, records: Sequence[Record]) -> list[Answer | None]:
        """Return the answers of the model; None for a record that it can't read, and for each if it can't be loaded."""
        answers: list[Answer | None] = [None] * len(records)
        rows = [row for row, record in enumerate(records) if self.can_read(record)]
        if self.predictor is None or not rows:
            return answers
        for row, answer in zip(rows, self.predictor.answer([self._inputs(records[row]) for row in rows]), strict=True):
            answers[row] = answer
        return answers

    def is_right(self, record: Mapping[str, Any] | None, answer: Answer | None, target: Mapping[str, Any] | None) -> float:
        """Return 1 if an answer is the right one, 0 if it is another one, NaN if that can't be told."""
        if answer is None or not target or not (self.task.names_labels or self.task.answers_with_places):
            return np.nan
        with suppress(KeyError, TypeError):  # the fields of a target need not be those of an answer
            return float(self.task.agrees(answer, cast(Answer, target)))
        with suppress(AttributeError, DataError, KeyError, TypeError, ValueError):  # no answer or no target of the task, such as a word
            scores = row_scores(self.task, [{**(record or {}), **target}], [answer], self.task.metrics[0])
            return float(bool(len(scores.right)) and bool(scores.right.all()))
        return np.nan

    def error(self, answer: Answer | None, target: Mapping[str, Any] | None) -> float:
        """Return how far an answer that is a number is from the right one; NaN if that can't be told, or if answers are no numbers."""
        name = next((column.name for column in self.task.target_columns if column.type == "number"), None)
        if answer is None or not target or name is None:
            return np.nan
        with suppress(KeyError, TypeError, ValueError):  # no number, such as a word
            return abs(float(answer[name]) - float(target[name]))
        return np.nan

    def _inputs(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields that the model reads."""
        return {column.name: record[column.name] for column in self.task.input_columns if record.get(column.name) is not None}

    def can_read(self, record: Mapping[str, Any]) -> bool:
        """Whether a record has the texts that the model needs, and numbers in place of numbers; one that was masked or cut may not."""
        present = {column.name: record[column.name] for column in self.task.input_columns if record.get(column.name) is not None}
        texts = [column.name for column in self.task.input_columns if column.type == "text" and column.required]
        numbers = [column.name for column in self.task.input_columns if column.type == "number" and column.name in present]
        return all(isinstance(present.get(name), str) and present[name].strip() for name in texts) and all(
            isinstance(present[name], int | float) for name in numbers
        )

    def _counts(self, records: list[dict[str, Any]]) -> dict[str, NDArray[np.int64]]:
        """Return for each record the number of its tokens, of those that are cut off, and of unknown ones."""
        if not records:
            return {}
        views = self.task.views(sorted({name for record in records for name in record}))
        tokens = self.encoder.lengths(records, views).reshape(len(records), -1).sum(1)
        cut = np.zeros(len(records), np.int64)
        for feature in self.encoder.encode(records, views):
            cut[feature.record] += feature.truncated
        shares = [self.encoder.unknown_share([str(value) for value in record.values()]) for record in records]
        return {"tokens": tokens, "cut": cut, "unknown": np.ceil(np.array(shares) * tokens).astype(np.int64)}

    def _states(self, records: Sequence[Mapping[str, Any] | None], readable: Mapping[int, None]) -> States:
        """Return a function that computes the vectors of records at these positions, each once."""
        known: dict[int, NDArray[np.float32]] = {}

        def states(positions: Sequence[int]) -> NDArray[np.float32] | None:
            missing = [row for row in dict.fromkeys(positions) if row not in known]
            if any(row not in readable for row in missing) or self.predictor is None:
                return None
            if missing:
                found = self.predictor.vectors([self._inputs(records[row] or {}) for row in missing])
                if found is None:
                    return None
                known.update(zip(missing, found, strict=True))
            return np.stack([known[row] for row in positions])

        return states
