"""Labels that annotators gave to the records of a labelling project, as training records.

The columns are the fields of the task, such as `text` and `label`, and what says more about each row: `labelled_by` (the annotators, or
the reviewer who decided), `labelled_at` and `labelled_decision`. Where annotators disagree, the project's setting `consensus` decides;
records that stay undecided are left out until a reviewer decides.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import polars as pl

from vertune.core.errors import NoRows
from vertune.core.kinds import Source, Task
from vertune.core.parse import build
from vertune.metrics.right_answers import right_answers
from vertune.sources import _stored, _table


class Labels(Source):
    """Source that reads labels from the database of a server; the fields below are its options."""

    project: str
    """The name of the labelling project."""
    home: str | None = None
    """The home folder of the server; None means that of this process. VERTUNE_DATABASE names a PostgreSQL database instead."""
    customer: str | None = None
    """The customer whose project is meant; None means `default`."""
    held: bool = False
    """Whether the records of the hold-out are read, on which reviewers decided, instead of all others."""

    def read(self) -> pl.DataFrame:
        """Return the records with a right answer, in the order of their numbers.

        Raises NotFound if there is no database or project, and NoRows if no record has a right answer.
        """
        rows = list(self._rows())
        if not rows:
            raise NoRows(
                f"No record of the project '{self.project}' has a right answer{' in the hold-out' if self.held else ''}, but at least one "
                "is needed. Label records, and decide where annotators disagree."
            )
        return _table.marked(pl.from_dicts(rows, infer_schema_length=None), f"labels of {self.project}")

    @classmethod
    def sample(cls, folder: Path) -> Self:
        """Store a project with three labelled texts in a new home, and return the source that reads it."""
        from vertune.store import labels, projects
        from vertune.store.database import Database, file_in
        from vertune.store.projects import Project

        now = datetime(2030, 1, 1, 12, tzinfo=UTC)
        project = Project("0" * 32, "", "default", "mails", upload="", task={"name": "classify"}, settings={}, state="filling")
        rows = [
            {"number": number, "record": json.dumps({"text": text}), "fingerprint": b"", "held": 0, "places": 1, "rank": number,
             "suggestion": None, "confidence": None}
            for number, (text, _) in enumerate(_table.SAMPLE)
        ]  # fmt: skip
        changes = [labels.Change(number, "done", {"label": label}, None, 1) for number, (_, label) in enumerate(_table.SAMPLE)]
        with closing(Database(file_in(folder))) as database:
            projects.add(database, project)
            projects.add_records(database, project, rows)
            labels.save(database, project, "ann", changes, now)
        return cls(project="mails", home=str(folder))

    def _rows(self) -> Iterator[dict[str, Any]]:
        with _stored.opened(self.home, "labels") as database:
            from vertune.store import labels, projects
            from vertune.store.key import DEFAULT_CUSTOMER

            with database.reading() as connection:
                project = projects.get(connection, self.project, self.customer or DEFAULT_CUSTOMER)
            task: Task = build(Task, project.task)
            listed = labels.each_labelled(database, project.id, self.held)
            for one, target in right_answers(listed, task.target_columns, project.settings.get("consensus", "majority")):
                if target is not None:
                    by = [one.decision.reviewer] if one.decision else list(one.votes)
                    at = one.decision.at if one.decision else one.labels[-1].at
                    about = {"labelled_by": ", ".join(by), "labelled_at": at, "labelled_decision": one.decision is not None}
                    yield {**one.record.fields, **target, **about}
