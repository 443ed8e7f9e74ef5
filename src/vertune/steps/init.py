"""init: looks at labelled records and guesses a config, with the reason of each guess; knows nothing of terminals."""

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
from vertune.data import profile as looks
from vertune.data.profile import ColumnProfile
from vertune.steps.predict import read_rows

_SAMPLE = 20_000
_PAIRS = (
    ("text", "text_pair"), ("text_a", "text_b"), ("text1", "text2"), ("sentence1", "sentence2"), ("sentence_a", "sentence_b"),
    ("question1", "question2"), ("premise", "hypothesis"), ("query", "title"), ("query", "passage"), ("query", "document"),
    ("question", "answer"), ("question", "passage"), ("sentence", "target"),
)  # fmt: skip
"""Columns that name the two sides of a pair."""
_TESTS = {"validation": ("validation", "valid", "dev", "val"), "test": ("test",)}


@dataclass(slots=True)
class DatasetGuess:
    """What a file seems to hold."""

    where: str
    rows: int
    task: str
    fields: dict[str, list[str]]
    """The columns that each field of the task is read from."""
    reasons: dict[str, str]
    """Why each field is read from there, and why this task."""
    columns: list[ColumnProfile]
    validation: Path | None = None
    test: Path | None = None
    split: str | None = None
    """A column that says which split a row belongs to."""
    notes: list[str] = field(default_factory=list)


def init(path: Path, texts: Sequence[str] = (), label: str | None = None, task: Task | str | None = None) -> DatasetGuess:
    """Guess source, fields and task of a file; what the caller names is taken as said.

    Raises NotFound when there is no such path, UnknownName for a column that is not there, DataError when no column can be
    the text or the label.
    """
    if not path.exists():
        raise NotFound(f"There is no file or folder '{path}'. Give the path of your labelled records.")
    guess = guess_frame(read_rows(path).filter(pl.col("__error").is_null()), str(path), texts, label, task)
    for split, names in _TESTS.items():
        setattr(guess, split, None if guess.split else _sibling(path, names))
    return guess


def guess_frame(
    frame: pl.DataFrame, where: str, texts: Sequence[str] = (), label: str | None = None, task: Task | str | None = None
) -> DatasetGuess:
    """Guess the fields and the task of a frame; `where` names it in messages."""
    frame = frame.select(pl.exclude("^__.*$"))
    found = looks.profile_columns(frame.head(_SAMPLE))
    known = [column.name for column in found]
    for name in (*texts, *([label] if label else ())):
        if name not in known:
            raise UnknownName("column", name, known, where)
    guess = DatasetGuess(
        where, frame.height, task=task.name if isinstance(task, Task) else task or "", fields={},
        reasons={"task": "as it was asked for"}, columns=found,
    )  # fmt: skip
    split = next((column for column in found if looks.names_splits(frame, column) and column.name not in (*texts, label)), None)
    if split:
        guess.split = split.name
        found = [column for column in found if column is not split]
    if task:
        columns = task.columns if isinstance(task, Task) else getattr(part.find("tasks", task), "columns", ())
        _asked(guess, found, columns, (texts, label))
    elif texts or label or not _structured(guess, found):
        _labelled(guess, found, texts, label)
    return guess


def _asked(guess: DatasetGuess, found: list[ColumnProfile], columns: Sequence[Column], named: tuple[Sequence[str], str | None]) -> None:
    """Fields of a task that the caller names: by their own names where there are such columns, else by their looks."""
    texts, label = named
    by_name = {column.name: column for column in found}
    inputs = [column.name for column in columns if column.role == "input"]
    targets = [column.name for column in columns if column.role == "target"]
    chosen = by_name.get(label or "") or next((by_name[name] for name in targets if name in by_name and name not in texts), None)
    if chosen is None and any(column.required for column in columns if column.role == "target"):
        chosen = _target(guess, found, texts)
    own = [name for name in inputs if name in by_name]
    read = list(texts) or own
    places = inputs if texts or not own else own
    if not read:
        others = [column for column in found if column is not chosen]
        pair = _pair(others) if len(inputs) > 1 else ()
        read = list(pair) or [column.name for column in _best(others, [], 1)]
        places = inputs if pair else inputs[:1]
    _read(guess, places, [by_name[name] for name in read])
    if chosen is not None:
        target = chosen.name if chosen.name in targets else targets[0]
        guess.fields[target], guess.reasons[target] = [chosen.name], chosen.description


