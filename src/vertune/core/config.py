"""The config of a vertical: the pydantic model of one run.yaml; independent of what the parts named in it do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, field_validator, model_validator

from vertune.core import part
from vertune.core.artifact import check_name
from vertune.core.errors import ConfigError, NotFound
from vertune.core.kinds import Augmenter, Cleaner, Compressor, Encoder, Method, Source, Split, Task
from vertune.core.parse import build
from vertune.core.spellings import log_notes, modernise, modernise_setting

Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Section(BaseModel):
    """A group of options in the config."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, defer_build=True)


def source_of(path: str) -> dict[str, Any]:
    """Return the config of the source that reads this path, chosen by the file ending; raise ConfigError for an unknown ending."""
    if Path(path).is_dir():
        return {"name": "folder", "path": path}
    for name in part.names("sources"):
        kind = part.find("sources", name)
        if issubclass(kind, Source) and path.lower().endswith(kind.suffixes or ("\0",)):
            return {"name": name, "path": path}
    raise ConfigError(
        f"No source is known for the file ending of '{path}'. Name the source, one of {', '.join(part.names('sources'))}: "
        f"`source: {{name: …, path: {path}}}`."
    )


class Data(Section):
    """The sources of the records, the mapping of their columns to fields, and the preparation for training."""

    source: SerializeAsAny[Source] | None = None
    """The source of the training records: a path, or a source with its options. None if frames are passed in Python."""
    validation: SerializeAsAny[Source] | None = None
    """The source of the validation records. Without it, the split sets some of the training records aside."""
    test: SerializeAsAny[Source] | None = None
    """The source of the test records. Without it, the split sets some of the training records aside, if its options say so."""
    unlabelled: SerializeAsAny[Source] | None = None
    """The source of unlabelled records of the same field of work. A compressor can use them to train a smaller model on the original
    model's outputs."""
    fields: dict[str, str | list[str]] = {}
    """The source's column for each field of the task; a list of columns is joined into one text, each as `name: value`."""
    keep: list[str] = []
    """Further columns to store with the records, by which the report can group its rows (`evaluate.slices`)."""
    clean: list[SerializeAsAny[Cleaner]] = []
    """Cleaners, which drop or edit rows before the task checks them; they run on all rows, in this order."""
    split: SerializeAsAny[Split] = Field(default="stratified", validate_default=True)
    """The split, which divides the records into train, validation and test."""
    augment: list[SerializeAsAny[Augmenter]] = []
    """Augmenters, which make additional training rows from the training rows; each reads the rows before any augmentation."""

    @field_validator("source", "validation", "test", "unlabelled", mode="before")
    @classmethod
    def _from_path(cls, value: Any) -> Any:
        if isinstance(value, str) and value not in part.names("sources"):
            return source_of(value)
        return value


