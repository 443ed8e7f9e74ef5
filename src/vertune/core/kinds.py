"""The kinds of part and the few verbs each must answer; knows nothing of any one part.

`encode`, `decode`, `tally` and `summarise` are NumPy only, so that they serve torch, ONNX and a torch-free process alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import field_validator

from vertune.core.artifact import Progress
from vertune.core.edits import Edit
from vertune.core.errors import UnknownName
from vertune.core.part import Part
from vertune.core.records import Answer, Cleaned, Column, Feature, Record, Targets, View

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    import torch
    from numpy.typing import NDArray

Pooling = Literal["mean", "cls", "tokens", "native"]

Run = Callable[[Sequence[Feature]], "list[NDArray[Any]]"]
"""A forward pass over features: one output array a feature, padding already cut away."""


class Source(Part):
    """Where records come from."""

    folder: ClassVar[str] = "sources"
    suffixes: ClassVar[tuple[str, ...]] = ()
    """File endings that this source is chosen for when a config gives a bare path."""
    remote: ClassVar[bool] = False
    """Whether a path that is not there may be the name of something on a hub."""

    def read(self) -> pl.DataFrame | pl.LazyFrame:
        """All rows with the source's own columns, and `__file`, `__row` (from 1) and `__error` (null when readable)."""
        raise NotImplementedError


class Split(Part):
    """How records are divided into train, validation and test."""

    folder: ClassVar[str] = "splits"

    @property
    def reads(self) -> tuple[str, ...]:
        """Columns of the source that this way of dividing goes by, besides the task's fields."""
        return ()

    def without(self, given: frozenset[str]) -> Self:
        """A copy that cuts nothing for these splits, because they come from elsewhere."""
        return self.model_copy(update={name: 0.0 for name in given if name in type(self).model_fields})

    def divide(self, frame: pl.DataFrame) -> pl.Series:
        """One of `train`, `validation`, `test`, `unused` a row, decided by the content of rows, not by their order."""
        raise NotImplementedError


class Encoder(Part):
    """How the fields of a record become features, and features states."""

    folder: ClassVar[str] = "encoders"

    def resolve(self, records: Sequence[Record], views: Sequence[View]) -> Self:
        """A copy with every `auto` replaced by a value that fits these records."""
        return self

    def encode(self, records: Sequence[Record], views: Sequence[View]) -> list[Feature]:
        """The features of all records, each view (and window) of a record one feature, in order of records."""
        raise NotImplementedError

    def collate(self, features: Sequence[Feature]) -> dict[str, NDArray[Any]]:
        """The features as padded arrays, named as the backbone's forward takes them."""
        raise NotImplementedError

    def content(self, feature: Feature) -> bytes:
        """All of a feature that the model sees: features of equal content have equal states."""
        return b"".join(array.tobytes() for _, array in sorted(self.collate([feature]).items()))

    def cost(self, feature: Feature) -> int:
        """What a feature costs in tokens."""
        return len(feature)

    def unknown_share(self, strings: Sequence[str]) -> float:
        """Share of the tokens of these texts that the base does not know; 0 where it knows everything."""
        return 0.0

    def model(self) -> torch.nn.Module:
        """The pretrained backbone."""
        raise NotImplementedError

    def write(self, folder: Path) -> None:
        """All that encoding reads of the base, without weights, into a folder that can take the base's place."""
        raise NotImplementedError

    def trimmed(self, records: Sequence[Record], views: Sequence[View], folder: Path) -> tuple[Self, NDArray[np.int64]]:
        """A copy that knows only the tokens which these records use, and those that any text can fall back on.

        What it reads is written into the folder. Also the ids that stay, in their new order; ConfigError where the kind of
        vocabulary is not known.
        """
        raise NotImplementedError

    def native(self, states: str, size: int) -> torch.nn.Module:
        """The whole model of the base's own family, with a head of this size; ConfigError where there is none."""
        raise NotImplementedError

    def pooling_of(self, states: str) -> Pooling:
        """How the states that a task reads (`pooled` or `tokens`) are made: one of `mean`, `cls`, `tokens`, `native`."""
        raise NotImplementedError

    def beside(self, other: Self) -> Self:
        """A copy that uses what another one of the same base has in memory already."""
        return self

    def fingerprint(self) -> dict[str, str]:
        """Hashes of what must not change under a trained model: `base` and `tokenizer`."""
        raise NotImplementedError


