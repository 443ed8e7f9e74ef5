"""Turns the rows of data sources into training, validation and test rows; writes no files.

The rows pass a chain of steps: read, rename columns to the fields of the task, clean, split, augment. Finally, options of the task
and of the encoder (tokenizer and input format) that depend on the data, such as the list of labels, are set from the training rows.
Every row, span or label that a step drops or changes is recorded in a `ChainLog`, so that every row is accounted for:
rows read = rows in the splits - rows added by augmenters + unused rows + rejected rows.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import polars as pl
from pydantic import BaseModel, ConfigDict, SerializeAsAny

from vertune import __version__
from vertune.core.artifact import Progress
from vertune.core.columns import only, without
from vertune.core.config import Config
from vertune.core.errors import ConfigError, DataError
from vertune.core.kinds import Augmenter, Cleaner, Encoder, Source, Split, Task, Tokens
from vertune.core.labels import key, quoted
from vertune.core.records import MAX_EXAMPLES, PLACES, SHOWN, Cleaned, Column, Note, Record, shortened
from vertune.data import describe, tokens
from vertune.data.dataset import MARKS, SPLITS
from vertune.data.fields import map_fields
from vertune.data.spellings import Spellings
from vertune.reports.scales import plural

_LABELLED = frozenset({"label", "labels", "spans"})
"""Target types whose values contain labels."""
_REASONS = 20
"""Number of reasons for rejection, the most frequent ones, that have a note each; all other reasons have one note together."""
_TEXT_ROWS = 2_000
"""Number of rows whose texts are sampled."""


class ChainInputs(BaseModel):
    """Everything that determines the result of data preparation: the data sources, and the options of its steps (clean, split …)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tables: dict[str, SerializeAsAny[Source]]
    """Maps the name of a table (train, validation or test) to the source that reads its rows."""
    fields: dict[str, str | list[str]]
    """Maps a field of the task to the column or columns that it is read from."""
    keep: tuple[str, ...]
    """Columns to keep in addition to the task's."""
    clean: tuple[SerializeAsAny[Cleaner], ...]
    task: SerializeAsAny[Task]
    labels: Literal["keep", "merge"] = "keep"
    """Whether different spellings of a label are merged."""
    split: SerializeAsAny[Split]
    augment: tuple[SerializeAsAny[Augmenter], ...]
    encoder: SerializeAsAny[Encoder]
    seed: int

    @classmethod
    def of(cls, config: Config) -> Self:
        """Return the inputs of data preparation that a config describes."""
        data = config.data
        sources = {"train": data.source, "validation": data.validation, "test": data.test}
        return cls(
            tables={name: source for name, source in sources.items() if source is not None},
            fields=data.fields,
            keep=tuple(dict.fromkeys([*data.keep, *config.evaluate.slices])),
            clean=tuple(data.clean),
            task=config.task,
            labels=data.labels,
            split=data.split,
            augment=tuple(data.augment),
            encoder=config.encoder,
            seed=config.seed,
        )

    def fingerprint(self) -> str | None:
        """Return a SHA-256, in hexadecimal, of everything that determines the prepared data.

        These are the version of vertune, the options, the content of all sources, and the pretrained model. Returns None if there is
        no source, or if the content of a source can't be known before it is read.
        """
        contents = {name: source.fingerprint() for name, source in self.tables.items()}
        if not contents or None in contents.values():
            return None
        read = [__version__, self.model_dump(mode="json"), contents, self.encoder.fingerprint()]
        return hashlib.sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()


