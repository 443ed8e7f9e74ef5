"""One call for answers, from its arrival to its end; knows nothing of how answers are made."""

from __future__ import annotations

import itertools
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vertune.core.errors import DataError
from vertune.core.records import Answer
from vertune.runtime.fleet import Deployment

_log = logging.getLogger("vertune")
_PROCESS_ID = secrets.token_hex(8)
_NUMBERS = itertools.count()
"""The ids of calls are numbered: a random one each would be a system call each, which takes as long as a short text."""


class ClientDisconnected(DataError):
    """The client closed its connection before its answer was ready."""

    http_status = 499


@dataclass(slots=True, eq=False)
class Call:
    """One request for answers: who sent it, its records, its answers, its times; passed from layer to layer, which fill it in.

    All times are in seconds. Listeners read a call when it is finished, and must not change it.
    """

    listeners: Sequence[Listener] = ()
    """Who hears of the call when it is finished; a probe has none."""
    resource: str = ""
    """The operation that answers, such as `predict`; empty for a call that asks no model."""
    verticals: Sequence[Deployment] = ()
    records: Sequence[Mapping[str, Any]] = ()
    customer: str = ""
    """The name under which the queue counts the call: the id of the key, or the address of the client."""
    key: str | None = None
    """The id of the key that came with the call; None without one."""
    deadline: float = 30.0
    """Time that the answers may take."""
    bypass_cache: bool = False
    """Whether to neither read cached answers nor cache new ones."""
    disconnected: Callable[[], Awaitable[None]] | None = None
    """Returns when the client is gone; None where there is no connection to watch."""
    id: str = field(default_factory=lambda: f"{_PROCESS_ID}{next(_NUMBERS):012x}")
    """A name that no other call has, in any process."""
    started: float = field(default_factory=time.monotonic)
    expires_at: float = 0.0
    """The monotonic time at which the deadline is over; set when answering begins."""

    answers: list[list[Answer | None]] = field(default_factory=list)
    """For each vertical one answer a record; None while it is not computed."""
    cache_hits: list[int] = field(default_factory=list)
    """For each vertical the number of answers that came from the cache."""
    tokens: int = 0
    """Tokens of the features that were computed; a feature that several verticals share counts once, a cached answer nothing."""
    tokenizing: float | None = None
    """Time in which the records became features."""
    waiting: float | None = None
    """Time until the first feature was in a batch."""
    inference: float | None = None
    """Time of the batches that the call was in, summed."""
    total: float = 0.0
    """Time from arrival to the start of the response."""
    status: int = 0
    """The HTTP status of the outcome; 0 while the call is not finished."""
    refusal: str = ""
    """Why the call was refused, in one word such as `rate`; empty if it was not."""

    def finish(self, status: int) -> None:
        """Set the outcome and tell the listeners, once; a listener that fails is logged and disturbs nobody."""
        if self.status:
            return
        self.status, self.total = status, time.monotonic() - self.started
        for listener in self.listeners:
            try:
                listener(self)
            except Exception:
                _log.exception("A listener of finished calls failed; the call and the other listeners are not affected.")


Listener = Callable[[Call], None]
"""Hears of every finished call: metrics, a store, a monitor. It runs before the response is sent, so it must be quick."""
