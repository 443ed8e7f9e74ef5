"""A classifier for scikit-learn: texts in, labels out, in pipelines, cross-validation and grids; knows nothing of training."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from vertune.core.artifact import Home
from vertune.core.config import parse
from vertune.core.errors import DataError, MissingExtra
from vertune.core.kinds import Task

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils.validation import check_is_fitted
except ImportError as error:
    raise MissingExtra("The classifier for scikit-learn", "train", "scikit-learn") from error

_NAME = "vertical"


class VertuneClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Fine-tunes a pretrained encoder to classify texts.

    `base`, `method`, `time_limit` (seconds) and `seed` are those of a run.yaml, and `config` takes any other section of one,
    such as `{"training": {"epochs": 3}}`. All rows given to `fit` are learnt from; a tenth of them is set aside to choose the
    best weights. Without a `home` the model lives in a temporary folder, as long as the estimator does.

    `X` is a sequence, array or series of texts, or has two columns for a text and its pair. After `fit`: `classes_`, and
    `vertical_`, the trained `vertune.Vertical`.
    """

    def __init__(
        self,
        base: str = "minilm",
        method: str | Mapping[str, Any] = "auto",
        time_limit: float | None = None,
        seed: int = 0,
        config: Mapping[str, Any] | None = None,
        home: str | Path | None = None,
    ) -> None:
        self.base = base
        self.method = method
        self.time_limit = time_limit
        self.seed = seed
        self.config = config
        self.home = home

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803
        """Learn from texts and their labels; DataError when they are not equally many or can't be learnt from."""
        import polars as pl

        from vertune.api import Vertical
        from vertune.steps.prepare import prepare
        from vertune.steps.train import train

        settings = parse(self._settings())
        columns = _columns(X, settings.task)
        texts, labels = len(next(iter(columns.values()))), np.asarray(y)
        if labels.ndim != 1 or len(labels) != texts:
            raise DataError(f"Each text needs one label: there are {texts} texts, and labels of shape {labels.shape}.")
        self.classes_, places = np.unique(labels, return_inverse=True)
        frame = pl.DataFrame({**columns, settings.task.target_columns[0].name: [str(place) for place in places]})
        home = Home(self.home or self._own_folder())
        dataset = prepare(settings, home, frames={"train": frame})
        self.vertical_ = Vertical(train(settings, dataset, home), home)
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """Probabilities, shape (texts, classes), in the order of `classes_`."""
        import polars as pl

        check_is_fitted(self, "vertical_")
        answers = self.vertical_.predict(pl.DataFrame(_columns(X, Task.model_validate(self.vertical_.config["task"]))))
        names = [str(place) for place in range(len(self.classes_))]
        found = [[answer["probabilities"].get(name, 0.0) for name in names] for answer in answers]
        return np.array(found, np.float64).reshape(len(answers), len(names))

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """The most probable label of each text."""
        probabilities = self.predict_proba(X)
        labels: NDArray[Any] = self.classes_[probabilities.argmax(axis=1)]
        return labels

    def _settings(self) -> dict[str, Any]:
        """The config of a run: what is said in `config`, then the parameters of the estimator."""
        said = dict(self.config or {})
        limit = {"time_limit": self.time_limit} if self.time_limit is not None else {}
        data = {"split": {"name": "stratified", "test": 0.0, "seed": self.seed}, **said.get("data", {})}
        own = {"base": self.base, "method": self.method, "seed": self.seed}
        return {"name": _NAME, "task": "classify", **said, **own, "training": {**said.get("training", {}), **limit}, "data": data}

    def _own_folder(self) -> Path:
        """A new temporary folder that is deleted with the estimator."""
        folder = Path(tempfile.mkdtemp(prefix="vertune-"))
        self._discard = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return folder

    def __getstate__(self) -> dict[str, Any]:
        """The parameters, and the files of the model, so that a copy or a pickle stands on its own."""
        state = dict(super().__getstate__())  # what comes is the estimator's own dictionary
        vertical = state.pop("vertical_", None)
        state.pop("_discard", None)
        if vertical is not None:
            folder = vertical.artifact.folder
            files = [path for path in folder.rglob("*") if path.is_file()]
            state["_files"] = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
            state["_id"] = vertical.id
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Write the files of the model into a temporary folder of its own."""
        from vertune.api import Vertical
        from vertune.core.artifact import Artifact

        state = dict(state)
        files, name = state.pop("_files", None), state.pop("_id", _NAME)
        super().__setstate__(state)
        if files is None:
            return
        folder = self._own_folder() / "models" / name
        for place, content in files.items():
            path = folder / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self.vertical_ = Vertical(Artifact(folder))

    def __sklearn_tags__(self) -> Any:
        """Texts in one dimension are what it takes."""
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        return tags


def _columns(texts: Any, task: Task) -> dict[str, list[str]]:
    """One or two columns of texts, named as the task's inputs; DataError for anything else."""
    values = texts.to_numpy() if hasattr(texts, "to_numpy") else np.asarray(texts, dtype=object)
    if values.ndim == 1:
        columns = [values]
    elif values.ndim == 2 and values.shape[1] in (1, 2):
        columns = list(values.T)
    else:
        raise DataError(f"Expected texts in one dimension, or in one or two columns; got shape {values.shape}.")
    strangers = next((value for column in columns for value in column if not isinstance(value, str)), None)
    if strangers is not None:
        raise DataError(f"Expected texts, got {type(strangers).__name__} {strangers!r}. Numbers must be written out as texts first.")
    names = [column.name for column in task.input_columns]
    if len(columns) > len(names):
        raise DataError(f"Expected texts in one column, because the task '{task.name}' reads only {names[0]}; got {len(columns)} columns.")
    return {name: [str(value) for value in column] for name, column in zip(names, columns, strict=False)}


__all__ = ["VertuneClassifier"]