@dataclass(slots=True)
class ChainLog:
    """Collects what the steps of data preparation (clean, split …) dropped, changed and added.

    The log has a list of rejected rows, and notes (counts with a few examples). Each note is also passed to `progress`.
    """

    progress: Progress
    read: int = 0
    """Rows read from all tables."""
    rejected: list[dict[str, Any]] = field(default_factory=list)
    """`{"file", "row", "reason", "values"}` for each rejected row."""
    notes: list[Note] = field(default_factory=list)
    """One note per kind of drop, change or addition, each with a count and examples; rejected rows are included."""
    changes: list[Note] = field(default_factory=list)
    """The subset of `notes` in which cleaners and the task report rows that they changed but did not reject."""
    missing: dict[str, dict[str, float]] = field(default_factory=dict)
    """For each table and each of its fields, the fraction of rows without a value, before any row was rejected."""
    origin: dict[str, list[str]] = field(default_factory=dict)
    """For each field of the task, the columns of the source that it is read from."""

    def note(self, note: Note) -> None:
        """Add a note (a count of dropped, changed or added values, with examples), and pass it to the callback `progress`."""
        self.notes.append(note)
        self.progress("note", **note.as_json())

    def reject(self, where: str, rows: Sequence[dict[str, Any]], of: int) -> None:
        """Add rejected rows to the log, with one note for each of the 20 most frequent reasons and one note for all other reasons.

        `where` names the step that rejected the rows, such as `duplicates train`. `of` is the number of rows that this step checked.
        """
        self.rejected += rows
        counts = Counter(row["reason"] for row in rows)
        for reason, count in counts.most_common(_REASONS):
            examples = [row for row in rows if row["reason"] == reason][:MAX_EXAMPLES]
            self.note(Note(where, f"rows were rejected: {reason}", count, of, _examples(examples)))
        rest = sum(counts.values()) - sum(count for _, count in counts.most_common(_REASONS))
        if rest:
            self.note(Note(where, "rows were rejected for further reasons, which rejected.jsonl lists", rest, of))

    def take(self, cleaned: Cleaned, where: str, of: int) -> pl.DataFrame:
        """Add the rejected rows and the notes of a cleaner or task to the log, and return the remaining rows.

        `cleaned` is the result of the cleaner or task, `where` is its name, and `of` is the number of rows that it checked.
        """
        self.reject(where, cleaned.rejected, of)
        for note in cleaned.notes:
            self.changes.append(note)
            self.note(note)
        frame: pl.DataFrame = cleaned.frame
        return frame


@dataclass(frozen=True, slots=True)
class ChainResult:
    """The result of data preparation: the splits, and the task and encoder with the options that were set from the training rows."""

    splits: dict[str, pl.DataFrame]
    unused: int
    """Number of rows that are in no split."""
    added: int
    """Number of training rows that augmenters made."""
    cut: list[str]
    """Names of the splits whose rows were taken from the training table."""
    task: Task
    """The task, fitted to the training rows."""
    encoder: Encoder
    """The encoder, in which options with the value `auto` are replaced by values that suit the training rows."""
    tokens: dict[str, Tokens]
    """The token ids of the training and validation rows, by split; empty for an encoder without a tokenizer."""


def read(inputs: ChainInputs, log: ChainLog) -> Iterator[tuple[str, pl.DataFrame | pl.LazyFrame]]:
    """Read the data sources; yield the name (train, validation or test) and the rows of each table.

    Raises ConfigError if there is no source of training rows.
    """
    if "train" not in inputs.tables:
        raise ConfigError("The config names no data. Write `data: {source: FILE}`.")
    for name, source in inputs.tables.items():
        log.progress("read", split=name, source=source.name)
        yield name, source.read()


def mark(frames: Mapping[str, pl.DataFrame]) -> Iterator[tuple[str, pl.DataFrame]]:
    """Yield the name and rows of each data frame that was passed in Python, in the same form as tables that `read` yields.

    For this, the columns that every data source returns are added: `__file` (the name of the frame), `__row` (the row's number, from 1)
    and `__error` (null, because all rows can be read). The names must be train and optionally validation and test, otherwise
    ConfigError is raised.
    """
    unknown = sorted(set(frames) - set(SPLITS))
    if unknown or "train" not in frames:
        raise ConfigError(
            f"The names of the data frames are: {', '.join(frames) or 'none'}. Expected train, and optionally validation and test. "
            "Rename the keys: {'train': …}."
        )
    for name in SPLITS:
        if name not in frames:
            continue
        own = frames[name].drop(*MARKS, "__error", strict=False)
        yield (
            name,
            own.with_columns(
                pl.lit(f"{name} frame").alias("__file"),
                pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("__row"),
                pl.lit(None, dtype=pl.String).alias("__error"),
            ),
        )


