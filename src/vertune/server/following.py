"""Loads the models to which the aliases NAME@live of a home folder point, and others when an alias changes; independent of HTTP."""

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
    """A model that is not served yet, although an alias NAME@live points to it."""

    model: str
    """The id of the model; empty if the alias points to a model that does not exist."""
    state: str
    """The state that users see: `preparing`, the reason for waiting, or the error that prevents serving."""


@dataclass(slots=True)
class AliasFollower:
    """Loads and unloads models when aliases change. An alias NAME@live points to the model that is served under the name NAME."""

    fleet: Fleet
    only: frozenset[str] = frozenset()
    """The names under which models are served; empty serves all models to which an alias NAME@live points."""
    pending: dict[str, Pending] = field(default_factory=dict)
    """The models that are not served yet, by the name under which they will be served."""
    _preparation: subprocess.Popen[bytes] | None = None
    _stamps: tuple[Stamp, ...] = ()
    _attempted: set[str] = field(default_factory=set)
    """The ids of the models whose preparation was started, so that a model that fails is not prepared again and again."""
    _updating: Lock = field(default_factory=Lock)
    """Locked during an update, so that an update that began earlier can't undo a change that an administrator makes over HTTP."""

    @property
    def home(self) -> Home:
        """The home folder (.vertune), which contains the aliases and models."""
        return self.fleet.home

    def serves(self, name: str) -> bool:
        """Return whether this server is configured to serve a model under this name."""
        return not self.only or name in self.only

    def live(self) -> dict[str, Artifact]:
        """Return, by NAME, the model to which each alias NAME@live points; skip names that this server is not configured to serve."""
        return {name: model for name, model in self.fleet.live().items() if self.serves(name)}

    def required(self) -> dict[str, Artifact]:
        """Return the same models as `live`; raise NotFound if a name in `only` has no such model."""
        live = self.live()
        missing = sorted(self.only - set(live))
        if missing:
            raise NotFound(
                f"There is no live model of {', '.join(missing)}; expected an alias NAME@live that points to one. "
                f"Create it: vertune alias {missing[0]}@live MODEL"
            )
        return live

    def unprepared(self, live: Mapping[str, Artifact] | None = None) -> list[str]:
        """Return the names whose models can't be served until the command `vertune share` has prepared them.

        `live` contains the models by name; if it is None, those returned by the method `live` are used.
        """
        return [name for name, model in (self.live() if live is None else live).items() if not self.fleet.ready(model)]

    def load(self) -> dict[str, str]:
        """Load the models to which aliases NAME@live point and which need no preparation.

        Returns error messages by NAME, for models that can't be loaded or do not exist.
        """
        return self._load(self.live())

    async def watch(self) -> None:
        """Call `update` every `INTERVAL` seconds until the task is cancelled; errors are logged."""
        while True:
            await asyncio.sleep(INTERVAL)
            try:
                await asyncio.to_thread(self.update)
            except VertuneError as error:
                _log.warning(
                    "Models to which aliases NAME@live point could not be loaded: %s The next attempt is in %g s.", error, INTERVAL
                )
            except Exception:
                _log.exception("Models to which aliases NAME@live point could not be loaded. The next attempt is in %g s.", INTERVAL)

    def update(self) -> None:
        """Load the models to which an alias NAME@live was moved since the last update, and unload those to which none points now.

        For models that must be prepared before they can be loaded, a process is started that runs `vertune share`.
        """
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
        """Start a process that prepares the models that can't be loaded yet, unless such a process is running already.

        `live` contains all models that should be served, by name. The states of those that can't be loaded yet are stored in
        `pending`. A model whose preparation was started before does not cause a new start.
        """
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
        """Return path, inode and modification time of each alias NAME@live and of the folders of models and pretrained models.

        If two results are equal, no alias or model has changed between them. Reading the files themselves every second would take
        longer than the rest of an update.
        """
        folder = self.home.folder
        # `vertune share` writes the precision in which a model is served to the folders `verticals/*`
        shelves = [folder / "models", folder / "backbones", *(folder / "backbones").glob("*/verticals/*")]
        stamps = []
        for path in (*(folder / "aliases").glob("*@live"), *shelves):
            with suppress(FileNotFoundError):  # being replaced at this moment, or not created yet
                status = path.stat()
                # the inode too, because modification times may have a resolution of 4 ms
                stamps.append((str(path), status.st_ino, status.st_mtime_ns))
        return tuple(sorted(stamps))


def prepare(home: Home, names: Sequence[str]) -> subprocess.Popen[bytes]:
    """Start a process that runs `vertune share`, which prepares the models with these names for serving; return the process.

    The preparation may need torch, so it does not run in the process of the server.
    """
    command = [sys.executable, "-P", "-m", "vertune", "share", *names, "--home", str(home.folder)]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)  # noqa: S603 - our own command, no shell
