"""What resources that read the database share: the database, whose rows and files a request may read, and in which language.

It knows no resource.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from fastapi import Query
from pydantic import AfterValidator
from starlette.requests import Request

from vertune.core.errors import ConfigError
from vertune.core.sentence import Language
from vertune.server.access import call_of
from vertune.server.jobs import Jobs
from vertune.server.people import People
from vertune.store import uploads
from vertune.store.database import Database
from vertune.store.key import Scope

In = Annotated[Language, Query(description="The language of the texts.")]
"""The language in which a request wants to read sentences that are stored with their figures."""


def _in_utc(time: datetime) -> datetime:
    """Return a time as it is; raise ValueError where it has another time zone than UTC and is out of range there."""
    try:
        time.replace(tzinfo=time.tzinfo or UTC).astimezone(UTC)
    except OverflowError as error:
        raise ValueError("expected a time in the years 1 to 9999 of UTC") from error
    return time


Moment = Annotated[datetime, AfterValidator(_in_utc)]
"""A time in a request."""


def database_of(request: Request) -> Database:
    """Return the database of the server; raise ConfigError if it has none."""
    database: Database | None = request.app.state.service.database
    if database is None:
        raise ConfigError("This server has no database, so it stores nothing. Start it without --set traffic.keep=false.")
    return database


def customer_of(request: Request) -> str | None:
    """Return the customer whose rows a request may see; None, which means all, with the permission `admin`."""
    return None if request.app.state.access.administers(request) else call_of(request).customer


def actor_of(request: Request) -> str:
    """Return who makes a change, for the audit: the id of the API key, or the address of a client without one."""
    call = call_of(request)
    return call.key or f"address {call.client}"


@dataclass(frozen=True, slots=True)
class Readable:
    """What the sources of a request may read: uploads of its customer, and feedback and labels as its permissions say."""

    request: Request

    def upload(self, dataset: str) -> Path:
        """Return the file of an uploaded dataset."""
        with database_of(self.request).reading() as connection:
            found = uploads.get(connection, dataset, customer_of(self.request))
        return uploads.path(self.request.app.state.service.home.folder, found)

    def customer(self, scope: Scope, name: str) -> str | None:
        """Return whose rows of a vertical or a project are meant; raise AccessError without the permission for them."""
        access = self.request.app.state.access
        if scope == "label":  # a project belongs to a customer, and not to a vertical
            access.authorize(self.request, scope)
            return call_of(self.request).customer
        access.authorize(self.request, scope, [name])
        return customer_of(self.request)


def people_of(request: Request) -> People:
    """Return what signs people in; raise ConfigError if nobody signs in."""
    people: People | None = request.app.state.service.people
    if people is None:
        raise ConfigError("This server has no users, because it answers requests without a key. Start it without --open.")
    return people


def jobs_of(request: Request) -> Jobs:
    """Return what runs the jobs of the server; raise ConfigError if it runs none."""
    jobs: Jobs | None = request.app.state.service.jobs
    if jobs is None:
        raise ConfigError("This server runs no jobs. Start it with processors for them: --set jobs.cores=1")
    return jobs
