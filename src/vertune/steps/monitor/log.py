"""Reads a log of requests from a file, with whatever names its columns have, so that no server is needed to monitor a model."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vertune.core.columns import named, without
from vertune.core.errors import DataError, UnknownName
from vertune.core.monitor import Window
from vertune.core.records import Answer
from vertune.data.fields import MARKS, map_fields
from vertune.reports.scales import plural
from vertune.steps.monitor.reader import Reader
from vertune.steps.predict import Inputs, answer, read_rows

ROLES: dict[str, tuple[str, ...]] = {
    "time": ("time", "at", "timestamp", "date", "datetime", "created", "created_at"),
    "answer": ("answer", "answered", "prediction", "predicted", "predicted_label", "answer_label"),
    "confidence": ("confidence", "answer_probability", "probability", "score"),
    "seconds": ("seconds", "latency", "duration", "elapsed"),
    "right": ("right", "expected", "truth", "true_label", "gold", "right_label"),
    "verdict": ("verdict", "is_right", "correct"),
    "shadow": ("shadow", "shadow_label", "candidate"),
    "error": ("error", "answer_error"),
}
"""What a column of a log can be, with the names by which it is recognised."""
_PREFIX = "answer_"
"""How the columns begin that `vertune predict` writes."""
_FIRST_SECONDS, _FIRST_MILLISECONDS, _LAST_MILLISECONDS = 1e8, 1e11, 1e14
"""From which a number is a time in seconds since 1970, and in milliseconds, and up to which; a smaller one, such as 20300131, is a date."""
_RIGHT = {
    "right": 1.0, "wrong": 0.0, "true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0, "1": 1.0, "0": 0.0, "1.0": 1.0, "0.0": 0.0
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Log:
    """The requests of a file, and what was recognised of it."""

    window: Window
    columns: dict[str, str]
    """The column of each role that was found."""
    notes: list[str]


def read_log(path: Path, reader: Reader, names: Mapping[str, str] | None = None) -> Log:
    """Read a CSV, JSONL or Parquet file with requests, oldest first; `names` has the columns of roles, where they have other names.

    Without a column with answers, the model answers the texts. Raises UnknownName for a role or a column that does not exist, and
    DataError if there is nothing to compare.
    """
    frame, notes = _readable(read_rows(path, Inputs.of(reader.artifact)), path)
    columns = _recognised(frame, reader, names or {})
    times = _times(frame, columns.get("time"))
    if not np.isnan(times).all():
        order = np.argsort(times, kind="stable")
        frame, times = frame[order], times[order]
    records = _records(frame, reader)
    notes += _unread(frame, columns, times)
    if "answer" in columns or any(name.startswith(_PREFIX) for name in frame.columns):
        answers = _answers(frame, columns, reader, _texts(frame, columns.get("error")))
        known = np.array([answer is None or _can_read(reader, answer) for answer in answers], bool)
        why = f"an answer that the task '{reader.task.name}' can't read"
    elif records[0] is not None:
        answers, known, why = _answered(frame, reader)
        notes.append("The file has no column with answers, so the model answered its texts.")
    else:
        raise DataError(
            f"{path} has neither texts nor answers that are recognised; its columns are: {', '.join(frame.columns)}. Name them, for "
            "example with --column answer=COLUMN."
        )
    if not known.any():
        raise DataError(
            f"All {plural(frame.height, 'row')} of {path} have {why}; expected values as in the training data, or answers as `vertune "
            "predict` writes them. Correct the file, or name other columns with --column ROLE=COLUMN."
        )
    if not known.all():
        notes.append(f"{plural(int((~known).sum()), 'row')} had {why}, and were left out.")
    frame, times, rows = frame.filter(pl.Series(known)), times[known], known.nonzero()[0].tolist()
    window = _window(reader, [records[row] for row in rows], [answers[row] for row in rows], (frame, columns, times))
    expected = np.array([text is not None for text in _texts(frame, columns.get("right"))], bool)
    compared = window.judged | np.array([answer is None for answer in window.answers], bool)
    if uncompared := int((expected & ~compared).sum()):
        notes.append(
            f"{plural(uncompared, 'right answer')} can't be compared with answers of the task '{reader.task.name}', and count as unknown."
        )
    return Log(reader.complete(window), columns, notes)


def _readable(frame: pl.DataFrame, path: Path) -> tuple[pl.DataFrame, list[str]]:
    """Return the rows that the file could be read to, and a note on the others."""
    failed = frame.filter(named("__error").is_not_null())
    read = without(frame.filter(named("__error").is_null()), [*MARKS])
    if not failed.height:
        return read, []
    what = f"{plural(failed.height, 'row')} of {path.name} could not be read, the first because of this: {failed['__error'][0]}"
    if not read.height:
        raise DataError(f"{what}. Nothing is left to compare; correct the file.")
    return read, [f"{what}."]


def _answered(frame: pl.DataFrame, reader: Reader) -> tuple[list[Answer | None], NDArray[np.bool_], str]:
    """Let the model answer the rows; return the answers, which rows it can read, and the first reason why it can't read one."""
    if reader.predictor is None:
        return [None] * frame.height, np.ones(frame.height, bool), ""
    found = answer(reader.predictor, frame)
    known = np.array([one is not None for one in found.answers], bool)
    return found.answers, known, f"inputs that the model can't read ({next(iter(found.errors.values()), '')})"


