"""Defines Call, the data of one request from its arrival to its end; does not depend on how predictions are computed."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vertune.core.errors import DataError
from vertune.core.ids import time_ordered_id
from vertune.core.records import Answer
from vertune.runtime.fleet import Deployment
from vertune.store.key import DEFAULT_CUSTOMER

_log = logging.getLogger("vertune")


class ClientDisconnected(DataError):
    """The client closed its connection before its prediction was ready."""

    http_status = 499


@dataclass(slots=True, eq=False)
class Call:
    """The data of one request: its sender, its input records, the predictions, and the times that the steps took.

    Each step of the processing sets some fields. All times are in seconds. The functions in `listeners` are called with the
    finished call and must not change it.
    """

    listeners: Sequence[Listener] = ()
    """The functions that `finish` calls with this object; a test prediction of the readiness check has none."""
    resource: str = ""
    """The name of the operation, such as `predict`; empty for a call that needs no model."""
    verticals: Sequence[Deployment] = ()
    """The verticals (fine-tuned models) that must predict."""
    records: Sequence[Mapping[str, Any]] = ()
    """The input records, as the client sent them."""
    client: str = ""
    """Identifies the client in the queue, which divides its capacity fairly among clients: the id of the API key, or an address."""
    customer: str = DEFAULT_CUSTOMER
    """The organisation that owns the API key."""
    key: str | None = None
    """The id of the API key of the call; None without a key."""
    idempotency: str | None = None
    """What marks repetitions of one call, which are counted once: what it asks for, and the key of its client; None without a key."""
    deadline: float = 30.0
    """Maximum time until the predictions are ready."""
    bypass_cache: bool = False
    """Whether to neither read cached predictions nor cache new ones."""
    disconnected: Callable[[], Awaitable[None]] | None = None
    """A function that waits until the client has disconnected; None if there is no connection to watch."""
    id: str = field(default_factory=time_ordered_id)
    """A unique id, across all processes."""
    trace: str = ""
    """The id of the trace that the client named, to find the call beside those of other services; empty without one."""
    parent: str = ""
    """The id of the span of the client within that trace; empty without one."""
    started: float = field(default_factory=time.monotonic)
    """The monotonic time at which the call arrived."""
    expires_at: float = 0.0
    """The monotonic time at which the deadline passes; set when the computation of the predictions begins."""

    answers: list[list[Answer | None]] = field(default_factory=list)
    """For each vertical, a list with one answer (prediction) per record; an answer is None until it is computed."""
    cache_hits: list[int] = field(default_factory=list)
    """The number of cached predictions used, per vertical."""
    tokens: int = 0
    """The number of tokens of the call, as if nothing were cached. A text for several models with the same tokens counts once."""
    cached_tokens: int = 0
    """How many of these tokens were not computed, because the predictions were cached."""
    tokenizing: float | None = None
    """Time to tokenise the records; None if the call ended before that."""
    waiting: float | None = None
    """Time in the queue until the first batch with inputs of this call began; None if nothing was computed."""
    inference: float | None = None
    """Total computing time of the batches that contained inputs of this call; None if nothing was computed."""
    total: float = 0.0
    """Time from the arrival of the call to the start of its response."""
    status: int = 0
    """The HTTP status of the outcome; 0 while the call is not finished."""
    warning: str = ""
    """What the client should know of its quota, for the response; empty if there is nothing."""
    refusal: str = ""
    """The reason for a refusal in one word, such as `rate`; empty if the call was not refused."""

    def finish(self, status: int) -> None:
        """Mark this call as finished: store its HTTP status and total time, then call each function in `listeners` with it.

        An exception of such a function is only logged. If the call is finished already, nothing happens.
        """
        if self.status:
            return
        self.status, self.total = status, time.monotonic() - self.started
        for listener in self.listeners:
            try:
                listener(self)
            except Exception:
                _log.exception("A function that is called after every request raised an exception; the request is not affected.")


Listener = Callable[[Call], None]
"""A function called with every finished call, for example to update metrics. It runs before the response is sent, so it must be fast."""
