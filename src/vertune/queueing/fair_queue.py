"""A queue that is fair among customers (API keys or client addresses) and refuses requests above its capacity; independent of workers.

The order is start-time fair queueing (Goyal, Vin and Cheng 1996). It uses a virtual time that is counted in tokens: an item of a
customer starts when the customer's previous item ends, and its duration is its number of tokens. The item with the earliest start is
computed next. Tokens are charged to a customer when an item leaves the queue for a batch, so a cancelled item costs nothing.

The virtual clock also advances with the tokens that are served. Otherwise, it could stand still while new customers keep arriving:
each of them would start at the time of the clock, and all would be served before the other customers.

A request has one or more items (model inputs), which may be computed in different batches. The caller waits for the result with a
ticket.
"""

from __future__ import annotations

import heapq
import logging
import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from threading import Event
from time import monotonic
from typing import Any, Generic, TypeVar

from vertune.core.errors import Busy, ConfigError, DataError, ModelError

_WINDOW = 256
"""Maximum number of waiting items considered for one batch (`BatchLimits.items` if that is larger), to limit the time to form it."""
_SAFETY = 0.5
"""A request is refused if the estimated time until its result exceeds this fraction of its deadline, since the estimate may be wrong."""
_STALE = 1.0
"""Seconds without computation after which the measured throughput is ignored.

Otherwise one slow batch could lead to the refusal of all requests, and no new measurement would correct it.
"""
_HALF_LIFE = 1.0
"""Seconds of computation after which a measured batch has half of its initial weight in the throughput."""
_log = logging.getLogger("vertune")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """The limits of a queue and of one batch; raises ConfigError for invalid values."""

    tokens: int = 1024
    """Maximum tokens of one batch with padding: its longest item times its number of items. A larger item is computed alone."""
    items: int = 256
    """Maximum number of items of one batch."""
    fill: float = 0.85
    """Minimum fraction of the tokens of a batch that are not padding.

    Without this limit, short texts are padded to the length of a long one, which takes 1.3 times as long. In a measurement with texts
    of bank customers and 32 waiting requests, 0.85 to 0.9 was fastest for every value of `tokens`.
    """
    queued: int = 262_144
    """Maximum number of waiting tokens; customers that use at most an equal part of the queue may fill it up to twice this number."""
    hang: float = 30.0
    """Maximum seconds that one batch may take before its worker is replaced."""

    def __post_init__(self) -> None:
        if min(self.tokens, self.items, self.queued) < 1 or self.hang <= 0 or not 0 <= self.fill <= 1:
            raise ConfigError(
                f"The limits {self} are not valid: `tokens`, `items` and `queued` must be at least 1, `hang` above 0, and `fill` from 0 to "
                "1. Correct the limits."
            )


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """A request to compute payloads (model inputs) with one executor (usually a model); each payload has a cost in tokens."""

    payloads: Sequence[Any]
    costs: Sequence[int]
    executor: Hashable = None
    """The object that computes the payloads; payloads of different executors never share a batch."""
    customer: str = ""
    """Identifies the client to which the tokens are charged: the id of an API key, or an address."""
    deadline: float | None = None
    """Maximum seconds until the result is ready; None sets no limit."""
    finish: Callable[[list[Any]], Any] | None = None
    """Converts the list of results, in the order of the payloads, to the value of the ticket; runs in the worker. None keeps the list."""


