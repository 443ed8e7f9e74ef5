"""Sends messages as JSON to an address of HTTP, signed with a secret.

The receiver checks the header `X-Vertune-Signature`: it is `v1=` and the HMAC-SHA256, in hexadecimal, of the header
`X-Vertune-Timestamp`, a dot, the header `X-Vertune-Delivery`, a dot, and the body. The timestamp is in seconds since 1970: refuse an old
one, so that nobody can send a message again that was overheard. Leave out a delivery that you have had.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from vertune.core import webhooks
from vertune.core.channel import Channel, Message, checked_variable, secret_of
from vertune.core.errors import Unavailable


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
        return webhooks.checked_url(value)

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
        secret = None if self.secret_env is None else secret_of(self.secret_env, f"the webhook '{self.called}'")
        headers = webhooks.signed_headers(message.id, body, secret)
        status = webhooks.post(self.url, body, headers, self.timeout, what=f"The webhook '{self.called}'").status
        if not 200 <= status < 300:
            raise Unavailable(
                f"The webhook '{self.called}' at {webhooks.host(self.url)} answered with status {status}; expected 200 to 299. Check "
                "its address, and what its receiver expects."
            )

    @classmethod
    def example(cls) -> Webhook:
        """Return a webhook at a port of this machine at which nothing listens."""
        return cls(url="http://127.0.0.1:9/hooks/models", timeout=1)
