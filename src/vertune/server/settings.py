"""Settings of the server and limits of its requests, with their validation; independent of the code that applies them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from vertune.answering.service import AnswerOptions
from vertune.core.config import KeepText
from vertune.core.errors import ConfigError
from vertune.core.machine import loopback
from vertune.server.logs import LogFormat
from vertune.store.key import DEFAULT_CUSTOMER, Scope, checked_rate
from vertune.store.user import Role

Positive = Annotated[int, Field(ge=1)]


def json_or_dict(value: object) -> object:
    """Return what a text on the command line contains as JSON; other values unchanged."""
    return json.loads(value) if isinstance(value, str) else value


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
    """Maximum number of open connections; fewer if the process may not open as many files."""
    connections_per_address: Positive = 128
    """Maximum number of open connections of one client address over which no request with a valid API key has been received."""
    connections_per_key: Positive | None = None
    """Maximum number of open connections of one API key; None means half of `connections`."""


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class TLSFiles:
    """The files for encrypted connections, in PEM format; an empty name means none."""

    cert: str = ""
    """The certificate of the server, followed by those of the authorities between it and a root that clients know."""
    key: str = ""
    """The private key of the certificate, without a password."""
    client_ca: str = ""
    """The certificates of authorities; if it is set, clients must have a certificate that one of them has signed."""

    def __bool__(self) -> bool:
        """Return whether connections are to be encrypted."""
        return bool(self.cert or self.key or self.client_ca)


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class TrafficSettings:
    """What the server stores of requests, and for how long."""

    keep: bool = True
    """Whether requests and answers are stored, and usage is counted. Feedback can refer to stored answers alone."""
    keep_text: KeepText | None = None
    """How texts of all verticals are stored: no, masked or yes. None leaves it to each vertical: `serve.keep_text` in its config."""
    days: Annotated[float, Field(gt=0)] = 30.0
    """Number of days after which requests and answers are deleted."""
    megabytes: Annotated[float, Field(gt=0)] = 2000.0
    """Size of the database in megabytes from which the oldest requests and answers are deleted, but for those in half of it."""
    feedback: Annotated[float, Field(gt=0)] = 500.0
    """Maximum size of the feedback of one customer in megabytes; further feedback is refused, because stored feedback is never deleted."""


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class ChatSettings:
    """What the server allows in conversations with apps, and how long it keeps them."""

    file: Path | None = None
    """A YAML file with the actions that apps may call, and with adapters for other channels than web pages."""
    days: Annotated[float, Field(gt=0)] = 90.0
    """Number of days after which a conversation that has ended is deleted."""
    idle_hours: Annotated[float, Field(gt=0)] = 24.0
    """Number of hours after which a conversation in which nothing happens ends."""
    rate: str = "30/minute"
    """Maximum rate of messages of one conversation."""
    beginnings: str = "30/minute"
    """Maximum rate of new conversations from one address; a proxy before the server must limit it itself."""
    characters: Positive = 4000
    """Maximum length of a message."""
    turns: Positive = 2000
    """Maximum number of turns of a conversation."""
    early: Positive = 20
    """Maximum number of messages of a conversation that wait for an earlier one."""


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class JobSettings:
    """What the server does of the jobs of its customers, and on how much of the machine."""

    cores: Annotated[int, Field(ge=0)] = 0
    """Number of processors for jobs; 0 takes no jobs and no uploaded datasets."""
    at_once: Positive = 1
    """Number of jobs that run at the same time; they divide the processors."""
    per_customer: Positive = 100
    """Maximum number of jobs of one customer that are queued or running."""
    hours: Annotated[float, Field(gt=0)] = 24.0
    """Maximum duration of one job in hours; one that takes longer has failed."""
    upload: Positive = 100 << 20
    """Maximum size of an uploaded dataset in bytes."""
    uploads: Positive = 1000
    """Maximum number of uploaded datasets of one customer."""
    sources: Path | None = None
    """A YAML file that maps names to data sources, which jobs may read by these names."""


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class SessionSettings:
    """How people sign in, and for how long."""

    idle_hours: Annotated[float, Field(gt=0)] = 8.0
    """Number of hours after which a browser that was not used is signed out."""
    days: Annotated[float, Field(gt=0)] = 7.0
    """Number of days after which every browser is signed out."""
    password_kibibytes: Annotated[int, Field(ge=8, le=4 << 20)] = 64 << 10
    """Memory in KiB that verifying a password takes on purpose (Argon2id), so that stolen hashes are of little use."""
    password_rounds: Annotated[int, Field(ge=1, le=100)] = 3
    """How often this memory is written for one password."""


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class OpenIDSettings:
    """The provider of OpenID Connect by which people sign in."""

    issuer: str = ""
    """The address of the provider, such as https://login.example.com/realms/bank; empty: people do not sign in by a provider."""
    client_id: str = ""
    """The name under which the provider knows this server."""
    client_secret_env: str = "VERTUNE_OPENID_SECRET"  # noqa: S105 - the name of a variable
    """The environment variable with the secret that the provider gave to this server; a public client leaves it unset."""
    url: str = ""
    """The address of this server as browsers have it, such as https://labels.example.com."""
    scope: str = "openid profile email"
    """What is asked of the provider."""
    hosts: str = ""
    """Further hosts on which the provider offers tokens and keys, separated by spaces; the host of the issuer is always allowed."""
    name: str = "preferred_username"
    """The claim with the name of a user."""
    role: str = "groups"
    """The claim with one value or several by which a user gets a role."""
    roles: Annotated[dict[str, Role], BeforeValidator(json_or_dict)] = Field(default_factory=dict)
    """The role for each value of this claim, as JSON such as {"label-team": "annotator"}; the highest one counts."""
    default_role: Role | None = None
    """The role of users without such a value; None refuses them."""
    customer: str = ""
    """The claim with a value by which a user gets a customer; empty: all users belong to `default_customer`."""
    customers: Annotated[dict[str, str], BeforeValidator(json_or_dict)] = Field(default_factory=dict)
    """The customer for each value of this claim, as JSON; users with another value are refused."""
    default_customer: str = DEFAULT_CUSTOMER
    """The customer of users if `customer` names no claim."""

    def check(self) -> None:
        """Raise ConfigError if something that signing in needs is missing, or would be sent without encryption."""
        if not self.issuer:
            return
        for name in ("client_id", "url"):
            if not getattr(self, name):
                raise ConfigError(f"The setting openid.{name} is empty; expected a value, because openid.issuer is set. Set both.")
        for name in ("issuer", "url"):
            address = urlsplit(getattr(self, name))
            if address.scheme != "https" and not (address.scheme == "http" and loopback(address.hostname or "")):
                raise ConfigError(
                    f"The setting openid.{name} is '{getattr(self, name)}'; expected an address that begins with https://. Use one."
                )
        if not self.roles and self.default_role is None:
            raise ConfigError(
                "The settings openid.roles and openid.default_role are empty, so no user could sign in; expected one of them. "
                "Set for example --set openid.default_role=annotator"
            )
        if self.customer and not self.customers:
            raise ConfigError(
                f"The setting openid.customer names the claim '{self.customer}', but openid.customers is empty; expected a customer for "
                "each of its values. Set both."
            )


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class Settings:
    """All settings of a server."""

    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8000
    """Port to listen on; 0 lets the system choose one."""
    open: bool = False
    """Whether to accept requests without an API key; allowed on a loopback address only."""
    log: LogFormat = "text"
    """How the log is written: as text, with warnings and errors alone, or as JSON, with one line for each request too."""
    traces: str = ""
    """The URL of a collector to which calls are sent as traces by OTLP over HTTP, such as http://localhost:4318/v1/traces; empty: none."""
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
    plans: Path | None = None
    """The file with the plans of customers: monthly quotas, rates and prices; None sets no quotas."""
    console: bool = True
    """Whether the web console is served, at the address /."""
    embed_in: tuple[Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9.-]+(:\d{1,5})?$")], ...] = ()
    """The origins of web pages, such as https://www.example.com, that may contain the form of a model, which is at /try/NAME."""
    behind_proxy: bool = False
    """Whether a reverse proxy receives all requests first, ends TLS, and limits the connections of each address itself."""
    tls: TLSFiles = TLSFiles()
    """The files for encrypted connections."""
    preparation: Annotated[float, Field(gt=0)] = 900.0
    """Maximum seconds to prepare one model for serving; a process that takes longer is killed, and the preparation is repeated later."""
    limits: RequestLimits = RequestLimits()
    """Limits of requests and connections."""
    traffic: TrafficSettings = TrafficSettings()
    """What is stored of requests, and for how long."""
    watch: Path | None = None
    """The file with what is monitored, when people are told and on which channels, and when models are trained again; None watches
    nothing. It may be empty: then the configs of the models decide."""
    jobs: JobSettings = JobSettings()
    """The jobs of customers."""
    chat: ChatSettings = ChatSettings()
    """Conversations with apps."""
    sessions: SessionSettings = SessionSettings()
    """How people sign in, and for how long."""
    openid: OpenIDSettings = OpenIDSettings()
    """The provider of OpenID Connect by which people sign in."""

    @property
    def secure(self) -> bool:
        """Whether browsers reach the server through encrypted connections alone."""
        return bool(self.tls) or self.behind_proxy

    @property
    def answers(self) -> AnswerOptions:
        """The settings that control how predictions are computed."""
        return AnswerOptions(
            self.threads, self.workers or 1, self.queued, self.memory, self.cache,
            exact=self.exact, device=self.device, require_signed=self.require_signed,
        )  # fmt: skip

    def check(self) -> None:
        """Raise ConfigError for settings that are not valid or not safe.

        Other machines may reach the server only if it requires API keys, and only through encrypted connections or a proxy.
        """
        for rate in (self.rate, self.chat.rate, self.chat.beginnings):
            if rate is not None:
                checked_rate(rate)
        self.openid.check()
        if self.tls and not (self.tls.cert and self.tls.key):
            missing = "--tls-key" if self.tls.cert else "--tls-cert"
            raise ConfigError(f"Only some of the files for TLS are set; expected a certificate and its key. Pass {missing} FILE too.")
        if loopback(self.host):
            return
        if self.open:
            raise ConfigError(
                f"--open answers requests without a key, but other machines can reach the address {self.host}. Leave --open out and create "
                "a key (vertune key create NAME --scope predict), or listen on 127.0.0.1."
            )
        if not self.tls and not self.behind_proxy:
            raise ConfigError(
                f"Other machines can reach the address {self.host}, but keys and texts would be sent there without encryption. Pass "
                "--tls-cert FILE --tls-key FILE, or --behind-proxy if a proxy before the server ends TLS, or listen on 127.0.0.1."
            )


