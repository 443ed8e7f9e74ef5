"""Makes a labelling project of a file with as little to configure as possible: the columns of texts are guessed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from vertune.core.artifact import Progress
from vertune.core.errors import DataError, NotFound, UnknownName
from vertune.core.kinds import Source, Task
from vertune.core.parse import build
from vertune.core.profile import ColumnProfile
from vertune.core.records import Note
from vertune.data.profile import profile_table
from vertune.steps.init import unreadable
from vertune.steps.init.tables import as_source, find_tables
from vertune.steps.init.written import name_of
from vertune.steps.label import Created, NewProject, label
from vertune.steps.label.further import Added, Further, add_records
from vertune.steps.label.settings import LabelHelp, ProjectSettings
from vertune.store import projects
from vertune.store.database import Database
from vertune.store.key import DEFAULT_CUSTOMER
from vertune.store.projects import Project


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be labelled."""

    path: Path
    task: str = "classify"
    labels: Sequence[str] = ()
    """Labels to choose from, besides those that the file contains."""
    texts: Sequence[str] = ()
    """The columns of the texts; without them, the columns that look most like texts are taken."""
    name: str | None = None
    """The name of the project; None means that of the file."""
    overlap: int = 1
    """How many annotators see each record."""


def project_of_file(database: Database, wanted: Wanted, progress: Progress | None = None) -> Created:
    """Return the project of this name as it is, with a note on wanted labels that it lacks, or make one of a file.

    Raises NotFound if there is no such file, UnknownName for a column that does not exist, and DataError if no row can be read, or if no
    column contains texts.
    """
    path = wanted.path
    _check_exists(path)
    name = wanted.name or name_of(path)
    with database.reading() as connection:
        there = next((one for one in projects.find(connection, DEFAULT_CUSTOMER) if one.name == name and one.state != "filling"), None)
    if there is not None:
        return Created(there, _missing(there, wanted.labels))
    source, frame = _read(path)
    kind: Task = build(Task, {"name": wanted.task})
    settings = ProjectSettings(labels=[LabelHelp(name=one) for one in wanted.labels], overlap=wanted.overlap)
    new = NewProject(name, DEFAULT_CUSTOMER, source, kind, fields=_fields(frame, kind, wanted.texts, str(path)), settings=settings)
    return label(database, new, progress)


def add_file(database: Database, path: Path, name: str, texts: Sequence[str] = (), progress: Progress | None = None) -> Added:
    """Add the records of a file to the project of this name; those that it has already are counted, and not added again.

    `texts` are the columns of the texts. Raises NotFound if there is no such file or project, and what `project_of_file` does of columns.
    """
    _check_exists(path)
    with database.reading() as connection:
        project = projects.get(connection, name, DEFAULT_CUSTOMER)
    source, frame = _read(path)
    kind: Task = build(Task, project.task)
    return add_records(database, Further(project, source, _fields(frame, kind, texts, str(path))), progress)


def _missing(project: Project, labels: Sequence[str]) -> list[Note]:
    """Return a note on labels that a project lacks; none if it has all."""
    known = {one["name"] for one in project.settings.get("labels", ())}
    new = [label for label in labels if label not in known]
    what = f"given labels are not in the project '{project.name}', which is opened as it is; add them on its page Settings"
    return [Note("label", what, len(new), len(labels))] if new else []


def _check_exists(path: Path) -> None:
    """Raise NotFound if there is no such file or folder."""
    if not path.exists():
        raise NotFound(f"There is no file or folder '{path}'. Name the file with the records to label.")


def _read(path: Path) -> tuple[Source, pl.DataFrame]:
    """Return the source of a file, and the rows that can be read; raise DataError if there are none."""
    source, _ = as_source(find_tables(path).paths["train"], {}).detect()
    frame = source.read().lazy().collect()
    readable = frame.filter(pl.col("__error").is_null())
    if readable.is_empty():
        raise DataError(unreadable(frame, str(path)) or f"{path} contains no rows. Check how the file was written.")
    return source, readable


def _fields(frame: pl.DataFrame, task: Task, texts: Sequence[str], where: str) -> dict[str, str | list[str]]:
    """Return the columns that the fields of texts are read from: those of their names, those that are named, or the most likely ones."""
    inputs = [column.name for column in task.input_columns if column.type == "text"]
    if texts:
        for one in texts:
            if one not in frame.columns:
                raise UnknownName("column", one, [column for column in frame.columns if not column.startswith("__")], where)
        return dict(zip(inputs, texts, strict=False))
    needed = [column.name for column in task.input_columns if column.type == "text" and column.required]
    if all(name in frame.columns for name in needed):
        return {}
    taken = {column.name for column in task.columns} & set(frame.columns)
    found = [one for one in profile_table(frame).columns if one.kind in ("text", "category", "id") and one.name not in taken]
    likely = sorted(found, key=_likeness, reverse=True)[: len(needed)]
    if len(likely) < len(needed):
        raise DataError(
            f"{where} has {len(found)} columns with texts, but the task '{task.name}' reads {len(needed)}. Name them with --text."
        )
    chosen = {one.name for one in likely}
    return dict(zip(needed, [name for name in frame.columns if name in chosen], strict=True))


def _likeness(column: ColumnProfile) -> tuple[float, ...]:
    """Return how much a column looks like the texts of a table, for a comparison."""
    return column.kind == "text", column.role("text"), column.length
