"""The record of one call for predictions, from its arrival to its end; does not depend on how predictions are computed."""

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
"""Numbers the calls for their ids; random ids would need a system call each, which costs as much as handling a short text."""


class ClientDisconnected(DataError):
    """The client closed its connection before its prediction was ready."""

    http_status = 499


@dataclass(slots=True, eq=False)
class Call:
    """One request for predictions: its sender, records, answers and times. Each layer that handles the call fills in its fields.

    All times are in seconds. Listeners (functions called with every finished call) must not change it.
    """

    listeners: Sequence[Listener] = ()
    """The functions to call when the call is finished; a readiness probe has none."""
    resource: str = ""
    """The name of the operation, such as `predict`; empty for a call that needs no model."""
    verticals: Sequence[Deployment] = ()
    """The verticals that predict."""
    records: Sequence[Mapping[str, Any]] = ()
    """The input records, as the client sent them."""
    customer: str = ""
    """The name under which the queue counts the call: the id of the API key, or the address of the client."""
    key: str | None = None
    """The id of the API key of the call; None without a key."""
    deadline: float = 30.0
    """Maximum time until the predictions are ready."""
    bypass_cache: bool = False
    """Whether to neither read cached predictions nor cache new ones."""
    disconnected: Callable[[], Awaitable[None]] | None = None
    """Waits until the client has disconnected; None if there is no connection to watch."""
    id: str = field(default_factory=lambda: f"{_PROCESS_ID}{next(_NUMBERS):012x}")
    """A unique id, across all processes."""
    started: float = field(default_factory=time.monotonic)
    """The monotonic time at which the call arrived."""
    expires_at: float = 0.0
    """The monotonic time at which the deadline passes; set when the computation of the answers begins."""

    answers: list[list[Answer | None]] = field(default_factory=list)
    """A list per vertical with one answer per record; an answer is None until it is computed."""
    cache_hits: list[int] = field(default_factory=list)
    """The number of cached predictions used, per vertical."""
    tokens: int = 0
    """The number of computed tokens; a text that several verticals share counts once, a cached prediction not at all."""
    tokenizing: float | None = None
    """Time to tokenise the records; None if that was not reached."""
    waiting: float | None = None
    """Time in the queue until the first input was in a batch; None if nothing was computed."""
    inference: float | None = None
    """Total time of the batches that contained inputs of the call; None if nothing was computed."""
    total: float = 0.0
    """Time from the arrival of the call to the start of its response."""
    status: int = 0
    """The HTTP status of the outcome; 0 while the call is not finished."""
    refusal: str = ""
    """The reason for a refusal in one word, such as `rate`; empty if the call was not refused."""

    def finish(self, status: int) -> None:
        """Set the HTTP status and call the listeners; has no effect on a finished call. Exceptions of listeners are logged."""
        if self.status:
            return
        self.status, self.total = status, time.monotonic() - self.started
        for listener in self.listeners:
            try:
                listener(self)
            except Exception:
                _log.exception("A listener of finished calls failed; the call and the other listeners are not affected.")


Listener = Callable[[Call], None]
"""A function called with every finished call, for example to update metrics. It runs before the response is sent, so it must be fast."""
