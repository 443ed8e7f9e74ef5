"""predict: runs a trained model on texts, records, Polars frames and files; works for any task."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from vertune.core.artifact import Artifact, Progress
from vertune.core.columns import without
from vertune.core.errors import ConfigError, DataError, NotFound, UnknownName
from vertune.core.file_formats import is_of_spreadsheet
from vertune.core.files import check_writable, replacing, storage_errors
from vertune.core.kinds import Source, Task
from vertune.core.parse import build
from vertune.core.records import Answer
from vertune.data.fields import MARKS
from vertune.data.frames import without_nan
from vertune.data.validate import frame_of_records, model_columns, raise_first, record_of_texts, text_records
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
    replaced: tuple[str, ...] = ()
    """Columns of the rows that had the name of a column of predictions, and were left out of the written file."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a model reads, as its manifest lists it; the model does not have to be loaded for this."""

    task: Task
    columns: tuple[str, ...]
    """The columns of the task that the model was trained on; empty if unknown."""
    fields: Mapping[str, Any]
    """For each field of the task, the column or columns of the training data that it was read from."""

    @classmethod
    def of(cls, model: Artifact | Predictor) -> Self:
        """Return the inputs of a model; a model whose manifest has no config is opened, which raises the error that explains this."""
        if isinstance(model, Artifact) and isinstance(config := model.manifest.get("config"), Mapping):
            fields = (config.get("data") or {}).get("fields") or {}
            return cls(Task.model_validate(config["task"]), tuple(model.manifest.get("columns", ())), fields)
        predictor = opened(model)
        return cls(predictor.task, predictor.columns, predictor.fields)

    @property
    def required(self) -> list[str]:
        """The names of the fields that each record must have."""
        return [column.name for column in self.task.input_columns if column.required]

    def are_in(self, columns: Sequence[str]) -> bool:
        """Return whether a table with these columns has all fields that each record must have, under one of their names."""
        return self.missing_in(columns) is None

    def missing_in(self, columns: Sequence[str], named: Sequence[str] = ()) -> str | None:
        """Return the first required field that a table with these columns lacks; None if it lacks none.

        The fields in `named` are read from columns that the user named.
        """
        there = {*columns, *named}
        return next((name for name in self.required if name not in there and not {*self.sources(name)} <= {*columns}), None)

    def sources(self, field: str) -> list[str]:
        """Return the columns of the training data from which a field was read."""
        value = self.fields.get(field, field)
        return [value] if isinstance(value, str) else list(value)


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


def read_rows(path: Path, inputs: Inputs | None = None) -> pl.DataFrame:
    """Return all rows of a file, with three more columns: `__file`, `__row` and `__error`.

    They contain the name of the file, the number of the row (from 1), and the reason why the row can't be read, if any.
    If the file lacks a column that the model of `inputs` reads, the row of the names of its columns is searched, as
    `vertune init` does. Raises NotFound if there is no such file.
    """
    return _read(path, inputs)[0]


def read_labelled(path: Path, inputs: Inputs, texts: Sequence[str] = (), label: str | None = None) -> pl.DataFrame:
    """Return all rows of a file with right answers, as `read_rows` does, with its columns under the names of the task's fields.

    `texts` are the columns with the model's inputs and `label` is the one with the right answers, if they have other names than in the
    training data. Raises UnknownName for a column that the file does not have, DataError if a column is missing.
    """
    rows = _read(path, None if texts else inputs)[0]
    known = [name for name in rows.columns if name not in MARKS]
    frame = _with_inputs(rows, inputs, texts, path)
    target = next(iter(inputs.task.target_columns), None)
    if target is None:
        return frame
    sources = inputs.sources(target.name)
    if label is not None:
        if label not in known:
            raise UnknownName("column", label, known, str(path))
        return without(frame, [target.name, *sources]).with_columns(rows[label].alias(target.name))
    if target.required and target.name not in known and not {*sources} <= {*known}:
        raise DataError(
            f"{path} has no column '{' and '.join(sources)}' with the right answers; its columns are: {', '.join(known) or 'none'}. "
            "Name this column: --label COLUMN."
        )
    return frame


def _read(path: Path, inputs: Inputs | None) -> tuple[pl.DataFrame, Source]:
    """Return all rows of a file, and the source that reads it."""
    if not path.exists():
        raise NotFound(f"There is no file '{path}'. Check the path.")
    from vertune.core.config import source_of

    source = build(Source, source_of(str(path)))
    frame = source.read().lazy().collect()
    if inputs is None or inputs.are_in(frame.columns):
        return frame, source
    detected, _ = source.detect()
    other = frame if detected == source else detected.read().lazy().collect()
    return (other, detected) if inputs.are_in(other.columns) else (frame, source)


