"""The kinds of part and the verbs of each; knows nothing of any one part.

The largest kind, `Task`, has a file of its own (core/task.py) and is imported from here like the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

from vertune.core.artifact import Progress
from vertune.core.edits import Edit
from vertune.core.errors import ConfigError
from vertune.core.part import Part, having
from vertune.core.records import Cleaned, Column, Feature, InputNames, Record, View
from vertune.core.task import Run as Run
from vertune.core.task import Task as Task

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    import torch
    from numpy.typing import NDArray

Pooling = Literal["mean", "cls", "tokens", "native"]


class Source(Part):
    """Where records come from."""

    folder: ClassVar[str] = "sources"
    suffixes: ClassVar[tuple[str, ...]] = ()
    """File endings for which this source is chosen when a config names only a path."""
    remote: ClassVar[bool] = False
    """Whether a path that does not exist locally may be a name on a hub."""

    def read(self) -> pl.DataFrame | pl.LazyFrame:
        """All rows with the source's own columns, and `__file`, `__row` (from 1) and `__error` (null for a readable row)."""
        raise NotImplementedError

    def fingerprint(self) -> str | None:
        """A hash of the content that `read` would read; None where it can't be known, so that a dataset of it is never reused."""
        return None

    @classmethod
    def sample(cls, folder: Path) -> Self:
        """Write a small example into a folder and return the source that reads it, for tests and documentation."""
        raise NotImplementedError


class Cleaner(Part):
    """One way to drop rows or to change their values before the task checks them."""

    folder: ClassVar[str] = "cleaners"
    at_prediction: ClassVar[bool] = False
    """Whether `edit` changes texts, so that it must also run on every text that a trained model is given."""

    def clean(self, frame: pl.DataFrame, columns: Sequence[Column]) -> Cleaned:
        """The rows that stay, the rows that were dropped with a reason each, and notes; `columns` are those of the task.

        With `at_prediction`, every row stays and every input text is replaced by `edit` of it.
        """
        raise NotImplementedError

    def edit(self, text: str) -> str:
        """One input text as the model reads it; editing an edited text changes nothing."""
        return text

    def edit_inputs(self, frame: pl.DataFrame, columns: Sequence[Column]) -> pl.DataFrame:
        """The frame with every input text as `edit` returns it."""
        texts = [column.name for column in columns if column.role == "input" and column.type == "text" and column.name in frame.columns]
        texts = [name for name in texts if str(frame.schema[name]) == "String"]
        return frame.with_columns(frame[name].map_elements(self.edit, return_dtype=frame.schema[name]) for name in texts)


class Augmenter(Part):
    """One way to make additional training rows out of training rows."""

    folder: ClassVar[str] = "augmenters"

    def augment(self, frame: pl.DataFrame, columns: Sequence[Column], seed: int) -> pl.DataFrame:
        """New rows with the columns of the frame; each keeps the targets of the row that it was made from.

        Positions in a text move along with the text. The seed and the content of rows decide, never their order. ConfigError
        where these columns can't be augmented in this way.
        """
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

    def take(self, rows: NDArray[np.int64]) -> Self:
        """Those of these records, in their order."""
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

    def unknown_share(self, strings: Sequence[str], tokens: Tokens | None = None) -> float:
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


class Method(Part):
    """Which weights move while learning."""

    folder: ClassVar[str] = "methods"
    moves: ClassVar[Literal["head", "top", "all"] | None] = None
    """For the methods that training takes by itself: `head` moves the head alone, `top` also the last `n` layers, `all` every weight."""
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


def method_that_moves(weights: Literal["head", "top", "all"], **options: Any) -> Method:
    """The method that trains these weights, for an engine that chooses one by itself."""
    kind = having(Method.folder, moves=weights)
    assert issubclass(kind, Method)
    return kind(**options)


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
    precision: ClassVar[Literal["float32", "int8"]] = "float32"
    """In which numbers the compressed model computes. A shared backbone in 8 bits is made by the compressor of `int8`, whose options
    `search` and `rows` say whether layers are ranked and how many training records scales are learnt from."""
    works_on: ClassVar[Literal["torch", "onnx"]] = "torch"

    def shrink(self, model: StandaloneModel, context: CompressionContext) -> StandaloneModel:
        """Return a smaller model and leave `model` as it is; ConfigError if the model's structure does not allow it."""
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
