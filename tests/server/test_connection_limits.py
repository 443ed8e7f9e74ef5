"""How many connections an address, a key and all together may have, and what is logged of those that are refused."""

from __future__ import annotations

import json
import logging
from collections import Counter
from contextlib import ExitStack, closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server.conftest import admin
from tests.server.running import Wire, request, until
from vertune.core.errors import ConfigError
from vertune.server import open_files, repeated
from vertune.server.connections import Connection, ConnectionTable, network
from vertune.server.open_files import connection_capacity
from vertune.store.database import Database
from vertune.store.keys import Keys

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
PATH = "/v1/verticals/intent/predict"
BODY = json.dumps({"texts": ["soup"]}).encode()
LIMITS = {"connections": 16, "connections_per_address": 4, "connections_per_key": 6, "reading": 20.0}


def asked(secret: str) -> bytes:
    return request(PATH, BODY, f"Authorization: Bearer {secret}")


@pytest.fixture
def limited(home, start):
    """A server with keys that keeps few connections, the secrets of two keys, and a function that connects."""
    with closing(Keys(Database(home.folder / "server.db"))) as keys:
        secrets = [keys.create(name, ["predict"])[0] for name in "ab"]
    running = start(home, admin(home), limits=LIMITS)
    with ExitStack() as stack:
        yield running, secrets, lambda *sent, source="127.0.0.1": stack.enter_context(Wire(running.port, *sent, source=source))


# ------------------------------------------------------------------ a server


def test_an_address_without_a_key_leaves_room_for_others(limited) -> None:
    running, (secret, _), connect = limited
    waiting = [connect(b"GET /health/live HTTP/1.1\r\n") for _ in range(4)]
    until(lambda: running.connections() == 4)
    refused = connect().end()
    assert refused.startswith(b"HTTP/1.1 429 Too Many Requests")
    assert b"4 connections without a valid API key" in refused
    assert b"retry-after: 1" in refused
    assert connect(asked(secret), source="127.0.0.2").answer()[0] == 200
    waiting.pop().socket.close()
    until(lambda: running.connections() <= 4)
    assert connect(asked(secret)).answer()[0] == 200
    assert running.metric("vertune_connection_events_total", kind="address_limit") == 1


def test_connections_with_a_key_do_not_count_for_their_address(limited) -> None:
    _, secrets, connect = limited
    for place in range(10):
        assert connect(asked(secrets[place % 2])).answer()[0] == 200


def test_a_key_has_a_number_of_connections_and_another_key_its_own(limited) -> None:
    running, (first, second), connect = limited
    kept = [connect(asked(first)) for _ in range(6)]
    assert [wire.answer()[0] for wire in kept] == [200] * 6
    kept[0].send(asked(first))
    assert kept[0].answer()[0] == 200, "as often as it likes on those that it has"
    over = connect(asked(first))
    status, body = over.answer()
    assert status == 429
    assert "has 6 open connections" in json.loads(body)["detail"]
    assert connect(asked(second)).answer()[0] == 200
    kept.pop().socket.close()
    until(lambda: running.connections() <= 8)
    over.send(asked(first))
    assert over.answer()[0] == 200


