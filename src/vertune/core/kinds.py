"""The base class of each kind of pluggable component (part), such as `Method`, with the methods that its components implement.

The base class `Task` is large, so it is defined in core/task.py; other modules import it from here, like the other base classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

from vertune.core.app import App as App
from vertune.core.artifact import Progress
from vertune.core.channel import Channel as Channel
from vertune.core.edits import Edit
from vertune.core.errors import ConfigError
from vertune.core.format import Format as Format
from vertune.core.mask import Mask as Mask
from vertune.core.monitor import Monitor as Monitor
from vertune.core.part import Part, having
from vertune.core.query import Query as Query
from vertune.core.records import Cleaned, Column, Feature, InputNames, InputType, Record, View
from vertune.core.task import Mixer as Mixer
from vertune.core.task import Run as Run
from vertune.core.task import Task as Task

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    import torch
    from numpy.typing import NDArray

Pooling = Literal["mean", "cls", "tokens", "native"]


class Source(Part):
    """A component that reads records, for example from CSV files or a database."""

    folder: ClassVar[str] = "sources"
    suffixes: ClassVar[tuple[str, ...]] = ()
    """File endings, such as `.csv`: if a config contains only a path, the source with the ending of this path is chosen."""
    general: ClassVar[bool] = False
    """Whether files of more special formats look like this format too, so that `recognises` of the other sources is asked first."""
    binary: ClassVar[bool] = False
    """Whether files of this format are binary, so that text with one of the `suffixes` has another format."""
    remote: ClassVar[bool] = False
    """Whether the option `path` may be the name of a data set on a hub, if there is no local file or folder of this name."""

    def read(self) -> pl.DataFrame | pl.LazyFrame:
        """Return all rows, with the columns of the data and three more: `__file`, `__row` and `__error`.

        `__file` names the origin of the row, such as a file, and `__row` is the row's number in it, from 1. `__error` says why the row
        can't be read; it is null for a row that can be read.
        """
        raise NotImplementedError

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Return whether a file or folder has the format that this source reads, judged by the beginning of its content.

        The source of a path is chosen by this method; if no source recognises the content, it is chosen by the ending of the path.
        """
        return False

    def detect(self) -> tuple[Self, tuple[str, ...]]:
        """Return a copy whose options suit the content, such as the row of the header, and a sentence about each changed option.

        Options that were set are not changed. `vertune init` writes the result into the config.
        """
        return self, ()

    def fingerprint(self) -> str | None:
        """Return a hash of the data that `read` returns, by which changes are noticed; None if only reading the data would show them."""
        return None

    def separator(self) -> str | None:
        """Return the character between the fields of a row, with which `predict` writes its results; None if the format has none."""
        return None

    @classmethod
    def sample(cls, folder: Path) -> Self:
        """Write a small example data file into a folder and return a source that reads it, for tests and documentation."""
        raise NotImplementedError


class Cleaner(Part):
    """A component that drops rows, or changes their values, before the task checks the values."""

    folder: ClassVar[str] = "cleaners"
    at_prediction: ClassVar[bool] = False
    """Whether `edit` changes texts in training; it then also changes every text that the trained model reads in prediction."""

    def clean(self, frame: pl.DataFrame, columns: Sequence[Column]) -> Cleaned:
        """Return the rows that remain, the dropped rows with their reasons, and notes on changed values.

        `columns` are the fields of the task. If the class attribute `at_prediction` is true, the cleaner must not drop rows: it applies
        `edit` to every input text, and nothing else.
        """
        raise NotImplementedError

    def edit(self, text: str) -> str:
        """Return the cleaned text, which the model reads instead of `text`; cleaning the result again must not change it."""
        return text

    def edit_inputs(self, frame: pl.DataFrame, columns: Sequence[Column]) -> pl.DataFrame:
        """Return a copy of the frame in which `edit` is applied to every value of the text input columns."""
        texts = [column.name for column in columns if column.role == "input" and column.type == "text" and column.name in frame.columns]
        texts = [name for name in texts if str(frame.schema[name]) == "String"]
        return frame.with_columns(frame[name].map_elements(self.edit, return_dtype=frame.schema[name]) for name in texts)


