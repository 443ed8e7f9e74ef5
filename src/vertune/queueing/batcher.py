"""Queues requests and computes them in batches in worker threads; independent of texts, models and HTTP.

A batch is formed when a worker becomes free, from the requests that are then waiting; no request waits for others to fill a batch.
The caller of a request waits with a ticket. Every ticket is completed exactly once, with a value or an error, even if the worker that
computes the request dies or another request of the same batch fails.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Condition, Event, Lock, Thread, current_thread
from time import monotonic
from typing import Any

from vertune.core.errors import Busy, ConfigError, DataError, ModelError, VertuneError
from vertune.queueing.fair_queue import BatchLimits, BatchRequest, FairQueue, Item, Throughput, Ticket

_DEATHS = 2
"""An item fails once this many workers have died while they computed it, because it is presumed to be the cause."""
_TICK = 1.0
"""Maximum seconds between two checks of whether the worker threads still run."""
_MISSING: Any = object()
"""Marks a result that is not computed yet."""
_log = logging.getLogger("vertune")


@dataclass(frozen=True, slots=True)
class Batch:
    """Statistics of a computed batch."""

    executor: Hashable
    items: int
    tokens: int
    """Sum of the costs of its items: the tokens without padding."""
    padded: int
    """Cost of its longest item times the number of items: the tokens with padding."""
    seconds: float


@dataclass(slots=True, eq=False)
class _Worker:
    """A thread that computes batches.

    It stores the items (model inputs) of its current batch and the tickets (handles of requests) that it must still notify, so that
    these are not lost if the thread dies.
    """

    items: list[Item] = field(default_factory=list)
    """The items of the batch that it computes."""
    owed: list[Ticket[Any]] = field(default_factory=list)
    """Completed tickets whose waiting threads and callbacks it must still notify."""
    since: float | None = None
    """The monotonic time at which it took its batch; None while it has no batch."""
    lost: bool = False
    """Whether it was replaced or has ended; its results are then ignored."""
    thread: Thread = field(init=False)


class Batcher:
    """Queues requests, computes them in batches with worker threads, and completes their tickets (handles); thread-safe."""

    def __init__(
        self,
        compute: Callable[[Hashable, Sequence[Any]], Sequence[Any]],
        limits: BatchLimits = BatchLimits(),  # noqa: B008 (frozen)
        workers: int = 1,
        post: Callable[[Callable[[], None]], None] | None = None,
        watch: Callable[[Batch], None] | None = None,
    ) -> None:
        """Start the worker threads; raise ConfigError if `workers` is below 1.

        `compute(executor, payloads)` runs the executor (usually a model) on one batch of inputs and returns one result per input, in
        order. A queued request has a ticket, a handle to which its sender can add callbacks. When tickets are completed, `post` is
        called with a function that runs these callbacks. It may pass this function to another thread; if `post` is None, the worker
        thread runs the callbacks. `watch` is called with the statistics of every batch
        that was computed.
        """
        if workers < 1:
            raise ConfigError(f"The number of worker threads is {workers}; expected at least 1. Raise `workers`.")
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
        """The total number of tokens of the inputs that wait in the queue."""
        return self._queue.tokens

    @property
    def rate(self) -> float:
        """Measured throughput of all workers together, in tokens per second of computation; 0 before the first batch."""
        return self._speed.rate

    @property
    def alive(self) -> bool:
        """Whether at least one worker thread is running."""
        return any(worker.thread.is_alive() for worker in tuple(self._workers))

    def submit(self, request: BatchRequest) -> Ticket[Any]:
        """Queue a request and return its ticket, with which the caller waits for the result.

        Raises Busy if the queue is full or closed, or if the result can't be ready before the deadline of the request. Raises
        DataError if the request has more tokens than the whole queue may hold, or if the cost (number of tokens) of one of its
        payloads is below 1.
        """
        ticket: Ticket[Any] = Ticket(request, self._withdraw)
        if min(request.costs, default=1) < 1:
            raise DataError(f"A payload of the request has the cost {min(request.costs)}; it must be at least 1 token. Correct `costs`.")
        with self._lock:
            if self._closed:
                raise Busy("The queue is stopping and accepts no more requests. Send the request to another server, or retry in 1 s.")
            if ticket.items:
                self._queue.admit(request.customer, sum(request.costs), request.deadline, self._trusted(ticket.submitted))
                self._queue.add(request.customer, ticket.items)
                self._wake()
        if not ticket.items:
            self._conclude([ticket])
        return ticket

    def check(self, customer: str, tokens: int, deadline: float | None) -> None:
        """Raise Busy or DataError if the queue can't accept a request of this size now; nothing is queued.

        `tokens` is the number of tokens of the request, which may be an estimate. `deadline` is the number of seconds within which
        the result must be ready; None sets no limit.
        """
        with self._lock:
            self._queue.admit(customer, tokens, deadline, self._trusted(monotonic()))

    def limit_batches(self, tokens: int) -> None:
        """Set the maximum number of tokens, padding included, of the batches that are formed from now on."""
        with self._lock:
            self.limits = self._queue.limits = replace(self.limits, tokens=tokens)

    def close(self) -> None:
        """Complete waiting requests with the error Busy, wait for running batches, and stop the threads.

        Requests that are still not computed after `limits.hang` seconds are completed with a ModelError. If the caller is a worker
        thread, the method returns without waiting.
        """
        with self._lock:
            self._closed = True
            waiting = list(dict.fromkeys(item.ticket for item in self._queue))
            for ticket in waiting:
                self._settle(ticket, error=Busy("The queue was stopped before the request was computed. Retry in 1 s."))
            self._sleeping = 0
            self._work.notify_all()
            called_by_worker = any(worker.thread is current_thread() for worker in self._workers)
        self._announce(waiting)
        if called_by_worker or self._ended.wait(self.limits.hang):
            return
        with self._lock:
            why = f"The queue was stopped, and the request was not computed within the next {self.limits.hang} s. Send it again."
            late = [ticket for worker in tuple(self._workers) for ticket in self._release(worker, why, again=False)]
            late += [item.ticket for items in self._returned for item in items]
            self._returned.clear()
            for ticket in late:
                self._settle(ticket, error=ModelError(why))
            self._staff()
        self._announce(late)

    def _serve(self, worker: _Worker) -> None:
        """Compute batches until the batcher is closed; this is the function that a worker thread runs."""
        try:
            while self._take(worker):
                self._announce(worker.owed)
                if worker.items:
                    self._run(worker)
        except BaseException as error:  # even a SystemExit must not lose the batch
            _log.exception("A worker thread that computes batches ended with an exception; a new thread replaces it.")
            self._replace(worker, error)

    def _take(self, worker: _Worker) -> bool:
        """Wait until items (model inputs) are queued, and assign a batch of them to `worker`.

        Returns False if the worker must end because it was replaced, or because the batcher is closed and no items remain; otherwise
        True.
        """
        with self._lock:
            worker.items, worker.owed, worker.since = [], [], None
            while not worker.lost:
                # stored in the worker before it is removed from the queue, so that an asynchronous exception in between can't lose it
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
        """Remove from a worker's new batch the items (model inputs) that need not be computed; the caller holds the lock.

        These are the items of requests that are completed already, for example cancelled, and of requests whose result would be ready
        only after their deadline. The latter requests are completed with the error Busy.
        """
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
                self._settle(
                    ticket, error=self._queue.busy(f"The request could not be answered within its deadline of {within:.0f} ms", rate)
                )
                worker.owed.append(ticket)
            if not ticket.completed:
                on_time.append(item)
        worker.items = on_time

    def _run(self, worker: _Worker) -> None:
        items, began = worker.items, monotonic()
        try:
            results = list(self._compute(items[0].ticket.request.executor, [item.payload for item in items]))
            if len(results) != len(items):
                raise ModelError(
                    f"`compute` returned {len(results)} results for a batch of {len(items)} payloads; expected one per payload. "
                    "Correct `compute`."
                )
        except Exception as error:
            self._fail(worker, error, began)
        else:
            self._deliver(worker, results, began)

    def _deliver(self, worker: _Worker, results: list[Any], began: float) -> None:
        """Store the results of a batch, complete the requests that have all their results, and call `watch` with the batch's statistics.

        `began` is the time at which the batch began, in seconds of the monotonic clock.
        """
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
                _log.exception(
                    "The function `watch`, which is called with the statistics of every batch, raised an exception; batches are still "
                    "computed."
                )

    def _fail(self, worker: _Worker, error: Exception, began: float) -> None:
        """Divide a failed batch into two smaller batches and queue both again.

        Batches are divided until the item (model input) that causes the error is alone, so that the other items succeed. If the
        failed batch had only one item, the request of this item is completed with an error made from `error`.
        """
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
        """Add the duration of a batch, in seconds, to the computing time of each ticket (request) that has items in the batch.

        Returns these tickets. The caller holds the lock.
        """
        tickets = list(dict.fromkeys(item.ticket for item in items))
        for ticket in tickets:
            ticket.computed += seconds
        return tickets

    def _halve(self, items: list[Item]) -> None:
        """Queue the two halves of `items` as two batches, which are computed before all other items; the caller holds the lock."""
        middle = (len(items) + 1) // 2
        self._returned.extend(half for half in (items[:middle], items[middle:]) if half)

    def _conclude(self, tickets: Iterable[Ticket[Any]]) -> None:
        """Complete tickets (handles of requests) whose results are all present.

        The value of a ticket is what the function `finish` of its request makes of the results. If `finish` fails, the ticket is
        completed with the error.
        """
        for ticket in tickets:
            value, error = ticket.outcome()
            with self._lock:
                self._settle(ticket, value, error)

    def _settle(self, ticket: Ticket[Any], value: Any = None, error: BaseException | None = None) -> None:
        """Complete a ticket (the handle of a request) with a value or an error; after an error, remove its waiting items from the queue.

        A ticket that is already completed is not changed. The caller holds the lock.
        """
        if ticket.completed:
            return
        ticket.value, ticket.error = value, error
        ticket.completed = True
        if error is not None:
            for item in ticket.items:
                self._queue.remove(item)
        ticket.items = ()

    def _announce(self, tickets: Sequence[Ticket[Any]]) -> None:
        """Wake the threads that wait for completed tickets, and run the callbacks of these tickets; safe to repeat for the same ticket."""
        calling = [ticket for ticket in tickets if ticket.completed and ticket.wake()]
        if not calling:
            return
        try:
            self._post(partial(_call_back, calling))
        except Exception:
            _log.exception(
                "The function `post`, which runs the callbacks of %d completed requests, raised an exception; these callbacks may not "
                "be run.",
                len(calling),
            )

    def _withdraw(self, ticket: Ticket[Any]) -> None:
        """Cancel a request: complete its ticket with CancelledError, unless it is completed already."""
        with self._lock:
            if ticket.completed:
                return
            self._settle(ticket, error=CancelledError("The request was cancelled before it was answered."))
        self._announce([ticket])

    def _trusted(self, now: float) -> float:
        """Return the measured throughput in tokens per second, or 0 if there is no recent measurement; the caller holds the lock.

        A measurement counts as recent while a worker computes a batch, and for `_STALE` seconds after the last batch.
        """
        if self._speed.stale(now) and not any(worker.since for worker in self._workers):
            return 0.0
        return self._speed.rate

    def _wake(self) -> None:
        """Wake one of the workers that wait for items, if any; the caller holds the lock."""
        if self._sleeping:
            self._sleeping -= 1
            self._work.notify()

    def _staff(self) -> None:
        """Start worker threads until the wanted number is running; the caller holds the lock.

        If the batcher is closed, threads are started only if batches of dead or failed workers must still be repeated.
        """
        while len(self._workers) < self._wanted and (self._returned or not self._closed):
            worker = _Worker()
            worker.thread = Thread(target=self._serve, args=(worker,), name="batcher-worker", daemon=True)
            try:
                worker.thread.start()
            except RuntimeError:
                _log.exception("A worker thread that computes batches could not be started; the batcher tries again within seconds.")
                return
            self._workers.append(worker)
        if not self._workers:
            self._ended.set()

    def _supervise(self) -> None:
        """Check the worker threads repeatedly until all have ended; this function runs in a thread of its own."""
        while not self._ended.wait(min(_TICK, self.limits.hang / 4)):
            try:
                self._inspect()
            except Exception:
                _log.exception("The periodic check of the worker threads raised an exception; the check is repeated within seconds.")

    def _inspect(self) -> None:
        """Replace workers whose thread has ended or whose batch takes longer than `limits.hang` seconds."""
        hang, tickets = self.limits.hang, []
        with self._lock:
            now = monotonic()
            for worker in tuple(self._workers):
                if worker.since is not None and now - worker.since > hang:
                    _log.error("A worker thread has been computing one batch for more than %s s; a new thread replaces it.", hang)
                    why = f"The batch with this request took longer than the {hang} s allowed. Send fewer records, or increase `hang`."
                    tickets += self._release(worker, why, again=False)
                elif not worker.thread.is_alive():
                    _log.error("A worker thread that computes batches has ended unexpectedly; a new thread replaces it.")
                    tickets += self._release(worker, _death("it ended without an exception"), again=True)
            self._staff()
        self._announce(tickets)

    def _replace(self, worker: _Worker, cause: BaseException) -> None:
        """Replace a worker whose thread ends with the exception `cause`, and queue its batch again."""
        with self._lock:
            tickets = self._release(worker, _death(f"{type(cause).__name__}: {cause}"), again=True)
            self._staff()
        self._announce(tickets)

    def _release(self, worker: _Worker, why: str, again: bool) -> list[Ticket[Any]]:
        """Remove a worker that died or takes too long; return the tickets (handles of requests) whose callers must be notified.

        If `again` is true, the items of its batch are queued again as two batches, except items with which `_DEATHS` workers have
        died. All other requests of the worker are completed with a ModelError with the message `why`. The caller holds the lock.
        """
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
    """Call the callbacks that were registered for these requests; `tickets` are the handles of the requests."""
    for ticket in tickets:
        ticket.call_back()


def _alone(error: Exception) -> VertuneError:
    """Return the error for a request after a batch that contained only one item (model input) of this request failed.

    A VertuneError is returned unchanged; any other exception is wrapped in a ModelError.
    """
    if isinstance(error, VertuneError):
        return error
    wrapped = ModelError(f"The model raised an error in a batch with only this record: {type(error).__name__}: {error}. Change the record.")
    wrapped.__cause__ = error
    return wrapped


def _death(cause: str) -> str:
    """Return the error message for a request whose worker thread ended while it computed the request; `cause` says why it ended."""
    return f"A worker thread died with this request in its batch ({cause}). Send the records one by one to find the one that causes this."
