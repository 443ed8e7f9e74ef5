"""Sends messages as JSON to an address of HTTP, signed with a secret.

The receiver checks the header `X-Vertune-Signature`: it is `v1=` and the HMAC-SHA256, in hexadecimal, of the header
`X-Vertune-Timestamp`, a dot, the header `X-Vertune-Delivery`, a dot, and the body. The timestamp is in seconds since 1970: refuse an old
one, so that nobody can send a message again that was overheard. Leave out a delivery that you have had.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import socket
import ssl
import threading
import time
from contextlib import closing, suppress
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import Field, field_validator

from vertune.core.channel import Channel, Message, checked_variable, secret_of
from vertune.core.errors import ConfigError, Unavailable

_USER_AGENT = "vertune"


class Webhook(Channel):
    """An address to which messages are posted as JSON."""

    url: str
    """The address, such as https://chat.example.com/hooks/models; without a user and a password."""
    secret_env: str | None = None
    """The environment variable with the secret by which the receiver knows that a message is genuine; None sends without a signature."""
    timeout: Annotated[float, Field(gt=0, le=60)] = 10.0
    """Seconds within which the receiver must have answered."""

    @field_validator("url")
    @classmethod
    def _url(cls, value: str) -> str:
        parts = _split(value)
        if parts is None or parts.scheme not in ("http", "https") or not parts.hostname or any(not "!" <= one <= "~" for one in value):
            raise ConfigError(
                f"The address of a webhook is {value[:80]!r}; expected one that begins with https:// or http://. Correct `url`."
            )
        if parts.username is not None or parts.password is not None:
            raise ConfigError(
                f"The address of the webhook at {parts.hostname} contains a user or a password, which logs would show; expected none. Let "
                "the receiver check the signature instead, and set `secret_env`."
            )
        return value

    @field_validator("secret_env")
    @classmethod
    def _secret(cls, value: str | None) -> str | None:
        return None if value is None else checked_variable(value)

    def check(self) -> None:
        """Raise ConfigError if the secret is missing."""
        if self.secret_env is not None:
            secret_of(self.secret_env, f"the webhook '{self.called}'")

    def send(self, message: Message) -> None:
        """Post the message; raise Unavailable unless the receiver answers with a status from 200 to 299. Redirects are not followed."""
        body = message.body()
        status = self._post(body, self._headers(message.id, body))
        if not 200 <= status < 300:
            raise Unavailable(
                f"The webhook '{self.called}' at {urlsplit(self.url).hostname} answered with status {status}; expected 200 to 299. Check "
                "its address, and what its receiver expects."
            )

    def _headers(self, id: str, body: bytes) -> dict[str, str]:
        stamp = str(int(time.time()))
        headers = {"Content-Type": "application/json", "User-Agent": _USER_AGENT, "X-Vertune-Delivery": id, "X-Vertune-Timestamp": stamp}
        if self.secret_env is not None:
            secret = secret_of(self.secret_env, f"the webhook '{self.called}'")
            headers["X-Vertune-Signature"] = signature(secret, stamp, id, body)
        return headers

    def _post(self, body: bytes, headers: dict[str, str]) -> int:
        parts = urlsplit(self.url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        host, port = parts.hostname or "", parts.port
        if parts.scheme == "https":
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                host, port, timeout=self.timeout, context=ssl.create_default_context()
            )
        else:
            connection = http.client.HTTPConnection(host, port, timeout=self.timeout)
        # a receiver that answers one byte at a time would never exceed the time limit of the socket
        deadline = threading.Timer(self.timeout, _interrupt, [connection])
        deadline.daemon = True
        with closing(connection):
            deadline.start()
            try:
                connection.request("POST", path, body, headers)
                return connection.getresponse().status
            except (OSError, http.client.HTTPException) as error:
                why = getattr(error, "strerror", None) or str(error) or type(error).__name__
                raise Unavailable(
                    f"The webhook '{self.called}' at {host} could not be reached: {why}. Check its address and the network."
                ) from error
            finally:
                deadline.cancel()

    @classmethod
    def example(cls) -> Webhook:
        """Return a webhook at a port of this machine at which nothing listens."""
        return cls(url="http://127.0.0.1:9/hooks/models", timeout=1)


def signature(secret: str, timestamp: str, delivery: str, body: bytes) -> str:
    """Return the value of the header by which a receiver knows that a message is genuine."""
    signed = f"{timestamp}.{delivery}.".encode() + body
    return "v1=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


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
