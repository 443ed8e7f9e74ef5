"""Prepares models for serving in child processes, with a time limit and repeated attempts; independent of aliases and HTTP."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Literal

from vertune.core.artifact import Artifact, Home
from vertune.core.documents import lines
from vertune.core.sentence import said
from vertune.runtime.live import shorten

_FIRST_WAIT, _LONGEST_WAIT = 30.0, 3600.0
"""Seconds between the first failed attempt to prepare a model and the second one, and the maximum to which this time is doubled."""
_TAIL_BYTES = 8192
"""How much of the end of a child's output is read to find its error message."""
_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")

State = Literal["loading", "preparing", "waiting", "failed", "damaged"]
"""Why a model is not served yet: it is being loaded or prepared, it waits until others are prepared, its preparation failed and will be
repeated, or its files can't be used."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A model that is not served yet, although an alias NAME@live points to it."""

    model: str
    """The id of the model; empty if it is unknown, because the alias can't be read or points to a model that does not exist."""
    state: State
    why: str = ""
    """The error that prevents serving; empty if there is none."""
    attempts: int = 0
    """How often the model was tried to be prepared or loaded without success."""
    retry_at: float | None = None
    """The monotonic time of the next attempt; None if none is planned."""


def waiting_time(attempts: int, first: float, longest: float) -> float:
    """Return the seconds until the next attempt after so many failed ones: `first` after one, doubled each time, at most `longest`."""
    return min(longest, first * 2.0 ** min(max(0, attempts - 1), 32))


@dataclass(slots=True)
class _Child:
    """A running process that prepares models."""

    process: subprocess.Popen[bytes]
    output: IO[bytes]
    models: set[str]
    """The ids of the models that it has not prepared yet."""
    progress: float
    """The monotonic time at which it started or at which another of its models was prepared."""
    repeated: bool
    """Whether it repeats the preparation of a model for which this failed before."""


@dataclass(slots=True)
class _Failure:
    attempts: int
    retry_at: float
    why: str


