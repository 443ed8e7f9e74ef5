"""What the server counts and times, in the form that Prometheus reads; knows nothing of requests or models."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from vertune.core.kinds import Task
from vertune.core.records import Answer
from vertune.queueing.batcher import Batch

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)


class Measures:
    """One registry a server, so that two servers in one process don't mix."""

    def __init__(self, queued: Callable[[], float], served: Callable[[], float]) -> None:
        """`queued` tells the tokens that wait, `served` how many verticals are answered for."""
        self.registry = CollectorRegistry()
        self._requests = self._counter("requests", "Requests that were answered, by resource and status.", "resource", "status")
        self._rejected = self._counter("rejections", "Requests that were refused, by reason.", "reason")
        self._hits = self._counter("cache_hits", "Answers that needed no forward pass.", "vertical")
        self._answers = self._counter("answers", "Answers, by vertical and what they say.", "vertical", "label")
        self._tokens = self._counter("tokens", "Tokens that were computed, without padding.")
        self._confidence = self._histogram("confidence", "How sure an answer is, from 0 to 1.", _SHARES, "vertical")
        self._times = {
            "waiting": self._histogram("waiting_seconds", "Time until the first token of a request is in a batch.", _SECONDS),
            "tokenizing": self._histogram("tokenizing_seconds", "Time in which a request's texts become tokens.", _SECONDS),
            "inference": self._histogram("inference_seconds", "Time of the batches that a request was in.", _SECONDS),
            "total": self._histogram("request_seconds", "Time from a request's arrival to its answer.", _SECONDS),
        }
        self._fill = self._histogram("batch_fill", "Share of a batch that is not padding.", _SHARES)
        self._rows = self._histogram("batch_items", "Sequences of a batch.", (1, 2, 4, 8, 16, 32, 64, 128, 256))
        Gauge("vertune_queued_tokens", "Tokens that wait.", registry=self.registry).set_function(queued)
        Gauge("vertune_verticals", "Verticals that are served.", registry=self.registry).set_function(served)
        self._child = cache(self._labelled)

    def request(self, resource: str, status: int, seconds: float) -> None:
        """Count a request, and what it took."""
        self._child(self._requests, resource, str(status)).inc()
        self._times["total"].observe(seconds)

    def rejected(self, reason: str) -> None:
        """Count a refusal."""
        self._child(self._rejected, reason).inc()

    def time(self, name: str, seconds: float) -> None:
        """One observation of `waiting`, `tokenizing` or `inference`."""
        self._times[name].observe(seconds)

    def batch(self, batch: Batch) -> None:
        """What a batch was like."""
        self._tokens.inc(batch.tokens)
        self._fill.observe(batch.tokens / batch.padded)
        self._rows.observe(batch.items)

    def hits(self, vertical: str, number: int) -> None:
        """Count answers that were kept."""
        self._child(self._hits, vertical).inc(number)

    def answered(self, vertical: str, task: Task, answers: list[Answer]) -> None:
        """Count the labels that answers name, and how sure the answers are."""
        for answer in answers:
            for label in task.named(answer):
                self._child(self._answers, vertical, label).inc()
            confidence = task.confidence(answer)
            if confidence is not None:
                self._child(self._confidence, vertical).observe(confidence)

    def page(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)

    def _labelled(self, metric: Any, *values: str) -> Any:
        return metric.labels(*values)

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"vertune_{name}", about, labels, registry=self.registry)

    def _histogram(self, name: str, about: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"vertune_{name}", about, labels, buckets=buckets, registry=self.registry)
