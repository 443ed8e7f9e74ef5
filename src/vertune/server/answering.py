"""From records to answers by way of kept answers, tokens and the batcher; knows nothing of HTTP."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vertune.core.errors import Busy, DataError
from vertune.core.records import Answer, Feature, Record
from vertune.queueing.fair_queue import BatchRequest, Ticket
from vertune.runtime.fleet import Deployment, decode_outputs
from vertune.steps.predict import validate_records

if TYPE_CHECKING:
    from vertune.server.measures import Measures
    from vertune.server.service import Service

LONG = 20_000
"""Characters from which on tokens are made beside the loop, which must not stand still for them."""
_MUCH = 50
"""Tokens from which on it is asked whether a request would be taken before they are made."""
_CHARACTERS, _CUT = 10, 32
"""More characters than most tokens have, and fewer tokens than most encoders cut a text to."""
_PATIENCE = 0.05
"""Seconds of waiting after which it is looked whether the asker is still there."""


class Gone(DataError):
    """Nobody waits for the answer any more."""

    http_status = 499


@dataclass(slots=True)
class Asker:
    """Who waits for answers."""

    customer: str
    """The name under which a request counts."""
    seconds: float
    """How long the answers may take."""
    gone: Callable[[], Awaitable[None]] | None = None
    """Ends when nobody waits for the answers any more."""
    tokens: int = 0
    """What was computed for it; what was kept costs none."""


@dataclass(slots=True)
class _Part:
    """One vertical's share of a request: the records whose answers are not kept, and what the encoder makes of them."""

    served: Deployment
    records: list[Record]
    places: list[int]
    """Which records of the request they are."""
    features: list[Feature]
    payloads: list[int]
    """Which payload of the ticket computes each feature, and at which of its places."""
    seats: list[int]


async def answered(
    service: Service,
    several: Sequence[Deployment],
    given: Sequence[Mapping[str, Any]],
    asker: Asker,
    fresh: bool = False,
) -> list[list[Answer]]:
    """The answers of each vertical to each record, in order.

    `fresh` takes and keeps no answer, and is counted nowhere. Raises DataError for a record that can't be answered, Busy where there
    is no time.
    """
    until = time.monotonic() + asker.seconds
    started = time.perf_counter()
    found: list[list[Answer | None]] = [[None] * len(given) for _ in several]
    size = sum(characters(value) for record in given for value in record.values())
    asked = (service, several, given, found, None if fresh else asker)
    parts = _tokenised(*asked) if size < LONG else await asyncio.to_thread(_tokenised, *asked)
    measures = service.untold if fresh else service.measures
    measures.time("tokenizing", time.perf_counter() - started)
    asker.tokens = sum(feature.cost for part in parts for feature in part.features)
    lanes = _by_lane(parts)
    waiting: list[Ticket[list[list[Answer]]]] = []
    try:
        for lane_parts in lanes:
            waiting.append(_submit(service, measures, lane_parts, (asker.customer, until)))  # noqa: PERF401 - those before one that is refused are withdrawn
        for ticket, lane_parts in zip(waiting, lanes, strict=True):
            for part, answers in zip(lane_parts, await _result(measures, ticket, asker.gone), strict=True):
                for place, answer in zip(part.places, answers, strict=True):
                    found[several.index(part.served)][place] = answer
                if not fresh:
                    _keep(service, part, answers)
    finally:
        for ticket in waiting:
            ticket.cancel()  # nothing is left of one that is done
    whole = [[answer for answer in answers if answer is not None] for answers in found]
    for served, answers in zip(several, whole, strict=True):
        measures.answered(served.name, answers)
    return whole


