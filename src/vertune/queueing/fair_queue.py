"""Requests, their tickets and items, the order among customers, and admission; knows nothing of workers or of what is computed.

The order is start-time fair queueing (Goyal, Vin and Cheng 1996) over tokens: a customer's next item starts at the virtual time at
which the last one ended, and the item with the earliest start is due. A customer is charged when an item is taken, so a withdrawn
item costs nothing. The virtual clock also advances with the tokens served; otherwise a stream of new customers could stop it, and
all others with it.
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
"""How many items are considered for one batch, so that forming it takes equally long however many wait."""
_SAFETY = 0.5
"""Share of a deadline that the requests ahead may use up; the rest is a reserve, because the rate is an estimate."""
_STALE = 1.0
"""Seconds without work after which the measured rate is not trusted: one slow batch must not refuse all that would correct it."""
_HALF_LIFE = 1.0
"""Seconds of work after which a measurement has half its weight."""
_log = logging.getLogger("vertune")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How much may wait, and how large a batch may be; raises ConfigError for impossible values."""

    tokens: int = 1024
    """The most padded tokens of one batch: its longest item times its number of items. A larger single item is a batch by itself."""
    items: int = 256
    """The most items of one batch."""
    fill: float = 0.85
    """The least share of a batch that is not padding. On a bank's texts with 32 waiting, 0.85 to 0.9 costs least for every value of
    `tokens`; without it, short texts are padded to the length of a long one, which is 1.3 times the work."""
    queued: int = 262_144
    """The most tokens that wait; up to twice as many while no customer has more than its share of this."""
    hang: float = 30.0
    """Seconds that one batch may take before its worker is replaced."""

    def __post_init__(self) -> None:
        if min(self.tokens, self.items, self.queued) < 1 or self.hang <= 0 or not 0 <= self.fill <= 1:
            raise ConfigError(f"A batcher can't work with {self}: limits are at least 1, `hang` above 0 s, `fill` 0 to 1. Correct it.")


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """Payloads that one executor must compute, each with its cost in tokens."""

    payloads: Sequence[Any]
    costs: Sequence[int]
    executor: Hashable = None
    """Payloads of different executors never share a batch."""
    customer: str = ""
    deadline: float | None = None
    """Seconds from now until which the result is of use; None sets no limit."""
    finish: Callable[[list[Any]], Any] | None = None
    """Turns the results of the payloads, in their order, into the value of the ticket; runs in the worker. None keeps the list."""


class Ticket(Generic[Result]):
    """One request in the queue, and later its value or error.

    `waited` is the seconds until its first item was in a batch, 0 before; `computed` the seconds of all batches that it was in;
    `until` the monotonic time of its deadline. `results` has the order of the payloads, and `left` counts those that are missing.
    """

    __slots__ = (
        "_callbacks", "_waiters", "_withdraw", "completed", "computed", "error", "items", "left", "request", "results", "submitted",
        "until", "value", "waited",
    )  # fmt: skip

    def __init__(self, request: BatchRequest, withdraw: Callable[[Ticket[Any]], None]) -> None:
        """`withdraw` removes a ticket from its batcher."""
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
        """Wait at most `timeout` seconds until the ticket is completed; whether it is."""
        if self.completed:
            return True
        waiter = Event()
        self._waiters.append(waiter)
        try:
            # checked again, because whoever completes it sets `completed` first and then wakes those on the list
            return self.completed or waiter.wait(timeout)
        finally:
            self._waiters.remove(waiter)

    def result(self, timeout: float | None = None) -> Any:
        """Wait at most `timeout` seconds for the value; raises the error of the request, or TimeoutError."""
        if not self.wait(timeout):
            raise TimeoutError(f"A result was expected within {timeout} s and is not there; wait longer, or cancel the ticket.")
        if self.error is not None:
            raise self.error
        return self.value

    def done(self, callback: Callable[[Ticket[Any]], None]) -> None:
        """Call the callback once, when the ticket is completed, by the `post` of the batcher; at once if it is completed already."""
        self._callbacks.append(callback)
        if self.completed:
            self.call_back()

    def cancel(self) -> None:
        """Complete the ticket with CancelledError if it is not complete; items in a running batch are computed in vain."""
        self._withdraw(self)

    def outcome(self) -> tuple[Any, BaseException | None]:
        """The value that `finish` returns for the results, or its error."""
        if self.request.finish is None:
            return self.results, None
        try:
            return self.request.finish(self.results), None
        except Exception as error:
            return None, error
        except BaseException as error:  # it must not end the worker, and with it the other tickets of the batch
            wrapped = ModelError(f"The `finish` of this request ended with {error!r}; it must return or raise an Exception. Correct it.")
            wrapped.__cause__ = error
            return None, wrapped

    def wake(self) -> bool:
        """Wake the threads in `wait`; returns whether there are callbacks to call."""
        for waiter in tuple(self._waiters):
            waiter.set()
        return bool(self._callbacks)

    def call_back(self) -> None:
        """Call each callback that was not called yet."""
        while self._callbacks:
            try:
                callback = self._callbacks.pop()
            except IndexError:  # another thread popped it, and calls it
                return
            try:
                callback(self)
            except Exception:
                _log.exception("A callback of a completed ticket failed; the others go on.")


