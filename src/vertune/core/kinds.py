"""The kinds of part and the few verbs each must answer; knows nothing of any one part.

`encode`, `decode`, `tally` and `summarise` are NumPy only, so that they serve torch, ONNX and a torch-free process alike.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

from pydantic import field_validator

from vertune.core.artifact import Progress
from vertune.core.edits import Edit
from vertune.core.errors import ConfigError, UnknownName
from vertune.core.part import Part
from vertune.core.records import Answer, Cleaned, Column, Feature, InputNames, Record, Targets, View, equal_values

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

    def without(self, names: frozenset[str]) -> Self:
        """A copy that cuts nothing for these splits, because their rows come from elsewhere."""
        return self.model_copy(update={name: 0.0 for name in names if name in type(self).model_fields})

    def divide(self, frame: pl.DataFrame, columns: Sequence[Column]) -> pl.Series:
        """One of `train`, `validation`, `test`, `unused` a row, decided by the content of rows, not by their order.

        `columns` are the task's: rows of equal inputs belong together, and targets are what a split is stratified by.
        """
        raise NotImplementedError


class Tokens(Protocol):
    """What an encoder has read of the fields of records, ready to be encoded; its contents belong to the encoder."""

    def __len__(self) -> int:
        """How many records it holds."""
        ...

    def rows(self, start: int, stop: int) -> Self:
        """Those of a range of records."""
        ...

    def joined(self, other: Self) -> Self:
        """Those of these records, followed by those of other records with the same fields."""
        ...

    def save(self, file: Path) -> None:
        """Write a safetensors file that the encoder's `load_tokens` reads."""
        ...