class Optimiser(Section):
    """The optimiser and the schedule of its learning rate."""

    name: Literal["adamw", "adafactor", "sgd"] = "adamw"
    """The update rule."""
    rate: Rate | Literal["auto"] = "auto"
    """Peak learning rate; auto depends on the method and the width of the base (docs/defaults.md)."""
    head_rate: Rate | Literal["auto"] = "auto"
    """Peak learning rate of the head; auto depends on `training.start` (docs/defaults.md)."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """Curve by which the learning rate falls after the warm-up."""
    warmup: float = Field(default=0.1, ge=0, le=1)
    """Share of the steps in which the learning rate rises from 0 to its peak."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled weight decay; biases and norms are not decayed."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Factor by which the learning rate falls with each layer further from the head; 1 gives all layers the same rate."""
    exact: bool = False
    """Whether AdamW updates every row of the word embeddings in every step; false updates only the rows in use, which is faster."""
    clip: float = Field(default=1.0, ge=0)
    """Largest norm of the gradient; a larger gradient is scaled down to it. 0 switches clipping off."""


class Training(Section):
    """How long training runs, how it starts, and when it stops."""

    epochs: Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["auto"] = "auto"
    """Passes over the training records; auto depends on the number of rows (docs/defaults.md)."""
    batch: int = Field(default=32, ge=1, le=65536)
    """Rows in one step of the optimiser."""
    start: Literal["auto", "probe", "random"] = "auto"
    """Initial weights of the head: `probe` fits them on the frozen encoder's outputs (a linear probe), `random` draws them at random;
    auto uses `probe` if the head is linear, else `random`."""
    patience: int = Field(default=0, ge=0)
    """Number of evaluations without an improvement of the metric after which training stops; 0 never stops early."""
    evaluations: int = Field(default=1, ge=0, le=100)
    """Number of evaluations on the validation rows per epoch; the best weights are kept. 0 evaluates never and keeps the last weights."""
    time_limit: float | None = Field(default=None, gt=0)
    """Seconds that training may take; None sets no limit, except 180 seconds for `method: auto`."""
    refit: Literal["auto", "always", "never"] = "auto"
    """Whether to train once more on training and validation rows together, if the validation rows were set aside from the training
    rows; auto does so below 2,000 rows, and if only the head was fitted, which is cheap."""
    checkpoint: float = Field(default=30, ge=0)
    """Seconds between checkpoints, from which a killed run can resume; 0 writes one after every step."""
    window: int = Field(default=50, ge=1)
    """Number of batches per shuffled window; rows are sorted by length within a window, so that batches need little padding."""
    trackers: list[Literal["tensorboard", "wandb", "mlflow"]] = []
    """Experiment trackers to which the training curves are sent, besides the run's own events."""
    optimiser: Optimiser = Optimiser()
    """The optimiser and the schedule of its learning rate."""


class Device(Section):
    """Threads, memory, precision and disk space for training and prediction."""

    threads: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Threads per process; auto measures at the start of training which number, up to the usable processors, is fastest."""
    tokens: int = Field(default=8192, ge=64)
    """Largest number of tokens in one forward pass, which bounds the memory; a training step with more is divided into micro-batches."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Number format of matrix products in training; auto is bfloat16 if the GPU or CPU supports it in hardware, else float32."""
    checkpoint_gradients: bool = False
    """Whether activations are recomputed in the backward pass instead of stored, which saves memory and costs time."""
    cache: Annotated[float, Field(ge=0, allow_inf_nan=False)] | Literal["auto"] = "auto"
    """Disk space in gigabytes for the cached outputs of layers that are not trained; auto is 10, 0 switches the cache off."""
    cache_precision: Literal["auto", "float16", "float32"] = "auto"
    """Number format of the cached outputs; auto is float32 if only the head reads them, else float16."""


class Evaluation(Section):
    """Options of the report."""

    slices: list[str] = []
    """Columns to group the rows of the report by; each group gets metrics of its own."""


class Compression(Section):
    """The compressors that `vertune compress` runs on a trained model, and the accuracy that they may cost."""

    chain: list[SerializeAsAny[Compressor]] = Field(default=["int8"], validate_default=True)
    """The compressors to run, in this order; an empty list only writes the model as a float32 ONNX graph."""
    tolerance: float = Field(default=0.005, ge=0, le=1)
    """Largest loss of the task's metric that is accepted: for a metric between 0 and 1, an absolute difference (0.005 is half a
    percentage point); for any other metric, a share of the original model's value."""


