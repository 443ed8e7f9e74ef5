"""Checks the records that a user sends for prediction, and converts them to the fields that the model's task reads.

A few records of plain text are checked one by one. All others are converted to a Polars frame and checked by the task's method
`clean`. Both ways have the same result, but for a single text the way with a frame takes ten times as long.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, cast

from vertune.core.columns import named, without
from vertune.core.errors import ConfigError, DataError, UnknownName
from vertune.core.kinds import Task
from vertune.core.records import Record
from vertune.data import frames
from vertune.data.fields import MARKS, map_fields
from vertune.runtime.predictor import Predictor

if TYPE_CHECKING:
    import polars as pl

MAX_RECORDS_WITHOUT_FRAME = 64
_MAX_UNREAD_FIELDS = 100
"""Maximum number of unknown fields that are kept, so that an error can name a misspelt one; a frame of all of them could take gigabytes."""
_INTEGER_LIMIT = 1 << 63
"""Smallest absolute value of an integer that does not fit into a frame."""


def validate_records(predictor: Predictor, records: Sequence[Mapping[str, Any]]) -> list[Record]:
    """Check records and convert them to the fields of the model's task; the order is kept.

    Raises DataError for the first record that the model can't read.
    """
    if not records:
        return []
    texts = text_records(predictor, records)
    if texts is not None:
        return texts
    frame = frame_of_records(records).drop("__row", strict=False).with_row_index("__row")
    cleaned = predictor.task.clean(model_columns(frame, predictor))
    raise_first({int(row["row"]): str(row["reason"]) for row in sorted(cleaned.rejected, key=lambda row: int(row["row"]))})
    return list(cleaned.frame.drop(MARKS, strict=False).to_dicts())


def checked_target(task: Task, record: Mapping[str, Any], target: Mapping[str, Any]) -> dict[str, Any]:
    """Return the right answer of a record as the task's rules write it.

    Raises DataError if the task does not accept it, for example because a span lies outside of the text.
    """
    names = [column.name for column in task.target_columns]
    if not target:
        raise DataError(f"The target is an object without fields; expected {' and '.join(names)}. Send them, or no target.")
    if unknown := sorted(target.keys() - set(names)):
        raise DataError(f"The target has the field '{unknown[0][:80]}'; expected {' and '.join(names)}. Send one of these.")
    if task.answers_with_places and _has_truth(list(target.values())):  # a column of numbers would make 1 and 0 of them
        raise DataError("A part of the target is true or false; expected positions as whole numbers. Send JSON numbers.")
    cleaned = task.clean(frame_of_records([{**record, **target}]).with_row_index("__row", offset=0))
    if cleaned.rejected:
        raise DataError(f"The target can't be used: {cleaned.rejected[0]['reason']}. Send a right answer as training data have it.")
    (row,) = cleaned.frame.to_dicts()
    return {name: row[name] for name in names if name in row}


def _has_truth(value: Any) -> bool:
    """Return whether true or false is somewhere in a value."""
    if isinstance(value, Mapping):
        value = list(value.values())
    return any(map(_has_truth, value)) if isinstance(value, (list, tuple)) else isinstance(value, bool)


def labels_in(task: Task, target: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the labels in a right answer, each as often as it occurs; empty if it has other fields than an answer of the task."""
    try:
        return task.named(cast(Any, target))
    except (KeyError, TypeError):
        return ()


def check_labels(task: Task, target: Mapping[str, Any]) -> None:
    """Raise UnknownName for a label in a right answer that the task does not know, which is often misspelt."""
    for label in labels_in(task, target):
        if label not in task.known_labels:
            raise UnknownName("label", label, task.known_labels)


def text_records(predictor: Predictor, records: Sequence[Mapping[str, Any]] | pl.DataFrame) -> list[Record] | None:
    """Convert a few records of plain text to the task's fields without making a Polars frame of them, which is faster.

    Returns None if a frame is needed, for example if there are more than `MAX_RECORDS_WITHOUT_FRAME` records, if an input is empty or
    not a text, or if the records do not all have the same fields.
    """
    inputs = predictor.task.input_columns
    if not isinstance(records, (list, tuple)) or not 0 < len(records) <= MAX_RECORDS_WITHOUT_FRAME:
        return None
    sources = {name: source for name, source in predictor.fields.items() if source != name}
    if any(column.type != "text" or not isinstance(sources.get(column.name, ""), str) for column in inputs):
        return None
    rows: list[Record] = []
    for record in records:
        row: dict[str, str] = {}
        for column in inputs:
            source = sources.get(column.name)
            if source in record and column.name in record:
                return None
            key = source if source in record else column.name
            if not column.required and key not in record:
                continue
            value = record.get(key)
            if isinstance(value, str):
                for cleaner in predictor.cleaners:
                    value = cleaner.edit(value)
            if not isinstance(value, str) or not value.strip() or not _is_unicode(value):
                return None
            row[column.name] = value
        rows.append(row)
    return rows if all(row.keys() == rows[0].keys() for row in rows) else None


def frame_of_records(records: Sequence[Mapping[str, Any]] | pl.DataFrame) -> pl.DataFrame:
    """Convert records to a Polars frame, in which missing values are null; raise DataError for text that is not valid Unicode."""
    import polars as pl

    return records if isinstance(records, pl.DataFrame) else frames.of_records(records)


