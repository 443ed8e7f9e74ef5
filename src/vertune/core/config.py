"""The config of a training run: a pydantic model of the file run.yaml, and functions that read it; independent of what the options do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, SerializeAsAny, field_validator, model_validator

from vertune.core import part
from vertune.core.artifact import check_name
from vertune.core.bounded_yaml import parse_yaml, read_yaml
from vertune.core.errors import ConfigError, NotFound
from vertune.core.file_formats import is_text, unread
from vertune.core.kinds import Augmenter, Cleaner, Compressor, Encoder, Method, Source, Split, Task
from vertune.core.parse import build
from vertune.core.section import Section
from vertune.core.spellings import log_notes, modernise, modernise_setting
from vertune.core.watch import Watch

Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_DATA_ENDINGS = frozenset({".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".parquet", ".pq", ".xlsx", ".xls", ".xlsm", ".ods", ".conll"})
"""Endings of files that are data and never a config."""
KeepText = Literal["no", "masked", "yes"]
"""How a server keeps the texts of requests: not at all, with placeholders for personal data, or as they are."""


def source_of(path: str) -> dict[str, Any]:
    """Return the config of the data source for a file or folder: a mapping of the source's name and the path.

    The source is one that recognises the content of the file, else one that reads files with this ending. ConfigError is raised if there
    is none.
    """
    kinds = {name: kind for name in part.names("sources") if issubclass(kind := part.find("sources", name), Source)}
    file = Path(path).expanduser()
    recognised = [name for name, kind in kinds.items() if kind.recognises(file)] if file.exists() else []
    special = [name for name in recognised if not kinds[name].general]
    by_ending = [name for name, kind in kinds.items() if path.lower().endswith(kind.suffixes or ("\0",)) and not file.is_dir()]
    if is_text(file):  # what web sites export as .xls is often a table of text
        by_ending = [name for name in by_ending if not kinds[name].binary]
    if found := [*special, *by_ending, *recognised]:
        return {"name": found[0], "path": path}
    raise ConfigError(unread(path, kinds))


class Data(Section):
    """Where records come from, which of their columns are the fields of the task, and how records are prepared for training."""

    source: SerializeAsAny[Source] | None = None
    """The source of the training records: a path, or the name of a source with its options. None if Python code passes data frames."""
    validation: SerializeAsAny[Source] | None = None
    """The source of the validation records. Without it, `split` sets some of the training records aside for validation."""
    test: SerializeAsAny[Source] | None = None
    """The source of the test records. Without it, `split` sets some of the training records aside for the test if its options say so."""
    unlabelled: SerializeAsAny[Source] | None = None
    """The source of records without labels, similar to the training records. A compressor can use them to train a smaller model on the
    original model's outputs."""
    fields: dict[str, str | list[str]] = {}
    """For each field of the task, the column of the source; the values of several columns are joined as `name: value` into one text."""
    keep: list[str] = []
    """Further columns of the source to store with the records, for example those by which `evaluate.slices` groups the report."""
    clean: list[SerializeAsAny[Cleaner]] = []
    """Cleaners, which drop or edit rows before the task checks the values; they run in this order on the rows of every split."""
    labels: Literal["keep", "merge"] = "keep"
    """Whether labels that differ only in case, white space, invisible characters or Unicode form (`Security` and `security`) stay
    different, with a warning, or are merged: each gets the spelling that is most frequent in the training records."""
    split: SerializeAsAny[Split] = Field(default="stratified", validate_default=True)
    """The split, which divides the records into train, validation and test."""
    licence: str | None = Field(default=None, max_length=100)
    """The licence of the records, such as cc-by-4.0, for the model card. None if it is not known; the card then calls it unknown."""
    augment: list[SerializeAsAny[Augmenter]] = []
    """Augmenters, which make additional training rows from the training rows; none reads the rows that another one made."""

    @field_validator("source", "validation", "test", "unlabelled", mode="before")
    @classmethod
    def _from_path(cls, value: Any) -> Any:
        if isinstance(value, str) and value not in part.names("sources"):
            return source_of(value)
        return value