class Task(Part):
    """The adaptation layer: what must be answered, from the head to the score."""

    folder: ClassVar[str] = "tasks"
    columns: ClassVar[tuple[Column, ...]] = ()
    """The schema of records."""
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
    portable: ClassVar[bool] = False
    """Whether the script of a portable bundle (exports/portable/predict.py) knows how to make the answers."""
    metric: str = "auto"
    """The metric that training stops on and the gate compares; auto takes the task's own."""

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, value: str) -> str:
        if value != "auto" and value not in cls.metrics:
            raise UnknownName("metric", value, ["auto", *cls.metrics])
        return value

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
        labels = tuple(getattr(self, "labels", ()))
        return labels if len(labels) == self.size else ()

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

    def decode(
        self, records: Sequence[Record], features: Sequence[Feature], outputs: Sequence[NDArray[Any]], run: Run | None = None
    ) -> list[Answer]:
        """One answer a record from all features and outputs of the records; `run` is a further forward pass."""
        raise NotImplementedError

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


class Method(Part):
    """Which weights move while learning."""

    folder: ClassVar[str] = "methods"
    learning_rate: ClassVar[float] = 1e-4
    """The learning rate that suits this method on a backbone of width 384; `rate: auto` starts from it."""
    learning_rate_few_rows: ClassVar[float | None] = None
    """The same on fewer than 3,000 rows, where that differs."""

    def depth(self, layers: int) -> int:
        """The lowest depth that this method changes in a base of so many layers; below it, states are computed once."""
        return 0

    def prepare(self, model: torch.nn.Module, task: Task, steps: int) -> None:
        """Change the model in place and mark what may be trained; ConfigError where its structure rules that out."""
        raise NotImplementedError

    def after_backward(self, model: torch.nn.Module, step: int) -> None:
        """What must happen between the gradient and the optimiser's step."""

    def penalty(self, model: torch.nn.Module) -> torch.Tensor | None:
        """A term added to the loss."""
        return None

    def edits(self, model: torch.nn.Module) -> list[Edit]:
        """What was done to the model, in the closed vocabulary."""
        raise NotImplementedError

    def state(self, model: torch.nn.Module) -> dict[str, torch.Tensor]:
        """What besides weights a checkpoint must keep, so that training goes on as if it had not stopped."""
        return {}

    def restore(self, model: torch.nn.Module, state: dict[str, torch.Tensor]) -> None:
        """Take back what `state` gave."""


@dataclass(frozen=True, slots=True)
class StandaloneModel:
    """A model that no longer needs its base, as compressors take and return it."""

    encoder: Encoder
    task: Task
    body: Any
    """A torch module (nn/vertical.py), or an ONNX graph (onnx.ModelProto)."""


@dataclass(frozen=True, slots=True)
class CompressionContext:
    """What a compressor works with; the step provides it, because a part imports no engine."""

    train: Sequence[Record]
    """The training records of the model."""
    unlabelled: Sequence[Record]
    """More records of the field, without answers; may be empty."""
    columns: Sequence[str]
    """The fields of the records."""
    seed: int
    distil: Callable[[StandaloneModel, StandaloneModel, float], None]
    """`distil(student, teacher, epochs)` trains the student in place to reproduce the teacher's outputs."""
    outputs: Callable[[StandaloneModel, Sequence[Record]], list[NDArray[Any]]]
    """The outputs of a model for each feature of these records."""
    activations: Callable[[StandaloneModel, Sequence[Record], Sequence[str]], Iterator[dict[str, NDArray[Any]]]]
    """The values of the named tensors inside a graph, batch by batch, without padding: shape (tokens, width)."""
    accepts: Callable[[StandaloneModel], bool]
    """Whether the gate lets a model pass on validation; an undecided verdict counts as passing."""
    progress: Progress
    """Called with progress events."""
    folder: Path
    """An empty folder that exists until the compression ends."""


class Compressor(Part):
    """One way to shrink a finished model."""

    folder: ClassVar[str] = "compressors"
    works_on: ClassVar[Literal["torch", "onnx"]] = "torch"

    def shrink(self, model: StandaloneModel, context: CompressionContext) -> StandaloneModel:
        """Return a smaller model and leave `model` as it is; ConfigError if the model's structure does not allow it."""
        raise NotImplementedError


class Export(Part):
    """A form of a trained model for other software."""

    folder: ClassVar[str] = "exports"
    takes_graphs: ClassVar[bool] = False
    """Whether a compressed model, which is a graph, can be written too."""

    def write(self, model: Any, folder: Path) -> None:
        """Write the model into an empty folder; ConfigError where that software has no counterpart."""
        raise NotImplementedError

    def check(self, model: Any, folder: Path) -> None:
        """Load the result in the other software; ModelError unless its outputs equal the model's."""
        raise NotImplementedError