def model_columns(frame: pl.DataFrame, predictor: Predictor) -> pl.DataFrame:
    """Rename the columns of a frame to the task's input fields, drop columns of expected answers, and clean the texts as in training.

    A column may have the name that it had in the training data, or the name of the task's field.
    """
    inputs = [column.name for column in predictor.task.input_columns]
    optional = {column.name for column in predictor.task.input_columns if not column.required}
    sources = {name: _as_list(value) for name, value in predictor.fields.items() if name in inputs}
    fields: dict[str, str | list[str]] = {}
    for name, source in sources.items():
        complete = set(source) <= set(frame.columns)
        if complete and name in frame.columns and len(source) == 1:
            frame = _fill_gaps(frame, source[0], name)
        if complete or (name not in frame.columns and name not in optional):
            fields[name] = source[0] if len(source) == 1 else source
    read = set(inputs).union(*sources.values())
    targets = [column.name for column in predictor.task.target_columns if column.name not in read]
    mapped = map_fields(without(frame, targets), fields, predictor.task, targets=False).frame
    for cleaner in predictor.cleaners:
        mapped = cleaner.edit_inputs(mapped, predictor.task.columns)
    return mapped


def _fill_gaps(frame: pl.DataFrame, source: str, name: str) -> pl.DataFrame:
    """Fill the gaps of the column `source` from the column `name`, because records of either naming may be mixed.

    A column of other values, such as lists or bytes beside texts, belongs to something else, and nothing is filled from it.
    """
    import polars as pl

    if (frame.schema[name] == pl.Binary) != (frame.schema[source] == pl.Binary):
        return frame
    with suppress(pl.exceptions.PolarsError):
        return frame.with_columns(pl.coalesce(named(source), named(name)).alias(source))
    return frame


class ModelInputs(Protocol):
    """What is read of a model to know its inputs; a `Predictor` has these attributes, too."""

    @property
    def task(self) -> Task:
        """The task, which defines the input fields."""
        ...

    @property
    def columns(self) -> Sequence[str]:
        """The columns of the task that the model was trained on; empty if unknown."""
        ...


def record_of_texts(model: ModelInputs, texts: Sequence[str | None]) -> dict[str, str | None]:
    """Make one record from these texts: the first text is the model's first input, the second text is its second input.

    Raises ConfigError if there are more texts than the model has inputs.
    """
    names = [column.name for column in model.task.input_columns]
    inputs = [name for name in names if not model.columns or name in model.columns]
    if len(texts) > len(inputs):
        raise ConfigError(
            f"{len(texts)} texts were given, but this model reads {len(inputs)} ({' and '.join(inputs)}). Put quotes around a text with "
            "spaces. To predict many texts, use --file, or '-' for standard input."
        )
    return dict(zip(inputs, texts, strict=False))


def records_of_texts(task: Task, vertical: str, texts: Sequence[str]) -> list[dict[str, str]]:
    """Make one record per text, in which the text is the task's first input field; raise DataError if the task needs more fields.

    `vertical` is the name of the model, for the error message.
    """
    inputs = task.input_columns
    required = [column.name for column in inputs if column.required]
    if len(required) > 1:
        fields = ", ".join(f"{name}: …" for name in required)
        raise DataError(
            f"The model '{vertical}' reads the fields {' and '.join(required)}, so one text per record is not enough. "
            f"Send records: [{{{fields}}}]."
        )
    return [{inputs[0].name: text} for text in texts]


def select_fields(predictors: Sequence[Predictor], records: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Reduce records to the fields that any of the models reads.

    Up to 100 other fields are kept with the value None, because a misspelt field may be among them and an error message can then name
    it. Raises DataError if a field that a model reads contains a list, a mapping, or an integer of more than 64 bits.
    """
    read = {name for predictor in predictors for name in _input_names(predictor)}
    others = set(islice(dict.fromkeys(name for record in records for name in record if name not in read), _MAX_UNREAD_FIELDS))
    return [_select(record, number, read, others) for number, record in enumerate(records, 1)]


def read_fields(predictor: Predictor, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a record that a model reads and that have a value, under the names with which they were sent."""
    read = _input_names(predictor)
    return {name: value for name, value in record.items() if value is not None and name in read}


def raise_first(errors: Mapping[int, str]) -> None:
    """Raise DataError for the first of these errors, if there is any.

    `errors` maps the index of a record (from 0) to the reason why the model can't read the record.
    """
    if errors:
        row, reason = next(iter(errors.items()))
        count = f" ({len(errors)} records can't be answered)" if len(errors) > 1 else ""
        raise DataError(f"Record {row + 1} can't be answered: {reason}{count}. Correct or remove it.")


def _select(record: Mapping[str, Any], number: int, read: Set[str], others: Set[str]) -> Mapping[str, Any]:
    """Return a copy of a record with only the fields in `read`, unchanged, and the fields in `others`, set to None.

    Raises DataError if a field in `read` contains a list, a mapping, or an integer of more than 64 bits. `number` is the number of the
    record, counted from 1, for the message.
    """
    for key in read:
        value = record.get(key)
        if isinstance(value, list | dict) or (isinstance(value, int) and abs(value) >= _INTEGER_LIMIT):
            raise DataError(f"The field '{key}' of record {number} is neither a text nor a number of at most 64 bits. Send a text.")
    return {key: value if key in read else None for key, value in record.items() if key in read or key in others}


def _input_names(predictor: Predictor) -> set[str]:
    """Return all names that the inputs of a model may have in a record.

    These are the names of the task's fields, and of the columns in the training data that the fields were read from.
    """
    inputs = {column.name for column in predictor.task.input_columns}
    return inputs.union(*(_as_list(source) for name, source in predictor.fields.items() if name in inputs))


def _is_unicode(text: str) -> bool:
    """Return whether a text can be encoded as UTF-8, that is, contains no lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _as_list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value
