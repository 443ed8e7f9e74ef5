"""Adds messages to a file, one line of JSON each, for a log collector or for tests."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from vertune.core.channel import Channel, Message
from vertune.core.files import storage_errors

_SEARCHED = 1 << 20
"""Number of bytes at the end of the file in which a message is looked for that was written before the process died."""


class File(Channel):
    """A file to which each message is added as a line of JSON."""

    path: Path
    """The file; it is created if it does not exist, and its folder must exist."""

    def send(self, message: Message) -> None:
        """Add the message, unless it is among the last ones already; raise StorageError if the file can't be written."""
        line = message.body() + b"\n"
        with storage_errors(self.path):
            descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
            with os.fdopen(descriptor, "r+b", buffering=0) as stream:
                _lock(stream)
                end = _last(stream)
                if any(message.id == _delivery(one) for one in end.split(b"\n")):
                    return
                # a process that died while it wrote left a line without an end
                rest = memoryview(line if not end or end.endswith(b"\n") else b"\n" + line)
                while rest:  # a disk that gets full takes a part, and refuses the next one
                    rest = rest[stream.write(rest) :]
                os.fsync(stream.fileno())

    @classmethod
    def example(cls) -> File:
        """Return a channel to a file in a folder that does not exist."""
        return cls(path=Path("/nonexistent/alerts.jsonl"))


def _last(stream: Any) -> bytes:
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - _SEARCHED))
    return bytes(stream.read())


def _delivery(line: bytes) -> str | None:
    with suppress(ValueError, AttributeError):
        found = json.loads(line).get("delivery")
        return found if isinstance(found, str) else None
    return None


def _lock(stream: Any) -> None:
    """Wait until no other process writes to the file, where the system can say so."""
    try:
        import fcntl
    except ImportError:  # on Windows
        return
    fcntl.flock(stream, fcntl.LOCK_EX)
