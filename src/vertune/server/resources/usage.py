"""`/v1/usage`: what customers used, as JSON or as a table; does not depend on how it is counted."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from typing import Annotated, Literal

from fastapi import Query, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from vertune.server.resource import Resource
from vertune.server.stored import customer_of, database_of
from vertune.server.tables import csv_lines
from vertune.store.plans import Line, invoices, parse_month
from vertune.store.usage import Column, Period, able_to_use, used

resource = Resource("usage")


class UsageQuery(BaseModel):
    """Which usage is asked for."""

    model_config = ConfigDict(extra="forbid")

    since: date | None = None
    """The first day in UTC."""
    until: date | None = None
    """The day after the last one."""
    by: Annotated[list[Column], Field(max_length=4)] = ["day", "vertical"]
    """What the usage is divided by; an empty list is not possible, so name one column for one sum of each."""
    media_type: Literal["application/json", "text/csv"] = "application/json"


class UsageRow(BaseModel):
    """A sum of usage; what it was not divided by is empty."""

    day: str
    customer: str
    key: str
    vertical: str
    requests: int
    """Number of answered requests; a request for several verticals counts for each."""
    records: int
    tokens: int
    """Number of tokens, as if nothing were cached."""
    cached_tokens: int
    """How many of these were not computed, because the answers were cached."""
    jobs: int
    """Number of jobs that were started."""


class UsageTable(BaseModel):
    """Usage, divided as it was asked for."""

    usage: list[UsageRow]


class InvoiceQuery(BaseModel):
    """Which invoice is asked for."""

    model_config = ConfigDict(extra="forbid")

    month: Annotated[str, Field(pattern=r"^\d{4}-\d{2}$", examples=["2030-01"])]
    media_type: Literal["application/json", "text/csv"] = "application/json"


class Invoice(BaseModel):
    """What customers pay for a month."""

    month: str
    lines: list[Line]


@resource.get("/v1/invoice", scope="predict", response_model=Invoice, responses={200: {"content": {"text/csv": {}}}})
def list_invoice(request: Request, query: Annotated[InvoiceQuery, Query()]) -> Invoice | Response:
    """Return what the customer that owns the API key pays for a month; with the permission `admin`, what all customers pay.

    A customer that had a key or a user in the month pays what its plan costs for each month, whether it asked anything or not. The plans
    are those of the file as it is now.
    """
    quotas, lines = request.app.state.service.quotas, []
    wanted = Period(customer_of(request), *parse_month(query.month))
    if quotas is not None:
        with database_of(request).reading() as connection:
            rows, others = used(connection, wanted, ["customer"]), able_to_use(connection, wanted)
        lines = invoices(quotas.plans, rows, others)
    if query.media_type == "text/csv":
        return Response("".join(csv_lines(line.model_dump(mode="json") for line in lines)), media_type="text/csv")
    return Invoice(month=query.month, lines=lines)


@resource.get("/v1/usage", scope="predict", response_model=UsageTable, responses={200: {"content": {"text/csv": {}}}})
def usage(request: Request, query: Annotated[UsageQuery, Query()]) -> UsageTable | Response:
    """Return what the customer that owns the API key used; with the permission `admin`, what all customers used.

    What was answered within the last second may be missing.
    """
    wanted = Period(customer_of(request), query.since, query.until)
    with database_of(request).reading() as connection:
        rows = used(connection, wanted, list(dict.fromkeys(query.by)))
    if query.media_type == "text/csv":
        return Response("".join(csv_lines(map(asdict, rows))), media_type="text/csv")
    return UsageTable(usage=[UsageRow(**asdict(row)) for row in rows])
