"""Workers that compute what waits in batches; knows nothing of texts, models or HTTP.

A batch is formed when a worker becomes free: no request waits for others to join it, and all that arrived meanwhile may. Every
ticket is completed exactly once, with a value or an error, even if its worker dies or another request of its batch fails.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from functools import partial
from threading import Condition, Event, Lock, Thread, current_thread
from time import monotonic
from typing import Any

from vertune.core.errors import Busy, ConfigError, DataError, ModelError, VertuneError
from vertune.queueing.fair_queue import BatchLimits, BatchRequest, FairQueue, Item, Throughput, Ticket

_DEATHS = 2
"""How many workers may die while they compute an item before the item is taken for the cause."""
_TICK = 1.0
"""Seconds between two checks of the workers."""
_MISSING: Any = object()
_log = logging.getLogger("vertune")


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch that was computed."""

    executor: Hashable
    items: int
    tokens: int
    """Sum of the costs of its items."""
    padded: int
    """Cost of its longest item, times the number of items."""
    seconds: float


@dataclass(slots=True, eq=False)
class _Worker:
    """A thread that computes batches, and what must be saved if it dies."""

    items: list[Item] = field(default_factory=list)
    """The batch that it computes."""
    owed: list[Ticket[Any]] = field(default_factory=list)
    """Tickets that it must still announce as completed."""
    since: float | None = None
    """When it took its batch; None while it has none."""
    lost: bool = False
    """Whether it was replaced, so that its results are ignored."""
    thread: Thread = field(init=False)


