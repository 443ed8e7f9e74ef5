"""The Python interface: functions and a class to train, load, use and save models."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vertune.core.artifact import Artifact, Home, Progress
from vertune.core.errors import ConfigError, DataError, NotFound, machine_errors
from vertune.core.files import read_json, storage_errors
from vertune.core.integrity import MANIFEST
from vertune.core.signing import PublicKey

if TYPE_CHECKING:
    import polars as pl

    from vertune.core.kinds import Task
    from vertune.runtime.cache import AnswerCache, CachedPredictor
    from vertune.runtime.predictor import Predictor
    from vertune.steps.predict import Inputs

_log = logging.getLogger("vertune")
_SPLITS = ("train", "validation", "test")


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
        """The cache of predictions that `remember` created; None if `remember` was not called.

        The attribute `hit_rate` of the cache is the fraction (0 to 1) of inputs whose prediction did not have to be
        computed.
        """
        return None if self._cached is None else self._cached.cache

    @property
    def config(self) -> dict[str, Any]:
        """The config that the model was trained with, as a dict.

        Each option that was set to `auto` has the value that training chose for it.
        """
        return dict(self.artifact.manifest["config"])

    @property
    def metrics(self) -> dict[str, Any]:
        """The metrics by split, such as `{"test": {metric: value}, "validation": {metric: value}}`.

        Those on the validation rows were measured when the model was trained or compressed, and also chose the best
        checkpoint. Those on the test rows are from the newest evaluation; `fit` evaluates the model on them if there
        are any.
        """
        from vertune.evaluation.recorded import metrics_by_split

        return metrics_by_split(self.artifact)

    @property
    def labels(self) -> list[str]:
        """The labels that the model can predict; an empty list if the model's task has no labels."""
        return list(self._task().known_labels)

    @machine_errors()
    def predict(self, data: Any = None, *, file: str | Path | None = None) -> Any:
        """Return the prediction for one text or one record, or a list of predictions for several of them.

        Several texts or records are passed as a list, or as a pandas or Polars frame. A string is always a text, even if
        a file has this name; to predict the rows of a file, pass `file="rows.csv"` or a `Path`. A prediction is a dict,
        whose keys depend on the task: for classification, they include `label`. Raises DataError for the first record
        that can't be used.
        """
        from vertune.steps.predict import predict

        if (data is None) == (file is None):
            found = "neither data nor a file" if file is None else "both data and a file"
            raise ConfigError(f"To predict, {found} were passed; expected one of them. Pass a text, records, or file=PATH.")
        one = isinstance(data, (str, Mapping))
        records = self._records([data] if one else data if file is None else Path(file))
        answers = predict(self._predictor(), records, self._cached)
        return answers[0] if one else answers

    def remember(self, entries: int = 10_000) -> Vertical:
        """Keep the predictions for up to `entries` inputs in memory, and return self.

        From now on, `predict` does not compute the prediction for one of these inputs again. If there are more inputs,
        the input that was used longest ago is forgotten. Raises ConfigError if `entries` is less than 1.
        """
        from vertune.runtime.cache import AnswerCache, CachedPredictor

        self._cached = CachedPredictor(self._predictor(), self.id, AnswerCache(entries))
        return self

    def compress(self, *settings: str, accept: bool = False) -> Vertical:
        """Return a smaller, faster version of the model that is nearly as accurate on the validation records.

        The value of the task's main metric may become worse by at most the option `compress.tolerance` of the model's
        config. Each of `settings` changes one option, for example `compress.chain=[trim_vocabulary, int8]`. Raises
        ModelError if the smaller model loses too much accuracy, or if there are too few labelled records to decide
        this. With `accept=True`, the smaller model is returned in the second case.
        """
        from vertune.steps.compress import CompressOptions, compress

        return Vertical(compress(self.artifact, self.home, settings, None, CompressOptions(accept)), self.home)

    def evaluate(self, data: Any = None, split: str = "test") -> dict[str, Any]:
        """Measure the model on labelled data, and return the metrics.

        `data` has one of the forms that `fit` accepts for a split. If it is None, the model is measured on `split`
        (train, validation or test) of the dataset that was prepared for its training. The result is the content of the
        report's metrics.json and, under the key `report`, the path of the same report as an HTML page.
        """
        from vertune.steps.evaluate import evaluate
        from vertune.steps.predict import Inputs

        frame = None if data is None else _frame(data, self._task(), Inputs.of(self.artifact))
        report = evaluate(self.artifact, self.home, split, None, frame)
        return {**read_json(report.folder / "metrics.json"), "report": str(report.folder / "report.html")}

    @machine_errors()
    def save(self, folder: str | Path, base: bool = False) -> Path:
        """Copy the model into a new or empty folder, and return the path of this folder for `load`.

        With `base=True`, the pretrained model is copied too, so that the folder can be used on a machine without a
        network.
        """
        from vertune.core.files import new_folder
        from vertune.steps.bundle import bundle

        if base:
            return bundle(self.artifact, Path(folder))
        with new_folder(Path(folder)) as target, storage_errors(target):
            shutil.copytree(self.artifact.folder, target, dirs_exist_ok=True)
        return Path(folder).absolute()

    @machine_errors()
    def export(self, form: str, folder: str | Path) -> Path:
        """Write the model in a format of other software into a new or empty folder; return the folder's path.

        `form` is the name of the format, such as `transformers`. Raises ModelError if the written model has other
        outputs.
        """
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
        """Convert data to a list of records; data that is neither a list nor an array becomes a Polars frame."""
        from vertune.steps.predict import Inputs

        inputs = Inputs.of(self._opened or self.artifact)
        if isinstance(data, (list, tuple)) or _is_array(data):
            return [_record(inputs, item, number) for number, item in enumerate(data, 1)]
        return _frame(data, inputs=inputs)


