"""Defines the input fields of a task, checks and converts their values, and formats them for reports.

Independent of what the task predicts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from vertune.core.errors import ConfigError
from vertune.core.kinds import Task
from vertune.core.numerals import Decimal
from vertune.core.records import Column, Record, View
from vertune.tasks import _rows

if TYPE_CHECKING:
    import polars as pl

TEXT = Column("text", "The text.")
PAIR = Column("text_pair", "A second text that belongs to the first.", required=False)
_SHOWN = 300
"""Greatest length of a text in a report, in characters."""


class SingleView(Task):
    """A task whose model reads all input fields of a record together, as one model input.

    The fields are a text and an optional second text or, instead, the fields that the option `inputs` lists.
    """

    inputs: dict[str, Literal["text", "number", "category"]] = Field(
        default={},
        description="Fields to use as inputs instead of `text` and `text_pair`, each with its type: `{age: number, job: category}`. "
        "A number or a category may be missing in a row. The encoder must support these types: the encoder `text` supports only texts.",
    )

    decimal: Decimal = "point"
    """The decimal mark of numbers that are written as texts: `comma` reads 1.234,5 as 1234.5, `point` reads 1,234.5 so."""

    def model_post_init(self, context: Any) -> None:
        """Use the fields in the option `inputs`, if it lists any, as the input columns of this task.

        Pydantic calls this method after it has validated the options. Raises ConfigError if a field has the same name
        as the column that the task predicts.
        """
        if not self.inputs:
            return
        others = tuple(column for column in type(self).columns if column.role != "input")
        taken = sorted({column.name for column in others} & set(self.inputs))
        if taken:
            raise ConfigError(
                f"The task '{self.name}' has an input named '{taken[0]}', but the field that the task predicts has the same name. "
                "Rename the input in the option `inputs`."
            )
        # the model is frozen; an entry in __dict__ overrides the class's columns without becoming an option
        self.__dict__["columns"] = (*(Column(name, f"A {kind}.", type=kind) for name, kind in self.inputs.items()), *others)

    def views(self, columns: Sequence[str]) -> tuple[View, ...]:
        """Return one view (the definition of a model input), because the model reads all input fields of a record together.

        The view contains all required input fields, and those optional ones that are in `columns`, the names of the
        columns of the data. If all fields in it are texts, a long text may be divided into windows (overlapping
        pieces).
        """
        read = [column for column in self.input_columns if column.required or column.name in columns]
        texts = all(column.type == "text" for column in read)
        types = () if texts else tuple(column.type for column in read)
        return (View("text" if texts else "record", tuple(column.name for column in read), windows=texts, types=types),)  # type: ignore[arg-type]

    def described(self, columns: Sequence[str], texts: Mapping[str, str]) -> dict[str, Record]:
        """Return, for each label, a record with the text about it; empty if the model reads more than one text of these columns."""
        view = self.views(columns)[0]
        readable = view.role == "text" and len(view.fields) == 1
        return {label: {view.fields[0]: text} for label, text in texts.items()} if readable else {}

    def check_inputs(self, frame: pl.DataFrame) -> _rows.Checks:
        """Return the checks and conversions of the input columns; `_rows.sift` applies them to the rows.

        Raises DataError if a required column is missing or a column has the wrong type.
        """
        import polars as pl

        _rows.need(frame, self.columns, self.name)
        checks = _rows.Checks([column.name for column in self.columns])
        present = [column for column in self.input_columns if column.name in frame.columns]
        for column in present:
            _check_input(checks, frame, column, self)
        if self.inputs:
            checks.problems.append((pl.all_horizontal(_rows.blank(column.name) for column in present), "all inputs are empty"))
        return checks


def _check_input(checks: _rows.Checks, frame: pl.DataFrame, column: Column, task: SingleView) -> None:
    """Add the checks and conversions of one input column to `checks`.

    A row whose text in a required column is blank is rejected, unless the option `inputs` of the task lists the inputs.
    """
    name = column.name
    if column.type == "number":
        raw, number = _rows.number(frame, name, task.decimal)
        problem = raw.is_not_null() & (raw != "") & ~number.is_finite().fill_null(False)
        checks.problems.append((problem, _rows.not_finite(name, raw)))
        checks.results.append(number.alias(name))
        checks.changes += _rows.separated(frame, name, task.decimal)
    elif column.type == "category":
        checks.results.append(_rows.categories(frame, name).alias(name))
        checks.changes.append(_rows.trimmed(name, "categories"))
    else:
        if column.required and not task.inputs:
            checks.problems.append((_rows.blank(name), f"{name} is empty"))
        checks.results.append(_rows.string(name).fill_null("").alias(name))


def shown(record: Record, columns: Sequence[Column]) -> dict[str, Any]:
    """Return the input values of a record for a report, by column name.

    Missing and empty values are left out. Each value is converted to text, and shortened if it has more than 300
    characters.
    """
    return {column.name: _cut(str(record[column.name])) for column in columns if record.get(column.name) not in (None, "")}


def _cut(text: str) -> str:
    """Return the text; if it has more than 300 characters, return its first 300 characters followed by an ellipsis."""
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


def as_texts(records: Sequence[Record], columns: Sequence[Column]) -> list[Record]:
    """Convert records to records with only the fields `text` and `text_pair`, for baselines that read only texts.

    If the inputs are one or two texts, the first becomes `text`, and the second, if there is one, `text_pair`.
    Otherwise, all inputs that have a value are joined in the field `text`, for example as `age: 30; job: nurse`.
    """
    names = [column.name for column in columns]
    if len(columns) <= 2 and all(column.type == "text" for column in columns):
        return [dict(zip(("text", "text_pair"), (record.get(name) for name in names), strict=False)) for record in records]
    return [{"text": "; ".join(f"{name}: {record[name]}" for name in names if record.get(name) is not None)} for record in records]
