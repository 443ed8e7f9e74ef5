"""The config of a vertical: one YAML file as one pydantic model; knows nothing of what the parts in it do."""

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
    """The options of the source that reads a path, chosen by its file ending; ConfigError for an unknown one."""
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
    """Where the records are, what their columns mean, and what is done to them before training."""

    source: SerializeAsAny[Source] | None = None
    """Training records: a path, or a source with its options; None where frames are passed in Python."""
    validation: SerializeAsAny[Source] | None = None
    """Validation records; without them, the split takes some of the training records."""
    test: SerializeAsAny[Source] | None = None
    """Test records; without them, the split decides."""
    unlabelled: SerializeAsAny[Source] | None = None
    """Records of the same field without answers, from which a smaller model can learn the outputs of the large one."""
    fields: dict[str, str | list[str]] = {}
    """The column of the source for each field of the task; a list joins columns as `name: value`."""
    keep: list[str] = []
    """Further columns to keep beside the task's own, for slices of the report."""
    clean: list[SerializeAsAny[Cleaner]] = []
    """What is done to all rows before the task checks them, in this order."""
    split: SerializeAsAny[Split] = Field(default="stratified", validate_default=True)
    """How one table is divided into train, validation and test."""
    augment: list[SerializeAsAny[Augmenter]] = []
    """How additional training rows are made out of the training rows; each augmenter reads the rows before augmentation."""

    @field_validator("source", "validation", "test", "unlabelled", mode="before")
    @classmethod
    def _from_path(cls, value: Any) -> Any:
        if isinstance(value, str) and value not in part.names("sources"):
            return source_of(value)
        return value


class Optimiser(Section):
    """How gradients change weights."""

    name: Literal["adamw", "adafactor", "sgd"] = "adamw"
    """The update rule."""
    rate: Rate | Literal["auto"] = "auto"
    """Peak learning rate; auto depends on the method and the width of the base (docs/defaults.md)."""
    head_rate: Rate | Literal["auto"] = "auto"
    """Peak learning rate of the head; auto depends on `training.start` (docs/defaults.md)."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the learning rate falls after the warm-up."""
    warmup: float = Field(default=0.1, ge=0, le=1)
    """Share of the steps in which the learning rate rises from 0 to its peak."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled weight decay; biases and norms are not decayed."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Factor on the learning rate for each layer further from the head; 1 gives all layers the same rate."""
    exact: bool = False
    """Whether AdamW updates every row of the word embeddings in every step, not only the rows that the step used."""
    clip: float = Field(default=1.0, ge=0)
    """Largest norm of the gradient; 0 switches clipping off."""


class Training(Section):
    """How long training runs, what it starts from, and when it stops."""

    epochs: Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["auto"] = "auto"
    """Passes over the training records; auto depends on the number of rows (docs/defaults.md)."""
    batch: int = Field(default=32, ge=1, le=65536)
    """Rows in one step of the optimiser."""
    start: Literal["auto", "probe", "random"] = "auto"
    """Initial weights of the head: `probe` fits it on the frozen encoder's outputs, `random` draws it; auto fits linear heads."""
    patience: int = Field(default=0, ge=0)
    """Training stops after so many evaluations without a better metric; 0 never stops early."""
    evaluations: int = Field(default=1, ge=0, le=100)
    """Evaluations on the validation rows in each epoch; the best weights are kept. 0 keeps the last weights."""
    time_limit: float | None = Field(default=None, gt=0)
    """Seconds that training may take; None sets no limit, except 180 for `method: auto`."""
    refit: Literal["auto", "always", "never"] = "auto"
    """Whether to train once more on training and validation rows together, where validation was cut from the training rows; auto does so
    below 2,000 rows, and where only the head was fitted, which costs next to nothing."""
    checkpoint: float = Field(default=30, ge=0)
    """Seconds between checkpoints from which a killed run can resume; 0 writes one at every step."""
    window: int = Field(default=50, ge=1)
    """Batches in a shuffled window; rows are sorted by length within each window."""
    trackers: list[Literal["tensorboard", "wandb", "mlflow"]] = []
    """Where training curves are sent, besides the events of the run."""
    optimiser: Optimiser = Optimiser()
    """How gradients change weights."""