def characters(value: Any) -> int:
    """How much text there is in a value, whatever it is."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(len(key) + characters(inner) for key, inner in value.items())
    return sum(map(characters, value)) if isinstance(value, list) else 0


def _tokenised(
    service: Service,
    several: Sequence[Deployment],
    given: Sequence[Mapping[str, Any]],
    found: list[list[Answer | None]],
    asker: Asker | None,
) -> list[_Part]:
    """The parts of a request; kept answers are put where they belong, unless nobody asks. Verticals that read alike share features."""
    made: dict[Hashable, list[Feature]] = {}
    read: dict[Hashable, list[Record]] = {}
    parts = []
    for served, answers in zip(several, found, strict=True):
        records = read.get(served.reading)
        if records is None:
            records = read[served.reading] = validate_records(served.predictor, given)
        places = list(range(len(records)))
        if service.settings.cache and asker:
            kept = [service.kept.get(_key(served, record)) for record in records]
            answers[:] = kept
            places = [place for place, answer in enumerate(kept) if answer is None]
            service.measures.hits(served.name, len(records) - len(places))
        if not places:
            continue
        left = [records[place] for place in places]
        views = served.task.views(sorted(left[0]))
        key = (served.encoding, served.reading, views, tuple(places))
        if key not in made:
            if asker:
                _check(service, left, asker)
            made[key] = served.predictor.encoder.encode(left, views)
        parts.append(_Part(served, left, places, made[key], [], []))
    return parts


def _check(service: Service, records: Sequence[Record], asker: Asker) -> None:
    """Busy where what these records cost at least would not be taken."""
    least = sum(min(characters(value) // _CHARACTERS, _CUT) for record in records for value in record.values())
    if least >= _MUCH:
        with _counting(service.measures):
            service.batcher.check(asker.customer, min(least, service.settings.queued), asker.seconds)


@contextmanager
def _counting(measures: Measures) -> Iterator[None]:
    """Count a refusal of the batcher."""
    try:
        yield
    except Busy as error:
        measures.rejected("own" if error.http_status == 429 else "busy")
        raise


def _key(served: Deployment, record: Record) -> Hashable:
    """A hash, because texts are long, and not ours to keep."""
    said = repr((served.model.id, served.precision, sorted(record.items())))
    return hashlib.blake2b(said.encode("utf-8", "surrogatepass"), digest_size=32).digest()


def _keep(service: Service, part: _Part, answers: Sequence[Answer]) -> None:
    if service.settings.cache:
        for record, answer in zip(part.records, answers, strict=True):
            service.kept.put(_key(part.served, record), answer)


def _by_lane(parts: Sequence[_Part]) -> list[list[_Part]]:
    """Parts that the same backbone computes, together."""
    lanes: dict[int, list[_Part]] = {}
    for part in parts:
        lanes.setdefault(id(part.served.lane), []).append(part)
    return list(lanes.values())


def _submit(service: Service, measures: Measures, parts: Sequence[_Part], asker: tuple[str, float]) -> Ticket[list[list[Answer]]]:
    """Queue what one lane computes: each sequence of tokens once, with the places of all verticals that ask for it."""
    features: list[Feature] = []
    places: list[list[Any]] = []
    costs: list[float] = []
    known: dict[bytes, int] = {}
    same: dict[int, int] = {}
    seats: dict[tuple[int, int], int] = {}
    lane = parts[0].served.lane
    for part in parts:
        encoder = part.served.predictor.encoder
        for feature in part.features:
            payload = same.get(id(feature))
            if payload is None and len(parts) > 1:
                content = encoder.content(feature)
                payload = same[id(feature)] = known.setdefault(content, len(features))
            if payload is None or payload == len(features):
                payload = len(features)
                features.append(feature)
                places.append([])
                costs.append((1 - part.served.layers) * feature.cost)
            part.payloads.append(payload)
            seat = seats.setdefault((payload, id(part)), len(places[payload]))  # the same text twice is asked of a vertical once
            part.seats.append(seat)
            if seat == len(places[payload]):
                places[payload].append(part.served.place)
                costs[payload] += part.served.layers * feature.cost

    def finish(results: list[Any]) -> list[list[Answer]]:
        return [
            decode_outputs(
                part.served, part.records, part.features, [results[p][s] for p, s in zip(part.payloads, part.seats, strict=True)]
            )
            for part in parts
        ]

    left = max(0.001, asker[1] - time.monotonic())
    payloads = list(zip(features, places, strict=True))
    request = BatchRequest(payloads, [max(1, round(cost)) for cost in costs], lane, asker[0], left, finish)
    with _counting(measures):
        return service.batcher.submit(request)


async def _result(measures: Measures, ticket: Ticket[list[list[Answer]]], gone: Callable[[], Awaitable[None]] | None) -> list[list[Answer]]:
    """Wait for a ticket until its time is over; one that nobody waits for any more is cancelled."""
    if not ticket.completed and not await _completed(ticket, gone):
        ticket.cancel()
        measures.rejected("deadline")
        within = (ticket.until - ticket.submitted) * 1000
        raise Busy(f"The request was not answered within its {within:.0f} ms. Ask for less at once, or give it more time.")
    measures.time("waiting", ticket.waited)
    measures.time("inference", ticket.computed)
    if isinstance(ticket.error, CancelledError):
        measures.rejected("gone")
        raise Gone("The asker left before the answer was there.") from ticket.error
    if ticket.error is not None:
        if isinstance(ticket.error, Busy):
            measures.rejected("deadline")
        raise ticket.error
    assert ticket.value is not None
    return ticket.value


async def _completed(ticket: Ticket[Any], gone: Callable[[], Awaitable[None]] | None) -> bool:
    """Wait for a ticket, and look meanwhile for whether its asker leaves; False where its time is over first."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bool] = loop.create_future()

    def end() -> None:
        if not done.done():
            done.set_result(ticket.completed)

    ticket.done(lambda _: end())
    timers = [loop.call_later(max(0.0, ticket.until - time.monotonic()), end)]
    watching: list[asyncio.Task[None]] = []
    if gone is not None:
        timers.append(loop.call_later(_PATIENCE, lambda: watching.append(loop.create_task(_cancel(gone, ticket)))))
    try:
        return await done
    finally:
        for timer in timers:
            timer.cancel()
        for task in watching:
            task.cancel()


async def _cancel(gone: Callable[[], Awaitable[None]], ticket: Ticket[Any]) -> None:
    await gone()
    ticket.cancel()