def run(inputs: ChainInputs, tables: Iterable[tuple[str, pl.DataFrame | pl.LazyFrame]], log: ChainLog) -> ChainResult:
    """Clean, split and augment the tables that were read; set the options of the task and encoder that depend on training rows.

    `tables` contains the name (train, validation or test) and the rows of each table. Raises DataError if a needed column is missing,
    no usable rows remain, or they can't be split; ConfigError if the options contradict the data or one another. After an error, `log`
    contains the rows that had been rejected before it.
    """
    _check_cleaners(inputs)
    mapped = {name: _mapped(name, frame, inputs, log) for name, frame in tables}
    inputs = inputs.model_copy(update={"task": inputs.task.resolve(mapped["train"])})
    cleaned = {name: _clean(name, frame, inputs, log) for name, frame in mapped.items()}
    for name, table in cleaned.items():
        _require_rows(table, "training" if name == "train" else name, log)
    for name in sorted(inputs.split.assigned(mapped["train"]) - inputs.split.assigned(cleaned["train"])):
        _require_rows(cleaned["train"].clear(), name, log)
    if inputs.labels == "merge":
        cleaned = _merge_labels(inputs.task, cleaned, log)
    log.progress("split", rows=sum(frame.height for frame in cleaned.values()))
    splits, cut = _divide(inputs, cleaned)
    unused = splits.pop("unused")
    if unused.height:
        log.note(Note(inputs.split.name, "rows are in no split and were not used", unused.height, cleaned["train"].height, _rows(unused)))
    needed = {"train", "validation", *(name for name, frame in splits.items() if frame.height)}
    splits = _without_unknown_labels(inputs.task, splits, log)
    for name in SPLITS:
        if name in needed:  # a given split that lost all its rows must not be replaced by rows that the model was trained on
            _require_rows(splits[name], name, log)
    trained = augment(inputs, splits["train"], log)
    added = trained.height - splits["train"].height
    splits["train"] = trained
    task = inputs.task.fit(trained)
    present, used = fields_of(trained, task)
    encoder = inputs.encoder.choose_base(sample_texts(trained, task), task.views(used))
    read_once = tokens.read(encoder, task, {name: splits[name] for name in ("train", "validation")}, used)
    encoder = encoder.resolve(FrameRecords(only(trained, present)), task.views(used), read_once.get("train"))
    return ChainResult(splits=splits, unused=unused.height, added=added, cut=sorted(cut), task=task, encoder=encoder, tokens=read_once)


def fields_of(frame: pl.DataFrame, task: Task) -> tuple[list[str], list[str]]:
    """Return two lists of names of the task's columns: those that exist in the frame, and those of them that contain values.

    The second list decides which fields the model reads.
    """
    present = [name for name in frame.columns if name in {column.name for column in task.columns}]
    return present, [name for name in present if frame[name].dtype != pl.Null]


