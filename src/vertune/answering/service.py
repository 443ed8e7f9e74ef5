"""Computes predictions for callers in threads and in asyncio: uses a cache, tokenises, queues for batches; independent of HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self, cast

from vertune.answering.call import Call, ClientDisconnected, Listener
from vertune.answering.shares import Share, by_executor, work_of
from vertune.answering.tickets import Tickets, finishing
from vertune.core.artifact import Home
from vertune.core.errors import Busy, ModelError, NotFound
from vertune.core.kinds import Encoder
from vertune.core.machine import usable_processors
from vertune.core.records import Answer, Feature, Record, View, copied
from vertune.data.validate import records_of_texts, select_fields, validate_records
from vertune.queueing.batcher import Batch, Batcher
from vertune.queueing.fair_queue import BatchLimits, BatchRequest, Ticket
from vertune.runtime.cache import AnswerCache
from vertune.runtime.fleet import Deployment, Executor, Fleet, Payload
from vertune.runtime.live import read_live
from vertune.runtime.warmup import DEFAULT, batch_budget

_MAX_INLINE_CHARACTERS = 20_000
"""Calls with at least this many characters are tokenised in a thread, so that they do not block the event loop."""
_PORTION_CHARACTERS = 100_000
"""Texts are tokenised in portions of about this many characters, between which the deadline of the call is checked."""
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
    """Maximum number of tokens in the queue; twice this number for clients that use no more than an equal part of it."""
    memory: int = 1 << 30
    """Maximum memory in bytes of the ONNX graphs of models that do not run on a shared backbone (pretrained model)."""
    cache: int = 10_000
    """Maximum number of cached predictions, each for one customer; 0 disables the cache."""
    exact: bool = False
    """Whether to serve every model in float32, even those for which the accuracy check allows the faster int8."""
    device: str | None = None
    """The torch device, such as cuda, for the backbones (pretrained models) that verticals share; None computes them in ONNX Runtime."""
    require_signed: Path | None = None
    """The file of a public key: models that were not signed with the private key of this pair are not served. None serves all."""


class AnswerService:
    """Loads fine-tuned models and predicts with them. Many threads and asyncio tasks may use one service at the same time.

    In an application, `with AnswerService.open(Home()) as service:` loads each model to which an alias NAME@live points. Then
    `service.ask("support", ["I lost my card"])` returns predictions of the model with the alias `support@live`. The inputs of
    simultaneous calls are put into one queue and computed in common batches.
    """

    def __init__(
        self, home: Home, options: AnswerOptions = AnswerOptions(),
        listeners: Sequence[Listener] = (), on_batch: Callable[[Batch], None] | None = None,
    ) -> None:  # fmt: skip
        """Create a service; call `start` before the first prediction.

        Each function in `listeners` is called with every request that `ask` or `ask_async` finishes. The function `on_batch` is
        called with the statistics of every computed batch.
        """
        threads = options.threads or max(1, (usable_processors() - 1) // options.workers)  # leaves one processor to the caller
        self.options, self.listeners, self._on_batch = options, tuple(listeners), on_batch
        self.fleet = Fleet(home, options.memory, threads, options.exact, options.device, require_signed=options.require_signed)
        self.cache: AnswerCache[Hashable, _CachedAnswer] | None = AnswerCache(options.cache) if options.cache else None
        self._loop: asyncio.AbstractEventLoop | None = None

    @classmethod
    def open(cls, home: Home, names: Sequence[str] = (), options: AnswerOptions = AnswerOptions()) -> Self:
        """Load the models of a home folder (.vertune) that have these names, and return a started service for them.

        The model with the name NAME is the one to which the alias NAME@live points. If `names` is empty, all models that have such
        an alias are loaded. Raises NotFound for a name without such an alias, or if there is no such alias at all. Raises
        ModelError for a model that can't be loaded, and for an alias that can't be read.
        """
        service = cls(home, options)
        found = read_live(home)
        live, unreadable = found.models, {name: why for name, why in found.errors.items() if not names or name in names}
        missing = sorted(set(names) - set(live) - set(unreadable))
        if missing or not (live or unreadable):
            what = f"'{missing[0]}'" if missing else f"any vertical in {home.folder}"
            raise NotFound(
                f"There is no live model of {what}; expected an alias NAME@live that points to one. "
                "Create it: vertune alias NAME@live MODEL"
            )
        errors = unreadable | service.fleet.follow({name: model for name, model in live.items() if not names or name in names})
        if errors:
            raise ModelError(" ".join(f"'{name}' can't be served: {error}" for name, error in errors.items()))
        service.start()
        return service

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Start to accept calls; if models are loaded already, run them once to warm them up, and measure the best batch size.

        `loop` is the event loop of callers that use asyncio. With it, the callbacks of all requests in a batch are scheduled in
        that loop together, which is cheaper than one by one.
        """
        self._loop = loop
        limits = BatchLimits(tokens=DEFAULT, queued=self.options.queued)
        self.batcher = Batcher(_compute, limits, self.options.workers, self._post if loop else None, self._on_batch)
        self.measure()

    def measure(self) -> None:
        """Run the pretrained models in memory once to warm them up, and measure the best batch size, which later batches have."""
        executors = [deployment.executor for deployment in self.fleet.deployments.values() if deployment.shared]
        if executors:
            with ThreadPoolExecutor(1) as pool:  # ONNX Runtime frees the memory that a graph uses per thread when the thread ends
                self.batcher.limit_batches(pool.submit(batch_budget, executors, self._probe).result())

    def close(self) -> None:
        """Stop the service: requests that wait in the queue end with the error Busy; batches that are being computed still finish."""
        self.batcher.close()

    def ask(self, vertical: str, records: Sequence[Mapping[str, Any] | str], deadline: float = 30.0) -> list[Answer]:
        """Return one prediction per record or text, made by the model that is served under the name `vertical`.

        Blocks for at most `deadline` seconds. The predictions are copies, which the caller may change. Raises NotFound if no model
        is served under this name, DataError for an invalid record, and Busy if the queue is full or the deadline can't be met.
        """
        call = Call(self.listeners, "ask", deadline=deadline)
        with finishing(call):
            self._fill(call, vertical, records)
            self._begin(call)
            with Tickets(call) as tickets:
                self._submit(call, self._prepare(call), tickets)
                for ticket, shares in tickets.submitted:
                    ticket.wait(max(0.0, call.expires_at - time.monotonic()))
                    self._collect(call, ticket, shares)
        return self._copy_answers(call)

    def ask_together(
        self, questions: Mapping[str, Sequence[Mapping[str, Any] | str]], deadline: float = 30.0, client: str = ""
    ) -> dict[str, list[Answer]]:
        """Return the predictions of several models for records of their own, by the name of the model; blocks as `ask` does.

        The inputs of all models on one backbone are one request, so they are computed in one batch. Each model is a call of its own for
        the functions in `listeners`. `client` takes part in the fair queue and in the keys of cached predictions. Raises as `ask` does.
        """
        calls = {name: Call(self.listeners, "ask", deadline=deadline, client=client) for name in questions}
        with ExitStack() as stack:
            for call in calls.values():
                stack.enter_context(finishing(call))
            owners: dict[int, Call] = {}
            shares: list[Share] = []
            for name, call in calls.items():
                self._fill(call, name, questions[name])
                self._begin(call)
                for share in self._prepare(call):
                    owners[id(share)] = call
                    shares.append(share)
            submitted: list[tuple[Call, Tickets]] = []
            for group in by_executor(shares):
                first = owners[id(group[0])]
                submitted.append((first, stack.enter_context(Tickets(first))))
                self._submit(first, group, submitted[-1][1])
            for first, tickets in submitted:
                for ticket, group in tickets.submitted:
                    ticket.wait(max(0.0, first.expires_at - time.monotonic()))
                    self._collect(first, ticket, group)
        return {name: self._copy_answers(call) for name, call in calls.items()}

    async def ask_async(self, vertical: str, records: Sequence[Mapping[str, Any] | str], deadline: float = 30.0) -> list[Answer]:
        """Do the same as `ask` without blocking the event loop. If the calling task is cancelled, its records leave the queue."""
        call = Call(self.listeners, "ask", deadline=deadline)
        with finishing(call):
            self._fill(call, vertical, records)
            await self.answer(call)
        return self._copy_answers(call)

    def _copy_answers(self, call: Call) -> list[Answer]:
        """Return copies of the predictions of a call that uses a single model.

        A caller may change the copies; the originals are still used by the cache and by the functions in `listeners`.
        """
        return cast(list[Answer], copied(call.answers[0]))

    async def answer(self, call: Call) -> list[list[Answer]]:
        """Compute the predictions for the records of a call with each of its models, and store them in the call.

        Returns one list per model, each with one prediction per record. Raises DataError for an invalid record, Busy if the queue
        is full or the deadline can't be met, and ClientDisconnected if the client closes its connection.
        """
        self._begin(call)
        size = sum(count_characters(value) for record in call.records for value in record.values())
        with Tickets(call) as tickets:
            shares = self._prepare(call) if size < _MAX_INLINE_CHARACTERS else await asyncio.to_thread(self._prepare, call)
            self._submit(call, shares, tickets)
            for ticket, group in tickets.submitted:
                if not ticket.completed:
                    await self._completed(ticket, call)
                self._collect(call, ticket, group)
        return cast(list[list[Answer]], call.answers)

    def _fill(self, call: Call, vertical: str, records: Sequence[Mapping[str, Any] | str]) -> None:
        """Set the model and the records of a call made by `ask` or `ask_async`; each text becomes a record.

        Raises NotFound if no model is served under the name `vertical`, and DataError for an invalid record.
        """
        deployment = self.fleet.get(vertical)
        rows = [one if isinstance(one, Mapping) else records_of_texts(deployment.task, vertical, [one])[0] for one in records]
        call.verticals, call.records = [deployment], select_fields([deployment.predictor], rows)

    def _begin(self, call: Call) -> None:
        call.expires_at = time.monotonic() + call.deadline
        call.answers = [[None] * len(call.records) for _ in call.verticals]
        call.cache_hits = [0] * len(call.verticals)

    def _prepare(self, call: Call) -> list[Share]:
        """Validate the records of a call, copy cached predictions to it, and tokenise the records that have none.

        Each model of the call has its own cached predictions. For each model without a cached prediction of at least one record,
        the result contains a Share: the records that this model must compute, with their tokenised inputs. Models with equal
        validation rules or equal tokenisation use the same validated records or tokenised inputs.
        """
        started = time.perf_counter()
        features: dict[Hashable, list[Feature]] = {}
        validated: dict[Hashable, list[Record]] = {}
        saved: dict[tuple[int, int], int] = {}
        shares = []
        for index, (deployment, answers) in enumerate(zip(call.verticals, call.answers, strict=True)):
            records = validated.get(deployment.record_key)
            if records is None:
                records = validated[deployment.record_key] = validate_records(deployment.predictor, call.records)
            positions = list(range(len(records)))
            if self.cache is not None and not call.bypass_cache:
                found = [self.cache.get(_cache_key(call.client, deployment, record)) for record in records]
                answers[:] = [one and one.answer for one in found]
                saved |= {(id(deployment.executor), content): cost for one in found if one for content, cost in one.inputs}
                positions = [position for position, one in enumerate(found) if one is None]
                call.cache_hits[index] = len(records) - len(positions)
            if not positions:
                continue
            records = [records[position] for position in positions]
            views = deployment.predictor.views(records[0])
            key = (deployment.feature_key, deployment.record_key, views, tuple(positions))
            if key not in features:
                characters = self._check_capacity(call, records)
                encode = _encode if characters < _PORTION_CHARACTERS else _encode_in_portions
                features[key] = encode(call, deployment.predictor.encoder, records, views)
            shares.append(Share(deployment, answers, positions, records, features[key]))
        for share in shares if saved else ():  # what another model computes anyway is not saved
            content = share.deployment.predictor.encoder.content
            for feature in share.features:
                saved.pop((id(share.deployment.executor), hash(content(feature))), None)
        call.cached_tokens = sum(saved.values())
        call.tokens += call.cached_tokens
        call.tokenizing = time.perf_counter() - started
        return shares

    def _check_capacity(self, call: Call, records: Sequence[Record]) -> int:
        """Raise Busy if the queue can't accept these records now, before time is spent to tokenise them.

        Returns the number of characters of the records.
        Their exact number of tokens is not known yet; a low estimate, made from their numbers of characters, is used instead.
        """
        sizes = [count_characters(value) for record in records for value in record.values()]
        least = sum(min(size // _CHARACTERS_PER_TOKEN, _TOKENS_AFTER_TRUNCATION) for size in sizes)
        if least >= _MIN_CHECKED_TOKENS:
            self.batcher.check(call.client, min(least, self.options.queued), call.deadline)
        return sum(sizes)

    def _submit(self, call: Call, shares: Sequence[Share], tickets: Tickets) -> None:
        """Queue the inputs of a call: one request for each executor, an object that runs one or more models.

        `shares` are the parts of the call, one per model. The ticket (handle) of each queued request is added to `tickets`. If a
        request is refused, the context manager `tickets` cancels the others.
        """
        for group in by_executor(shares):
            work = work_of(group)
            call.tokens += work.tokens
            left = _seconds_left(call)
            request = BatchRequest(
                work.payloads, work.costs, group[0].deployment.executor, customer=call.client, deadline=left, finish=work.finish
            )
            tickets.submitted.append((self.batcher.submit(request), group))

    def _collect(self, call: Call, ticket: Ticket[list[list[Answer]]], shares: Sequence[Share]) -> None:
        """Copy the predictions of a queued request to the call and the cache.

        `ticket` is the handle of the request; `shares` are the parts of the call that it computed, one per model. If the request
        failed, its error is raised, or ClientDisconnected if it was cancelled. If it is not completed yet, its deadline has
        passed; it is then cancelled, and Busy is raised.
        """
        if not ticket.completed:
            ticket.cancel()
            raise _too_late(call)
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
            for position, answer in zip(share.positions, answers, strict=True):
                share.answers[position] = answer
            if self.cache is not None and not call.bypass_cache:
                inputs: list[list[tuple[int, int]]] = [[] for _ in share.records]
                content = share.deployment.predictor.encoder.content
                for feature in share.features:
                    inputs[feature.record].append((hash(content(feature)), feature.cost))
                for record, answer, read in zip(share.records, answers, inputs, strict=True):
                    self.cache.put(_cache_key(call.client, share.deployment, record), _CachedAnswer(answer, tuple(read)))

    async def _completed(self, ticket: Ticket[Any], call: Call) -> None:
        """Wait until a queued request is completed or its deadline has passed; `ticket` is the handle of the request.

        If the client disconnects meanwhile, the request is cancelled.
        """
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
        """Return a test batch of `rows` equal inputs of about 16 tokens, to measure the speed of an executor (which runs models)."""
        deployment = next(one for one in self.fleet.deployments.values() if one.executor is executor)
        record = example_record(deployment, _PROBE_TEXT)
        feature = deployment.predictor.encoder.encode([record], deployment.predictor.views(record))[0]
        return [(feature, (deployment.slot,))] * rows


def example_record(deployment: Deployment, text: str) -> dict[str, Any]:
    """Return a valid input record for a test prediction: `text` in each required text field, and 0 in each required number field."""
    inputs = [column for column in deployment.task.input_columns if column.required]
    return {column.name: 0.0 if column.type == "number" else text for column in inputs}


def count_characters(value: Any) -> int:
    """Return the total number of characters in all strings of a JSON value, including nested strings and the keys of objects."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(len(key) + count_characters(inner) for key, inner in value.items())
    return sum(map(count_characters, value)) if isinstance(value, list) else 0


def _compute(executor: Any, payloads: Sequence[Payload]) -> list[Any]:
    """Compute a batch of model inputs with an executor, an object that runs one or more models; return one result per input.

    The batcher calls this function in its worker threads.
    """
    outputs: list[Any] = executor.compute(payloads)
    return outputs


def _encode(call: Call, encoder: Encoder, records: Sequence[Record], views: Sequence[View]) -> list[Feature]:
    """Return the features (tokenised inputs) of records; raise Busy if the deadline of the call has passed."""
    _seconds_left(call)
    return encoder.encode(records, views)


def _encode_in_portions(call: Call, encoder: Encoder, records: Sequence[Record], views: Sequence[View]) -> list[Feature]:
    """Return the features (tokenised inputs) of long records; raise Busy when the deadline of the call passes.

    They are tokenised in portions, so that the deadline is noticed in time and little memory is needed at once.
    """
    features: list[Feature] = []
    portion: list[Record] = []
    size = 0
    for position, record in enumerate(records, 1):
        portion.append(record)
        size += sum(map(count_characters, record.values()))
        if size >= _PORTION_CHARACTERS or position == len(records):
            more = _encode(call, encoder, portion, views)
            first = position - len(portion)
            for feature in more if first else ():
                feature.record += first
            features += more
            portion, size = [], 0
    return features


def _seconds_left(call: Call) -> float:
    """Return the seconds until the deadline of a call; raise Busy if it has passed."""
    left = call.expires_at - time.monotonic()
    if left <= 0:
        raise _too_late(call)
    return left


def _too_late(call: Call) -> Busy:
    """Return the error of a call whose deadline has passed."""
    call.refusal = "deadline"
    return Busy(
        f"The call was not answered within its deadline of {call.deadline * 1000:.0f} ms. "
        "Send fewer or shorter records at once, or set a longer deadline."
    )


class _CachedAnswer(NamedTuple):
    """A prediction, with the model inputs that were computed for it."""

    answer: Answer
    inputs: tuple[tuple[int, int], ...]
    """For each model input, a hash of its content and its number of tokens."""


def _cache_key(customer: str, deployment: Deployment, record: Record) -> bytes:
    """Return the key of a prediction in the cache: a hash of the customer, the model's id, the precision and the input record.

    With a common cache, the time of an answer would tell one customer what another has asked. The cache stores the hash instead of
    the record, because a record may be long or private.
    """
    content = repr((customer, deployment.model.id, deployment.precision, sorted(record.items())))
    return hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=32).digest()


def _cancel_after(disconnected: Callable[[], Awaitable[None]], ticket: Ticket[Any]) -> Callable[[], Coroutine[Any, Any, None]]:
    async def watch() -> None:
        await disconnected()
        ticket.cancel()

    return watch
