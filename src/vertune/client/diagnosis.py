"""Says what is wrong with a running server, from what it answers; independent of how the findings are shown."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from vertune.client.client import Client
from vertune.core.errors import ConfigError, VertuneError

Level = Literal["good", "warning", "bad"]
_SKEW = 60.0
"""Difference between the clocks in seconds above which times of keys and quotas are wrong."""
_QUEUED = 32_768
"""Tokens in the queue above which requests will soon be refused: half of what it holds unless that is changed."""
_SLOW = 2.0
"""Seconds for a request without work above which the server, or the way to it, is overloaded."""
_LOW_DISK = 2 << 30
"""Free bytes below which the disk will soon be full."""
_REFUSED = 0.01
"""Share of refused or failed requests above which something is wrong."""
_CERTIFICATES = "With TLS, --ca FILE names the authority that signed the server's certificate, and --cert FILE yours, if it requires one."
_SAMPLE = re.compile(r"^(\w+)(?:\{([^}]*)\})? (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, and how it is."""

    level: Level
    what: str
    found: str
    advice: str = ""
    """What to do; empty if nothing is to be done."""


def diagnose(client: Client, version: str) -> Iterator[Finding]:
    """Yield what is found about a server, one finding for each thing that was looked at; the last ones need an API key.

    `version` is that of vertune on this machine.
    """
    started = time.monotonic()
    try:
        status, headers, ready = client.look("/health/ready")
    except VertuneError as error:
        message, _, advice = str(error).partition(". ")
        if isinstance(error, ConfigError):  # its advice is for programs
            advice = "Check the URL."
        if client.url.startswith("https"):
            advice = f"{advice} {_CERTIFICATES}"
        yield Finding("bad", "connection", f"{message}.", advice)
        return
    if not isinstance(ready, dict) or "ready" not in ready:
        yield Finding("bad", "connection", f"{client.url} answered with status {status}, but is no vertune server.", "Check the URL.")
        return
    yield from _connection(client, headers, time.monotonic() - started)
    yield from _version(client, version)
    yield from _readiness(ready)
    yield from _verticals(client)
    yield from _metrics(client)


def _connection(client: Client, headers: dict[str, str], seconds: float) -> Iterator[Finding]:
    told = f"{client.url} answers in {1000 * seconds:.0f} ms"
    if seconds > _SLOW:
        yield Finding("warning", "connection", f"{told}.", "Look at the load of the machine and at what is between it and this one.")
    else:
        yield Finding("good", "connection", f"{told}.")
    try:
        skew = parsedate_to_datetime(headers.get("date", "")).timestamp() - time.time()
    except ValueError:  # no date, or what a proxy made of it
        return
    if abs(skew) > _SKEW:
        advice = "Set the clocks by NTP: lifetimes of keys and months of quotas depend on them."
        yield Finding("warning", "clock", f"The clock of the server differs by {skew:+.0f} s from that of this machine.", advice)
    else:
        yield Finding("good", "clock", "The clocks agree.")


def _version(client: Client, own: str) -> Iterator[Finding]:
    """Compare the version of the server with that of this program, which then may know what the server does not."""
    _, _, document = client.look("/openapi.json")
    info = document.get("info") if isinstance(document, dict) else None
    version = info.get("version") if isinstance(info, dict) else None
    if version is None:
        return
    if version != own:
        told = f"The server has vertune {version}, and this machine {own}."
        yield Finding("warning", "version", told, "Use the same version on both: what one knows, the other may refuse.")
    else:
        yield Finding("good", "version", f"Both have vertune {version}.")


def _readiness(ready: dict[str, Any]) -> Iterator[Finding]:
    if ready["ready"]:
        yield Finding("good", "readiness", f"{ready['serving']} verticals are served.")
    else:
        workers_dead = "worker thread" in str(ready["why"])
        advice = "Restart the server, and read the end of its log." if workers_dead else "Read the log of the server."
        yield Finding("bad", "readiness", f"It can't answer: {ready['why']}.", advice)
    named: tuple[tuple[str, Level, str], ...] = (
        ("unhealthy", "bad", "Verticals that compute something else than when they were made"),
        ("pending", "warning", "Verticals whose live model is not served"),
    )
    for what, level, told in named:
        if count := ready.get(what):
            yield Finding(level, what, f"{told}: {count}.", "GET /v1/verticals with an admin key names them and the reason.")
    if ready.get("storage"):
        yield Finding("bad", "storage", f"{str(ready['storage']).capitalize()}.", "Free the disk, or start the database; nothing is lost.")
    else:
        yield Finding("good", "storage", "Keys, requests and feedback can be stored.")