def sample_texts(frame: pl.DataFrame, task: Task) -> list[str]:
    """Return the input texts of about 2,000 evenly spaced rows, from which the language of the texts is detected."""
    names = [column.name for column in task.input_columns if column.type == "text" and column.name in frame.columns]
    sample = only(frame, names).gather_every(max(1, frame.height // _TEXT_ROWS))
    return [str(text) for row in sample.iter_rows() for text in row if text is not None]


class FrameRecords(Sequence[Record]):
    """The rows of a data frame as a sequence of records (dicts). To save memory, a row is converted only when it is read."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.frame = frame

    def __len__(self) -> int:
        return self.frame.height

    def __getitem__(self, index: Any) -> Any:
        """Return the record at an index, or the list of records of a slice."""
        return self.frame[index].to_dicts() if isinstance(index, slice) else self.frame.row(index, named=True)

    def __iter__(self) -> Iterator[Record]:
        """Iterate over all records in order."""
        return iter(self.frame.iter_rows(named=True))


def _check_cleaners(inputs: ChainInputs) -> None:
    """Raise ConfigError if a cleaner edits texts and the task predicts character positions, because edits would shift the positions."""
    target = next((column for column in inputs.task.target_columns if column.type in PLACES), None)
    editing = next((cleaner for cleaner in inputs.clean if cleaner.at_prediction), None)
    if target is not None and editing is not None:
        raise ConfigError(
            f"The cleaner '{editing.name}' edits texts, but the task '{inputs.task.name}' answers with positions in the original text "
            f"(field '{target.name}'), and the edits would shift them. Remove the cleaner from data.clean, and edit the texts in the files."
        )


def _mapped(name: str, frame: pl.DataFrame | pl.LazyFrame, inputs: ChainInputs, log: ChainLog) -> pl.DataFrame:
    """Rename the columns of one table to the task's fields, and return the rows that could be read.

    The other rows are added to `log` as rejected. Raises DataError if the table has no rows.
    """
    reads = inputs.split.reads if name == "train" else ()
    mapped = map_fields(frame, inputs.fields, inputs.task, [*inputs.keep, *reads])
    table = mapped.frame
    if table.is_empty():
        raise DataError(f"The {name} data has no rows, but at least one is needed. Check what the source reads.")
    log.read += table.height
    log.origin |= mapped.origin
    log.missing[name] = describe.missing(table, list(mapped.origin))
    unreadable = table.filter(pl.col("__error").is_not_null())
    log.reject(f"read {name}", [_rejection(row, row["__error"], mapped.origin) for row in unreadable.iter_rows(named=True)], table.height)
    return table.filter(pl.col("__error").is_null()).drop("__error")


def _clean(name: str, table: pl.DataFrame, inputs: ChainInputs, log: ChainLog) -> pl.DataFrame:
    """Clean and check the rows of one table, and return the usable rows; the other rows are added to `log` as rejected."""
    for cleaner in inputs.clean:
        log.progress("clean", split=name, by=cleaner.name, rows=table.height)
        table = log.take(cleaner.clean(table, inputs.task.columns), f"{cleaner.name} {name}", table.height)
    log.progress("clean", split=name, by=inputs.task.name, rows=table.height)
    return log.take(inputs.task.clean(table), f"{inputs.task.name} {name}", table.height)


def _divide(inputs: ChainInputs, tables: Mapping[str, pl.DataFrame]) -> tuple[dict[str, pl.DataFrame], set[str]]:
    """Divide the training table into training, validation and test rows; a split that has its own table gets the rows of this table.

    Returns two values. The first maps the name of each split to its rows, and `unused` to the rows in no split. The second contains
    `validation` and `test` if their rows were taken from the training table. Raises ConfigError if a split has its own table and
    would also get rows of the training table.
    """
    table = tables["train"]
    own_tables = frozenset(tables) - {"train"}
    names = inputs.split.without(own_tables).divide(table, inputs.task.columns)
    used = set(names.unique())
    conflicting = sorted(own_tables & used)
    if conflicting:
        raise ConfigError(
            f"Rows for {conflicting[0]} are given twice: in data.{conflicting[0]} and by the split '{inputs.split.name}'. "
            "Remove one of the two."
        )
    stay = {*inputs.keep, *(column.name for column in inputs.task.columns)}
    table = without(table, [name for name in inputs.split.reads if name not in stay])
    splits = {name: table.filter(names == name) for name in (*SPLITS, "unused")}
    return splits | {name: tables[name] for name in own_tables}, used & {"validation", "test"}


def _without_unknown_labels(task: Task, splits: dict[str, pl.DataFrame], log: ChainLog) -> dict[str, pl.DataFrame]:
    """Drop validation and test rows with a label that neither the training rows nor the task's options contain.

    No model could predict such a label. The dropped rows are added to the log as rejected.
    """
    listed = task.known_labels
    train = splits["train"]
    for column in label_columns(task, train):
        known = {*describe.labels(train, column.name)["label"].unique(), *listed}
        for name in ("validation", "test"):
            splits[name] = _known_rows(splits[name], name, column, known, log)
    return splits


def label_columns(task: Task, frame: pl.DataFrame) -> list[Column]:
    """Return the required target columns of the task that contain labels and exist in the frame."""
    required = [column for column in task.target_columns if column.required and column.name in frame.columns]
    return [column for column in required if column.type in _LABELLED]


def _merge_labels(task: Task, tables: Mapping[str, pl.DataFrame], log: ChainLog) -> dict[str, pl.DataFrame]:
    """Return the tables with one spelling for labels that nearly agree; the log gets a note for each table with replaced labels."""
    merged = dict(tables)
    for column in label_columns(task, tables["train"]):
        counts = dict(describe.labels(tables["train"], column.name)["label"].value_counts().iter_rows())
        spellings = Spellings.of(counts, task.known_labels)
        for name in tables:
            if column.name in merged[name].columns:
                merged[name], note = spellings.merge(merged[name], column.name, name)
                if note is not None:
                    log.changes.append(note)
                    log.note(note)
    return merged


def _known_rows(frame: pl.DataFrame, split: str, column: Column, known: set[str], log: ChainLog) -> pl.DataFrame:
    """Return the rows of one split whose labels are all in `known`; add the other rows to the log as rejected.

    `split` is the name of the split for messages, and `column` is the column with the labels.
    """
    if frame.is_empty() or column.name not in frame.columns:
        return frame
    labels = describe.labels(frame, column.name)
    unknown = dict(labels.filter(~pl.col("label").is_in(list(known))).unique(subset="row", keep="first").select("row", "label").iter_rows())
    word = column.name.removesuffix("s")
    similar = Spellings.of(dict.fromkeys(known, 1)).chosen
    hints = {label: f", but {quoted(similar[key(label)])} does" for label in set(unknown.values()) if key(label) in similar}
    reasons = {
        row: f"the {word} {quoted(label)} of this {split} row does not occur in the training rows{hints.get(label, '')}"
        for row, label in sorted(unknown.items())
    }
    log.reject(
        f"labels {split}", [_rejection(frame.row(row, named=True), why, [column.name]) for row, why in reasons.items()], frame.height
    )
    return frame.with_row_index("__place").filter(~pl.col("__place").is_in(list(unknown))).drop("__place") if unknown else frame


def augment(inputs: ChainInputs, train: pl.DataFrame, log: ChainLog) -> pl.DataFrame:
    """Return the training rows, followed by the rows that the augmenters make from them.

    In a new row, the name of the augmenter is appended to the column `__file`.
    """
    frames = [train]
    for number, augmenter in enumerate(inputs.augment):
        log.progress("augment", by=augmenter.name, rows=train.height)
        new = augmenter.augment(train, inputs.task.columns, inputs.seed + number).pipe(only, train.columns)
        what = "training rows were added; the second number is that of the rows before"
        log.note(Note(augmenter.name, what, new.height, train.height, _rows(new)))
        frames.append(new.with_columns((pl.col("__file") + f" ({augmenter.name})").alias("__file")))
    return pl.concat(frames)


def _require_rows(frame: pl.DataFrame, name: str, log: ChainLog) -> None:
    """Raise DataError if a split has no rows; `frame` contains its rows, and the message shows its `name`."""
    if frame.is_empty():
        if not log.rejected:
            raise DataError(f"No row is left for {name}. Add rows, or change the split.")
        first = log.rejected[0]
        raise DataError(
            f"No row is left for {name}: {len(log.rejected):,} of {plural(log.read, 'row')} can't be used. "
            f"The first is row {first['row']} of {first['file']}: {first['reason']}. Correct these rows, add some, or change the split."
        )


def _rejection(row: Mapping[str, Any], reason: str, fields: Iterable[str]) -> dict[str, Any]:
    """Return the log entry of a rejected row: its file, its number, the reason, and its values in the columns `fields`."""
    return {"file": row["__file"], "row": row["__row"], "reason": reason, "values": {name: row[name] for name in fields}}


def _examples(rejected: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Convert log entries of rejected rows to examples of a `Note`: dicts with `file`, `row` and `value`."""
    return tuple({"file": str(row.get("file", "")), "row": row["row"], "value": _json(row.get("values"))} for row in rejected)


def _rows(frame: pl.DataFrame) -> tuple[dict[str, Any], ...]:
    """Convert the first rows of a frame to examples of a `Note`: dicts with `file`, `row` and `value`."""
    own = [name for name in frame.columns if name not in MARKS]
    return tuple(
        {"file": row["__file"], "row": row["__row"], "value": _json({name: row[name] for name in own})}
        for row in frame.head(MAX_EXAMPLES).iter_rows(named=True)
    )


def _json(value: Any) -> Any:
    """Convert a value of a row to one that JSON can store; texts are cut to 200 characters, and lists to 200 entries."""
    if isinstance(value, Mapping):
        return {str(key): _json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_json(item) for item in value[:SHOWN]]
    if value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return shortened(str(value))