class Batcher:
    """Queues requests, has workers compute them in batches, and completes their tickets; safe for many threads."""

    def __init__(
        self,
        compute: Callable[[Hashable, Sequence[Any]], Sequence[Any]],
        limits: BatchLimits = BatchLimits(),  # noqa: B008 (frozen)
        workers: int = 1,
        post: Callable[[Callable[[], None]], None] | None = None,
        watch: Callable[[Batch], None] | None = None,
    ) -> None:
        """`compute(executor, payloads)` returns one result for each payload, in order.

        `post` is given one function for each batch, which runs the callbacks of its tickets; None runs it in the worker. `watch`
        is called with every batch that was computed. Fewer than 1 worker raise ConfigError.
        """
        if workers < 1:
            raise ConfigError(f"A batcher can't have {workers} workers; it needs at least 1. Raise `workers`.")
        self.limits = limits
        self.last_success: float | None = None
        self._compute, self._post, self._watch = compute, post or (lambda call: call()), watch
        self._queue = FairQueue(limits)
        self._speed = Throughput()
        self._returned: deque[list[Item]] = deque()
        self._workers: list[_Worker] = []
        self._wanted = workers
        self._sleeping = 0
        self._closed = False
        self._lock = Lock()
        self._work = Condition(self._lock)
        self._ended = Event()
        with self._lock:
            self._staff()
        Thread(target=self._supervise, name="batcher-supervisor", daemon=True).start()

    @property
    def queued(self) -> int:
        """Tokens that wait for a worker."""
        return self._queue.tokens

    @property
    def rate(self) -> float:
        """Tokens a second of all workers together, over the time in which any works; 0 before the first batch."""
        return self._speed.rate

    @property
    def alive(self) -> bool:
        """Whether at least one worker is alive."""
        return any(worker.thread.is_alive() for worker in tuple(self._workers))

    def submit(self, request: BatchRequest) -> Ticket[Any]:
        """Queue a request; Busy where too much waits or the deadline can't be met, DataError for a request that never fits."""
        ticket: Ticket[Any] = Ticket(request, self._withdraw)
        if min(request.costs, default=1) < 1:
            raise DataError(f"A payload has the cost {min(request.costs)}; it must be at least 1 token. Correct the costs.")
        with self._lock:
            if self._closed:
                raise Busy("The queue is stopping and takes no more requests. Send it to another server, or retry in 1 s.")
            if ticket.items:
                self._queue.admit(request.customer, sum(request.costs), request.deadline, self._trusted(ticket.submitted))
                self._queue.add(request.customer, ticket.items)
                self._wake()
        if not ticket.items:
            self._conclude([ticket])
        return ticket

    def check(self, customer: str, tokens: int, deadline: float | None) -> None:
        """Raise Busy where a request of so many tokens would not be queued now; for callers that have not tokenised it yet."""
        with self._lock:
            self._queue.admit(customer, tokens, deadline, self._trusted(monotonic()))

    def close(self) -> None:
        """Complete what waits with Busy, let running batches end within `limits.hang` seconds, and stop the threads.

        Requests that are not computed by then end with ModelError. A call from a worker's own thread returns without waiting.
        """
        with self._lock:
            self._closed = True
            waiting = list(dict.fromkeys(item.ticket for item in self._queue))
            for ticket in waiting:
                self._settle(ticket, error=Busy("The queue was stopped before the request was computed. Retry in 1 s."))
            self._sleeping = 0
            self._work.notify_all()
            mine = any(worker.thread is current_thread() for worker in self._workers)
        self._announce(waiting)
        if mine or self._ended.wait(self.limits.hang):
            return
        with self._lock:
            why = f"The queue was stopped, and {self.limits.hang} s later the request was not computed. Send it again."
            late = [ticket for worker in tuple(self._workers) for ticket in self._release(worker, why, again=False)]
            late += [item.ticket for items in self._returned for item in items]
            self._returned.clear()
            for ticket in late:
                self._settle(ticket, error=ModelError(why))
            self._staff()
        self._announce(late)

    def _serve(self, worker: _Worker) -> None:
        """Compute batches until the batcher is closed; the function of a worker's thread."""
        try:
            while self._take(worker):
                self._announce(worker.owed)
                if worker.items:
                    self._run(worker)
        except BaseException as error:  # nothing above would catch it
            _log.exception("A worker of a batcher died and is replaced.")
            self._replace(worker, error)

    def _take(self, worker: _Worker) -> bool:
        """Wait for work and take a batch, or tickets whose deadline is over; False when this worker must end."""
        with self._lock:
            worker.items, worker.owed, worker.since = [], [], None
            while not worker.lost:
                # kept by the worker before it is removed from the queue: an asynchronous exception in between must not lose it
                if self._returned:
                    worker.items = self._returned[0]
                    self._returned.popleft()
                else:
                    worker.items = self._queue.choose()
                    self._queue.take(worker.items)
                if worker.items:
                    self._drop_late(worker)
                    if self._returned or self._queue.tokens:
                        self._wake()
                    return True
                if self._closed:
                    worker.lost = True
                    self._workers.remove(worker)
                    self._staff()
                    return False
                self._sleeping += 1
                self._work.wait()
            return False

    def _drop_late(self, worker: _Worker) -> None:
        """Remove the items of a new batch that can't meet their deadline or whose ticket is completed; the lock is held."""
        now = monotonic()
        rate = self._trusted(now)
        worker.since = now
        end = now + sum(item.cost for item in worker.items) / rate if rate else now
        on_time: list[Item] = []
        for item in worker.items:
            ticket = item.ticket
            if not ticket.results:
                ticket.results = [_MISSING] * ticket.left
                ticket.waited = now - ticket.submitted
            if ticket.until < end and not ticket.completed:
                within = (ticket.until - ticket.submitted) * 1000
                self._settle(ticket, error=self._queue.busy(f"A request could not be answered within its {within:.0f} ms", rate))
                worker.owed.append(ticket)
            if not ticket.completed:
                on_time.append(item)
        worker.items = on_time

    def _run(self, worker: _Worker) -> None:
        items, began = worker.items, monotonic()
        try:
            results = list(self._compute(items[0].ticket.request.executor, [item.payload for item in items]))
            if len(results) != len(items):
                raise ModelError(f"The model returned {len(results)} results for {len(items)} items; it must return one each. Correct it.")
        except Exception as error:
            self._fail(worker, error, began)
        else:
            self._deliver(worker, results, began)

    def _deliver(self, worker: _Worker, results: list[Any], began: float) -> None:
        """Store the results of a batch, complete the tickets that have all of theirs, and report the batch."""
        items, now = worker.items, monotonic()
        costs = [item.cost for item in items]
        with self._lock:
            if worker.lost:
                return
            self.last_success = now
            self._speed.add(sum(costs), began, now)
            tickets = self._spend(items, now - began)
            for item, result in zip(items, results, strict=True):
                ticket_results = item.ticket.results
                if ticket_results[item.index] is _MISSING:
                    ticket_results[item.index] = result
                    item.ticket.left -= 1
            worker.owed = [ticket for ticket in tickets if not ticket.left and not ticket.completed]
            worker.items = []
        self._conclude(worker.owed)
        self._announce(worker.owed)
        if self._watch is not None:
            try:
                self._watch(Batch(items[0].ticket.request.executor, len(items), sum(costs), max(costs) * len(items), now - began))
            except Exception:
                _log.exception("The function that watches batches failed; the batcher goes on.")

    def _fail(self, worker: _Worker, error: Exception, began: float) -> None:
        """Return a failed batch in halves, so that the item that causes the failure ends up alone and fails alone."""
        items = worker.items
        with self._lock:
            if worker.lost:
                return
            self._spend(items, monotonic() - began)
            if len(items) > 1:
                self._halve(items)
            else:
                worker.owed = [items[0].ticket]
                self._settle(items[0].ticket, error=_alone(error))
            worker.items = []
        self._announce(worker.owed)

    def _spend(self, items: Sequence[Item], seconds: float) -> list[Ticket[Any]]:
        """Add the time of a batch to its tickets, and return these; the lock is held."""
        tickets = list(dict.fromkeys(item.ticket for item in items))
        for ticket in tickets:
            ticket.computed += seconds
        return tickets

    def _halve(self, items: list[Item]) -> None:
        middle = (len(items) + 1) // 2
        self._returned.extend(half for half in (items[:middle], items[middle:]) if half)

    def _conclude(self, tickets: Iterable[Ticket[Any]]) -> None:
        """Complete tickets that have all their results."""
        for ticket in tickets:
            value, error = ticket.outcome()
            with self._lock:
                self._settle(ticket, value, error)

    def _settle(self, ticket: Ticket[Any], value: Any = None, error: BaseException | None = None) -> None:
        """Complete a ticket if it is not, and remove its remaining items from the queue; the lock is held."""
        if ticket.completed:
            return
        ticket.value, ticket.error = value, error
        ticket.completed = True
        if error is not None:
            for item in ticket.items:
                self._queue.remove(item)
        ticket.items = ()

    def _announce(self, tickets: Sequence[Ticket[Any]]) -> None:
        """Wake the threads that wait for completed tickets, and run their callbacks; harmless if repeated."""
        calling = [ticket for ticket in tickets if ticket.completed and ticket.wake()]
        if not calling:
            return
        try:
            self._post(partial(_call_back, calling))
        except Exception:
            _log.exception("The callbacks of %d completed tickets could not be posted and are not run.", len(calling))

    def _withdraw(self, ticket: Ticket[Any]) -> None:
        with self._lock:
            if ticket.completed:
                return
            self._settle(ticket, error=CancelledError("The request was cancelled before it was answered."))
        self._announce([ticket])

    def _trusted(self, now: float) -> float:
        """The rate in tokens a second to judge deadlines by, 0 where it is not known or too old; the lock is held."""
        if self._speed.stale(now) and not any(worker.since for worker in self._workers):
            return 0.0
        return self._speed.rate

    def _wake(self) -> None:
        """Wake one sleeping worker; the lock is held."""
        if self._sleeping:
            self._sleeping -= 1
            self._work.notify()

    def _staff(self) -> None:
        """Start missing workers, unless the batcher is closed and nothing is left to do; the lock is held."""
        while len(self._workers) < self._wanted and (self._returned or not self._closed):
            worker = _Worker()
            worker.thread = Thread(target=self._serve, args=(worker,), name="batcher-worker", daemon=True)
            try:
                worker.thread.start()
            except RuntimeError:
                _log.exception("A worker of a batcher could not be started; the supervisor tries again.")
                return
            self._workers.append(worker)
        if not self._workers:
            self._ended.set()

    def _supervise(self) -> None:
        while not self._ended.wait(min(_TICK, self.limits.hang / 4)):
            try:
                self._inspect()
            except Exception:
                _log.exception("The check of a batcher's workers failed; it is repeated.")

    def _inspect(self) -> None:
        """Replace workers whose thread has ended or which hang."""
        hang, tickets = self.limits.hang, []
        with self._lock:
            now = monotonic()
            for worker in tuple(self._workers):
                if worker.since is not None and now - worker.since > hang:
                    _log.error("A worker of a batcher has computed one batch for more than %s s; it is replaced.", hang)
                    why = f"The batch with this request took longer than the {hang} s allowed. Send less at once, or raise `hang`."
                    tickets += self._release(worker, why, again=False)
                elif not worker.thread.is_alive():
                    _log.error("The thread of a batcher's worker has ended; it is replaced.")
                    tickets += self._release(worker, _death("its thread is gone"), again=True)
            self._staff()
        self._announce(tickets)

    def _replace(self, worker: _Worker, cause: BaseException) -> None:
        """Replace a worker whose thread ends with an error."""
        with self._lock:
            tickets = self._release(worker, _death(f"{type(cause).__name__}: {cause}"), again=True)
            self._staff()
        self._announce(tickets)

    def _release(self, worker: _Worker, why: str, again: bool) -> list[Ticket[Any]]:
        """Take all items from a lost worker, to be tried `again` in halves or to fail; returns tickets to announce. The lock is held."""
        if worker.lost:
            return []
        worker.lost = True
        self._workers.remove(worker)
        retried: list[Item] = []
        for item in worker.items:
            item.deaths += 1
            if again and item.deaths < _DEATHS:
                retried.append(item)
            else:
                self._settle(item.ticket, error=ModelError(why))
        self._halve(retried)
        for ticket in worker.owed:
            self._settle(ticket, error=ModelError(why))
        return [*worker.owed, *(item.ticket for item in worker.items)]


def _call_back(tickets: Iterable[Ticket[Any]]) -> None:
    for ticket in tickets:
        ticket.call_back()


def _alone(error: Exception) -> VertuneError:
    """The error of an item that failed in a batch of its own."""
    if isinstance(error, VertuneError):
        return error
    wrapped = ModelError(f"The model failed at this record, computed alone: {type(error).__name__}: {error}. Change the record.")
    wrapped.__cause__ = error
    return wrapped


def _death(cause: str) -> str:
    return f"A worker died with this request in its batch ({cause}). Leave out the record that the model can't compute."
