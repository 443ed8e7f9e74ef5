"""init: guesses the task (such as classify) and the columns of a file of labelled rows.

The guesses are written into a commented config, which the user can correct.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import yaml

from vertune.core import part
from vertune.core.errors import DataError, NotFound, UnknownName
from vertune.core.kinds import Task
from vertune.core.records import Column
from vertune.data import profile
from vertune.data.profile import ColumnProfile
from vertune.steps.predict import read_rows

_SAMPLE_ROWS = 20_000
_PAIRS = (
    ("text", "text_pair"), ("text_a", "text_b"), ("text1", "text2"), ("sentence1", "sentence2"), ("sentence_a", "sentence_b"),
    ("question1", "question2"), ("premise", "hypothesis"), ("query", "title"), ("query", "passage"), ("query", "document"),
    ("question", "answer"), ("question", "passage"), ("sentence", "target"),
)  # fmt: skip
"""Usual names of two columns that together contain a pair of texts."""
_SIBLINGS = {"validation": ("validation", "valid", "dev", "val"), "test": ("test",)}
"""For each split, the words that replace `train` in the name of its file, as in `test.csv` beside `train.csv`."""


@dataclass(slots=True)
class DatasetGuess:
    """What was guessed about a table of labelled rows: the task, and the columns of the task's fields.

    Each guess comes with its reason.
    """

    where: str
    """Name of the table in messages."""
    rows: int
    task: str
    fields: dict[str, list[str]]
    """The columns that each field of the task is read from."""
    reasons: dict[str, str]
    """The reason for the columns of each field, by the field's name, and for the task, by `task`."""
    columns: list[ColumnProfile]
    validation: Path | None = None
    test: Path | None = None
    split: str | None = None
    """Name of a column with the split of each row; None if there is none."""
    notes: list[str] = field(default_factory=list)


def init(path: Path, texts: Sequence[str] = (), label: str | None = None, task: Task | str | None = None) -> DatasetGuess:
    """Guess the task for a file of labelled rows, and the columns that contain the inputs and the labels.

    Files with validation and test rows are searched in the same folder. If the caller passes column names (`texts`,
    `label`) or a task, these are not guessed. Raises NotFound if the path does not exist, UnknownName for a column that
    does not exist, DataError if no column can be the text or the label.
    """
    if not path.exists():
        raise NotFound(f"There is no file or folder '{path}'. Name the file with your labelled records.")
    guess = guess_frame(read_rows(path).filter(pl.col("__error").is_null()), str(path), texts, label, task)
    for split, names in _SIBLINGS.items():
        setattr(guess, split, None if guess.split else _sibling(path, names))
    return guess


def guess_frame(
    frame: pl.DataFrame, where: str, texts: Sequence[str] = (), label: str | None = None, task: Task | str | None = None
) -> DatasetGuess:
    """Guess the task for a frame of labelled rows, and the columns that contain the inputs and the labels.

    `where` names the frame in messages. If the caller passes column names (`texts`, `label`) or a task, these are not
    guessed.
    """
    frame = frame.select(pl.exclude("^__.*$"))
    profiles = profile.profile_columns(frame.head(_SAMPLE_ROWS))
    known = [column.name for column in profiles]
    for name in (*texts, *([label] if label else ())):
        if name not in known:
            raise UnknownName("column", name, known, where)
    name = task.name if isinstance(task, Task) else task or ""
    reasons = {"task": "as requested"}
    guess = DatasetGuess(where=where, rows=frame.height, task=name, fields={}, reasons=reasons, columns=profiles)
    split = next((column for column in profiles if profile.names_splits(frame, column) and column.name not in (*texts, label)), None)
    if split:
        guess.split = split.name
        profiles = [column for column in profiles if column is not split]
    if task:
        columns = task.columns if isinstance(task, Task) else getattr(part.find("tasks", task), "columns", ())
        _fill_requested(guess, profiles, columns, (texts, label))
    elif texts or label or not _fill_structured(guess, profiles):
        _fill_labelled(guess, profiles, texts, label)
    return guess


def _fill_requested(
    guess: DatasetGuess, profiles: list[ColumnProfile], columns: Sequence[Column], named: tuple[Sequence[str], str | None]
) -> None:
    """Choose the columns for each field of the task, if the user named the task; write them into `guess`.

    `named` contains the text columns and the label column that the user named. Columns that the user did not name are
    chosen here. For the inputs, these are the columns that have the names of the task's input fields or, if there are
    none, the columns that look most like texts. For the label, it is a column with the name of the target field, or one
    that looks like a label.
    """
    texts, label = named
    by_name = {column.name: column for column in profiles}
    inputs = [column.name for column in columns if column.role == "input"]
    targets = [column.name for column in columns if column.role == "target"]
    target = by_name.get(label or "") or next((by_name[name] for name in targets if name in by_name and name not in texts), None)
    if target is None and any(column.required for column in columns if column.role == "target"):
        target = _target(guess, profiles, texts)
    present = [name for name in inputs if name in by_name]
    read = list(texts) or present
    fields = inputs if texts or not present else present
    if not read:
        others = [column for column in profiles if column is not target]
        pair = _pair(others) if len(inputs) > 1 else ()
        read = list(pair) or [column.name for column in _best(others, [], 1)]
        fields = inputs if pair else inputs[:1]
    _assign_inputs(guess, fields, [by_name[name] for name in read])
    if target is not None:
        field_name = target.name if target.name in targets else targets[0]
        guess.fields[field_name], guess.reasons[field_name] = [target.name], target.description


