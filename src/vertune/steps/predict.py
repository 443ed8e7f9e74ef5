"""predict: answers texts, records, frames and files with a trained model; knows nothing of how a model computes answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vertune.core.artifact import Artifact, Progress
from vertune.core.errors import ConfigError, DataError, NotFound
from vertune.core.files import check_writable, replacing, storage_errors
from vertune.core.kinds import Source
from vertune.core.parse import build
from vertune.core.records import Answer, Record
from vertune.data.fields import MARKS, map_fields
from vertune.runtime.cache import AnswerCache
from vertune.runtime.predictor import Predictor

if TYPE_CHECKING:
    import polars as pl

FORMS = (".csv", ".jsonl", ".parquet")
"""Suffixes of the files that answers can be written to."""
_PREFIX = "answer_"
_CHUNK = 8192
_FEW = 64
"""Records up to which none of them is put into a frame."""


@dataclass(frozen=True, slots=True)
class AnsweredRows:
    """One answer per row, None for a row that can't be answered, and the reasons by row number from 0."""

    answers: list[Answer | None]
    errors: dict[int, str]


def opened(model: Artifact | Predictor) -> Predictor:
    """Load the model, unless it is loaded already."""
    return model if isinstance(model, Predictor) else Predictor.open(model)


def predict(
    model: Artifact | Predictor, records: Sequence[Mapping[str, Any]] | pl.DataFrame, cache: AnswerCache | None = None
) -> list[Answer]:
    """Answer records in order, one answer each; DataError names the first record that can't be answered.

    Columns may have the names of the training data or those of the task's fields. Answers in the cache are not computed again.
    """
    predictor = opened(model)
    text_records = _text_records(predictor, records)
    if text_records is not None:
        return (predictor if cache is None else cache).answer(text_records)
    result = answer(predictor, _frame(records), cache=cache)
    _raise_first(result.errors)
    return [one for one in result.answers if one is not None]


def validate_records(predictor: Predictor, records: Sequence[Mapping[str, Any]]) -> list[Record]:
    """Convert records to the task's fields and types, in order; DataError names the first that can't be answered."""
    text_records = _text_records(predictor, records)
    if text_records is not None:
        return text_records
    cleaned = predictor.task.clean(model_columns(_frame(records).drop("__row", strict=False).with_row_index("__row"), predictor))
    _raise_first({int(row["row"]): str(row["reason"]) for row in sorted(cleaned.rejected, key=lambda row: int(row["row"]))})
    return list(cleaned.frame.drop(MARKS, strict=False).to_dicts())


def _raise_first(errors: Mapping[int, str]) -> None:
    """DataError with the first reason, if there are any."""
    if errors:
        row, reason = next(iter(errors.items()))
        more = f" ({len(errors)} records can't be answered)" if len(errors) > 1 else ""
        raise DataError(f"Record {row + 1} can't be answered: {reason}{more}.")


def _text_records(predictor: Predictor, records: Sequence[Mapping[str, Any]] | pl.DataFrame) -> list[Record] | None:
    """Fast path: convert a few records whose fields are all texts without building a frame; None if any record needs one.

    The result is the same as with a frame, in a tenth of the time.
    """
    inputs = [column for column in predictor.task.columns if column.role == "input"]
    if not isinstance(records, (list, tuple)) or not 0 < len(records) <= _FEW or any(column.type != "text" for column in inputs):
        return None
    fields = {name: value for name, value in predictor.fields.items() if value != name}
    if any(not isinstance(fields.get(column.name, ""), str) for column in inputs):
        return None
    rows: list[Record] = []
    for record in records:
        row: dict[str, str] = {}
        for column in inputs:
            source_name = fields.get(column.name)
            if source_name in record and column.name in record:
                return None
            value = record.get(source_name if source_name in record else column.name)
            if not column.required and column.name not in record and source_name not in record:
                continue
            if not isinstance(value, str) or not value.strip() or not _encodable(value):
                return None
            row[column.name] = value
        rows.append(row)
    return rows if all(row.keys() == rows[0].keys() for row in rows) else None