def _unread(frame: pl.DataFrame, columns: Mapping[str, str], times: Any) -> list[str]:
    """Return notes on cells that are not as their column needs them, and that count as empty."""
    sure = _numbers(frame, columns.get("confidence"))
    said = [text for text in _texts(frame, columns.get("verdict")) if text is not None and text.strip().lower() not in _RIGHT]
    unread = {
        "time": (
            int((np.isnan(times) & np.array([text is not None for text in _texts(frame, columns.get("time"))], bool)).sum()),
            "a time",
        ),
        "confidence": (int((~np.isnan(sure) & ~_is_share(sure)).sum()), "a number from 0 to 1"),
        "verdict": (len(said), "right or wrong"),
    }
    return [
        f"{plural(count, 'value')} of the column '{columns[role]}' ({role}) count as unknown, because {what} was expected."
        for role, (count, what) in unread.items()
        if count
    ]


def _is_share(values: Any) -> Any:
    return (values >= 0) & (values <= 1)


def _can_read(reader: Reader, answer: Answer) -> bool:
    """Return whether a cell is an answer of the task, as far as its labels and a comparison with another answer need it."""
    try:
        return all(isinstance(label, str) for label in reader.task.named(answer)) and reader.task.agrees(answer, answer)
    except (AttributeError, KeyError, TypeError, ValueError):
        return False


def _window(
    reader: Reader, records: Sequence[dict[str, Any] | None], answers: Sequence[Answer | None],
    read: tuple[pl.DataFrame, Mapping[str, str], Any],
) -> Window:  # fmt: skip
    """Return the window of a log; `read` has the frame, the columns of roles and the times."""
    frame, columns, times = read
    targets = _targets(frame, columns.get("right"), reader)
    right = [reader.is_right(*one) for one in zip(records, answers, targets, strict=True)]
    said = [_RIGHT.get((text or "").strip().lower(), np.nan) for text in _texts(frame, columns.get("verdict"))]
    shadow: list[Answer | None] = [None] * frame.height
    if "shadow" in columns:
        read_ones = (None if text is None else _answer(text, None, reader) for text in _texts(frame, columns["shadow"]))
        shadow = [one if one is not None and _can_read(reader, one) else None for one in read_ones]
    sure = _numbers(frame, columns.get("confidence"))
    sure = np.where(_is_share(sure), sure, np.nan)
    if np.isnan(sure).all():
        sure = np.array([_confidence(reader, answer) for answer in answers], np.float64)
    return Window.of(
        reader.task, records, answers, at=times, confidences=sure, seconds=_numbers(frame, columns.get("seconds")),
        right=np.where(np.isnan(said), right, said), targets=targets, shadow=shadow,
        errors=[reader.error(*one) for one in zip(answers, targets, strict=True)],
    )  # fmt: skip


def _recognised(frame: pl.DataFrame, reader: Reader, names: Mapping[str, str]) -> dict[str, str]:
    """Return the column of each role, as named or as recognised."""
    for role, column in names.items():
        if role not in ROLES:
            raise UnknownName("role of a column", role, ROLES)
        if column not in frame.columns:
            raise UnknownName("column", column, frame.columns, "the log")
    inputs = Inputs.of(reader.artifact)
    taken = {*names.values(), *(source for column in reader.task.input_columns for source in inputs.sources(column.name))}
    lowered = {name.lower(): name for name in frame.columns if name not in taken}
    found = dict(names)
    for role, known in ROLES.items():
        present = [lowered[name] for name in known if name in lowered]
        if role not in found and present:
            found[role] = present[0]
    named = [source for column in reader.task.target_columns for source in (*inputs.sources(column.name), column.name)]
    target = next((name for name in named if name in frame.columns and name not in found.values()), None)
    answered = "answer" in found or any(name.startswith(_PREFIX) for name in frame.columns)
    if target is not None and not answered and "confidence" in found:
        found["answer"] = target  # what a model was so sure of
    elif target is not None:
        found.setdefault("right", target)
    return found