def _assign_inputs(guess: DatasetGuess, inputs: Sequence[str], read: Sequence[ColumnProfile]) -> None:
    """Assign the columns in `read` to the task's input fields in `inputs`: one column to each field, in order.

    If there are more columns than fields, or if one of several columns contains neither texts nor words, all columns
    are joined to one text for the first field.
    """
    if len(read) > len(inputs) or (len(read) > 1 and not all(column.kind in {"text", "word"} for column in read)):
        guess.fields[inputs[0]] = [column.name for column in read]
        guess.reasons[inputs[0]] = "joined as `name: value`"
        return
    for name, column in zip(inputs, read, strict=False):
        guess.fields[name], guess.reasons[name] = [column.name], column.description


def _fill_structured(guess: DatasetGuess, profiles: list[ColumnProfile]) -> bool:
    """Guess a task whose labels are not plain values, and write it and its columns into `guess`.

    The task is `extract` if a column contains answers with their positions in a context, or `tag` if a column contains
    labelled spans of a text. Returns False, and changes nothing, if there is no such column.
    """
    spans = next((column for column in profiles if column.kind == "spans"), None)
    answers = next((column for column in profiles if column.kind == "answers"), None)
    names = {column.name for column in profiles}
    if answers and {"question", "context"} <= names:
        guess.task, guess.fields = "extract", {"question": ["question"], "context": ["context"], "answers": [answers.name]}
        guess.reasons = {"task": f"'{answers.name}' has positions in the context", "question": "by its name", "context": "by its name"}
        guess.reasons["answers"] = "a text and where it starts"
        return True
    if spans:
        text = _best(profiles, [spans], 1)
        guess.task, guess.fields = "tag", {"text": [text[0].name], "spans": [spans.name]}
        guess.reasons = {
            "task": f"'{spans.name}' has marked spans of the text",
            "text": text[0].description,
            "spans": "start, end, label",
        }
        return True
    return False


def _fill_labelled(guess: DatasetGuess, profiles: list[ColumnProfile], texts: Sequence[str], label: str | None) -> None:
    """Choose the label column, one or two text columns, and the task that predicts the label; write them into `guess`.

    If the user named columns (`texts`, `label`), these are used instead of guesses.
    """
    target_column = next((column for column in profiles if column.name == label), None) or _target(guess, profiles, texts)
    others = [column for column in profiles if column is not target_column]
    pair = _pair(others) if not texts else ()
    named = list(texts) or list(pair)
    read = [next(column for column in profiles if column.name == name) for name in named] or _best(others, [target_column], 1)
    guess.task, target, guess.reasons["task"] = _task(target_column, len(named) == 2)
    _assign_inputs(guess, ("text", "text_pair") if named else ("text",), read)
    guess.fields[target], guess.reasons[target] = [target_column.name], target_column.description
    rest = [column.name for column in others if column not in read]
    if rest:
        guess.notes.append(f"not used: {', '.join(rest)}")


def _target(guess: DatasetGuess, profiles: list[ColumnProfile], texts: Sequence[str]) -> ColumnProfile:
    """Return the column that looks most like a label, without the columns in `texts`; raise DataError if none does."""
    candidates = [column for column in profiles if column.label_score > 0 and column.name not in texts]
    if not candidates or len(profiles) < 2:
        raise DataError(
            f"No column of {guess.where} looks like a label; its columns are {', '.join(column.name for column in profiles)}. "
            "Name the label with --label and the text with --text (in Python label= and text=), or add a column of labels."
        )
    return max(candidates, key=lambda column: column.label_score)


def _task(column: ColumnProfile, pair: bool) -> tuple[str, str, str]:
    """Guess the task that predicts this column: from two texts if `pair` is true, else from one text.

    Returns the name of the task, the name of the field that contains its labels, and the reason for the guess.
    """
    if column.kind == "words":
        return "multilabel", "labels", f"'{column.name}' has several words per row"
    if column.kind == "number":
        return "regress", "score", f"'{column.name}' holds numbers"
    if pair:
        return "match", "label", f"two texts, and '{column.name}' holds one of {column.unique} words"
    return "classify", "label", f"'{column.name}' holds one of {column.unique} words"


