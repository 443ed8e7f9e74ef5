"""Serves the models named by the aliases NAME@live of a home folder, and updates them when an alias changes; independent of HTTP."""

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
"""Seconds between two checks for changed aliases."""

Stamp = tuple[str, int, int]
"""A path, its inode, and its modification time in nanoseconds; it differs if the file or folder has changed."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A model that an alias NAME@live points to, but that is not served yet."""

    model: str
    """The id of the model; empty if the alias points to a model that does not exist."""
    state: str
    """The state that users see: `preparing`, the reason for waiting, or the error that prevents serving."""


@dataclass(slots=True)
class AliasFollower:
    """Loads and unloads the served models so that they match the aliases NAME@live, each of which points to the model to serve as NAME."""

    fleet: Fleet
    only: frozenset[str] = frozenset()
    """The names of the verticals (fine-tuned models) to serve; empty serves every vertical with a live model."""
    pending: dict[str, Pending] = field(default_factory=dict)
    """The models that are not served yet, by the name of their vertical."""
    _preparation: subprocess.Popen[bytes] | None = None
    _stamps: tuple[Stamp, ...] = ()
    _attempted: set[str] = field(default_factory=set)
    """The ids of the models whose preparation was started, so that a model that fails is not prepared again and again."""
    _updating: Lock = field(default_factory=Lock)
    """Locked during an update, so that an update that began earlier can't undo a change that an administrator makes over HTTP."""

    @property
    def home(self) -> Home:
        """The home folder whose aliases are followed."""
        return self.fleet.home

    def serves(self, name: str) -> bool:
        """Return whether this server is configured to serve a vertical of this name."""
        return not self.only or name in self.only

    def live(self) -> dict[str, Artifact]:
        """Return the live model of each vertical that this server is configured to serve, by name."""
        return {name: model for name, model in self.fleet.live().items() if self.serves(name)}

    def required(self) -> dict[str, Artifact]:
        """Return the same models as `live`, but raise NotFound if a vertical in `only` has no live model."""
        live = self.live()
        missing = sorted(self.only - set(live))
        if missing:
            raise NotFound(f"There is no live model of {', '.join(missing)}. Make a model live: vertune alias {missing[0]}@live MODEL")
        return live

    def unprepared(self, live: Mapping[str, Artifact] | None = None) -> list[str]:
        """Return the names of the verticals whose live models `vertune share` must prepare before they can be served."""
        return [name for name, model in (self.live() if live is None else live).items() if not self.fleet.ready(model)]

    def load(self) -> dict[str, str]:
        """Load the live models that need no preparation; return the error of each vertical that can't be served, by name."""
        return self._load(self.live())

    async def watch(self) -> None:
        """Call `update` every `INTERVAL` seconds until the task is cancelled; errors are logged."""
        while True:
            await asyncio.sleep(INTERVAL)
            try:
                await asyncio.to_thread(self.update)
            except VertuneError as error:
                _log.warning("The models that live aliases now point to could not be loaded: %s Trying again in %g s.", error, INTERVAL)
            except Exception:
                _log.exception("The models that live aliases now point to could not be loaded. Trying again in %g s.", INTERVAL)

    def update(self) -> None:
        """Load the models that became live since the last update; start a process that prepares those that can't be loaded yet."""
        with self._updating:
            stamps = self._read_stamps()
            if stamps == self._stamps and self._preparation is None:
                return
            if self._preparation is not None and self._preparation.poll() is not None:
                self._preparation = None  # before `_load`, which then finds the models that it prepared
            live = self.live()
            for name, error in self._load(live).items():
                self.pending[name] = Pending(live[name].id if name in live else "", error)
            self._prepare(live)
            self._stamps = stamps  # last, so that a failed update is repeated

    def stop(self) -> None:
        """Terminate the process that prepares models, if one runs."""
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
        """Start a process that prepares the live models that can't be loaded yet, unless one runs; record their states in `pending`."""
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
        """Return the stamps (inode and modification time) of all live aliases and of the folders of models and pretrained models.

        Equal stamps mean that nothing changed; to read the files themselves every second would cost more than the rest of an update.
        """
        folder = self.home.folder
        # the gate writes its results to the folders `verticals/*`
        shelves = [folder / "models", folder / "backbones", *(folder / "backbones").glob("*/verticals/*")]
        stamps = []
        for path in (*(folder / "aliases").glob("*@live"), *shelves):
            with suppress(FileNotFoundError):  # being replaced at this moment, or not created yet
                status = path.stat()
                # the inode too, because modification times may have a resolution of 4 ms
                stamps.append((str(path), status.st_ino, status.st_mtime_ns))
        return tuple(sorted(stamps))


def prepare(home: Home, names: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start `vertune share`, which prepares the models of these verticals, in a separate process, because preparing may need torch."""
    command = [sys.executable, "-P", "-m", "vertune", "share", *names, "--home", str(home.folder)]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)  # noqa: S603 - our own command, no shell
