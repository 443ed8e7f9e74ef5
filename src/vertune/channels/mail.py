"""Sends messages as mail through an SMTP server, with encryption."""

from __future__ import annotations

import logging
import smtplib
import ssl
from datetime import UTC, datetime
from email.errors import MessageError
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from vertune.core.channel import Channel, Message, checked_variable, secret_of
from vertune.core.errors import ConfigError, Unavailable

_log = logging.getLogger("vertune")
_PORTS = {"starttls": 587, "tls": 465, "none": 25}
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_ADDRESS = r"^[^\s@<>,;]+@[^\s@<>,;]+$"
Address = Annotated[str, Field(pattern=_ADDRESS, max_length=254)]


class Mail(Channel):
    """Mail to some addresses."""

    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:-]{1,253}$")]
    """The SMTP server."""
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """Its port; 0 is the usual one: 587 for STARTTLS, 465 for TLS, 25 without encryption."""
    encryption: Literal["starttls", "tls", "none"] = "starttls"
    """How the connection is encrypted; `none` sends texts in the open, and no password."""
    authority: Path | None = None
    """The certificate (PEM) of the authority of a server whose certificate the system does not trust."""
    sender: Address
    """The address that messages come from."""
    to: Annotated[list[Address], Field(min_length=1, max_length=100)]
    """The addresses that messages go to."""
    user: Annotated[str, Field(max_length=254)] = ""
    """The name with which to sign in to the server; empty does not sign in."""
    password_env: str | None = None
    """The environment variable with the password."""
    timeout: Annotated[float, Field(gt=0, le=120)] = 30.0
    """Seconds to wait for each answer of the server."""

    @field_validator("password_env")
    @classmethod
    def _password(cls, value: str | None) -> str | None:
        return None if value is None else checked_variable(value)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if bool(self.user) != (self.password_env is not None):
            raise ConfigError(
                f"Only one of `user` and `password_env` of the mail channel '{self.called}' is set; expected both or none. Set the other."
            )
        if self.user and self.encryption == "none" and self.host not in _LOCAL:
            raise ConfigError(
                f"The mail channel '{self.called}' would send a password to {self.host} in the open; expected encryption. Set "
                "`encryption: starttls` or `tls`."
            )
        return self

    def check(self) -> None:
        """Raise ConfigError if the password or the certificate is missing."""
        if self.password_env is not None:
            secret_of(self.password_env, f"the mail channel '{self.called}'")
        self._context()

    def send(self, message: Message) -> None:
        """Send the message to all addresses; raise Unavailable if the server takes it for none of them.

        An address that the server refuses, while it takes others, is logged: sent again, the others would get the message twice.
        """
        try:
            mail = self._compose(message)
            with self._connect() as server:
                if self.encryption == "starttls":
                    server.starttls(context=self._context())
                if self.password_env is not None:
                    server.login(self.user, secret_of(self.password_env, f"the mail channel '{self.called}'"))
                refused = server.send_message(mail)
        except (smtplib.SMTPException, OSError, MessageError) as error:
            raise Unavailable(
                f"The mail server {self.host} did not take the message: {_reason(error)}. Check the channel '{self.called}' and the server."
            ) from error
        if refused:
            _log.warning(
                "The mail server %s did not take the message %s for %s. Correct `to` of the channel '%s'.", self.host, message.id,
                ", ".join(sorted(refused)), self.called,
            )  # fmt: skip

    def _compose(self, message: Message) -> EmailMessage:
        mail = EmailMessage()
        mail["Subject"] = " ".join(_plain(message.subject).split())
        mail["From"], mail["To"] = self.sender, ", ".join(self.to)
        mail["Date"] = format_datetime(datetime.now(UTC))
        mail["Message-ID"] = f"<{message.id}@vertune.invalid>"  # the same when it is sent again
        mail["X-Vertune-Delivery"] = message.id
        mail["Auto-Submitted"] = "auto-generated"  # so that nobody's absence is answered (RFC 3834)
        mail.set_content(_plain(message.text))
        return mail

    def _connect(self) -> smtplib.SMTP:
        port = self.port or _PORTS[self.encryption]
        if self.encryption == "tls":
            return smtplib.SMTP_SSL(self.host, port, timeout=self.timeout, context=self._context())
        return smtplib.SMTP(self.host, port, timeout=self.timeout)

    def _context(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=None if self.authority is None else str(self.authority))
        except OSError as error:
            raise ConfigError(
                f"The certificate {self.authority} of the mail channel '{self.called}' can't be read: {error}. Correct `authority`."
            ) from error

    @classmethod
    def example(cls) -> Mail:
        """Return a channel to a port of this machine at which nothing listens."""
        return cls(host="127.0.0.1", port=9, sender="vertune@example.com", to=["ann@example.com"], timeout=1)


def _plain(text: str) -> str:
    """Return a text without halves of pairs of UTF-16, which are no characters."""
    return text.encode(errors="replace").decode()


def _reason(error: Exception) -> str:
    if isinstance(error, smtplib.SMTPResponseException):
        said = error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else str(error.smtp_error)
        return f"{error.smtp_code} {said}"
    return str(error) or type(error).__name__
