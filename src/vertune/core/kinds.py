"""The kinds of part (pluggable component) and the methods that a part of each kind implements; independent of any one part.

The largest kind, `Task`, is defined in core/task.py and imported from here like the others.
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
    """A place that records are read from, such as CSV files or a database."""

    folder: ClassVar[str] = "sources"
    suffixes: ClassVar[tuple[str, ...]] = ()
    """File endings for which this source is chosen when a config names only a path."""
    remote: ClassVar[bool] = False
    """Whether a path that does not exist locally may be the name of a data set on a hub."""

    def read(self) -> pl.DataFrame | pl.LazyFrame:
        """Return all rows with the source's own columns plus `__file`, `__row` (from 1) and `__error` (null for a readable row)."""
        raise NotImplementedError

    def fingerprint(self) -> str | None:
        """Return a hash of the content that `read` would return; None if it can't be known, so that no dataset made from it is reused."""
        return None

    @classmethod
    def sample(cls, folder: Path) -> Self:
        """Write a small example into a folder and return the source that reads it, for tests and documentation."""
        raise NotImplementedError


class Cleaner(Part):
    """One way to drop rows or to change their values before the task checks them."""

    folder: ClassVar[str] = "cleaners"
    at_prediction: ClassVar[bool] = False
    """Whether `edit` changes texts, so that it must also run on every text that a trained model reads."""

    def clean(self, frame: pl.DataFrame, columns: Sequence[Column]) -> Cleaned:
        """Return the rows that remain, the dropped rows with their reasons, and notes; `columns` are the task's.

        With `at_prediction`, no row is dropped and `edit` is applied to every input text.
        """
        raise NotImplementedError

    def edit(self, text: str) -> str:
        """Return the text that the model reads in place of an input text; editing an edited text changes nothing."""
        return text

    def edit_inputs(self, frame: pl.DataFrame, columns: Sequence[Column]) -> pl.DataFrame:
        """Return the frame with `edit` applied to every input text."""
        texts = [column.name for column in columns if column.role == "input" and column.type == "text" and column.name in frame.columns]
        texts = [name for name in texts if str(frame.schema[name]) == "String"]
        return frame.with_columns(frame[name].map_elements(self.edit, return_dtype=frame.schema[name]) for name in texts)


class Augmenter(Part):
    """One way to make additional training rows from training rows."""

    folder: ClassVar[str] = "augmenters"

    def augment(self, frame: pl.DataFrame, columns: Sequence[Column], seed: int) -> pl.DataFrame:
        """Return only the new rows, with the columns of the frame; each has the targets of the row that it was made from.

        The offsets of spans are adapted to the new text. The result depends on the seed and the content of the rows, never on
        their order. Raises ConfigError if these columns can't be augmented in this way.
        """
        raise NotImplementedError


class Split(Part):
    """How records are divided into train, validation and test."""

    folder: ClassVar[str] = "splits"

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns of the source that this split needs besides the task's fields."""
        return ()

    def without(self, names: frozenset[str]) -> Self:
        """Return a copy that sets no rows aside for the named splits, because their rows come from sources of their own."""
        return self.model_copy(update={name: 0.0 for name in names if name in type(self).model_fields})

    def divide(self, frame: pl.DataFrame, columns: Sequence[Column]) -> pl.Series:
        """Return `train`, `validation`, `test` or `unused` for each row, decided by the content of rows and not by their order.

        `columns` are the task's. Rows with equal inputs go to the same split; a stratified split balances the targets.
        """
        raise NotImplementedError


class Tokens(Protocol):
    """The tokens of some fields of records, ready to be encoded; only the encoder that made them knows their form."""

    def __len__(self) -> int:
        """Return the number of records."""
        ...

    def take(self, rows: NDArray[np.int64]) -> Self:
        """Return the tokens of the records with these indices, in this order."""
        ...

    def joined(self, other: Self) -> Self:
        """Return these tokens followed by those of other records with the same fields."""
        ...

    def save(self, file: Path) -> None:
        """Write a safetensors file that the encoder's `load_tokens` reads."""
        ...


