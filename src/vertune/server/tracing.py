"""Sends each finished call as spans to a collector, by OpenTelemetry; no text of a user is in them; does not depend on HTTP."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from vertune import __version__
from vertune.answering.call import Call
from vertune.core.errors import ConfigError, MissingExtra

if TYPE_CHECKING:
    from opentelemetry.context import Context

_NANOSECONDS = 1e9
_STOP_SECONDS = 2.0
"""Maximum seconds in which what is left is sent when a server stops."""


class Tracer:
    """A listener of calls, which makes a span of each, with one span within it for each step that took time.

    If the client named a trace (W3C Trace Context), the spans belong to it. They are sent in groups by a thread, and dropped if the
    collector can't be reached.
    """

    def __init__(self, url: str) -> None:
        """`url` is where a collector takes traces by OTLP over HTTP, such as `http://localhost:4318/v1/traces`.

        Raises ConfigError for another URL, and MissingExtra if OpenTelemetry is not installed.
        """
        if not url.startswith(("http://", "https://")):
            raise ConfigError(
                f"The setting traces is '{url[:80]}'; expected the URL of a collector. Write http://localhost:4318/v1/traces."
            )
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            raise MissingExtra("Tracing", "tracing", "opentelemetry-sdk") from error
        self._provider = TracerProvider(
            resource=Resource({"service.name": "vertune", "service.version": __version__}), shutdown_on_exit=False
        )
        self._exporter = OTLPSpanExporter(endpoint=url)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("vertune")

    def __call__(self, call: Call) -> None:
        """Make the spans of a finished call."""
        from opentelemetry import trace
        from opentelemetry.trace import SpanKind, Status, StatusCode

        end = time.time()
        start = end - call.total
        attributes: dict[str, str | int | list[str]] = {
            "vertune.request": call.id, "http.response.status_code": call.status, "vertune.customer": call.customer,
            "vertune.verticals": [f"{one.name}={one.model.id}" for one in call.verticals], "vertune.records": len(call.records),
            "vertune.tokens": call.tokens, "vertune.cached_tokens": call.cached_tokens,
        }  # fmt: skip
        span = self._tracer.start_span(
            call.resource or "other", _parent(call), SpanKind.SERVER, attributes, start_time=int(start * _NANOSECONDS)
        )  # fmt: skip
        within = trace.set_span_in_context(span)
        for name, seconds in (("tokenise", call.tokenizing), ("wait", call.waiting), ("compute", call.inference)):
            if seconds is not None:
                step = self._tracer.start_span(name, within, start_time=int(start * _NANOSECONDS))
                start += seconds
                step.end(int(start * _NANOSECONDS))
        if call.status >= 500:
            span.set_status(Status(StatusCode.ERROR))
        span.end(int(end * _NANOSECONDS))

    def stop(self) -> None:
        """Send what is left, for at most 2 s: a server does not wait for a collector that is away."""
        ending = threading.Thread(target=self._provider.shutdown, name="tracer-stop", daemon=True)
        ending.start()
        ending.join(_STOP_SECONDS)
        if ending.is_alive():
            self._exporter.shutdown()  # type: ignore[no-untyped-call]  # which ends its waiting for the next try


def _parent(call: Call) -> Context | None:
    """Return the context of the span that the client named; None without one."""
    from opentelemetry import trace
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

    if not call.trace or not call.parent:
        return None
    named = SpanContext(int(call.trace, 16), int(call.parent, 16), is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    return trace.set_span_in_context(NonRecordingSpan(named))
