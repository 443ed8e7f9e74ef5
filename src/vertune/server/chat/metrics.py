"""Prometheus metrics of conversations: how many began, what was replied, what was handed over and waits; does not depend on HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector


class _Open(Collector):
    """The conversations that are open, by app and by who answers; the values are read from the server at each request."""

    def __init__(self, counts: Callable[[], Mapping[tuple[str, str], int]]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the metric."""
        about = "Open conversations, by app and stage: bot, waiting (for a person) or agent."
        metric = GaugeMetricFamily("vertune_conversations_open", about, labels=["app", "stage"])
        for (app, stage), number in self._counts().items():
            metric.add_metric([app, stage], number)
        yield metric


class _LongestWait(Collector):
    """How long the conversation has waited for a person that has waited longest, by app."""

    def __init__(self, since: Callable[[], Mapping[str, str]]) -> None:
        self._since = since

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the metric; it has no value for an app without a conversation that waits."""
        about = "Seconds for which the conversation has waited for a person that has waited longest, by app."
        metric = GaugeMetricFamily("vertune_conversations_longest_wait_seconds", about, labels=["app"])
        for app, since in self._since().items():
            metric.add_metric([app], max(0.0, (datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds()))
        yield metric


class ChatMetrics:
    """The metrics of the conversations of one server."""

    def __init__(
        self, registry: CollectorRegistry, counts: Callable[[], Mapping[tuple[str, str], int]], waiting: Callable[[], Mapping[str, str]]
    ) -> None:  # fmt: skip
        """`counts` returns the numbers of open conversations by app and stage, `waiting` since when the first one waits, by app."""
        registry.register(_Open(counts))
        registry.register(_LongestWait(waiting))
        self._begun = Counter("vertune_conversations", "Conversations that began, by app.", ["app"], registry=registry)
        about = "Messages of visitors, by app and what was done: the action of the reply, or stored if a person answers."
        self._messages = Counter("vertune_chat_messages", about, ["app", "action"], registry=registry)
        about = "Conversations that were handed over to people, by app and reason."
        self._handed = Counter("vertune_handovers", about, ["app", "reason"], registry=registry)
        about = "Actions of the operator that apps asked for, by name and result: done, failed or retried."
        self._actions = Counter("vertune_chat_actions", about, ["name", "result"], registry=registry)

    def begun(self, app: str) -> None:
        """Count a conversation that began."""
        self._begun.labels(app).inc()

    def answered(self, app: str, action: str | None) -> None:
        """Count a message of a visitor, with the action of the reply; None if there is none."""
        self._messages.labels(app, action or "stored").inc()

    def handed_over(self, app: str, reason: str) -> None:
        """Count a conversation that waits for a person now."""
        self._handed.labels(app, reason).inc()

    def called(self, name: str, result: str) -> None:
        """Count an attempt to call an action of the operator."""
        self._actions.labels(name, result).inc()