def fit(
    data: Any,
    text: str | Sequence[str] | None = None,
    label: str | None = None,
    time_limit: float | None = None,
    home: str | Path | None = None,
    accept: bool = False,
    **config: Any,
) -> Vertical:
    """Train a model on labelled data, evaluate it on rows that are held out, and return the model.

    `data` is a path, a pandas or Polars frame, a list of records, a pair (texts, labels), or a dict that maps the names
    of splits to such data: `{"train": …, "validation": …, "test": …}`. `text` and `label` are the names of the columns
    with the texts and the labels; for a task on pairs of texts, `text` is a list of two names. Columns that are not
    named are guessed from the data. `time_limit` limits the training, in seconds. Models, datasets and reports are
    stored in the folder `home` (default: the environment variable VERTUNE_HOME, else `.vertune`).

    If the data is a file or folder, the model gets its name: `load("messages")` finds the model of `messages.csv`. The
    alias `messages@live`, which selects the model to serve, is created if it does not exist yet. For a model that is
    worse than a simple baseline, it is not created, and a warning is logged; `accept=True` creates it nevertheless.

    The other keywords are sections of the config file run.yaml, such as `task="regress"`, `method="lora"`, `base="…"`
    or `training={"epochs": 3}`. The keyword `progress` is different: it is a callback `progress(kind, **fields)`, which
    is called to report each event of the work. Raises ConfigError, DataError or NotFound.
    """
    from vertune.steps.fit import fit as run

    progress: Progress | None = config.pop("progress", None)
    parts = _parts(data)
    frames = {name: _frame(part, _named_task(config)) for name, part in parts.items() if not _is_path(part)}
    if frames and len(frames) < len(parts):
        raise ConfigError("Some splits of the data are paths, others are frames or lists. Pass either all splits as paths, or none.")
    from vertune.core.config import parse

    if time_limit is not None:
        config["training"] = {**config.get("training", {}), "time_limit": time_limit}
    from vertune.steps.init import name_of

    if not frames:
        config.setdefault("name", name_of(Path(parts["train"])))
    settings = parse(_settings(parts, frames, _Columns(_as_list(text), label), config))
    store = Home(home)
    fitted = run(settings, store, progress, frames or None, accept)
    if fitted.warning:
        _log.warning("%s", fitted.warning)
    return Vertical(fitted.model, store)


def load(name: str | Path, home: str | Path | None = None, require_signed: str | Path | None = None) -> Vertical:
    """Return a trained model by its name, its alias, its id, or the folder in which it was saved.

    `home` is the folder with all models (default: the environment variable VERTUNE_HOME, else `.vertune`). An alias is
    a movable name for a model, such as `messages@live`. The name `messages` alone means the model of the alias
    `messages@live` or, if there is no such alias, the newest model with this name. `require_signed` is the file of a
    public key (see `vertune sign`). Raises NotFound if there is no such model, and ModelError if it was not signed with
    the private key of that pair.
    """
    path, store = Path(name).expanduser(), Home(home)
    artifact = Artifact(path.absolute()) if (path / MANIFEST).exists() else store.get("models", os.fspath(name))
    if require_signed is not None:
        PublicKey.load(Path(require_signed)).require(artifact.folder / MANIFEST)
    return Vertical(artifact, store)


@dataclass(frozen=True, slots=True)
class _Columns:
    """The column names that the caller of `fit` passed.

    If the caller did not pass them, `texts` is empty or `label` is None, and the columns are guessed from the data.
    """

    texts: list[str]
    label: str | None


def _parts(data: Any) -> dict[str, Any]:
    """Return the data of each split as a dict whose keys are train, validation or test.

    If `data` is not a dict of splits, all of it becomes `train`. Raises ConfigError if a dict of splits has no `train`.
    """
    if isinstance(data, Mapping) and data and set(data) <= set(_SPLITS):
        if "train" not in data:
            raise ConfigError(
                f"The data has only the splits {', '.join(data)}; expected 'train' too. Add the training data: {{'train': …}}."
            )
        return dict(data)
    return {"train": data}


