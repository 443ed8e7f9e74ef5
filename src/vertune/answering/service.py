"""Answers calls by way of the answer cache, the encoders and the batcher, for threads and for asyncio; knows nothing of HTTP."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import time
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self, cast

from vertune.answering.call import Call, ClientDisconnected, Listener
from vertune.answering.shares import Share, by_executor, work_of
from vertune.core.artifact import Home
from vertune.core.errors import Busy, ModelError, NotFound, VertuneError
from vertune.core.machine import usable_processors
from vertune.core.records import Answer, Feature, Record
from vertune.data.validate import records_of_texts, select_fields, validate_records
from vertune.queueing.batcher import Batch, Batcher
from vertune.queueing.fair_queue import BatchLimits, BatchRequest, Ticket
from vertune.runtime.cache import AnswerCache
from vertune.runtime.fleet import Deployment, Executor, Fleet, Payload
from vertune.runtime.warmup import batch_budget

_MAX_INLINE_CHARACTERS = 20_000
"""Characters of a call from which on it is tokenised in a thread, so that the event loop does not stand still meanwhile."""
_MIN_CHECKED_TOKENS = 50
"""Tokens from which on the queue is asked whether it would take a call before the call is tokenised."""
_CHARACTERS_PER_TOKEN = 10
"""More characters than nearly all tokens have, for a lower bound of the tokens of a text."""
_TOKENS_AFTER_TRUNCATION = 32
"""Fewer tokens than nearly all encoders truncate a text to, for the same bound."""
_SECONDS_UNTIL_WATCH = 0.05
"""How long a call waits before its connection is watched for a client that leaves."""
_PROBE_TEXT = "how long does it take until a text of this length is answered"
"""About 16 tokens, to time batches with."""


@dataclass(frozen=True, slots=True)
class AnswerOptions:
    """How answers are computed."""

    threads: int | None = None
    """Threads of one batch; None takes what suits the processors and the workers."""
    workers: int = 1
    """Batches that are computed at once."""
    queued: int = 65_536
    """Tokens that may wait; up to twice as many while no customer has more than its share."""
    memory: int = 1 << 30
    """Bytes that dedicated graphs may take in memory."""
    cache: int = 10_000
    """Answers that are cached; 0 caches none."""
    exact: bool = False
    """Whether to serve float32 where the gate chose int8."""
    device: str | None = None
    """The torch device that computes shared backbones; None computes them in ONNX Runtime."""


class AnswerService:
    """Verticals in memory that answer from one queue; safe for many threads and for asyncio.

    In a product, `with AnswerService.open(Home()) as service:` loads all live verticals, and `service.ask("support-intent",
    ["I lost my card"])` answers. What several threads or tasks ask at once is computed in common batches.
    """

    def __init__(
        self, home: Home, options: AnswerOptions = AnswerOptions(),
        listeners: Sequence[Listener] = (), on_batch: Callable[[Batch], None] | None = None,
    ) -> None:  # fmt: skip
        """`listeners` hear of every call that `ask` finishes, `on_batch` of every batch. Takes calls after `start`."""
        threads = options.threads or max(1, (usable_processors() - 1) // options.workers)  # one processor is left to the caller
        self.options, self.listeners, self._on_batch = options, tuple(listeners), on_batch
        self.fleet = Fleet(home, options.memory, threads, options.exact, options.device)
        self.cache: AnswerCache[Hashable, Answer] | None = AnswerCache(options.cache) if options.cache else None
        self._loop: asyncio.AbstractEventLoop | None = None

    @classmethod
    def open(cls, home: Home, names: Sequence[str] = (), options: AnswerOptions = AnswerOptions()) -> Self:
        """Load these verticals, or all that are live, and start; NotFound or ModelError for one that can't be served."""
        service = cls(home, options)
        live = service.fleet.live()
        missing = sorted(set(names) - set(live))
        if missing or not live:
            what = f"'{missing[0]}'" if missing else f"any vertical of {home.folder}"
            raise NotFound(f"There is no live model of {what}. Choose one: vertune alias NAME@live MODEL")
        errors = service.fleet.follow({name: model for name, model in live.items() if not names or name in names})
        if errors:
            raise ModelError(" ".join(f"'{name}' can't be served: {error}" for name, error in errors.items()))
        service.start()
        return service

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Warm up the executors and begin to take calls; those of the given loop are woken once a batch, not once a call."""
        self._loop = loop
        executors = [deployment.executor for deployment in self.fleet.deployments.values() if deployment.shared]
        with ThreadPoolExecutor(1) as pool:  # a graph keeps memory for each thread that ran it, and gives it back with the thread
            tokens = pool.submit(batch_budget, executors, self._probe).result()
        limits = BatchLimits(tokens=tokens, queued=self.options.queued)
        self.batcher = Batcher(_compute, limits, self.options.workers, self._post if loop else None, self._on_batch)

    def close(self) -> None:
        """Refuse what waits with Busy, let running batches end, and stop the workers."""
        self.batcher.close()

    def ask(self, vertical: str, records: Sequence[Mapping[str, Any] | str], deadline: float = 30.0) -> list[Answer]:
        """One answer for each record or text, the caller's own to change; blocks at most `deadline` seconds.

        Raises NotFound for a vertical that is not served, DataError for a record that can't be answered, Busy where there is no
        time or too much waits.
        """
        call = Call(self.listeners, "ask", deadline=deadline)
        with _finishing(call):
            self._fill(call, vertical, records)
            self._begin(call)
            with _Tickets(call) as tickets:
                self._submit(call, self._prepare(call), tickets)
                for ticket, shares in tickets.submitted:
                    ticket.wait(max(0.0, call.expires_at - time.monotonic()))
                    self._collect(call, ticket, shares)
        return self._own(call)

    async def ask_async(self, vertical: str, records: Sequence[Mapping[str, Any] | str], deadline: float = 30.0) -> list[Answer]:
        """As `ask`, without blocking the event loop; a task that is cancelled takes its records out of the queue."""
        call = Call(self.listeners, "ask", deadline=deadline)
        with _finishing(call):
            self._fill(call, vertical, records)
            await self.answer(call)
        return self._own(call)

    def _own(self, call: Call) -> list[Answer]:
        """The answers of the call's only vertical, as the caller's own to change: the cache and the listeners keep theirs."""
        return cast(list[Answer], copy.deepcopy(call.answers[0]))

    async def answer(self, call: Call) -> list[list[Answer]]:
        """Fill in the answers of a call, and return them: for each vertical one answer a record.

        Raises DataError for a record that can't be answered, Busy where there is no time, ClientDisconnected where nobody waits.
        """
        self._begin(call)
        size = sum(count_characters(value) for record in call.records for value in record.values())
        with _Tickets(call) as tickets:
            shares = self._prepare(call) if size < _MAX_INLINE_CHARACTERS else await asyncio.to_thread(self._prepare, call)
            self._submit(call, shares, tickets)
            for ticket, group in tickets.submitted:
                if not ticket.completed:
                    await self._completed(ticket, call)
                self._collect(call, ticket, group)
        return cast(list[list[Answer]], call.answers)

    def _fill(self, call: Call, vertical: str, records: Sequence[Mapping[str, Any] | str]) -> None:
        """Set what a call of this process asks."""
        deployment = self.fleet.get(vertical)
        rows = [one if isinstance(one, Mapping) else records_of_texts(deployment.task, vertical, [one])[0] for one in records]
        call.verticals, call.records = [deployment], select_fields([deployment.predictor], rows)

    def _begin(self, call: Call) -> None:
        call.expires_at = time.monotonic() + call.deadline
        call.answers = [[None] * len(call.records) for _ in call.verticals]
        call.cache_hits = [0] * len(call.verticals)

    def _prepare(self, call: Call) -> list[Share]:
        """What must be computed for a call; cached answers are filled in. Verticals that read alike share records and features."""
        started = time.perf_counter()
        features: dict[Hashable, list[Feature]] = {}
        validated: dict[Hashable, list[Record]] = {}
        shares = []
        for index, (deployment, answers) in enumerate(zip(call.verticals, call.answers, strict=True)):
            records = validated.get(deployment.record_key)
            if records is None:
                records = validated[deployment.record_key] = validate_records(deployment.predictor, call.records)
            positions = list(range(len(records)))
            if self.cache is not None and not call.bypass_cache:
                answers[:] = [self.cache.get(_cache_key(deployment, record)) for record in records]
                positions = [position for position, answer in enumerate(answers) if answer is None]
                call.cache_hits[index] = len(records) - len(positions)
            if not positions:
                continue
            records = [records[position] for position in positions]
            views = deployment.task.views(sorted(records[0]))
            key = (deployment.feature_key, deployment.record_key, views, tuple(positions))
            if key not in features:
                self._check_capacity(call, records)
                features[key] = deployment.predictor.encoder.encode(records, views)
            shares.append(Share(deployment, answers, positions, records, features[key]))
        call.tokenizing = time.perf_counter() - started
        return shares

    def _check_capacity(self, call: Call, records: Sequence[Record]) -> None:
        """Raise Busy where the queue would not take what these records cost at least, before they are tokenised."""
        sizes = (count_characters(value) for record in records for value in record.values())
        least = sum(min(size // _CHARACTERS_PER_TOKEN, _TOKENS_AFTER_TRUNCATION) for size in sizes)
        if least >= _MIN_CHECKED_TOKENS:
            self.batcher.check(call.customer, min(least, self.options.queued), call.deadline)

    def _submit(self, call: Call, shares: Sequence[Share], tickets: _Tickets) -> None:
        """Queue what each executor must compute; if one part is refused, those before it are withdrawn."""
        for group in by_executor(shares):
            work = work_of(group)
            call.tokens += work.tokens
            left = max(0.001, call.expires_at - time.monotonic())
            request = BatchRequest(
                work.payloads, work.costs, group[0].deployment.executor, customer=call.customer, deadline=left, finish=work.finish
            )
            tickets.submitted.append((self.batcher.submit(request), group))

    def _collect(self, call: Call, ticket: Ticket[list[list[Answer]]], shares: Sequence[Share]) -> None:
        """Take the answers of a ticket into the call and the cache, or raise its error."""
        if not ticket.completed:
            ticket.cancel()
            call.refusal = "deadline"
            raise Busy(
                f"The call was not answered within its {call.deadline * 1000:.0f} ms. Send fewer records at once, or allow it more time."
            )
        call.waiting = ticket.waited if call.waiting is None else min(call.waiting, ticket.waited)
        call.inference = (call.inference or 0.0) + ticket.computed
        if isinstance(ticket.error, CancelledError):
            call.refusal = "gone"
            raise ClientDisconnected("The client closed its connection before the answer was ready.") from ticket.error
        if ticket.error is not None:
            if isinstance(ticket.error, Busy):
                call.refusal = "deadline"
            raise ticket.error
        assert ticket.value is not None
        for share, answers in zip(shares, ticket.value, strict=True):
            for position, record, answer in zip(share.positions, share.records, answers, strict=True):
                share.answers[position] = answer
                if self.cache is not None and not call.bypass_cache:
                    self.cache.put(_cache_key(share.deployment, record), answer)

    async def _completed(self, ticket: Ticket[Any], call: Call) -> None:
        """Wait until a ticket is completed or its time is over; a client that leaves meanwhile completes it."""
        loop = asyncio.get_running_loop()
        end: asyncio.Future[None] = loop.create_future()

        def finish() -> None:
            if not end.done():
                end.set_result(None)

        def wake(_: Ticket[Any]) -> None:
            if loop is self._loop:  # where the batcher's callbacks run already
                finish()
            else:
                loop.call_soon_threadsafe(finish)

        ticket.done(wake)
        timers = [loop.call_later(max(0.0, ticket.until - time.monotonic()), finish)]
        watching: list[asyncio.Task[None]] = []
        if call.disconnected is not None:
            watch = _cancel_after(call.disconnected, ticket)
            timers.append(loop.call_later(_SECONDS_UNTIL_WATCH, lambda: watching.append(loop.create_task(watch()))))
        try:
            await end
        finally:
            for timer in timers:
                timer.cancel()
            for task in watching:
                task.cancel()

    def _post(self, call: Callable[[], None]) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(call)

    def _probe(self, executor: Executor, rows: int) -> list[Payload]:
        """So many equal payloads for an executor, of about 16 tokens."""
        deployment = next(one for one in self.fleet.deployments.values() if one.executor is executor)
        record = example_record(deployment, _PROBE_TEXT)
        feature = deployment.predictor.encoder.encode([record], deployment.task.views(sorted(record)))[0]
        return [(feature, (deployment.slot,))] * rows


def example_record(deployment: Deployment, text: str) -> dict[str, Any]:
    """A record that the vertical can answer, with this text, or the number 0, in each field that it needs."""
    inputs = [column for column in deployment.task.input_columns if column.required]
    return {column.name: 0.0 if column.type == "number" else text for column in inputs}


def count_characters(value: Any) -> int:
    """Characters of all the text in a value, whatever its type."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(len(key) + count_characters(inner) for key, inner in value.items())
    return sum(map(count_characters, value)) if isinstance(value, list) else 0


