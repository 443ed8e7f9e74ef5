"""The settings of a server and the limits of its requests; knows nothing of how they are used."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from vertune.answering.service import AnswerOptions
from vertune.core.errors import ConfigError
from vertune.store.key import checked_rate

Positive = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class RequestLimits:
    """What one request, and one connection, may take of the server."""

    body: Positive = 4 << 20
    """Bytes of a request's body."""
    items: Positive = 1024
    """Records of one request, times the verticals that it names."""
    characters: Positive = 200_000
    """Characters of one text."""
    deadline: Annotated[float, Field(gt=0)] = 30.0
    """Seconds that a request may take; it may ask for less by `X-Deadline-Ms`."""
    header: Positive = 32 << 10
    """Bytes of a request's line and headers."""
    reading: Annotated[float, Field(gt=0)] = 10.0
    """Seconds within which a request must have arrived completely."""
    idle: Annotated[float, Field(gt=0)] = 30.0
    """Seconds that a connection may stay open without a request."""
    connections: Positive = 2048


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class Settings:
    """How a server runs."""

    host: str = "127.0.0.1"
    port: int = 8000
    open: bool = False
    """Whether to answer without a key; on a loopback address only."""
    exact: bool = False
    """Whether to serve float32 where the gate chose int8."""
    device: str | None = None
    """The torch device that computes shared backbones in float32, such as cuda; None computes them in ONNX Runtime, without torch."""
    threads: Positive | None = None
    """Threads of one batch; None takes what suits the processors and the workers."""
    workers: Positive | None = None
    """Batches that are computed at once; None takes one."""
    queued: Positive = 65_536
    """Tokens that may wait; up to twice as many while no customer has more than its share."""
    memory: Positive = 1 << 30
    """Bytes that graphs which can't share a backbone may take in memory."""
    cache: Annotated[int, Field(ge=0)] = 10_000
    """Answers that are cached; 0 caches none."""
    rate: str | None = None
    """The rate limit of a key that has none of its own, such as 600/minute."""
    limits: RequestLimits = RequestLimits()

    @property
    def answers(self) -> AnswerOptions:
        """The settings that concern how answers are computed."""
        return AnswerOptions(self.threads, self.workers or 1, self.queued, self.memory, self.cache, exact=self.exact, device=self.device)

    def check(self) -> None:
        """ConfigError for a rate that can't be read, or for an open server that other machines can reach."""
        if self.rate is not None:
            checked_rate(self.rate)
        if self.open and not loopback(self.host):
            raise ConfigError(
                f"--open answers requests without a key, and other machines can reach {self.host}. Leave --open out and create a key "
                "(vertune key create NAME), or listen on 127.0.0.1."
            )


def loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    name = host.lower().removesuffix(".")
    if name == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def changed(values: dict[str, object], settings: Sequence[str]) -> Settings:
    """Settings from these values and from KEY=VALUE strings such as `workers=2` or `limits.items=64`; ConfigError for wrong ones."""
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
