"""Plans: what a file of plans may say, and what an invoice says of usage."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from vertune.core.errors import ConfigError, NotFound
from vertune.store.plans import invoice, month_of, parse_month, read_plans, seconds_left
from vertune.store.usage import Usage

PLANS = """
plans:
  free: {requests: 100}
  paid:
    tokens: 1000000
    rate: 600/minute
    included: {requests: 1000}
    prices: {currency: USD, month: 49.90, requests: 2, tokens: 0.5}
customers: {bank: paid}
default: free
"""


@pytest.fixture
def read(tmp_path):
    def read_text(text):
        (tmp_path / "plans.yaml").write_text(text)
        return read_plans(tmp_path / "plans.yaml")

    return read_text


def test_who_has_which_plan(read):
    plans = read(PLANS)
    assert plans.of("bank") == plans.plans["paid"]
    assert plans.of("anybody") == plans.plans["free"]
    assert read(PLANS.replace("default: free", "")).of("anybody") is None
    assert [plans.of("bank").limit(unit) for unit in ("requests", "records", "tokens")] == [None, None, 1_000_000]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("requests: 100}", "requests: -1}", "requests"), ("600/minute", "often", "rate"), ("{bank: paid}", "{bank: gold}", "'gold'"),
        ("default: free", "default: gold", "'gold'"), ("USD", "dollars", "currency"), ("month: 49.90", "month: -1", "month"),
        ("tokens: 1000000", "token: 1", "token"), ("included: {requests", "included: {calls", "included"),
    ],
)  # fmt: skip
def test_what_is_no_plan(read, old, new, said):
    assert old in PLANS
    with pytest.raises(ConfigError, match=said):
        read(PLANS.replace(old, new))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(NotFound, match="--set plans=FILE"):
        read_plans(tmp_path / "plans.yaml")


@pytest.mark.parametrize(
    ("requests", "tokens", "amounts"),
    [
        (0, 0, {"month": "49.90", "requests": "0.00", "tokens": "0.00"}), (1000, 1_000_000, {"requests": "0.00", "tokens": "0.50"}),
        (2500, 123_456_789, {"month": "49.90", "requests": "3.00", "tokens": "61.73"}), (1001, 1, {"requests": "0.00"}),
        (1003, 10_000, {"requests": "0.01", "tokens": "0.01"}),
    ],
)  # fmt: skip
def test_an_invoice(read, requests, tokens, amounts):
    lines = {line.item: line for line in invoice(read(PLANS), Usage("", "bank", "", "", requests, 5, tokens=tokens, cached_tokens=0))}
    assert set(lines) == {"month", "requests", "tokens"}, "what costs nothing is no line"
    for item, amount in amounts.items():
        assert lines[item].amount == Decimal(amount)
    assert lines["requests"].charged == max(0, requests - 1000)
    assert {line.currency for line in lines.values()} == {"USD"}


def test_without_prices_there_is_nothing_to_pay(read):
    assert invoice(read(PLANS), Usage("", "anybody", "", "", 10, 10, tokens=10, cached_tokens=0)) == []


def test_months():
    assert parse_month("2030-12") == (date(2030, 12, 1), date(2031, 1, 1))
    assert month_of(date(2028, 2, 29)) == (date(2028, 2, 1), date(2028, 3, 1))
    assert seconds_left(datetime(2030, 1, 31, 23, 59, 30, tzinfo=UTC)) == 30
    for wrong in ("2030", "2030-13", "January"):
        with pytest.raises(ConfigError, match="2030-01"):
            parse_month(wrong)
