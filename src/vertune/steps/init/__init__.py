"""init: guesses which task a file of labelled rows is for, and from which columns; writes the guess as a commented config."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from vertune.core import part
from vertune.core.columns import only
from vertune.core.config import dump
from vertune.core.errors import DataError, NotFound, UnknownName, VertuneError
from vertune.core.kinds import Encoder, Task
from vertune.core.language import Language, detect
from vertune.core.parse import build
from vertune.core.profile import Guess, TableProfile
from vertune.data import describe, profile
from vertune.data.fields import map_fields
from vertune.reports.scales import plural
from vertune.steps.init.result import DatasetGuess
from vertune.steps.init.tables import as_config, as_source, find_tables, is_data
from vertune.steps.init.written import guess_as_yaml, name_of

_LEAST_SCORE = 0.3
"""Least score of a guess; if no task has it, no column looks like a label."""
_WEAK_SCORE = 0.4
"""Score below which a guess gets a warning."""
_CLOSE = 0.25
"""Largest difference to the best score of a guess that is tried if the rows contradict the best one."""
_SAMPLE = 2_000
"""Number of rows on which a guess is tried."""
_MOST_GRADES = 10
"""Number of different whole numbers up to which they may be grades as well as classes."""
_FEWEST_ROWS = 10
"""Number of rows below which a table does not show what its columns contain."""
_NAMED_LABEL = 0.6
"""How strongly the name of a column must suggest a label, for a sentence about why it can't be one."""
_FACTS = frozenset({"id", "date", "number", "other"})
"""Kinds of columns that seldom are an input or an answer, if a guess leaves them out."""
_ALTERNATIVES = 3
"""Largest number of other guesses that are named."""


def init(
    path: Path,
    texts: Sequence[str] = (),
    label: str | None = None,
    task: Task | str | None = None,
    options: Mapping[str, Any] | None = None,
) -> DatasetGuess:
    """Guess the task for a file or folder of labelled rows, and the columns that contain the inputs and the labels.

    Files with validation and test rows are searched beside the file, or in the folder. If the caller passes column names (`texts`,
    `label`), a task, or options of the source (such as `sheet`), these are not guessed. Raises NotFound if the path does not exist,
    UnknownName for a column that does not exist, DataError if no row can be read, or no column can be the text or the label.
    """
    if not path.exists():
        raise NotFound(f"There is no file or folder '{path}'. Name the file with your labelled records.")
    tables = find_tables(path)
    source, notes = as_source(tables.paths["train"], options or {}).detect()
    frame = source.read().lazy().collect()
    readable = frame.filter(pl.col("__error").is_null())
    if readable.is_empty():
        raise DataError(unreadable(frame, str(path)) or f"{path} contains no rows. Check how the file was written.")
    guess = guess_frame(readable, str(path), texts, label, task)
    guess.source = as_config(source)
    guess.notes[:0] = [*tables.notes, *notes]
    warning = unreadable(frame, str(path))
    guess.warnings[:0] = [warning] if warning else []
    for split, other in tables.paths.items():
        if split != "train":
            _add_table(guess, split, other, options or {})
    return guess


def guess_frame(
    frame: pl.DataFrame, where: str, texts: Sequence[str] = (), label: str | None = None, task: Task | str | None = None
) -> DatasetGuess:
    """Guess the task for a frame of labelled rows, and the columns that contain the inputs and the labels.

    `where` names the frame in messages. If the caller passes column names (`texts`, `label`) or a task, these are not guessed.
    """
    table = profile.profile_table(frame.select(pl.exclude("^__.*$")), texts, label)
    known = [column.name for column in table.columns]
    for name in (*texts, *([label] if label else ())):
        if name not in known:
            raise UnknownName("column", name, known, where)
    split = next((column for column in table.columns if profile.names_splits(frame, column) and column.name not in (*texts, label)), None)
    readable = table if split is None else table.without(split)
    tasks = _tasks() if task is None else [task if isinstance(task, Task) else build(Task, task)]
    ranked = sorted(_guesses(tasks, readable), key=lambda found: -found[1].score)
    if not ranked or (task is None and label is None and not texts and ranked[0][1].score < _LEAST_SCORE):
        raise DataError(_nothing_found(readable, where, tasks))
    chosen = _chosen(frame, table, ranked, None if split is None else split.name)
    if task is None and label is None and ranked[0][1].score < _WEAK_SCORE:
        chosen.warnings.append(
            "This guess is weak: no column looks clearly like the answer. Name it with --label, or the task with --task."
        )
    return chosen


def unreadable(frame: pl.DataFrame, where: str) -> str | None:
    """Return a sentence about the rows of a table that can't be read: how many, and why the first one can't; None if all can be read."""
    bad = frame.filter(pl.col("__error").is_not_null())
    if bad.is_empty():
        return None
    first = bad.row(0, named=True)
    return (
        f"{bad.height:,} of {plural(frame.height, 'row')} of {where} can't be read. The first is row {first['__row']}: {first['__error']}. "
        "Correct these rows, or name the encoding, delimiter or source in the config."
    )