def _records(frame: pl.DataFrame, reader: Reader) -> list[dict[str, Any] | None]:
    """Return the fields of each record, with all other columns, by which fairness can group; None if the inputs are not there."""
    inputs = Inputs.of(reader.artifact)
    if not inputs.are_in(frame.columns):
        return [None] * frame.height
    sources = {column.name: inputs.sources(column.name) for column in reader.task.input_columns if column.name not in frame.columns}
    present = {name: columns for name, columns in sources.items() if {*columns} <= {*frame.columns}}
    if joined := [name for name, columns in present.items() if len(columns) > 1]:
        fields = {name: columns if len(columns) > 1 else columns[0] for name, columns in present.items()}
        frame = frame.with_columns(map_fields(frame, fields, reader.task, targets=False).frame.select(joined))
    return list(frame.rename({columns[0]: name for name, columns in present.items() if len(columns) == 1}).to_dicts())


def _times(frame: pl.DataFrame, column: str | None) -> Any:
    """Return the times in seconds since 1970; NaN where there is none."""
    if column is None:
        return np.full(frame.height, np.nan)
    return np.array([_time(value) for value in frame[column].to_list()], np.float64)


def _time(value: Any) -> float:
    """Return a time in seconds since 1970; numbers that are too large for seconds are milliseconds."""
    if isinstance(value, bool) or value is None:
        return np.nan
    number = _number(value)
    if number > _FIRST_SECONDS:
        return number if number < _FIRST_MILLISECONDS else number / 1000 if number < _LAST_MILLISECONDS else np.nan
    try:
        moment = value if isinstance(value, date) else datetime.fromisoformat(str(value).strip())
    except ValueError:
        return np.nan
    if not isinstance(moment, datetime):
        moment = datetime(moment.year, moment.month, moment.day, tzinfo=UTC)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return np.nan


def _numbers(frame: pl.DataFrame, column: str | None) -> Any:
    if column is None:
        return np.full(frame.height, np.nan)
    return np.array([_number(value) for value in frame[column].to_list()], np.float64)


def _texts(frame: pl.DataFrame, column: str | None) -> list[str | None]:
    if column is None:
        return [None] * frame.height
    return [None if value is None or not str(value).strip() else str(value) for value in frame[column].to_list()]


def _answers(frame: pl.DataFrame, columns: Mapping[str, str], reader: Reader, failed: Sequence[str | None]) -> list[Answer | None]:
    """Return the answer of each row, from the columns that `vertune predict` writes or from one column; None where there is none."""
    written = {name.removeprefix(_PREFIX): name for name in frame.columns if name.startswith(_PREFIX) and name not in columns.values()}
    known = {name: written[name] for name in reader.task.answer.__annotations__ if name in written}
    texts = _texts(frame, columns.get("answer"))
    sure = _numbers(frame, columns.get("confidence"))
    answers: list[Answer | None] = []
    for row, values in enumerate(frame.select(list(known.values())).iter_rows() if known else [()] * frame.height):
        if failed[row] is not None:
            answers.append(None)
            continue
        answer = {name: _parsed(value) for name, value in zip(known, values, strict=True) if value is not None}
        said = texts[row]
        if said is not None:
            answer = {**answer, **(_answer(said, float(sure[row]), reader) or {})}
        answers.append(answer or None)
    return answers


def _answer(text: str, confidence: float | None, reader: Reader) -> Answer | None:
    """Return the answer that a cell means: JSON with the fields of an answer, or the value of the target field."""
    value = _parsed(text)
    if isinstance(value, dict):
        return value
    column = next(iter(reader.task.target_columns), None)
    if column is None:
        return None
    found: Answer = {column.name: [value] if column.type == "labels" and not isinstance(value, list) else value}
    return found if confidence is None or np.isnan(confidence) else {**found, "probability": confidence}


def _targets(frame: pl.DataFrame, column: str | None, reader: Reader) -> list[dict[str, Any] | None]:
    """Return the right answer of each row as fields of the task; None where there is none."""
    name = next((one.name for one in reader.task.target_columns), None)
    found = [None if text is None else _answer(text, None, reader) for text in _texts(frame, column)]
    return [None if one is None or name is None or name not in one else {name: one[name]} for one in found]


def _parsed(value: Any) -> Any:
    """Return a cell that is written as JSON as its value, and any other one unchanged."""
    if isinstance(value, str) and value[:1] in {"{", "["}:
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _confidence(reader: Reader, answer: Answer | None) -> float:
    try:
        found = None if answer is None else reader.task.confidence(answer)
    except (KeyError, TypeError):  # a log need not have all fields of an answer
        return np.nan
    return np.nan if found is None else float(found)
