"""The base class of tasks: a task defines the record fields that a model reads, and its head (last layer), loss, answers and metrics.

`decode`, `tally` and `summarise` must use NumPy only, because they also run in processes in which torch is not installed.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from pydantic import Field, field_validator

from vertune.core.errors import UnknownName
from vertune.core.part import Part
from vertune.core.profile import Guess, TableProfile
from vertune.core.records import PLACES, Activation, Answer, Cleaned, Column, Feature, Record, Targets, View, equal_values

if TYPE_CHECKING:
    import polars as pl
    import torch
    from numpy.typing import NDArray

Run = Callable[[Sequence[Feature]], "list[NDArray[Any]]"]
"""A function that runs the model on features (model inputs) and returns one output array per feature, without padding."""


class Mixer(Protocol):
    """Changes the outputs of a model before a task decodes them."""

    @property
    def model(self) -> float:
        """The weight of the model's outputs; 0 if the answers don't depend on them."""
        ...

    def mixed(self, records: Sequence[Record], features: Sequence[Feature], outputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Return the outputs to decode, one array per feature (model input)."""
        ...

    def save(self, file: Path) -> None:
        """Write all that `mixed` needs to a file."""
        ...


NAMED = 0.5
"""The score of a guess that only names support, for `Task.guess`."""


