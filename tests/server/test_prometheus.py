"""What is counted is what happened, in a form that Prometheus reads."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import closing

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.server.conftest import TEXTS, admin
from tests.server.running import problem
from vertune.core.ids import time_ordered_id
from vertune.store import alerts
from vertune.store.alerts import Alert
from vertune.store.database import Database
from vertune.store.keys import Keys

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
KINDS = {
    "vertune_requests": "counter", "vertune_rejections": "counter", "vertune_cache_hits": "counter", "vertune_answers": "counter",
    "vertune_tokens": "counter", "vertune_confidence": "histogram", "vertune_waiting_seconds": "histogram",
    "vertune_tokenizing_seconds": "histogram", "vertune_inference_seconds": "histogram", "vertune_request_seconds": "histogram",
    "vertune_batch_fill": "histogram", "vertune_batch_items": "histogram", "vertune_queued_tokens": "gauge", "vertune_verticals": "gauge",
    "vertune_vertical_ready": "gauge", "vertune_vertical_pending": "gauge", "vertune_open_alerts": "gauge",
}  # fmt: skip


@pytest.fixture
def running(home, start):
    return start(home, admin(home), cache=100, limits={"items": 100})


def test_the_page_is_what_prometheus_reads(running) -> None:
    running.predict("intent", "soup")
    page = running.ask.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain; version=")
    families = {family.name: family for family in text_string_to_metric_families(page.text)}
    assert {name: families[name].type for name in KINDS} == KINDS
    assert all(families[name].documentation for name in KINDS)


def test_promtool_finds_nothing_wrong(running) -> None:
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is not installed")
    running.predict("intent", "soup")
    done = subprocess.run([tool, "check", "metrics"], input=running.ask.get("/metrics").text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_answers_are_counted_by_what_they_say(running) -> None:
    found = running.predict("intent", *TEXTS).json()["answers"]
    for label in ("food", "place"):
        assert running.metric("vertune_answers_total", vertical="intent", label=label) == [one["label"] for one in found].count(label)
    assert running.metric("vertune_confidence_count", vertical="intent") == len(TEXTS)
    assert running.metric("vertune_confidence_sum", vertical="intent") == pytest.approx(sum(one["probability"] for one in found))
    spans = [span["label"] for one in running.predict("spans", *TEXTS).json()["answers"] for span in one["spans"]]
    assert running.metric("vertune_answers_total", vertical="spans") == len(spans)
    running.predict("find", "soup")
    assert running.metric("vertune_answers_total", vertical="find") == 0  # a vector says nothing that could be counted
    assert [running.metric("vertune_records_total", vertical=name) for name in ("intent", "spans", "find")] == [*[len(TEXTS)] * 2, 1]


def test_a_request_is_timed_and_its_tokens_counted(running) -> None:
    served = running.service.answers.fleet.get("intent")
    features = served.predictor.encoder.encode([{"text": text} for text in TEXTS], served.task.views(["text"]))
    names = ("waiting", "tokenizing", "inference", "request")
    before = {name: running.metric(f"vertune_{name}_seconds_count") for name in names}
    tokens = running.metric("vertune_tokens_total")
    running.predict("intent", *TEXTS)
    assert {name: running.metric(f"vertune_{name}_seconds_count") - before[name] for name in names} == dict.fromkeys(names, 1)
    assert running.metric("vertune_tokens_total") - tokens == sum(feature.cost for feature in features)
    assert running.metric("vertune_requests_total", resource="predict", status="200") == 1
    assert 0 < running.metric("vertune_batch_fill_sum") <= running.metric("vertune_batch_fill_count")
    assert running.metric("vertune_batch_items_sum") >= len(TEXTS)
    assert running.metric("vertune_queued_tokens") == 0
    assert running.metric("vertune_verticals") == 5


def test_kept_answers_are_counted_and_compute_nothing(running) -> None:
    running.predict("intent", "soup", "rome")
    batches = running.metric("vertune_batch_items_count")
    running.predict("intent", "rome", "soup")
    assert running.metric("vertune_batch_items_count") == batches
    assert running.metric("vertune_cache_hits_total", vertical="intent") == 2
    assert running.metric("vertune_answers_total", vertical="intent") == 4


def test_refusals_are_counted_once_by_their_reason(running) -> None:
    with closing(Keys(Database(running.service.home.folder / "server.db"))) as keys:
        secret = keys.create("bound", ["predict"], ["whole"], rate="2/minute")[0]
    reasons = {}

    def count(reason: str, status: int, ask) -> None:
        before = running.metric("vertune_rejections_total")
        problem(ask(), status)
        reasons[reason] = running.metric("vertune_rejections_total", reason=reason)
        assert running.metric("vertune_rejections_total") == before + 1, reason

    other = {"headers": {"Authorization": f"Bearer {secret}"}, "json": {"texts": ["a"]}}
    count("key", 401, lambda: running.ask.post("/v1/predict", headers={"Authorization": "Bearer vt_no"}))
    count("rights", 403, lambda: running.ask.post("/v1/verticals/intent/predict", **other))
    running.ask.post("/v1/verticals/whole/predict", **other)
    count("rate", 429, lambda: running.ask.post("/v1/verticals/whole/predict", **other))
    for _ in range(2):  # at first no rate is known, and it is refused when its turn comes
        running.predict("intent", *TEXTS * 10)
    count("busy", 503, lambda: running.predict("intent", *["tell me of rome " * 5] * 90, X_Deadline_Ms="0.05"))
    running.service.draining = True
    count("stopping", 503, lambda: running.predict("intent", "a"))
    assert running.ask.get("/health/ready").status_code == 503
    assert running.metric("vertune_rejections_total", reason="stopping") == 1, "a look at the health is no request that was refused"
    running.service.draining = False
    assert reasons == dict.fromkeys(reasons, 1)


def test_open_alerts_are_counted_by_vertical_and_severity(running) -> None:
    with running.database.writing() as connection:
        for vertical, severity, state in [
            ("intent", "critical", "open"), ("intent", "critical", "open"), ("spans", "info", "open"), ("spans", "warning", "acknowledged"),
        ]:  # fmt: skip
            alert = Alert(time_ordered_id(), vertical, "drift", "errors", severity, state, "", "", None, 1.0, "", [])
            alerts.add(connection, alert)
    running.service.open_alerts.update()
    assert running.metric("vertune_open_alerts", vertical="intent", severity="critical") == 2
    assert running.metric("vertune_open_alerts") == 3


def test_a_look_at_the_health_is_no_traffic(running) -> None:
    """What drifts is measured on these counts."""
    assert running.ask.get("/health/ready").json()["ready"] is True
    assert running.metric("vertune_answers_total") == running.metric("vertune_confidence_count") == 0
