"""`/v1/monitoring`: what monitors measured over time, and how often they are wrong by chance; does not depend on monitors."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import Query, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from vertune.core.errors import NotFound
from vertune.core.sentence import Language, titled, written
from vertune.evaluation.monitoring import false_alarms
from vertune.reports.scales import Unit
from vertune.reports.series import Point, Theme, draw
from vertune.runtime.live import read_live
from vertune.server import problems
from vertune.server.resource import Resource
from vertune.server.stored import In, database_of
from vertune.server.watched import require_visible, rules_of, visible
from vertune.steps.alert import messages, rules
from vertune.store import alerts, measurements
from vertune.store.alerts import Memory
from vertune.store.database import format_time
from vertune.store.measurements import Measurement, Verdict

resource = Resource("monitoring")
_LONGEST_DAYS = 366
_RECENT = timedelta(days=7)
"""The time in which windows are counted, to say how many false alarms are to be expected."""
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
    windows: int
    """How many windows were compared in the last seven days."""
    false_alarms: float
    """How many false alarms are to be expected in so many windows if nothing changes. Monitors that watch a stream by themselves come on
    top: their options say how often they are wrong."""


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


class ChartQuery(BaseModel):
    """How a series is drawn."""

    model_config = ConfigDict(extra="forbid")

    days: Annotated[float, Field(gt=0, le=_LONGEST_DAYS)] = 30
    """The measurements of so many days, to now."""
    language: Language = "en"
    width: Annotated[int, Field(ge=240, le=1600)] = 640
    """Width of the picture in pixels."""
    theme: Theme = "light"


@resource.get("/v1/monitoring", scope="predict")
def list_monitors(request: Request, language: In = "en") -> Monitoring:
    """List what monitors found last.

    Monitors look at the requests of all customers together, so a customer sees this of verticals that no other customer uses.
    """
    service = request.app.state.service
    with database_of(request).reading() as connection:
        names = visible(request, connection)
        known = sorted({*measurements.verticals(connection), *read_live(service.home).models}) if names is None else names
        latest = {name: measurements.latest(connection, name) for name in known}
        tested = measurements.tested(connection, format_time(datetime.now(UTC) - _RECENT))
        memories = {name: alerts.memories(connection, name) for name in known}
    tests = sum(monitors for _, monitors in tested.values())
    tests, shown = sum(monitors for _, monitors in tested.values()), []
    for name, found in latest.items():
        monitors = [_monitor(monitor, one[0], language) for monitor, one in sorted(found.items())]
        windows, names = tested.get(name, (0, 0))[0], [monitor for monitor, one in found.items() if one[0].p is not None]
        ways = [(rule, rules.needed(rule, memories[name].get(rule.name, Memory()))) for rule in rules_of(request, name)]
        expected = sum(false_alarms(tests, windows, sum(map(rule.covers, names)), after) for rule, after in ways)
        shown.append(MonitoredVertical(vertical=name, monitors=monitors, windows=windows, false_alarms=expected))
    return Monitoring(watching=service.watching is not None, verticals=shown)


@resource.get("/v1/verticals/{vertical}/monitors/{monitor}", scope="predict")
def read_measurements(vertical: str, monitor: str, request: Request, days: Days = 30, language: In = "en") -> MonitorSeries:
    """Return what a monitor measured over time, at most the newest 1,000 windows."""
    found = _series(request, vertical, monitor, days)
    return MonitorSeries(
        vertical=vertical, monitor=monitor, title=messages.title(monitor, language), unit=messages.unit(monitor),
        points=[_measurement(one, language) for one in found],
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


def _monitor(name: str, latest: Measurement, language: Language) -> MonitorInfo:
    return MonitorInfo(name=name, title=messages.title(name, language), unit=messages.unit(name), latest=_measurement(latest, language))


def _measurement(one: Measurement, language: Language) -> MeasurementInfo:
    about = {name: getattr(one, name) for name in MeasurementInfo.model_fields if name != "shown"}
    said = {"why": written(one.why, language), "evidence": titled(one.evidence, language)}
    return MeasurementInfo(**{**about, **said}, shown=messages.shown(one.monitor, one.value))
