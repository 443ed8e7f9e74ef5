"""The kind `Task`: a task defines the fields of records, the head, the loss, the answers and the metrics of a model.

`decode`, `tally` and `summarise` use NumPy only, so that torch, ONNX and a process without torch share one implementation.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pydantic import Field, field_validator

from vertune.core.errors import UnknownName
from vertune.core.part import Part
from vertune.core.records import Answer, Cleaned, Column, Feature, Record, Targets, View, equal_values

if TYPE_CHECKING:
    import polars as pl
    import torch
    from numpy.typing import NDArray

Run = Callable[[Sequence[Feature]], "list[NDArray[Any]]"]
"""A forward pass over features: returns one output array per feature, without padding."""


class Task(Part):
    """What a model predicts and how it is measured: the schema of records and answers, head, loss, decoding and metrics."""

    folder: ClassVar[str] = "tasks"
    columns: ClassVar[tuple[Column, ...]] = ()
    """The fields of a record, by name, role and type. Read them from an instance, because options may change the inputs."""
    answer: ClassVar[type[Any]]
    """The schema of answers, a TypedDict."""
    states: ClassVar[str] = "pooled"
    """What the head reads: `pooled` (one vector per feature) or `tokens` (one vector per token)."""
    linear_head: ClassVar[bool] = False
    """Whether the head is one linear layer, which can be fitted on the frozen encoder's outputs (a linear probe)."""
    native_head: ClassVar[bool] = False
    """Whether a head of the base's own model family (`pooling: native`) can replace `head`."""
    whole_batch: ClassVar[bool] = False
    """Whether the loss needs all rows of an optimiser step in one forward pass, as with in-batch negatives."""
    metrics: ClassVar[tuple[str, ...]] = ()
    """Names of the metrics that `summarise` returns, the default one first."""
    lower_is_better: ClassVar[frozenset[str]] = frozenset()
    """Names of the metrics for which a smaller value is better."""
    decoder: ClassVar[str | None] = None
    """Module with the function `decode(records, features, outputs, **decoder_options())`, which returns the answers, such as
    `vertune.decoders.classify`. It may import only NumPy, the standard library and modules of its own package or of
    `vertune.decoders`, because a portable bundle contains a copy of it."""
    gives_vectors: ClassVar[bool] = False
    """Whether an answer contains the embedding of the first input as `vector`, which the embeddings service returns."""
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
        """The columns that the encoder reads."""
        return tuple(column for column in self.columns if column.role == "input")

    @property
    def target_columns(self) -> tuple[Column, ...]:
        """The columns that contain the expected answer."""
        return tuple(column for column in self.columns if column.role == "target")

    @property
    def goal(self) -> str:
        """The name of the metric in use: `metric`, or the task's default if that is `auto`."""
        return self.metrics[0] if self.metric == "auto" else self.metric

    def clean(self, frame: pl.DataFrame) -> Cleaned:
        """Convert rows to the task's own types; rows that can't be converted are rejected with a reason."""
        raise NotImplementedError

    def fit(self, frame: pl.DataFrame) -> Self:
        """Return a copy with values derived from the training rows, such as labels, scale and class weights."""
        return self

    def views(self, columns: Sequence[str]) -> tuple[View, ...]:
        """Return the inputs of the model that the encoder must make of a record with these columns."""
        raise NotImplementedError

    @property
    def size(self) -> int:
        """The number of outputs of the head per feature, or per token."""
        raise NotImplementedError

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names of the head's outputs, in order; empty if they have none."""
        return self.known_labels if len(self.known_labels) == self.size else ()

    @property
    def known_labels(self) -> tuple[str, ...]:
        """The labels that an answer can contain, in order; empty if answers contain none, or before `fit`."""
        return ()

    def head(self, width: int) -> torch.nn.Module:
        """Return the head: the torch module on top of states of this width."""
        raise NotImplementedError

    def apply(self, states: NDArray[Any], head: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Return the head's outputs, computed without torch from states and the head's weights by name; by default, the head is linear."""
        out: NDArray[Any] = states @ head["weight"].T + head["bias"]
        return out

    def targets(self, records: Sequence[Record], features: Sequence[Feature]) -> Targets:
        """Return the values with which the loss compares the outputs of these features."""
        raise NotImplementedError

    def sampling(self, records: Sequence[Record]) -> NDArray[Any] | None:
        """Return the average number of times that each record is used per epoch; None uses each once."""
        return None

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the loss of each feature, shape (features,); targets are stacked, and padded with -100 if there is one per token."""
        raise NotImplementedError

    @property
    def portable(self) -> bool:
        """Whether a bundle can produce answers without vertune: the task has a decoder and does not override `decode`."""
        return self.decoder is not None and type(self).decode is Task.decode

    def decoder_options(self) -> dict[str, Any]:
        """Return the arguments of the decoder's `decode` besides records, features and outputs, by parameter name, as JSON values."""
        return {}

    def decode(
        self, records: Sequence[Record], features: Sequence[Feature], outputs: Sequence[NDArray[Any]], run: Run | None = None
    ) -> list[Answer]:
        """Return one answer per record, from the features and outputs of the records; `run` can compute further outputs.

        Calls the task's decoder. A task without a decoder overrides this method.
        """
        if self.decoder is None:
            raise NotImplementedError(f"The task '{self.name}' has no decoder and does not override decode.")
        module: Any = importlib.import_module(self.decoder)
        answers: list[Answer] = module.decode(records, features, outputs, **self.decoder_options())
        return answers

    def named(self, answer: Answer) -> tuple[str, ...]:
        """Return the labels in an answer, repeated as often as they occur; empty if answers are numbers or vectors."""
        return ()

    @property
    def names_labels(self) -> bool:
        """Whether the answers of this task contain labels, that is, whether it overrides `named`."""
        return type(self).named is not Task.named

    def confidence(self, answer: Answer) -> float | None:
        """Return the probability, from 0 to 1, that the model assigns to its answer; None if it assigns none."""
        return None

    def agrees(self, one: Answer, other: Answer) -> bool:
        """Return whether two answers are the same: equal labels if they contain any, else equal values within rounding."""
        if self.named(one) or self.named(other):
            return sorted(self.named(one)) == sorted(self.named(other))
        return equal_values(one, other)

    def calibrate(self, records: Sequence[Record], features: Sequence[Feature], outputs: Sequence[NDArray[Any]]) -> Self:
        """Return a copy with values fitted on validation records, such as thresholds."""
        return self

    def tally(self, records: Sequence[Record], answers: Sequence[Answer]) -> NDArray[Any]:
        """Return additive statistics, float64 of shape (units, k); a unit is what a bootstrap may resample: a record, a query."""
        raise NotImplementedError

    def summarise(self, total: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return every metric by name, computed from summed tallies of shape (..., k); each metric has the shape (...)."""
        raise NotImplementedError

    def score(self, records: Sequence[Record], answers: Sequence[Answer]) -> dict[str, float]:
        """Return every metric of these answers, by name."""
        total = self.tally(records, answers).sum(axis=0)
        return {name: float(value) for name, value in self.summarise(total).items()}

    def details(self, records: Sequence[Record], answers: Sequence[Answer]) -> dict[str, Any]:
        """Return what a report shows besides metrics; each of these entries is optional.

        `per_class`: `[{"label", "precision", "recall", "f1", "support"}, …]`; `confusion`: `{"labels": […], "matrix": [[…]]}`,
        with one row per true label and one column per predicted label; `calibration`: the result of
        `metrics.calibration.reliability`; `errors`: `[{"row", "expected", "answered", …}, …]`, worst first: `row` is an index into
        the records, `expected` and `answered` are words or numbers, `probability` and `error` (a distance) are optional, and any
        other key contains a text of the record to show; `points`: `[[expected, answered], …]` of numbers. An entry that is a float
        is a further metric, without an interval because it can't be computed from summed tallies.
        """
        return {}

    def baselines(self, train: Sequence[Record], validation: Sequence[Record], test: Sequence[Record]) -> dict[str, list[Answer]]:
        """Fit simple baselines, which a model must beat, and return their answers to the test records, by the baseline's name."""
        raise NotImplementedError

    def example(self, rows: int = 64) -> list[dict[str, Any]]:
        """Return a small set of records on which a model can be trained, for tests and documentation."""
        raise NotImplementedError
