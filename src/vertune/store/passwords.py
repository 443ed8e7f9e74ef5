"""Hashes passwords with Argon2id (RFC 9106) and verifies them; knows nothing of users.

A hash takes memory and time on purpose. Only a few are computed at once, so that attempts to sign in can't exhaust the machine.
"""

from __future__ import annotations

import secrets
import threading
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

from vertune.core.errors import Busy, MissingExtra

_AT_ONCE = 2
"""Number of hashes that are computed at the same time."""
_WAITING = 8
"""Number of attempts that may wait for that; further ones are refused."""


class Passwords:
    """Argon2id with certain costs; safe for use from many threads."""

    def __init__(self, kibibytes: int = 64 << 10, rounds: int = 3) -> None:
        """`kibibytes` is the memory that a hash takes, and `rounds` how often all of it is written.

        Raises MissingExtra if the package `argon2-cffi` is not installed.
        """
        try:
            from argon2 import PasswordHasher
        except ImportError as error:
            raise MissingExtra("Signing in with a password", "serve", "argon2-cffi") from error
        self._hasher = PasswordHasher(time_cost=rounds, memory_cost=kibibytes, parallelism=1)
        self._unknown = self._hasher.hash(secrets.token_urlsafe(32))
        """What passwords of unknown users are compared with, so that the time does not reveal which users exist."""
        self._computing = threading.Semaphore(_AT_ONCE)
        self._queue = threading.Semaphore(_AT_ONCE + _WAITING)

    def hash(self, password: str) -> str:
        """Return a hash of a password, with a salt and the costs; raise Busy if too many are being computed."""
        with self._turn():
            return self._hasher.hash(_normal(password))

    def verify(self, stored: str | None, password: str) -> bool:
        """Return whether a password belongs to a hash; it takes as long if there is no hash, as for an unknown user.

        Raises Busy if too many hashes are being computed.
        """
        from argon2.exceptions import Argon2Error, InvalidHashError

        with self._turn():
            try:
                matches = self._hasher.verify(stored or self._unknown, _normal(password))
            except (Argon2Error, InvalidHashError):
                return False
        return matches and stored is not None

    def outdated(self, stored: str) -> bool:
        """Return whether a hash was made with other costs than new ones are."""
        return self._hasher.check_needs_rehash(stored)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Wait until a hash may be computed; raise Busy if too many attempts wait already."""
        if not self._queue.acquire(blocking=False):
            raise Busy("Too many passwords are being verified at the moment. Retry in 1 s.", 1.0)
        try:
            with self._computing:
                yield
        finally:
            self._queue.release()


def new_password() -> str:
    """Return a random password of 120 bits that is easy to copy."""
    return "-".join(secrets.token_hex(3) for _ in range(5))


def _normal(password: str) -> bytes:
    """Return what is hashed: the same for all ways in which keyboards compose a character (RFC 8265)."""
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")