def _settings(parts: Mapping[str, Any], frames: Mapping[str, pl.DataFrame], columns: _Columns, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config for a training: the caller's settings, completed by guesses from the data.

    `parts` maps the names of splits to the caller's data; `frames` contains the same data as Polars frames, and is
    empty if the data are paths. The task, the columns and the split are guessed, unless the caller set them.
    """
    from vertune.core.config import dump
    from vertune.core.kinds import Task
    from vertune.steps.init import guess_frame, init

    settings = dict(config)
    data = dict(settings.pop("data", {}))
    if frames:
        guess = guess_frame(frames["train"], "the data", columns.texts, columns.label, _named_task(settings))
    else:
        guess = init(Path(parts["train"]).expanduser(), columns.texts, columns.label, _named_task(settings))
        from vertune.steps.init.tables import as_config, as_source

        beside = guess.others if len(parts) == 1 and Path(parts["train"]).expanduser().is_dir() else {}
        data |= {"source": guess.source, **beside}
        data |= {name: as_config(as_source(Path(part).expanduser(), {}).detect()[0]) for name, part in parts.items() if name != "train"}
    data.setdefault("fields", {name: value[0] if len(value) == 1 else value for name, value in guess.fields.items()})
    if guess.split and "split" not in data:
        data["split"] = {"name": "given", "by": guess.split}
    if guess.encoder and not {"encoder", "base"} & set(settings):
        settings["encoder"] = guess.encoder
    task = settings.get("task", guess.task)
    settings["task"] = {**guess.options, **({"name": task} if isinstance(task, str) else dump(task) if isinstance(task, Task) else task)}
    return {**settings, "data": data}


def _named_task(config: Mapping[str, Any]) -> Task | None:
    """Return the task (such as classify) that the caller's settings name; None if they name no task."""
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


def _record(model: Inputs, item: Any, number: int) -> Mapping[str, Any]:
    """Convert one item of a list to a record.

    A text, or a missing value, becomes the value of the model's first input field; a list of texts becomes the values of
    the model's input fields, in their order; a record is not changed. Raises DataError for any other item; `number` is
    its position in the list, counted from 1.
    """
    from vertune.data.frames import is_missing
    from vertune.data.validate import record_of_texts

    if isinstance(item, Mapping):
        return item
    texts = item if isinstance(item, (list, tuple)) else [item]
    other = next((text for text in texts if not isinstance(text, str) and not is_missing(text)), None)
    if other is not None:
        raise DataError(
            f"Item {number} has the type {type(other).__name__}; expected a text, a record, or a list of texts. Convert it to str first."
        )
    return record_of_texts(model, [text if isinstance(text, str) else None for text in texts])


def _is_array(value: Any) -> bool:
    """Return whether a value is a one-dimensional array or series of pandas, NumPy or Polars."""
    return getattr(value, "ndim", None) == 1 or type(value).__name__ == "Series"


def _frame(data: Any, task: Task | None = None, inputs: Inputs | None = None) -> pl.DataFrame:
    """Convert data to a Polars frame; if the data is the path of a file or folder, read it, for a model that reads `inputs`.

    A pair (texts, labels) becomes two columns, named like the first input field and the first target field of `task`.
    Raises NotFound if a path does not exist, DataError for data of an unknown type.
    """
    import polars as pl

    from vertune.data import frames
    from vertune.steps.predict import read_rows

    if _is_path(data):
        return read_rows(Path(data).expanduser(), inputs)
    if isinstance(data, str):
        raise NotFound(
            f"There is no file '{data}'. Pass the path of a file that exists, a data frame, a list of records, or a tuple (texts, labels)."
        )
    if isinstance(data, (pl.DataFrame, pl.LazyFrame)):
        return frames.without_nan(data.lazy().collect())
    if isinstance(data, tuple) and len(data) == 2:
        return _paired(*data, task)
    if hasattr(data, "iloc"):
        return frames.of_columns(data)
    try:
        return frames.of_records(data)
    except TypeError as error:
        raise DataError(
            f"Data of type {type(data).__name__} can't be read. Pass a path, a data frame, a list of records, or a tuple (texts, labels)."
        ) from error


def _paired(texts: Any, labels: Any, task: Task | None) -> pl.DataFrame:
    """Return a frame with one column of texts and one column of labels.

    The columns are named like the first input field and the first target field of `task`, or `text` and `label` if
    `task` is None. Raises DataError if the numbers of texts and labels differ.
    """
    import polars as pl

    from vertune.data.frames import column

    left, right = list(texts), list(labels)
    if len(left) != len(right):
        raise DataError(f"There are {len(left)} texts but {len(right)} labels. Pass one label for each text.")
    text, target = (task.input_columns[0].name, task.target_columns[0].name) if task else ("text", "label")
    return pl.DataFrame([column(text, left), column(target, right)])


__all__ = ["Vertical", "fit", "load"]
