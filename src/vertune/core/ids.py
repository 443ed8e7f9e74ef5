"""Makes unique ids that have the order of the times at which they were made; independent of what they identify."""

from __future__ import annotations

import itertools
import secrets
import time
from datetime import UTC, datetime

_NUMBERS = itertools.count(secrets.randbits(12))
_MILLISECONDS = 12
"""Number of digits of an id that are its time in milliseconds since 1970."""
_RANDOM = secrets.randbits(61)
"""Random for each process; a random number for each id would need a system call, which takes as long as handling a short text."""


def time_ordered_id() -> str:
    """Return a UUID of version 7 (RFC 9562) as 32 hexadecimal digits: the time in milliseconds, a counter, and a number of this process.

    Ids of one process never repeat, even if the clock is set back. They can be guessed, so an id is no permission.
    """
    number = next(_NUMBERS)
    return f"{time.time_ns() // 1_000_000:012x}7{number & 0xFFF:03x}{1 << 63 | (_RANDOM + (number >> 12)) & (1 << 62) - 1:016x}"


def time_of(id: str) -> float:
    """Return the time that an id begins with, in seconds since 1970; raise ValueError if it begins with none."""
    return int(id[:_MILLISECONDS], 16) / 1000


def first_id_of(time: datetime) -> str:
    """Return the smallest id that could be made at a time; one without a time zone is in UTC."""
    return first_id_at((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp())


def first_id_at(seconds: float) -> str:
    """Return the smallest id that could be made at a time, given in seconds since 1970, to compare ids with a time."""
    return f"{max(0, int(seconds * 1000)):012x}{'0' * 20}"
