"""Checks whether the server can answer requests, by a test prediction if no batch was computed recently; independent of HTTP."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass

from vertune.answering.call import Call
from vertune.answering.service import AnswerService, example_record
from vertune.core.errors import Busy, VertuneError
from vertune.runtime.fleet import Deployment

_log = logging.getLogger("vertune")
MAX_AGE = 5.0
"""Seconds after which the last computed batch is too old to prove that the next one will be computed."""
COMPARE_AFTER = 60.0
"""Seconds after which the reference outputs of a vertical are compared again."""
_PROBE_DEADLINE = 2.0


@dataclass(frozen=True, slots=True)
class Readiness:
    """The result of a readiness check."""

    ready: bool
    """Whether the service can answer requests."""
    why: str = ""
    """The reason if the service is not ready, else empty."""
    age: float | None = None
    """Seconds since the last batch was computed; None if none was computed yet."""
    unhealthy: int = 0
    """Number of verticals whose model does not compute what it must."""


@dataclass(slots=True)
class ReadinessProbe:
    """Checks whether a service can answer requests. Simultaneous checks wait for the same test prediction."""

    service: AnswerService
    _probe: asyncio.Task[None] | None = None
    _comparison: asyncio.Task[None] | None = None

    async def check(self) -> Readiness:
        """Return whether the service can answer requests, with the reason if it can't.

        If no batch was computed in the last `MAX_AGE` seconds, a test prediction is computed first.
        """
        if not self.service.batcher.alive:
            return Readiness(False, "no worker thread is running")
        if not self.service.fleet.deployments:
            return Readiness(False, "no vertical is served")
        self._compare_oldest()
        unhealthy = sum(bool(one.health.fault) for one in self.service.fleet.deployments.values())
        if unhealthy == len(self.service.fleet.deployments):
            return Readiness(False, "no vertical computes what it must", self._age(), unhealthy)
        age = self._age()
        if age is None or age > MAX_AGE:
            if self._probe is None or self._probe.done():
                self._probe = asyncio.get_running_loop().create_task(self._answer_example())
            await asyncio.shield(self._probe)
            age = self._age()
        if age is None or age > MAX_AGE:
            return Readiness(False, "no batch was computed recently, and a test prediction was not answered", age, unhealthy)
        return Readiness(True, age=age, unhealthy=unhealthy)

    def _compare_oldest(self) -> None:
        """Begin to compare the reference outputs of the vertical that was compared longest ago, if that is `COMPARE_AFTER` seconds ago."""
        due = [one for one in self.service.fleet.deployments.values() if one.in_memory]
        if not due or (self._comparison is not None and not self._comparison.done()):
            return
        oldest = min(due, key=lambda one: one.health.checked)
        if time.monotonic() - oldest.health.checked > COMPARE_AFTER:
            self._comparison = asyncio.get_running_loop().create_task(asyncio.to_thread(_compare, oldest))

    def _age(self) -> float | None:
        last = self.service.batcher.last_success
        return None if last is None else time.monotonic() - last

    async def _answer_example(self) -> None:
        """Compute a test prediction with the first model; if it raises an exception, with the next one, until a model succeeds.

        So a single broken model does not make the server appear unready. If the service is busy, no further model is tried.
        """
        for deployment in self.service.fleet.deployments.values():
            call = Call(verticals=[deployment], records=[example_record(deployment, "ready?")], deadline=_PROBE_DEADLINE, bypass_cache=True)
            try:
                await self.service.answer(call)
            except Busy as error:
                _log.warning("The test prediction of a readiness check was not answered: %s", error)
            except Exception as error:  # of any type, because the other models may still work
                _log.warning(
                    "In a readiness check, the test prediction with the model '%s' raised an exception: %s", deployment.name, error
                )
                continue
            return


def _compare(deployment: Deployment) -> None:
    """Compare the reference outputs of a vertical, and log a difference; the deployment stores it."""
    try:
        deployment.check()
    except VertuneError as error:
        _log.error("The vertical '%s' does not compute what it must: %s", deployment.name, error)