class Augmenter(Part):
    """A component that makes additional training rows by changing copies of existing ones."""

    folder: ClassVar[str] = "augmenters"

    def augment(self, frame: pl.DataFrame, columns: Sequence[Column], seed: int) -> pl.DataFrame:
        """Return additional training rows, made from the rows of `frame`; they have the same columns, and `frame` is not repeated.

        A new row has the targets (expected answers) of the row that it was made from; if these contain the offsets of spans, the offsets
        are adapted to the new text. The new rows depend on the seed and the content of the rows, never on the order of the rows. Raises
        ConfigError if this augmenter does not support these columns.
        """
        raise NotImplementedError


class Split(Part):
    """A component that divides records into training, validation and test records."""

    folder: ClassVar[str] = "splits"

    @property
    def reads(self) -> tuple[str, ...]:
        """Names of the columns of the data that `divide` needs besides the task's fields, such as a date."""
        return ()

    def assigned(self, frame: pl.DataFrame) -> frozenset[str]:
        """Return the sets to which the data themselves assign rows of the frame; empty if this component decides where rows belong.

        If none of the rows that the data assign to a set can be used, that is an error, instead of taking other rows for this set.
        """
        return frozenset()

    def without(self, names: frozenset[str]) -> Self:
        """Return a copy of this component that assigns no rows to the sets in `names`, which are `validation`, `test` or both.

        It is used if the rows of these sets are read from sources of their own.
        """
        return self.model_copy(update={name: 0.0 for name in names if name in type(self).model_fields})

    def divide(self, frame: pl.DataFrame, columns: Sequence[Column]) -> pl.Series:
        """Return, for each row, the set that it is assigned to: `train`, `validation`, `test` or `unused`.

        `columns` are the task's fields. The result depends on the content of the rows, not on their order. Rows with equal inputs should
        get the same set, so that no test row is also a training row.
        """
        raise NotImplementedError


class Tokens(Protocol):
    """The tokens of some fields of records, ready to be encoded; only the encoder that made this object reads its content."""

    def __len__(self) -> int:
        """Return the number of records."""
        ...

    def take(self, rows: NDArray[np.int64]) -> Self:
        """Return the tokens of the records with the indices `rows`, in this order."""
        ...

    def joined(self, other: Self) -> Self:
        """Return the tokens of the records of this object, followed by those of the records of `other`, which have the same fields."""
        ...

    def save(self, file: Path) -> None:
        """Write the tokens of all records to a safetensors file, from which the encoder's `load_tokens` reads them again."""
        ...


