"""Ends calls: cancels what is queued for a call that fails, and finishes the call with its status; does not compute predictions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from vertune.answering.call import Call, ClientDisconnected
from vertune.answering.shares import Share
from vertune.core.errors import Busy, VertuneError
from vertune.core.records import Answer
from vertune.queueing.fair_queue import Ticket


class Tickets:
    """A context manager with the queued requests of one call; on exit, it cancels the requests that are not completed.

    `submitted` has one pair per request: its ticket (handle), and the shares (parts of the call, one per model) that it computes.
    This is a class, because a context manager made from a generator would take as long as all other work for a short call.
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
def finishing(call: Call) -> Iterator[None]:
    """A context manager that finishes a call made by `ask` or `ask_async` when its block ends.

    The call gets the HTTP status 200, or the status that belongs to the exception with which the block ended.
    """
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
