"""Settings of the server and limits of its requests, with their validation; independent of the code that applies them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from vertune.answering.service import AnswerOptions
from vertune.core.errors import ConfigError
from vertune.core.machine import loopback
from vertune.store.key import Scope, checked_rate

Positive = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class RequestLimits:
    """Limits of the size and duration of one request and of one connection."""

    body: Positive = 4 << 20
    """Maximum size of a request body in bytes."""
    items: Positive = 1024
    """Maximum number of predictions per request: its number of records times its number of models."""
    characters: Positive = 200_000
    """Maximum length of one text in characters."""
    deadline: Annotated[float, Field(gt=0)] = 30.0
    """Maximum seconds until a request is answered; the request header `X-Deadline-Ms` can lower it."""
    header: Positive = 32 << 10
    """Maximum size of the request line and headers in bytes."""
    reading: Annotated[float, Field(gt=0)] = 10.0
    """Maximum seconds until a request is received completely."""
    idle: Annotated[float, Field(gt=0)] = 30.0
    """Maximum seconds that a connection may be idle, or that a client may take to read a response."""
    connections: Positive = 2048
    """Maximum number of open connections."""


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class Settings:
    """All settings of a server."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8000
    """Port to listen on; 0 lets the system choose one."""
    open: bool = False
    """Whether to accept requests without an API key; allowed on a loopback address only."""
    open_scope: Scope = "predict"
    """The permission of requests without an API key, if they are accepted; `admin` also lets them change what is served."""
    exact: bool = False
    """Whether to serve every model in float32, even those for which the accuracy check allows the faster int8."""
    device: str | None = None
    """The torch device, such as cuda, for the backbones (pretrained models) that verticals share; None uses ONNX Runtime instead."""
    require_signed: Path | None = None
    """The file of a public key; models that were not signed with the private key of this pair are not served. None serves all."""
    threads: Positive | None = None
    """Number of threads that compute one batch; None divides the processors among the workers."""
    workers: Positive | None = None
    """Number of batches that are computed at the same time; None means one."""
    queued: Positive = 65_536
    """Maximum number of tokens in the queue; twice this number for clients that use no more than an equal part of it."""
    memory: Positive = 1 << 30
    """Maximum memory in bytes of the ONNX graphs of models that do not run on a shared backbone (pretrained model)."""
    cache: Annotated[int, Field(ge=0)] = 10_000
    """Maximum number of cached predictions; 0 disables the cache."""
    rate: str | None = None
    """Rate limit, such as 600/minute, of API keys that were created without one; None sets no limit."""
    preparation: Annotated[float, Field(gt=0)] = 900.0
    """Maximum seconds to prepare one model for serving; a process that takes longer is killed, and the preparation is repeated later."""
    limits: RequestLimits = RequestLimits()
    """Limits of requests and connections."""

    @property
    def answers(self) -> AnswerOptions:
        """The settings that control how predictions are computed."""
        return AnswerOptions(
            self.threads, self.workers or 1, self.queued, self.memory, self.cache,
            exact=self.exact, device=self.device, require_signed=self.require_signed,
        )  # fmt: skip

    def check(self) -> None:
        """Raise ConfigError for an invalid rate limit, or if the server requires no API keys although other machines can reach it."""
        if self.rate is not None:
            checked_rate(self.rate)
        if self.open and not loopback(self.host):
            raise ConfigError(
                f"--open answers requests without a key, but other machines can reach the address {self.host}. Leave --open out and create "
                "a key (vertune key create NAME --scope predict), or listen on 127.0.0.1."
            )


def changed(values: dict[str, object], settings: Sequence[str]) -> Settings:
    """Return server settings made from `values` (settings by name), changed by `settings`.

    `settings` are KEY=VALUE strings such as `workers=2` or `limits.items=64`. Raises ConfigError for an unknown or invalid setting.
    """
    limits: dict[str, object] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set got '{setting}'; expected KEY=VALUE. Write for example: --set workers=2")
        limit = key.removeprefix("limits.")
        (limits if limit != key else values)[limit] = value
    try:
        checked = TypeAdapter(RequestLimits).validate_python(limits)
        return TypeAdapter(Settings).validate_python({**values, "limits": checked})
    except ValidationError as error:
        first = error.errors()[0]
        names = ", ".join([*(f"limits.{name}" for name in RequestLimits.__dataclass_fields__), *Settings.__dataclass_fields__])
        setting = ".".join(map(str, first["loc"]))
        raise ConfigError(
            f"The setting '{setting}' can't be {first['input']!r}: {first['msg']}. Correct it, or choose another setting: {names}."
        ) from error