def _verticals(client: Client) -> Iterator[Finding]:
    status, _, listed = client.look("/v1/verticals")
    if status in (401, 403):
        detail = listed.get("detail", "") if isinstance(listed, dict) else ""
        if client.has_key:
            advice = "Set VERTUNE_KEY to a valid key that may predict: nothing else could be looked at."
            yield Finding("bad", "API key", f"The key was refused: {detail}", advice)
        else:
            advice = "Set VERTUNE_KEY to a key that may predict, for more checks."
            yield Finding("warning", "API key", "The server requires a key, and none is set.", advice)
        return
    if status != 200:
        yield Finding("bad", "verticals", f"The list of verticals was refused with status {status}.", "Read the log of the server.")
        return
    faults = 0
    for vertical in listed["verticals"]:
        coming = vertical.get("coming") or {}
        if vertical.get("fault"):
            faults += 1
            yield Finding("bad", vertical["name"], str(vertical["fault"]), f"Roll back: vertune rollback {vertical['name']}")
        if coming.get("state") in ("failed", "damaged"):
            faults += 1
            why = coming.get("why") or "a key with the permission 'admin' sees why"
            again = f"Let it be made again: vertune share {coming['model']}"
            advice = again if coming["state"] == "failed" else "Restore the files of the model."
            yield Finding("bad", vertical["name"], f"Its model {coming['model']} is {coming['state']}: {why}.", advice)
        elif coming:
            faults += 1
            yield Finding("warning", vertical["name"], f"Its model {coming['model']} is not served yet: {coming['state']}.", "Wait.")
    if not listed["verticals"]:
        advice = "Make a model live, or use a key that is not restricted to others: vertune list models"
        yield Finding("warning", "verticals", "None is served that this key may see.", advice)
    elif not faults:
        yield Finding("good", "verticals", f"All {len(listed['verticals'])} compute what they must.")


def _metrics(client: Client) -> Iterator[Finding]:
    status, _, page = client.look("/metrics")
    if status != 200 or not isinstance(page, str):
        detail = page.get("detail", "") if isinstance(page, dict) else ""
        advice = "Use a key of the operator, for the queue, the disk and failed requests."
        yield Finding("warning", "metrics", f"They were refused with status {status}. {detail}".rstrip(), advice)
        return
    read = _Samples([(name, labels, float(value)) for name, labels, value in _SAMPLE.findall(page)])
    queued = read.total("vertune_queued_tokens")
    if queued > _QUEUED:
        yield Finding("warning", "queue", f"{queued:,.0f} tokens wait.", "Add processors or servers, or slow clients down.")
    asked = read.total("vertune_requests_total")
    failed = read.total("vertune_requests_total", lambda labels: 'status="5' in labels)
    if asked and failed > _REFUSED * asked:
        yield Finding("bad", "requests", f"{failed:,.0f} of {asked:,.0f} requests failed.", "Read the log of the server.")
    elif asked:
        yield Finding("good", "requests", f"{asked:,.0f} were answered, {failed:,.0f} failed.")
    free = read.total("vertune_disk_free_bytes")
    if 0 < free < _LOW_DISK:
        advice = "Free the disk of the server before it is full: vertune clean --unused, or a smaller --set traffic.megabytes"
        yield Finding("warning", "disk", f"{free / 1e6:,.0f} MB are free on the disk of the home folder.", advice)
    elif free:
        yield Finding("good", "disk", f"{free / 1e9:,.0f} GB are free on the disk of the home folder.")
    unstored = read.total("vertune_unstored_requests")
    if unstored:
        yield Finding("warning", "storage", f"{unstored:,.0f} answered requests were counted, but not stored.", "Make the database faster.")


@dataclass(frozen=True, slots=True)
class _Samples:
    """The samples of a page of metrics: name, labels and value of each."""

    samples: list[tuple[str, str, float]]

    def total(self, name: str, chosen: Callable[[str], bool] = lambda labels: True) -> float:
        """Return the sum of the samples with this name and with labels that are chosen."""
        return sum(value for found, labels, value in self.samples if found == name and chosen(labels) and math.isfinite(value))