def _read(guess: DatasetGuess, inputs: Sequence[str], read: Sequence[ColumnProfile]) -> None:
    """Which columns the inputs of the task are read from; more columns than inputs are joined."""
    if len(read) > len(inputs) or (len(read) > 1 and not all(column.kind in {"text", "word"} for column in read)):
        guess.fields[inputs[0]] = [column.name for column in read]
        guess.reasons[inputs[0]] = "joined as `name: value`"
        return
    for name, column in zip(inputs, read, strict=False):
        guess.fields[name], guess.reasons[name] = [column.name], column.description


def _structured(guess: DatasetGuess, found: list[ColumnProfile]) -> bool:
    """Spans and answers say their task by their structure."""
    spans = next((column for column in found if column.kind == "spans"), None)
    answers = next((column for column in found if column.kind == "answers"), None)
    names = {column.name for column in found}
    if answers and {"question", "context"} <= names:
        guess.task, guess.fields = "extract", {"question": ["question"], "context": ["context"], "answers": [answers.name]}
        guess.reasons = {"task": f"'{answers.name}' holds stretches of the context", "question": "by its name", "context": "by its name"}
        guess.reasons["answers"] = "a text and where it starts"
        return True
    if spans:
        text = _best(found, [spans], 1)
        guess.task, guess.fields = "tag", {"text": [text[0].name], "spans": [spans.name]}
        guess.reasons = {
            "task": f"'{spans.name}' holds marked stretches of the text",
            "text": text[0].description,
            "spans": "start, end, label",
        }
        return True
    return False


def _labelled(guess: DatasetGuess, found: list[ColumnProfile], texts: Sequence[str], label: str | None) -> None:
    """One column to be answered, one or two texts to read."""
    chosen = next((column for column in found if column.name == label), None) or _target(guess, found, texts)
    others = [column for column in found if column is not chosen]
    pair = _pair(others) if not texts else ()
    named = list(texts) or list(pair)
    read = [next(column for column in found if column.name == name) for name in named] or _best(others, [chosen], 1)
    guess.task, target, guess.reasons["task"] = _task(chosen, len(named) == 2)
    _read(guess, ("text", "text_pair") if named else ("text",), read)
    guess.fields[target], guess.reasons[target] = [chosen.name], chosen.description
    rest = [column.name for column in others if column not in read]
    if rest:
        guess.notes.append(f"not read: {', '.join(rest)}")


def _target(guess: DatasetGuess, found: list[ColumnProfile], texts: Sequence[str]) -> ColumnProfile:
    """The column that most looks like what must be answered."""
    able = [column for column in found if column.label_score > 0 and column.name not in texts]
    if not able or len(found) < 2:
        raise DataError(
            f"No column of {guess.where} looks like a label; its columns are {', '.join(column.name for column in found)}. "
            "Name the label with --label and the text with --text (in Python label= and text=), or add a column with it."
        )
    return max(able, key=lambda column: column.label_score)


def _task(column: ColumnProfile, pair: bool) -> tuple[str, str, str]:
    """The task that answers such a column, its field for it, and why."""
    if column.kind == "words":
        return "multilabel", "labels", f"'{column.name}' holds several words a row"
    if column.kind == "number":
        return "regress", "score", f"'{column.name}' holds numbers"
    if pair:
        return "match", "label", f"two texts, and '{column.name}' holds one of {column.unique} words"
    return "classify", "label", f"'{column.name}' holds one of {column.unique} words"