class Optimiser(Section):
    """The optimiser and the schedule of its learning rate."""

    name: Literal["adamw", "adafactor", "sgd"] = "adamw"
    """The optimisation algorithm."""
    rate: Rate | Literal["auto"] = "auto"
    """Peak learning rate; auto derives it from the method and the hidden size of the pretrained model (docs/defaults.md)."""
    head_rate: Rate | Literal["auto"] = "auto"
    """Peak learning rate of the head (the last layer); auto is `rate` for a fitted head (`training.start`), more for a random one."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate changes after the warm-up: it falls linearly or along a cosine, or is constant."""
    warmup: float = Field(default=0.1, ge=0, le=1)
    """Fraction of all training steps, at the beginning, in which the learning rate rises from 0 to its peak."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled weight decay; it is not applied to biases and normalisation layers."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Factor by which the learning rate is multiplied for each layer further from the head; 1 gives all layers the same rate."""
    exact: bool = False
    """Whether AdamW updates every row of the word embeddings in every step; false updates only rows of tokens in the batch: faster."""
    clip: float = Field(default=1.0, ge=0)
    """Largest norm of the gradient; a larger gradient is scaled down to it. 0 switches clipping off."""


class Training(Section):
    """How long training runs, how it starts, and when it stops."""

    epochs: Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["auto"] = "auto"
    """Passes over the training records; auto depends on the number of rows (docs/defaults.md)."""
    batch: int = Field(default=32, ge=1, le=65536)
    """Number of rows in one step of the optimiser."""
    start: Literal["auto", "probe", "random"] = "auto"
    """Initial weights of the head (the last layer): `probe` fits a linear classifier or regression on the outputs of the unchanged
    pretrained model, `random` draws the weights at random; auto is `probe` if the head is one linear layer, else `random`."""
    objective: Literal["auto", "labels", "contrastive"] = "auto"
    """What the layers below the head learn: `labels` trains them with the loss of the task, `contrastive` to give rows with equal labels
    similar states, after which the head is fitted as with `start: probe`; auto compares both if `method` is auto and there are few
    rows, else it is `labels`."""
    patience: int = Field(default=0, ge=0)
    """Training stops after this number of successive evaluations without an improvement of the metric; 0 never stops early."""
    evaluations: int = Field(default=1, ge=0, le=100)
    """Number of evaluations on the validation rows per epoch; the best weights are kept. With 0, the last weights are kept."""
    time_limit: float | None = Field(default=None, gt=0)
    """Seconds that training may take. None means 300 seconds for `method: auto`, and no limit for any other method."""
    refit: Literal["auto", "always", "never"] = "auto"
    """Whether to train once more on training and validation rows together; never done if the validation rows have their own source.
    auto does it if there are at most 2,000 rows, or if only the head (the last layer) was fitted, which is cheap."""
    checkpoint: float = Field(default=30, ge=0)
    """Seconds between checkpoints, from which a training that was killed can resume; 0 writes a checkpoint after every step."""
    window: int = Field(default=50, ge=1)
    """Number of successive batches whose rows, after shuffling, are sorted by length together, so that batches need little padding."""
    trackers: list[Literal["tensorboard", "wandb", "mlflow"]] = []
    """Experiment trackers to which the training curves are sent; they are always written to the file events.jsonl too."""
    optimiser: Optimiser = Optimiser()
    """The optimiser and the schedule of its learning rate."""


class Device(Section):
    """Threads, memory, precision and disk space for training and prediction."""

    threads: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Threads per process; auto measures at the start of training which number of threads is fastest."""
    tokens: int = Field(default=2048, ge=64)
    """Maximum number of tokens in one forward pass, which limits the memory used; a larger training step is divided into micro-batches.

    On a CPU, more make passes slower; on a GPU, 8192 are faster."""
    memory: Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["auto"] = "auto"
    """Memory in gigabytes that training may take; passes are made small enough to keep to it. auto is 4, or 80 % of what the process may
    use if that is less; on a GPU, 80 % of its memory."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of matrix products in training; auto is bfloat16 if the GPU or CPU has instructions for it, else float32."""
    checkpoint_gradients: bool = False
    """Whether activations are recomputed in the backward pass instead of stored, which saves memory and costs time."""
    cache: Annotated[float, Field(ge=0, allow_inf_nan=False)] | Literal["auto"] = "auto"
    """Disk space, in gigabytes, for a cache of the outputs of layers that are not trained; auto is 10, and 0 switches the cache off."""
    cache_precision: Literal["auto", "float16", "float32"] = "auto"
    """Number format of the cached layer outputs; auto is float32 if only the head (the last layer) is trained, else float16."""


