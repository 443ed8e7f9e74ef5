"""What a server is told when it starts; knows nothing of how it is used."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Annotated

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from vertune.core.errors import ConfigError
from vertune.store.key import checked_rate

Positive = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class Limits:
    """What one request, and one connection, may ask of the server."""

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
    """Seconds in which a request must have come in whole."""
    idle: Annotated[float, Field(gt=0)] = 30.0
    """Seconds that a connection may stay open without a request."""
    connections: Positive = 2048


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class Settings:
    """How a server runs."""

    host: str = "127.0.0.1"
    port: int = 8000
    open: bool = False
    """Whether everybody who reaches it may ask, without a key; on loopback only."""
    exact: bool = False
    """Whether all that share a backbone are answered in float32, whatever the gate said."""
    device: str | None = None
    """Where torch answers for those that share a backbone, such as cuda, in float32; None has ONNX Runtime answer, without torch."""
    threads: Positive | None = None
    """Threads of one batch; None takes what suits the processors and the workers."""
    workers: Positive | None = None
    """Batches that are computed at once; None takes one."""
    queued: Positive = 65_536
    """Tokens that may wait; up to twice as many while no customer has more than its share."""
    memory: Positive = 1 << 30
    """Bytes of graphs that can't share a backbone."""
    cache: Annotated[int, Field(ge=0)] = 10_000
    """Answers that are kept for when the same is asked again; 0 keeps none."""
    rate: str | None = None
    """How much one key may ask in how long where it has no rate of its own, such as 600/minute."""
    limits: Limits = Limits()

    def check(self) -> None:
        """ConfigError where these settings would leave a door open, or a rate is none."""
        if self.rate is not None:
            checked_rate(self.rate)
        if self.open and not loopback(self.host):
            raise ConfigError(
                f"--open answers everybody, and {self.host} can be reached from elsewhere. Leave --open out and make a key "
                "(vertune key create NAME), or listen on 127.0.0.1."
            )


def loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    name = host.lower().removesuffix(".")
    if name == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def changed(given: dict[str, object], settings: Sequence[str]) -> Settings:
    """Settings from those given and those written as KEY=VALUE, such as `workers=2` or `limits.items=64`; ConfigError for others."""
    nested: dict[str, object] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set takes KEY=VALUE; got '{setting}'.")
        inner = key.removeprefix("limits.")
        (nested if inner != key else given)[inner] = value
    try:
        limits = TypeAdapter(Limits).validate_python(nested)
        return TypeAdapter(Settings).validate_python({**given, "limits": limits})
    except ValidationError as error:
        first = error.errors()[0]
        names = ", ".join([*(f"limits.{name}" for name in Limits.__dataclass_fields__), *Settings.__dataclass_fields__])
        place = ".".join(map(str, first["loc"]))
        raise ConfigError(f"The setting '{place}' can't be {first['input']!r}: {first['msg']}. There are: {names}.") from error
