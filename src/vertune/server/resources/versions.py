"""`/v1/verticals/{vertical}/versions/{model}/…`: the card and the report of any model; does not depend on how they are made."""

from __future__ import annotations

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import FileResponse

from vertune.core.artifact import Artifact, Home
from vertune.core.errors import NotFound
from vertune.core.regular import is_present, regular_file
from vertune.evaluation.recorded import evaluations
from vertune.server.resource import Resource
from vertune.server.resources.jobs import PAGE_POLICY

resource = Resource("verticals")
_CARD, _REPORT = "README.md", "report.html"
_CARD_BYTES = 1 << 20


class VersionCard(BaseModel):
    """The model card of one model: its purpose, its training data and its accuracy."""

    model: str
    card: str
    """The text of the card, in Markdown; empty if it has none."""


@resource.get("/v1/verticals/{vertical}/versions/{model}/card", scope="predict")
def version_card(vertical: str, model: str, request: Request) -> VersionCard:
    """Return the model card of a model of a vertical, whether it is served or not."""
    found = _model(request, vertical, model)
    if not is_present(found.folder, _CARD):
        return VersionCard(model=found.id, card="")
    return VersionCard(model=found.id, card=regular_file(found.folder, _CARD, limit=_CARD_BYTES).read_text("utf-8", "replace"))


@resource.get("/v1/verticals/{vertical}/versions/{model}/report", scope="admin", response_class=FileResponse)
def version_report(vertical: str, model: str, request: Request) -> FileResponse:
    """Return the newest report on a model of a vertical, an HTML page. It quotes rows of the data, so it is for administrators."""
    found, home = _model(request, vertical, model), _home(request)
    reports = [report for report in evaluations(home) if found.id in report.parents and is_present(report.folder, _REPORT)]
    if not reports:
        raise NotFound(f"There is no report on the model '{found.id}'. Make one with POST /v1/jobs and the kind 'evaluate'.")
    file = regular_file(reports[-1].folder, _REPORT)
    return FileResponse(file, media_type="text/html", headers={"Content-Security-Policy": PAGE_POLICY})


def _model(request: Request, vertical: str, id: str) -> Artifact:
    """Return a model of a vertical; raise NotFound if the vertical has no such model."""
    found = _home(request).find("models", id)
    if found is None or found.manifest_or_empty.get("name") != vertical:
        raise NotFound(f"'{vertical[:80]}' has no model '{id[:80]}'. List its models with GET /v1/verticals/{vertical[:80]}/versions.")
    return found


def _home(request: Request) -> Home:
    home: Home = request.app.state.service.home
    return home