class Evaluation(Section):
    """Options of the evaluation report."""

    slices: list[str] = []
    """Columns by which the report groups the rows: it shows the metrics of each group (each value of a column) separately."""


class Compression(Section):
    """The compressors that `vertune compress` runs on a trained model, and how much accuracy the model may lose through them."""

    chain: list[SerializeAsAny[Compressor]] = Field(default=["int8"], validate_default=True)
    """The compressors to run, in this order. With an empty list, the model is only converted to a float32 ONNX graph."""
    tolerance: float = Field(default=0.005, ge=0, le=1)
    """Largest loss of the task's metric that is accepted: an absolute difference if the metric is between 0 and 1 (0.005 is half a
    percentage point); for any other metric, a fraction of the original model's metric (0.005 is half a percent of it)."""
    folds: Annotated[int, Field(ge=0, le=100)] | Literal["auto"] = "auto"
    """Number of parts for a cross-validation, which measures the loss if the validation rows can't decide whether it is accepted: the
    model is trained and compressed again without each part, and compared on this part, up to three times. With 0 there is none; auto
    is 5 for at most 2,000 labelled rows, else 0."""


class Serving(Section):
    """How a model is served."""

    keep_text: KeepText = "masked"
    """Whether the server stores the texts of requests: not at all, with placeholders for personal data, or as they are."""


class Config(Section):
    """The config of one training run, as in run.yaml: data, encoder, task, fine-tuning method, training and compression."""

    name: str = "vertical"
    """The name of the model; the ids of its datasets, trained models and reports, and its aliases, begin with this name."""
    seed: int = Field(default=0, ge=0)
    """Seed of the random numbers in augmentation, training, compression and evaluation."""
    data: Data
    encoder: SerializeAsAny[Encoder] = Field(default="text", validate_default=True)
    """The encoder: how a pretrained model turns records into vectors. `base: minilm` is short for `encoder: {base: minilm}`."""
    task: SerializeAsAny[Task] = Field(default="classify", validate_default=True)
    method: Literal["auto"] | SerializeAsAny[Method] = Field(default="auto", union_mode="left_to_right")
    """The fine-tuning method, which decides which weights are trained; auto chooses one that fits `training.time_limit`."""
    companion: Literal["auto", "none"] = "auto"
    """Whether the model's outputs are calibrated and mixed with scores of words and character n-grams, as far as that makes the
    probabilities of validation records better. auto does it for tasks that assign labels or numbers to texts, or tags to words, if there
    are at least 20 validation records; none leaves the outputs as they are."""
    training: Training = Training()
    device: Device = Device()
    evaluate: Evaluation = Evaluation()
    compress: Compression = Field(default_factory=Compression)
    serve: Serving = Serving()
    watch: Watch = Field(default_factory=Watch)

    @model_validator(mode="before")
    @classmethod
    def _written(cls, value: Any) -> Any:
        """Replace the keys of older versions of vertune by the current ones, and move a top-level `base` to `encoder.base`."""
        if not isinstance(value, dict):
            return value
        value = modernise(value)[0]
        if "base" not in value:
            return value
        rest = {key: item for key, item in value.items() if key != "base"}
        encoder = rest.get("encoder") or "text"
        options = {"name": encoder} if isinstance(encoder, str) else encoder
        if not isinstance(options, dict):
            return {**rest, "encoder": encoder}
        if options.get("base", value["base"]) != value["base"]:
            raise ConfigError(
                f"The config names two pretrained models: base is '{value['base']}', encoder.base is '{options['base']}'. "
                "Remove one of these two options."
            )
        return {**rest, "encoder": {**options, "base": value["base"]}}

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        return check_name(value)


