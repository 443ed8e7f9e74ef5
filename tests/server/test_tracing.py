"""Finished calls arrive at a collector as spans, within the trace that the client named, and without texts."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.server.running import until
from vertune.core.errors import ConfigError
from vertune.server.tracing import Tracer

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def collector():
    """A collector, its URL, and what it received."""
    received: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *given) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/traces", received
    server.shutdown()
    thread.join()
    server.server_close()


def spans(received: list[bytes]) -> list:
    requests = [ExportTraceServiceRequest.FromString(content) for content in received]
    return [span for request in requests for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans]


def test_a_call_is_a_span_with_its_steps_in_the_trace_of_the_client(home, start, collector) -> None:
    url, received = collector
    running = start(home, traces=url)
    text = "zebra in oslo"
    running.ask.post("/v1/verticals/intent/predict", json={"texts": [text]}, headers={"traceparent": f"00-{TRACE}-{SPAN}-01"})
    running.ask.post("/v1/verticals/nobody/predict", json={"texts": [text]})
    running.service.tracer.stop()
    until(lambda: spans(received))
    calls = {span.name: span for span in spans(received) if span.trace_id.hex() == TRACE}
    assert set(calls) == {"predict", "tokenise", "wait", "compute"}
    call = calls["predict"]
    assert call.parent_span_id.hex() == SPAN
    for name in ("tokenise", "wait", "compute"):
        assert calls[name].parent_span_id == call.span_id
        assert call.start_time_unix_nano <= calls[name].start_time_unix_nano <= calls[name].end_time_unix_nano
    told = {attribute.key: attribute.value for attribute in call.attributes}
    assert told["http.response.status_code"].int_value == 200
    assert told["vertune.records"].int_value == 1
    assert told["vertune.verticals"].array_value.values[0].string_value.startswith("intent=")
    others = [span for span in spans(received) if span.trace_id.hex() != TRACE and not span.parent_span_id]
    assert 404 in {value.value.int_value for span in others for value in span.attributes if value.key == "http.response.status_code"}
    assert not any(b"zebra" in content for content in received)


def test_another_url_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected the URL of a collector"):
        Tracer("localhost:4318")


def test_a_collector_that_is_away_holds_up_nothing(home, start, monkeypatch) -> None:
    """Without a limit, the exporter would try again for at least 5.6 s before the server ends."""
    monkeypatch.setattr("vertune.server.tracing._STOP_SECONDS", 0.1)
    running = start(home, traces="http://127.0.0.1:9/v1/traces")
    assert running.ask.post("/v1/verticals/intent/predict", json={"texts": ["a"]}).status_code == 200
    began = time.monotonic()
    running.service.tracer.stop()
    assert time.monotonic() - began < 5
    until(lambda: not any(thread.name == "tracer-stop" for thread in threading.enumerate()))
