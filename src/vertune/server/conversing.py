"""What the resources of conversations share: whose conversation a request means, how often it may ask, and how it waits for turns."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

from pydantic import Field
from starlette.requests import Request

from vertune.core.errors import Busy, NotFound
from vertune.server.access import call_of
from vertune.server.body import json_bytes
from vertune.server.chat.chats import Chats
from vertune.server.chat.views import visitor_turn
from vertune.server.cross_origin import HEADER
from vertune.server.stored import customer_of, database_of
from vertune.store import conversations
from vertune.store.conversations import Conversation, Turn
from vertune.store.key import parse_rate

MessageId = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[!-~]+$")]
"""The id that a client gives to a message: printable characters of ASCII without spaces."""
LONGEST_WAIT = 25.0
"""Maximum seconds for which a request waits for turns."""
_STREAM_SECONDS = 60.0
"""Seconds after which a stream of events ends, so that its client asks anew."""
_COMMENT_SECONDS = 15.0
"""Seconds after which something is sent where nothing happens, so that no proxy closes the connection."""


def chats_of(request: Request) -> Chats:
    """Return the conversations of the server; raise ConfigError if it stores nothing."""
    database_of(request)
    chats: Chats = request.app.state.service.chats
    return chats


async def visitors(request: Request, app: str, id: str) -> Conversation:
    """Return the conversation of the visitor who sends a request; raise NotFound if there is none with this secret."""
    token = request.headers.get(HEADER, "")
    return await chats_of(request).talking.of_visitor(app, id, token, customer_of(request))


def limit(request: Request, rate: str, who: str) -> None:
    """Count a request for a rate limit; raise Busy above it."""
    if seconds := chats_of(request).limiter.hit(parse_rate(rate), who):
        call_of(request).refusal = "rate"
        seconds = max(0.05, seconds)
        raise Busy(f"The rate limit of {rate} is exceeded. Retry in {seconds:.1f} s.", seconds, over_limit=True)


async def wait_for(chats: Chats, id: str, after: int, seconds: float) -> tuple[Conversation, list[Turn], int | None]:
    """Return a conversation with its turns after a number and its place in the queue; wait some seconds if there is no such turn."""
    end = time.monotonic() + seconds
    with chats.watchers.watching(id) as event:
        while True:
            event.clear()
            conversation, turns, position = await chats.keeper.read(lambda connection: _read(connection, id, after))
            left = end - time.monotonic()
            if turns or left <= 0 or chats.stopping or conversation.stage == "closed":
                return conversation, turns, position
            try:
                await asyncio.wait_for(event.wait(), left)
            except TimeoutError:
                continue


async def stream(chats: Chats, id: str, after: int) -> AsyncIterator[bytes]:
    """Yield the turns of a conversation after a number, as they come, in the form of server-sent events."""
    end, shown = time.monotonic() + _STREAM_SECONDS, None
    with chats.watchers.watching(id) as event:
        while True:
            event.clear()
            try:
                conversation, turns, position = await chats.keeper.read(lambda connection, after=after: _read(connection, id, after))  # type: ignore[misc]
            except NotFound:  # it was deleted meanwhile
                return
            for turn in turns:
                yield _event("turn", visitor_turn(turn), turn.number)
                after = turn.number
            if (conversation.stage, position) != shown:
                shown = (conversation.stage, position)
                yield _event("stage", {"stage": conversation.stage, "position": position})
            left = end - time.monotonic()
            if left <= 0 or chats.stopping or conversation.stage == "closed":
                return
            try:
                await asyncio.wait_for(event.wait(), min(left, _COMMENT_SECONDS))
            except TimeoutError:
                yield b":\n\n"


def _read(connection: Any, id: str, after: int) -> tuple[Conversation, list[Turn], int | None]:
    conversation = conversations.get(connection, id)
    if conversation is None:
        raise NotFound(f"There is no conversation '{id[:32]}', or it was deleted. Start a new one.")
    return conversation, conversations.turns_of(connection, id, after), conversations.position(connection, conversation)


def _event(kind: str, data: dict[str, Any], number: int | None = None) -> bytes:
    """Return one server-sent event."""
    id = b"" if number is None else f"id: {number}\n".encode()
    return b"event: %b\n%bdata: %b\n\n" % (kind.encode(), id, json_bytes(data))
