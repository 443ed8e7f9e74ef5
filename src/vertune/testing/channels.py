"""Checks that a channel, on which people are told of alerts, obeys its contract; independent of how it sends.

Authors of a channel run the checks on its class:

    for check in CHECKS:
        check(MyChannel)
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from vertune.core.channel import Channel, Message
from vertune.core.errors import VertuneError
from vertune.core.parse import build

MESSAGE = Message(
    id="019500000000700080000000000000aa", event="opened", alert="019500000000700080000000000000bb", vertical="support-intent",
    rule="drift", monitor="text_drift", severity="warning", began="2030-01-31T11:00:00.000000+00:00",
    at="2030-01-31T12:00:00.000000+00:00", value=0.81, subject="support-intent: texts differ from those of the reference",
    text="The texts differ.\nEvidence: «refund» 退款 — 3 of 10.", evidence=[{"word": "refund"}],
)  # fmt: skip
"""A message, with characters outside ASCII and line breaks."""
_SECRET = re.compile(r"secret|password|token|key|credential", re.IGNORECASE)
_PATIENCE = 10.0
"""Seconds within which a channel notices that its receiver can't be reached."""


def check_is_rebuilt(kind: type[Channel]) -> None:
    """Check that a channel can be built again from what it dumps, as a config is read."""
    one = kind.example()
    assert build(Channel, one.model_dump(mode="json")) == one, f"{one.name}: another channel is built from its options"
    assert one.called == one.name, f"{one.name}: without an id, a channel is called as its kind"
    assert build(Channel, {**one.model_dump(mode="json"), "id": "night"}).called == "night"


def check_holds_no_secret(kind: type[Channel]) -> None:
    """Check that options hold no secrets, but name environment variables with them, and refuse what is no name of one."""
    example = kind.example()
    for name in kind.model_fields:
        if not _SECRET.search(name):
            continue
        assert name.endswith("_env"), f"{example.name}: the option {name} would hold a secret; let {name}_env name a variable"
        why = _error(partial(build, Channel, {**example.model_dump(mode="json"), name: "hunter2!"}))
        assert why, f"{example.name}: {name} takes what is no name of a variable"
        assert "hunter2" not in why, f"{example.name}: the message shows what may be a secret"


def check_failure_is_noticed(kind: type[Channel]) -> None:
    """Check that a receiver that can't be reached is an error of ours, soon, whose message quotes no text of the alert."""
    started, example = time.monotonic(), kind.example()
    why = _error(lambda: example.send(MESSAGE))
    assert why, f"{example.name}: the message went nowhere, and nothing was raised"
    assert "refund" not in why, f"{example.name}: the error quotes the message"
    assert time.monotonic() - started < _PATIENCE, f"{example.name}: the failure was noticed too late"


def check_takes_any_message(kind: type[Channel]) -> None:
    """Check that no message is an error of the channel: names of verticals and texts may contain anything."""
    for subject in ("", "a\r\nBcc: everybody@example.com", "\N{FIRE}" * 500, "\x00\ud800"):
        _error(partial(kind.example().send, replace(MESSAGE, subject=subject, text=subject)))


def _error(act: Callable[[], object]) -> str:
    """Return the message of the VertuneError that a call raises; empty if it raises none."""
    try:
        act()
    except VertuneError as error:
        return str(error) or type(error).__name__
    return ""


CHECKS: tuple[Callable[[type[Channel]], None], ...] = (
    check_is_rebuilt,
    check_holds_no_secret,
    check_failure_is_noticed,
    check_takes_any_message,
)