def test_a_server_full_of_connections_without_a_key_makes_room(limited) -> None:
    running, (secret, _), connect = limited
    idle = [connect(source=f"127.0.0.{2 + place // 4}") for place in range(15)]
    begun = connect(b"GET /health", source="127.0.0.9")
    until(lambda: running.connections() == 16)
    late = [connect(asked(secret), source="127.0.0.10") for _ in range(5)]
    assert [wire.answer()[0] for wire in late] == [200] * 5
    assert [wire.end() for wire in idle[:5]] == [b""] * 5, "the oldest went"
    begun.send(b"/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert begun.answer()[0] == 200
    assert running.metric("vertune_connection_events_total", kind="closed_for_room") == 5


def test_a_server_full_of_connections_with_keys_is_full(limited) -> None:
    running, (first, second), connect = limited
    third = running.ask.headers["Authorization"].removeprefix("Bearer ")
    kept = [connect(asked(secret)) for secret in (first, second, third) for _ in range(5 if secret is not third else 6)]
    assert [wire.answer()[0] for wire in kept] == [200] * 16
    said = connect(source="127.0.0.2").end()
    assert said.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 1" in said


def test_behind_a_proxy_all_share_an_address_and_a_connection(home, start) -> None:
    with closing(Keys(Database(home.folder / "server.db"))) as keys:
        secrets = [keys.create(name, ["predict"])[0] for name in "abc"]
    running = start(home, admin(home), limits={**LIMITS, "connections_per_key": 1}, behind_proxy=True)
    with ExitStack() as stack:
        wires = [stack.enter_context(Wire(running.port)) for _ in range(10)]
        for wire in wires:
            for secret in secrets:
                wire.send(asked(secret))
                assert wire.answer()[0] == 200


# ------------------------------------------------------------------ the table


class Model:
    """The same limits, counted anew each time."""

    def __init__(self, maximum: int, per_address: int, per_key: int) -> None:
        self.limits = maximum, per_address, per_key
        self.open: list[tuple[Connection, str]] = []
        self.keys: dict[Connection, str | None] = {}

    def check(self, table: ConnectionTable) -> None:
        assert len(table) == len(self.open) <= self.limits[0]
        strangers = Counter(host for connection, host in self.open if connection not in self.keys)
        owners = Counter(owner for owner in self.keys.values() if owner is not None)
        assert all(number <= self.limits[1] for number in strangers.values())
        assert all(number <= self.limits[2] for number in owners.values())
        assert (table._by_address, table._by_key) == (strangers, owners)


OPERATIONS = st.tuples(st.sampled_from(["open", "open", "accept", "remove", "twice"]), st.integers(0, 7), st.sampled_from("abc"))


@settings(max_examples=150, deadline=None)
@given(st.lists(OPERATIONS, max_size=60))
def test_the_table_counts_as_a_list_would(operations) -> None:
    table, model = ConnectionTable(6, 3, 2), Model(6, 3, 2)

    def forget(connection) -> None:
        model.open = [pair for pair in model.open if pair[0] is not connection]
        model.keys.pop(connection, None)

    for kind, number, letter in operations:
        chosen = model.open[number % len(model.open)][0] if model.open else None
        if kind == "open":
            closed: list[Connection] = []
            found = table.open(letter, lambda: None)
            if not isinstance(found, Connection):
                strangers = [connection for connection, _ in model.open if connection not in model.keys]
                same = [host for connection, host in model.open if connection not in model.keys and host == letter]
                assert (found == "address") == (len(same) == 3)
                assert found == "address" or not strangers, "somebody could have made room"
                continue
            if len(model.open) == 6:
                closed = [connection for connection, _ in model.open if connection not in model.keys][:1]
                forget(closed[0])
                assert closed[0].accept("a"), "its request may still be on its way"
                table.remove(closed[0])
            model.open.append((found, letter))
        elif chosen is not None and kind == "accept":
            owned = [connection for connection, owner in model.keys.items() if owner == letter]
            allowed = chosen.accept(letter)
            assert allowed == (chosen in owned or len(owned) < 2)
            if allowed:
                model.keys[chosen] = letter
        elif chosen is not None:
            for _ in range(2 if kind == "twice" else 1):
                table.remove(chosen)
            forget(chosen)
        model.check(table)


def test_what_an_address_is() -> None:
    assert network("10.1.2.3") == network("::ffff:10.1.2.3") == "10.1.2.3"
    assert network("2001:db8::1") == network("2001:db8:0:0:ffff::2") != network("2001:db8:0:1::1")
    assert network("fe80::1%eth0") == "fe80::/64"
    assert network("no address") == "no address"


# ------------------------------------------------------------------ files


@pytest.mark.parametrize(("soft", "hard"), [(300, 300), (300, 700), (1024, 4096), (1024, 1 << 20), (1 << 20, 1 << 20)])
def test_connections_fit_into_the_files_that_may_be_open(monkeypatch, caplog, soft, hard) -> None:
    limits = [soft, hard]
    monkeypatch.setattr(open_files.resource, "getrlimit", lambda which: tuple(limits))
    monkeypatch.setattr(open_files.resource, "setrlimit", lambda which, given: limits.__setitem__(slice(None), given))
    found = connection_capacity(2048)
    assert soft <= limits[0] <= limits[1] == hard
    assert 0 < found.connections <= 2048
    assert found.connections + 2 * found.backlog + open_files._open_files() <= limits[0]
    assert (found.connections < 2048) == bool(caplog.records)
    assert found.connections == 2048 or limits[0] == hard, "the limit was raised as far as allowed"


def test_too_few_files_for_any_connection_are_told(monkeypatch) -> None:
    monkeypatch.setattr(open_files.resource, "getrlimit", lambda which: (64, 64))
    monkeypatch.setattr(open_files.resource, "setrlimit", lambda which, given: pytest.fail("it can't be raised"))
    with pytest.raises(ConfigError, match=r"may open only 64 files.* ulimit -n"):
        connection_capacity(2048)


# ------------------------------------------------------------------ the log


def test_a_thousand_malformed_requests_are_two_lines(limited, caplog, monkeypatch) -> None:
    monkeypatch.setattr(repeated, "PERIOD", 0.5)
    running, _, connect = limited
    for place in range(100):
        assert connect(b"GARBAGE\r\n\r\n", source=f"127.0.0.{2 + place % 7}").end().startswith(b"HTTP/1.1 400")
    until(lambda: any("count=99 " in record.getMessage() for record in caplog.records) or len(caplog.records) > 1)
    lines = [record.getMessage() for record in caplog.records]
    counted = [int(line.split("count=")[1].split()[0]) for line in lines]
    assert all(line.startswith("event=malformed_request count=") for line in lines)
    assert lines[0] == "event=malformed_request count=1 seconds=0 last_address=127.0.0.2"
    assert len(lines) <= 5
    until(lambda: running.metric("vertune_connection_events_total", kind="malformed_request") == 100)
    assert sum(counted) <= 100
    assert caplog.records[0].levelno == logging.WARNING
