"""A classifier of texts with the interface of scikit-learn, for use in its pipelines, cross-validation and grid search."""

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
from vertune.data.frames import is_missing
from vertune.reports.scales import plural

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils.validation import check_is_fitted
except ImportError as error:
    raise MissingExtra("The classifier for scikit-learn", "train", "scikit-learn") from error

_NAME = "vertical"


class VertuneClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier that fine-tunes a pretrained encoder on texts.

    `base` (the pretrained model), `method` (of fine-tuning), `time_limit` (seconds) and `seed` mean the same as in the
    config file run.yaml; `config` accepts the other sections of this file, such as `{"training": {"epochs": 3}}`. A
    tenth of the rows is used for validation, to choose the best weights; no rows are set aside for testing. The model
    is stored in the folder `home`. If `home` is None, it is stored in a temporary folder, which is deleted with the
    estimator.

    `X` is a sequence, array or series of texts; for pairs of texts, it has two columns. `fit` sets two attributes:
    `classes_`, the sorted labels, and `vertical_`, the trained model as a `vertune.Vertical`.
    """

    def __init__(
        self,
        base: str = "auto",
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
        """Train on the texts `X` and their labels `y`, and return self.

        Raises DataError if `y` does not contain exactly one label for each text, or fewer than two different labels.
        """
        import polars as pl

        from vertune.api import Vertical
        from vertune.steps.prepare import prepare
        from vertune.steps.train import train

        settings = parse(self._settings())
        columns = _columns(X, settings.task)
        self.classes_, indices = _classes(y, len(next(iter(columns.values()))))
        frame = pl.DataFrame({**columns, settings.task.target_columns[0].name: [str(index) for index in indices]})
        home = Home(self.home or self._temporary_folder())
        dataset = prepare(settings, home, frames={"train": frame})
        self.vertical_ = Vertical(train(settings, dataset, home), home)
        return self

    def predict_proba(self, X: Any) -> NDArray[np.float64]:  # noqa: N803
        """Return the probability of each class for each text, shape (texts, classes), in the order of `classes_`."""
        import polars as pl

        check_is_fitted(self, "vertical_")
        answers = self.vertical_.predict(pl.DataFrame(_columns(X, Task.model_validate(self.vertical_.config["task"]))))
        names = [str(index) for index in range(len(self.classes_))]
        rows = [[answer["probabilities"].get(name, 0.0) for name in names] for answer in answers]
        return np.array(rows, np.float64).reshape(len(answers), len(names))

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """Return the most probable label of each text, shape (texts,)."""
        probabilities = self.predict_proba(X)
        labels: NDArray[Any] = self.classes_[probabilities.argmax(axis=1)]
        return labels

    def _settings(self) -> dict[str, Any]:
        """Return the config of the training as a dict of sections.

        The sections of the parameter `config` are used, but the other parameters of the estimator, such as `base`,
        override them.
        """
        config = dict(self.config or {})
        limit = {"time_limit": self.time_limit} if self.time_limit is not None else {}
        data = {"split": {"name": "stratified", "test": 0.0, "seed": self.seed}, **config.get("data", {})}
        parameters = {"base": self.base, "method": self.method, "seed": self.seed}
        training = {**config.get("training", {}), **limit}
        return {"name": _NAME, "task": "classify", **config, **parameters, "training": training, "data": data}

    def _temporary_folder(self) -> Path:
        """Create and return a temporary folder, which is deleted when the estimator is garbage-collected."""
        folder = Path(tempfile.mkdtemp(prefix="vertune-"))
        self._discard = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return folder

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for pickling: the parameters and the content of the model's files.

        A pickle of the estimator therefore contains the trained model, and does not depend on the folder `home`.
        """
        state = dict(super().__getstate__())  # a copy, because scikit-learn returns the estimator's own dictionary
        vertical = state.pop("vertical_", None)
        state.pop("_discard", None)
        if vertical is not None:
            folder = vertical.artifact.folder
            files = [path for path in folder.rglob("*") if path.is_file()]
            state["_files"] = {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
            state["_id"] = vertical.id
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled estimator from its state.

        If the state contains the files of a trained model, they are written into a new temporary folder.
        """
        from vertune.api import Vertical
        from vertune.core.artifact import Artifact

        state = dict(state)
        files, name = state.pop("_files", None), state.pop("_id", _NAME)
        super().__setstate__(state)
        if files is None:
            return
        folder = self._temporary_folder() / "models" / name
        for relative, content in files.items():
            path = folder / relative
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self.vertical_ = Vertical(Artifact(folder))

    def __sklearn_tags__(self) -> Any:
        """Return the estimator's tags for scikit-learn: the input is a one-dimensional array of strings."""
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        return tags


def _classes(y: Any, texts: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the sorted distinct labels, and the index of the label of each text.

    `texts` is the number of texts. Raises DataError if a label is missing (None, NaN or NA), if the labels can't be sorted, or if
    there is not one label for each text.
    """
    labels = np.asarray(y)
    if labels.ndim != 1 or len(labels) != texts:
        raise DataError(f"X has {texts} texts, but y has the shape {labels.shape}; expected ({texts},). Pass one label for each text.")
    missing = [row for row, label in enumerate(labels) if is_missing(label)]
    if missing:
        raise DataError(
            f"The labels y lack a value for {plural(len(missing), 'text')}; the first of them has the index {missing[0]}. "
            "Each text needs a label. Remove the texts without one from X and y."
        )
    try:
        classes, indices = np.unique(labels, return_inverse=True)
    except TypeError as error:
        kinds = " and ".join(sorted({type(label).__name__ for label in labels}))
        raise DataError(
            f"The labels y have the types {kinds}, which can't be sorted; one type is expected. Convert all labels to str."
        ) from error
    if len(classes) < 2:
        found = f"only '{classes[0]}'" if len(classes) else "no values"
        raise DataError(f"The labels y contain {found}; expected at least two different labels. Pass texts of another class, too.")
    return classes, indices


def _columns(texts: Any, task: Task) -> dict[str, list[str]]:
    """Return a dict that maps the names of the task's input fields to lists of texts, one list per column of `texts`.

    `texts` has one column, or two columns for pairs. Raises DataError if it has another shape or contains other values.
    """
    values = texts.to_numpy() if hasattr(texts, "to_numpy") else np.asarray(texts, dtype=object)
    if values.ndim == 1:
        columns = [values]
    elif values.ndim == 2 and values.shape[1] in (1, 2):
        columns = list(values.T)
    else:
        raise DataError(
            f"X has the shape {values.shape}; expected (texts,), (texts, 1) or (texts, 2). "
            "Pass the texts as one list, or as one or two columns."
        )
    other = [(row, value) for column in columns for row, value in enumerate(column) if not isinstance(value, str)]
    if other:
        row, value = other[0]
        advice = "Remove these rows from X and y." if is_missing(value) else "Convert the values to str first."
        raise DataError(
            f"X contains {plural(len(other), 'value')} of another type than str, the first in row {row} (from 0): "
            f"{value!r} of type {type(value).__name__}; expected only texts. {advice}"
        )
    names = [column.name for column in task.input_columns]
    if len(columns) > len(names):
        raise DataError(
            f"X has {len(columns)} columns, but the task '{task.name}' has only one input, '{names[0]}'. Pass the texts in one column."
        )
    return {name: [str(value) for value in column] for name, column in zip(names, columns, strict=False)}


__all__ = ["VertuneClassifier"]