@dataclass(slots=True)
class Preparations:
    """Prepares models by the command `vertune share`, in one child process at a time.

    Models that are new are prepared together, so that they share a backbone. If this fails for some of them, each of these is then
    prepared in a process of its own, so that no model prevents the preparation of another one. A process that has prepared no model for
    `limit` seconds is killed. A model whose preparation failed is tried again after 30 s, and after twice the time at each further failure;
    a new model does not wait for such a repeated attempt, which is stopped and repeated later.
    """

    home: Home
    limit: float
    """Maximum seconds that the preparation of one model may take."""
    _child: _Child | None = None
    _failures: dict[str, _Failure] = field(default_factory=dict)
    """The failed preparations, by the id of the model."""

    def due(self, now: float) -> bool:
        """Return whether `update` has something to do: a process ended or exceeded its time, or it is time for another attempt."""
        child = self._child
        if child is not None:
            return child.process.poll() is not None or now - child.progress > self.limit
        return any(failure.retry_at <= now for failure in self._failures.values())

    def ended(self) -> bool:
        """Return whether a process ended; call this before you check which models are prepared, and then `update`."""
        return self._child is not None and self._child.process.poll() is not None

    def update(self, unprepared: Mapping[str, Artifact], ended: bool, now: float) -> dict[str, Pending]:
        """Start, end and repeat preparations; return the state of each model in `unprepared`, by the name under which it is to be served.

        `ended` is the result of the method `ended`, called before it was checked which models are unprepared.
        """
        models = {model.id for model in unprepared.values()}
        self._failures = {id: failure for id, failure in self._failures.items() if id in models}
        self._follow_child(models, ended, now)
        new = sorted(models - set(self._failures) - (self._child.models if self._child else set()))
        if new and self._child is not None and self._child.repeated:
            self._stop_child()
        if self._child is None:
            self._start(new, now)
        return {name: self._state(model.id, now) for name, model in unprepared.items()}

    def retry(self, model: str) -> None:
        """Forget that the preparation of a model failed, so that the next call of `update` tries again."""
        if self._child is None or model not in self._child.models:
            self._failures.pop(model, None)

    def stop(self) -> None:
        """Kill the process that prepares models, if one is running."""
        self._stop_child()

    def _follow_child(self, unprepared: set[str], ended: bool, now: float) -> None:
        """Note which models of the process are prepared now, and remove the process if it ended or exceeded its time."""
        child = self._child
        if child is None:
            return
        remaining = child.models & unprepared
        if len(remaining) < len(child.models):
            child.models, child.progress = remaining, now
        overdue = now - child.progress > self.limit
        if not ended and not overdue and remaining:
            return
        slow = said("unserved.slow", limit=f"{self.limit:g}")
        why = said("unserved.unprepared", error=_error_message(child.output)) if ended else slow
        self._stop_child()
        for model in remaining:
            self._fail(model, why, alone=len(remaining) == 1, now=now)

    def _fail(self, model: str, why: str, alone: bool, now: float) -> None:
        """Store that a model is still not prepared; if it was prepared together with others, the next attempt is made at once."""
        earlier = self._failures.get(model)
        attempts = (earlier.attempts if earlier else 0) + 1
        wait = waiting_time(attempts, _FIRST_WAIT, _LONGEST_WAIT) if alone else 0.0
        self._failures[model] = _Failure(attempts, now + wait, why)

    def _start(self, new: Sequence[str], now: float) -> None:
        """Start a process for all new models or, if there are none, for the one model for which the next attempt is due first."""
        due = sorted((failure.retry_at, id) for id, failure in self._failures.items() if failure.retry_at <= now)
        models = list(new) or [id for _, id in due[:1]]
        if not models:
            return
        try:
            self._child = start(self.home, models, now, repeated=not new)
        except OSError as error:
            for model in models:
                self._fail(model, said("unserved.unstarted", error=shorten(str(error))), alone=True, now=now)

    def _stop_child(self) -> None:
        if self._child is not None:
            kill(self._child.process)
            self._child.output.close()
            self._child = None

    def _state(self, model: str, now: float) -> Pending:
        failure = self._failures.get(model, _Failure(0, math.inf, ""))
        if self._child is not None and model in self._child.models:
            return Pending(model, "preparing", failure.why, failure.attempts)
        if math.isinf(failure.retry_at):
            return Pending(model, "waiting")
        return Pending(model, "failed", failure.why, failure.attempts, failure.retry_at)


def start(home: Home, models: Sequence[str], now: float, repeated: bool = False) -> _Child:
    """Start a process that runs `vertune share` for the models with these ids, and return it.

    The preparation may need torch, so it does not run in the process of the server. The process gets a process group of its own, so that
    it can be killed together with the processes that it starts.
    """
    output = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the process has ended
    try:
        process = subprocess.Popen(  # noqa: S603 - our own command, no shell
            command(home, models), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=output, start_new_session=True
        )
    except BaseException:
        output.close()
        raise
    return _Child(process, output, set(models), now, repeated)


def command(home: Home, models: Sequence[str]) -> list[str]:
    """Return the command line that prepares the models with these ids."""
    return [sys.executable, "-P", "-m", "vertune", "share", *models, "--home", str(home.folder)]


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and those that it started, and wait until it has ended; do nothing if it has ended already."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()  # on Windows, which has no process groups of this kind
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)


def _error_message(output: IO[bytes]) -> str:
    """Return the last error message in the output of `vertune share`, or the end of the output if it contains none."""
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - _TAIL_BYTES))
    text = _ESCAPES.sub("", output.read().decode(errors="replace"))
    _, found, message = text.rpartition("Error: ")
    printed = lines((message if found else text).strip())
    return shorten(" ".join(printed[:5]) if found else " ".join(printed[-3:])) or said("unserved.silent")
