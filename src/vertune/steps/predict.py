"""predict: answers texts, records, frames and files with a trained model; knows nothing of how a model answers."""

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
"""Endings of the files that answers can be written to."""
_PREFIX = "answer_"
_CHUNK = 8192
_FEW = 64
"""Records up to which none of them is put into a frame."""


@dataclass(frozen=True, slots=True)
class AnsweredRows:
    """One answer a row, None where the row can't be answered, with the reasons by row from 0."""

    answers: list[Answer | None]
    errors: dict[int, str]


def opened(model: Artifact | Predictor) -> Predictor:
    """The model in memory."""
    return model if isinstance(model, Predictor) else Predictor.open(model)


def predict(
    model: Artifact | Predictor, records: Sequence[Mapping[str, Any]] | pl.DataFrame, cache: AnswerCache | None = None
) -> list[Answer]:
    """One answer a record, in order; DataError names the first record that can't be answered.

    Columns may bear the names that the training data had, or those that the task reads. What the cache holds is not computed.
    """
    predictor = opened(model)
    plain = _plain(predictor, records)
    if plain is not None:
        return (predictor if cache is None else cache).answer(plain)
    found = answer(predictor, _frame(records), cache=cache)
    _refuse(found.errors)
    return [one for one in found.answers if one is not None]


def validate_records(predictor: Predictor, given: Sequence[Mapping[str, Any]]) -> list[Record]:
    """The records as the task reads them, in order; DataError names the first that can't be answered."""
    plain = _plain(predictor, given)
    if plain is not None:
        return plain
    cleaned = predictor.task.clean(model_columns(_frame(given).drop("__row", strict=False).with_row_index("__row"), predictor))
    _refuse({int(row["row"]): str(row["reason"]) for row in sorted(cleaned.rejected, key=lambda row: int(row["row"]))})
    return list(cleaned.frame.drop(MARKS, strict=False).to_dicts())


def _refuse(errors: Mapping[int, str]) -> None:
    """DataError where there is a record that can't be answered."""
    if errors:
        row, reason = next(iter(errors.items()))
        more = f" ({len(errors)} such records)" if len(errors) > 1 else ""
        raise DataError(f"Record {row + 1} can't be answered: {reason}{more}.")


def _plain(predictor: Predictor, records: Sequence[Mapping[str, Any]] | pl.DataFrame) -> list[Record] | None:
    """A few records that need no frame to be checked, since all they hold is text in its place; None for all others.

    What it lets through is answered as by way of a frame, and in a tenth of the time that a frame takes.
    """
    inputs = [column for column in predictor.task.columns if column.role == "input"]
    if not isinstance(records, (list, tuple)) or not 0 < len(records) <= _FEW or any(column.type != "text" for column in inputs):
        return None
    fields = {name: value for name, value in predictor.fields.items() if value != name}
    if any(not isinstance(fields.get(column.name, ""), str) for column in inputs):
        return None
    found: list[Record] = []
    for record_of_texts in records:
        row: dict[str, str] = {}
        for column in inputs:
            own = fields.get(column.name)
            if own in record_of_texts and column.name in record_of_texts:
                return None
            value = record_of_texts.get(own if own in record_of_texts else column.name)
            if not column.required and column.name not in record_of_texts and own not in record_of_texts:
                continue
            if isinstance(value, str):
                for cleaner in predictor.cleaners:
                    value = cleaner.edit(value)
            if not isinstance(value, str) or not value.strip() or not _encodable(value):
                return None
            row[column.name] = value
        found.append(row)
    return found if all(row.keys() == found[0].keys() for row in found) else None


def _encodable(text: str) -> bool:
    """Whether a text is Unicode, without halves of characters."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def answer(predictor: Predictor, frame: pl.DataFrame, progress: Progress | None = None, cache: AnswerCache | None = None) -> AnsweredRows:
    """Answer every row that can be; the others keep their place and say why."""
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
    good = cleaned.frame
    model = predictor if cache is None else cache
    for start in range(0, good.height, _CHUNK):
        part = good.slice(start, _CHUNK)
        for row, found in zip(part["__row"], model.answer(part.to_dicts()), strict=True):
            answers[row] = found
        if progress:
            progress("answered", step=start + part.height, steps=good.height)
    return AnsweredRows(answers, dict(sorted(errors.items())))


def model_columns(frame: pl.DataFrame, predictor: Predictor) -> pl.DataFrame:
    """The task's inputs, from columns named as in the training data or as in the task, edited as the training texts were."""
    import polars as pl

    columns = predictor.task.columns
    inputs = [column.name for column in columns if column.role == "input"]
    said = {name: _listed(value) for name, value in predictor.fields.items() if name in inputs}
    fields: dict[str, str | list[str]] = {}
    for name, value in said.items():
        there = set(value) <= set(frame.columns)
        if there and name in frame.columns and len(value) == 1:
            frame = frame.with_columns(pl.coalesce(value[0], name).alias(value[0]))  # records of both namings in one list
        if there or name not in frame.columns:
            fields[name] = value[0] if len(value) == 1 else value
    read = set(inputs).union(*said.values())
    answered = [column.name for column in columns if column.role == "target" and column.name not in read]
    mapped = map_fields(frame.drop(answered, strict=False), fields, predictor.task, targets=False).frame
    for cleaner in predictor.cleaners:
        mapped = cleaner.edit_inputs(mapped, columns)
    return mapped


