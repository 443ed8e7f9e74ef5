"""predict: runs a trained model on texts, records, Polars frames and files; works for any task."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vertune.core.artifact import Artifact, Progress
from vertune.core.errors import ConfigError, NotFound
from vertune.core.files import check_writable, replacing, storage_errors
from vertune.core.kinds import Source
from vertune.core.parse import build
from vertune.core.records import Answer
from vertune.data.fields import MARKS
from vertune.data.validate import frame_of_records, model_columns, raise_first, text_records
from vertune.runtime.cache import CachedPredictor
from vertune.runtime.predictor import Predictor

if TYPE_CHECKING:
    import polars as pl

FORMS = (".csv", ".jsonl", ".parquet")
"""Suffixes of the file formats that predictions can be written in."""
_PREFIX = "answer_"
_CHUNK = 8192


@dataclass(frozen=True, slots=True)
class AnsweredRows:
    """The predictions for the rows of a table."""

    answers: list[Answer | None]
    """One prediction per row; None for a row that the model can't read."""
    errors: dict[int, str]
    """Maps the index of a row (from 0) to the reason why it has no prediction."""


def opened(model: Artifact | Predictor) -> Predictor:
    """Load a model into memory; a Predictor, which is a model that is already loaded, is returned unchanged."""
    return model if isinstance(model, Predictor) else Predictor.open(model)


def predict(
    model: Artifact | Predictor, records: Sequence[Mapping[str, Any]] | pl.DataFrame, cache: CachedPredictor | None = None
) -> list[Answer]:
    """Return one prediction per record, in order; raise DataError for the first record that the model can't read.

    The fields of a record are named like the columns of the training data, or like the task's fields. Predictions that
    are in `cache` are not computed again.
    """
    predictor = opened(model)
    texts = text_records(predictor, records)
    if texts is not None:
        return (predictor if cache is None else cache).answer(texts)
    result = answer(predictor, frame_of_records(records), cache=cache)
    raise_first(result.errors)
    return [one for one in result.answers if one is not None]


def answer(
    predictor: Predictor, frame: pl.DataFrame, progress: Progress | None = None, cache: CachedPredictor | None = None
) -> AnsweredRows:
    """Return the predictions for the rows of a frame.

    For a row that the model can't read, the result contains None and the reason. Predictions that are in `cache` are
    not computed again.
    """
    import polars as pl

    answers: list[Answer | None] = [None] * frame.height
    if not frame.height:
        return AnsweredRows(answers, {})
    marked = frame.drop("__row", strict=False).with_row_index("__row")
    errors: dict[int, str] = {}
    if "__error" in marked.columns:
        bad = marked.filter(pl.col("__error").is_not_null())
        errors = dict(zip(bad["__row"], bad["__error"], strict=True))
        marked = marked.filter(pl.col("__error").is_null())
    cleaned = predictor.task.clean(model_columns(marked, predictor))
    errors |= {int(row["row"]): str(row["reason"]) for row in cleaned.rejected}
    valid = cleaned.frame
    model = predictor if cache is None else cache
    for start in range(0, valid.height, _CHUNK):
        chunk = valid.slice(start, _CHUNK)
        for row, one in zip(chunk["__row"], model.answer(chunk.to_dicts()), strict=True):
            answers[row] = one
        if progress:
            progress("answered", step=start + chunk.height, steps=valid.height)
    return AnsweredRows(answers, dict(sorted(errors.items())))


def read_rows(path: Path) -> pl.DataFrame:
    """Return all rows of a file, with three more columns: `__file`, `__row` and `__error`.

    They contain the name of the file, the number of the row (from 1), and the reason why the row can't be read, if any.
    Raises NotFound if there is no such file.
    """
    import polars as pl

    if not path.exists():
        raise NotFound(f"There is no file '{path}'. Check the path.")
    from vertune.core.config import source_of

    read = build(Source, source_of(str(path))).read()
    return read.collect() if isinstance(read, pl.LazyFrame) else read


def predict_file(model: Artifact | Predictor, file: Path, out: Path, progress: Progress | None = None) -> AnsweredRows:
    """Run a model on every row of a file, and write the rows and their predictions to the file `out`.

    The predictions are in additional columns, whose names begin with `answer_`. The suffix of `out` decides the format;
    in CSV, lists and dicts are written as JSON. A row without a prediction is written too, with the reason in the
    column `answer_error`.
    """
    if out.suffix.lower() not in FORMS:
        raise ConfigError(f"Predictions can't be written to '{out}'. Name a file that ends with one of {', '.join(FORMS)}.")
    frame = read_rows(file)
    check_writable(out)
    predictor = model if isinstance(model, Predictor) else Predictor.open(model, many=True)
    result = answer(predictor, frame, progress)
    write(frame.drop(MARKS, strict=False), result, out)
    return result


def write(frame: pl.DataFrame, result: AnsweredRows, out: Path) -> None:
    """Write rows and their predictions as CSV, JSON lines or Parquet, depending on the suffix of `out`.

    Raises StorageError if the file can't be written.
    """
    import polars as pl

    names = list(dict.fromkeys(key for one in result.answers if one for key in one))
    columns = {_PREFIX + name: [one.get(name) if one else None for one in result.answers] for name in names}
    if result.errors:
        columns[_PREFIX + "error"] = [result.errors.get(row) for row in range(frame.height)]
    suffix = out.suffix.lower()
    with storage_errors(out), replacing(out) as temporary:
        if suffix == ".parquet":
            frame.with_columns([pl.Series(name, values, strict=False) for name, values in columns.items()]).write_parquet(temporary)
        elif suffix == ".csv":
            flat_answers = {name: [_cell(value) for value in values] for name, values in columns.items()}
            nested = [name for name, kind in frame.schema.items() if kind.is_nested()]
            flat = frame.with_columns([pl.Series(name, [_cell(value) for value in frame[name].to_list()]) for name in nested])
            flat.with_columns([pl.Series(name, values, strict=False) for name, values in flat_answers.items()]).write_csv(temporary)
        else:
            with temporary.open("w", encoding="utf-8") as file:
                for number, row in enumerate(frame.iter_rows(named=True)):
                    line = {**row, **{name: values[number] for name, values in columns.items()}}
                    file.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")


def _cell(value: Any) -> Any:
    """Convert a value for a CSV cell: lists and dicts become JSON, other values are returned unchanged."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value