class Ticket(Generic[Result]):
    """The handle of a queued request, with which a caller waits for the value or the error of the request.

    `waited` is the number of seconds until the first batch with one of its items began (0 before that); `computed` is the total
    duration, in seconds, of the batches that contained its items. `until` is the time at which its deadline ends, in seconds of the
    monotonic clock. `results` is in the order of the payloads, and `left` is the number of missing results.
    """

    __slots__ = (
        "_callbacks", "_waiters", "_withdraw", "completed", "computed", "error", "items", "left", "request", "results", "submitted",
        "until", "value", "waited",
    )  # fmt: skip

    def __init__(self, request: BatchRequest, withdraw: Callable[[Ticket[Any]], None]) -> None:
        """Create the ticket of a request; `withdraw` is the function that `cancel` calls to cancel it."""
        self.request = request
        self.submitted = monotonic()
        self.until = math.inf if request.deadline is None else self.submitted + request.deadline
        self.completed = False
        self.value: Result | None = None
        self.error: BaseException | None = None
        self.waited = self.computed = 0.0
        self.items: Sequence[Item] = [
            Item(self, index, payload, cost) for index, (payload, cost) in enumerate(zip(request.payloads, request.costs, strict=True))
        ]
        self.left = len(self.items)
        self.results: list[Any] = []
        self._withdraw = withdraw
        self._callbacks: list[Callable[[Ticket[Any]], None]] = []
        self._waiters: list[Event] = []

    def wait(self, timeout: float | None = None) -> bool:
        """Wait at most `timeout` seconds until the ticket is completed, and return whether it is."""
        if self.completed:
            return True
        waiter = Event()
        self._waiters.append(waiter)
        try:
            # checked again, because a batcher sets `completed` first and then wakes the waiters on the list
            return self.completed or waiter.wait(timeout)
        finally:
            self._waiters.remove(waiter)

    def result(self, timeout: float | None = None) -> Any:
        """Wait at most `timeout` seconds for the value and return it.

        Raises the error of the request if it failed, and TimeoutError if the ticket is not completed in this time.
        """
        if not self.wait(timeout):
            raise TimeoutError(f"The result of the request was not ready within {timeout} s. Wait longer, or cancel the ticket.")
        if self.error is not None:
            raise self.error
        return self.value

    def done(self, callback: Callable[[Ticket[Any]], None]) -> None:
        """Register a function that is called once, with this ticket, when the ticket is completed.

        The batcher passes the call to its function `post`, which may run it in another thread. If the ticket is completed already,
        the callback is called immediately.
        """
        self._callbacks.append(callback)
        if self.completed:
            self.call_back()

    def cancel(self) -> None:
        """Complete the ticket with CancelledError unless it is completed already; results of items in a running batch are discarded."""
        self._withdraw(self)

    def outcome(self) -> tuple[Any, BaseException | None]:
        """Convert the results to the value of the ticket with the function `finish` of the request.

        Returns the pair (value, None), or (None, error) if `finish` raises an error. If the request has no `finish`, the value is the
        list of results.
        """
        if self.request.finish is None:
            return self.results, None
        try:
            return self.request.finish(self.results), None
        except Exception as error:
            return None, error
        except BaseException as error:  # must not end the worker, which would affect the other tickets of the batch
            wrapped = ModelError(
                f"The function `finish` of a request raised {error!r}; it must return a value or raise an Exception. Correct it."
            )
            wrapped.__cause__ = error
            return None, wrapped

    def wake(self) -> bool:
        """Wake the threads that wait in `wait`, and return whether there are callbacks that were not called yet."""
        for waiter in tuple(self._waiters):
            waiter.set()
        return bool(self._callbacks)

    def call_back(self) -> None:
        """Call each callback that has not been called yet."""
        while self._callbacks:
            try:
                callback = self._callbacks.pop()
            except IndexError:  # another thread popped it, and calls it
                return
            try:
                callback(self)
            except Exception:
                _log.exception("A callback of a completed request raised an exception; the other callbacks are still run.")


@dataclass(slots=True, eq=False)
class Item:
    """One payload (model input) of a request: the request's ticket, the index among its payloads, and the cost in tokens."""

    ticket: Ticket[Any]
    index: int
    payload: Any
    cost: int
    deaths: int = 0
    """The number of workers that died while they computed it."""
    customer: Customer = field(init=False)


@dataclass(slots=True, eq=False)
class Customer:
    """A customer (API key or client address) and its waiting items, oldest first.

    `tag` is the virtual time, in tokens, at which its next item starts; `tokens` is the total number of tokens of its waiting items.
    """

    name: str
    tag: float
    tokens: int = 0
    items: OrderedDict[Item, None] = field(default_factory=OrderedDict)
    """An OrderedDict used as a set: the time to find the first key of a dict grows with the number of keys removed before it."""


