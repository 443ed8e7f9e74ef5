"""`/v1/traffic`: what a vertical answered over time; does not depend on how answers are stored and counted."""

from __future__ import annotations

import statistics
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import orjson
from fastapi import Query
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request

from vertune.core.errors import DataError
from vertune.core.task import Task
from vertune.server import problems
from vertune.server.feedback import Short
from vertune.server.prediction import find_deployments
from vertune.server.resource import Resource
from vertune.server.stored import Moment, customer_of, database_of
from vertune.store.series import MOST_STEPS, Step, read_series, window_of

resource = Resource("traffic")
_STEPS = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}
_YEARS = (1970, 9998)
"""The first and the last year in which a time may end; steps after it would be out of range."""
_LABELS = 8
"""Number of labels whose shares are listed."""
_SLOW = 0.95


class TrafficQuery(BaseModel):
    """Which answers are asked for."""

    model_config = ConfigDict(extra="forbid")

    vertical: Short
    since: Moment | None = None
    """The beginning; null means 24 steps before the end."""
    until: Moment | None = None
    """The end; null means now."""
    step: Literal["minute", "hour", "day"] = "hour"


class Times(BaseModel):
    """How long requests took, in seconds."""

    median: float
    p95: float


class TrafficPoint(BaseModel):
    """The answers of one step of time."""

    at: str
    """When the step begins, in UTC."""
    answers: int
    """Number of answers."""
    estimated: bool
    """Whether this number is estimated, because there were too many to count."""
    sampled: int
    """Number of answers that were read for what follows."""
    seconds: Times | None
    confidence: float | None
    """The mean confidence of the sampled answers."""
    labels: dict[str, float]
    """The shares of the sampled answers that name each of the most frequent labels."""
    right: int
    wrong: int
    """Numbers of answers that users called right and wrong."""


class Traffic(BaseModel):
    """What a vertical answered over time."""

    vertical: str
    step: str
    labels: list[str]
    """The most frequent labels, at most 8."""
    feedback_complete: bool
    """Whether all feedback was counted, and not only the last 5,000."""
    points: list[TrafficPoint]


@resource.get("/v1/traffic", scope="predict", responses=problems.documented(404))
def traffic(request: Request, query: Annotated[TrafficQuery, Query()]) -> Traffic:
    """Return how many answers a vertical gave over time, how fast and how sure, with which labels, and what users say of them.

    The figures are those of the customer that owns the API key; with the permission `admin`, those of all customers. Labels, times and
    confidences are those of a sample: at most 40 answers of each part of a step.
    """
    request.app.state.access.authorize(request, "predict", [query.vertical])
    service = request.app.state.service
    if query.vertical not in service.aliases.pending:
        find_deployments(request, [query.vertical])
    deployment = service.answers.fleet.deployments.get(query.vertical)
    step, until = _STEPS[query.step], _utc(query.until) or datetime.now(UTC)
    if not _YEARS[0] <= until.year <= _YEARS[1]:
        raise DataError(f"The time ends in the year {until.year}; expected one from {_YEARS[0]} to {_YEARS[1]}. Choose another time.")
    since = _utc(query.since) or until - 24 * step
    if not timedelta(0) < until - since <= (MOST_STEPS - 1) * step:
        raise DataError(
            f"The time from {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} can't be divided into steps of one {query.step}; expected at "
            f"least one and at most {MOST_STEPS - 1}. Choose another time or another step."
        )
    with database_of(request).reading() as connection:
        series = read_series(connection, window_of(query.vertical, since, until, step, customer_of(request)))
    task = None if deployment is None else deployment.task  # a model that is not loaded yet can't read its answers
    named = [[_labels(task, answer) for answer in one.sample] for one in series.steps]
    frequent = Counter(label for answers in named for labels in answers for label in labels).most_common(_LABELS)
    shown = [label for label, _ in frequent]
    points = [_point(one, labels, shown) for one, labels in zip(series.steps, named, strict=True)]
    return Traffic(
        vertical=query.vertical, step=query.step, labels=shown, feedback_complete=series.feedback_complete, points=points
    )  # fmt: skip


def _point(step: Step, named: list[set[str]], shown: list[str]) -> TrafficPoint:
    count, times = len(step.sample), sorted(step.seconds)
    shares = {label: sum(label in labels for labels in named) / count for label in shown} if count else {}
    return TrafficPoint(
        at=step.at, answers=step.answers, estimated=not step.exact, sampled=count,
        seconds=Times(median=statistics.median(times), p95=times[min(count - 1, int(_SLOW * count))]) if count else None,
        confidence=statistics.fmean(step.confidences) if step.confidences else None, labels=shares, right=step.right, wrong=step.wrong,
    )  # fmt: skip


def _labels(task: Task | None, answer: str) -> set[str]:
    """Return the labels that a stored answer names; none for an answer of a model with another task."""
    if task is None:
        return set()
    try:
        return set(task.named(orjson.loads(answer)))
    except (KeyError, TypeError, ValueError, AttributeError):
        return set()


def _utc(time: datetime | None) -> datetime | None:
    return time if time is None or time.tzinfo else time.replace(tzinfo=UTC)
