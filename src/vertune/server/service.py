"""What all requests share: the verticals in memory, the batcher, kept answers, measures; knows nothing of HTTP."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

from vertune.core.artifact import Artifact, Home
from vertune.core.errors import Busy, NotFound, VertuneError
from vertune.core.machine import usable_processors
from vertune.core.records import Feature
from vertune.queueing.batcher import Batcher
from vertune.queueing.fair_queue import BatchLimits
from vertune.runtime.cache import LRUCache
from vertune.runtime.fleet import Deployment, Executor, Fleet, Payload
from vertune.runtime.warmup import batch_budget
from vertune.server.measures import Measures
from vertune.server.settings import Settings

_log = logging.getLogger("vertune")
_LOOK = 1.0
"""Seconds between two looks at the aliases of the home."""
_STALE = 5.0
"""Seconds after which a success is too old to tell that the next request will be answered, so that one is tried."""


@dataclass(slots=True)
class Coming:
    """A model that is to be served and is not yet."""

    model: str
    """Empty where the alias leads to none."""
    state: str
    """`preparing`, what it waits for, or why it can't be served."""


@dataclass(slots=True)
class Service:
    """One server's verticals and all that answers with them."""

    settings: Settings
    home: Home
    fleet: Fleet = field(init=False)
    measures: Measures = field(init=False)
    untold: Measures = field(init=False)
    """What trials are counted in, which nobody reads."""
    kept: LRUCache[Hashable, Any] = field(init=False)
    batcher: Batcher = field(init=False)
    coming: dict[str, Coming] = field(default_factory=dict)
    only: frozenset[str] = frozenset()
    """The verticals that are served; empty serves all that are live."""
    draining: bool = False
    _child: subprocess.Popen[bytes] | None = None
    _seen: tuple[tuple[str, int, int], ...] = ()
    _tried: set[str] = field(default_factory=set)
    _looking: Lock = field(default_factory=Lock)
    """Held by who looks: an admin's request must not be undone by a look that began before it."""
    _trial: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        workers = self.settings.workers or 1
        threads = self.settings.threads or max(1, (usable_processors() - 1) // workers)  # one processor is left to HTTP
        self.fleet = Fleet(self.home, self.settings.memory, threads, self.settings.exact, self.settings.device)
        self.measures, self.untold = (Measures(lambda: self.batcher.queued, lambda: len(self.fleet.deployments)) for _ in range(2))
        self.kept = LRUCache(max(1, self.settings.cache))

    def start(self, post: Callable[[Callable[[], None]], None] | None) -> None:
        """Begin to take requests; `post` is how callbacks reach the loop that waits for them."""
        lanes = [served.lane for served in self.fleet.deployments.values() if served.shared]
        with ThreadPoolExecutor(1) as pool:  # what a thread has bound to a graph goes with the thread
            tokens = pool.submit(batch_budget, lanes, self._probe).result()
        limits = BatchLimits(tokens=tokens, queued=self.settings.queued)
        self.batcher = Batcher(_compute, limits, self.settings.workers or 1, post, self.measures.batch)

    def wanted(self) -> dict[str, Artifact]:
        """The live model of each vertical that is to be served; NotFound for one that is not there."""
        live = self._live()
        missing = sorted(self.only - set(live))
        if missing:
            raise NotFound(f"There is no live model of {', '.join(missing)}. Say which it is: vertune alias {missing[0]}@live MODEL")
        return live

    def _live(self) -> dict[str, Artifact]:
        return {name: model for name, model in self.fleet.live().items() if self.serves(name)}

    def unready(self) -> list[str]:
        """The verticals whose models must be prepared before they can be served."""
        return self._unready(self._live())

    def _unready(self, live: Mapping[str, Artifact]) -> list[str]:
        return [name for name, model in live.items() if not self.fleet.ready(model)]

    def follow(self) -> dict[str, str]:
        """Serve what is live now; why each vertical that can't be served can't."""
        return self._follow(self._live())

    def serves(self, name: str) -> bool:
        """Whether a vertical of this name is one that this server may answer for."""
        return not self.only or name in self.only

    def _follow(self, live: Mapping[str, Artifact]) -> dict[str, str]:
        ready = {name: model for name, model in live.items() if self.fleet.ready(model)}
        held = {name: self.fleet.deployments[name].model for name in set(live) - set(ready) if name in self.fleet.deployments}
        troubles = self.fleet.follow({**ready, **held})
        for name in [name for name in self.coming if name in ready or name not in live]:
            del self.coming[name]
        return {**troubles, **{name: why for name, why in self.fleet.lost().items() if self.serves(name)}}

    async def watch(self) -> None:
        """Follow the home's aliases for as long as the server runs; what is not ready is prepared in a process of its own."""
        while True:
            await asyncio.sleep(_LOOK)
            try:
                await asyncio.to_thread(self.look)
            except VertuneError as error:
                _log.warning("The live models could not be followed: %s", error)
            except Exception:
                _log.exception("The live models could not be followed.")

    def look(self) -> None:
        """Serve what became live since the last look, and have prepared what is not ready."""
        with self._looking:
            seen = self._stamps()
            if seen == self._seen and self._child is None:
                return
            if self._child is not None and self._child.poll() is not None:
                self._child = None  # before it is followed what it made
            live = self._live()
            for name, why in self._follow(live).items():
                self.coming[name] = Coming(live[name].id if name in live else "", why)
            unready = self._unready(live)
            new = [name for name in unready if live[name].id not in self._tried]
            if new and self._child is None:
                self._tried |= {live[name].id for name in new}
                self.coming |= {name: Coming(live[name].id, "preparing") for name in new}
                self._child = prepare(self.home, sorted(live))
            elif self._child is None:
                for name in unready:
                    self.coming[name] = Coming(live[name].id, f"it could not be prepared; run `vertune share {name}` to see why")
            else:
                self.coming |= {name: Coming(live[name].id, "waits until others are prepared") for name in new}
            self._seen = seen  # now, so that what failed is tried again

    def _stamps(self) -> tuple[tuple[str, int, int], ...]:
        """When each alias, and what models stand on, changed last: to read them all every second would be most of the idle work."""
        home = self.home.folder
        shelves = [home / "models", home / "backbones", *(home / "backbones").glob("*/verticals/*")]  # where verdicts are written
        stamps = []
        for place in (*(home / "aliases").glob("*@live"), *shelves):
            with suppress(FileNotFoundError):  # replaced at this moment, or not there yet
                found = place.stat()
                stamps.append((str(place), found.st_ino, found.st_mtime_ns))  # the clock of files may stand still for 4 ms
        return tuple(sorted(stamps))

    def stop(self) -> None:
        """End what was started."""
        self.batcher.close()
        if self._child is not None and self._child.poll() is None:
            self._child.terminate()

    async def ready(self) -> tuple[bool, str, float | None]:
        """Whether the next request will be answered, why not, and the age of the last success in seconds; it tries where that is old."""
        if self.draining:
            return False, "it is stopping", None
        if not self.batcher.alive:
            return False, "no worker lives", None
        if not self.fleet.deployments:
            return False, "no vertical is served", None
        age = self._age()
        if age is None or age > _STALE:
            if self._trial is None or self._trial.done():
                self._trial = asyncio.get_running_loop().create_task(self._try())
            await asyncio.shield(self._trial)  # however many ask at once
            age = self._age()
        ready = age is not None and age <= _STALE
        return ready, "" if ready else "the last success is too old, and a trial was not answered", age

    def _age(self) -> float | None:
        last = self.batcher.last_success
        return None if last is None else time.monotonic() - last

    async def _try(self) -> None:
        """Have something answered: by any vertical, because one that fails by itself is no reason to turn away from the others."""
        from vertune.server.answering import Asker, answered

        for served in self.fleet.deployments.values():
            try:
                await answered(self, [served], [self._example(served)], Asker("", 2.0), fresh=True)
            except Busy as error:
                _log.warning("A trial was not answered: %s", error)
            except Exception as error:  # whatever it is, the others may be well
                _log.warning("A trial of %s failed: %s", served.name, error)
                continue
            return

    def _example(self, served: Deployment, text: str = "ready?") -> dict[str, Any]:
        """A record that the vertical can answer."""
        inputs = [column for column in served.task.input_columns if column.required]
        return {column.name: 0.0 if column.type == "number" else text for column in inputs}

    def _probe(self, lane: Executor, rows: int) -> list[Payload]:
        """Features of about 16 tokens for a lane, to time it with."""
        served = next(one for one in self.fleet.deployments.values() if one.lane is lane)
        record = self._example(served, "how long does it take until a text of this length is answered")
        views = served.task.views(sorted(record))
        feature: Feature = served.predictor.encoder.encode([record], views)[0]
        return [(feature, (served.place,))] * rows


def _compute(lane: Any, payloads: Sequence[Payload]) -> list[Any]:
    """What a worker of the batcher does."""
    found: list[Any] = lane.compute(payloads)
    return found


def prepare(home: Home, names: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start the command that makes models ready to be served; it may need torch, which this process never holds."""
    command = [sys.executable, "-P", "-m", "vertune", "share", *names, "--home", str(home.folder)]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)  # noqa: S603 - our own command, no shell