class Encoder(Part):
    """A component that converts the fields of records to features (model inputs), and provides the model that reads the features."""

    folder: ClassVar[str] = "encoders"
    types: ClassVar[frozenset[InputType]] = frozenset({"text"})
    """Types of the fields that this encoder can read."""
    input_names: ClassVar[InputNames] = InputNames()
    """Names of the arrays in a collated batch that contain the sequences and their attention mask."""
    pretrained: ClassVar[bool] = True
    """Whether `model` returns pretrained weights; for a model with random weights, `rate: auto` is a higher learning rate."""

    @property
    def base_name(self) -> str:
        """The name of the pretrained model in the config: alias, hub id or path; an empty text if the encoder has no such model."""
        return ""

    @property
    def base_folder(self) -> Path | None:
        """The local folder of the pretrained model; None if the encoder needs no files."""
        return None

    @property
    def max_cost(self) -> int:
        """The largest cost (size; for a text, the number of tokens) of the model inputs that `encode` makes; larger inputs are cut."""
        return 1

    @property
    def max_base_cost(self) -> int:
        """The largest cost (size; for a text, the number of tokens) of a model input that the pretrained model accepts."""
        return self.max_cost

    def choose_base(self, texts: Sequence[str], views: Sequence[View]) -> Self:
        """Return a copy whose pretrained model suits these training texts, if the option `base` has the value `auto`.

        So does each other option on which tokens depend; `views` are the definitions of the task's model inputs. This comes before `read`
        and `resolve`, which need the tokenizer of the pretrained model.
        """
        return self

    def resolve(self, records: Sequence[Record], views: Sequence[View], tokens: Tokens | None = None) -> Self:
        """Return a copy in which each other option with the value `auto` has a definite value, which is chosen for these records.

        `views` are the definitions of the task's model inputs. `tokens`, if given, is the result of `read` for the same records, so that
        they are not tokenised again.
        """
        return self

    def read(self, records: Sequence[Record], fields: Sequence[str]) -> Tokens | None:
        """Return the tokens of these fields, to be stored and reused; None if this encoder stores no tokens.

        The tokens may depend on the options that `choose_base` decides, but on no other option, so that they can be reused after other
        options have changed.
        """
        return None

    def load_tokens(self, file: Path) -> Tokens | None:
        """Return the tokens in a file that `Tokens.save` wrote; None if another tokenizer made them, or the encoder stores none."""
        return None

    def encode(self, records: Sequence[Record], views: Sequence[View], tokens: Tokens | None = None) -> list[Feature]:
        """Return the features (model inputs) of all records, in the order of the records.

        A view defines a model input of the task: it names the record fields that form the input. A record has one feature for each view,
        or several if a long text is divided into overlapping windows. `tokens`, if given, is the result of `read` for the same records
        and at least the fields of the views.
        """
        raise NotImplementedError

    def collate(self, features: Sequence[Feature]) -> dict[str, NDArray[Any]]:
        """Combine features (model inputs) into one batch, padded to the largest feature.

        Returns the arrays of the batch by name; the names are those of the arguments of the model's `forward`.
        """
        raise NotImplementedError

    def mask(self, arrays: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
        """Return, for a batch that `collate` made, a boolean array of shape (rows, positions): true for input, false for padding."""
        import numpy as np

        if self.input_names.mask is not None:
            return arrays[self.input_names.mask].astype(bool)
        return np.ones((len(next(iter(arrays.values()))), 1), bool)

    def probe(self, costs: Sequence[int]) -> dict[str, NDArray[Any]]:
        """Return a batch of artificial inputs, in the form that `collate` returns, with which a model is traced, timed or inspected.

        The batch has one input for each item of `costs`, which is the size of the input: for a text, its number of tokens.
        """
        raise NotImplementedError

    def content(self, feature: Feature) -> bytes:
        """Return everything that the model reads of a feature (model input), as bytes; features with equal bytes have equal outputs."""
        return b"".join(array.tobytes() for _, array in sorted(self.collate([feature]).items()))

    def lengths(self, records: Sequence[Record], views: Sequence[View], tokens: Tokens | None = None) -> NDArray[np.int64]:
        """Return the size of each model input before long inputs are cut (for a text, its number of tokens), shape (records * views,).

        Each record has one input for each view (definition of a model input of the task). The inputs are ordered by record, then by view.
        `tokens`, if given, is the result of `read` for the same records.
        """
        import numpy as np

        return np.ones(len(records) * len(views), np.int64)

    def unknown_share(self, strings: Sequence[str], tokens: Tokens | None = None) -> float:
        """Return the fraction, from 0 to 1, of tokens of these texts that stand for what can't be written with the vocabulary.

        `tokens`, if given, are the tokens of these texts, so that they are not tokenised again.
        """
        return 0.0

    def model(self) -> torch.nn.Module:
        """Return the torch model that training starts from, without the head (last layer), which the task adds.

        The model must have been passed to `vertune.nn.inputs.declare`, which stores the names of the input arrays in it. The attribute
        `config` of the model has `hidden_size` and `num_hidden_layers`. The output of the model has `last_hidden_state`, shape (rows,
        positions, width).
        """
        raise NotImplementedError

    def write(self, folder: Path) -> None:
        """Write the files that this encoder needs to encode records into a folder, from which the method `at` reads them.

        For texts, these are the tokenizer and the configuration of the pretrained model, but no weights.
        """

    def at(self, folder: Path) -> Self:
        """Return a copy that reads its files from `folder`, which `write` made, or which has a copy of the pretrained model's files."""
        return self

    def reading(self, tokens: int) -> Self:
        """Return a copy that reads up to this many tokens of an input, if its options leave the number open; else the encoder itself."""
        return self

    def trimmed(self, records: Sequence[Record], views: Sequence[View], folder: Path) -> tuple[Self, NDArray[np.int64]]:
        """Return an encoder with a smaller vocabulary, and an array whose element i is the old id of the token with the new id i.

        The new vocabulary contains the tokens that occur in these records, and tokens such as single characters, from which all other
        texts can be made. The files of the new encoder are written into `folder`. Raises ConfigError if the encoder has no vocabulary of
        a supported type.
        """
        raise ConfigError(
            f"The encoder '{self.name}' has no vocabulary that could be trimmed; expected a text encoder. Remove trim_vocabulary from "
            "compress.chain."
        )

    def native(self, states: str, size: int) -> torch.nn.Module:
        """Return the pretrained model together with the classification head that transformers defines for such models.

        The head has `size` outputs for each model input, or for each token if `states` is `tokens`. Raises ConfigError if transformers
        defines no such head.
        """
        raise ConfigError(
            f"The encoder '{self.name}' has no classification head of transformers, but 'pooling: native' needs such a head. "
            "Choose another pooling."
        )

    def pooling_of(self, states: str) -> Pooling:
        """Return how the vectors that the task's head (last layer) reads are computed from the model's vectors for single tokens.

        `states` is what the task needs: `pooled` (one vector for each model input) or `tokens` (one vector for each token). The result is
        `mean`, `cls` (vector of the first token), `tokens` (no change) or `native` (the head of transformers reads all token vectors).
        """
        raise NotImplementedError

    def sharing_with(self, other: Self) -> Self:
        """Return a copy of this encoder that, to save memory, uses the tokenizer and other objects of the encoder `other`.

        Both encoders must have the same pretrained model.
        """
        return self

    def fingerprint(self) -> dict[str, str]:
        """Return hashes, by name, of what the encoder uses, such as weights (`base`) and tokenizer, to detect later changes."""
        raise NotImplementedError


class Method(Part):
    """A fine-tuning method: it decides which weights are trained, and how."""

    folder: ClassVar[str] = "methods"
    moves: ClassVar[Literal["head", "top", "all"] | None] = None
    """Which weights the method trains: only the `head`, the `top` (the head and the last `n` layers), or `all`. None if `method: auto`
    never chooses this method."""
    learning_rate: ClassVar[float] = 1e-4
    """The default learning rate of this method for a model with hidden size 384; `rate: auto` adapts it to other sizes."""
    learning_rate_few_rows: ClassVar[float | None] = None
    """The default learning rate for fewer than 3,000 training rows; None means `learning_rate`."""

    def depth(self, layers: int) -> int:
        """Return the lowest stage of a model with `layers` layers that this fine-tuning method changes.

        Stage 0 is the embeddings, stage 1 the first layer, and stage `layers` + 1 the head. The stages below the returned one do not
        change in training, so their outputs are computed once and cached.
        """
        return 0

    def prepare(self, model: torch.nn.Module, task: Task, steps: int) -> None:
        """Add the modules of this fine-tuning method to the model, and mark the weights to train.

        `steps` is the number of training steps. Raises ConfigError if the method does not support the model's architecture.
        """
        raise NotImplementedError

    def after_backward(self, model: torch.nn.Module, step: int) -> None:
        """Called after the backward pass and before the optimiser's step, for example to mask gradients; does nothing by default."""

    def penalty(self, model: torch.nn.Module) -> torch.Tensor | None:
        """Return a regularisation term that is added to the loss; None if the method has none."""
        return None

    def edits(self, model: torch.nn.Module) -> list[Edit]:
        """Return the changes that training with this method made to the model, as `Edit` objects."""
        raise NotImplementedError

    def start_from(self, model: torch.nn.Module, edits: Sequence[Edit]) -> None:
        """Give a model that `prepare` prepared the weights of an earlier training with this method and its options.

        `edits` are what the method `edits` returned after that training. A method that does not override this can't continue a training.
        """
        raise ConfigError(
            f"The method '{self.name}' can't continue an earlier training; expected one such as full or lora. "
            "Train from the pretrained model: vertune retrain NAME --how scratch"
        )

    @property
    def continues(self) -> bool:
        """Whether an earlier training can be continued on other rows, which is so if the method overrides `start_from`."""
        return type(self).start_from is not Method.start_from

    def state(self, model: torch.nn.Module) -> dict[str, torch.Tensor]:
        """Return this method's tensors, other than weights, that a checkpoint must contain so that training can resume exactly."""
        return {}

    def restore(self, model: torch.nn.Module, state: dict[str, torch.Tensor]) -> None:
        """Set the tensors that `state` returned when the checkpoint was written."""


def method_that_moves(weights: Literal["head", "top", "all"], **options: Any) -> Method:
    """Return a fine-tuning method, with these options, that trains `weights`: the `head`, the `top` (head and last layers) or `all`.

    It is the first method whose class attribute `moves` is `weights`. Raises ConfigError if there is no such method.
    """
    kind = having(Method.folder, moves=weights)
    assert issubclass(kind, Method)
    return kind(**options)


@dataclass(frozen=True, slots=True)
class StandaloneModel:
    """A complete trained model, with the fine-tuned changes merged into its weights; compressors accept and return such a model."""

    encoder: Encoder
    task: Task
    body: Any
    """The model itself: a torch module (nn/vertical.py), or an ONNX graph (onnx.ModelProto)."""


@dataclass(frozen=True, slots=True)
class CompressionContext:
    """Data and functions that `vertune compress` passes to compressors, which must not import code for training and inference."""

    train: Sequence[Record]
    """The training records of the model."""
    unlabelled: Sequence[Record]
    """Records without labels, similar to the training records; may be empty."""
    columns: Sequence[str]
    """Names of the fields that the records have."""
    seed: int
    distil: Callable[[StandaloneModel, StandaloneModel, float], None]
    """`distil(student, teacher, epochs)` trains the student in place to have the same outputs as the teacher."""
    outputs: Callable[[StandaloneModel, Sequence[Record]], list[NDArray[Any]]]
    """`outputs(model, records)` returns the model's outputs, one array per feature (model input) of the records."""
    activations: Callable[[StandaloneModel, Sequence[Record], Sequence[str]], Iterator[dict[str, NDArray[Any]]]]
    """`activations(model, records, names)` runs an ONNX model on the records and yields, for each batch, its tensors with these names
    by name; each has the shape (tokens of the batch, width), without padding."""
    accepts: Callable[[StandaloneModel], bool]
    """`accepts(model)` returns whether a compressed model is accurate enough on the validation records; if unclear, it returns True."""
    progress: Progress
    """A callback `progress(kind, **fields)`, which reports an event."""
    folder: Path
    """A temporary folder for the compressor's files; it is deleted when the compression ends."""


class Compressor(Part):
    """A component that makes a trained model smaller, for example by quantisation or pruning."""

    folder: ClassVar[str] = "compressors"
    precision: ClassVar[Literal["float32", "int8"]] = "float32"
    """Number format in which the compressed model computes. The compressor whose value is `int8` is also used to quantise backbones
    that several models share; so it must have the options `search` (whether to keep sensitive layers in float32) and `rows` (number
    of training records on which scales are calibrated)."""
    works_on: ClassVar[Literal["torch", "onnx"]] = "torch"
    """Whether the compressor accepts and returns a torch module or an ONNX graph."""

    def shrink(self, model: StandaloneModel, context: CompressionContext) -> StandaloneModel:
        """Return a smaller copy of `model`, which is not changed; raise ConfigError if its architecture is not supported."""
        raise NotImplementedError


class Export(Part):
    """A component that writes a trained model in the format of other software."""

    folder: ClassVar[str] = "exports"
    takes_graphs: ClassVar[bool] = False
    """Whether this export also accepts a compressed model, which is an ONNX graph and no torch module."""
    takes_companion: ClassVar[bool] = False
    """Whether the exported model mixes its outputs with scores of words as vertune does, where the model has a companion."""
    needs_sequences: ClassVar[bool] = False
    """Whether the other software can load only models that read token sequences."""

    def write(self, model: Any, folder: Path) -> None:
        """Write the files of the exported model into an empty folder; raise ConfigError if the format can't represent this model."""
        raise NotImplementedError

    def check(self, model: Any, folder: Path) -> None:
        """Load the exported files with the software they are made for; raise ModelError if the outputs differ from those of `model`."""
        raise NotImplementedError
