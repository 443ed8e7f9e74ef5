"""Requests, their tickets and items, whose turn it is and whether more may come; knows nothing of workers or of what is computed.

Order is start-time fair queueing (Goyal, Vin and Cheng 1996) over tokens: a customer's next item has the virtual time at which the
customer's last one ended, and the earliest is due. A customer is charged when an item is taken, so what is withdrawn costs nothing.
The virtual clock moves with the service as well, since a stream of new customers could stop it otherwise, and with it all others.
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
"""How many of the items that are due next are looked at for company: forming a batch takes as long whatever number waits."""
_SAFETY = 0.5
"""The part of a deadline that what waits before a request may use up; the rest is for what the rate does not foresee."""
_STALE = 1.0
"""Seconds without work after which a measured rate refuses nobody. Else one slow batch could refuse all that would correct it."""
_HALF_LIFE = 1.0
"""Seconds of work after which a measurement counts half."""
_log = logging.getLogger("vertune")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """What a batcher takes and how it forms batches; ConfigError for what can't work."""

    tokens: int = 1024
    """The padded cost of one batch: its longest item × its number of items. A single item that is larger stands alone."""
    items: int = 256
    """The most items of one batch."""
    fill: float = 0.85
    """The least share of a batch that is not padding. On texts of a bank, 32 waiting, 0.85 to 0.9 costs least whatever `tokens`
    is; without it, a large `tokens` has a long text and many short ones padded to it: 1.3 times the work."""
    queued: int = 262_144
    """The most tokens that wait; up to twice as many while no customer has more than its share of this."""
    hang: float = 30.0
    """Seconds after which a worker that is still at one batch is given up and replaced."""

    def __post_init__(self) -> None:
        if min(self.tokens, self.items, self.queued) < 1 or self.hang <= 0 or not 0 <= self.fill <= 1:
            raise ConfigError(f"Limits of a batcher are at least 1, `hang` is above 0 s and `fill` from 0 to 1; got {self}.")


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """What is to be computed: payloads of one lane, each with its cost in tokens."""

    payloads: Sequence[Any]
    costs: Sequence[int]
    lane: Hashable = None
    """Payloads of different lanes never share a batch."""
    customer: str = ""
    deadline: float | None = None
    """Seconds from now after which nobody wants the result."""
    finish: Callable[[list[Any]], Any] | None = None
    """Makes the result of the request of those of its payloads, in their order; runs in the worker. None leaves them as they are."""


