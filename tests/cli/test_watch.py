"""`vertune watch`: tries channels, does once what is due, and watches until it is stopped."""

import json
import os
import signal
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from tests.cli.test_versions import home as home
from tests.cli.test_versions import model
from tests.cli.test_versions import run as run
from vertune.cli import watch as command
from vertune.core.artifact import Home
from vertune.core.errors import Busy, ConfigError, NotFound, Unavailable
from vertune.steps.watch import SCHEDULE
from vertune.store import alerts, measurements
from vertune.store.alerts import Memory
from vertune.store.database import FILE, Database, format_time
from vertune.store.leases import Lease
from vertune.store.measurements import Measurement


@pytest.fixture
def file(home, tmp_path):
    """The file of an operator, with a live model whose monitors are not due and saw a change."""
    Home(home).alias("support@live", model(1))
    now = datetime.now(UTC)
    at = [format_time(now - timedelta(hours=hours)) for hours in (1, 0)]
    with closing(Database(home / FILE)) as database, database.writing() as connection:
        measurements.add(connection, [Measurement("support", "text_drift", *at, 0.8, 0.7, 0.9, 0.001, 500, "changed", "It changed.", [])])
        alerts.remember(connection, "support", SCHEDULE, Memory(state={"ran": at[1], "next": format_time(now + timedelta(hours=1))}))
        alerts.add(
            connection, alerts.Alert("a" * 32, "support", "drift", "text_drift", "warning", "open", *at, None, 0.8, "It changed.", [])
        )
    written = tmp_path / "watch.yaml"
    written.write_text(json.dumps({"channels": [{"name": "file", "path": str(tmp_path / "alerts.jsonl")}]}))
    return written


def told(file):
    return [json.loads(line)["event"] for line in (file.parent / "alerts.jsonl").read_text(encoding="utf-8").split("\n") if line]


def test_what_is_due_is_done_once(run, file):
    code, said = run("watch", "--file", str(file), "--once")
    assert (code, told(file)) == (0, ["opened"])
    assert "1 open alerts; 1 messages sent" in said
    assert "It changed." in said
    assert "0 messages sent" in run("watch", "support", "--file", str(file), "--once")[1]


def test_channels_are_tried_and_the_first_failure_is_the_exit_code(run, file):
    assert run("watch", "--file", str(file), "--test")[0] == 0
    assert told(file) == ["test"]
    channels = [{"name": "command", "command": ["/bin/false"]}, {"name": "file", "path": str(file.parent / "alerts.jsonl")}]
    file.write_text(json.dumps({"channels": channels}))
    code, said = run("watch", "--file", str(file), "--test")
    assert code == Unavailable.exit_code
    assert "file: sent" in said
    assert run("watch", "--test")[0] == ConfigError.exit_code, "a model has no channels"


def test_what_can_not_be_watched_is_named(run, file, home):
    assert run("watch", "nobody", "--once")[0] == NotFound.exit_code
    assert run("watch", "--file", "none.yaml", "--once")[0] == NotFound.exit_code
    Home(home).unalias("support@live")
    assert run("watch", "--once")[0] == NotFound.exit_code


def test_nothing_is_done_while_another_process_watches(run, file, home, monkeypatch):
    monkeypatch.setattr(command, "_PATIENCE", -1)
    with closing(Database(home / FILE)) as database:
        lease = Lease(database, "watch")
        lease.renew()
        code, said = run("watch", "--file", str(file), "--once")
    assert code == Busy.exit_code
    assert "Another process watches" in said


def test_it_watches_until_it_is_stopped(run, file, monkeypatch):
    monkeypatch.setattr("vertune.server.watching.STEP", 0.05)
    monkeypatch.setattr("vertune.server.watching.DELIVERY", 0.05)
    threading.Timer(1.0, os.kill, [os.getpid(), signal.SIGTERM]).start()
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    try:
        code, said = run("watch", "--file", str(file))
    finally:
        for number, handler in zip((signal.SIGTERM, signal.SIGINT), before, strict=True):
            signal.signal(number, handler)
    assert (code, told(file)) == (0, ["opened"])
    assert "Watching support." in said
