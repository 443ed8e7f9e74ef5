"""Computes predictions for threads and for asyncio, with a cache, the encoders (tokenisers) and a batch queue; independent of HTTP."""

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
"""Calls with at least this many characters are tokenised in a thread, so that they do not block the event loop."""
_MIN_CHECKED_TOKENS = 50
"""For a call with at least this many tokens (estimated), the free capacity of the queue is checked before the call is tokenised."""
_CHARACTERS_PER_TOKEN = 10
"""Nearly all tokens have at most this many characters; used to estimate the minimum number of tokens of a text not tokenised yet."""
_TOKENS_AFTER_TRUNCATION = 32
"""Nearly all encoders truncate texts to this many tokens or more; used for the same estimate as `_CHARACTERS_PER_TOKEN`."""
_SECONDS_UNTIL_WATCH = 0.05
"""Seconds after which the server begins to watch whether the client of a waiting call has disconnected."""
_PROBE_TEXT = "how long does it take until a text of this length is answered"
"""A text of about 16 tokens, used to measure how fast batches are computed."""


@dataclass(frozen=True, slots=True)
class AnswerOptions:
    """Options that control how predictions are computed."""

    threads: int | None = None
    """Number of threads that compute one batch; None divides the processors among the workers."""
    workers: int = 1
    """Number of batches that are computed at the same time."""
    queued: int = 65_536
    """Maximum number of queued tokens; clients that use at most an equal part of the queue may fill it up to twice this number."""
    memory: int = 1 << 30
    """Maximum memory in bytes of the ONNX graphs of models that do not run on a shared backbone (pretrained model)."""
    cache: int = 10_000
    """Maximum number of cached predictions; 0 disables the cache."""
    exact: bool = False
    """Whether to serve every model in float32, even those for which the accuracy check allows the faster int8."""
    device: str | None = None
    """The torch device, such as cuda, for the backbones (pretrained models) that verticals share; None computes them in ONNX Runtime."""


