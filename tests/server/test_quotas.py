"""Quotas: what a customer may still ask, on one server and on several, and what it is told."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from tests.server.conftest import TEXTS, admin
from tests.server.running import LONG, problem, until
from vertune.core.errors import ConfigError
from vertune.server.service import Service
from vertune.server.settings import Settings
from vertune.store import schema
from vertune.store.database import Database, format_time
from vertune.store.keys import Keys

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
PLANS = """
plans:
  small: {requests: 10, verticals: [intent, spans]}
  slow: {rate: 3/hour, prices: {month: 5, requests: 1000}}
customers: {bank: small, shop: slow}
"""


@pytest.fixture
def plans(tmp_path):
    file = tmp_path / "plans.yaml"
    file.write_text(PLANS)
    return file


@pytest.fixture
def secret(home):
    """Makes a key of a customer, and returns its headers."""
    keys = Keys(Database(home.folder / "server.db"))

    def make(customer):
        return {"Authorization": f"Bearer {keys.create('app', ['predict', 'feedback'], customer=customer)[0]}"}

    return make


def ask(running, headers, vertical="intent", texts=("a",)):
    return running.stranger.post(f"/v1/verticals/{vertical}/predict", json={"texts": list(texts)}, headers=headers)


def test_a_quota_that_is_used_up_says_what_to_do(home, start, plans, secret) -> None:
    running = start(home, admin(home), plans=plans)
    bank = secret("bank")
    found = [ask(running, bank) for _ in range(10)]
    assert [one.status_code for one in found] == [200] * 10
    assert [one.headers.get("x-quota-warning") for one in found] == [None] * 8 + ["requests 8 of 10", "requests 9 of 10"]
    refused = ask(running, bank)
    assert "larger plan" in problem(refused, 429)
    assert 0 < int(refused.headers["retry-after"]) <= 31 * 86_400
    assert "larger plan" in problem(ask(running, secret("bank")), 429), "keys of a customer share its quota"
    assert running.metric("vertune_rejections_total", reason="quota") == 2
    assert running.predict("intent", *TEXTS).status_code == 200, "other customers go on"
    assert running.stranger.get("/v1/usage", headers=bank).status_code == 200
    assert running.service.recorder.writer.flush()
    usage = running.stranger.get("/v1/usage", headers=bank, params={"by": "vertical"}).json()["usage"]
    assert [(row["vertical"], row["requests"]) for row in usage] == [("intent", 10)]


def test_requests_at_once_are_not_all_within_the_last_of_a_quota(home, start, plans, secret, monkeypatch) -> None:
    running = start(home, admin(home), plans=plans)
    bank, answers = secret("bank"), running.service.answers
    assert [ask(running, bank).status_code for _ in range(8)] == [200] * 8
    assert running.service.recorder.writer.flush()
    both, release, answer = threading.Barrier(3), threading.Event(), answers.answer

    async def slow(call):
        await asyncio.to_thread(both.wait, LONG)
        await asyncio.to_thread(release.wait, LONG)
        return await answer(call)

    monkeypatch.setattr(type(answers), "answer", lambda self, call: slow(call))
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(ask, running, bank) for _ in range(2)]
        both.wait(LONG)
        assert ask(running, bank).status_code == 429, "two are computed, and two are left"
        release.set()
        assert [one.result().status_code for one in waiting] == [200, 200]
    monkeypatch.undo()
    assert ask(running, bank).status_code == 429
    assert running.service.quotas._running == {}


def test_servers_share_a_quota_and_a_restart_forgets_nothing(home, start, plans, secret, monkeypatch) -> None:
    monkeypatch.setattr("vertune.server.quotas.INTERVAL", 0.1)
    key = admin(home)
    one, other = start(home, key, plans=plans), start(home, key, plans=plans)
    bank = secret("bank")
    for running in (one, other) * 5:
        assert ask(running, bank).status_code == 200
    until(lambda: ask(one, bank).status_code == 429 and ask(other, bank).status_code == 429)
    later = start(home, key, plans=plans)
    until(lambda: ask(later, bank).status_code == 429, 3)


def test_a_plan_names_the_verticals(home, start, plans, secret) -> None:
    running = start(home, admin(home), plans=plans)
    bank = secret("bank")
    assert "'find'" in problem(ask(running, bank, "find"), 403)
    both = running.stranger.post("/v1/predict", json={"verticals": ["intent", "find"], "texts": ["a"]}, headers=bank)
    assert "'find'" in problem(both, 403)
    assert ask(running, bank, "spans").status_code == 200


def test_the_rate_of_a_plan_is_that_of_all_keys(home, start, plans, secret) -> None:
    running = start(home, admin(home), plans=plans)
    keys = [secret("shop"), secret("shop")]
    assert [ask(running, keys[number % 2]).status_code for number in range(5)] == [200, 200, 200, 429, 429]


def test_an_invoice(home, start, plans, secret) -> None:
    running = start(home, admin(home), plans=plans)
    shop = secret("shop")
    for _ in range(2):
        ask(running, shop)
    assert running.service.recorder.writer.flush()
    month = running.ask.get("/v1/usage", params={"by": "day"}).json()["usage"][0]["day"][:7]
    lines = running.ask.get("/v1/invoice", params={"month": month}).json()["lines"]
    assert [(line["customer"], line["item"], line["amount"]) for line in lines] == [("shop", "month", "5.00"), ("shop", "requests", "2.00")]
    table = running.ask.get("/v1/invoice", params={"month": month, "media_type": "text/csv"}).text
    assert table.splitlines()[0].startswith("customer,item,used,charged,price,amount,currency")
    assert running.ask.get("/v1/invoice", params={"month": "2020-01"}).json()["lines"] == []
    problem(running.ask.get("/v1/invoice", params={"month": "soon"}), 422)


def test_a_month_without_use_costs_what_the_month_costs(home, start, plans, secret) -> None:
    file = plans.read_text() + "default: idle\n"
    plans.write_text(file.replace("customers:", "  idle: {prices: {month: 1}}\ncustomers:"))
    running, now = start(home, admin(home), plans=plans), datetime.now(UTC)
    shop, _ = secret("shop"), secret("bank")
    revoked = secret("left")["Authorization"].split("_")[1]
    running.keys.revoke(revoked)
    ann = {"name": "ann", "role": "annotator", "password": "four words are enough", "customer": "press"}
    assert running.ask.post("/v1/users", json=ann).status_code == 201

    def lines(month, **headers):
        found = running.stranger.get("/v1/invoice", params={"month": f"{month:%Y-%m}"}, **headers).json()["lines"]
        return [(line["customer"], line["item"], line["amount"]) for line in found]

    everybody = {"headers": dict(running.ask.headers)}
    month = [("left", "month", "1.00"), ("press", "month", "1.00"), ("shop", "month", "5.00")]
    assert lines(now, **everybody) == month, "a plan without prices is no line, and the operator pays nothing"
    assert lines(now, headers=shop) == month[2:]
    long = timedelta(days=40)
    assert lines(now + long, **everybody) == lines(now - long, **everybody) == []
    with running.database.writing() as connection:
        past = {"created": format_time(now - 3 * long)}
        connection.execute(schema.keys.update().values(past))
        connection.execute(schema.keys.update().where(schema.keys.c.id == revoked).values(revoked=format_time(now - 2 * long)))
    assert lines(now, **everybody) == month[1:], "a key that was revoked before"
    assert lines(now - long, **everybody) == month[2:]
    assert lines(now - 2 * long, **everybody) == [month[0], month[2]]


def test_plans_need_usage(home, plans) -> None:
    with pytest.raises(ConfigError, match=r"traffic\.keep"):
        Service(Settings(plans=plans, traffic={"keep": False}), home, None)
