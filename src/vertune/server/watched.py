"""What resources about monitors and alerts share: whose they are, and how a vertical is watched; does not depend on HTTP routes.

Monitors look at the requests of all customers together. So a customer sees what they found only of verticals that no other customer uses.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

from pydantic import AfterValidator, Field
from sqlalchemy import Connection
from starlette.requests import Request

from vertune.core.errors import NotFound
from vertune.core.watch import Rule, Watch, WatchFile
from vertune.masking import standard_masker
from vertune.runtime.live import read_live
from vertune.server.access import call_of
from vertune.server.service import Service
from vertune.steps.watch import own_watch
from vertune.store import measurements
from vertune.store.ownership import used_by_one
from vertune.store.storable import Storable

Comment = Annotated[Storable, Field(max_length=1000), AfterValidator(lambda text: standard_masker().text(text))]
"""What a person writes about an alert, stored with placeholders for personal data."""


def visible(request: Request, connection: Connection, wanted: str | None = None) -> list[str] | None:
    """Return the verticals of which a request may see what monitors found, or those of them called `wanted`; None if it may see all."""
    access = request.app.state.access
    if access.administers(request):
        return None if wanted is None else [wanted]
    service: Service = request.app.state.service
    known = {*read_live(service.home).models, *measurements.verticals(connection)}
    names = {name for name in known if access.sees(request, name) and wanted in (None, name)}
    return sorted(used_by_one(connection, call_of(request).customer, names))


def sees_all_of(request: Request, connection: Connection, vertical: str) -> bool:
    """Return whether a request may see what was counted of all requests to a vertical: of an administrator, or of who alone uses it."""
    if request.app.state.access.administers(request):
        return True
    return bool(used_by_one(connection, call_of(request).customer, {vertical}))


def require_visible(request: Request, connection: Connection, vertical: str) -> None:
    """Raise NotFound if a request may not see what monitors found of a vertical."""
    names = visible(request, connection, vertical)
    if names is not None and vertical not in names:
        raise NotFound(
            f"There are no measurements of '{vertical[:80]}' for this key. Ask the operator of the server, if several customers use it."
        )


def rules_of(request: Request, vertical: str) -> list[Rule]:
    """Return the rules of a vertical; none if it has no live model."""
    with suppress(NotFound):
        return watch_of(request, vertical).rules_in_force
    return []


def watch_of(request: Request, vertical: str) -> Watch:
    """Return how a vertical is watched; raise NotFound if it has no live model."""
    service: Service = request.app.state.service
    model = read_live(service.home).models.get(vertical)
    if model is None:
        raise NotFound(f"There is no vertical '{vertical[:80]}'. List them with GET /v1/verticals.")
    file = WatchFile() if service.watching is None else service.watching.watcher.file
    return file.watch(vertical, own_watch(model))