_GROUPS: dict[str, Any] = {
    "limits": RequestLimits, "tls": TLSFiles, "traffic": TrafficSettings, "jobs": JobSettings, "sessions": SessionSettings,
    "openid": OpenIDSettings, "chat": ChatSettings,
}  # fmt: skip
"""The settings that consist of settings themselves."""


def changed(values: dict[str, object], settings: Sequence[str]) -> Settings:
    """Return server settings made from `values` (settings by name), changed by `settings`.

    `settings` are KEY=VALUE strings such as `workers=2` or `limits.items=64`. Raises ConfigError for an unknown or invalid setting.
    """
    groups: dict[str, dict[str, object]] = {name: {} for name in _GROUPS}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError(f"--set got '{setting}'; expected KEY=VALUE. Write for example: --set workers=2")
        group, dot, name = key.partition(".")
        (groups[group] if dot and group in groups else values)[name if dot and group in groups else key] = value
    try:
        checked = {name: TypeAdapter(kind).validate_python(groups[name]) for name, kind in _GROUPS.items()}
        return TypeAdapter(Settings).validate_python({**values, **checked})
    except ValidationError as error:
        first = error.errors()[0]
        grouped = [f"{group}.{name}" for group, kind in _GROUPS.items() for name in kind.__dataclass_fields__]
        names = ", ".join([*grouped, *(name for name in Settings.__dataclass_fields__ if name not in _GROUPS)])
        setting = ".".join(map(str, first["loc"]))
        raise ConfigError(
            f"The setting '{setting}' can't be {first['input']!r}: {first['msg']}. Correct it, or choose another setting: {names}."
        ) from error
