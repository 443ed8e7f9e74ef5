"""A task's inputs: how they are declared, checked, read as one view and shown; knows nothing of what is answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from vertune.core.errors import ConfigError
from vertune.core.kinds import Task
from vertune.core.records import Column, Record, View
from vertune.tasks import _rows

if TYPE_CHECKING:
    import polars as pl

TEXT = Column("text", "The text.")
PAIR = Column("text_pair", "A second text that belongs to the first.", required=False)
_SHOWN = 300


class SingleView(Task):
    """A task that reads all inputs of a record in one view."""

    inputs: dict[str, Literal["text", "number", "category"]] = Field(
        default={},
        description="Fields to read instead of the task's texts, each with its type, such as `{age: number, job: category}`. A number "
        "or a category may be missing. The encoder must take these types: `text` takes texts alone.",
    )

    def model_post_init(self, context: Any) -> None:
        """Give this instance the columns that `inputs` names; ConfigError where one has the name of another column."""
        if not self.inputs:
            return
        others = tuple(column for column in type(self).columns if column.role != "input")
        taken = sorted({column.name for column in others} & set(self.inputs))
        if taken:
            raise ConfigError(f"The task '{self.name}' has the input '{taken[0]}', which is the name of its answer. Rename the input.")
        # the class is frozen: an entry of the instance hides the class's columns and is no option
        self.__dict__["columns"] = (*(Column(name, f"A {kind}.", type=kind) for name, kind in self.inputs.items()), *others)

    def views(self, columns: Sequence[str]) -> tuple[View, ...]:
        """One view of all inputs that there are; where all are texts, a long one may be cut into windows."""
        read = [column for column in self.input_columns if column.required or column.name in columns]
        texts = all(column.type == "text" for column in read)
        types = () if texts else tuple(column.type for column in read)
        return (View("text" if texts else "record", tuple(column.name for column in read), windows=texts, types=types),)  # type: ignore[arg-type]

    def check_inputs(self, frame: pl.DataFrame) -> _rows.Checks:
        """The checks and conversions of the inputs; DataError where a column is missing or holds another type."""
        import polars as pl

        _rows.need(frame, self.columns, self.name)
        checks = _rows.Checks([column.name for column in self.columns])
        there = [column for column in self.input_columns if column.name in frame.columns]
        for column in there:
            _check_input(checks, frame, column, may_be_empty=bool(self.inputs))
        if self.inputs:
            checks.problems.append((pl.all_horizontal(_rows.blank(column.name) for column in there), "all inputs are empty"))
        return checks


def _check_input(checks: _rows.Checks, frame: pl.DataFrame, column: Column, may_be_empty: bool) -> None:
    """Add the checks and conversions of one input."""
    name = column.name
    if column.type == "number":
        raw, number = _rows.number(frame, name)
        problem = raw.is_not_null() & (raw != "") & ~number.is_finite().fill_null(False)
        checks.problems.append((problem, _rows.not_finite(name, raw)))
        checks.results.append(number.alias(name))
    elif column.type == "category":
        checks.results.append(_rows.categories(frame, name).alias(name))
        checks.changes.append(_rows.trimmed(name, "categories"))
    else:
        if column.required and not may_be_empty:
            checks.problems.append((_rows.blank(name), f"{name} is empty"))
        checks.results.append(_rows.string(name).fill_null("").alias(name))


def shown(record: Record, columns: Sequence[Column]) -> dict[str, Any]:
    """The inputs of a record as a report shows them: an empty one is left out, a long text is cut."""
    return {column.name: _cut(str(record[column.name])) for column in columns if record.get(column.name) not in (None, "")}


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def as_texts(records: Sequence[Record], columns: Sequence[Column]) -> list[Record]:
    """Records as baselines on texts read them: the first text as `text`, a second one as `text_pair`.

    Inputs that are not one text or two are joined to one, as `name: value`.
    """
    names = [column.name for column in columns]
    if len(columns) <= 2 and all(column.type == "text" for column in columns):
        return [dict(zip(("text", "text_pair"), (record.get(name) for name in names), strict=False)) for record in records]
    return [{"text": "; ".join(f"{name}: {record[name]}" for name in names if record.get(name) is not None)} for record in records]
