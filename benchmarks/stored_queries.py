"""What the server and the commands ask of their database, with arguments that are drawn from a filled one; measures nothing.

Every query is a function of `vertune.store`, or of the server, as they call it. A route runs it in a transaction of its own, which belongs
to the query here too.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
from sqlalchemy import func, select
from stored_rows import CUSTOMERS, VERTICALS, verticals_of

from vertune.core.ids import first_id_at, time_ordered_id
from vertune.server.quotas import Quotas
from vertune.store import audit, feedback, jobs, keys, rollouts, schema, traffic, uploads
from vertune.store.database import Database, format_time
from vertune.store.deletion import Deletion, carry_out
from vertune.store.feedback import Filter
from vertune.store.plans import Plan, Plans, Prices, invoice, month_of
from vertune.store.retention import size
from vertune.store.rollouts import Rollout, Rules
from vertune.store.usage import Period, used

_DAY = 24 * 60 * 60


@dataclass
class Arguments:
    """Draws what is asked for, from what the database contains."""

    database: Database
    draw: random.Random = field(default_factory=lambda: random.Random(2))

    def __post_init__(self) -> None:
        with self.database.reading() as connection:
            first, last = (connection.scalar(select(one(schema.requests.c.id))) for one in (func.min, func.max))
            self.keys = list(connection.scalars(select(schema.keys.c.id)))
            self.jobs, self.uploads, self.audit = (
                list(connection.scalars(select(table.c.id))) for table in (schema.jobs, schema.uploads, schema.audit)
            )
        self.first, self.last = (int(str(id)[:12], 16) / 1000 for id in (first, last))

    def customer(self) -> str:
        return self.draw.choice(CUSTOMERS)

    def vertical(self, customer: str | None = None) -> str:
        return self.draw.choice(VERTICALS if customer is None else verticals_of(customer))

    def id(self) -> str:
        """An id from the middle of the store, as a cursor."""
        return first_id_at(self.draw.uniform(self.first, (self.first + 2 * self.last) / 3))

    def stored(self) -> Any:
        """The row of an answer."""
        with self.database.reading() as connection:
            later = select(schema.answers).where(schema.answers.c.request > self.id())
            return connection.execute(later.order_by(schema.answers.c.request).limit(1)).one()

    def month(self) -> tuple[date, date]:
        return month_of(datetime.fromtimestamp(self.last, UTC).date() - timedelta(days=self.draw.choice([0, 31])))

    def rollout(self) -> Rollout:
        """A comparison that began up to two weeks before the last request."""
        vertical, began = self.vertical(), self.last - self.draw.uniform(1, 14) * _DAY
        return Rollout(
            vertical, f"{vertical}-2", f"{vertical}-1", "canary", 0.1,
            rules=Rules(), began=format_time(datetime.fromtimestamp(began, UTC)), first=first_id_at(began), actor="a key",
        )  # fmt: skip


Query = Callable[[], Callable[[], object]]
"""Draws arguments, and returns what is measured with them."""


def queries(database: Database) -> dict[str, Query]:
    """What the server and the commands ask of the database, by name."""
    given = Arguments(database)

    def reading(query: Callable[[], Callable[..., object]]) -> Query:
        """A query in a transaction of its own; the argument draws, and returns it."""

        def drawn() -> Callable[[], object]:
            asked = query()

            def run() -> object:
                with database.reading() as connection:
                    return asked(connection)

            return run

        return drawn

    return {
        **answer_queries(given, reading), **feedback_queries(given, reading), **usage_queries(given, reading),
        **job_queries(given, reading), **other_queries(given, reading),
    }  # fmt: skip


Reading = Callable[[Callable[[], Callable[..., object]]], Query]


def answer_queries(given: Arguments, reading: Reading) -> dict[str, Query]:
    """Answers by their ids, and by their texts."""

    def stored() -> Callable[..., object]:
        row = given.stored()
        return lambda connection: traffic.find_answer(connection, traffic.answer_id(row.request, row.number))

    def missing() -> Callable[..., object]:
        id = traffic.answer_id(time_ordered_id(), 0)
        return lambda connection: traffic.find_answer(connection, id)

    def forget() -> Callable[[], object]:
        row = given.stored()
        while row.record is None:
            row = given.stored()
        wanted = Deletion(records=[orjson.loads(row.record)])
        return lambda: carry_out(given.database, wanted, "benchmark")["answers"]

    def unknown() -> Callable[[], object]:
        return lambda: carry_out(given.database, Deletion(records=[{"text": time_ordered_id()}]), "benchmark")

    return {
        "answer by id": reading(stored), "answer that is not stored": reading(missing), "find a text that is not stored": unknown,
        "find and delete a text": forget,
    }  # fmt: skip


def feedback_queries(given: Arguments, reading: Reading) -> dict[str, Query]:
    """Pages of feedback as the list, the export and the source read them, and writing and deleting it."""

    def page(draw: Callable[[], Filter], limit: int = 101) -> Query:
        def query() -> Callable[..., object]:
            wanted = draw()
            return lambda connection: feedback.find(connection, wanted, limit)

        return reading(query)

    def owned(**about: Any) -> Filter:
        customer = given.customer()
        chosen = {name: value(customer) if callable(value) else value for name, value in about.items()}
        return Filter(customer, **chosen)

    def one(customer: str) -> list[str]:
        return [given.vertical(customer)]

    def unused(customer: str) -> list[str]:
        return [given.draw.choice(sorted({*VERTICALS} - {*verticals_of(customer)}))]

    def author(customer: str) -> str:
        return f"agent-{given.draw.randrange(256)}@{customer}"

    def add() -> Callable[[], object]:
        row = given.stored()
        stored = feedback_row(row.request, row.vertical)
        return lambda: feedback.add(given.database, stored)

    def remove() -> Callable[[], object]:
        with given.database.reading() as connection:
            (first,) = feedback.find(connection, Filter(after=given.id()), 1)

        def run() -> object:
            with given.database.writing() as connection:
                return feedback.remove(connection, first.id, first.customer, None)

        return run

    export = feedback.PAGE
    return {
        "feedback of all, first page": page(Filter),
        "feedback of all, deep page": page(lambda: Filter(after=given.id())),
        "feedback of all, page of 1,000": page(lambda: Filter(after=given.id()), 1001),
        "feedback of all, since and until": page(lambda: Filter(after=(id := given.id()), before=day_after(id))),
        "feedback of all, vertical, deep page": page(lambda: Filter(None, [given.vertical()], after=given.id())),
        "feedback of all, author": page(lambda: Filter(author=author(given.customer()))),
        "feedback of all, author who does not exist": page(lambda: Filter(author="nobody")),
        "feedback of a customer, first page": page(owned),
        "feedback of a customer, deep page": page(lambda: owned(after=given.id())),
        "feedback of a customer, vertical, first page": page(lambda: owned(verticals=one)),
        "feedback of a customer, vertical, deep page": page(lambda: owned(verticals=one, after=given.id())),
        "feedback of a customer, vertical, verdict": page(lambda: owned(verticals=one, verdict="right")),
        "feedback of a customer, vertical without any": page(lambda: owned(verticals=unused)),
        "feedback of a customer, key with three verticals": page(
            lambda: owned(verticals=lambda customer: verticals_of(customer)[5:8], after=given.id())
        ),
        "feedback of a customer, author": page(lambda: owned(author=author)),
        "feedback of a customer, author who does not exist": page(lambda: owned(author="nobody")),
        "export of a vertical, first page": page(lambda: Filter(None, [given.vertical()], usable=True), export),
        "export of a vertical, deep page": page(lambda: Filter(None, [given.vertical()], after=given.id(), usable=True), export),
        "export of a customer's vertical, deep page": page(lambda: owned(verticals=one, after=given.id(), usable=True), export),
        "export of a vertical without texts": page(lambda: Filter(None, ["vertical-19"], usable=True), export),
        "source: feedback of an author on a vertical": page(
            lambda: owned(verticals=one, author=author, least_trust=0.9, usable=True), export
        ),
        "store feedback": add,
        "delete feedback": remove,
    }  # fmt: skip


def day_after(id: str) -> str:
    """An id that is a day younger."""
    return first_id_at(int(id[:12], 16) / 1000 + _DAY)


def feedback_row(request: str | None, vertical: str) -> dict[str, Any]:
    """Feedback that arrives now."""
    return {
        "id": (id := time_ordered_id()), "at": format_time(datetime.now(UTC)), "customer": CUSTOMERS[1], "vertical": vertical,
        "request": request, "number": None if request is None else 0, "record": '{"text": "where is my card?"}', "fingerprint": b"12345678",
        "verdict": "right", "target": '{"label": "label_7"}', "trust": 1.0, "idempotency": id, "digest": b"",
    }  # fmt: skip


def usage_queries(given: Arguments, reading: Reading) -> dict[str, Query]:
    """Sums of usage, quotas and invoices."""
    plan = Plan(requests=10**9, jobs=10**6, prices=Prices(month=Decimal(10), requests=Decimal(1)))
    plans = Plans(plans={"a": plan}, default="a")
    quotas = Quotas(given.database, plans)

    def sums(of_all: bool, by: Sequence[Any], month: bool = True) -> Query:
        def query() -> Callable[..., object]:
            period = Period(None if of_all else given.customer(), *(given.month() if month else (None, None)))
            return lambda connection: used(connection, period, by)

        return reading(query)

    def bill(of_all: bool) -> Query:
        def query() -> Callable[..., object]:
            period = Period(None if of_all else given.customer(), *given.month())
            return lambda connection: [line for row in used(connection, period, ["customer"]) for line in invoice(plans, row)]

        return reading(query)

    def check_jobs() -> Callable[[], object]:
        customer = given.customer()
        return lambda: quotas.check_jobs(customer, given.vertical(customer))

    return {
        "usage of a customer in a month": sums(False, ["day", "vertical"]),
        "usage of a customer in a month, by all": sums(False, ["day", "key", "vertical"]),
        "usage of all in a month": sums(True, ["day", "vertical"]),
        "usage of all in a month, by customer": sums(True, ["customer"]),
        "usage of a customer, all days": sums(False, ["day", "vertical"], month=False),
        "usage of all, all days": sums(True, ["day", "vertical"], month=False),
        "invoice of a customer": bill(False),
        "invoices of all": bill(True),
        "quotas of all this month": lambda: quotas.update,
        "quota of jobs of a customer": check_jobs,
    }


def job_queries(given: Arguments, reading: Reading) -> dict[str, Query]:
    """The queue of jobs, as clients and workers see it."""

    def listed(draw: Callable[[], jobs.Filter]) -> Query:
        def query() -> Callable[..., object]:
            wanted = draw()
            return lambda connection: jobs.find(connection, wanted, 51)

        return reading(query)

    def of_job(ask: Callable[[Any, str], object]) -> Query:
        def query() -> Callable[..., object]:
            id = given.draw.choice(given.jobs)
            return lambda connection: ask(connection, id)

        return reading(query)

    leases = jobs.Leases()

    def count() -> Callable[..., object]:
        customer = given.customer()
        return lambda connection: jobs.count(connection, customer)

    return {
        "jobs of all, first page": listed(jobs.Filter),
        "jobs of all, deep page": listed(lambda: jobs.Filter(before=given.id())),
        "jobs of a customer": listed(lambda: jobs.Filter(given.customer())),
        "jobs of a customer that failed": listed(lambda: jobs.Filter(given.customer(), state="failed")),
        "jobs that are queued": listed(lambda: jobs.Filter(state="queued")),
        "job by id": of_job(lambda connection, id: jobs.get(connection, id, jobs.Filter())),
        "events of a job": of_job(jobs.events),
        "last event of a job": of_job(jobs.last_event),
        "jobs of a customer that wait": reading(count),
        "take a job": lambda: lambda: jobs.take(given.database, "benchmark", leases),
    }


def other_queries(given: Arguments, reading: Reading) -> dict[str, Query]:
    """Audit, uploads, histories, rollouts, keys, size."""

    with given.database.writing() as connection:
        for _ in range(5):
            rollouts.start(connection, given.rollout())

    def about(draw: Callable[[], Any], ask: Callable[[Any, Any], object]) -> Query:
        def query() -> Callable[..., object]:
            drawn = draw()
            return lambda connection: ask(connection, drawn)

        return reading(query)

    return {
        "audit, first page": about(lambda: "", lambda connection, after: audit.entries(connection, after, 101)),
        "audit, deep page of 1,000": about(
            lambda: given.draw.choice(given.audit[:-1]), lambda connection, after: audit.entries(connection, after, 1001)
        ),
        "uploads of a customer": about(given.customer, lambda connection, customer: uploads.find(connection, customer, None, 51)),
        "uploads of all, deep page": about(given.id, lambda connection, before: uploads.find(connection, None, before, 51)),
        "upload by id": about(lambda: given.draw.choice(given.uploads), lambda connection, id: uploads.get(connection, id, None)),
        "number of uploads of a customer": about(given.customer, uploads.count),
        "history of a vertical": about(given.vertical, rollouts.history),
        "rollouts that run": reading(lambda: rollouts.running),
        "verdicts on a candidate": about(given.rollout, rollouts.verdicts),
        "size of the database": reading(lambda: size),
        "all keys": lambda: lambda: keys.Keys(given.database).all(),
    }  # fmt: skip
