"""Follows the live aliases of a home: serves what they name, and has prepared what is not ready; knows nothing of HTTP."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock

from vertune.core.artifact import Artifact, Home
from vertune.core.errors import NotFound, VertuneError
from vertune.runtime.fleet import Fleet

_log = logging.getLogger("vertune")
INTERVAL = 1.0
"""Seconds between two checks of the aliases."""

Stamp = tuple[str, int, int]
"""A path, its inode, and when it was modified, in nanoseconds."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A live model that does not answer yet."""

    model: str
    """Its id; empty where the alias names a model that does not exist."""
    state: str
    """`preparing`, what it waits for, or why it can't be served."""


@dataclass(slots=True)
class AliasFollower:
    """Keeps a fleet equal to the live aliases of its home."""

    fleet: Fleet
    only: frozenset[str] = frozenset()
    """The verticals to serve; empty serves all that are live."""
    pending: dict[str, Pending] = field(default_factory=dict)
    """By the vertical's name."""
    _preparation: subprocess.Popen[bytes] | None = None
    _stamps: tuple[Stamp, ...] = ()
    _attempted: set[str] = field(default_factory=set)
    """Ids of the models whose preparation was started, so that what fails is not tried again and again."""
    _updating: Lock = field(default_factory=Lock)
    """Held during an update: an admin's change must not be undone by an update that began before it."""

    @property
    def home(self) -> Home:
        """The home whose aliases are followed."""
        return self.fleet.home

    def serves(self, name: str) -> bool:
        """Whether this server may answer for a vertical of this name."""
        return not self.only or name in self.only

    def live(self) -> dict[str, Artifact]:
        """The live model of each vertical that this server may answer for."""
        return {name: model for name, model in self.fleet.live().items() if self.serves(name)}

    def required(self) -> dict[str, Artifact]:
        """As `live`; NotFound if one of the verticals in `only` has no live model."""
        live = self.live()
        missing = sorted(self.only - set(live))
        if missing:
            raise NotFound(f"There is no live model of {', '.join(missing)}. Choose one: vertune alias {missing[0]}@live MODEL")
        return live

    def unprepared(self, live: Mapping[str, Artifact] | None = None) -> list[str]:
        """The verticals whose live models must be prepared before they can be served."""
        return [name for name, model in (self.live() if live is None else live).items() if not self.fleet.ready(model)]

    def load(self) -> dict[str, str]:
        """Serve what is live now and ready; returns the error of each vertical that can't be served."""
        return self._load(self.live())

    async def watch(self) -> None:
        """Update again and again, until the task is cancelled."""
        while True:
            await asyncio.sleep(INTERVAL)
            try:
                await asyncio.to_thread(self.update)
            except VertuneError as error:
                _log.warning("Changes of the live aliases could not be applied: %s Trying again in %g s.", error, INTERVAL)
            except Exception:
                _log.exception("Changes of the live aliases could not be applied. Trying again in %g s.", INTERVAL)

    def update(self) -> None:
        """Serve what became live since the last update, and start to prepare what is not ready."""
        with self._updating:
            stamps = self._read_stamps()
            if stamps == self._stamps and self._preparation is None:
                return
            if self._preparation is not None and self._preparation.poll() is not None:
                self._preparation = None  # before the fleet is loaded, so that what it made is seen
            live = self.live()
            for name, error in self._load(live).items():
                self.pending[name] = Pending(live[name].id if name in live else "", error)
            self._prepare(live)
            self._stamps = stamps  # last, so that an update that failed is repeated

    def stop(self) -> None:
        """End the preparation that was started, if it runs."""
        if self._preparation is not None and self._preparation.poll() is None:
            self._preparation.terminate()

    def _load(self, live: Mapping[str, Artifact]) -> dict[str, str]:
        ready = {name: model for name, model in live.items() if self.fleet.ready(model)}
        deployed = self.fleet.deployments
        previous = {name: deployed[name].model for name in set(live) - set(ready) if name in deployed}
        errors = self.fleet.follow({**ready, **previous})
        for name in [name for name in self.pending if name in ready or name not in live]:
            del self.pending[name]
        return {**errors, **{name: error for name, error in self.fleet.dangling().items() if self.serves(name)}}

    def _prepare(self, live: Mapping[str, Artifact]) -> None:
        """Start to prepare the models that are not ready, unless a preparation runs, and note the state of each."""
        unprepared = self.unprepared(live)
        new = [name for name in unprepared if live[name].id not in self._attempted]
        if self._preparation is not None:
            self.pending |= {name: Pending(live[name].id, "waits until others are prepared") for name in new}
        elif new:
            self._attempted |= {live[name].id for name in new}
            self.pending |= {name: Pending(live[name].id, "preparing") for name in new}
            self._preparation = prepare(self.home, sorted(live))
        else:
            for name in unprepared:
                self.pending[name] = Pending(live[name].id, f"it could not be prepared; run `vertune share {name}` to see why")

    def _read_stamps(self) -> tuple[Stamp, ...]:
        """When each alias, and what models are served from, changed last: reading them all each second would cost more than the rest."""
        folder = self.home.folder
        shelves = [folder / "models", folder / "backbones", *(folder / "backbones").glob("*/verticals/*")]  # verdicts are written there
        stamps = []
        for path in (*(folder / "aliases").glob("*@live"), *shelves):
            with suppress(FileNotFoundError):  # replaced at this moment, or not there yet
                status = path.stat()
                stamps.append((str(path), status.st_ino, status.st_mtime_ns))  # the inode too: a file's clock may stand still for 4 ms
        return tuple(sorted(stamps))


def prepare(home: Home, names: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start `vertune share` in a process of its own; it may need torch, which the server's process never loads."""
    command = [sys.executable, "-P", "-m", "vertune", "share", *names, "--home", str(home.folder)]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)  # noqa: S603 - our own command, no shell