class Device(Section):
    """Threads, memory, precision and disk that training and answering use."""

    threads: Annotated[int, Field(ge=1)] | Literal["auto"] = "auto"
    """Threads of one process; auto measures when training starts which number, up to the usable processors, multiplies fastest."""
    tokens: int = Field(default=8192, ge=64)
    """Most tokens in one forward pass; a step with more is divided into micro-batches."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of matrix products in training; auto is bfloat16 where the GPU or CPU supports it in hardware, else float32."""
    checkpoint_gradients: bool = False
    """Whether activations are computed again in the backward pass, which saves memory and costs time."""
    cache: Annotated[float, Field(ge=0, allow_inf_nan=False)] | Literal["auto"] = "auto"
    """Gigabytes of disk for the cached outputs of layers that are not trained; auto is 10, 0 switches the cache off."""
    cache_precision: Literal["auto", "float16", "float32"] = "auto"
    """Precision of the cached outputs; auto is float16, and float32 where only the head reads them."""


class Evaluation(Section):
    """What a report shows besides the metrics."""

    slices: list[str] = []
    """Columns by whose values the rows of the report are grouped."""


class Compression(Section):
    """How `vertune compress` makes a trained model smaller, and how much accuracy that may cost."""

    chain: list[SerializeAsAny[Compressor]] = Field(default=["int8"], validate_default=True)
    """The compressors in the order in which they run; an empty list only writes the float32 graph."""
    tolerance: float = Field(default=0.005, ge=0, le=1)
    """The loss of the task's metric that is accepted: 0.005 is half a point; for a metric that is no share, a share of its value."""


class Config(Section):
    """One vertical: its data, the base, the task, the method, and how it is trained."""

    name: str = "vertical"
    """The name of the vertical, of its artifacts and of its aliases."""
    seed: int = Field(default=0, ge=0)
    """Seed of all random numbers."""
    data: Data
    encoder: SerializeAsAny[Encoder] = Field(default="text", validate_default=True)
    """How records become the vectors that the head reads; `base: minilm` is short for `encoder: {base: minilm}`."""
    task: SerializeAsAny[Task] = Field(default="classify", validate_default=True)
    method: Literal["auto"] | SerializeAsAny[Method] = Field(default="auto", union_mode="left_to_right")
    """Which weights are trained; auto chooses the method that fits the time limit."""
    training: Training = Training()
    device: Device = Device()
    evaluate: Evaluation = Evaluation()
    compress: Compression = Field(default_factory=Compression)

    @model_validator(mode="before")
    @classmethod
    def _written(cls, value: Any) -> Any:
        """Take older spellings, and `base` at the top as short for `encoder.base`."""
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
    """The mapping, in today's spelling, after settings such as `method.rank=16`; values are read as YAML.

    Older spellings of settings are applied too, and the log says how they are written now.
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
    if not isinstance(value, (str, dict, type(None))):
        raise ConfigError(f"--set can't set '{steps[0]}' inside {value!r}, because only a mapping has options. Check the key.")
    inner = {"name": value} if isinstance(value, str) else dict(value or {})
    inner[steps[0]] = item if len(steps) == 1 else _put(inner.get(steps[0]), steps[1:], item)
    return inner


def load(path: str | Path, settings: Sequence[str] = ()) -> Config:
    """The config in a YAML file; relative paths in it are relative to the file."""
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
    """The config that a person wrote as a mapping in Python; the log says how older spellings are written now."""
    current, notes = modernise(value)
    log_notes(notes)
    return build(Config, current)


def is_same(written: Any, config: Config) -> bool:
    """Whether the config in a manifest, of this version or an older one, says the same as this config."""
    try:
        return written is not None and dump(build(Config, written)) == dump(config)
    except ConfigError:
        return False


def _anchor(value: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Make relative paths absolute: those of sources, and the base where it is a folder beside the file."""
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
    """Whether the path of a source is a file or folder beside the config, and not a name on a hub."""
    name = source.get("name")
    kind = part.find("sources", name) if isinstance(name, str) and name in part.names("sources") else None
    return (folder / source["path"]).exists() or not getattr(kind, "remote", False)


def _anchored_base(value: dict[str, Any], folder: Path) -> dict[str, Any]:
    base = value.get("base")
    return {**value, "base": str(folder / base)} if isinstance(base, str) and (folder / base).is_dir() else value


def dump(config: BaseModel) -> dict[str, Any]:
    """The config or part as JSON values, from which `build` makes it again."""
    return config.model_dump(mode="json")