def _tasks() -> list[Task]:
    """Return all tasks with their default options."""
    kinds = (part.find("tasks", name) for name in part.names("tasks"))
    return [kind() for kind in kinds if issubclass(kind, Task)]


def _guesses(tasks: Sequence[Task], table: TableProfile) -> list[tuple[Task, Guess]]:
    """Return the guess of each task that can read the table, with the task and the options that the guess needs."""
    found = []
    for task in tasks:
        guess = task.guess(table)
        if guess is not None:
            found.append((build(Task, {**dump(task), **guess.options}), guess))
    return found


def _chosen(frame: pl.DataFrame, table: TableProfile, ranked: Sequence[tuple[Task, Guess]], split: str | None) -> DatasetGuess:
    """Return the best guess that the rows do not contradict; if they contradict all of the best ones, the best with a warning."""
    tried = [(task, guess, _Trial.of(frame, task, guess)) for task, guess in ranked if guess.score >= ranked[0][1].score - _CLOSE]
    task, guess, trial = next((one for one in tried if not one[2].problem), tried[0])
    result = DatasetGuess(
        rows=frame.height, task=task.name, fields=guess.fields, reasons=guess.reasons, columns=table.columns, options=guess.options,
        encoder=_encoder(task), language=_language(frame, task, guess), split=split,
        examples=trial.examples, warnings=[trial.problem] if trial.problem else [],
    )  # fmt: skip
    result.alternatives += _alternatives(table, ranked, task, guess)[:_ALTERNATIVES]
    taken = {name for columns in guess.fields.values() for name in columns} | {split}
    # the columns that somebody may want to predict or read come first, because the list is cut where it is printed
    rest = sorted((column for column in table.columns if column.name not in taken), key=lambda column: column.kind in _FACTS)
    unused = [f"{column.name} ({column.description})" for column in rest]
    result.alternatives += [f"not read: {'; '.join(unused)}"] if unused else []
    return result


def _alternatives(table: TableProfile, ranked: Sequence[tuple[Task, Guess]], task: Task, guess: Guess) -> list[str]:
    """Return a sentence about each other guess that is nearly as good: the chosen task with another target, or another task.

    Whole numbers of which there are few are grades or classes, so that the tasks that read them are named in any case.
    """
    targets = _targets(task, guess)
    grades = {column.name for column in table.columns if column.whole and column.unique <= _MOST_GRADES}
    least = max(_LEAST_SCORE, guess.score - _CLOSE)
    near = [(task, one) for one in _other_targets(table, task, targets)]
    near += [(other, one) for other, one in ranked if one is not guess]
    shown = [(other, one) for other, one in near if one.score > least or (_targets(other, one) == targets and grades.issuperset(targets))]
    found = []
    for other, one in shown:
        read, of = _inputs(other, one), _targets(other, one)
        if set(of) & set(read):
            continue
        options = [f"--task {other.name}"] if other.name != task.name else []
        options += [f"--text {_quoted(name)}" for name in read] if read != _inputs(task, guess) else []
        options += [f"--label {_quoted(of[0])}"] if len(of) == 1 and of != targets else []
        found.append(f"also possible: {other.name} of {_listed(read)}{f' with {_listed(of)}' if of else ''}: {' '.join(options)}")
    return found


def _other_targets(table: TableProfile, task: Task, targets: Sequence[str]) -> list[Guess]:
    """Return the guesses of a task for the columns that are left if its best target is left out, then the next one, and so on."""
    found: list[Guess] = []
    taken = set(targets)
    while table.label is None and len(found) < _ALTERNATIVES:
        guess = task.guess(table.without(*(column for column in table.columns if column.name in taken)))
        if guess is None or not _targets(task, guess):
            break
        found.append(guess)
        taken |= set(_targets(task, guess))
    return found


def _inputs(task: Task, guess: Guess) -> list[str]:
    """Return the columns that a task reads its inputs from."""
    return [name for column in task.input_columns for name in guess.fields.get(column.name, ())]


def _targets(task: Task, guess: Guess) -> list[str]:
    """Return the columns that a task reads its expected answers from."""
    return [name for column in task.target_columns for name in guess.fields.get(column.name, ())]


def _quoted(name: str) -> str:
    """Return the name of a column as an argument of a command, in quotes where a shell needs them."""
    return name if re.fullmatch(r"[\w.-]+", name) else shlex.quote(name)


def _listed(names: Sequence[str]) -> str:
    """List the names of columns, up to four."""
    return ", ".join(names[:4]) + (" …" if len(names) > 4 else "")