class Encoder(Part):
    """How the fields of a record become features, and features states."""

    folder: ClassVar[str] = "encoders"
    input_names: ClassVar[InputNames] = InputNames()
    """The collated arrays that have a role of their own."""
    pretrained: ClassVar[bool] = True
    """Whether `model` gives trained weights; without, training takes larger steps."""

    @property
    def base_name(self) -> str:
        """How the config names the pretrained model; empty where there is none."""
        return ""

    @property
    def base_folder(self) -> Path | None:
        """The folder of the pretrained model, which bundles copy; None where all that the encoder needs are its options."""
        return None

    @property
    def max_cost(self) -> int:
        """Cost of the largest feature that `encode` makes."""
        return 1

    @property
    def max_base_cost(self) -> int:
        """Cost of the largest feature that the pretrained model can take."""
        return self.max_cost

    def resolve(self, records: Sequence[Record], views: Sequence[View], tokens: Tokens | None = None) -> Self:
        """A copy with every `auto` replaced by a value that fits these records; `tokens` are what `read` gave for them."""
        return self

    def read(self, records: Sequence[Record], fields: Sequence[str]) -> Tokens | None:
        """The part of encoding that depends on no option but the base; None where there is nothing worth keeping."""
        return None

    def load_tokens(self, file: Path) -> Tokens | None:
        """What `Tokens.save` wrote; None where the file was written with another tokenizer, or the encoder keeps nothing."""
        return None

    def encode(self, records: Sequence[Record], views: Sequence[View], tokens: Tokens | None = None) -> list[Feature]:
        """The features of all records, each view (and window) of a record one feature, in order of records.

        `tokens` are what `read` gave for the same records, with at least the fields of the views.
        """
        raise NotImplementedError

    def collate(self, features: Sequence[Feature]) -> dict[str, NDArray[Any]]:
        """The features as arrays that are padded to the largest of them, by the names that the backbone's forward takes."""
        raise NotImplementedError

    def mask(self, arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
        """Which positions of a collated batch are no padding, shape (rows, positions)."""
        import numpy as np

        if self.input_names.mask is not None:
            return arrays[self.input_names.mask].astype(bool)
        return np.ones((len(next(iter(arrays.values()))), 1), bool)

    def probe(self, costs: Sequence[int]) -> dict[str, NDArray[Any]]:
        """A collated batch of features of these costs, for looking at a model's structure, tracing and timing."""
        raise NotImplementedError

    def content(self, feature: Feature) -> bytes:
        """All of a feature that the model sees: features of equal content have equal states."""
        return b"".join(array.tobytes() for _, array in sorted(self.collate([feature]).items()))

    def lengths(self, records: Sequence[Record], views: Sequence[View], tokens: Tokens | None = None) -> NDArray[np.int64]:
        """Cost of each view of each record before anything is cut, shape (records * views,)."""
        import numpy as np

        return np.ones(len(records) * len(views), np.int64)

    def unknown_share(self, strings: Sequence[str]) -> float:
        """Share of the tokens of these texts that the base does not know; 0 where it knows everything."""
        return 0.0

    def model(self) -> torch.nn.Module:
        """The backbone with its pretrained weights, passed through `nn.inputs.declare`.

        Its `config` has `hidden_size` and `num_hidden_layers`, its output `last_hidden_state` of shape (rows, positions, width).
        """
        raise NotImplementedError

    def write(self, folder: Path) -> None:
        """Write all that encoding reads of the base, without weights, into a folder that can take the base's place."""

    def at(self, folder: Path) -> Self:
        """A copy that reads what `write` put into a folder, or a copy of the base there."""
        return self

    def trimmed(self, records: Sequence[Record], views: Sequence[View], folder: Path) -> tuple[Self, NDArray[np.int64]]:
        """A copy that knows only the tokens which these records use, and those that any text can fall back on.

        What it reads is written into the folder. Also the ids that stay, in their new order; ConfigError where the encoder has no
        vocabulary, or one of an unknown kind.
        """
        raise ConfigError(
            f"The encoder '{self.name}' has no vocabulary that could be trimmed. Expected a text encoder. Leave trim_vocabulary out."
        )

    def native(self, states: str, size: int) -> torch.nn.Module:
        """The whole model of the base's own family, with a head of this size; ConfigError where there is none."""
        raise ConfigError(f"The encoder '{self.name}' has no model family with a head of its own. Choose another pooling than native.")

    def pooling_of(self, states: str) -> Pooling:
        """How the states that a task reads (`pooled` or `tokens`) are made: one of `mean`, `cls`, `tokens`, `native`."""
        raise NotImplementedError

    def sharing_with(self, other: Self) -> Self:
        """A copy that uses what another encoder of the same base has in memory already."""
        return self

    def fingerprint(self) -> dict[str, str]:
        """Hashes of what must not change under a trained model: `base` and `tokenizer`."""
        raise NotImplementedError


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
    metric: str = "auto"
    """The metric that training stops on and the gate compares; auto takes the task's own."""

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
        """Answers of the simple ways that a model must beat, by their name."""
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
    """A model on its way to a smaller one, with no base under it any more."""

    encoder: Encoder
    task: Task
    body: Any
    """A torch module (nn/vertical.py), or an ONNX graph (onnx.ModelProto)."""


@dataclass(frozen=True, slots=True)
class CompressionContext:
    """What a compressor works with; its step fills it in, because a part knows no engine."""

    train: Sequence[Record]
    """The records that the model learnt from."""
    unlabelled: Sequence[Record]
    """More records of the domain, without answers; they may be none."""
    columns: Sequence[str]
    seed: int
    learn: Callable[[StandaloneModel, StandaloneModel, float], None]
    """`learn(student, teacher, epochs)` moves the student's weights until it says what the teacher says."""
    answer: Callable[[StandaloneModel, Sequence[Record]], list[NDArray[Any]]]
    """The outputs of each feature of these records."""
    look: Callable[[StandaloneModel, Sequence[Record], Sequence[str]], Iterator[dict[str, NDArray[Any]]]]
    """The values of these tensors inside a graph, batch by batch, without padding: shape (tokens, width)."""
    accepts: Callable[[StandaloneModel], bool]
    """Whether the gate does not refuse this model, measured on validation; where validation can't tell, it does not."""
    progress: Progress
    """Where it is said how far the work is."""
    folder: Path
    """An empty folder that lives as long as the work."""


class Compressor(Part):
    """One way to shrink a finished model."""

    folder: ClassVar[str] = "compressors"
    works_on: ClassVar[Literal["torch", "onnx"]] = "torch"

    def shrink(self, model: StandaloneModel, bench: CompressionContext) -> StandaloneModel:
        """A smaller model; the one given is left as it is. ConfigError where its structure rules that out."""
        raise NotImplementedError


class Export(Part):
    """A form of a trained model for other software."""

    folder: ClassVar[str] = "exports"
    takes_graphs: ClassVar[bool] = False
    """Whether a compressed model, which is a graph, can be written too."""
    needs_sequences: ClassVar[bool] = False
    """Whether the other software knows only models of token sequences."""

    def write(self, model: Any, folder: Path) -> None:
        """Write the model into an empty folder; ConfigError where that software has no counterpart."""
        raise NotImplementedError

    def check(self, model: Any, folder: Path) -> None:
        """Load the result in the other software; ModelError unless its outputs equal the model's."""
        raise NotImplementedError
