"""Plans of customers: what they may use in a month, and what it costs; knows nothing of HTTP and models."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from vertune.core.bounded_yaml import read_yaml
from vertune.core.errors import ConfigError, NotFound
from vertune.core.parse import build
from vertune.store.key import checked_rate
from vertune.store.usage import Usage

Unit = Literal["requests", "records", "tokens", "jobs"]
UNITS: tuple[Unit, ...] = ("requests", "records", "tokens")
"""The units of answering, which are counted for each request."""
Amount = Annotated[Decimal, Field(ge=0, max_digits=12, decimal_places=6)]
_CENT = Decimal("0.01")
_PER: dict[Unit, int] = {"requests": 1000, "records": 1000, "tokens": 1_000_000, "jobs": 1}
"""How many of a unit a price is for."""


class _Section(BaseModel):
    """A part of the file; a misspelt key is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Prices(_Section):
    """What a plan costs, in its currency."""

    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "EUR"
    month: Amount = Decimal(0)
    """For each month, whatever is used."""
    requests: Amount = Decimal(0)
    """For 1,000 requests above those that are included."""
    records: Amount = Decimal(0)
    """For 1,000 records above those that are included."""
    tokens: Amount = Decimal(0)
    """For 1,000,000 tokens above those that are included."""
    jobs: Amount = Decimal(0)
    """For each job above those that are included."""


class Plan(_Section):
    """What a customer may use in a calendar month in UTC, and what it costs."""

    requests: Annotated[int, Field(ge=0)] | None = None
    """Requests per month; a request for several verticals counts for each. None sets no limit."""
    records: Annotated[int, Field(ge=0)] | None = None
    """Texts or records per month."""
    tokens: Annotated[int, Field(ge=0)] | None = None
    """Tokens per month."""
    jobs: Annotated[int, Field(ge=0)] | None = None
    """Jobs that are started per month."""
    rate: str | None = None
    """Rate limit of the whole customer, such as 600/minute."""
    verticals: list[str] | None = None
    """The verticals that the customer may use; None allows all that its keys may."""
    included: dict[Unit, Annotated[int, Field(ge=0)]] = {}
    """What the monthly price includes, by unit."""
    prices: Prices = Prices()

    @field_validator("rate")
    @classmethod
    def _readable(cls, value: str | None) -> str | None:
        return value if value is None else checked_rate(value)

    def limit(self, unit: Unit) -> int | None:
        """Return how much of a unit may be used in a month; None if there is no limit."""
        limits = {"requests": self.requests, "records": self.records, "tokens": self.tokens, "jobs": self.jobs}
        return limits[unit]


class Plans(_Section):
    """All plans, and which customer has which."""

    plans: dict[str, Plan]
    customers: dict[str, str] = {}
    """By the name of a customer, the name of its plan."""
    default: str | None = None
    """The plan of all other customers; None sets them no limits."""

    @model_validator(mode="after")
    def _known(self) -> Plans:
        for plan in (*self.customers.values(), *([] if self.default is None else [self.default])):
            if plan not in self.plans:
                raise ValueError(f"the plan '{plan}' is not among the plans {', '.join(self.plans)}")
        return self

    def of(self, customer: str) -> Plan | None:
        """Return the plan of a customer; None if it has none."""
        name = self.customers.get(customer, self.default)
        return None if name is None else self.plans[name]


def read_plans(file: Path) -> Plans:
    """Read a file of plans; raise NotFound if it does not exist, and ConfigError if it can't be read as plans."""
    if not file.is_file():
        raise NotFound(f"There is no file {file} with plans. Write one, or name another: --set plans=FILE")
    return build(Plans, read_yaml(file), "plans")


class Line(BaseModel):
    """One line of an invoice."""

    customer: str
    item: Literal["month", "requests", "records", "tokens", "jobs"]
    used: int
    charged: int
    """How many units are paid for, beyond those that are included."""
    price: Decimal
    """For one month, 1,000 requests or records, 1,000,000 tokens, or one job."""
    amount: Decimal
    currency: str


def invoice(plans: Plans, used: Usage) -> list[Line]:
    """Return what a customer pays for its usage of one month, rounded to hundredths for each line; empty without a plan."""
    plan = plans.of(used.customer)
    if plan is None:
        return []
    prices = plan.prices
    lines = [_line(used.customer, "month", (1, 1), prices.month, amount=prices.month, currency=prices.currency)]
    for unit in _PER:
        price, total = getattr(prices, unit), getattr(used, unit)
        charged = max(0, total - plan.included.get(unit, 0))
        lines.append(_line(used.customer, unit, (total, charged), price, amount=price * charged / _PER[unit], currency=prices.currency))
    return [line for line in lines if line.price]


def invoices(plans: Plans, used: Sequence[Usage], others: Iterable[str]) -> list[Line]:
    """Return what customers pay for a month, in the order of their names.

    `others` are customers that may not have used anything: they pay what their plan costs for each month.
    """
    lines = {one.customer: invoice(plans, one) for one in used}
    for name in set(others) - lines.keys():
        nothing = Usage("", name, "", "", requests=0, records=0, tokens=0, cached_tokens=0)
        lines[name] = [line for line in invoice(plans, nothing) if line.item == "month"]
    return [line for name in sorted(lines) for line in lines[name]]


def _line(
    customer: str, item: Literal["month", "requests", "records", "tokens", "jobs"], used: tuple[int, int], price: Decimal, amount: Decimal,
    currency: str,
) -> Line:  # fmt: skip
    rounded = amount.quantize(_CENT, ROUND_HALF_UP)
    return Line(customer=customer, item=item, used=used[0], charged=used[1], price=price, amount=rounded, currency=currency)


def month_of(day: date) -> tuple[date, date]:
    """Return the first day of the month of a day, and the first day of the month after."""
    first = day.replace(day=1)
    return first, (first.replace(year=first.year + 1, month=1) if first.month == 12 else first.replace(month=first.month + 1))


def parse_month(text: str) -> tuple[date, date]:
    """Return the first day of a month such as `2030-01`, and the first day of the month after; raise ConfigError for any other text."""
    try:
        return month_of(date.fromisoformat(f"{text}-01"))
    except ValueError as error:
        raise ConfigError(f"The month is '{text[:20]}'; expected a year and a month. Write it as 2030-01.") from error


def seconds_left(now: datetime) -> float:
    """Return the seconds until the next month begins."""
    return (datetime.combine(month_of(now.date())[1], datetime.min.time(), UTC) - now).total_seconds()