class Encoder(Part):
    """Turns the fields of a record into features (inputs of the model), and features into states (vectors)."""

    folder: ClassVar[str] = "encoders"
    input_names: ClassVar[InputNames] = InputNames()
    """Names of the arrays in a collated batch that contain the sequence and its mask."""
    pretrained: ClassVar[bool] = True
    """Whether the weights of `model` are pretrained; if not, the default learning rate is higher."""

    @property
    def base_name(self) -> str:
        """The name of the pretrained model in the config; empty if there is none."""
        return ""

    @property
    def base_folder(self) -> Path | None:
        """The folder of the pretrained model, which bundles copy; None if the encoder needs nothing but its options."""
        return None

    @property
    def max_cost(self) -> int:
        """The cost of the largest feature that `encode` makes, as in `Feature.cost`."""
        return 1

    @property
    def max_base_cost(self) -> int:
        """The cost of the largest feature that the pretrained model accepts, as in `Feature.cost`."""
        return self.max_cost

    def resolve(self, records: Sequence[Record], views: Sequence[View], tokens: Tokens | None = None) -> Self:
        """Return a copy with every option `auto` replaced by a value that fits these records; `tokens` is what `read` returned for them."""
        return self

    def read(self, records: Sequence[Record], fields: Sequence[str]) -> Tokens | None:
        """Return the tokens of these fields, which depend on the base and on no other option; None if there is nothing worth storing."""
        return None

    def load_tokens(self, file: Path) -> Tokens | None:
        """Return the tokens that `Tokens.save` wrote; None if the file is from another tokenizer, or the encoder stores no tokens."""
        return None

    def encode(self, records: Sequence[Record], views: Sequence[View], tokens: Tokens | None = None) -> list[Feature]:
        """Return the features of all records, in order of records: one feature per view, and per window of a long text.

        `tokens` is what `read` returned for the same records, with at least the fields of the views.
        """
        raise NotImplementedError

    def collate(self, features: Sequence[Feature]) -> dict[str, NDArray[Any]]:
        """Return the features as one batch of arrays, padded to the largest feature, by the parameter names of the backbone's forward."""
        raise NotImplementedError

    def mask(self, arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
        """Return a boolean array of shape (rows, positions), false where a collated batch is padding."""
        import numpy as np

        if self.input_names.mask is not None:
            return arrays[self.input_names.mask].astype(bool)
        return np.ones((len(next(iter(arrays.values()))), 1), bool)

    def probe(self, costs: Sequence[int]) -> dict[str, NDArray[Any]]:
        """Return a collated batch of artificial features with these costs, for tracing, timing and inspecting a model."""
        raise NotImplementedError

    def content(self, feature: Feature) -> bytes:
        """Return everything in a feature that the model reads, as bytes: features with equal content have equal states."""
        return b"".join(array.tobytes() for _, array in sorted(self.collate([feature]).items()))

    def lengths(self, records: Sequence[Record], views: Sequence[View], tokens: Tokens | None = None) -> NDArray[np.int64]:
        """Return the cost of each view of each record before truncation, shape (records * views,)."""
        import numpy as np

        return np.ones(len(records) * len(views), np.int64)

    def unknown_share(self, strings: Sequence[str], tokens: Tokens | None = None) -> float:
        """Return the share of unknown tokens among the tokens of these texts, from 0 to 1."""
        return 0.0

    def model(self) -> torch.nn.Module:
        """Return the backbone with its pretrained weights, after `nn.inputs.declare`.

        Its `config` has `hidden_size` and `num_hidden_layers`; its output has `last_hidden_state`, shape (rows, positions, width).
        """
        raise NotImplementedError

    def write(self, folder: Path) -> None:
        """Write the files of the base that encoding needs, without the weights, into a folder that can replace the base's."""

    def at(self, folder: Path) -> Self:
        """Return a copy that reads its files from this folder, which `write` filled or which is a copy of the base."""
        return self

    def trimmed(self, records: Sequence[Record], views: Sequence[View], folder: Path) -> tuple[Self, NDArray[np.int64]]:
        """Return a copy with a smaller vocabulary, and the old ids of the tokens in it, in their new order.

        The vocabulary is the tokens of these records and those that any other text falls back on; it is written into the folder.
        Raises ConfigError if the encoder has no vocabulary, or one of an unsupported type.
        """
        raise ConfigError(
            f"The encoder '{self.name}' has no vocabulary that could be trimmed. Expected a text encoder. Leave trim_vocabulary out."
        )

    def native(self, states: str, size: int) -> torch.nn.Module:
        """Return the model of the base's own family with a head of `size` outputs; raise ConfigError if the family has none."""
        raise ConfigError(f"The encoder '{self.name}' has no model family with a head of its own. Choose another pooling than native.")

    def pooling_of(self, states: str) -> Pooling:
        """Return how the states that a task reads (`pooled` or `tokens`) are made: `mean`, `cls`, `tokens` or `native`."""
        raise NotImplementedError

    def sharing_with(self, other: Self) -> Self:
        """Return a copy that reuses what another encoder of the same base already has in memory."""
        return self

    def fingerprint(self) -> dict[str, str]:
        """Return the hashes `base` and `tokenizer`, by which a trained model detects that its base was changed."""
        raise NotImplementedError


class Method(Part):
    """A fine-tuning method: which weights are trained, and how."""

    folder: ClassVar[str] = "methods"
    moves: ClassVar[Literal["head", "top", "all"] | None] = None
    """Which weights the method trains, if it may be chosen automatically: the `head` alone, the `top` (also the last `n` layers), or
    `all`. None if it may not."""
    learning_rate: ClassVar[float] = 1e-4
    """The default learning rate of this method for a base of width 384; `rate: auto` adapts it to other widths."""
    learning_rate_few_rows: ClassVar[float | None] = None
    """The default learning rate for fewer than 3,000 training rows, if it differs."""

    def depth(self, layers: int) -> int:
        """Return the lowest depth that this method changes in a base of `layers` layers; states below it are computed once and cached."""
        return 0

    def prepare(self, model: torch.nn.Module, task: Task, steps: int) -> None:
        """Change the model in place and mark the weights to train; raise ConfigError if the model's structure does not allow it."""
        raise NotImplementedError

    def after_backward(self, model: torch.nn.Module, step: int) -> None:
        """Do what the method needs between the backward pass and the optimiser's step; nothing by default."""

    def penalty(self, model: torch.nn.Module) -> torch.Tensor | None:
        """Return a term to add to the loss; None for none."""
        return None

    def edits(self, model: torch.nn.Module) -> list[Edit]:
        """Return the changes that were made to the model, as edits (core/edits.py)."""
        raise NotImplementedError

    def state(self, model: torch.nn.Module) -> dict[str, torch.Tensor]:
        """Return the tensors that a checkpoint must store besides the weights, so that a resumed training continues exactly."""
        return {}

    def restore(self, model: torch.nn.Module, state: dict[str, torch.Tensor]) -> None:
        """Restore the tensors that `state` returned."""


def method_that_moves(weights: Literal["head", "top", "all"], **options: Any) -> Method:
    """Return the method that trains these weights (see `Method.moves`), for code that chooses a method automatically."""
    kind = having(Method.folder, moves=weights)
    assert issubclass(kind, Method)
    return kind(**options)


@dataclass(frozen=True, slots=True)
class StandaloneModel:
    """A model that no longer needs its base; compressors accept and return it."""

    encoder: Encoder
    task: Task
    body: Any
    """The model itself: a torch module (nn/vertical.py), or an ONNX graph (onnx.ModelProto)."""


@dataclass(frozen=True, slots=True)
class CompressionContext:
    """The data and functions that a compressor may use; the step provides them, because a part imports no training or inference code."""

    train: Sequence[Record]
    """The training records of the model."""
    unlabelled: Sequence[Record]
    """Further records of the same field of work, without labels; may be empty."""
    columns: Sequence[str]
    """Names of the fields of the records."""
    seed: int
    distil: Callable[[StandaloneModel, StandaloneModel, float], None]
    """`distil(student, teacher, epochs)` trains the student in place to reproduce the teacher's outputs."""
    outputs: Callable[[StandaloneModel, Sequence[Record]], list[NDArray[Any]]]
    """`outputs(model, records)` returns the model's outputs, one array per feature of the records."""
    activations: Callable[[StandaloneModel, Sequence[Record], Sequence[str]], Iterator[dict[str, NDArray[Any]]]]
    """`activations(model, records, names)` yields the named tensors inside a graph, batch by batch, without padding: shape
    (tokens, width)."""
    accepts: Callable[[StandaloneModel], bool]
    """`accepts(model)` returns whether a model is accurate enough on the validation records; an undecided verdict counts as yes."""
    progress: Progress
    """Callback for progress events."""
    folder: Path
    """A temporary folder, empty at first, that exists until the compression ends."""


class Compressor(Part):
    """One way to make a trained model smaller."""

    folder: ClassVar[str] = "compressors"
    precision: ClassVar[Literal["float32", "int8"]] = "float32"
    """Number format in which the compressed model computes. The `int8` compressor also quantises shared backbones, with its options
    `search` (whether to keep sensitive layers in float32) and `rows` (number of training records to calibrate scales on)."""
    works_on: ClassVar[Literal["torch", "onnx"]] = "torch"
    """The form in which the compressor reads a model: a torch module or an ONNX graph."""

    def shrink(self, model: StandaloneModel, context: CompressionContext) -> StandaloneModel:
        """Return a smaller model and leave `model` as it is; ConfigError if the model's structure does not allow it."""
        raise NotImplementedError


class Export(Part):
    """A format in which other software can load a trained model."""

    folder: ClassVar[str] = "exports"
    takes_graphs: ClassVar[bool] = False
    """Whether a compressed model, which is an ONNX graph, can be exported too."""
    needs_sequences: ClassVar[bool] = False
    """Whether the other software supports only models of token sequences."""

    def write(self, model: Any, folder: Path) -> None:
        """Write the model into an empty folder; raise ConfigError if the other software has no equivalent model."""
        raise NotImplementedError

    def check(self, model: Any, folder: Path) -> None:
        """Load the exported model in the other software; raise ModelError unless its outputs equal the original's."""
        raise NotImplementedError
