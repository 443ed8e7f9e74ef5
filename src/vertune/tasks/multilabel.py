"""Any number of labels for a text, or for two texts, each with a threshold that is learnt on validation.

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
from vertune.core.kinds import Run, Task
from vertune.core.records import Answer, Cleaned, Column, Feature, Note, Record, Targets, View
from vertune.metrics import calibration, classification, thresholds
from vertune.tasks import _labels, _rows, _texts, _windows

if TYPE_CHECKING:
    import polars as pl
    import torch

_ERRORS = 30
_PER_LABEL = frozenset({"macro_f1", "weighted_f1"})
"""Metrics that average the F1 of labels, so that each label's threshold is best on its own."""


class SetAnswer(TypedDict):
    """What is said of one record; `labels` stand in order of their probability."""

    labels: list[str]
    probabilities: dict[str, float]
    truncated: bool


class Multilabel(Task):
    """Options of labelling with several labels."""

    columns: ClassVar[tuple[Column, ...]] = (
        _texts.TEXT,
        _texts.PAIR,
        Column("labels", "The labels: a list, or words with a delimiter between them.", role="target", type="labels"),
    )
    answer: ClassVar[type[Any]] = SetAnswer
    portable: ClassVar[bool] = True
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

    def clean(self, frame: pl.DataFrame) -> Cleaned:
        """Rows with their texts and, where there are `labels`, those as a list; a row may have none, but not a missing list."""
        import polars as pl

        _rows.need(frame, self.columns, self.name)
        problems, results = _texts.checked(frame, self.columns)
        if "labels" in frame.columns:
            problems.append((pl.col("labels").is_null(), "labels are missing"))
            results.append(self._lists(frame.schema["labels"]).alias("labels"))
        cleaned = _rows.sift(frame, [column.name for column in self.columns], problems, results)
        if "labels" in frame.columns:
            empty = int((cleaned.frame["labels"].list.len() == 0).sum())
            cleaned.notes += [Note(self.name, "rows have no label", empty, cleaned.frame.height)] if empty else []
        return cleaned

    def _lists(self, kind: pl.DataType) -> pl.Expr:
        """The labels column as lists of distinct words, whatever it was read as."""
        import polars as pl

        if isinstance(kind, pl.List | pl.Array):
            lists = pl.col("labels").cast(pl.List(pl.String))
        elif kind.is_nested() or kind.is_float():
            raise DataError(f"The column 'labels' must hold lists or words with '{self.delimiter}' between them, but it holds {kind}.")
        else:
            lists = pl.col("labels").cast(pl.String).str.split(self.delimiter)
        words = lists.list.eval(pl.element().str.strip_chars())
        return words.list.eval(pl.element().filter(pl.element().is_not_null() & (pl.element() != ""))).list.unique(maintain_order=True)

    def fit(self, frame: pl.DataFrame) -> Self:
        """A copy that knows the labels, and whether every record has one."""
        lists = _rows.target(frame, "labels", self.name)
        counts = dict(lists.explode(empty_as_null=True).drop_nulls().value_counts().iter_rows())
        labels = _labels.learnt(counts, self.labels, self.name)
        at_least = int((lists.list.len() > 0).all()) if self.at_least == "auto" else self.at_least
        return self.model_copy(update={"labels": labels, "at_least": at_least, "thresholds": []})

    def views(self, columns: Sequence[str]) -> tuple[View, ...]:
        """One sequence of the text, or of both texts together."""
        return _texts.views(columns)

    @property
    def size(self) -> int:
        """One number a label."""
        return len(self.labels)

    def head(self, width: int) -> torch.nn.Module:
        """One linear layer."""
        from torch import nn

        return nn.Linear(width, self.size)

    def targets(self, records: Sequence[Record], features: Sequence[Feature]) -> Targets:
        """Which labels each feature's record has, float32 of shape (labels,); DataError names labels that are not known."""
        present = self._truth(records).astype(np.float32)
        return Targets(list(present[_windows.owners(features)]))

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Sum of the binary losses of all labels, of each feature."""
        from vertune.nn import losses

        if self.objective == "focal":
            return losses.binary_focal(outputs, targets, self.gamma)
        return losses.binary_cross_entropy(outputs, targets)

    def decode(
        self, records: Sequence[Record], features: Sequence[Feature], outputs: Sequence[NDArray[Any]], run: Run | None = None
    ) -> list[Answer]:
        """The labels above their thresholds; the probabilities of a record's windows are averaged by their tokens."""
        merged = self._merged(len(records), features, outputs)
        return self._answers(merged, _windows.truncated(len(records), features))

    def calibrate(self, records: Sequence[Record], features: Sequence[Feature], outputs: Sequence[NDArray[Any]]) -> Self:
        """A copy with the threshold of each label that is best for the metric in use."""
        return self._learn(self._truth(records), self._merged(len(records), features, outputs))

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
                    **_texts.shown(records[row]),
                    "expected": list(records[row]["labels"]),
                    "answered": list(answers[row]["labels"]),
                }
                for row in worst
            ],
        }

    def baselines(self, train: Sequence[Record], validation: Sequence[Record], test: Sequence[Record]) -> dict[str, list[Answer]]:
        """The most frequent set of labels, and one logistic regression a label on TF-IDF, thresholds learnt as for the model."""
        from vertune.baselines import linear

        present = self._truth(train)
        often = max(Counter(map(bytes, present)).items(), key=lambda item: (item[1], item[0]), default=(bytes(self.size), 0))[0]
        usual = np.frombuffer(often, np.bool_).astype(np.float64)
        fitted = linear.sets(train, present)
        learnt = self._learn(self._truth(validation), fitted(validation)) if validation else self
        plain = self.model_copy(update={"threshold": 0.5, "thresholds": [], "at_least": 0})
        return {
            "majority": plain._answers(np.repeat(usual[None], len(test), axis=0)),
            "tfidf": learnt._answers(fitted(test)),
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

    def _merged(self, count: int, features: Sequence[Feature], outputs: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
        logits = np.array(outputs, np.float64) if len(outputs) else np.empty((0, self.size))
        return _windows.merge(count, features, _windows.sigmoid(logits))

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

    def _answers(self, probabilities: NDArray[np.float64], truncated: Sequence[bool] = ()) -> list[Answer]:
        """Answers from one row of probabilities a record."""
        order = np.argsort(-probabilities, axis=1, kind="stable")
        given = probabilities >= self._limits()
        sure = 0 if self.at_least == "auto" else min(self.at_least, self.size)
        np.put_along_axis(given, order[:, :sure], True, axis=1)
        cut = truncated or [False] * len(probabilities)
        return [
            {
                "labels": [self.labels[place] for place in places if has[place]],
                "probabilities": dict(zip(self.labels, row, strict=True)),
                "truncated": lost,
            }
            for places, has, row, lost in zip(order.tolist(), given.tolist(), probabilities.tolist(), cut, strict=True)
        ]

    def _truth(self, records: Sequence[Record]) -> NDArray[np.bool_]:
        return _labels.several([record.get("labels") or [] for record in records], self.labels)

    def _guess(self, answers: Sequence[Answer]) -> NDArray[np.bool_]:
        return _labels.several([answer["labels"] for answer in answers], self.labels)
