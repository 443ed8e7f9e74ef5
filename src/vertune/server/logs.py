"""Writes the log of the server to standard error, as text or as JSON with one line for each request; does not depend on what is logged."""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import orjson

from vertune.answering.call import Call
from vertune.core.errors import StorageError

LogFormat = Literal["text", "json"]
_requests = logging.getLogger("vertune.requests")
_TRACE = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
_NO_TRACE = b"0" * 32


def trace_without_messages(error: BaseException | None) -> str:
    """Return the tracebacks of an exception and of those that led to it, with their classes.

    Messages are left out, because other libraries quote in them what they read, such as the text of a user; except for messages about
    storage, which name files.
    """
    parts: list[str] = []
    while error is not None:
        message = f": {error}" if isinstance(error, StorageError) else f": {error.strerror}" if isinstance(error, OSError) else ""
        frames = "".join(traceback.format_tb(error.__traceback__))
        parts.append(f"Traceback (most recent call last):\n{frames}{type(error).__module__}.{type(error).__qualname__}{message}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n\n".join(reversed(parts))


class TextFormatter(logging.Formatter):
    """Formats each entry of the log as its message, followed by the traceback of an exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the message and the traceback."""
        trace = trace_without_messages(record.exc_info[1]) if record.exc_info else ""
        return f"{record.getMessage()}\n{trace}" if trace else record.getMessage()


class JsonFormatter(logging.Formatter):
    """Formats each entry of the log as one line of JSON, with the fields `time`, `level`, `message` and those of the entry."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; an exception is its field `error`."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            entry["error"] = trace_without_messages(record.exc_info[1])
        return orjson.dumps(entry, default=str).decode()


class _StandardErrorHandler(logging.StreamHandler[TextIO]):
    """Writes to what standard error is at that moment.

    To a stream that was replaced and closed, writing would fail, and `logging` would print the arguments of the entry, which may be texts.
    """

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        """Standard error."""
        return sys.stderr


def configure(kind: LogFormat, stream: TextIO | None = None) -> logging.Handler:
    """Let the log go to a stream, by default standard error: warnings and errors, and with `json` also each finished request.

    The warnings and errors of other libraries go there too, since Python would write them with the messages of exceptions.
    """
    handler = logging.StreamHandler(stream) if stream else _StandardErrorHandler()
    handler.setFormatter(JsonFormatter() if kind == "json" else TextFormatter())
    logger = logging.getLogger("vertune")
    logger.addHandler(handler)
    logger.propagate = False
    logging.getLogger().addHandler(handler)
    _requests.setLevel(logging.INFO if kind == "json" else logging.WARNING)
    return handler


def log_request(call: Call) -> None:
    """Log a finished call; a listener of calls. No text of a user and no secret is in the entry."""
    if not _requests.isEnabledFor(logging.INFO):
        return
    fields = {
        "request": call.id, "trace": call.trace or call.id, "resource": call.resource or "other", "status": call.status,
        "milliseconds": round(1000 * call.total, 2), "customer": call.customer, "key": call.key,
        "verticals": [f"{one.name}={one.model.id}" for one in call.verticals], "records": len(call.records), "tokens": call.tokens,
        "cached_tokens": call.cached_tokens,
    }  # fmt: skip
    if call.refusal:
        fields["refusal"] = call.refusal
    _requests.info("request", extra={"fields": fields})


def trace_of(headers: Sequence[tuple[bytes, bytes]]) -> tuple[str, str]:
    """Return the ids of the trace and of the span that the header `traceparent` (W3C Trace Context) names.

    They are empty if there is none, or it is not valid.
    """
    for name, value in headers:
        if name == b"traceparent":
            match = _TRACE.fullmatch(value)
            named = match is not None and match[1] != _NO_TRACE and not value.startswith(b"ff")
            return (match[1].decode(), match[2].decode()) if match and named else ("", "")
    return "", ""