def _encoder(task: Task) -> str | None:
    """Return the name of an encoder that reads the inputs of a task; None if they are texts, which the default encoder reads."""
    types = {column.type for column in task.input_columns}
    if types == {"text"}:
        return None
    for name in part.names("encoders"):
        kind = part.find("encoders", name)
        if issubclass(kind, Encoder) and types <= kind.types:
            return name
    return None


def _language(frame: pl.DataFrame, task: Task, guess: Guess) -> Language | None:
    """Detect the language of the input texts in the first rows; return None if a task reads other inputs."""
    inputs = [column for column in task.input_columns if column.name in guess.fields]
    if any(column.type != "text" for column in inputs):
        return None
    names = [name for column in inputs for name in guess.fields[column.name]]
    return detect([str(text) for row in only(frame, names).head(_SAMPLE).iter_rows() for text in row if text is not None])


@dataclass(frozen=True, slots=True)
class _Trial:
    """What happens if a task reads the first rows of a table as guessed: examples, and what is wrong, if anything."""

    examples: list[dict[str, Any]]
    problem: str = ""
    """A sentence about what is probably wrong; empty if nothing is."""

    @classmethod
    def of(cls, frame: pl.DataFrame, task: Task, guess: Guess) -> _Trial:
        """Let a task read the first rows of a table as guessed."""
        marked = frame.head(_SAMPLE)
        if "__row" not in marked.columns:
            marked = marked.with_columns(pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("__row"), pl.lit("").alias("__file"))
        fields = {name: columns[0] if len(columns) == 1 else columns for name, columns in guess.fields.items()}
        try:
            cleaned = task.clean(map_fields(marked, fields, task).frame.drop("__error", strict=False))
        except VertuneError as error:
            return cls([], str(error))
        examples = describe.examples(cleaned.frame, task)
        if len(cleaned.rejected) > marked.height / 2:
            first = cleaned.rejected[0]
            return cls(
                examples,
                f"{len(cleaned.rejected):,} of the first {marked.height:,} rows can't be used. The first is row {first['row']}: "
                f"{first['reason']}. Check which columns are read.",
            )
        return cls(examples, describe.contradiction(*describe.contradictions(cleaned.frame, task)) or "")


def _add_table(guess: DatasetGuess, split: str, path: Path, options: Mapping[str, Any]) -> None:
    """Add the file of a further split to a guess, if it has all columns that the guess reads; else add a note."""
    try:
        source, _ = as_source(path, options).detect()
        present = source.read().lazy().collect_schema().names()
    except VertuneError as error:
        guess.warnings.append(f"{path} is not used for {split}, because it can't be read: {error}")
        return
    missing = [column for columns in guess.fields.values() for column in columns if column not in present]
    if missing:
        guess.notes.append(f"{path.name} is not used for {split}, because it has no column '{missing[0]}'.")
    elif not guess.split:
        guess.others[split] = as_config(source)


def _nothing_found(table: TableProfile, where: str, tasks: Sequence[Task]) -> str:
    """Return the message for a table that no task can read: what is probably wrong, and the content of its columns."""
    columns = "; ".join(f"{column.name} ({column.description})" for column in table.columns[:20]) or "none"
    wanted = f"the task '{tasks[0].name}'" if len(tasks) == 1 else "any task"
    why = _why_no_label(table) if len(tasks) > 1 else None
    return (
        f"No columns of {where} look like the texts and labels of {wanted}{f'. {why} Its' if why else '; its'} columns are: {columns}. "
        "Name the label with --label and the text with --text (in Python label= and text=), or add a column of labels. "
        "To give labels in the browser: vertune label DATA --labels A,B"
    )


def _why_no_label(table: TableProfile) -> str | None:
    """Return a sentence about what keeps the column with the name of a label from being one; None if there is no such column.

    If the table has only one column, the sentence says how it may be divided.
    """
    if len(table.columns) == 1:
        return (
            "There is only one column: if a character divides it into several, name this character in a config: "
            "`source: {name: csv, path: FILE, delimiter: CHARACTER}`."
        )
    named = max(table.columns, key=lambda column: column.role("label"), default=None)
    if named is None or named.role("label") < _NAMED_LABEL:
        return None
    about = f"The column '{named.name}' has the name of a label, but"
    if named.unique == 1 and named.filled > 1:
        return f"{about} all its values are the same: add rows with other labels."
    if table.rows < _FEWEST_ROWS:
        return f"{about} {plural(table.rows, 'row')} can't show it: add rows; some hundred are recommended."
    if named.filled < table.rows / 2:
        return (
            f"{about} only {named.filled:,} of {table.rows:,} rows have a value (a merged cell of a spreadsheet has its value in the first "
            "row alone): fill in the others."
        )
    if named.repeats < 2:
        return f"{about} most of its values occur only once, and a model needs several rows of each label: add rows."
    return None


__all__ = ["DatasetGuess", "guess_as_yaml", "guess_frame", "init", "is_data", "name_of"]
