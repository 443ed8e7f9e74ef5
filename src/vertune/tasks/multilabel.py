"""Any number of labels for a text, for two texts, or for the fields that `inputs` names; thresholds are learnt on validation.

Knows nothing of the encoder: it reads one row of outputs a feature and merges the windows of a record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypedDict

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vertune.core.errors import DataError
from vertune.core.records import Answer, Cleaned, Column, Feature, Record, Targets
from vertune.decoders import multilabel as decoder
from vertune.decoders import windows
from vertune.metrics import calibration, classification, thresholds
from vertune.tasks import _inputs, _labels, _rows

if TYPE_CHECKING:
    import polars as pl
    import torch

_ERRORS = 30
_PER_LABEL = frozenset({"macro_f1", "weighted_f1"})
"""Metrics that average the F1 of labels, so that each label's threshold is best on its own."""


class SetAnswer(TypedDict):
    """The answer for one record; `labels` stand in order of their probability."""

    labels: list[str]
    probabilities: dict[str, float]
    truncated: bool


class Multilabel(_inputs.SingleView):
    """Options of labelling with several labels."""

    columns: ClassVar[tuple[Column, ...]] = (
        _inputs.TEXT,
        _inputs.PAIR,
        Column("labels", "The labels: a list, or words with a delimiter between them.", role="target", type="labels"),
    )
    answer: ClassVar[type[Any]] = SetAnswer
    decoder: ClassVar[str | None] = decoder.__name__
    linear_head: ClassVar[bool] = True
    native_head: ClassVar[bool] = True
    metrics: ClassVar[tuple[str, ...]] = (
        "micro_f1", "macro_f1", "weighted_f1", "samples_f1", "micro_precision", "micro_recall", "subset_accuracy", "hamming_loss",
    )  # fmt: skip
    lower_is_better: ClassVar[frozenset[str]] = frozenset({"hamming_loss"})

    labels: list[str] = Field(default=[])
    """All labels in their order; learnt from the training rows where none are given."""
    delimiter: str = Field(default=",", min_length=1)
    """What stands between labels where they are written as one string."""
    threshold: Annotated[float, Field(ge=0, le=1)] | Literal["auto"] = "auto"
    """Probability from which a label is given; auto learns one a label on validation."""
    thresholds: list[float] = Field(default=[])
    """The threshold of each label, learnt."""
    at_least: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    """Labels that every record gets, the most probable first; auto is 1 where each training row has a label, else 0."""
    objective: Literal["binary_cross_entropy", "focal"] = "binary_cross_entropy"
    """What is minimised; focal turns away from what is answered right already, which may help rare labels."""
    gamma: float = Field(default=2.0, ge=0)
    """How strongly the focal loss does so."""

    @property
    def _target(self) -> str:
        """Name of the column that holds the labels."""
        return self.target_columns[0].name

    def clean(self, frame: pl.DataFrame) -> Cleaned:
        """Rows with their inputs and, where there are labels, those as a list; a row may have none, but not a missing list."""
        import polars as pl

        checks = self.check_inputs(frame)
        if self._target in frame.columns:
            checks.problems.append((pl.col(self._target).is_null(), f"{self._target} are missing"))
            self._convert(frame.schema[self._target], checks)
        return _rows.sift(frame, checks, self.name)

    def _convert(self, kind: pl.DataType, checks: _rows.Checks) -> None:
        """Add the conversion of the labels to lists of distinct words, and notes on what it leaves out."""
        import polars as pl

        name, item = self._target, pl.element()
        listed = isinstance(kind, pl.List | pl.Array)
        if not listed and (kind.is_nested() or kind.is_float()):
            raise DataError(f"The column '{name}' must hold lists or words with '{self.delimiter}' between them, but it holds {kind}.")
        raw = pl.col(name).cast(pl.List(pl.String)) if listed else pl.col(name).cast(pl.String).str.split(self.delimiter)
        words = raw.list.eval(item.str.strip_chars())
        filled = words.list.eval(item.filter(item.is_not_null() & (item != "")))
        labels = filled.list.unique(maintain_order=True)
        empty = raw.list.len() - filled.list.len()
        if not listed:  # a blank cell is a row without labels, and not one empty label
            empty = pl.when(_rows.blank(name)).then(0).otherwise(empty)
        checks.results.append(labels.alias(name))
        checks.changes += [
            _rows.Change("labels are empty and were left out", empty, raw.list.len(), pl.col(name)),
            _rows.Change(
                "labels stand twice in their row and count once", filled.list.len() - labels.list.len(), raw.list.len(), pl.col(name)
            ),
            _rows.Change("rows have no label and stay", labels.list.len() == 0, pl.lit(1), pl.col(name)),
        ]
        if listed:
            padded = raw.list.eval(item != item.str.strip_chars()).list.sum()
            checks.changes.append(
                _rows.Change("labels had white space around them, which was removed", padded, raw.list.len(), pl.col(name))
            )

    def fit(self, frame: pl.DataFrame) -> Self:
        """A copy that knows the labels, and whether every record has one."""
        lists = _rows.target(frame, self._target, self.name)
        counts = dict(lists.explode(empty_as_null=True).drop_nulls().value_counts().iter_rows())
        labels = _labels.learnt(counts, self.labels, self.name)
        at_least = int((lists.list.len() > 0).all()) if self.at_least == "auto" else self.at_least
        return self.model_copy(update={"labels": labels, "at_least": at_least, "thresholds": []})

    @property
    def size(self) -> int:
        """One number a label."""
        return len(self.labels)

    @property
    def known_labels(self) -> tuple[str, ...]:
        """All labels."""
        return tuple(self.labels)

    def head(self, width: int) -> torch.nn.Module:
        """One linear layer."""
        from torch import nn

        return nn.Linear(width, self.size)

    def targets(self, records: Sequence[Record], features: Sequence[Feature]) -> Targets:
        """Which labels each feature's record has, float32 of shape (labels,); DataError names labels that are not known."""
        present = self._truth(records).astype(np.float32)
        return Targets(list(present[windows.owners(features)]))

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Sum of the binary losses of all labels, of each feature."""
        from vertune.nn import losses

        if self.objective == "focal":
            return losses.binary_focal(outputs, targets, self.gamma)
        return losses.binary_cross_entropy(outputs, targets)

    def decoder_options(self) -> dict[str, Any]:
        """The labels, their thresholds, and how many a record gets at least."""
        at_least = 0 if self.at_least == "auto" else min(self.at_least, self.size)
        return {"labels": self.labels, "thresholds": self._limits().tolist(), "at_least": at_least}

    def named(self, answer: Answer) -> tuple[str, ...]:
        """The labels."""
        return tuple(answer["labels"])

    def confidence(self, answer: Answer) -> float | None:
        """The probability of the least certain decision: for a label to be in the answer, or not to be."""
        named = set(answer["labels"])
        sure = [value if label in named else 1 - value for label, value in answer["probabilities"].items()]
        return float(min(sure, default=1.0))

    def calibrate(self, records: Sequence[Record], features: Sequence[Feature], outputs: Sequence[NDArray[Any]]) -> Self:
        """A copy with the threshold of each label that is best for the metric in use."""
        return self._learn(self._truth(records), decoder.merged(len(records), features, outputs, self.size))

    def tally(self, records: Sequence[Record], answers: Sequence[Answer]) -> NDArray[Any]:
        """Counts of labels and sets, shape (records, 3 * labels + 3)."""
        return classification.tally_sets(self._truth(records), self._guess(answers))

    def summarise(self, total: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """The metrics of label sets."""
        return dict(classification.summarise_sets(total, self.size))

    def details(self, records: Sequence[Record], answers: Sequence[Answer]) -> dict[str, Any]:
        """Scores a label, calibration over all pairs of record and label, and the records with the worst sets."""
        truth, guess = self._truth(records), self._guess(answers)
        probability = np.array([list(answer["probabilities"].values()) for answer in answers]).reshape(truth.shape)
        surprise = np.where(truth != guess, np.abs(probability - truth), 0).sum(1)
        worst = [row for row in np.argsort(-surprise, kind="stable")[:_ERRORS] if (truth[row] != guess[row]).any()]
        per_class = classification.per_class(classification.tally_sets(truth, guess).sum(0), self.labels)
        return {
            "per_class": [{**row, "threshold": limit} for row, limit in zip(per_class, self._limits().tolist(), strict=True)],
            "calibration": calibration.reliability(probability.ravel(), truth.ravel(), bins=15),
            "errors": [
                {
                    "row": int(row),
                    **_inputs.shown(records[row], self.input_columns),
                    "expected": list(records[row][self._target]),
                    "answered": list(answers[row]["labels"]),
                }
                for row in worst
            ],
        }

    def baselines(self, train: Sequence[Record], validation: Sequence[Record], test: Sequence[Record]) -> dict[str, list[Answer]]:
        """The most frequent set of labels, and one logistic regression a label on TF-IDF, thresholds learnt as for the model."""
        from vertune.baselines import linear

        present, held = self._truth(train), self._truth(validation)
        often = max(Counter(map(bytes, present)).items(), key=lambda item: (item[1], item[0]), default=(bytes(self.size), 0))[0]
        usual = np.frombuffer(often, np.bool_).astype(np.float64)
        train, validation, test = (_inputs.as_texts(rows, self.input_columns) for rows in (train, validation, test))
        fitted = linear.sets(train, present)
        learnt = self._learn(held, fitted(validation)) if validation else self
        plain = self.model_copy(update={"threshold": 0.5, "thresholds": [], "at_least": 0})
        return {
            "majority": decoder.answers(np.repeat(usual[None], len(test), axis=0), **plain.decoder_options()),
            "tfidf": decoder.answers(fitted(test), **learnt.decoder_options()),
        }

    def example(self, rows: int = 64) -> list[dict[str, Any]]:
        """News of markets, each with one or two of three topics that are named in it."""
        cues = {"energy": ("oil", "gas"), "grain": ("wheat", "corn"), "metal": ("gold", "copper")}
        sets = (("grain",), ("energy", "metal"), ("energy",), ("metal",), ("energy", "grain"))
        frames = ("prices of {} rose today", "traders sell {} in large amounts", "the market for {} is quiet", "a report on {} is expected")
        made = []
        for row in range(rows):
            labels = sets[row % len(sets)]
            words = " and ".join(cues[label][(row // 5) % 2] for label in labels)
            made.append({"text": frames[(row // 3) % len(frames)].format(words), "labels": list(labels)})
        return made

    def _learn(self, truth: NDArray[np.bool_], probability: NDArray[np.float64]) -> Self:
        if self.threshold != "auto" or not len(truth):
            return self
        found = thresholds.learn(truth, probability, "macro" if self.goal in _PER_LABEL else "micro")
        return self.model_copy(update={"thresholds": found.tolist()})

    def _limits(self) -> NDArray[np.float64]:
        """The threshold of each label in use."""
        if self.threshold != "auto":
            return np.full(self.size, self.threshold)
        return np.array(self.thresholds) if self.thresholds else np.full(self.size, 0.5)

    def _truth(self, records: Sequence[Record]) -> NDArray[np.bool_]:
        return _labels.several([record.get(self._target) or [] for record in records], self.labels)

    def _guess(self, answers: Sequence[Answer]) -> NDArray[np.bool_]:
        return _labels.several([answer["labels"] for answer in answers], self.labels)
