"""Feedback of users that a server stored: the inputs that they were asked about, and the right answers that they named.

The columns are the fields of the task, such as `text` and `label`, and what says more about each row: `feedback_id`, `feedback_at`,
`feedback_author`, `feedback_key`, `feedback_trust`, `feedback_verdict` and `feedback_score`, by which rows can be filtered. Feedback
without a right answer, or on texts that the server does not keep, is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import polars as pl
from pydantic import Field, field_validator

from vertune.core.errors import ConfigError, NoRows
from vertune.core.ids import first_id_of
from vertune.core.kinds import Source
from vertune.masking import standard_masker
from vertune.sources import _stored, _table


class Feedback(Source):
    """Source that reads feedback from the database of a server; the fields below are its options."""

    vertical: str
    """The name of the vertical (model) whose feedback is read."""
    home: str | None = None
    """The home folder of the server; None means that of this process. VERTUNE_DATABASE names a PostgreSQL database instead."""
    customer: str | None = None
    """Only feedback of this customer."""
    author: str | None = None
    """Only feedback of this author."""
    since: str | None = None
    """Only feedback that arrived at this time or later, such as 2030-01-31."""
    trust: float = Field(default=0.0, ge=0, le=1)
    """Only feedback that is trusted at least this much, from 0 to 1."""

    @field_validator("since")
    @classmethod
    def _is_time(cls, value: str | None) -> str | None:
        try:
            return value if value is None else datetime.fromisoformat(value).isoformat()
        except ValueError as error:
            raise ConfigError(f"The option 'since' is '{value}'; expected a time. Write it as 2030-01-31 or 2030-01-31T12:00.") from error

    def read(self) -> pl.DataFrame:
        """Return the feedback in the order of its arrival.

        Raises NotFound if there is no database, and NoRows if there is no feedback that a model can learn from.
        """
        rows = list(self._rows())
        if not rows:
            raise NoRows(
                f"There is no feedback on '{self.vertical}' with a text and a right answer, but at least one row is needed. List it "
                "with GET /v1/feedback, or set fewer options of the source."
            )
        return _table.marked(pl.from_dicts(rows, infer_schema_length=None), f"feedback on {self.vertical}")

    @classmethod
    def sample(cls, folder: Path) -> Self:
        """Store feedback on three texts in a new home, and return the source that reads it."""
        from vertune.store.database import Database, file_in, format_time
        from vertune.store.feedback import add

        about = {"customer": "default", "vertical": "support", "verdict": "wrong", "trust": 1.0, "digest": b""}
        with closing(Database(file_in(folder))) as database:
            for number, (text, label) in enumerate(_table.SAMPLE):
                at = datetime(2030, 1, 1, 12, number, tzinfo=UTC)
                said = {"record": json.dumps({"text": text}), "target": json.dumps({"label": label})}
                add(database, {"id": first_id_of(at), "at": format_time(at), **about, **said})
        return cls(vertical="support", home=str(folder))

    def _rows(self) -> Iterator[dict[str, Any]]:
        with _stored.opened(self.home, "feedback") as database:
            from vertune.store.feedback import Filter, each

            author = None if self.author is None else standard_masker().text(self.author)  # as the server stores it
            wanted = Filter(self.customer, [self.vertical], None, author, after=self._first_id(), least_trust=self.trust, usable=True)
            for one in each(database, wanted):
                yield {**one.as_row(), "feedback_key": one.key}

    def _first_id(self) -> str:
        return "" if self.since is None else first_id_of(datetime.fromisoformat(self.since))
