"""The kind `Task`: what defines the fields of records, the head, the loss, answers and metrics; knows nothing of any one task.

`decode`, `tally` and `summarise` are NumPy only, so that torch, ONNX and a process without torch share one implementation.
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
"""A forward pass over features: one output array a feature, padding already cut away."""


class Task(Part):
    """The adaptation layer: what must be answered, from the head to the score."""

    folder: ClassVar[str] = "tasks"
    columns: ClassVar[tuple[Column, ...]] = ()
    """The schema of records: the fields by name, role and type. Read it from an instance, because options may change the inputs."""
    answer: ClassVar[type[Any]]
    """The schema of answers, a TypedDict."""
    states: ClassVar[str] = "pooled"
    """What the head reads: `pooled` (one vector a feature) or `tokens` (one a token)."""
    linear_head: ClassVar[bool] = False
    """Whether the head is one linear layer that can be solved on frozen states."""
    native_head: ClassVar[bool] = False
    """Whether a head of the base's own family (`pooling: native`) can stand in for `head`."""
    whole_batch: ClassVar[bool] = False
    """Whether the loss needs all rows of a step in one forward pass, as in-batch negatives do."""
    metrics: ClassVar[tuple[str, ...]] = ()
    """Names of the metrics that `summarise` returns, the default one first."""
    lower_is_better: ClassVar[frozenset[str]] = frozenset()
    decoder: ClassVar[str | None] = None
    """The module whose `decode(records, features, outputs, **decoder_options())` makes the answers, such as
    `vertune.decoders.classify`. It imports NumPy, the standard library and modules of its own package or of `vertune.decoders`;
    a portable bundle ships it as it is."""
    gives_vectors: ClassVar[bool] = False
    """Whether an answer holds a `vector` of its first input, as an embeddings service needs it."""
    metric: str = Field(default="auto", description="The metric that training stops on and the gate compares; auto takes the task's own.")

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
        """The columns that hold the expected answer."""
        return tuple(column for column in self.columns if column.role == "target")

    @property
    def goal(self) -> str:
        """Name of the metric in use."""
        return self.metrics[0] if self.metric == "auto" else self.metric

    def clean(self, frame: pl.DataFrame) -> Cleaned:
        """Rows in the task's own types; rows that can't be are rejected with their reason."""
        raise NotImplementedError

    def fit(self, frame: pl.DataFrame) -> Self:
        """A copy that knows what the training rows teach: labels, scale, class weights."""
        return self

    def views(self, columns: Sequence[str]) -> tuple[View, ...]:
        """Which token sequences the encoder must make of a record that has these columns."""
        raise NotImplementedError

    @property
    def size(self) -> int:
        """Numbers that the head gives a row, or a token."""
        raise NotImplementedError

    @property
    def output_names(self) -> tuple[str, ...]:
        """What the head's numbers are called, in their order; empty where they have no names."""
        return self.known_labels if len(self.known_labels) == self.size else ()

    @property
    def known_labels(self) -> tuple[str, ...]:
        """The labels that an answer can name, in their order; empty where answers name none, or before they are learnt."""
        return ()

    def head(self, width: int) -> torch.nn.Module:
        """The layer on top of states of this width."""
        raise NotImplementedError

    def apply(self, states: NDArray[Any], head: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """The head's outputs without torch, from what it reads and its weights by name; one linear layer unless a task says otherwise."""
        out: NDArray[Any] = states @ head["weight"].T + head["bias"]
        return out

    def targets(self, records: Sequence[Record], features: Sequence[Feature]) -> Targets:
        """What the loss compares the outputs of these features with."""
        raise NotImplementedError

    def sampling(self, records: Sequence[Record]) -> NDArray[Any] | None:
        """How often each record is visited in an epoch, on average; None visits each once."""
        return None

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The loss of each feature, shape (features,); targets are stacked, or padded with -100 where one a token."""
        raise NotImplementedError

    @property
    def portable(self) -> bool:
        """Whether a bundle without vertune can make the answers: the task has a decoder and does not override `decode`."""
        return self.decoder is not None and type(self).decode is Task.decode

    def decoder_options(self) -> dict[str, Any]:
        """What the decoder's `decode` takes besides records, features and outputs, by parameter name, as JSON can hold it."""
        return {}

    def decode(
        self, records: Sequence[Record], features: Sequence[Feature], outputs: Sequence[NDArray[Any]], run: Run | None = None
    ) -> list[Answer]:
        """One answer a record from all features and outputs of the records; `run` is a further forward pass.

        Calls the task's decoder. A task without one overrides this method.
        """
        if self.decoder is None:
            raise NotImplementedError(f"The task '{self.name}' has no decoder and does not override decode.")
        module: Any = importlib.import_module(self.decoder)
        answers: list[Answer] = module.decode(records, features, outputs, **self.decoder_options())
        return answers

    def named(self, answer: Answer) -> tuple[str, ...]:
        """The labels that an answer names, one for each time; empty where answers are numbers or vectors."""
        return ()

    @property
    def names_labels(self) -> bool:
        """Whether the answers of this task name labels: it overrides `named`."""
        return type(self).named is not Task.named

    def confidence(self, answer: Answer) -> float | None:
        """The probability, from 0 to 1, that the model gives its answer; None where it gives none."""
        return None

    def agrees(self, one: Answer, other: Answer) -> bool:
        """Whether two answers say the same: equal labels where they name any, else equal values within rounding."""
        if self.named(one) or self.named(other):
            return sorted(self.named(one)) == sorted(self.named(other))
        return equal_values(one, other)

    def calibrate(self, records: Sequence[Record], features: Sequence[Feature], outputs: Sequence[NDArray[Any]]) -> Self:
        """A copy with what is learnt on validation, such as thresholds."""
        return self

    def tally(self, records: Sequence[Record], answers: Sequence[Answer]) -> NDArray[Any]:
        """Additive statistics, float64 of shape (units, k); a unit is what resampling may draw: a record, a query."""
        raise NotImplementedError

    def summarise(self, total: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Every metric from summed tallies of shape (..., k); the shape of each is that of total without k."""
        raise NotImplementedError

    def score(self, records: Sequence[Record], answers: Sequence[Answer]) -> dict[str, float]:
        """Every metric of these answers."""
        total = self.tally(records, answers).sum(axis=0)
        return {name: float(value) for name, value in self.summarise(total).items()}

    def details(self, records: Sequence[Record], answers: Sequence[Answer]) -> dict[str, Any]:
        """What a report shows besides metrics: any of these, in this form.

        `per_class`: `[{"label", "precision", "recall", "f1", "support"}, …]`; `confusion`: `{"labels": […], "matrix": [[…]]}`,
        a row a true label, a column an answered one; `calibration`: what `metrics.calibration.reliability` gives;
        `errors`: `[{"row", "expected", "answered", …}, …]`, worst first, `row` an index into the records, what was expected and
        answered as words or numbers, with `probability` or `error` (a distance) where there is one; any other entry is a
        text of the record to show; `points`: `[[expected, answered], …]` of numbers; a float is one more metric, without an
        interval, because it is no function of summed tallies.
        """
        return {}

    def baselines(self, train: Sequence[Record], validation: Sequence[Record], test: Sequence[Record]) -> dict[str, list[Answer]]:
        """Answers of simple baselines that a model must beat, by their names."""
        raise NotImplementedError

    def example(self, rows: int = 64) -> list[dict[str, Any]]:
        """A small set of records that can be learnt, for tests and documentation."""
        raise NotImplementedError