@dataclass(slots=True)
class Throughput:
    """Measures tokens per second of computation; the weight of older batches decays exponentially."""

    last: float = -math.inf
    """The time at which the last batch ended, as passed to `add`."""
    _tokens: float = 0.0
    _seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Measured tokens per second of all workers together; 0 before the first batch."""
        return self._tokens / self._seconds if self._seconds else 0.0

    def add(self, tokens: int, began: float, now: float) -> None:
        """Add a batch of `tokens` tokens that was computed from `began` to `now`, in seconds of the monotonic clock.

        If two batches were computed at the same time, the time in which they overlap counts once.
        """
        seconds = now - max(began, self.last)
        decay = 0.5 ** (seconds / _HALF_LIFE) if began - self.last <= _STALE else 0.0
        self._tokens = self._tokens * decay + tokens
        self._seconds = self._seconds * decay + seconds
        self.last = now

    def stale(self, now: float) -> bool:
        """Return whether the last batch ended so long before `now` (more than `_STALE` seconds) that the throughput may have changed."""
        return now - self.last > _STALE


class FairQueue:
    """The waiting items (model inputs) of all customers, in fair order; not thread-safe, so callers hold a lock."""

    def __init__(self, limits: BatchLimits) -> None:
        self.tokens = 0
        self.active = 0
        self.limits = limits
        self._customers: dict[str, Customer] = {}
        self._heap: list[tuple[float, int, Customer]] = []
        self._clock = 0.0
        self._turn = 0

    def __iter__(self) -> Iterator[Item]:
        """Iterate over all waiting items, customer by customer."""
        for customer in self._customers.values():
            yield from customer.items

    @property
    def customers(self) -> int:
        """The number of customers that the queue keeps in memory.

        These are the customers with waiting items, and the recently served customers, whose virtual time is later than the virtual
        clock.
        """
        return len(self._customers)

    def admit(self, name: str, tokens: int, deadline: float | None, rate: float) -> None:
        """Raise an error if a request of `tokens` tokens by the customer `name` may not be queued.

        Raises DataError if the request has more tokens than the empty queue accepts. Raises Busy if its tokens exceed the capacity
        that is free for this customer, or can't be computed within `deadline` seconds at `rate` tokens per second. If `rate` is 0, it
        is unknown, and the deadline is not checked.
        """
        limit = self.limits.queued
        if tokens > limit:
            raise DataError(
                f"The request has {tokens} tokens; at most {limit} tokens may wait in the queue. Divide it into several requests."
            )
        customer = self._customers.get(name)
        waiting = customer.tokens if customer is not None else 0
        of_customer, total = waiting + tokens, self.tokens + tokens
        active = self.active if waiting else self.active + 1
        greedy = of_customer * active > limit
        if total > limit and (greedy or total > 2 * limit):
            raise self.busy(f"The queue of at most {limit} tokens has no room for this request of {tokens} tokens", rate, greedy)
        if deadline is not None and rate:
            # an empty queue needs no reserve, because no request ahead can take longer than estimated
            allowed = deadline * (_SAFETY if self.tokens else 1.0)
            if min(total, active * of_customer) > allowed * rate:
                raise self.busy(
                    f"A request of {tokens} tokens could not be answered within its deadline of {deadline * 1000:.0f} ms", rate, greedy
                )

    def busy(self, reason: str, rate: float, own: bool = False) -> Busy:
        """Return the error for a request that is refused; its message contains `reason`, the number of waiting tokens, and when to retry.

        `rate` is the throughput in tokens per second, 0 if unknown. `own` is set if the customer of the request uses more than an
        equal part of the queue; the HTTP status is then 429 instead of 503.
        """
        # if the rate is unknown, 1 s is an arbitrary choice
        seconds = min(max(self.tokens / rate, 0.05), 60.0) if rate else 1.0
        speed = f"{rate:.0f} are computed a second" if rate else "and the speed is not known yet"
        return Busy(f"{reason}: {self.tokens} tokens wait, {speed}. Retry in {seconds:.2f} s.", seconds, own)

    def add(self, name: str, items: Sequence[Item]) -> None:
        """Append items (model inputs) to the waiting items of the customer `name`."""
        customer = self._customers.get(name)
        if customer is None or not customer.items:
            due = self._due()
            start = self._clock if due is None else min(self._clock, due.tag)
            customer = self._customers.get(name)  # looked up again, because `_due` may have removed it
            if customer is None:
                customer = self._customers[name] = Customer(name, start)
                self._push(customer)
            customer.tag = max(customer.tag, start)
            self.active += 1
        tokens = 0
        for item in items:
            item.customer = customer
            customer.items[item] = None
            tokens += item.cost
        customer.tokens += tokens
        self.tokens += tokens

    def remove(self, item: Item) -> None:
        """Remove an item (model input) if it still waits; its tokens are not charged to its customer."""
        customer = item.customer
        if item not in customer.items:
            return
        del customer.items[item]
        customer.tokens -= item.cost
        self.tokens -= item.cost
        if not customer.items:
            self.active -= 1
            if not self.active:
                # nobody competes any more, so the tags, which order competing customers, can be forgotten
                self._customers.clear()
                self._heap.clear()

    def take(self, items: Sequence[Item]) -> None:
        """Remove the items of a batch, which `choose` returned, from the queue and charge their tokens to their customers."""
        # divided by one more than the active customers, so that a new customer always precedes one that was just served
        share = 1 / (self.active + 1)
        for item in items:
            item.customer.tag += item.cost
            self._clock += item.cost * share
            self.remove(item)

    def choose(self) -> list[Item]:
        """Return the items (model inputs) of the next batch; the list is empty if no item waits.

        The batch contains the item that is next in fair order, and those waiting items for the same executor (model) whose costs in
        tokens are most similar, within the limits of a batch. All these items remain in the queue until `take` removes them.
        """
        due = self._due()
        if due is None:
            return []
        first = next(iter(due.items))
        self._clock = max(self._clock, due.tag)
        executor, cost = first.ticket.request.executor, first.cost
        size = max(_WINDOW, self.limits.items)
        share = max(1, size // self.active)
        # the heap starts with the customer that is next, and sorting keeps the order of items of equal distance
        window = [item for _, _, customer in self._heap[:size] for item in islice(customer.items, share)]
        near = [item for item in window if item.ticket.request.executor == executor]
        near.sort(key=lambda item: abs(item.cost - cost))
        return self._fitting(near)

    def _fitting(self, near: list[Item]) -> list[Item]:
        """Return those items of `near` that form one batch within the limits of tokens, items and padding.

        `near` begins with the item that is next in fair order; the others follow, most similar cost first. The first is always
        returned.
        """
        chosen, longest, filled = near[:1], near[0].cost, near[0].cost
        for item in near[1:]:
            size, padded = max(longest, item.cost), max(longest, item.cost) * (len(chosen) + 1)
            if filled + item.cost < self.limits.fill * padded:
                break
            if padded <= self.limits.tokens and len(chosen) < self.limits.items:
                chosen.append(item)
                longest, filled = size, filled + item.cost
            elif item.cost <= longest:
                break
        return chosen

    def _due(self) -> Customer | None:
        """Return the customer whose item is next in fair order, or None if no item waits.

        Customers without waiting items that precede this customer in the order are removed, and the virtual clock advances to their
        time.
        """
        while self._heap:
            tag, _, customer = self._heap[0]
            if tag < customer.tag:
                heapq.heappop(self._heap)
                self._push(customer)
            elif customer.items:
                return customer
            else:
                heapq.heappop(self._heap)
                del self._customers[customer.name]
                self._clock = max(self._clock, tag)
        return None

    def _push(self, customer: Customer) -> None:
        self._turn += 1
        heapq.heappush(self._heap, (customer.tag, self._turn, customer))