def _pair(columns: Sequence[ColumnProfile]) -> tuple[str, ...]:
    """Two columns whose names say that they are the sides of a pair."""
    lower = {column.name.lower().replace(" ", "_"): column.name for column in columns if column.kind in {"text", "word"}}
    stems = {re.sub(r"_?(1|a)$", "", name): name for name in lower if re.search(r"_?(1|a)$", name)}
    for stem, first in stems.items():
        for second in (first[:-1] + "2", first[:-1] + "b"):
            if stem and second in lower and second != first:
                return lower[first], lower[second]
    return next(((lower[a], lower[b]) for a, b in _PAIRS if a in lower and b in lower), ())


def _best(found: Sequence[ColumnProfile], taken: Sequence[ColumnProfile], count: int) -> list[ColumnProfile]:
    """The columns that most look like running text; all others, to be joined, where none does."""
    able = sorted((column for column in found if column not in taken and column.text_score > 0), key=lambda column: -column.text_score)
    rest = [column for column in found if column not in taken]
    if not rest:
        raise DataError(
            f"There is no column for the text beside {', '.join(column.name for column in taken)}. Add one, or check the delimiter."
        )
    return able[:count] or rest


def _sibling(path: Path, names: Sequence[str]) -> Path | None:
    """`test.csv` beside `train.csv`, `x_test.csv` beside `x_train.csv`."""
    if "train" not in path.name:
        return None
    candidates = [path.with_name(path.name.replace("train", name)) for name in names]
    return next((candidate for candidate in candidates if candidate.exists()), None)


def guess_as_yaml(guess: DatasetGuess, path: Path, folder: Path) -> str:
    """The guess as a commented YAML that `vertune fit` takes, with the path of its data relative to the folder that it will lie in."""
    shown = Counter(column.name for column in guess.columns)
    lines = [
        f"# Written by `vertune init` after a look at {path.name}: {guess.rows:,} rows, columns {', '.join(shown)}.",
        "# Every line can be changed; `vertune parts` shows what there is to choose from.",
        f"name: {name_of(path)}",
        "",
        "data:",
        f"  source: {_quoted(_relative(path, folder))}",
    ]
    for split in _TESTS:
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
        "base: minilm  # the pretrained model: an alias, an id of the Hugging Face hub, or a folder; for Chinese name a Chinese one",
        "method: auto  # tries what fits the time limit and keeps the better; or full, lora, head …",
        "training:",
        "  time_limit: 180  # seconds that `auto` may take",
        "",
    ]
    return "\n".join(lines)


def _split_lines(guess: DatasetGuess) -> list[str]:
    if guess.split:
        return [f"  split: {{name: given, by: {_quoted(guess.split)}}}  # its values name the splits"]
    if guess.test:
        return []
    return ["  split: stratified  # the same share of every label is kept for the test; or group, time, given"]


def name_of(path: Path) -> str:
    """A vertical's name after a file; after its folder where the file is only called train or data."""
    stem = path.stem.lower()
    if stem in {"train", "training", "data", "dataset", "all"} and path.absolute().parent.name:
        stem = path.absolute().parent.name.lower()
    cleaned = re.sub(r"[^a-z0-9]+", "-", stem).strip("-")[:60]
    return cleaned or "vertical"


def _relative(path: Path, folder: Path) -> str:
    absolute = path.absolute()
    return os.path.relpath(absolute, folder) if absolute.is_relative_to(folder.parent) else str(absolute)


def _quoted(value: str) -> str:
    """A text as one YAML scalar, in quotes where it would be read as something else."""
    try:
        plain = yaml.safe_load(f"a: {value}") == {"a": value} and yaml.safe_load(f"[{value}]") == [value]
    except yaml.YAMLError:
        plain = False
    return value if plain else json.dumps(value, ensure_ascii=False)