def predict_file(
    model: Artifact | Predictor, file: Path, out: Path, progress: Progress | None = None, texts: Sequence[str] = ()
) -> AnsweredRows:
    """Run a model on every row of a file, and write the rows and their predictions to the file `out`.

    The predictions are in additional columns, whose names begin with `answer_`; they replace columns of the file that have the same
    names. The suffix of `out` decides the format. If both files are CSV, they have the same delimiter, unless it has several characters;
    then it is a comma. CSV begins with a byte order mark if the rows are from a spreadsheet. In CSV, lists and dicts are written as JSON,
    and bytes as Base64. Of the probabilities of many labels, only the highest are written (`Task.brief`). A row without
    a prediction is written too, with the reason in the column `answer_error`. `texts` are the columns that contain the model's inputs,
    in the order of the inputs; without them, the columns have the names that they had in the training data. All errors in the arguments
    are raised before the model is loaded.
    """
    if out.suffix.lower() not in FORMS:
        raise ConfigError(f"Predictions can't be written to '{out}'. Name a file that ends with one of {', '.join(FORMS)}.")
    if file.exists():
        _refuse_overwriting(file, out)
    inputs = Inputs.of(model)
    frame, source = _read(file, None if texts else inputs)
    rows = _with_inputs(frame, inputs, texts, file)
    check_writable(out)
    predictor = model if isinstance(model, Predictor) else Predictor.open(model, many=True)
    result = answer(predictor, rows, progress)
    written = {_PREFIX + name for name in (*inputs.task.answer.__annotations__, "rest", "error")}
    replaced = tuple(name for name in frame.columns if name in written)
    brief = AnsweredRows([one and inputs.task.brief(one) for one in result.answers], result.errors)
    separator = source.separator()
    form = CsvForm(separator if separator and len(separator) == 1 else ",", file.is_file() and is_of_spreadsheet(file))
    write(without(frame, [*MARKS, *replaced]), brief, out, form)
    return AnsweredRows(result.answers, result.errors, replaced)


def _refuse_overwriting(file: Path, out: Path) -> None:
    """Raise ConfigError if `out` is the file that the rows are read from, or lies in the folder that they are read from."""
    if not out.exists() or not file.exists():
        return
    if out.samefile(file) or (file.is_dir() and out.resolve().is_relative_to(file.resolve())):
        raise ConfigError(
            f"The rows are read from '{file}', and the predictions can't be written to the same place, '{out}', because rows that can't be "
            "read would be lost. Name another file for the predictions."
        )


def _with_inputs(frame: pl.DataFrame, inputs: Inputs, texts: Sequence[str], file: Path) -> pl.DataFrame:
    """Return the rows with the columns `texts` under the names of the model's input fields, in the order of these fields.

    Without `texts`, the rows are not changed. Raises UnknownName for a column that the file does not have, ConfigError if `texts` names
    more columns than the model has inputs, DataError if the file has no column for a required input.
    """
    known = [name for name in frame.columns if name not in MARKS]
    for name in texts:
        if name not in known:
            raise UnknownName("column", name, known, str(file))
    named = {field: frame[str(name)] for field, name in record_of_texts(inputs, texts).items()}
    missing = inputs.missing_in(known, [*named])
    if missing is not None:
        raise DataError(
            f"{file} has no column '{' and '.join(inputs.sources(missing))}', which the model reads; "
            f"its columns are: {', '.join(known) or 'none'}. Name the column with the text: --text COLUMN."
        )
    others = without(frame, [column for field in named for column in (field, *inputs.sources(field))])
    return others.with_columns(values.alias(field) for field, values in named.items()) if named else frame


@dataclass(frozen=True, slots=True)
class CsvForm:
    """How a CSV file is written."""

    separator: str = ","
    mark: bool = False
    """Whether it begins with the byte order mark of UTF-8, without which spreadsheets show other letters than ASCII wrongly."""


def write(frame: pl.DataFrame, result: AnsweredRows, out: Path, form: CsvForm | None = None) -> None:
    """Write rows and their predictions as CSV, JSON lines or Parquet, depending on the suffix of `out`.

    `form` says how CSV is written. Raises StorageError if the file can't be written.
    """
    import polars as pl

    form = form or CsvForm()
    names = list(dict.fromkeys(key for one in result.answers if one for key in one))
    columns = {_PREFIX + name: [one.get(name) if one else None for one in result.answers] for name in names}
    if result.errors:
        columns[_PREFIX + "error"] = [result.errors.get(row) for row in range(frame.height)]
    suffix = out.suffix.lower()
    with storage_errors(out), replacing(out) as temporary:
        if suffix == ".parquet":
            frame.with_columns([pl.Series(name, values, strict=False) for name, values in columns.items()]).write_parquet(temporary)
        elif suffix == ".csv":
            written = [pl.Series(name, [_cell(value) for value in values], strict=False) for name, values in columns.items()]
            _flat(frame).with_columns(written).write_csv(temporary, separator=form.separator, include_bom=form.mark)
        else:
            with temporary.open("w", encoding="utf-8") as file:
                for number, row in enumerate(frame.iter_rows(named=True)):
                    line = {**row, **{name: values[number] for name, values in columns.items()}}
                    file.write(json.dumps(_json(line), ensure_ascii=False) + "\n")


def _flat(frame: pl.DataFrame) -> pl.DataFrame:
    """Return the frame with columns that CSV can hold: lists, mappings, bytes and unusual types become texts, and NaN null."""
    import polars as pl

    plain = (pl.String, pl.Boolean, pl.Null, pl.Categorical, pl.Enum, pl.Date, pl.Datetime, pl.Time)
    other = [name for name, kind in frame.schema.items() if not (kind.is_numeric() or isinstance(kind, plain))]
    texts = [pl.Series(name, [_cell(value) for value in frame[name].to_list()], pl.String) for name in other]
    return without_nan(frame.with_columns(texts))


def _cell(value: Any) -> Any:
    """Convert a value for a CSV cell: lists and dicts become JSON, bytes become Base64."""
    value = _json(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value


def _json(value: Any) -> Any:
    """Convert a value to one that JSON has: NaN becomes null, infinity and unknown types become texts, and bytes become Base64."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None if math.isnan(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json(item) for item in value]
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