def _pair(columns: Sequence[ColumnProfile]) -> tuple[str, ...]:
    """Return the names of two columns whose names show that they form a pair, such as `sentence1` and `sentence2`.

    Returns an empty tuple if there is no such pair.
    """
    lower = {column.name.lower().replace(" ", "_"): column.name for column in columns if column.kind in {"text", "word"}}
    stems = {re.sub(r"_?(1|a)$", "", name): name for name in lower if re.search(r"_?(1|a)$", name)}
    for stem, first in stems.items():
        for second in (first[:-1] + "2", first[:-1] + "b"):
            if stem and second in lower and second != first:
                return lower[first], lower[second]
    return next(((lower[a], lower[b]) for a, b in _PAIRS if a in lower and b in lower), ())


def _best(profiles: Sequence[ColumnProfile], taken: Sequence[ColumnProfile], count: int) -> list[ColumnProfile]:
    """Return the columns that look most like running text, at most `count`, without those in `taken`.

    If no column looks like text, all columns that are not in `taken` are returned. Raises DataError if there are none.
    """
    rest = [column for column in profiles if column not in taken]
    texts = sorted((column for column in rest if column.text_score > 0), key=lambda column: -column.text_score)
    if not rest:
        raise DataError(
            f"No column is left for the text: the only column is {', '.join(column.name for column in taken)}. "
            "Add a column with the text, or check the delimiter."
        )
    return texts[:count] or rest


def _sibling(path: Path, names: Sequence[str]) -> Path | None:
    """Return the file with the rows of another split in the folder of the training file; None if there is none.

    The name of this file is that of the training file, but with one of `names` in place of `train`: such as
    `x_test.csv` beside `x_train.csv`.
    """
    if "train" not in path.name:
        return None
    candidates = [path.with_name(path.name.replace("train", name)) for name in names]
    return next((candidate for candidate in candidates if candidate.exists()), None)


def guess_as_yaml(guess: DatasetGuess, path: Path, folder: Path) -> str:
    """Return a guess as the text of a config in YAML, with the reasons as comments.

    `path` is the data file. Paths in the config are written relative to `folder`, the folder of the config.
    """
    shown = Counter(column.name for column in guess.columns)
    lines = [
        f"# Written by `vertune init` from {path.name}: {guess.rows:,} rows, columns {', '.join(shown)}.",
        "# Every line can be changed; `vertune parts` lists the choices.",
        f"name: {name_of(path)}",
        "",
        "data:",
        f"  source: {_quoted(_relative(path, folder))}",
    ]
    for split in _SIBLINGS:
        other = getattr(guess, split)
        if other:
            lines.append(f"  {split}: {_quoted(_relative(other, folder))}  # found beside the source")
    lines.append("  fields:  # field of the task: column of the file")
    for name, columns in guess.fields.items():
        value = _quoted(columns[0]) if len(columns) == 1 else f"[{', '.join(map(_quoted, columns))}]"
        lines.append(f"    {name}: {value}  # {guess.reasons[name]}")
    lines += [f"    # {note}" for note in guess.notes]
    lines += _split_lines(guess)
    lines += [
        "",
        f"task: {guess.task}  # {guess.reasons['task']}",
        "base: minilm  # the pretrained model: an alias, an id of the Hugging Face hub, or a folder (for Chinese texts a Chinese model)",
        "method: auto  # the method that fits the time limit; or full, lora, head …",
        "training:",
        "  time_limit: 180  # seconds",
        "",
    ]
    return "\n".join(lines)


def _split_lines(guess: DatasetGuess) -> list[str]:
    """Return the lines of the config that choose how the rows are split into training, validation and test rows.

    The list is empty if there is a separate file of test rows.
    """
    if guess.split:
        return [f"  split: {{name: given, by: {_quoted(guess.split)}}}  # this column names the split of each row"]
    if guess.test:
        return []
    return ["  split: stratified  # each split has the same share of every label; or group, time, given"]


def name_of(path: Path) -> str:
    """Return a name for the model, made from the name of its data file.

    If the file has a general name, such as train or data, the name of its folder is used instead.
    """
    stem = path.stem.lower()
    if stem in {"train", "training", "data", "dataset", "all"} and path.absolute().parent.name:
        stem = path.absolute().parent.name.lower()
    cleaned = re.sub(r"[^a-z0-9]+", "-", stem).strip("-")[:60]
    return cleaned or "vertical"


def _relative(path: Path, folder: Path) -> str:
    """Return `path` relative to `folder` if it is inside the parent of `folder`, else the absolute path."""
    absolute = path.absolute()
    return os.path.relpath(absolute, folder) if absolute.is_relative_to(folder.parent) else str(absolute)


def _quoted(value: str) -> str:
    """Return a string as a YAML scalar, with quotes if YAML would read it as another value without them."""
    try:
        plain = yaml.safe_load(f"a: {value}") == {"a": value} and yaml.safe_load(f"[{value}]") == [value]
    except yaml.YAMLError:
        plain = False
    return value if plain else json.dumps(value, ensure_ascii=False)