class Task(Part):
    """A component that defines what a model predicts: the record fields, the head (last layer), the loss, the answers and the metrics."""

    folder: ClassVar[str] = "tasks"
    columns: ClassVar[tuple[Column, ...]] = ()
    """The fields of a record. Read this attribute from an instance, not from the class, because options may change the input fields."""
    answer: ClassVar[type[Any]]
    """The schema of an answer (the prediction for one record): a TypedDict class."""
    states: ClassVar[str] = "pooled"
    """What the head (last layer) reads: `pooled` (one vector per model input) or `tokens` (one vector per token)."""
    linear_head: ClassVar[bool] = False
    """Whether the head is one linear layer, so that it can be fitted as a linear model on the outputs of the unchanged encoder."""
    native_head: ClassVar[bool] = False
    """Whether the head that the pretrained model's transformers architecture defines (`pooling: native`) can replace `head`."""
    whole_batch: ClassVar[bool] = False
    """Whether the loss compares the rows of a batch with each other (as with in-batch negatives), so it gets the outputs of a whole batch
    at once. The outputs must then have one vector per feature (model input)."""
    metrics: ClassVar[tuple[str, ...]] = ()
    """Names of the metrics that `summarise` returns; the first is the default of the option `metric`."""
    lower_is_better: ClassVar[frozenset[str]] = frozenset()
    """Names of the metrics for which a smaller value is better."""
    decoder: ClassVar[str | None] = None
    """Name of a module, such as `vertune.decoders.classify`, whose function `decode(records, features, outputs, **decoder_options())`
    returns the answers. It may import only NumPy, the standard library, `vertune.decoders` and modules of its own package, because
    its source is copied into exports that run without vertune. None if the task overrides `Task.decode`."""
    activation: ClassVar[Activation | None] = None
    """How `decode` reads the outputs of the head: as logits of classes, as a logit for each label, or as a number, and averages the
    results over the windows of a record; or as logits of the BIO tags of each word, as `vertune.decoders.tag` does. The outputs are then
    mixed with scores of words (`vertune.lexical`), and `targets` must give each feature the class index, 0 or 1 for each label, the
    number, or the tag of each word at its first token. None decodes the outputs of the model alone."""
    gives_vectors: ClassVar[bool] = False
    """Whether an answer contains the embedding of the first input as `vector`, so that the server can offer the model for embeddings."""
    metric: str = Field(
        default="auto",
        description="The metric by which training selects the best weights and compression checks the smaller model; auto is the task's "
        "default.",
    )

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, value: str) -> str:
        if value != "auto" and value not in cls.metrics:
            raise UnknownName("metric", value, ["auto", *cls.metrics])
        return value

    @property
    def input_columns(self) -> tuple[Column, ...]:
        """The fields of a record that the model reads."""
        return tuple(column for column in self.columns if column.role == "input")

    @property
    def target_columns(self) -> tuple[Column, ...]:
        """The fields of a record that contain the expected answer."""
        return tuple(column for column in self.columns if column.role == "target")

    @property
    def goal(self) -> str:
        """The name of the metric that selects the best weights: `metric`, or the task's default if `metric` is `auto`."""
        return self.metrics[0] if self.metric == "auto" else self.metric

    @property
    def goal_sign(self) -> float:
        """1 if higher values of the metric `goal` are better, else -1."""
        return -1.0 if self.goal in self.lower_is_better else 1.0

    def resolve(self, frame: pl.DataFrame) -> Self:
        """Return a copy in which options on how values are written are set from the training rows, which are not cleaned yet.

        An example is the text that separates several labels in one cell. All tables are then cleaned with this copy.
        """
        return self

    def clean(self, frame: pl.DataFrame) -> Cleaned:
        """Convert the values of rows to the types that the task uses, and reject, with a reason, rows that can't be converted."""
        raise NotImplementedError

    def fit(self, frame: pl.DataFrame) -> Self:
        """Return a copy of the task with values computed from the training rows, such as labels, scale and class weights."""
        return self

    def guess(self, table: TableProfile) -> Guess | None:
        """Return from which columns of a table this task could read its fields, and how likely it is that the task is meant.

        None means that the task can't read the table. `vertune init` asks each task, and takes the one with the highest score. By
        default, a task can read a table with columns that have the names of its required fields.
        """
        present = {column.name: table.named(column.name) for column in self.columns}
        if not self.columns or any(column.required and not present[column.name] for column in self.columns):
            return None
        fields = {name: [found[0].name] for name, found in present.items() if found}
        reasons = {name: f"by its name: {found[0].description}" for name, found in present.items() if found}
        return Guess(NAMED, fields, {**reasons, "task": "the columns have the names of its fields"})

    def views(self, columns: Sequence[str]) -> tuple[View, ...]:
        """Return the definition of each model input that the encoder must make of a record; `columns` are the fields that records have."""
        raise NotImplementedError

    @property
    def size(self) -> int:
        """The number of outputs of the head (last layer) per model input, or per token if `states` is `tokens`."""
        raise NotImplementedError

    @property
    def output_names(self) -> tuple[str, ...]:
        """The label that each output of the head stands for, in the order of the outputs; empty if outputs don't stand for labels."""
        return self.known_labels if len(self.known_labels) == self.size else ()

    @property
    def known_labels(self) -> tuple[str, ...]:
        """The labels that an answer can contain, in a fixed order; empty if answers contain no labels, and before `fit` is called."""
        return ()

    def head(self, width: int) -> torch.nn.Module:
        """Return the head: a torch module that converts the encoder's output vectors, of size `width`, to the task's outputs."""
        raise NotImplementedError

    def apply(self, states: NDArray[Any], head: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Return the outputs of the head for these input vectors, computed without torch; `head` contains the head's weights by name."""
        out: NDArray[Any] = states @ head["weight"].T + head["bias"]
        return out

    def targets(self, records: Sequence[Record], features: Sequence[Feature]) -> Targets:
        """Return the expected values with which the loss compares the model's outputs for these features (model inputs)."""
        raise NotImplementedError

    def sampling(self, records: Sequence[Record]) -> NDArray[Any] | None:
        """Return, for each record, how often on average it is used in an epoch, for example to balance classes; None means once each."""
        return None

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss of each feature (model input), shape (features,).

        If there is one target per token, the value -100 marks padding, which must not add to the loss.
        """
        raise NotImplementedError

    def label_records(self, columns: Sequence[str]) -> tuple[list[Record], bool]:
        """Return records that describe the labels, as further training records where there are few, and whether they are surely of use.

        Each has the description of a label, such as its name, as its text, and the label as its target; a label without a description has
        none. `columns` are the columns of the training records. Records that may be of no use are tried first.
        """
        return [], False

    def likeness(self, targets: torch.Tensor) -> torch.Tensor:
        """Return how alike the targets of each pair of features (model inputs) are, from 0 to 1, shape (features, features).

        A contrastive objective gives features with similar targets similar states. Only a task whose targets can be compared in this
        way overrides this method.
        """
        raise NotImplementedError

    @property
    def compares_targets(self) -> bool:
        """Whether the states can be trained with a contrastive objective, which is so if the task overrides `likeness`."""
        return type(self).likeness is not Task.likeness

    @property
    def portable(self) -> bool:
        """Whether exported code can compute answers without vertune; true if the task has a `decoder` and does not override `decode`."""
        return self.decoder is not None and type(self).decode is Task.decode

    def decoder_options(self) -> dict[str, Any]:
        """Return further arguments, as JSON values by name, for the function `decode` of the module that the attribute `decoder` names."""
        return {}

    def decode(
        self, records: Sequence[Record], features: Sequence[Feature], outputs: Sequence[NDArray[Any]], run: Run | None = None
    ) -> list[Answer]:
        """Return one answer per record, computed from the model's outputs for the features (model inputs) of the records.

        By default, this calls the function `decode` of the module `decoder`; a task without a decoder must override this method.
        `run` computes the model's outputs for further features, for tasks that need them.
        """
        if self.decoder is None:
            raise NotImplementedError(
                f"The task '{self.name}' has no decoder and does not override decode. Set the class attribute decoder, or override decode."
            )
        module: Any = importlib.import_module(self.decoder)
        answers: list[Answer] = module.decode(records, features, outputs, **self.decoder_options())
        return answers

    def named(self, answer: Answer) -> tuple[str, ...]:
        """Return the labels in an answer, each as often as it occurs there; empty if the answer contains no labels."""
        return ()

    @property
    def names_labels(self) -> bool:
        """Whether answers of this task can contain labels, which is so if the task overrides `named`."""
        return type(self).named is not Task.named

    def confidence(self, answer: Answer) -> float | None:
        """Return the probability, from 0 to 1, that the model assigned to this answer; None if the answer contains no probability."""
        return None

    @property
    def answers_with_places(self) -> bool:
        """Whether the right answer is a place in a text, so that its offsets fit one form of this text alone."""
        return any(column.type in PLACES for column in self.target_columns)

    @property
    def marked_input(self) -> str:
        """The input field that spans and accepted answers refer to by their offsets, where a task has such targets: the last one."""
        return self.input_columns[-1].name

    def as_target(self, answer: Answer, record: Record) -> dict[str, Any]:
        """Return the values of the target fields of a record for which this answer is right; empty if an answer does not contain them."""
        return {column.name: answer[column.name] for column in self.target_columns if column.name in answer}

    def brief(self, answer: Answer) -> Answer:
        """Return the answer as it is written to files: without parts whose size grows with the number of labels."""
        return answer

    def agrees(self, one: Answer, other: Answer) -> bool:
        """Return whether two answers are equal: whether they contain the same labels, in any order.

        If neither answer contains labels, all their values are compared, up to rounding.
        """
        if self.named(one) or self.named(other):
            return sorted(self.named(one)) == sorted(self.named(other))
        return equal_values(one, other)

    def calibrate(self, records: Sequence[Record], features: Sequence[Feature], outputs: Sequence[NDArray[Any]]) -> Self:
        """Return a copy of the task with values, such as thresholds, that were fitted on these validation records and model outputs."""
        return self

    def tally(self, records: Sequence[Record], answers: Sequence[Answer]) -> NDArray[Any]:
        """Return rows of statistics on the answers, float64 of shape (n, k); `summarise` computes the metrics from the sum of the rows.

        Confidence intervals are computed by bootstrap, which draws from these rows. So there is one row for each unit that is drawn as a
        whole: in most tasks a record, in others, for example, a query.
        """
        raise NotImplementedError

    def summarise(self, total: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Compute all metrics from sums of the rows that `tally` returns; return them by name.

        `total` contains one sum, shape (k,), or many, such as one for each bootstrap sample, shape (..., k). Each metric has the shape
        (...), without the last dimension.
        """
        raise NotImplementedError

    def score(self, records: Sequence[Record], answers: Sequence[Answer]) -> dict[str, float]:
        """Return every metric by name, computed by comparing these answers with the targets in the records."""
        total = self.tally(records, answers).sum(axis=0)
        return {name: float(value) for name, value in self.summarise(total).items()}

    def details(self, records: Sequence[Record], answers: Sequence[Answer]) -> dict[str, Any]:
        """Return what the evaluation report shows besides metrics; each of the following entries is optional.

        `per_class`: `[{"label", "precision", "recall", "f1", "support"}, …]`.
        `confusion`: `{"labels": […], "cells": [[true, predicted, count], …]}`, the cells of the confusion matrix that are not 0, the
        largest counts first; `true` and `predicted` are indices into the labels.
        `calibration`: the result of `vertune.metrics.calibration.reliability`.
        `errors`: `[{"row", "expected", "answered", …}, …]`, all wrong answers, the worst first. `row` is an index into the records;
        `expected` and `answered` are words or numbers; the keys `probability` and `error` (a distance) are optional; any other key
        contains a text of the record to show.
        `points`: `[[expected, answered], …]`, pairs of numbers.
        Any entry whose value is a float is shown as a further metric, without a confidence interval.
        """
        return {}

    def baselines(self, train: Sequence[Record], validation: Sequence[Record], test: Sequence[Record]) -> dict[str, list[Answer]]:
        """Fit simple models (baselines) to compare the trained model with, and return, by name, their answers to the test records."""
        raise NotImplementedError

    def example(self, rows: int = 64) -> list[dict[str, Any]]:
        """Return a small set of artificial records on which a model can be trained, for tests and documentation."""
        raise NotImplementedError
