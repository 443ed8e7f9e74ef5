"""The log: one line of JSON for each entry and each request, with ids by which they are found, and without texts and secrets."""

from __future__ import annotations

import io
import json
import logging

import pytest

from tests.server.conftest import admin
from vertune.core.errors import StorageError
from vertune.server.logs import configure, trace_of

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def logged():
    """What is logged as JSON; the logger is as it was afterwards."""
    stream = io.StringIO()
    handler = configure("json", stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logger = logging.getLogger("vertune")
    for one in (logger, logging.getLogger()):
        one.removeHandler(handler)
    logger.propagate = True
    logging.getLogger("vertune.requests").setLevel(logging.NOTSET)


def test_each_request_is_a_line(home, start, logged) -> None:
    running = start(home, admin(home))
    text = "a private text"
    found = running.predict("intent", text, traceparent=f"00-{TRACE}-00f067aa0ba902b7-01")
    refused = running.predict("intent", text, "")
    entries = {entry["request"]: entry for entry in logged() if "request" in entry}
    answered, failed = entries[found.headers["x-request-id"]], entries[refused.headers["x-request-id"]]
    assert (answered["status"], answered["trace"], answered["records"], answered["resource"]) == (200, TRACE, 1, "predict")
    assert answered["verticals"] == [f"intent={found.json()['model']}"]
    assert (answered["key"], answered["customer"]) == (running._key.split("_")[1], "default")
    assert found.json()["ids"] == [f"{answered['request']}-0"]
    assert (failed["status"], failed["trace"]) == (422, failed["request"])
    assert text not in str(logged())
    assert running._key.split("_", 2)[2] not in str(logged())


def test_errors_are_entries_too(logged) -> None:
    text = "a text of a user"
    logging.getLogger("vertune").warning("the disk of %s is full", "a")
    try:
        raise ZeroDivisionError(text) from StorageError("The disk of FILE is full.")
    except ZeroDivisionError:
        logging.getLogger("vertune").exception("failed\nbadly")
        logging.getLogger("asyncio").exception("failed too")
    first, second, third = logged()
    assert (first["level"], first["message"]) == ("warning", "the disk of a is full")
    assert second["message"] == "failed\nbadly"
    for entry in (second, third):
        assert entry["error"].endswith("ZeroDivisionError")
        assert "test_errors_are_entries_too" in entry["error"]
        assert "StorageError: The disk of FILE is full." in entry["error"]
        assert text not in str(entry)


def test_standard_error_may_be_replaced_and_closed(monkeypatch) -> None:
    closed, later = io.StringIO(), io.StringIO()
    monkeypatch.setattr("sys.stderr", closed)
    for name in ("vertune", None):
        monkeypatch.setattr(logging.getLogger(name), "handlers", [])  # those of servers that still run would write here too
    handler = configure("text")
    try:
        closed.close()
        monkeypatch.setattr("sys.stderr", later)
        logging.getLogger("vertune").error("an error of %s", "a user")
    finally:
        logging.getLogger("vertune").removeHandler(handler)
        logging.getLogger().removeHandler(handler)
        logging.getLogger("vertune").propagate = True
        logging.getLogger("vertune.requests").setLevel(logging.NOTSET)
    assert later.getvalue() == "an error of a user\n"


def test_text_has_no_requests() -> None:
    stream = io.StringIO()
    handler = configure("text", stream)
    try:
        logging.getLogger("vertune.requests").info("request")
        logging.getLogger("vertune").error("an error")
    finally:
        logging.getLogger("vertune").removeHandler(handler)
        logging.getLogger().removeHandler(handler)
        logging.getLogger("vertune").propagate = True
        logging.getLogger("vertune.requests").setLevel(logging.NOTSET)
    assert stream.getvalue() == "an error\n"


@pytest.mark.parametrize(
    ("value", "trace"),
    [
        (f"00-{TRACE}-00f067aa0ba902b7-01", TRACE), (f"cc-{TRACE}-00f067aa0ba902b7-00", TRACE), (f"ff-{TRACE}-00f067aa0ba902b7-01", ""),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", ""), (f"00-{TRACE.upper()}-00f067aa0ba902b7-01", ""), ("", ""), (TRACE, ""),
        (f"00-{TRACE}-00f067aa0ba902b7-01\n", ""),
    ],
)  # fmt: skip
def test_traces_of_other_services(value, trace) -> None:
    assert trace_of([(b"host", b"a"), (b"traceparent", value.encode())]) == (trace, trace and "00f067aa0ba902b7")
    assert trace_of([]) == ("", "")
