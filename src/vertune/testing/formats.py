"""Checks that a format, which writes labelled records, obeys its contract: what it writes, a source of vertune reads again.

Authors of a format run the checks on it, with a folder for its files:

    for check in CHECKS:
        check(MyFormat(), folder)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vertune.core import part
from vertune.core.columns import only
from vertune.core.config import source_of
from vertune.core.errors import ConfigError
from vertune.core.format import Format, Labelled
from vertune.core.kinds import Source, Task
from vertune.core.parse import build
from vertune.data.fields import map_fields

TEXTS = (
    "Ada wrote it.",
    "他说：“我的卡被吞了！”\n第二行",
    '🎉 a "quoted", text;\twith a tab',
    "it's a\u2028line",
    "'=1+1' 李娜 in Oslo, 😀!",
)
"""Texts with what damages files: line ends, quotes, delimiters, characters outside of the basic plane."""
LABELS = ("plain", "其他, 等", 'with "quotes"')


def tasks() -> list[Task]:
    """Return every task whose records must have labels."""
    found = [build(Task, {"name": name}) for name in part.names("tasks")]
    return [task for task in found if any(column.required for column in task.target_columns)]


def rows_of(task: Task, texts: Sequence[str] = TEXTS) -> list[Labelled]:
    """Return labelled records of a task: inputs made of these texts, and targets of every kind that its target field allows."""
    rows = []
    for number, text in enumerate(texts):
        record: dict[str, Any] = {column.name: f"{column.name}: {text}" for column in task.input_columns if column.required}
        marked = str(record.get(task.marked_input) or text)
        target = {column.name: _value(column.type, number, marked) for column in task.target_columns}
        about: dict[str, Any] = {"at": "2030-01-31T12:00:00+00:00", "seconds": 1.5 * number, "decision": number == 1}
        rows.append(Labelled(record, target, number, f"annotator {number}", **about))
    return rows


def _value(kind: str, number: int, text: str) -> Any:
    """Return a target value; the first record of a task with several values at once has none."""
    whole = text.find(" ") + 1, len(text.rstrip())
    end = next((place for place in range(whole[0] + 1, whole[1]) if not text[place].isalnum()), whole[1])
    values: dict[str, Any] = {
        "label": LABELS[number % len(LABELS)],
        "labels": [LABELS[place] for place in range(number % (len(LABELS) + 1))],
        "number": number - 1.25,
        "spans": [{"start": 0, "end": 1, "label": "A"}, {"start": whole[0], "end": end, "label": "job title"}][: number % 3],
        "answers": [{"start": whole[0], "text": text[whole[0] : end]}][: number % 2],
    }
    return values[kind]


def read_again(form: Format, task: Task, rows: Sequence[Labelled], folder: Path) -> list[dict[str, Any]]:
    """Write labelled records to a file, and return the records that the source finds in it which recognises its content."""
    path = folder / f"{form.name}-{task.name}{form.suffix}"
    path.write_bytes(b"".join(form.write(task, rows)))
    source = build(Source, source_of(str(path)))
    frame = source.read().lazy().collect()
    assert frame["__error"].null_count() == frame.height, f"{form.name}: {source.name} can't read {frame['__error'].drop_nulls().to_list()}"
    fields = {name: column for name, column in form.columns(task).items() if column in frame.columns}
    table = map_fields(frame, fields, task).frame
    cleaned = task.resolve(table).clean(table)
    assert not cleaned.rejected, f"{form.name}: rows are rejected: {cleaned.rejected}"
    found: list[dict[str, Any]] = only(cleaned.frame, [name for name in fields if name in cleaned.frame.columns]).to_dicts()
    return found


def expected(rows: Sequence[Labelled]) -> list[dict[str, Any]]:
    """Return the records that must be read again."""
    return [{**row.record, **row.target} for row in rows]


def _written(form: Format) -> list[Task]:
    """Return the tasks that a format can express."""
    return [task for task in tasks() if form.refusal(task) is None]


def check_description(form: Format, folder: Path) -> None:
    """Check that a format has a media type, an ending, and at least one task that it can express."""
    assert "/" in form.media_type, f"{form.name}: '{form.media_type}' is no media type"
    assert form.suffix == f".{form.suffix.lower().removeprefix('.')}", f"{form.name}: the ending '{form.suffix}' must begin with a dot"
    assert _written(form), f"{form.name}: it can express no task"


def check_read_again(form: Format, folder: Path) -> None:
    """Check that a source reads exactly the records and labels that were written, of every task that the format can express."""
    for task in _written(form):
        rows = rows_of(task)
        found = read_again(form, task, rows, folder)
        assert found == expected(rows), f"{form.name}: of the task {task.name}, {found} is read instead of {expected(rows)}"


def check_without_more(form: Format, folder: Path) -> None:
    """Check that records are written of which only the label is known."""
    for task in _written(form):
        rows = [Labelled(row.record, row.target) for row in rows_of(task)]
        assert read_again(form, task, rows, folder) == expected(rows), f"{form.name}: numbers or annotators must not be needed"


def check_several_annotators(form: Format, folder: Path) -> None:
    """Check that labels of several annotators on the same records are read again as a row each."""
    for task in _written(form):
        rows = [replace(row, annotator=name) for row in rows_of(task) for name in ("Ada", "李娜")]
        assert read_again(form, task, rows, folder) == expected(rows), f"{form.name}: labels of several annotators are lost or changed"


def check_repeatable(form: Format, folder: Path) -> None:
    """Check that the same labels give the same bytes, in pieces of bytes."""
    for task in _written(form):
        pieces = list(form.write(task, rows_of(task)))
        assert all(isinstance(piece, bytes) for piece in pieces), f"{form.name}: a piece of the file is not bytes"
        assert b"".join(pieces) == b"".join(form.write(task, rows_of(task))), f"{form.name}: the same labels give another file"


def check_nothing(form: Format, folder: Path) -> None:
    """Check that a file is written where there are no labels."""
    for task in _written(form):
        b"".join(form.write(task, []))


def check_other_tasks_are_refused(form: Format, folder: Path) -> None:
    """Check that a task that the format can't express is refused with a reason, before anything is written."""
    for task in tasks():
        if form.refusal(task) is None:
            continue
        refused = None
        try:
            form.write(task, rows_of(task))
        except ConfigError as error:
            refused = str(error)
        assert refused is not None, f"{form.name}: the task {task.name} must be refused"
        assert form.name in refused, f"{form.name}: the message does not name the format: {refused}"


CHECKS: tuple[Callable[[Format, Path], None], ...] = (
    check_description,
    check_read_again,
    check_without_more,
    check_several_annotators,
    check_repeatable,
    check_nothing,
    check_other_tasks_are_refused,
)
