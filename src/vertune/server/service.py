"""Builds the objects that all requests of a server share: models, aliases, readiness probe and metrics; independent of HTTP."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from vertune.answering.call import Listener
from vertune.answering.service import AnswerService
from vertune.core.artifact import Home
from vertune.server.following import AliasFollower
from vertune.server.prometheus import PrometheusMetrics
from vertune.server.readiness import Readiness, ReadinessProbe
from vertune.server.settings import Settings


@dataclass(slots=True)
class Service:
    """The models that one server serves, with the objects that update them, check their readiness and collect metrics."""

    settings: Settings
    home: Home
    only: frozenset[str] = frozenset()
    """The names under which models are served; empty serves all models to which an alias NAME@live points."""
    draining: bool = False
    """Whether the server is stopping and accepts no more requests."""
    answers: AnswerService = field(init=False)
    aliases: AliasFollower = field(init=False)
    probe: ReadinessProbe = field(init=False)
    metrics: PrometheusMetrics = field(init=False)
    listeners: list[Listener] = field(init=False)
    """The functions called with every finished call of a client."""

    def __post_init__(self) -> None:
        self.metrics = PrometheusMetrics(lambda: self.answers.batcher.queued, lambda: self.answers.fleet.deployments)
        self.answers = AnswerService(self.home, self.settings.answers, on_batch=self.metrics.count_batch)
        self.aliases = AliasFollower(self.answers.fleet, self.only)
        self.probe = ReadinessProbe(self.answers)
        self.listeners = [self.metrics.count_call]

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start to compute predictions for requests that are handled in this event loop."""
        self.answers.start(loop)

    def stop(self) -> None:
        """Stop the threads that compute batches, and the process that prepares models if it is running."""
        self.answers.close()
        self.aliases.stop()

    async def ready(self) -> Readiness:
        """Return whether the server can answer requests, with the reason if it can't."""
        return Readiness(False, "the server is stopping") if self.draining else await self.probe.check()
