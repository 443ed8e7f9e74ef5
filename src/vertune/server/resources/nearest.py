"""`/v1/verticals/{vertical}/nearest`: the training rows that are most like a record; does not depend on how they are found."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from vertune.core.artifact import Artifact
from vertune.core.errors import AccessError, DataError
from vertune.core.kinds import Task
from vertune.server.access import call_of
from vertune.server.nearest import Missing, text_of
from vertune.server.prediction import find_deployments
from vertune.server.resource import Resource

resource = Resource("verticals")


class NearestRequest(BaseModel):
    """A record, such as the one that a model was asked."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"record": {"text": "I lost my card"}, "count": 3}]})

    record: dict[str, Any]
    """The input fields of the record."""
    count: Annotated[int, Field(ge=1, le=20)] = 5
    """Maximum number of rows."""


class NearRow(BaseModel):
    """A training row."""

    record: dict[str, Any]
    target: dict[str, Any]
    """The right answer that the model learnt."""
    similarity: float
    """The cosine of the TF-IDF vectors of the words, from 0 to 1."""


class NearRows(BaseModel):
    """Training rows, the most similar first."""

    model: str
    rows: list[NearRow]
    searched: int
    """The number of training rows among which these were found: of a large dataset, some from all over it."""
    total: int
    """The number of training rows."""
    missing: Missing | None
    """Why there are none: the dataset of the model is no longer in the home, or its rows contain no texts. Null if they were searched."""


@resource.post("/v1/verticals/{vertical}/nearest", scope="train")
def nearest_rows(vertical: str, body: NearestRequest, request: Request) -> NearRows:
    """Return the training rows of the served model that share most words with a record.

    Only administrators, and the customer whose job made the dataset, may read them. Status 403 for others.
    """
    (deployment,) = find_deployments(request, [vertical])
    model, task, rows = deployment.model, deployment.task, request.app.state.service.training_rows
    data = rows.dataset_of(model)
    if data is None:
        return NearRows(model=model.id, rows=[], searched=0, total=0, missing="no dataset")
    _check_owner(request, vertical, data)
    index = rows.index(model, data, task)
    if isinstance(index, str):
        return NearRows(model=model.id, rows=[], searched=0, total=0, missing=index)
    text = text_of(body.record, task)
    if not text.strip():
        raise DataError(f"The record contains no text; expected a text in {' or '.join(_texts(task))}. Send the record with its fields.")
    found = [(index.records[place], share) for place, share in index.texts.nearest(text, body.count)]
    return NearRows(
        model=model.id, rows=[_row(task, row, share) for row, share in found], searched=len(index.records), total=index.rows, missing=None
    )


def _check_owner(request: Request, vertical: str, data: Artifact) -> None:
    """Raise AccessError if the rows of a dataset are not those of who asks."""
    if request.app.state.access.administers(request) or data.manifest_or_empty.get("customer") == call_of(request).customer:
        return
    raise AccessError(
        f"The training rows of '{vertical[:80]}' are not yours, but only their owner and administrators may read them. Use a key of theirs."
    )


def _texts(task: Task) -> list[str]:
    return [column.name for column in task.input_columns if column.type == "text"]


def _row(task: Task, row: dict[str, Any], share: float) -> NearRow:
    targets = {column.name for column in task.target_columns}
    return NearRow(
        record={name: value for name, value in row.items() if name not in targets and value is not None},
        target={name: value for name, value in row.items() if name in targets and value is not None}, similarity=round(share, 4),
    )  # fmt: skip