class Ticket(Generic[Result]):
    """One request that was taken, and later its value or error.

    `waited` is the seconds until its first item was put into a batch, 0 before; `computed` the seconds of the batches it was in.
    The rest is for who computes it: `results` in order of the payloads, `left` of which are missing, and `until`, when it is too late.
    """

    __slots__ = (
        "_callbacks", "_waiters", "_withdraw", "completed", "computed", "error", "items", "left", "request", "results", "submitted",
        "until", "value", "waited",
    )  # fmt: skip

    def __init__(self, request: BatchRequest, withdraw: Callable[[Ticket[Any]], None]) -> None:
        """`withdraw` is what cancels it."""
        self.request = request
        self.submitted = monotonic()
        self.until = math.inf if request.deadline is None else self.submitted + request.deadline
        self.completed = False
        self.value: Result | None = None
        self.error: BaseException | None = None
        self.waited = self.computed = 0.0
        self.items: Sequence[Item] = [
            Item(self, place, payload, cost) for place, (payload, cost) in enumerate(zip(request.payloads, request.costs, strict=True))
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
        """Have the callback called once when the ticket is completed, by the `post` of the batcher; here and now if it is."""
        self._callbacks.append(callback)
        if self.completed:
            self.call_back()

    def cancel(self) -> None:
        """Free its place and complete it with CancelledError, unless it is complete; what a worker has is computed for nobody."""
        self._withdraw(self)

    def outcome(self) -> tuple[Any, BaseException | None]:
        """The value that `finish` makes of all the results, or its error."""
        if self.request.finish is None:
            return self.results, None
        try:
            return self.request.finish(self.results), None
        except Exception as error:
            return None, error
        except BaseException as error:  # it must not end the worker, which would take the tickets beside it along
            wrapped = ModelError(f"A request is finished with a value or an error; this one ended with {error!r}. Correct its `finish`.")
            wrapped.__cause__ = error
            return None, wrapped

    def wake(self) -> bool:
        """Wake the threads in `result`; whether callbacks wait too."""
        for waiter in tuple(self._waiters):
            waiter.set()
        return bool(self._callbacks)

    def call_back(self) -> None:
        """Call the callbacks that nobody has called yet."""
        while self._callbacks:
            try:
                callback = self._callbacks.pop()
            except IndexError:  # another thread was faster: who pops it calls it, so each is called once
                return
            try:
                callback(self)
            except Exception:
                _log.exception("A callback of a completed ticket failed; the others go on.")


@dataclass(slots=True, eq=False)
class Item:
    """One payload that waits: whose it is, its place among the payloads of its ticket, its cost in tokens."""

    ticket: Ticket[Any]
    place: int
    payload: Any
    cost: int
    deaths: int = 0
    """How many workers died while they computed it."""
    customer: Customer = field(init=False)


@dataclass(slots=True, eq=False)
class Customer:
    """The items of one customer, first come first; `tag` is the virtual time at which the next of them is due."""

    name: str
    tag: float
    tokens: int = 0
    items: OrderedDict[Item, None] = field(default_factory=OrderedDict)
    """Ordered, because a dict that loses its first keys walks over the holes each time that it is asked for its first."""


@dataclass(slots=True)
class Throughput:
    """Tokens a second over the time in which something was computed; what is long ago counts less."""

    last: float = -math.inf
    """When the last batch was done, on the clock of `add`."""
    _tokens: float = 0.0
    _seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Tokens a second of all workers together; 0 before the first batch."""
        return self._tokens / self._seconds if self._seconds else 0.0

    def add(self, tokens: int, began: float, now: float) -> None:
        """Count a batch of so many tokens; of two that overlap, the time they share is counted once."""
        seconds = now - max(began, self.last)
        keep = 0.5 ** (seconds / _HALF_LIFE) if began - self.last <= _STALE else 0.0
        self._tokens = self._tokens * keep + tokens
        self._seconds = self._seconds * keep + seconds
        self.last = now

    def stale(self, now: float) -> bool:
        """Whether nothing was done for so long that the rate may be wrong."""
        return now - self.last > _STALE


class FairQueue:
    """What waits, of all customers; not safe for threads, who shares it holds a lock."""

    def __init__(self, limits: BatchLimits) -> None:
        self.tokens = 0
        self.active = 0
        self._limits = limits
        self._customers: dict[str, Customer] = {}
        self._heap: list[tuple[float, int, Customer]] = []
        self._clock = 0.0
        self._turn = 0

    def __iter__(self) -> Iterator[Item]:
        """Everything that waits."""
        for customer in self._customers.values():
            yield from customer.items

    @property
    def customers(self) -> int:
        """How many customers are remembered: who has items here, and who lately took more than others still wait for."""
        return len(self._customers)

    def admit(self, name: str, tokens: int, deadline: float | None, rate: float) -> None:
        """Raise Busy where so many tokens more of this customer can't be taken, or not done within `deadline` seconds at `rate`.

        `rate` is in tokens a second, 0 where it is not known. DataError where the tokens could never be taken.
        """
        limit = self._limits.queued
        if tokens > limit:
            raise DataError(f"One request holds at most {limit} tokens, as many as may wait; got {tokens}. Divide it into several.")
        customer = self._customers.get(name)
        waiting = customer.tokens if customer is not None else 0
        own, total = waiting + tokens, self.tokens + tokens
        active = self.active if waiting else self.active + 1
        greedy = own * active > limit
        if total > limit and (greedy or total > 2 * limit):
            raise self.busy(f"A queue of at most {limit} tokens is full for this request of {tokens}", rate, greedy)
        if deadline is not None and rate:
            # who is alone needs no reserve: nothing is before it that could take longer than foreseen
            allowed = deadline * (_SAFETY if self.tokens else 1.0)
            if min(total, active * own) > allowed * rate:
                raise self.busy(f"{tokens} tokens could not be answered within their {deadline * 1000:.0f} ms", rate, greedy)

    def busy(self, reason: str, rate: float, own: bool = False) -> Busy:
        """The error that gives the reason, how much waits, how fast it is done, and when to come again."""
        # where the rate is not known a second is as good as any
        seconds = min(max(self.tokens / rate, 0.05), 60.0) if rate else 1.0
        speed = f"{rate:.0f} are done a second" if rate else "how fast they are done is not known yet"
        return Busy(f"{reason}: {self.tokens} tokens wait, {speed}; ask again in {seconds:.2f} s.", seconds, own)

    def add(self, name: str, items: Sequence[Item]) -> None:
        """Append items of one customer."""
        customer = self._customers.get(name)
        if customer is None or not customer.items:
            due = self._due()
            start = self._clock if due is None else min(self._clock, due.tag)
            customer = self._customers.get(name)  # again: `_due` may have forgotten it
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
        """Take an item out, where it still waits, and charge nobody."""
        customer = item.customer
        if item not in customer.items:
            return
        del customer.items[item]
        customer.tokens -= item.cost
        self.tokens -= item.cost
        if not customer.items:
            self.active -= 1
            if not self.active:
                # the tags only order those who compete
                self._customers.clear()
                self._heap.clear()

    def take(self, items: Sequence[Item]) -> None:
        """Take a chosen batch out and charge its customers."""
        # one more than there are: so a newcomer is always before who was just served
        share = 1 / (self.active + 1)
        for item in items:
            item.customer.tag += item.cost
            self._clock += item.cost * share
            self.remove(item)

    def choose(self) -> list[Item]:
        """The item that is due and what fits best beside it, which all stay here until `take`; empty where nothing waits."""
        due = self._due()
        if due is None:
            return []
        first = next(iter(due.items))
        self._clock = max(self._clock, due.tag)
        lane, cost = first.ticket.request.lane, first.cost
        window = max(_WINDOW, self._limits.items)
        share = max(1, window // self.active)
        # the heap starts with the customer that is due, and sorting keeps the order of what is equally near
        near = [
            item for _, _, customer in self._heap[:window] for item in islice(customer.items, share) if item.ticket.request.lane == lane
        ]
        near.sort(key=lambda item: abs(item.cost - cost))
        return self._fitting(near)

    def _fitting(self, near: list[Item]) -> list[Item]:
        """The first, and of the others in order what the padded cost leaves room for, as long as little of it is padding."""
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
        """Whose turn it is; forgets those without items whose time has come, since from now on they are as any newcomer."""
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
