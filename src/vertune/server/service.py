"""Builds the objects that all requests of a server share: models, aliases, readiness probe and metrics; independent of HTTP."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, field

from cachetools import LRUCache

from vertune.answering.call import Listener
from vertune.answering.service import AnswerService
from vertune.core.artifact import Home
from vertune.core.errors import ConfigError
from vertune.core.files import free_space
from vertune.core.watch import WatchFile
from vertune.server import following
from vertune.server.chat.chats import Chats
from vertune.server.compared import Comparisons
from vertune.server.feedback import FeedbackBox, FeedbackLimits
from vertune.server.following import AliasFollower
from vertune.server.job_requests import Sources
from vertune.server.jobs import Jobs
from vertune.server.logs import log_request
from vertune.server.nearest import TrainingRows
from vertune.server.open_alerts import OpenAlerts
from vertune.server.openid import Provider
from vertune.server.people import People
from vertune.server.prometheus import PrometheusMetrics
from vertune.server.quotas import Quotas
from vertune.server.readiness import Readiness, ReadinessProbe
from vertune.server.recording import Recorder
from vertune.server.rollouts import Rollouts, RolloutStates
from vertune.server.settings import Settings
from vertune.server.shadows import Shadows
from vertune.server.texts import StoredTexts
from vertune.server.tracing import Tracer
from vertune.server.watching import Watching
from vertune.store.database import Database
from vertune.store.plans import read_plans

_log = logging.getLogger("vertune")
_REPEATED = 10_000
"""Number of last idempotency keys that a server knows; repetitions of earlier ones are counted once too, and have ids of their own."""


@dataclass(slots=True)
class Service:
    """The models that one server serves, with the objects that update them, check their readiness and collect metrics."""

    settings: Settings
    home: Home
    database: Database | None = None
    """Where requests, answers and usage are stored; None stores nothing."""
    only: frozenset[str] = frozenset()
    """The names under which models are served; empty serves all models to which an alias NAME@live points."""
    draining: bool = False
    """Whether the server is stopping and accepts no more requests."""
    loaded: bool = False
    """Whether each model that needs no preparation was loaded, or could not be loaded."""
    changed: Callable[[], None] | None = None
    """Called after each update in which models were loaded or unloaded, or in which the states of other models changed."""
    answers: AnswerService = field(init=False)
    aliases: AliasFollower = field(init=False)
    probe: ReadinessProbe = field(init=False)
    metrics: PrometheusMetrics = field(init=False)
    repeated: MutableMapping[tuple[str, str], tuple[str, str]] = field(default_factory=lambda: LRUCache(_REPEATED))
    """By customer and idempotency key, the id and a hash of the first request with this key."""
    _measured: bool = False
    _shadows: Shadows = field(init=False)
    listeners: list[Listener] = field(init=False)
    """The functions called with every finished call of a client."""
    tracer: Tracer | None = field(init=False)
    """What sends the finished calls to a collector; None if they are not sent."""
    recorder: Recorder | None = field(init=False)
    """What stores the finished calls; None if they are not stored."""
    rollouts: Rollouts | None = field(init=False)
    """What compares candidates with live models; None without a database."""
    open_alerts: OpenAlerts | None = field(init=False)
    """What counts the open alerts for the metrics; None without a database."""
    jobs: Jobs | None = field(init=False)
    """What runs jobs; None without a database, or without processors for them."""
    watching: Watching | None = field(init=False)
    """What watches the verticals; None without a database, or without a file that says how."""
    sources: Sources = field(init=False)
    """Where the records of jobs may come from."""
    quotas: Quotas | None = field(init=False)
    """What refuses customers that have used up their plan; None without plans."""
    texts: StoredTexts = field(init=False)
    """In which form texts are stored."""
    feedback: FeedbackBox | None = field(init=False)
    """What takes feedback; None without a database."""
    people: People | None = field(init=False)
    """Who may sign in; None without a database, or if requests need no key."""
    openid: Provider | None = field(init=False)
    """The provider by which people sign in; None without one."""
    comparisons: Comparisons = field(default_factory=Comparisons)
    """What the labels of several annotators say, compared with each other."""
    chats: Chats | None = field(init=False)
    """The apps and their conversations; None without a database."""
    training_rows: TrainingRows = field(init=False)
    """The training rows of the models, for people who may read them."""

    def __post_init__(self) -> None:
        self.metrics = PrometheusMetrics(lambda: self.answers.batcher.queued, lambda: self.answers.fleet.deployments, self.states)
        self.metrics.watch("disk_free_bytes", "Free space on the disk of the home folder.", lambda: free_space(self.home.folder))
        self.answers = AnswerService(self.home, self.settings.answers, on_batch=self.metrics.count_batch)
        self.aliases = AliasFollower(self.answers.fleet, self.only, self.settings.preparation)
        self.probe = ReadinessProbe(self.answers)
        self.training_rows = TrainingRows(self.home)
        self._shadows = Shadows(self.answers)
        self.listeners = [self.metrics.count_call, log_request]
        self.tracer = None
        if self.settings.traces:
            self.tracer = Tracer(self.settings.traces)
            self.listeners.append(self.tracer)
        self.recorder = None
        self.rollouts = None
        self.open_alerts = None
        if self.database is not None:
            self.open_alerts = OpenAlerts(self.database)
            self.metrics.registry.register(self.open_alerts)
            self.rollouts = Rollouts(self.answers.fleet, self.database, self.try_update, self._shadows.ask)
            self.listeners.append(self.rollouts)
            self.metrics.registry.register(RolloutStates(self.rollouts))
        self.texts = StoredTexts(self.settings.traffic.keep_text)
        self.sources = Sources.read(self.settings.jobs.sources)
        self.jobs = None
        if self.database is not None and self.settings.jobs.cores:
            self.jobs = Jobs(self.database, self.home.folder, self.settings.jobs)
            self.metrics.watch("jobs_running", "Jobs that run on this server.", lambda: self.jobs.running if self.jobs else 0)
        self.watching = None
        if self.settings.watch is not None:
            if self.database is None or not self.settings.traffic.keep:
                raise ConfigError("Monitors need stored requests, but traffic.keep is false. Leave out one of the two settings.")
            self.watching = Watching(self.home, self.database, WatchFile.read(self.settings.watch), self.jobs, self.rollouts)
        self.quotas = None
        if self.settings.plans is not None:
            if self.database is None or not self.settings.traffic.keep:
                raise ConfigError("Plans need usage, which is not counted with traffic.keep=false. Leave out one of the two settings.")
            self.quotas = Quotas(self.database, read_plans(self.settings.plans))
            self.listeners.append(self.quotas)
        if self.database is not None and self.settings.traffic.keep:
            written = (lambda usage: None) if self.quotas is None else self.quotas.written
            self.recorder = Recorder(self.database, self.texts, self.settings.traffic, written)
            self.listeners.append(self.recorder)
            writer = self.recorder.writer
            about = "Answered requests that are counted in the usage, but not stored, because the database could not be written."
            self.metrics.watch("unstored_requests", about, lambda: writer.dropped)
            self.metrics.watch("storage_failing", "1 if requests can't be stored at the moment, else 0.", lambda: bool(writer.failure))
        waits = (lambda id, customer: False) if self.recorder is None else self.recorder.waits
        self.people = None if self.database is None or self.settings.open else People(self.database, self.settings.sessions)
        self.openid = Provider(self.settings.openid) if self.people is not None and self.settings.openid.issuer else None
        limits = FeedbackLimits(self.settings.limits.characters, self.settings.traffic.feedback)
        self.feedback = None if self.database is None else FeedbackBox(self.database, self.texts, waits, limits)
        self.chats = None
        if self.database is not None:
            self.chats = Chats(self.home, self.answers, self.database, self.settings.chat, self.texts, registry=self.metrics.registry)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start to compute predictions for requests that are handled in this event loop."""
        self.answers.start(loop)
        self._shadows.start(loop)
        if self.database is not None:
            self.database.hold()
        for follower in (self.rollouts, self.open_alerts, self.quotas, self.jobs):
            if follower is not None:
                follower.polling.start()
        if self.people is not None:
            self.people.sessions.watch()
        if self.recorder is not None:
            self.recorder.start()
        if self.watching is not None:
            self.watching.start()
        if self.chats is not None:
            self.chats.start(loop)

    def drain(self) -> None:
        """Accept no more requests, and let none wait for something that happens later; called in the event loop."""
        self.draining = True
        if self.chats is not None:
            self.chats.drain()

    def stop(self) -> None:
        """Stop the threads that compute batches, and the process that prepares models if it is running."""
        if self.watching is not None:
            self.watching.stop()
        for follower in (self.rollouts, self.open_alerts, self.quotas):
            if follower is not None:
                follower.polling.stop()
        if self.jobs is not None:
            self.jobs.stop()
        if self.people is not None:
            self.people.sessions.close()
        if self.chats is not None:
            self.chats.stop()
        self.answers.close()
        self.aliases.stop()
        if self.recorder is not None:
            self.recorder.stop()
        if self.tracer is not None:
            self.tracer.stop()

    def storage_trouble(self) -> str:
        """Return why requests can't be stored at the moment; empty if they can be, or are not to be stored."""
        failing = self.recorder is not None and self.recorder.writer.failure
        return "the database can't be written, so requests are only counted, and feedback is refused; the log says why" if failing else ""

    async def follow(self) -> None:
        """Load and unload models every `following.INTERVAL` seconds, until the task is cancelled."""
        while True:
            await asyncio.sleep(following.INTERVAL)
            await asyncio.to_thread(self.try_update)

    def try_update(self) -> None:
        """Do the same as `update`, but log an exception instead of raising it."""
        try:
            self.update()
        except Exception:
            _log.exception("The models could not be updated. The next attempt is in %g s.", following.INTERVAL)

    def update(self) -> None:
        """Load and unload models as the aliases require; when the first models are loaded, measure the best batch size."""
        before = self.answers.fleet.deployments, self.aliases.pending
        self.aliases.update()
        if not self._measured and self.answers.fleet.deployments:
            self._measured = True
            self.answers.measure()
        self.loaded = True
        if self.changed is not None and before != (self.answers.fleet.deployments, self.aliases.pending):
            self.changed()

    def states(self) -> dict[str, tuple[bool, str]]:
        """Return by name, for each model that is or should be served: whether a model is served, and the state of the one that is not.

        The state is empty if the served model is the one to which the alias points.
        """
        served, pending = self.answers.fleet.deployments, self.aliases.pending
        names = served.keys() | pending.keys()
        return {name: (name in served, pending[name].state if name in pending else "") for name in sorted(names)}

    async def ready(self) -> Readiness:
        """Return whether the server can answer requests, with the reason if it can't.

        It can as soon as the models that need no preparation are loaded and at least one of them answers. Models that can't be served,
        or must be prepared first, do not count, so that one damaged model does not stop the requests to all others. A server without any
        model can take the jobs that make the first one.
        """
        if self.draining:
            return Readiness(False, "the server is stopping")
        if not self.loaded:
            return Readiness(False, "the models are still being loaded")
        if self.jobs is not None and not self.states():
            return Readiness(True)
        return await self.probe.check()
