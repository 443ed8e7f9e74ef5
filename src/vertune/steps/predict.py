"""predict: answers texts, records, frames and files with a trained model; knows nothing of how a model answers."""

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
"""Endings of the files that answers can be written to."""
_PREFIX = "answer_"
_CHUNK = 8192


@dataclass(frozen=True, slots=True)
class AnsweredRows:
    """One answer a row, None where the row can't be answered, with the reasons by row from 0."""

    answers: list[Answer | None]
    errors: dict[int, str]


def opened(model: Artifact | Predictor) -> Predictor:
    """The model in memory."""
    return model if isinstance(model, Predictor) else Predictor.open(model)


def predict(
    model: Artifact | Predictor, records: Sequence[Mapping[str, Any]] | pl.DataFrame, cache: CachedPredictor | None = None
) -> list[Answer]:
    """One answer a record, in order; DataError names the first record that can't be answered.

    Columns may bear the names that the training data had, or those that the task reads. What the cache holds is not computed.
    """
    predictor = opened(model)
    texts = text_records(predictor, records)
    if texts is not None:
        return (predictor if cache is None else cache).answer(texts)
    found = answer(predictor, frame_of_records(records), cache=cache)
    raise_first(found.errors)
    return [one for one in found.answers if one is not None]


def answer(
    predictor: Predictor, frame: pl.DataFrame, progress: Progress | None = None, cache: CachedPredictor | None = None
) -> AnsweredRows:
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
