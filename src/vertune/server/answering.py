"""From records to answers by way of kept answers, tokens and the batcher; knows nothing of HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vertune.core.errors import Busy
from vertune.core.records import Answer, Feature, Record
from vertune.runtime.fleet import Served, decoded
from vertune.runtime.queue import Request, Ticket
from vertune.steps.predict import checked

if TYPE_CHECKING:
    from vertune.server.service import Service

_LONG = 20_000
"""Characters from which on tokens are made beside the loop, which must not stand still for them."""
_PATIENCE = 0.05
"""Seconds of waiting after which it is looked whether the asker is still there."""


@dataclass(slots=True)
class _Part:
    """One vertical's share of a request: the records whose answers are not kept, and what the encoder makes of them."""

    served: Served
    records: list[Record]
    places: list[int]
    """Which records of the request they are."""
    features: list[Feature]
    payloads: list[int]
    """Which payload of the ticket computes each feature, and at which of its places."""
    seats: list[int]


async def answered(
    service: Service,
    several: Sequence[Served],
    given: Sequence[Mapping[str, Any]],
    asker: tuple[str, float],
    gone: Callable[[], Awaitable[None]] | None = None,
    fresh: bool = False,
) -> list[list[Answer]]:
    """The answers of each vertical to each record, in order.

    `asker` is a customer's name and the seconds that the answer may take, `gone` ends when nobody waits for the answer any
    more, `fresh` takes no kept answer. Raises DataError for a record that can't be answered, Busy where there is no time.
    """
    until = time.monotonic() + asker[1]
    started = time.perf_counter()
    found: list[list[Answer | None]] = [[None] * len(given) for _ in several]
    size = sum(len(value) for record in given for value in record.values() if isinstance(value, str))
    asked = (service, several, given, found, fresh)
    parts = _tokenised(*asked) if size < _LONG else await asyncio.to_thread(_tokenised, *asked)
    service.measures.time("tokenizing", time.perf_counter() - started)
    waiting = [_submit(service, lane_parts, (asker[0], until)) for lane_parts in _by_lane(parts)]
    try:
        for ticket, lane_parts in zip(waiting, _by_lane(parts), strict=True):
            for part, answers in zip(lane_parts, await _result(service, ticket, gone), strict=True):
                for place, answer in zip(part.places, answers, strict=True):
                    found[several.index(part.served)][place] = answer
                _keep(service, part, answers)
    finally:
        for ticket in waiting:
            ticket.cancel()  # nothing is left of one that is done
    whole = [[answer for answer in answers if answer is not None] for answers in found]
    for served, answers in zip(several, whole, strict=True):
        service.measures.answered(served.name, answers)
    return whole


def _tokenised(
    service: Service, several: Sequence[Served], given: Sequence[Mapping[str, Any]], found: list[list[Answer | None]], fresh: bool
) -> list[_Part]:
    """The parts of a request; kept answers are put where they belong. Verticals that read alike share their features."""
    made: dict[Hashable, list[Feature]] = {}
    parts = []
    for served, answers in zip(several, found, strict=True):
        records = checked(served.predictor, given)
        places = list(range(len(records)))
        if service.settings.cache and not fresh:
            kept = [service.kept.get(_key(served, record)) for record in records]
            answers[:] = kept
            places = [place for place, answer in enumerate(kept) if answer is None]
            service.measures.hits(served.name, len(records) - len(places))
        if not places:
            continue
        left = [records[place] for place in places]
        views = served.task.views(sorted(left[0]))
        key = (served.encoding, views, tuple(places), tuple(tuple(record.items()) for record in left) if len(several) > 1 else None)
        if key not in made:
            made[key] = served.predictor.encoder.encode(left, views)
        parts.append(_Part(served, left, places, made[key], [], []))
    return parts


def _key(served: Served, record: Record) -> Hashable:
    return (served.model.id, served.precision, *(str(value) for pair in sorted(record.items()) for value in pair))


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


def _submit(service: Service, parts: Sequence[_Part], asker: tuple[str, float]) -> Ticket[list[list[Answer]]]:
    """Queue what one lane computes: each sequence of tokens once, with the places of all verticals that ask for it."""
    features: list[Feature] = []
    places: list[list[Any]] = []
    costs: list[float] = []
    known: dict[bytes, int] = {}
    lane = parts[0].served.lane
    for part in parts:
        encoder = part.served.predictor.encoder
        for feature in part.features:
            content = encoder.content(feature) if len(parts) > 1 else b""
            payload = known.get(content) if content else None
            if payload is None:
                payload = len(features)
                known[content] = payload
                features.append(feature)
                places.append([])
                costs.append((1 - part.served.layers) * encoder.cost(feature))
            part.payloads.append(payload)
            part.seats.append(len(places[payload]))
            places[payload].append(part.served.place)
            costs[payload] += part.served.layers * encoder.cost(feature)

    def finish(results: list[Any]) -> list[list[Answer]]:
        return [
            decoded(part.served, part.records, part.features, [results[p][s] for p, s in zip(part.payloads, part.seats, strict=True)])
            for part in parts
        ]

    left = max(0.001, asker[1] - time.monotonic())
    payloads = list(zip(features, places, strict=True))
    request = Request(payloads, [max(1, round(cost)) for cost in costs], lane, asker[0], left, finish)
    return service.batcher.submit(request)


async def _result(service: Service, ticket: Ticket[list[list[Answer]]], gone: Callable[[], Awaitable[None]] | None) -> list[list[Answer]]:
    """Wait for a ticket; one that nobody waits for any more is cancelled."""
    if not ticket.completed:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        ticket.done(lambda _: None if done.done() else done.set_result(None))
        watching: list[asyncio.Task[None]] = []
        look = None if gone is None else loop.call_later(_PATIENCE, lambda: watching.append(loop.create_task(_cancel(gone, ticket))))
        try:
            await done
        finally:
            if look is not None:
                look.cancel()
            for task in watching:
                task.cancel()
    service.measures.time("waiting", ticket.waited)
    service.measures.time("inference", ticket.computed)
    if ticket.error is not None:
        if isinstance(ticket.error, Busy):
            service.measures.rejected("deadline")
        raise ticket.error
    assert ticket.value is not None
    return ticket.value


async def _cancel(gone: Callable[[], Awaitable[None]], ticket: Ticket[Any]) -> None:
    await gone()
    ticket.cancel()
