"""Posts JSON to an address of HTTP, signed with a secret, and checks what others signed; does not depend on what is sent.

A receiver checks the header `X-Vertune-Signature`: it is `v1=` and the HMAC-SHA256, in hexadecimal, of the header `X-Vertune-Timestamp`,
a dot, the header `X-Vertune-Delivery`, a dot, and the body. The timestamp is in seconds since 1970: refuse an old one, so that nobody can
send a message again that was overheard. Leave out a delivery that you have had.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from vertune.core.errors import AccessError, ConfigError, Unavailable

DELIVERY, TIMESTAMP, SIGNATURE = "X-Vertune-Delivery", "X-Vertune-Timestamp", "X-Vertune-Signature"
MAX_AGE = 300.0
"""Seconds by which the timestamp of a signed message may differ from the time of this machine."""
_USER_AGENT = "vertune"


class Answered(NamedTuple):
    """What a receiver answered."""

    status: int
    content: bytes


def checked_url(value: str) -> str:
    """Return the address of a webhook unchanged; raise ConfigError if it is none, or contains a user or a password."""
    parts = _split(value)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname or any(not "!" <= one <= "~" for one in value):
        raise ConfigError(f"The address of a webhook is {value[:80]!r}; expected one that begins with https:// or http://. Correct `url`.")
    if parts.username is not None or parts.password is not None:
        raise ConfigError(
            f"The address of the webhook at {parts.hostname} contains a user or a password, which logs would show; expected none. Let "
            "the receiver check the signature instead, and set `secret_env`."
        )
    return value


def host(url: str) -> str:
    """Return the host of an address, for messages that must not show the rest."""
    return urlsplit(url).hostname or ""


def signature(secret: str, timestamp: str, delivery: str, body: bytes) -> str:
    """Return the value of the header by which a receiver knows that a message is genuine."""
    signed = f"{timestamp}.{delivery}.".encode() + body
    return "v1=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def signed_headers(delivery: str, body: bytes, secret: str | None) -> dict[str, str]:
    """Return the headers of a message with the id `delivery`; without a secret, it has no signature."""
    stamp = str(int(time.time()))
    headers = {"Content-Type": "application/json", "User-Agent": _USER_AGENT, DELIVERY: delivery, TIMESTAMP: stamp}
    return headers if secret is None else {**headers, SIGNATURE: signature(secret, stamp, delivery, body)}


def check_signature(headers: Mapping[str, str], body: bytes, secret: str) -> str:
    """Return the id of a signed message; raise AccessError unless it was signed with this secret, and not long ago.

    The comparison takes the same time for every wrong signature.
    """
    given = {name: headers.get(name, "") for name in (DELIVERY, TIMESTAMP, SIGNATURE)}
    genuine = hmac.compare_digest(given[SIGNATURE].encode(), signature(secret, given[TIMESTAMP], given[DELIVERY], body).encode())
    stamp = given[TIMESTAMP]
    if not genuine or not stamp.isdecimal() or len(stamp) > 12 or abs(time.time() - int(stamp)) > MAX_AGE:
        raise AccessError(
            f"The message has no valid signature; expected the headers {DELIVERY}, {TIMESTAMP}, not older than {MAX_AGE:g} s, and "
            f"{SIGNATURE}. Sign the body with the secret that the operator gave to the sender.",
            authenticated=False,
        )
    return given[DELIVERY]


def post(url: str, body: bytes, headers: Mapping[str, str], timeout: float, what: str, limit: int = 0) -> Answered:
    """Post a body, and return the status and at most `limit` bytes of the answer. Redirects are not followed.

    `what` names the receiver in messages. Raises Unavailable if it can't be reached, or has not answered completely within the time.
    """
    parts = urlsplit(url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=timeout, context=ssl.create_default_context())
    else:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout)
    # a receiver that answers one byte at a time would never exceed the time limit of the socket
    deadline = threading.Timer(timeout, _interrupt, [connection])
    deadline.daemon = True
    with closing(connection):
        deadline.start()
        try:
            connection.request("POST", path, body, dict(headers))
            answer = connection.getresponse()
            return Answered(answer.status, answer.read(limit) if limit else b"")
        except (OSError, http.client.HTTPException, ValueError) as error:
            why = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise Unavailable(f"{what} at {parts.hostname} could not be reached: {why}. Check its address and the network.") from error
        finally:
            deadline.cancel()


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises ValueError for a port that is no number
    except ValueError:
        return None
    return parts


def _interrupt(connection: http.client.HTTPConnection) -> None:
    with suppress(OSError):
        if connection.sock is not None:
            connection.sock.shutdown(socket.SHUT_RDWR)
