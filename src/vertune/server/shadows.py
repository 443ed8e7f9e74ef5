"""Lets candidates answer copies of requests, off the path of the requests themselves; does not depend on what is compared."""

from __future__ import annotations

import asyncio
import logging

from vertune.answering.call import Call
from vertune.answering.service import AnswerService
from vertune.core.errors import Busy
from vertune.server.rollouts import Comparison

_log = logging.getLogger("vertune")
_MOST = 8
"""Maximum number of copies that are answered at the same time; others are left out, so that a slow candidate delays nobody."""


class Shadows:
    """The copies of requests that candidates of one server answer now."""

    def __init__(self, answers: AnswerService) -> None:
        self._answers = answers
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to answer, in this event loop."""
        self._loop = loop

    def ask(self, call: Call, comparison: Comparison) -> None:
        """Let the candidate of a comparison answer what a finished call asked the live model; nobody waits for it."""
        if self._loop is None or len(self._tasks) >= _MOST:
            return
        task = self._loop.create_task(self._ask(call, comparison))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, call: Call, comparison: Comparison) -> None:
        candidate = comparison.deployment
        client = f"shadow {candidate.model.id}"
        shadow = Call(resource="shadow", verticals=[candidate], records=call.records, client=client, bypass_cache=True)
        shadow.customer = call.customer  # whose answers are counted
        try:
            answers = (await self._answers.answer(shadow))[0]
            shadow.finish(200)
            comparison.compare(call, answers)
        except Busy:
            shadow.refusal = "busy"
        except Exception as error:
            shadow.finish(500)
            _log.debug("A candidate could not answer: %s", type(error).__name__)  # a message may quote the text
        finally:
            comparison.count(shadow, candidate)