def override(value: dict[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """Return a copy of the config mapping in which each setting `key=value`, such as `method.rank=16`, is applied.

    The value of a setting is parsed as YAML. Keys of older versions of vertune are replaced by the current keys; if a setting has such a
    key, a warning is logged too.
    """
    value = modernise(value)[0]
    for setting in settings:
        current, notes = modernise_setting(setting)
        log_notes(notes)
        key, equals, text = current.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set was given '{setting}'; expected key=value. Write it as in this example: --set training.epochs=3")
        # a path may contain " #" or begin with "*", which are a comment and an alias in YAML, of which a setting has neither
        is_text = text.startswith("*") or (" #" in text and text[0] not in "\"'[{")
        item = text if is_text else parse_yaml(text, f"The value in --set {setting:.80}")
        value = _put(value, key.split("."), item)
    return value


def _put(value: Any, steps: Sequence[str], item: Any) -> dict[str, Any]:
    """Return a copy of a nested mapping in which the value at the path `steps` is `item`; `steps` are the keys from the outside in.

    On the way, a text such as `lora` becomes the mapping `{name: lora}`, and None becomes an empty mapping. Raises ConfigError if any
    other value on the way is not a mapping.
    """
    if not isinstance(value, (str, dict, type(None))):
        raise ConfigError(
            f"--set can't set '{steps[0]}' inside the value {value!r}, because this value is not a mapping of options. "
            "Check the key before the sign =."
        )
    inner = {"name": value} if isinstance(value, str) else dict(value or {})
    inner[steps[0]] = item if len(steps) == 1 else _put(inner.get(steps[0]), steps[1:], item)
    return inner


def load(path: str | Path, settings: Sequence[str] = ()) -> Config:
    """Return the config in a YAML file, with settings such as `method.rank=16` applied.

    Relative paths in the file are resolved against the folder of the file.
    """
    file = Path(path)
    if not file.exists():
        raise NotFound(f"There is no config file '{file}'. Write one with: vertune init DATA.csv")
    if file.suffix.lower() in _DATA_ENDINGS or file.is_dir():
        raise ConfigError(f"{file} is data, and no config. Write a config for it: vertune init {file}")
    value = read_yaml(file)
    if not isinstance(value, dict):
        raise ConfigError(
            f"{file} contains a value of type {type(value).__name__}; expected a mapping, such as `task: classify`. Correct the file, "
            f"or, if it is data, write a config for it: vertune init {file}"
        )
    value, notes = modernise(value)
    log_notes(f"{file}: {note}" for note in notes)
    return build(Config, _anchor(override(value, settings), file.absolute().parent))


def parse(value: dict[str, Any]) -> Config:
    """Build the config from a mapping; for each key of an older version of vertune, log a warning that names the current key."""
    current, notes = modernise(value)
    log_notes(notes)
    return build(Config, current)


def is_same(written: Any, config: Config) -> bool:
    """Return whether `written`, the config in a manifest, is equal to `config`; False if `written` is not a valid config.

    An older version of vertune may have written the manifest, so older keys are converted first.
    """
    try:
        return written is not None and dump(build(Config, written)) == dump(config)
    except ConfigError:
        return False


def _anchor(value: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return a copy of the config in which relative paths are joined to `folder`, the folder of the config file.

    These are the paths of the data sources, and `base`, the pretrained model, if it is a folder and not a name.
    """
    data = value.get("data")
    if isinstance(data, dict):
        anchored = dict(data)
        for key in ("source", "validation", "test", "unlabelled"):
            item = anchored.get(key)
            if isinstance(item, str) and item not in part.names("sources"):
                anchored[key] = str(folder / item)
            elif isinstance(item, dict) and isinstance(item.get("path"), str) and _is_beside(item, folder):
                anchored[key] = {**item, "path": str(folder / item["path"])}
        value = {**value, "data": anchored}
    value = _anchored_base(value, folder)
    if isinstance(value.get("encoder"), dict):
        value = {**value, "encoder": _anchored_base(value["encoder"], folder)}
    return value


def _is_beside(source: dict[str, Any], folder: Path) -> bool:
    """Return whether the option `path` of a data source is a path relative to `folder` and not the name of a data set on a hub."""
    name = source.get("name")
    kind = part.find("sources", name) if isinstance(name, str) and name in part.names("sources") else None
    return (folder / source["path"]).exists() or not getattr(kind, "remote", False)


def _anchored_base(value: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return a copy of a config mapping in which `base`, the pretrained model, is `folder / base`, if that folder exists.

    Otherwise, `base` is not a relative path, and the mapping is returned unchanged.
    """
    base = value.get("base")
    return {**value, "base": str(folder / base)} if isinstance(base, str) and (folder / base).is_dir() else value


def dump(config: BaseModel) -> dict[str, Any]:
    """Return a config, or one component of it, as a dict of JSON values, from which `build` can build it again."""
    return config.model_dump(mode="json")