def _compute(executor: Any, payloads: Sequence[Payload]) -> list[Any]:
    """What a worker of the batcher does."""
    outputs: list[Any] = executor.compute(payloads)
    return outputs


def _cache_key(deployment: Deployment, record: Record) -> bytes:
    """A hash of the model, its precision and the record: texts are long, and not ours to keep."""
    content = repr((deployment.model.id, deployment.precision, sorted(record.items())))
    return hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=32).digest()


def _cancel_after(disconnected: Callable[[], Awaitable[None]], ticket: Ticket[Any]) -> Callable[[], Coroutine[Any, Any, None]]:
    async def watch() -> None:
        await disconnected()
        ticket.cancel()

    return watch


class _Tickets:
    """The tickets of a call, one an executor, each with its shares; at the end of the block what is not computed leaves the queue.

    A class, because a generator as a context manager takes as long as all else that is done here.
    """

    __slots__ = ("_call", "submitted")

    def __init__(self, call: Call) -> None:
        self._call = call
        self.submitted: list[tuple[Ticket[list[list[Answer]]], list[Share]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        for ticket, _ in self.submitted:
            ticket.cancel()  # does nothing to a completed one
        if isinstance(error, Busy) and not self._call.refusal:
            self._call.refusal = "own" if error.http_status == 429 else "busy"


@contextmanager
def _finishing(call: Call) -> Iterator[None]:
    """Finish a call of this process with the status that it would have over HTTP."""
    status = 500
    try:
        yield
        status = 200
    except VertuneError as error:
        status = error.http_status
        raise
    except asyncio.CancelledError:
        status, call.refusal = ClientDisconnected.http_status, "gone"
        raise
    finally:
        call.finish(status)
