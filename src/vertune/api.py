"""The Python interface: functions and a class to train, load, use and save models."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vertune.core.artifact import Artifact, Home, Progress
from vertune.core.errors import ConfigError, DataError, NotFound
from vertune.core.files import read_json, storage_errors

if TYPE_CHECKING:
    import polars as pl

    from vertune.core.kinds import Task
    from vertune.runtime.cache import AnswerCache, CachedPredictor
    from vertune.runtime.predictor import Predictor

_SPLITS = ("train", "validation", "test")
_TARGET = "label"


class Vertical:
    """A trained model, with methods to predict with it, and to evaluate, compress, export and save it."""

    def __init__(self, artifact: Artifact, home: Home | None = None) -> None:
        self.artifact = artifact
        self.home = home or Home(artifact.folder.parents[1])
        self._opened: Predictor | None = None
        self._cached: CachedPredictor | None = None

    def __repr__(self) -> str:
        return f"Vertical({self.id!r}, task={self.config['task']['name']!r}, metrics={self.metrics})"

    @property
    def id(self) -> str:
        """The id of the model, which is its name, a timestamp and a random number."""
        return self.artifact.id

    @property
    def cache(self) -> AnswerCache[Any, Any] | None:
        """The cache of predictions that `remember` created; None before that. `hit_rate` is the fraction of inputs found in it."""
        return None if self._cached is None else self._cached.cache

    @property
    def config(self) -> dict[str, Any]:
        """The config that the model was trained with, as a dict; options that were `auto` have the values that were chosen in training."""
        return dict(self.artifact.manifest["config"])

    @property
    def metrics(self) -> dict[str, Any]:
        """The metrics that were measured at the end of training, for each split."""
        return dict(self.artifact.manifest.get("metrics") or {})

    @property
    def labels(self) -> list[str]:
        """The labels that the model can predict; empty if the task has none."""
        return list(self._task().known_labels)

    def predict(self, data: Any) -> Any:
        """Return the prediction for a text or a record; for a list, a pandas or Polars frame, or a path, return a list of predictions.

        A prediction is a dict, whose keys depend on the task. Raises DataError if a record can't be used; it names the first such record.
        """
        from vertune.steps.predict import predict

        one = isinstance(data, (str, Mapping)) and not _is_path(data)
        answers = predict(self._predictor(), self._records([data] if one else data), self._cached)
        return answers[0] if one else answers

    def remember(self, entries: int = 10_000) -> Vertical:
        """Cache the predictions for up to `entries` inputs from now on, and return self; raise ConfigError if `entries` is less than 1."""
        from vertune.runtime.cache import AnswerCache, CachedPredictor

        self._cached = CachedPredictor(self._predictor(), self.id, AnswerCache(entries))
        return self

    def compress(self, *settings: str, accept: bool = False) -> Vertical:
        """Return a smaller, faster model, whose value of the task's metric is worse by at most `compress.tolerance`.

        `settings` override the config, for example `compress.chain=[trim_vocabulary, int8]`. Raises ModelError if the
        smaller model loses more, or if there are too few validation records to decide this; with `accept`, the model is returned in
        the second case too.
        """
        from vertune.steps.compress import CompressOptions, compress

        return Vertical(compress(self.artifact, self.home, settings, None, CompressOptions(accept)), self.home)

    def evaluate(self, data: Any = None, split: str = "test") -> dict[str, Any]:
        """Evaluate the model on `data`, which must be labelled, or if that is None, on a split of the dataset that it was trained on.

        Return a dict with the metrics and, under the key `report`, the path of an HTML report.
        """
        from vertune.steps.evaluate import evaluate

        report = evaluate(self.artifact, self.home, split, None, None if data is None else _frame(data, self._task()))
        return {**read_json(report.folder / "metrics.json"), "report": str(report.folder / "report.html")}

    def save(self, folder: str | Path, base: bool = False) -> Path:
        """Copy the model into a new or empty folder, from which `load` can load it; if `base` is true, also copy the pretrained model."""
        from vertune.core.files import new_folder
        from vertune.steps.bundle import bundle

        if base:
            return bundle(self.artifact, Path(folder))
        with new_folder(Path(folder)) as target, storage_errors(target):
            shutil.copytree(self.artifact.folder, target, dirs_exist_ok=True)
        return Path(folder).absolute()

    def export(self, form: str, folder: str | Path) -> Path:
        """Write the model in a format (`form`) of other software, such as `transformers`, and check that its outputs are equal."""
        from vertune.steps.export import export

        return export(self.artifact, form, Path(folder))

    def _task(self) -> Task:
        from vertune.core.kinds import Task

        return Task.model_validate(self.config["task"])

    def _predictor(self) -> Predictor:
        if self._opened is None:
            from vertune.runtime.predictor import Predictor

            self._opened = Predictor.open(self.artifact)
        return self._opened

    def _records(self, data: Any) -> Any:
        """Convert data to a list of records, or to a data frame if the data is neither a list nor an array.

        Each item of a list becomes one record: a text is the value of the task's first input; a list of texts contains the values
        of the task's first inputs, in their order; a record is not changed.
        """
        from vertune.data.validate import record_of_texts

        if isinstance(data, (list, tuple)) or _is_array(data):
            predictor = self._predictor()
            return [
                record_of_texts(predictor, [item])
                if isinstance(item, str)
                else record_of_texts(predictor, item)
                if isinstance(item, (list, tuple))
                else item
                for item in data
            ]
        return _frame(data)


def fit(
    data: Any,
    text: str | Sequence[str] | None = None,
    label: str | None = None,
    time_limit: float | None = None,
    home: str | Path | None = None,
    **config: Any,
) -> Vertical:
    """Train and evaluate a model on labelled data, and return the model; all arguments except `data` have defaults.

    `data` is a path, a pandas or Polars frame, a list of records, a pair (texts, labels), or a mapping of splits
    (`{"train": …, "test": …}`) to any of these. `text` and `label` are the names of the columns with the texts and the labels;
    for pairs of texts, `text` is a list of two names. Columns that are not named are guessed. `time_limit` is in seconds.

    `config` accepts every section of the config file run.yaml as a keyword, such as `task="regress"`, `method="lora"`, `base="…"`
    or `training={"epochs": 3}`. It also accepts `progress`, a callback `progress(kind, **fields)`, which is called for each event of
    the training. Raises ConfigError, DataError or NotFound.
    """
    from vertune.steps.fit import fit as run

    progress: Progress | None = config.pop("progress", None)
    parts = _parts(data)
    frames = {name: _frame(part, _named_task(config)) for name, part in parts.items() if not _is_path(part)}
    if frames and len(frames) < len(parts):
        raise ConfigError("Some splits are paths, others are frames or lists. Pass all splits as paths, or none.")
    from vertune.core.config import parse

    if time_limit is not None:
        config["training"] = {**config.get("training", {}), "time_limit": time_limit}
    settings = parse(_settings(parts, frames, _Columns(_as_list(text), label), config))
    store = Home(home)
    fitted = run(settings, store, progress, frames or None)
    return Vertical(fitted.model, store)


def load(name: str | Path, home: str | Path | None = None) -> Vertical:
    """Return the trained model with this name, alias (such as `name@live`) or id, or the model that was saved in the folder `name`."""
    path = Path(name).expanduser()
    if (path / "manifest.json").exists():
        return Vertical(Artifact(path.absolute()), Home(home))
    store = Home(home)
    return Vertical(store.get("models", os.fspath(name)), store)


@dataclass(frozen=True, slots=True)
class _Columns:
    """The column names that the caller passed; those that are missing (empty list, None) are guessed from the data."""

    texts: list[str]
    label: str | None


def _parts(data: Any) -> dict[str, Any]:
    """Return the data of each split; if the data is not a mapping of splits, return all of it as `train`."""
    if isinstance(data, Mapping) and data and set(data) <= set(_SPLITS):
        if "train" not in data:
            raise ConfigError(
                f"The data has only the splits {', '.join(data)}; expected 'train' too. Add the training data: {{'train': …}}."
            )
        return dict(data)
    return {"train": data}


def _settings(parts: Mapping[str, Any], frames: Mapping[str, pl.DataFrame], columns: _Columns, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the caller's settings as a mapping, in which missing ones (such as the columns) are guessed from the data."""
    from vertune.steps.init import guess_frame, init

    settings = dict(config)
    data = dict(settings.pop("data", {}))
    if frames:
        guess = guess_frame(frames["train"], "the data", columns.texts, columns.label, _named_task(settings))
    else:
        guess = init(Path(parts["train"]), columns.texts, columns.label, _named_task(settings))
        from vertune.core.config import source_of

        data |= {"source" if name == "train" else name: source_of(str(Path(part).expanduser())) for name, part in parts.items()}
    data.setdefault("fields", {name: value[0] if len(value) == 1 else value for name, value in guess.fields.items()})
    if guess.split and "split" not in data:
        data["split"] = {"name": "given", "by": guess.split}
    return {"task": guess.task, **settings, "data": data}


