"""What is wrong with a server is found, and nothing where all is well; the answers of servers are written out here."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from vertune import __version__
from vertune.client.client import Client
from vertune.client.diagnosis import diagnose

READY = {"ready": True, "why": "", "age": 1.0, "queued": 0, "serving": 2, "pending": 0, "unhealthy": 0, "storage": ""}
GOOD = {"name": "support", "ready": True, "fault": None, "coming": None}
METRICS = """\
vertune_disk_free_bytes 5e+11
vertune_requests_total{resource="predict",status="200"} 1000.0
vertune_queued_tokens 10.0
vertune_unstored_requests 0.0
"""


def found(
    ready=READY, verticals=(GOOD,), metrics=METRICS, status=200, hours=0.0, version=__version__, key="vt_x", date=None
) -> dict[str, tuple[str, str]]:
    """The findings about a server that answers like this, by what was looked at."""

    def answer(request: httpx.Request) -> httpx.Response:
        headers = {"Date": date} if date else {"Date": format_datetime(datetime.now(UTC) + timedelta(hours=hours), usegmt=True)}
        if request.url.path == "/health/ready":
            return httpx.Response(200 if ready.get("ready") else 503, json=ready, headers=headers)
        if request.url.path == "/openapi.json":
            return httpx.Response(200, json={"info": {"version": version}})
        if request.url.path == "/metrics":
            return httpx.Response(200, text=metrics) if metrics else httpx.Response(403, json={"detail": "It belongs to a customer."})
        return httpx.Response(
            status, text=json.dumps({"verticals": list(verticals)} if status == 200 else {"detail": "The key is unknown."})
        )

    with Client("http://localhost:1", key, transport=httpx.MockTransport(answer)) as client:
        return {one.what: (one.level, f"{one.found} {one.advice}") for one in diagnose(client, __version__)}


def test_nothing_is_found_where_all_is_well() -> None:
    assert {level for level, _ in found().values()} == {"good"}
    assert set(found()) == {"connection", "clock", "version", "readiness", "storage", "verticals", "requests", "disk"}


@pytest.mark.parametrize(
    ("changes", "what", "level", "told"),
    [
        ({"ready": {**READY, "ready": False, "why": "the models are still being loaded"}}, "readiness", "bad", "still being loaded"),
        ({"ready": {**READY, "storage": "the disk is full"}}, "storage", "bad", "The disk is full"),
        ({"ready": {"hello": "world"}}, "connection", "bad", "no vertune server"),
        ({"hours": -1.0}, "clock", "warning", "-360"),
        ({"status": 401}, "API key", "bad", "The key is unknown."),
        ({"status": 401, "key": ""}, "API key", "warning", "none is set"),
        ({"version": "0.0.1"}, "version", "warning", "The server has vertune 0.0.1"),
        ({"ready": {**READY, "ready": False, "why": "no worker thread is running"}}, "readiness", "bad", "Restart"),
        ({"ready": {**READY, "unhealthy": 2}}, "unhealthy", "bad", "something else than when they were made: 2."),
        ({"ready": {**READY, "pending": 1}}, "pending", "warning", "not served: 1."),
        ({"verticals": []}, "verticals", "warning", "None is served"),
        ({"metrics": ""}, "metrics", "warning", "belongs to a customer"),
        ({"metrics": METRICS.replace("5e+11", "1.5e+9")}, "disk", "warning", "1,500 MB are free"),
        ({"status": 500}, "verticals", "bad", "status 500"),
        ({"verticals": [{**GOOD, "fault": "its outputs differ"}]}, "support", "bad", "vertune rollback support"),
        ({"verticals": [{**GOOD, "coming": {"state": "failed", "model": "m-1", "why": "no memory"}}]}, "support", "bad", "no memory"),
        ({"verticals": [{**GOOD, "coming": {"state": "damaged", "model": "m-1", "why": ""}}]}, "support", "bad", "Restore"),
        ({"verticals": [{**GOOD, "coming": {"state": "preparing", "model": "m-1"}}]}, "support", "warning", "preparing"),
        ({"metrics": METRICS.replace("10.0", "60000.0")}, "queue", "warning", "60,000 tokens"),
        ({"metrics": METRICS + 'vertune_requests_total{resource="predict",status="500"} 50.0\n'}, "requests", "bad", "50 of 1,050"),
        ({"metrics": METRICS.replace("unstored_requests 0", "unstored_requests 7")}, "storage", "warning", "7 answered"),
    ],
)  # fmt: skip
def test_each_trouble_is_found(changes, what, level, told) -> None:
    findings = found(**changes)
    assert findings[what][0] == level
    assert told in findings[what][1]


@pytest.mark.parametrize("date", ["yesterday", "Mon, 99 Jan 2030 00:00:00 GMT"])
def test_a_date_that_a_proxy_spoilt_is_no_error(date) -> None:
    assert "clock" not in found(date=date)


@pytest.mark.allow_hosts(["127.0.0.1"])
def test_a_server_that_is_not_there_is_found() -> None:
    with Client("http://127.0.0.1:9", "vt_x", deadline=2.0) as client:
        (finding,) = diagnose(client, __version__)
    assert (finding.level, finding.what) == ("bad", "connection")
    assert "vertune serve" in finding.advice