class AnswerService:
    """Loads verticals (fine-tuned models) and predicts with them through one queue; usable from many threads and from asyncio.

    In an application, `with AnswerService.open(Home()) as service:` loads all verticals that have a live model, and
    `service.ask("support-intent", ["I lost my card"])` returns predictions. Simultaneous calls of several threads or tasks are
    computed in common batches.
    """

    def __init__(
        self, home: Home, options: AnswerOptions = AnswerOptions(),
        listeners: Sequence[Listener] = (), on_batch: Callable[[Batch], None] | None = None,
    ) -> None:  # fmt: skip
        """Create a service; call `start` before the first prediction.

        The functions `listeners` are called with every call that `ask` or `ask_async` finishes, `on_batch` with every computed batch.
        """
        threads = options.threads or max(1, (usable_processors() - 1) // options.workers)  # leaves one processor to the caller
        self.options, self.listeners, self._on_batch = options, tuple(listeners), on_batch
        self.fleet = Fleet(home, options.memory, threads, options.exact, options.device)
        self.cache: AnswerCache[Hashable, Answer] | None = AnswerCache(options.cache) if options.cache else None
        self._loop: asyncio.AbstractEventLoop | None = None

    @classmethod
    def open(cls, home: Home, names: Sequence[str] = (), options: AnswerOptions = AnswerOptions()) -> Self:
        """Return a started service for the verticals (fine-tuned models) in `names`; if `names` is empty, for all with a live model.

        The live model of a vertical is the one that the alias NAME@live points to.

        Raises NotFound for a vertical without a live model, and ModelError for one that can't be loaded.
        """
        service = cls(home, options)
        live = service.fleet.live()
        missing = sorted(set(names) - set(live))
        if missing or not live:
            what = f"'{missing[0]}'" if missing else f"any vertical in {home.folder}"
            raise NotFound(f"There is no live model of {what}. Make a model live: vertune alias NAME@live MODEL")
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
        """Warm up the executors (which run the models) and start to accept calls.

        If `loop` is given, all callbacks of a batch are scheduled together in that event loop, which is cheaper than one by one.
        """
        self._loop = loop
        executors = [deployment.executor for deployment in self.fleet.deployments.values() if deployment.shared]
        with ThreadPoolExecutor(1) as pool:  # ONNX Runtime frees the memory that a graph uses per thread when the thread ends
            tokens = pool.submit(batch_budget, executors, self._probe).result()
        limits = BatchLimits(tokens=tokens, queued=self.options.queued)
        self.batcher = Batcher(_compute, limits, self.options.workers, self._post if loop else None, self._on_batch)

    def close(self) -> None:
        """End waiting calls with the error Busy, let running batches finish, and stop the workers."""
        self.batcher.close()

    def ask(self, vertical: str, records: Sequence[Mapping[str, Any] | str], deadline: float = 30.0) -> list[Answer]:
        """Return a vertical's prediction for each record or text, as copies that the caller may change; block at most `deadline` seconds.

        Raises NotFound for a vertical that is not served, DataError for an invalid record, and Busy if the queue is full or the
        deadline can't be met.
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
        return self._copy_answers(call)

    async def ask_async(self, vertical: str, records: Sequence[Mapping[str, Any] | str], deadline: float = 30.0) -> list[Answer]:
        """Do the same as `ask` without blocking the event loop; if the task is cancelled, its records are removed from the queue."""
        call = Call(self.listeners, "ask", deadline=deadline)
        with _finishing(call):
            self._fill(call, vertical, records)
            await self.answer(call)
        return self._copy_answers(call)

    def _copy_answers(self, call: Call) -> list[Answer]:
        """Return a copy of the predictions of a call to one vertical, because the cache and the listeners use the originals."""
        return cast(list[Answer], copy.deepcopy(call.answers[0]))

    async def answer(self, call: Call) -> list[list[Answer]]:
        """Compute the predictions of a call, store them in it, and return one list per vertical, each with one prediction per record.

        Raises DataError for an invalid record, Busy if the queue is full or the deadline can't be met, and ClientDisconnected if the
        client closes its connection.
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
        """Set the vertical and the records of a call made by `ask` or `ask_async`.

        Raises NotFound for a vertical that is not served, and DataError for an invalid record.
        """
        deployment = self.fleet.get(vertical)
        rows = [one if isinstance(one, Mapping) else records_of_texts(deployment.task, vertical, [one])[0] for one in records]
        call.verticals, call.records = [deployment], select_fields([deployment.predictor], rows)

    def _begin(self, call: Call) -> None:
        call.expires_at = time.monotonic() + call.deadline
        call.answers = [[None] * len(call.records) for _ in call.verticals]
        call.cache_hits = [0] * len(call.verticals)

    def _prepare(self, call: Call) -> list[Share]:
        """Copy cached predictions to the call, and tokenise the records of which a vertical has no cached prediction.

        Returns one Share with these records for each vertical that must compute at least one prediction.

        Records are validated once for all verticals with equal validation rules, and tokenised once for all with equal tokenisation.
        """
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
            views = deployment.predictor.views(records[0])
            key = (deployment.feature_key, deployment.record_key, views, tuple(positions))
            if key not in features:
                self._check_capacity(call, records)
                features[key] = deployment.predictor.encoder.encode(records, views)
            shares.append(Share(deployment, answers, positions, records, features[key]))
        call.tokenizing = time.perf_counter() - started
        return shares

    def _check_capacity(self, call: Call, records: Sequence[Record]) -> None:
        """Raise Busy, before these records are tokenised, if the queue has no room for the estimated minimum of their tokens."""
        sizes = (count_characters(value) for record in records for value in record.values())
        least = sum(min(size // _CHARACTERS_PER_TOKEN, _TOKENS_AFTER_TRUNCATION) for size in sizes)
        if least >= _MIN_CHECKED_TOKENS:
            self.batcher.check(call.customer, min(least, self.options.queued), call.deadline)

    def _submit(self, call: Call, shares: Sequence[Share], tickets: _Tickets) -> None:
        """Queue one request per executor (which runs models), and add its ticket (the handle of the queued request) to `tickets`.

        If a request is refused, the context manager `tickets` cancels the others.
        """
        for group in by_executor(shares):
            work = work_of(group)
            call.tokens += work.tokens
            left = max(0.001, call.expires_at - time.monotonic())
            request = BatchRequest(
                work.payloads, work.costs, group[0].deployment.executor, customer=call.customer, deadline=left, finish=work.finish
            )
            tickets.submitted.append((self.batcher.submit(request), group))

    def _collect(self, call: Call, ticket: Ticket[list[list[Answer]]], shares: Sequence[Share]) -> None:
        """Copy the predictions of a ticket (the handle of a queued request) to the call and the cache.

        If the request failed, raises its error. If the ticket is not completed, its deadline has passed: cancels it and raises Busy.
        """
        if not ticket.completed:
            ticket.cancel()
            call.refusal = "deadline"
            raise Busy(
                f"The call was not answered within its deadline of {call.deadline * 1000:.0f} ms. "
                "Send fewer records at once, or set a longer deadline."
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
        """Wait until a queued request (ticket) is completed or its deadline has passed; cancel it if the client disconnects meanwhile."""
        loop = asyncio.get_running_loop()
        end: asyncio.Future[None] = loop.create_future()

        def finish() -> None:
            if not end.done():
                end.set_result(None)

        def wake(_: Ticket[Any]) -> None:
            if loop is self._loop:  # the batcher runs its callbacks in this loop
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
        """Return `rows` equal payloads of about 16 tokens for an executor (which runs models), to measure its speed."""
        deployment = next(one for one in self.fleet.deployments.values() if one.executor is executor)
        record = example_record(deployment, _PROBE_TEXT)
        feature = deployment.predictor.encoder.encode([record], deployment.predictor.views(record))[0]
        return [(feature, (deployment.slot,))] * rows


def example_record(deployment: Deployment, text: str) -> dict[str, Any]:
    """Return a valid input record for a model, with `text` in each required text field and 0 in each required number field."""
    inputs = [column for column in deployment.task.input_columns if column.required]
    return {column.name: 0.0 if column.type == "number" else text for column in inputs}


def count_characters(value: Any) -> int:
    """Return the number of characters of all strings in a JSON value, nested lists and objects included."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(len(key) + count_characters(inner) for key, inner in value.items())
    return sum(map(count_characters, value)) if isinstance(value, list) else 0


def _compute(executor: Any, payloads: Sequence[Payload]) -> list[Any]:
    """Compute one batch with an executor (which runs models); the batcher calls this function in its worker threads."""
    outputs: list[Any] = executor.compute(payloads)
    return outputs


def _cache_key(deployment: Deployment, record: Record) -> bytes:
    """Return the cache key of a prediction: a hash of model, precision and record, so that the cache keeps no long or private texts."""
    content = repr((deployment.model.id, deployment.precision, sorted(record.items())))
    return hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=32).digest()


def _cancel_after(disconnected: Callable[[], Awaitable[None]], ticket: Ticket[Any]) -> Callable[[], Coroutine[Any, Any, None]]:
    async def watch() -> None:
        await disconnected()
        ticket.cancel()

    return watch


class _Tickets:
    """A context manager that holds the tickets (handles of queued requests) of a call; on exit it cancels those that are not completed.

    `submitted` has each ticket with the parts of the call (shares) that it computes. This is a class, because a context manager made
    from a generator would take as long as all other work for a short call.
    """

    __slots__ = ("_call", "submitted")

    def __init__(self, call: Call) -> None:
        self._call = call
        self.submitted: list[tuple[Ticket[list[list[Answer]]], list[Share]]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        for ticket, _ in self.submitted:
            ticket.cancel()  # has no effect on a completed ticket
        if isinstance(error, Busy) and not self._call.refusal:
            self._call.refusal = "own" if error.http_status == 429 else "busy"


@contextmanager
def _finishing(call: Call) -> Iterator[None]:
    """When the block ends, finish a call made by `ask` or `ask_async` with the HTTP status that matches its outcome."""
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
