"""Assigns any number of labels to a text, to a pair of texts or to the fields that the option `inputs` lists.

A label is predicted if its probability reaches its threshold; the thresholds are fitted on validation rows. Independent
of the encoder. A long text may be divided into windows (overlapping pieces); the probabilities that the model predicts
for the windows are averaged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypedDict

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from vertune.core import separators
from vertune.core.profile import Guess, TableProfile
from vertune.core.records import Activation, Answer, Cleaned, Column, Feature, Record, Targets
from vertune.decoders import multilabel as decoder
from vertune.decoders import windows
from vertune.metrics import calibration, classification, thresholds
from vertune.tasks import _guess, _inputs, _label_sets, _labels, _rows

if TYPE_CHECKING:
    import polars as pl
    import torch

_FLAGS = 0.62
"""The score of a guess for a column of 0 and 1 for each label: more than for one of these columns alone."""
_PER_LABEL = frozenset({"macro_f1", "weighted_f1"})
"""Metrics that are means of the F1 of each label, so that the threshold of a label can be fitted independently of the others."""


class SetAnswer(TypedDict):
    """The prediction for one record: the predicted labels, and the probability of every label of the task.

    The predicted labels are sorted by falling probability. `truncated` is whether the model input was truncated.
    """

    labels: list[str]
    probabilities: dict[str, float]
    truncated: bool


class Multilabel(_inputs.SingleView):
    """Options of the multi-label task, which predicts a set of labels for each record."""

    columns: ClassVar[tuple[Column, ...]] = (
        _inputs.TEXT,
        _inputs.PAIR,
        Column("labels", "The labels: a list, or one text in which a separator divides them.", role="target", type="labels"),
    )
    answer: ClassVar[type[Any]] = SetAnswer
    decoder: ClassVar[str | None] = decoder.__name__
    activation: ClassVar[Activation | None] = "sigmoid"
    linear_head: ClassVar[bool] = True
    native_head: ClassVar[bool] = True
    metrics: ClassVar[tuple[str, ...]] = (
        "micro_f1", "macro_f1", "weighted_f1", "samples_f1", "micro_precision", "micro_recall", "subset_accuracy", "hamming_loss",
    )  # fmt: skip
    lower_is_better: ClassVar[frozenset[str]] = frozenset({"hamming_loss"})

    labels: list[str] = Field(default=[])
    """All labels, in the order of the model's outputs; if empty, they are taken from the training rows."""
    descriptions: dict[str, str] | Literal["auto", "none"] = "auto"
    """A text about each label, as `{LABEL: TEXT}`. They are training rows where a label has few others; `auto` tries the names
    of the labels in words, and keeps them if they help in a cross-validation. Not for pairs of texts."""
    separator: str = "auto"
    """The text that separates the labels of a row, if they are written as one text; empty if each text is one label. auto recognises it
    in the training rows: `|`, `;`, `,`, `、`, a tab, a line end, `/` or a space. Lists written as text are always read."""
    threshold: Annotated[float, Field(ge=0, le=1)] | Literal["auto"] = "auto"
    """Probability from which a label is predicted; auto fits one threshold per label on the validation rows."""
    thresholds: list[float] = Field(default=[])
    """The fitted threshold of each label; set by training."""
    at_least: Annotated[int, Field(ge=0)] | Literal["auto"] = "auto"
    """Least number of labels per prediction: so many of the most probable labels are predicted even if they don't reach their
    thresholds. auto is 1 if every training row has a label, else 0."""
    objective: Literal["binary_cross_entropy", "focal"] = "binary_cross_entropy"
    """The loss. `focal` gives less weight to labels that are already predicted well, which may help rare ones."""
    gamma: float = Field(default=2.0, ge=0)
    """Exponent of the focal loss: higher values give less weight to labels that are already predicted well."""

    @property
    def _target(self) -> str:
        """The name of the label column."""
        return self.target_columns[0].name

    @model_validator(mode="before")
    @classmethod
    def _older_spelling(cls, value: Any) -> Any:
        """Accept `delimiter`, the older name of `separator`, which models of older versions have in their config."""
        if isinstance(value, dict) and "delimiter" in value and "separator" not in value:
            return {("separator" if key == "delimiter" else key): item for key, item in value.items()}
        return value

    def resolve(self, frame: pl.DataFrame) -> Self:
        """Return a copy in which `separator`, if it is `auto`, is the text that separates labels in these rows.

        It stays `auto` if the column contains lists, so that a later table of texts can be read, too.
        """
        import polars as pl

        if self.separator != "auto" or frame.schema.get(self._target) != pl.String:
            return self
        return self.model_copy(update={"separator": separators.recognise(frame[self._target].drop_nulls().unique(maintain_order=True))})

    def clean(self, frame: pl.DataFrame) -> Cleaned:
        """Check the rows, and convert the labels to lists if the data has a label column.

        The result contains the valid rows, and the rejected rows with reasons. A row with an empty list is valid; a row
        with null instead of labels is rejected. Raises DataError if the type of the label column can't contain labels.
        """
        import polars as pl

        checks, name = self.check_inputs(frame), self._target
        if name not in frame.columns:
            return _rows.sift(frame, checks, self.name)
        frame = _label_sets.read(frame, name, self.resolve(frame).separator)
        checks.problems += [(pl.col(name).is_null(), f"{name} are missing"), (pl.col("__unread").is_not_null(), pl.col("__unread"))]
        _label_sets.convert(name, checks)
        cleaned = _rows.sift(frame, checks, self.name)
        cleaned.frame = cleaned.frame.drop("__labels", "__unread")
        return cleaned

    def fit(self, frame: pl.DataFrame) -> Self:
        """Return a copy in which `labels`, if empty, and `at_least`, if it is `auto`, are set from the training rows.

        Thresholds from an earlier training are removed from the copy.
        """
        lists = _rows.target(frame, self._target, self.name)
        counts = dict(lists.explode(empty_as_null=True).drop_nulls().value_counts().iter_rows())
        labels = _labels.learnt(counts, self.labels, self.name)
        _labels.described(labels, self.descriptions)  # raises UnknownName if one describes no label
        at_least = int((lists.list.len() > 0).all()) if self.at_least == "auto" else self.at_least
        return self.model_copy(update={"labels": labels, "at_least": at_least, "thresholds": []})

    def guess(self, table: TableProfile) -> Guess | None:
        """Return which column could contain several labels per row, or which columns could contain one label each, marked with 0 and 1."""
        found = _guess.target(table, ("labels",), "label", lambda column: column.unique > 1)
        guess = _guess.single(self, table, found, "contains several labels per row")
        if guess is not None and found is not None and found[0].separator is not None:
            guess.options["separator"] = found[0].separator
        return self._guess_flags(table) if guess is None else guess

    def _guess_flags(self, table: TableProfile) -> Guess | None:
        """Return the guess that each of several columns of 0 and 1 marks the rows with one label; None if there is no text or label."""
        flags = _guess.flag_columns(table)
        read = _guess.inputs(table.without(*flags), None, [column.name for column in self.input_columns]) if flags else None
        if read is None:
            return None
        name = self.target_columns[0].name
        about = f"each of the {len(flags)} columns says whether one label applies"
        score = max(_FLAGS, _guess.flags_score(flags, table.rows))
        return Guess(score, {**read.fields, name: [column.name for column in flags]}, {**read.reasons, name: about, "task": about})

    @property
    def size(self) -> int:
        """The number of outputs of the model per input: one per label."""
        return len(self.labels)

    @property
    def known_labels(self) -> tuple[str, ...]:
        """The labels, in the order of the model's outputs."""
        return tuple(self.labels)

    def head(self, width: int) -> torch.nn.Module:
        """Return a new head (last layer): a linear layer from vectors of length `width` to one output per label."""
        from torch import nn

        return nn.Linear(width, self.size)

    def label_records(self, columns: Sequence[str]) -> tuple[list[Record], bool]:
        """Return one record for each label that has a description, and whether the config gives the descriptions."""
        described = self.described(columns, _labels.described(self.labels, self.descriptions))
        return [{**record, self._target: [label]} for label, record in described.items()], self.descriptions != "auto"

    def targets(self, records: Sequence[Record], features: Sequence[Feature]) -> Targets:
        """Return, for each feature (model input), the labels of the record that the feature was made from.

        They are a float32 array of shape (labels,): 1 for each label of the record, 0 for the others. Raises DataError
        if a record has a label that is not in `labels`.
        """
        present = self._truth(records).astype(np.float32)
        return Targets(list(present[windows.owners(features)]))

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss of each model input, shape (inputs,).

        It is the sum over all labels of the binary cross-entropy or, if the option `objective` is `focal`, of the
        binary focal loss.
        """
        from vertune.nn import losses

        if self.objective == "focal":
            return losses.binary_focal(outputs, targets, self.gamma)
        return losses.binary_cross_entropy(outputs, targets)

    def likeness(self, targets: torch.Tensor) -> torch.Tensor:
        """Return the Jaccard index of the label sets of each pair of model inputs, shape (inputs, inputs).

        It is the number of labels that both have, divided by the number that at least one has; two empty sets have 1.
        """
        sizes, common = targets.sum(1), targets @ targets.T
        together = sizes[:, None] + sizes[None] - common
        return common / together.clamp(min=1) + (together == 0)

    def decoder_options(self) -> dict[str, Any]:
        """Return the keyword arguments of `decode` in `vertune.decoders.multilabel`, which makes answers from model outputs.

        They are the labels, their thresholds, and the least number of labels per prediction.
        """
        at_least = 0 if self.at_least == "auto" else min(self.at_least, self.size)
        return {"labels": self.labels, "thresholds": self._limits().tolist(), "at_least": at_least}

    def named(self, answer: Answer) -> tuple[str, ...]:
        """Return the labels that an answer contains."""
        return tuple(answer["labels"])

    def brief(self, answer: Answer) -> Answer:
        """Return the answer with the 20 highest probabilities and those of predicted labels, and the sum of the other ones as `rest`."""
        return _labels.brief(answer, answer["labels"])

    def confidence(self, answer: Answer) -> float | None:
        """Return the certainty of the least certain label among all labels of the task.

        The certainty of a label with the probability p is p if the label is predicted, and 1 - p if it is not.
        """
        named = set(answer["labels"])
        sure = [value if label in named else 1 - value for label, value in answer["probabilities"].items()]
        return float(min(sure, default=1.0))

    def calibrate(self, records: Sequence[Record], features: Sequence[Feature], outputs: Sequence[NDArray[Any]]) -> Self:
        """Return a copy with a threshold per label, fitted on these validation records and the model's outputs for them.

        The fit optimises macro F1 if the main metric is `macro_f1` or `weighted_f1`, otherwise micro F1. Returns the
        task unchanged if the option `threshold` is a number, or if there are no records.
        """
        return self._learn(self._truth(records), decoder.merged(len(records), features, outputs, self.size))

    def tally(self, records: Sequence[Record], answers: Sequence[Answer]) -> NDArray[Any]:
        """Return one row of counts per record, shape (records, 3 * labels + 3).

        The counts, such as the true positives of each label, are those of `metrics.classification.tally_sets`.
        `summarise` computes the metrics from the sum of the rows.
        """
        return classification.tally_sets(self._truth(records), self._guess(answers))

    def summarise(self, total: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return F1, precision, recall, subset accuracy and Hamming loss; `total` is the sum of the rows that `tally` returns."""
        return dict(classification.summarise_sets(total, self.size))

    def details(self, records: Sequence[Record], answers: Sequence[Answer]) -> dict[str, Any]:
        """Return what the evaluation report shows besides metrics.

        This is: the scores and threshold of each label, the calibration over all (record, label) pairs, and the
        wrong predictions. The predictions whose probabilities differ most from the true labels come first.
        """
        truth, guess = self._truth(records), self._guess(answers)
        probability = np.array([list(answer["probabilities"].values()) for answer in answers]).reshape(truth.shape)
        surprise = np.where(truth != guess, np.abs(probability - truth), 0).sum(1)
        worst = [row for row in np.argsort(-surprise, kind="stable") if (truth[row] != guess[row]).any()]
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
        """Fit two baselines, and return their predictions for the test records.

        `majority` always predicts the set of labels that is most frequent in the training records. `tfidf` is one
        logistic regression per label on TF-IDF features; the thresholds of the labels are fitted on the validation
        records, as those of the model are.
        """
        from vertune.baselines import linear

        present, held = self._truth(train), self._truth(validation)
        often = max(Counter(map(bytes, present)).items(), key=lambda item: (item[1], item[0]), default=(bytes(self.size), 0))[0]
        usual = np.frombuffer(often, np.bool_).astype(np.float64)
        train, validation, test = (_inputs.as_texts(rows, self.input_columns) for rows in (train, validation, test))
        fitted = linear.sets(train, present)
        calibrated = self._learn(held, fitted(validation)) if validation else self
        plain = self.model_copy(update={"threshold": 0.5, "thresholds": [], "at_least": 0})
        return {
            "majority": decoder.answers(np.repeat(usual[None], len(test), axis=0), **plain.decoder_options()),
            "tfidf": decoder.answers(fitted(test), **calibrated.decoder_options()),
        }

    def example(self, rows: int = 64) -> list[dict[str, Any]]:
        """Return example rows: market news with one or two of three topics as labels.

        For each of its topics, a text contains one word, such as `oil` for the topic `energy`.
        """
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
        """Return a copy with a threshold per label, fitted on true labels and predicted probabilities.

        Both arrays have the shape (records, labels). Returns the task unchanged if the option `threshold` is a number,
        or if there are no records.
        """
        if self.threshold != "auto" or not len(truth):
            return self
        fitted = thresholds.learn(truth, probability, "macro" if self.goal in _PER_LABEL else "micro")
        return self.model_copy(update={"thresholds": fitted.tolist()})

    def _limits(self) -> NDArray[np.float64]:
        """Return the probability from which each label is predicted, shape (labels,).

        It is the option `threshold` if this is a number, otherwise the fitted threshold of the label. Before training,
        it is 0.5.
        """
        if self.threshold != "auto":
            return np.full(self.size, self.threshold)
        return np.array(self.thresholds) if self.thresholds else np.full(self.size, 0.5)

    def _truth(self, records: Sequence[Record]) -> NDArray[np.bool_]:
        """Return a bool array of shape (records, labels) that is true for each label of a record."""
        return _labels.several([record.get(self._target) or [] for record in records], self.labels)

    def _guess(self, answers: Sequence[Answer]) -> NDArray[np.bool_]:
        """Return a bool array of shape (answers, labels) that is true for each label that an answer predicts."""
        return _labels.several([answer["labels"] for answer in answers], self.labels)
