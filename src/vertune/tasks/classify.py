"""Assigns one of several labels to a text, to a pair of texts or to the fields that the option `inputs` lists.

Independent of the encoder. A long text may be divided into windows (overlapping pieces); the probabilities that the
model predicts for the windows are averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypedDict

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vertune.core.errors import ConfigError, UnknownName
from vertune.core.profile import ColumnProfile, Guess, TableProfile
from vertune.core.records import Activation, Answer, Cleaned, Column, Feature, Record, Targets
from vertune.decoders import classify as decoder
from vertune.decoders import windows
from vertune.metrics import calibration, classification
from vertune.tasks import _guess, _inputs, _labels, _rows

if TYPE_CHECKING:
    import polars as pl
    import torch

SKEWED = 3.0
"""`imbalance: auto` weights the classes if the largest has at least this many times the rows of the smallest."""
_EVEN = frozenset({"macro_f1", "balanced_accuracy"})
"""Metrics that weight every class equally, whatever its number of rows."""
_MOST_NUMBERS = 30
"""Number of distinct whole numbers up to which they can be classes, for a guess."""


class ClassAnswer(TypedDict):
    """The prediction for one record: the predicted label, its probability, and the probability of every class.

    `truncated` is whether the model input was truncated.
    """

    label: str
    probability: float
    probabilities: dict[str, float]
    truncated: bool


def _has_classes(column: ColumnProfile) -> bool:
    """Return whether a column can contain classes: from 2 values that occur several times."""
    return 1 < column.unique <= column.filled / 2 and (column.kind != "number" or (column.whole and column.unique <= _MOST_NUMBERS))


class Classify(_inputs.SingleView):
    """Options of the classification task, which predicts one label for each record."""

    columns: ClassVar[tuple[Column, ...]] = (
        _inputs.TEXT,
        _inputs.PAIR,
        Column("label", "The class: a word or a whole number.", role="target", type="label"),
    )
    answer: ClassVar[type[Any]] = ClassAnswer
    decoder: ClassVar[str | None] = decoder.__name__
    activation: ClassVar[Activation | None] = "softmax"
    linear_head: ClassVar[bool] = True
    native_head: ClassVar[bool] = True
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1", "weighted_f1", "balanced_accuracy", "mcc", "f1")

    labels: list[str] = Field(default=[])
    """The classes, in the order of the model's outputs; if empty, they are taken from the training rows."""
    counts: list[int] = Field(default=[])
    """The number of training rows per class; set by training."""
    descriptions: dict[str, str] | Literal["auto", "none"] = "auto"
    """A text about each label, as `{LABEL: TEXT}`. They are training rows where a label has few others; `auto` tries the names
    of the labels in words, and keeps them if they help in a cross-validation. Not for pairs of texts."""
    positive: str | None = None
    """The class whose F1 is the metric `f1`. By default, if there are two classes, it is the last one; else there is none."""
    imbalance: Literal["auto", "none", "weight", "focal", "resample"] = "auto"
    """How training compensates for rare classes: `weight` weights the loss by class, `focal` uses the focal loss, `resample` draws
    rows of rare classes more often. `auto` chooses `weight` if the main metric is `macro_f1` or `balanced_accuracy` and the largest
    class has at least 3 times the rows of the smallest; else `none`, because weights reduce the accuracy."""
    gamma: float = Field(default=2.0, ge=0)
    """Exponent of the focal loss: higher values give less weight to rows that are already predicted well."""
    smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Label smoothing: the fraction of the target probability that is spread evenly over all classes."""

    @property
    def _target(self) -> str:
        """The name of the label column."""
        return self.target_columns[0].name

    def clean(self, frame: pl.DataFrame) -> Cleaned:
        """Check the rows, and convert the labels to text if the data has a label column.

        The result contains the valid rows, and the rejected rows with reasons, such as a missing label. Raises
        DataError if labels are numbers such as 0.5, unless the option `labels` contains all labels of the data.
        """
        checks = self.check_inputs(frame)
        if self._target in frame.columns:
            frame = _labels.check(frame, self._target, self.labels, checks)
        return _rows.sift(frame, checks, self.name)

    def fit(self, frame: pl.DataFrame) -> Self:
        """Return a copy with `labels`, `counts`, `positive` and `imbalance` set from the training rows.

        Values that the config sets for `labels`, `positive` or `imbalance` are kept. Raises UnknownName if the option
        `positive` is not one of the labels. Raises ConfigError if the main metric is `f1`, which needs a positive
        class, but there is none.
        """
        counts = dict(_rows.target(frame, self._target, self.name).drop_nulls().value_counts().iter_rows())
        labels = _labels.learnt(counts, self.labels, self.name)
        _labels.described(labels, self.descriptions)  # raises UnknownName if one describes no label
        positive = self.positive or (labels[-1] if len(labels) == 2 else None)
        if positive is not None and positive not in labels:
            raise UnknownName("label", positive, labels)
        if self.goal == "f1" and positive is None:
            raise ConfigError(
                f"The metric f1 measures a single class, but the task has {len(labels)} classes. "
                "Name that class in the options of the task: `positive: LABEL`, or choose the metric macro_f1."
            )
        rows = [counts.get(label, 0) for label in labels]
        imbalance = self.imbalance
        if imbalance == "auto":
            imbalance = "weight" if self.goal in _EVEN and max(rows) >= SKEWED * max(1, min(rows)) else "none"
        return self.model_copy(update={"labels": labels, "counts": rows, "positive": positive, "imbalance": imbalance})

    def guess(self, table: TableProfile) -> Guess | None:
        """Return which column could contain one class per row, and which columns the class could be predicted from."""
        found = _guess.target(table, ("category", "flags", "number"), "label", _has_classes)
        return _guess.single(self, table, found, f"contains one of {found[0].unique:,} values per row" if found else "")

    @property
    def size(self) -> int:
        """The number of outputs of the model per input: one per class."""
        return len(self.labels)

    @property
    def known_labels(self) -> tuple[str, ...]:
        """The classes, in the order of the model's outputs."""
        return tuple(self.labels)

    def head(self, width: int) -> torch.nn.Module:
        """Return a new head (last layer): a linear layer from vectors of length `width` to one output per class."""
        from torch import nn

        return nn.Linear(width, self.size)

    def targets(self, records: Sequence[Record], features: Sequence[Feature]) -> Targets:
        """Return, for each feature (model input), the class index (int64) of the record that the feature was made from.

        If the option `imbalance` is `weight`, each feature also gets the weight of its class in the loss. Raises
        DataError if a record has a label that is not in `labels`.
        """
        truth = self._truth(records)[windows.owners(features)]
        weights = self._evening()[truth].astype(np.float32) if self.imbalance == "weight" else None
        return Targets(list(truth), weights)

    def label_records(self, columns: Sequence[str]) -> tuple[list[Record], bool]:
        """Return one record for each label that has a description, and whether the config gives the descriptions."""
        described = self.described(columns, _labels.described(self.labels, self.descriptions))
        return [{**record, self._target: label} for label, record in described.items()], self.descriptions != "auto"

    def sampling(self, records: Sequence[Record]) -> NDArray[np.float64] | None:
        """Return how often, on average, each record is drawn per epoch, shape (records,).

        The numbers are chosen so that all classes are drawn equally often; the number of rows per epoch does not
        change. Returns None, which means once per record, if the option `imbalance` is not `resample`.
        """
        return self._evening()[self._truth(records)] if self.imbalance == "resample" else None

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss of each model input, shape (inputs,).

        It is the focal loss if the option `imbalance` is `focal`, otherwise the cross-entropy.
        """
        from vertune.nn import losses

        if self.imbalance == "focal":
            return losses.focal(outputs, targets, self.gamma, self.smoothing)
        return losses.cross_entropy(outputs, targets, self.smoothing)

    def likeness(self, targets: torch.Tensor) -> torch.Tensor:
        """Return 1 for each pair of model inputs with the same class, else 0, shape (inputs, inputs)."""
        return (targets[:, None] == targets[None]).float()

    def decoder_options(self) -> dict[str, Any]:
        """Return the keyword arguments of `decode` in `vertune.decoders.classify`, which makes answers from model outputs.

        The only one is the list of labels.
        """
        return {"labels": self.labels}

    def named(self, answer: Answer) -> tuple[str, ...]:
        """Return the predicted label, the only label in an answer, as a tuple."""
        return (answer["label"],)

    def confidence(self, answer: Answer) -> float | None:
        """Return the probability of the predicted label."""
        return float(answer["probability"])

    def brief(self, answer: Answer) -> Answer:
        """Return the answer with the 20 highest probabilities, and with the sum of the other ones as `rest`."""
        return _labels.brief(answer, (answer["label"],))

    def tally(self, records: Sequence[Record], answers: Sequence[Answer]) -> NDArray[Any]:
        """Return 0 or 1 for the true positives, false positives and false negatives of each class in each record.

        The shape is (records, 3 * classes). `summarise` computes the metrics from the sum of the rows.
        """
        return classification.tally(self._truth(records), self._guess(answers), len(self.labels))

    def summarise(self, total: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return the classification metrics by name; `total` is the sum of the rows that `tally` returns.

        If the task has a positive class (`positive`), the metrics include the F1 of this class as `f1`.
        """
        values = classification.summarise(total, len(self.labels))
        if self.positive is not None:
            values["f1"] = classification.f1(classification.split(total, len(self.labels)))[..., self.labels.index(self.positive)]
        return values

    def details(self, records: Sequence[Record], answers: Sequence[Answer]) -> dict[str, Any]:
        """Return what the evaluation report shows besides metrics.

        This is: the scores per class, the confusion matrix, the calibration, and the wrong predictions, the most
        confident first.
        """
        truth, guess = self._truth(records), self._guess(answers)
        confidence = np.array([answer["probability"] for answer in answers], np.float64)
        wrong = np.flatnonzero(truth != guess)
        worst = wrong[np.argsort(-confidence[wrong], kind="stable")]
        return {
            "per_class": classification.per_class(classification.tally(truth, guess, len(self.labels)).sum(0), self.labels),
            "confusion": {"labels": self.labels, "cells": classification.confusion(truth, guess, len(self.labels))},
            "calibration": calibration.reliability(confidence, truth == guess, bins=15),
            "errors": [
                {
                    "row": int(row),
                    **_inputs.shown(records[row], self.input_columns),
                    "expected": self.labels[truth[row]],
                    "answered": self.labels[guess[row]],
                    "probability": float(confidence[row]),
                }
                for row in worst
            ],
        }

    def baselines(self, train: Sequence[Record], validation: Sequence[Record], test: Sequence[Record]) -> dict[str, list[Answer]]:
        """Fit two baselines, and return their predictions for the test records.

        `majority` always predicts the most frequent class of the training records. `tfidf` is a logistic regression on
        TF-IDF features; unless there are many training records, its regularisation is chosen on the validation records.
        """
        from vertune.baselines import linear

        truth, held = self._truth(train), self._truth(validation)
        share = np.bincount(truth, minlength=len(self.labels)) / max(1, len(truth))
        train, validation, test = (_inputs.as_texts(rows, self.input_columns) for rows in (train, validation, test))
        fitted = linear.classes(train, truth, len(self.labels), linear.HoldOut(validation, held))
        return {
            "majority": decoder.answers(np.repeat(share[None], len(test), axis=0), self.labels),
            "tfidf": decoder.answers(fitted(test), self.labels),
        }

    def example(self, rows: int = 64) -> list[dict[str, Any]]:
        """Return example rows: questions to a bank, each with one of three classes.

        One word of each question, such as `card`, shows its class.
        """
        cues = {"card": ("card", "cards"), "transfer": ("transfer", "transfers"), "exchange": ("rate", "currency")}
        frames = (
            "where is my {}",
            "tell me about the {}",
            "i have a problem with a {} today",
            "why was the {} refused",
            "please help, {} is wrong",
        )
        names = sorted(cues)
        made = []
        for row in range(rows):
            label = names[row % len(names)]
            made.append({"text": frames[(row // 3) % len(frames)].format(cues[label][(row // 15) % 2]), "label": label})
        return made

    def _truth(self, records: Sequence[Record]) -> NDArray[np.int64]:
        """Return the class index of the label of each record, shape (records,)."""
        return _labels.index([record.get(self._target) for record in records], self.labels)

    def _guess(self, answers: Sequence[Answer]) -> NDArray[np.int64]:
        """Return the class index of each predicted label, shape (answers,)."""
        return _labels.index([answer["label"] for answer in answers], self.labels)

    def _evening(self) -> NDArray[np.float64]:
        """Return a weight for each class, inversely proportional to the class's number of training rows.

        With these weights, all classes have equal influence. The mean of the weights over the training rows is 1. A
        class without training rows has the weight 1.
        """
        counts = np.array(self.counts, np.float64)
        present = counts > 0
        return np.where(present, counts.sum() / (max(1, present.sum()) * np.maximum(counts, 1)), 1.0)
