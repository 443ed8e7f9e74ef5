"""What resources that read the database share: the database itself, and whose rows a request may see; does not depend on any table."""

from __future__ import annotations

from starlette.requests import Request

from vertune.core.errors import ConfigError
from vertune.server.access import call_of
from vertune.server.jobs import Jobs
from vertune.server.people import People
from vertune.store.database import Database


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
