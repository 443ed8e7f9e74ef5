"""Prometheus metrics: counters and histograms of finished calls (requests) and of batches; does not depend on HTTP or models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from vertune.answering.call import Call
from vertune.core.records import Answer
from vertune.queueing.batcher import Batch
from vertune.runtime.fleet import Deployment

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)


class _States(Collector):
    """The metrics of served models and of models that should be served; their values are read from the server at each request."""

    def __init__(self, states: Callable[[], Mapping[str, tuple[bool, str]]]) -> None:
        self._states = states

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the metrics."""
        states = self._states()
        yield GaugeMetricFamily(
            "vertune_verticals", "Number of verticals (models) that are served.", sum(served for served, _ in states.values())
        )
        ready = GaugeMetricFamily("vertune_vertical_ready", "1 if a model is served under this name, else 0.", labels=["vertical"])
        about = "1 for each live model that is not served, with the reason: loading, preparing, waiting, failed or damaged."
        pending = GaugeMetricFamily("vertune_vertical_pending", about, labels=["vertical", "state"])
        for name, (served, state) in states.items():
            ready.add_metric([name], float(served))
            if state:
                pending.add_metric([name, state], 1.0)
        yield ready
        yield pending


class PrometheusMetrics:
    """The metrics of one server. They have a registry of their own, so the metrics of two servers in one process do not mix."""

    def __init__(
        self, queued_tokens: Callable[[], float], verticals: Callable[[], Mapping[str, Deployment]],
        states: Callable[[], Mapping[str, tuple[bool, str]]],
    ) -> None:  # fmt: skip
        """`queued_tokens` returns the number of tokens that wait in the queue, and `verticals` the served models by name.

        `states` returns by name, for each model that is or should be served: whether a model is served under this name, and the state of
        the model that is not served yet, empty if there is none.

        The functions are called each time the metrics are read.
        """
        self.registry = CollectorRegistry()
        self._requests = self._counter("requests", "Finished requests, by resource (endpoint) and HTTP status.", "resource", "status")
        self._rejections = self._counter("rejections", "Refused requests, by reason.", "reason")
        self._connections = self._counter("connection_events", "Refused or broken connections, by kind.", "kind")
        self._hits = self._counter("cache_hits", "Predictions that were taken from the cache, by vertical (model).", "vertical")
        self._answers = self._counter("answers", "Predictions, by vertical (model) and predicted label.", "vertical", "label")
        self._records = self._counter("records", "Answered records, by vertical (model).", "vertical")
        self._tokens = self._counter("tokens", "Tokens that the models computed, without padding.")
        self._confidence = self._histogram("confidence", "Confidence of a prediction, from 0 to 1.", _SHARES, "vertical")
        self._waiting = self._histogram("waiting_seconds", "Time in the queue until the first batch of a request begins.", _SECONDS)
        self._tokenizing = self._histogram("tokenizing_seconds", "Time to tokenise the texts of a request.", _SECONDS)
        self._inference = self._histogram(
            "inference_seconds", "Total computing time of the batches that contained inputs of a request.", _SECONDS
        )
        self._total = self._histogram("request_seconds", "Time from the arrival of a request to its response.", _SECONDS)
        self._fill = self._histogram("batch_fill", "Fraction of the tokens of a batch that are not padding.", _SHARES)
        self._rows = self._histogram("batch_items", "Number of sequences in a batch.", (1, 2, 4, 8, 16, 32, 64, 128, 256))
        self.watch("queued_tokens", "Number of tokens that wait in the queue.", queued_tokens)
        self.registry.register(_States(states))
        self._verticals = verticals
        self._healthy = Gauge(
            "vertune_vertical_healthy", "1 if the vertical (model) computes what it must, else 0.", ["vertical"], registry=self.registry
        )
        self._child = cache(self._labelled)

    def watch(self, name: str, about: str, value: Callable[[], float]) -> None:
        """Add a metric whose value is read each time the metrics are read."""
        Gauge(f"vertune_{name}", about, registry=self.registry).set_function(value)

    def count_call(self, call: Call) -> None:
        """Update the metrics with a finished call. Only requests for predictions, and failed requests of any kind, are counted."""
        refused = call.status >= 400
        if call.resource or refused:
            self._child(self._requests, "refused" if refused else call.resource, str(call.status)).inc()
            self._total.observe(call.total)
        if call.refusal:
            self._child(self._rejections, call.refusal).inc()
        for histogram, seconds in (
            (self._tokenizing, call.tokenizing), (self._waiting, call.waiting), (self._inference, call.inference)
        ):  # fmt: skip
            if seconds is not None:
                histogram.observe(seconds)
        for deployment, hits, answers in zip(call.verticals, call.cache_hits, call.answers, strict=False):
            if hits:
                self._child(self._hits, deployment.name).inc(hits)
            if not refused:
                self._count_answers(deployment, answers)

    def count_batch(self, batch: Batch) -> None:
        """Update the metrics with the statistics of a computed batch."""
        self._tokens.inc(batch.tokens)
        self._fill.observe(batch.tokens / batch.padded)
        self._rows.observe(batch.items)

    def count_connection(self, kind: str) -> None:
        """Count a connection that was refused or broken; `kind` is the reason, one of a few fixed words."""
        self._child(self._connections, kind).inc()

    def page(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        self._healthy.clear()
        for name, deployment in self._verticals().items():
            self._healthy.labels(name).set(not deployment.health.fault)
        return generate_latest(self.registry)

    def _count_answers(self, deployment: Deployment, answers: Sequence[Answer | None]) -> None:
        vertical, task = deployment.name, deployment.task
        self._child(self._records, vertical).inc(sum(answer is not None for answer in answers))
        for answer in answers:
            if answer is None:
                continue
            for label in task.named(answer):
                self._child(self._answers, vertical, label).inc()
            confidence = task.confidence(answer)
            if confidence is not None:
                self._child(self._confidence, vertical).observe(confidence)

    def _labelled(self, metric: Any, *values: str) -> Any:
        return metric.labels(*values)

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"vertune_{name}", about, labels, registry=self.registry)

    def _histogram(self, name: str, about: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"vertune_{name}", about, labels, buckets=buckets, registry=self.registry)
