"""Batches for an engine, formed of what waits whenever a worker is free; knows nothing of texts, models or HTTP.

A batch is formed as late as can be: nothing waits for company, and whatever came meanwhile goes along. Every ticket is completed
exactly once, with a value or an error, whatever its worker, its batch or those beside it come to.
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
"""How many workers may die over an item before it is held to be the cause."""
_TICK = 1.0
"""Seconds between two looks at whether the workers live."""
_MISSING: Any = object()
_log = logging.getLogger("vertune")


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch that was computed: the sum of its costs, its padded cost (longest × number), and seconds."""

    lane: Hashable
    items: int
    tokens: int
    padded: int
    seconds: float


@dataclass(slots=True, eq=False)
class _Worker:
    """A thread, what it must give back if it dies, and the tickets whose completion it owes."""

    items: list[Item] = field(default_factory=list)
    owed: list[Ticket[Any]] = field(default_factory=list)
    since: float | None = None
    lost: bool = False
    """Whether it was replaced: what it still says counts for nothing."""
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
        """`compute(lane, payloads)` gives one result a payload, in order.

        `post` runs the callbacks that one batch caused, as one call; None runs them in the worker. `watch` is told of every batch
        that was computed. ConfigError for fewer than 1 worker.
        """
        if workers < 1:
            raise ConfigError(f"A batcher has at least 1 worker; got {workers}.")
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
        """Tokens that wait; what a worker has does not."""
        return self._queue.tokens

    @property
    def rate(self) -> float:
        """Tokens a second of all workers together while they work; 0 before the first batch."""
        return self._speed.rate

    @property
    def alive(self) -> bool:
        """Whether a worker lives."""
        return any(worker.thread.is_alive() for worker in tuple(self._workers))

    def submit(self, request: BatchRequest) -> Ticket[Any]:
        """Take a request; Busy where it can't be done now or in time, DataError for what never can."""
        ticket: Ticket[Any] = Ticket(request, self._withdraw)
        if min(request.costs, default=1) < 1:
            raise DataError(f"A payload costs at least 1 token; got {min(request.costs)}.")
        with self._lock:
            if self._closed:
                raise Busy("This batcher is stopping and takes no more requests; ask another one, or ask again in 1 s.")
            if ticket.items:
                self._queue.admit(request.customer, sum(request.costs), request.deadline, self._trusted(ticket.submitted))
                self._queue.add(request.customer, ticket.items)
                self._wake()
        if not ticket.items:
            self._conclude([ticket])
        return ticket

    def check(self, customer: str, tokens: int, deadline: float | None) -> None:
        """Busy where a request of at least so many tokens would not be taken now: it is known before the request is made ready."""
        with self._lock:
            self._queue.admit(customer, tokens, deadline, self._trusted(monotonic()))

    def close(self) -> None:
        """Complete what waits with Busy at once, let running batches end, and stop the threads; `limits.hang` seconds at most.

        What is not computed by then gets ModelError. Called from a worker's own thread it does not wait.
        """
        with self._lock:
            self._closed = True
            waiting = list(dict.fromkeys(item.ticket for item in self._queue))
            for ticket in waiting:
                self._settle(ticket, error=Busy("This batcher was stopped before the request's turn came; ask again in 1 s."))
            self._sleeping = 0
            self._work.notify_all()
            mine = any(worker.thread is current_thread() for worker in self._workers)
        self._announce(waiting)
        if mine or self._ended.wait(self.limits.hang):
            return
        with self._lock:
            why = f"The batcher was stopped, and {self.limits.hang} s later the model had not computed this; ask again."
            late = [ticket for worker in tuple(self._workers) for ticket in self._release(worker, why, again=False)]
            late += [item.ticket for items in self._returned for item in items]
            self._returned.clear()
            for ticket in late:
                self._settle(ticket, error=ModelError(why))
            self._staff()
        self._announce(late)

    def _serve(self, worker: _Worker) -> None:
        """The life of a worker."""
        try:
            while self._take(worker):
                self._announce(worker.owed)
                if worker.items:
                    self._run(worker)
        except BaseException as error:  # whatever it is, it ends here: this thread has nobody above it
            _log.exception("A worker of a batcher died and is replaced.")
            self._bury(worker, error)

    def _take(self, worker: _Worker) -> bool:
        """Wait for work and take a batch, or tickets that are too late for one; False when this worker is to end."""
        with self._lock:
            worker.items, worker.owed, worker.since = [], [], None
            while not worker.lost:
                # held before it leaves where it lies: an exception from outside between the two must not lose it
                if self._returned:
                    worker.items = self._returned[0]
                    self._returned.popleft()
                else:
                    worker.items = self._queue.choose()
                    self._queue.take(worker.items)
                if worker.items:
                    self._judge(worker)
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

    def _judge(self, worker: _Worker) -> None:
        """Of a batch just taken, leave those items that somebody waits for and that can be in time; the lock is held."""
        now = monotonic()
        rate = self._trusted(now)
        worker.since = now
        end = now + sum(item.cost for item in worker.items) / rate if rate else now
        kept: list[Item] = []
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
                kept.append(item)
        worker.items = kept

    def _run(self, worker: _Worker) -> None:
        items, began = worker.items, monotonic()
        try:
            results = list(self._compute(items[0].ticket.request.lane, [item.payload for item in items]))
            if len(results) != len(items):
                raise ModelError(f"The model gives one result an item, here {len(items)}; got {len(results)}. Correct the model.")
        except Exception as error:
            self._fail(worker, error, began)
        else:
            self._deliver(worker, results, began)

    def _deliver(self, worker: _Worker, results: list[Any], began: float) -> None:
        """Hand out the results of a batch, complete the tickets that have all of theirs, and tell who watches."""
        items, now = worker.items, monotonic()
        costs = [item.cost for item in items]
        with self._lock:
            if worker.lost:
                return
            self.last_success = now
            self._speed.add(sum(costs), began, now)
            tickets = self._spend(items, now - began)
            for item, result in zip(items, results, strict=True):
                found = item.ticket.results
                if found[item.place] is _MISSING:
                    found[item.place] = result
                    item.ticket.left -= 1
            worker.owed = [ticket for ticket in tickets if not ticket.left and not ticket.completed]
            worker.items = []
        self._conclude(worker.owed)
        self._announce(worker.owed)
        if self._watch is not None:
            try:
                self._watch(Batch(items[0].ticket.request.lane, len(items), sum(costs), max(costs) * len(items), now - began))
            except Exception:
                _log.exception("What watches the batches failed; the batcher goes on.")

    def _fail(self, worker: _Worker, error: Exception, began: float) -> None:
        """Give a failed batch back in halves, until the item that is the cause stands alone and fails alone."""
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
        """Count the time of a batch to its tickets, which are returned; the lock is held."""
        tickets = list(dict.fromkeys(item.ticket for item in items))
        for ticket in tickets:
            ticket.computed += seconds
        return tickets

    def _halve(self, items: list[Item]) -> None:
        middle = (len(items) + 1) // 2
        self._returned.extend(half for half in (items[:middle], items[middle:]) if half)

    def _conclude(self, tickets: Iterable[Ticket[Any]]) -> None:
        """Make the value of each ticket, which has all its results."""
        for ticket in tickets:
            value, error = ticket.outcome()
            with self._lock:
                self._settle(ticket, value, error)

    def _settle(self, ticket: Ticket[Any], value: Any = None, error: BaseException | None = None) -> None:
        """Complete a ticket, unless it is, and take what is left of it out of the queue; the lock is held."""
        if ticket.completed:
            return
        ticket.value, ticket.error = value, error
        ticket.completed = True
        if error is not None:
            for item in ticket.items:
                self._queue.remove(item)
        ticket.items = ()

    def _announce(self, tickets: Sequence[Ticket[Any]]) -> None:
        """Wake who waits for these tickets, where they are completed, and have their callbacks run; a second time does nothing."""
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
        """The rate that may refuse a request, 0 where none may; the lock is held."""
        if self._speed.stale(now) and not any(worker.since for worker in self._workers):
            return 0.0
        return self._speed.rate

    def _wake(self) -> None:
        """Wake a worker that sleeps; the lock is held."""
        if self._sleeping:
            self._sleeping -= 1
            self._work.notify()

    def _staff(self) -> None:
        """Start the workers that are missing, as long as there is something for them; the lock is held."""
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
                _log.exception("Looking after the workers of a batcher failed; it is tried again.")

    def _inspect(self) -> None:
        """Bury workers that died without a word, give up those that hang, and start what is missing."""
        hang, tickets = self.limits.hang, []
        with self._lock:
            now = monotonic()
            for worker in tuple(self._workers):
                if worker.since is not None and now - worker.since > hang:
                    _log.error("A worker of a batcher is at one batch for more than %s s; it is given up and replaced.", hang)
                    why = f"The model has {hang} s for a batch and took longer with this request in it. Ask for less, or raise `hang`."
                    tickets += self._release(worker, why, again=False)
                elif not worker.thread.is_alive():
                    _log.error("A worker of a batcher died without a word and is replaced.")
                    tickets += self._release(worker, _death("its thread is gone"), again=True)
            self._staff()
        self._announce(tickets)

    def _bury(self, worker: _Worker, cause: BaseException) -> None:
        """Replace a worker that ends with an error."""
        with self._lock:
            tickets = self._release(worker, _death(f"{type(cause).__name__}: {cause}"), again=True)
            self._staff()
        self._announce(tickets)

    def _release(self, worker: _Worker, why: str, again: bool) -> list[Ticket[Any]]:
        """Take everything from a worker that is lost, `again` for a second try in halves; the tickets to announce. The lock is held."""
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
    """What is said of an item that failed by itself."""
    if isinstance(error, VertuneError):
        return error
    wrapped = ModelError(f"The model could not compute this item, which it was given alone: {type(error).__name__}: {error}. Change it.")
    wrapped.__cause__ = error
    return wrapped


def _death(cause: str) -> str:
    return f"A worker computes a batch and lives on; it died with this request in it ({cause}). Ask without what the model can't bear."