class Config(Section):
    """The config of one vertical (a model for one task): data, encoder, task, method and training."""

    name: str = "vertical"
    """The name of the vertical, with which the ids of its artifacts and its aliases begin."""
    seed: int = Field(default=0, ge=0)
    """Seed of all random numbers."""
    data: Data
    encoder: SerializeAsAny[Encoder] = Field(default="text", validate_default=True)
    """The encoder, which turns records into the vectors that the head reads; `base: minilm` is short for `encoder: {base: minilm}`."""
    task: SerializeAsAny[Task] = Field(default="classify", validate_default=True)
    method: Literal["auto"] | SerializeAsAny[Method] = Field(default="auto", union_mode="left_to_right")
    """The fine-tuning method, which decides the weights that are trained; auto chooses one that fits the time limit."""
    training: Training = Training()
    device: Device = Device()
    evaluate: Evaluation = Evaluation()
    compress: Compression = Field(default_factory=Compression)

    @model_validator(mode="before")
    @classmethod
    def _written(cls, value: Any) -> Any:
        """Accept older spellings, and a top-level `base` as short for `encoder.base`."""
        if not isinstance(value, dict):
            return value
        value = modernise(value)[0]
        if "base" not in value:
            return value
        rest = {key: item for key, item in value.items() if key != "base"}
        encoder = rest.get("encoder", "text")
        options = {"name": encoder} if isinstance(encoder, str) else encoder
        if isinstance(options, dict) and options.get("base", value["base"]) != value["base"]:
            raise ConfigError(f"The config has two bases: base is '{value['base']}', encoder.base is '{options['base']}'. Remove one.")
        return {**rest, "encoder": {**options, "base": value["base"]}}

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        return check_name(value)


def override(value: dict[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """Return the config mapping, in the current spelling, with settings such as `method.rank=16` applied.

    The value of a setting is parsed as YAML. Older spellings of settings work too; the log says how to write them now.
    """
    value = modernise(value)[0]
    for setting in settings:
        current, notes = modernise_setting(setting)
        log_notes(notes)
        key, equals, text = current.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set got '{setting}', but it takes key=value. Write for example: --set method.rank=16")
        try:
            item = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(
                f"The value of --set {setting} is not YAML: {error}. Put quotes around a text with special characters."
            ) from error
        value = _put(value, key.split("."), item)
    return value


def _put(value: Any, steps: Sequence[str], item: Any) -> dict[str, Any]:
    """Return a copy of a mapping with the item set at the path `steps`; a part given by name alone becomes a mapping."""
    if not isinstance(value, (str, dict, type(None))):
        raise ConfigError(f"--set can't set '{steps[0]}' inside {value!r}, because only a mapping has options. Check the key.")
    inner = {"name": value} if isinstance(value, str) else dict(value or {})
    inner[steps[0]] = item if len(steps) == 1 else _put(inner.get(steps[0]), steps[1:], item)
    return inner


def load(path: str | Path, settings: Sequence[str] = ()) -> Config:
    """Read the config in a YAML file and apply the settings; relative paths in the file are relative to its folder."""
    file = Path(path)
    if not file.exists():
        raise NotFound(f"There is no config file '{file}'. Write one with: vertune init DATA.csv")
    try:
        value = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not YAML: {error}. Correct the file.") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{file} holds {type(value).__name__}, but a config is a mapping such as `task: classify`. Correct the file.")
    value, notes = modernise(value)
    log_notes(f"{file}: {note}" for note in notes)
    return build(Config, _anchor(override(value, settings), file.absolute().parent))


def parse(value: dict[str, Any]) -> Config:
    """Build the config from a mapping that was written in Python; the log says how to write older spellings now."""
    current, notes = modernise(value)
    log_notes(notes)
    return build(Config, current)


def is_same(written: Any, config: Config) -> bool:
    """Return whether a config from a manifest, of this version or an older one, equals this config."""
    try:
        return written is not None and dump(build(Config, written)) == dump(config)
    except ConfigError:
        return False


def _anchor(value: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Make relative paths absolute: the paths of sources, and the base if it is a folder next to the config file."""
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
    """Return whether the path of a source means a file or folder next to the config file, not a name on a hub."""
    name = source.get("name")
    kind = part.find("sources", name) if isinstance(name, str) and name in part.names("sources") else None
    return (folder / source["path"]).exists() or not getattr(kind, "remote", False)


def _anchored_base(value: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Make the path in `base` absolute if it is a folder next to the config file."""
    base = value.get("base")
    return {**value, "base": str(folder / base)} if isinstance(base, str) and (folder / base).is_dir() else value


def dump(config: BaseModel) -> dict[str, Any]:
    """Return a config or part as JSON values, from which `build` can rebuild it."""
    return config.model_dump(mode="json")