def _named_task(config: Mapping[str, Any]) -> Task | None:
    """Return the task that the caller's settings name; None if they name no task."""
    from vertune.core.kinds import Task

    return None if config.get("task") is None else Task.model_validate(config["task"])


def _as_list(text: str | Sequence[str] | None) -> list[str]:
    return [text] if isinstance(text, str) else list(text or ())


def _is_path(value: Any) -> bool:
    """Return whether a value is a `Path`, or a string that is the path of an existing file or folder."""
    if isinstance(value, Path):
        return True
    try:
        return isinstance(value, str) and len(value) < 1024 and os.path.exists(os.path.expanduser(value))  # noqa: PTH110, PTH111 - faster, and this runs for every text
    except (OSError, ValueError):
        return False


def _is_array(value: Any) -> bool:
    """Return whether a value is a one-dimensional array or series of pandas, NumPy or Polars."""
    return getattr(value, "ndim", None) == 1 or type(value).__name__ == "Series"


def _frame(data: Any, task: Task | None = None) -> pl.DataFrame:
    """Convert data to a Polars frame; read it from the file or folder if it is a path.

    A pair (texts, labels) becomes two columns with the names of the task's first input and first target.
    """
    import polars as pl

    from vertune.steps.predict import read_rows

    if _is_path(data):
        return read_rows(Path(data).expanduser())
    if isinstance(data, str):
        raise NotFound(
            f"There is no file '{data}'. Pass the path of a file that exists, a data frame, a list of records, or a tuple (texts, labels)."
        )
    if isinstance(data, pl.LazyFrame):
        return data.collect()
    if isinstance(data, pl.DataFrame):
        return data
    if isinstance(data, tuple) and len(data) == 2:
        return _paired(*data, task)
    if hasattr(data, "iloc"):
        return pl.DataFrame({str(name): data[name].to_list() for name in data.columns}, strict=False)
    try:
        return pl.DataFrame([dict(row) for row in data], infer_schema_length=None, strict=False)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"Data of type {type(data).__name__} can't be read. Pass a path, a data frame, a list of records, or a tuple (texts, labels)."
        ) from error


def _paired(texts: Any, labels: Any, task: Task | None) -> pl.DataFrame:
    """Return a frame with a column of texts and a column of labels, named like the task's first input and first target.

    If `task` is None, the names are `text` and `label`. Raises DataError if there is not one label for each text.
    """
    import polars as pl

    left, right = list(texts), list(labels)
    if len(left) != len(right):
        raise DataError(f"There are {len(left)} texts but {len(right)} labels. Pass one label for each text.")
    text, target = (task.input_columns[0].name, task.target_columns[0].name) if task else ("text", "label")
    values = [list(value) if isinstance(value, (list, tuple)) else value.item() if hasattr(value, "item") else value for value in right]
    return pl.DataFrame({text: [str(value) for value in left], target: values}, strict=False)


__all__ = ["Vertical", "fit", "load"]