def record_of_texts(predictor: Predictor, texts: Sequence[str]) -> dict[str, str]:
    """A record of plain texts in the order in which the task names its inputs; ConfigError for more than the model learnt from."""
    map_fields = [column.name for column in predictor.task.columns if column.role == "input"]
    inputs = [name for name in map_fields if not predictor.columns or name in predictor.columns]
    if len(texts) > len(inputs):
        raise ConfigError(
            f"This model reads {' and '.join(inputs)}, but {len(texts)} texts came. Put quotes around a text with spaces; "
            "many texts are answered from a file or from standard input."
        )
    return dict(zip(inputs, texts, strict=False))


def read_rows(path: Path) -> pl.DataFrame:
    """All rows of a file with the marks of its source."""
    import polars as pl

    if not path.exists():
        raise NotFound(f"There is no file '{path}'.")
    from vertune.core.config import source_of

    read = build(Source, source_of(str(path))).read()
    return read.collect() if isinstance(read, pl.LazyFrame) else read


def predict_file(model: Artifact | Predictor, file: Path, out: Path, progress: Progress | None = None) -> AnsweredRows:
    """Answer every row of a file and write the rows with `answer_…` columns beside their own.

    The form follows the ending of `out`; in CSV, lists and mappings are JSON. A row that can't be answered stays, with the
    reason in `answer_error`.
    """
    if out.suffix.lower() not in FORMS:
        raise ConfigError(f"Answers are written as {', '.join(FORMS)}; got '{out}'.")
    frame = read_rows(file)
    check_writable(out)
    predictor = model if isinstance(model, Predictor) else Predictor.open(model, many=True)
    found = answer(predictor, frame, progress)
    write(frame.drop(MARKS, strict=False), found, out)
    return found


def write(frame: pl.DataFrame, found: AnsweredRows, out: Path) -> None:
    """Rows and their answers as CSV, JSON lines or Parquet; StorageError when they can't be written."""
    import polars as pl

    names = list(dict.fromkeys(key for one in found.answers if one for key in one))
    columns = {_PREFIX + name: [one.get(name) if one else None for one in found.answers] for name in names}
    if found.errors:
        columns[_PREFIX + "error"] = [found.errors.get(row) for row in range(frame.height)]
    form = out.suffix.lower()
    with storage_errors(out), replacing(out) as place:
        if form == ".parquet":
            frame.with_columns([pl.Series(name, values, strict=False) for name, values in columns.items()]).write_parquet(place)
        elif form == ".csv":
            flat = {name: [_cell(value) for value in values] for name, values in columns.items()}
            nested = [name for name, kind in frame.schema.items() if kind.is_nested()]
            plain = frame.with_columns([pl.Series(name, [_cell(value) for value in frame[name].to_list()]) for name in nested])
            plain.with_columns([pl.Series(name, values, strict=False) for name, values in flat.items()]).write_csv(place)
        else:
            with place.open("w", encoding="utf-8") as file:
                for row, own in enumerate(frame.iter_rows(named=True)):
                    line = {**own, **{name: values[row] for name, values in columns.items()}}
                    file.write(json.dumps(line, ensure_ascii=False, default=str) + "\n")


def _cell(value: Any) -> Any:
    """A value as one cell of a table."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (dict, list)) else value


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _frame(records: Sequence[Mapping[str, Any]] | pl.DataFrame) -> pl.DataFrame:
    import polars as pl

    if isinstance(records, pl.DataFrame):
        return records
    try:
        return pl.DataFrame([dict(record_of_texts) for record_of_texts in records], infer_schema_length=None)
    except UnicodeEncodeError as error:
        raise DataError(
            f"Expected Unicode text, but {error.object[:40]!r} holds bytes of another encoding. Decode it with that."
        ) from error