def _encodable(text: str) -> bool:
    """Whether a text is valid Unicode, without unpaired surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def answer(predictor: Predictor, frame: pl.DataFrame, progress: Progress | None = None, cache: AnswerCache | None = None) -> AnsweredRows:
    """Answer the rows of a frame; a row that can't be answered gets None and a reason."""
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


def model_columns(frame: pl.DataFrame, predictor: Predictor) -> pl.DataFrame:
    """Map columns, named as in the training data or as in the task, to the task's input fields; target columns are dropped."""
    import polars as pl

    columns = predictor.task.columns
    inputs = [column.name for column in columns if column.role == "input"]
    trained_names = {name: _as_list(value) for name, value in predictor.fields.items() if name in inputs}
    fields: dict[str, str | list[str]] = {}
    for name, sources in trained_names.items():
        present = set(sources) <= set(frame.columns)
        if present and name in frame.columns and len(sources) == 1:
            frame = frame.with_columns(pl.coalesce(sources[0], name).alias(sources[0]))  # records may use either name
        if present or name not in frame.columns:
            fields[name] = sources[0] if len(sources) == 1 else sources
    used = set(inputs).union(*trained_names.values())
    targets = [column.name for column in columns if column.role == "target" and column.name not in used]
    return map_fields(frame.drop(targets, strict=False), fields, predictor.task, targets=False).frame


def record_of_texts(predictor: Predictor, texts: Sequence[str]) -> dict[str, str]:
    """Make a record of texts in the order of the task's input fields; ConfigError for more texts than the model reads."""
    task_inputs = [column.name for column in predictor.task.columns if column.role == "input"]
    inputs = [name for name in task_inputs if not predictor.columns or name in predictor.columns]
    if len(texts) > len(inputs):
        raise ConfigError(
            f"{len(texts)} texts were given, but this model reads {len(inputs)} ({' and '.join(inputs)}). Put quotes around a text with "
            "spaces. To answer many texts, use --file, or '-' for standard input."
        )
    return dict(zip(inputs, texts, strict=False))


def read_rows(path: Path) -> pl.DataFrame:
    """Read all rows of a file, with the marker columns of its source (`__row`, `__error` …); NotFound if there is no such file."""
    import polars as pl

    if not path.exists():
        raise NotFound(f"There is no file '{path}'. Check the path.")
    from vertune.core.config import source_of

    read = build(Source, source_of(str(path))).read()
    return read.collect() if isinstance(read, pl.LazyFrame) else read


def predict_file(model: Artifact | Predictor, file: Path, out: Path, progress: Progress | None = None) -> AnsweredRows:
    """Answer every row of a file and write the rows with additional `answer_…` columns.

    The format follows from the suffix of `out`; in CSV, lists and mappings are JSON. A row that can't be answered is kept, with
    the reason in `answer_error`.
    """
    if out.suffix.lower() not in FORMS:
        raise ConfigError(f"Answers can't be written to '{out}'. Name a file that ends with {', '.join(FORMS)}.")
    frame = read_rows(file)
    check_writable(out)
    predictor = model if isinstance(model, Predictor) else Predictor.open(model, many=True)
    result = answer(predictor, frame, progress)
    write(frame.drop(MARKS, strict=False), result, out)
    return result


def write(frame: pl.DataFrame, result: AnsweredRows, out: Path) -> None:
    """Write rows and their answers as CSV, JSON lines or Parquet; StorageError if the file can't be written."""
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
    """A value for a CSV cell: lists and mappings become JSON."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value


def _as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _frame(records: Sequence[Mapping[str, Any]] | pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    if isinstance(records, pl.DataFrame):
        return records
    try:
        return pl.DataFrame([dict(record) for record in records], infer_schema_length=None)
    except UnicodeEncodeError as error:
        raise DataError(
            f"The text {error.object[:40]!r} is not valid Unicode. Decode it with the encoding that it was written in."
        ) from error
