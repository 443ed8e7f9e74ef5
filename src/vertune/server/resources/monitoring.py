"""`/v1/monitoring` and `/v1/retrainings`: what monitors measured over time, and how trainings go on; does not depend on monitors."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import Query, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from vertune.core.errors import NotFound
from vertune.reports.scales import Unit
from vertune.reports.series import Point, Theme, draw
from vertune.runtime.live import read_live
from vertune.server import problems
from vertune.server.feedback import Short
from vertune.server.resource import Resource
from vertune.server.stored import database_of
from vertune.server.watched import require_visible, visible
from vertune.steps.alert import messages
from vertune.store import measurements, retrainings
from vertune.store.database import format_time
from vertune.store.measurements import Measurement, Verdict

resource = Resource("monitoring")
_LONGEST_DAYS = 366
Language = Annotated[Literal["en", "zh"], Query(description="The language of the texts.")]
Days = Annotated[float, Query(gt=0, le=_LONGEST_DAYS, description="The measurements of so many days, to now.")]


class MeasurementInfo(BaseModel):
    """What a monitor found in one window of requests."""

    at: str
    window_end: str
    """When the window begins and ends, in UTC."""
    value: float | None
    low: float | None
    high: float | None
    """The ends of the 95 % interval."""
    p: float | None
    """The probability of such a value if nothing changed."""
    n: int
    """Number of requests that were compared."""
    verdict: Verdict
    why: str
    evidence: list[dict[str, Any]]
    shown: str
    """The value in its unit."""


class MonitorInfo(BaseModel):
    """A monitor of a vertical, with its newest measurement."""

    name: str
    title: str
    unit: Literal["share", "number", "seconds"]
    latest: MeasurementInfo


class MonitoredVertical(BaseModel):
    """A vertical, with what its monitors found last."""

    vertical: str
    monitors: list[MonitorInfo]


class Monitoring(BaseModel):
    """What is monitored."""

    watching: bool
    """Whether this server runs monitors, if no other one does."""
    verticals: list[MonitoredVertical]


class MonitorSeries(BaseModel):
    """What a monitor measured over time, oldest first."""

    vertical: str
    monitor: str
    title: str
    unit: Literal["share", "number", "seconds"]
    points: list[MeasurementInfo]


class RetrainingInfo(BaseModel):
    """One training of a vertical on what it learnt since."""

    id: str
    vertical: str
    at: str
    stage: retrainings.Stage
    reason: str | None
    """Why it began: labels, time, drift, or a person."""
    job: str | None
    dataset: str | None
    model: str | None
    report: str | None
    why: str | None
    """Why it ended."""
    changed: str


class RetrainingPage(BaseModel):
    """Some retrainings, newest first."""

    retrainings: list[RetrainingInfo]
    next: str | None
    """The value for `before` to get older ones; null if there are none."""


class RetrainingQuery(BaseModel):
    """Which retrainings are asked for."""

    model_config = ConfigDict(extra="forbid")

    vertical: Short | None = None
    before: Annotated[str | None, Field(max_length=32, pattern=r"^[0-9a-f]*$")] = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


class ChartQuery(BaseModel):
    """How a series is drawn."""

    model_config = ConfigDict(extra="forbid")

    days: Annotated[float, Field(gt=0, le=_LONGEST_DAYS)] = 30
    """The measurements of so many days, to now."""
    language: Literal["en", "zh"] = "en"
    width: Annotated[int, Field(ge=240, le=1600)] = 640
    """Width of the picture in pixels."""
    theme: Theme = "light"


@resource.get("/v1/monitoring", scope="predict")
def list_monitors(request: Request, language: Language = "en") -> Monitoring:
    """List what monitors found last.

    Monitors look at the requests of all customers together, so a customer sees this of verticals that no other customer uses.
    """
    service = request.app.state.service
    with database_of(request).reading() as connection:
        names = visible(request, connection)
        known = sorted({*measurements.verticals(connection), *read_live(service.home).models}) if names is None else names
        latest = {name: measurements.latest(connection, name) for name in known}
    verticals = [
        MonitoredVertical(vertical=name, monitors=[_monitor(monitor, one[0], language) for monitor, one in sorted(found.items())])
        for name, found in latest.items()
    ]
    return Monitoring(watching=service.watching is not None, verticals=verticals)


@resource.get("/v1/verticals/{vertical}/monitors/{monitor}", scope="predict")
def read_measurements(vertical: str, monitor: str, request: Request, days: Days = 30, language: Language = "en") -> MonitorSeries:
    """Return what a monitor measured over time, at most the newest 1,000 windows."""
    found = _series(request, vertical, monitor, days)
    return MonitorSeries(
        vertical=vertical, monitor=monitor, title=messages.title(monitor, language), unit=messages.unit(monitor),
        points=[_measurement(one) for one in found],
    )  # fmt: skip


@resource.get(
    "/v1/verticals/{vertical}/monitors/{monitor}/chart", scope="predict", response_class=Response,
    responses={200: {"content": {"image/svg+xml": {}}, "description": "The picture."}, **problems.documented(404)},
)  # fmt: skip
def draw_measurements(vertical: str, monitor: str, request: Request, query: Annotated[ChartQuery, Query()]) -> Response:
    """Draw what a monitor measured over time, as a picture (SVG); changes are red, and lines are 95 % intervals."""
    points = [
        Point(datetime.fromisoformat(one.window_end), one.value, one.low, one.high, one.verdict)
        for one in _series(request, vertical, monitor, query.days)
        if one.value is not None
    ]
    unit: Unit = "share" if messages.unit(monitor) == "share" else "number"
    return Response(draw(points, messages.title(monitor, query.language), unit, query.width, query.theme), media_type="image/svg+xml")


@resource.get("/v1/retrainings", scope="predict")
def list_retrainings(request: Request, query: Annotated[RetrainingQuery, Query()]) -> RetrainingPage:
    """List trainings of verticals on what was learnt since, with how far each has come."""
    with database_of(request).reading() as connection:
        names = visible(request, connection, query.vertical)
        found = retrainings.find(connection, names, query.limit + 1, query.before)
    more = len(found) > query.limit
    shown = [_retraining(one) for one in found[: query.limit]]
    return RetrainingPage(retrainings=shown, next=found[query.limit - 1].id if more else None)


def _series(request: Request, vertical: str, monitor: str, days: float) -> list[Measurement]:
    since = format_time(datetime.now(UTC) - timedelta(days=days))
    with database_of(request).reading() as connection:
        require_visible(request, connection, vertical)
        found = measurements.series(connection, vertical, monitor, since)
    if not found:
        raise NotFound(
            f"The monitor '{monitor[:80]}' measured nothing of '{vertical[:80]}' in {days:g} days. Choose another one: GET /v1/monitoring."
        )
    return found


def _monitor(name: str, latest: Measurement, language: str) -> MonitorInfo:
    return MonitorInfo(name=name, title=messages.title(name, language), unit=messages.unit(name), latest=_measurement(latest))


def _measurement(one: Measurement) -> MeasurementInfo:
    about = {name: getattr(one, name) for name in MeasurementInfo.model_fields if name != "shown"}
    return MeasurementInfo(**about, shown=messages.shown(one.monitor, one.value))


def _retraining(one: retrainings.Retraining) -> RetrainingInfo:
    about = {name: getattr(one, name) for name in RetrainingInfo.model_fields if name != "reason"}
    return RetrainingInfo(**about, reason=one.request.get("reason"))