@dataclass(slots=True, eq=False)
class Item:
    """One payload of a ticket: its index among the ticket's payloads, and its cost in tokens."""

    ticket: Ticket[Any]
    index: int
    payload: Any
    cost: int
    deaths: int = 0
    """How many workers died while computing it."""
    customer: Customer = field(init=False)


@dataclass(slots=True, eq=False)
class Customer:
    """The waiting items of one customer, oldest first; `tag` is the virtual time at which the next one starts."""

    name: str
    tag: float
    tokens: int = 0
    items: OrderedDict[Item, None] = field(default_factory=OrderedDict)
    """An OrderedDict, because finding the first key of a dict takes longer with every key that was removed before it."""


@dataclass(slots=True)
class Throughput:
    """Tokens a second over the time in which something was computed; older batches weigh less."""

    last: float = -math.inf
    """When the last batch ended, on the clock of `add`."""
    _tokens: float = 0.0
    _seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Tokens a second of all workers together; 0 before the first batch."""
        return self._tokens / self._seconds if self._seconds else 0.0

    def add(self, tokens: int, began: float, now: float) -> None:
        """Count a batch of so many tokens; time in which two batches overlap counts once."""
        seconds = now - max(began, self.last)
        keep = 0.5 ** (seconds / _HALF_LIFE) if began - self.last <= _STALE else 0.0
        self._tokens = self._tokens * keep + tokens
        self._seconds = self._seconds * keep + seconds
        self.last = now

    def stale(self, now: float) -> bool:
        """Whether the last batch is so long ago that the rate may be wrong."""
        return now - self.last > _STALE


class FairQueue:
    """The waiting items of all customers; not thread-safe, callers hold a lock."""

    def __init__(self, limits: BatchLimits) -> None:
        self.tokens = 0
        self.active = 0
        self._limits = limits
        self._customers: dict[str, Customer] = {}
        self._heap: list[tuple[float, int, Customer]] = []
        self._clock = 0.0
        self._turn = 0

    def __iter__(self) -> Iterator[Item]:
        """All waiting items, customer by customer."""
        for customer in self._customers.values():
            yield from customer.items

    @property
    def customers(self) -> int:
        """Number of known customers: those with waiting items, and those whose virtual time is still ahead of the clock."""
        return len(self._customers)

    def admit(self, name: str, tokens: int, deadline: float | None, rate: float) -> None:
        """Raise Busy where so many more tokens of a customer do not fit, or can't be computed within `deadline` seconds at `rate`.

        `rate` is in tokens a second, 0 where it is not known. Tokens that could never fit raise DataError.
        """
        limit = self._limits.queued
        if tokens > limit:
            raise DataError(f"The request has {tokens} tokens; at most {limit} may wait at once. Divide it into several.")
        customer = self._customers.get(name)
        waiting = customer.tokens if customer is not None else 0
        of_customer, total = waiting + tokens, self.tokens + tokens
        active = self.active if waiting else self.active + 1
        greedy = of_customer * active > limit
        if total > limit and (greedy or total > 2 * limit):
            raise self.busy(f"The queue of at most {limit} tokens has no room for this request of {tokens}", rate, greedy)
        if deadline is not None and rate:
            # an empty queue needs no reserve: nothing ahead could take longer than estimated
            allowed = deadline * (_SAFETY if self.tokens else 1.0)
            if min(total, active * of_customer) > allowed * rate:
                raise self.busy(f"{tokens} tokens could not be answered within their {deadline * 1000:.0f} ms", rate, greedy)

    def busy(self, reason: str, rate: float, own: bool = False) -> Busy:
        """The error for a refusal: the reason, how much waits, how fast it is computed, and when to retry."""
        # without a known rate, a second is as good a guess as any
        seconds = min(max(self.tokens / rate, 0.05), 60.0) if rate else 1.0
        speed = f"{rate:.0f} are computed a second" if rate else "and the speed is not known yet"
        return Busy(f"{reason}: {self.tokens} tokens wait, {speed}. Retry in {seconds:.2f} s.", seconds, own)

    def add(self, name: str, items: Sequence[Item]) -> None:
        """Append items of one customer."""
        customer = self._customers.get(name)
        if customer is None or not customer.items:
            due = self._due()
            start = self._clock if due is None else min(self._clock, due.tag)
            customer = self._customers.get(name)  # again, because `_due` may have removed it
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
        """Remove an item if it still waits, without charging its customer."""
        customer = item.customer
        if item not in customer.items:
            return
        del customer.items[item]
        customer.tokens -= item.cost
        self.tokens -= item.cost
        if not customer.items:
            self.active -= 1
            if not self.active:
                # tags only order customers that compete
                self._customers.clear()
                self._heap.clear()

    def take(self, items: Sequence[Item]) -> None:
        """Remove a chosen batch and charge its customers."""
        # one more than there are, so that a newcomer always comes before a customer that was just served
        share = 1 / (self.active + 1)
        for item in items:
            item.customer.tag += item.cost
            self._clock += item.cost * share
            self.remove(item)

    def choose(self) -> list[Item]:
        """A batch: the item that is due and those that fit best with it; all stay queued until `take`. Empty if nothing waits."""
        due = self._due()
        if due is None:
            return []
        first = next(iter(due.items))
        self._clock = max(self._clock, due.tag)
        executor, cost = first.ticket.request.executor, first.cost
        size = max(_WINDOW, self._limits.items)
        share = max(1, size // self.active)
        # the heap starts with the customer that is due, and sorting keeps the order of items of equal distance
        window = [item for _, _, customer in self._heap[:size] for item in islice(customer.items, share)]
        near = [item for item in window if item.ticket.request.executor == executor]
        near.sort(key=lambda item: abs(item.cost - cost))
        return self._fitting(near)

    def _fitting(self, near: list[Item]) -> list[Item]:
        """The first item, and of the others in order those for which the batch has room, while little of it is padding."""
        chosen, longest, filled = near[:1], near[0].cost, near[0].cost
        for item in near[1:]:
            size, padded = max(longest, item.cost), max(longest, item.cost) * (len(chosen) + 1)
            if filled + item.cost < self._limits.fill * padded:
                break
            if padded <= self._limits.tokens and len(chosen) < self._limits.items:
                chosen.append(item)
                longest, filled = size, filled + item.cost
            elif item.cost <= longest:
                break
        return chosen

    def _due(self) -> Customer | None:
        """The customer that is due; removes customers without items that the clock has reached, which are now like newcomers."""
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
