"""Loads the models to which the aliases NAME@live of a home folder point, and others when an alias changes; independent of HTTP.

Each alias, model and backbone is read on its own: an error in one of their files concerns only the names whose models need this file.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock

from vertune.core.artifact import Artifact, Home
from vertune.core.errors import NotFound, VertuneError
from vertune.runtime.fleet import Fleet
from vertune.runtime.live import LiveModels, read_live, reason, shorten
from vertune.server.preparing import Pending, Preparations, waiting_time

_log = logging.getLogger("vertune")
INTERVAL = 1.0
"""Seconds between two checks for changed aliases."""
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 60.0
"""Seconds until damaged files are read again, and the maximum to which this time is doubled at each failure."""

Stamps = dict[str, tuple[int, ...]]
"""By path: inode, modification time and status change time in nanoseconds; they differ if the file or folder has changed."""


@dataclass(slots=True)
class AliasFollower:
    """Loads and unloads models when aliases change. An alias NAME@live points to the model that is served under the name NAME."""

    fleet: Fleet
    only: frozenset[str] = frozenset()
    """The names under which models are served; empty serves all models to which an alias NAME@live points."""
    preparation_limit: float = 900.0
    """Maximum seconds that the preparation of one model may take."""
    pending: dict[str, Pending] = field(default_factory=dict)
    """The models that are not served yet, by the name under which they will be served. The dict is replaced, never changed."""
    preparations: Preparations = field(init=False)
    trouble: str = ""
    """Why the last update failed completely; empty if it did not."""
    _stamps: Stamps = field(default_factory=dict)
    _updating: Lock = field(default_factory=Lock)
    """Locked during an update, so that an update that began earlier can't undo a change that an administrator makes over HTTP."""

    def __post_init__(self) -> None:
        self.preparations = Preparations(self.home, self.preparation_limit)

    @property
    def home(self) -> Home:
        """The home folder (.vertune), which contains the aliases and models."""
        return self.fleet.home

    def serves(self, name: str) -> bool:
        """Return whether this server is configured to serve a model under this name."""
        return not self.only or name in self.only

    def live(self) -> LiveModels:
        """Return the models to which aliases NAME@live point, without names that this server is not configured to serve."""
        live = read_live(self.home)
        models = {name: model for name, model in live.models.items() if self.serves(name)}
        return LiveModels(models, {name: error for name, error in live.errors.items() if self.serves(name)})

    def require(self, some: bool = True) -> None:
        """Check that there is something to serve, and let each of these models have the state `loading`; nothing is loaded yet.

        Raises NotFound if a name in `only` has no alias NAME@live or, unless `some` is false, if there is no such alias at all. Models and
        aliases that can't be read are no reason to serve nothing: `pending` names the reason for each.
        """
        live = self.live()
        missing = sorted(self.only - set(live.models) - set(live.errors))
        if missing:
            raise NotFound(
                f"There is no live model of {', '.join(missing)}; expected an alias NAME@live that points to one. "
                f"Create it: vertune alias {missing[0]}@live MODEL"
            )
        if some and not live.models and not live.errors:
            raise NotFound(
                f"No alias NAME@live points to a model in {self.home.folder}, so there is nothing to serve. "
                "Train a model: vertune fit RUN.yaml; or choose one: vertune alias NAME@live MODEL; or let a job make one: --set "
                "jobs.cores=1"
            )
        loading = {name: Pending(model.id, "loading") for name, model in live.models.items() if name not in self.fleet.deployments}
        self.pending = {**loading, **{name: Pending("", "damaged", why) for name, why in live.errors.items()}}

    def update(self) -> None:
        """Load the models to which an alias NAME@live was moved since the last update, and unload those to which none points now.

        For models that must be prepared before they can be loaded, a process is started that runs `vertune share`. An error that
        concerns all models, such as a home folder that can't be read, changes nothing but `pending` and `trouble`. Errors are logged
        when they first occur or change.
        """
        with self._updating:
            try:
                self._update(time.monotonic())
                self.trouble = ""
            except Exception as error:
                self._suffer(error)

    def stop(self) -> None:
        """Kill the process that prepares models, if one runs."""
        with self._updating:
            self.preparations.stop()

    def _update(self, now: float) -> None:
        stamps = self._read_stamps()
        due = any(one.state == "damaged" and one.retry_at is not None and one.retry_at <= now for one in self.pending.values())
        if stamps == self._stamps and not due and not self.preparations.due(now):
            return
        ended = self.preparations.ended()  # before the models are checked, so that what it prepared is found
        live = self.live()
        if not live.models and not live.errors and self.fleet.deployments and not (self.home.folder / "aliases").is_dir():
            raise NotFound(
                f"The folder {self.home.folder / 'aliases'} has disappeared. Restore it; the loaded models are served until then."
            )
        changed = self._changed(live.models.keys() | live.errors.keys(), stamps)
        ready, unready = self._divide(live.models)
        later = {name: one for name in ready.keys() - changed if (one := self._not_yet(name, ready[name], now))}
        errors = self.fleet.follow(
            {name: model for name, model in ready.items() if name not in later}, keep=live.models.keys() | live.errors.keys()
        )
        damaged = {
            **{name: self._damaged(name, "", why, now) for name, why in live.errors.items()},
            **{name: self._damaged(name, one.model, one.why, now) for name, one in unready.items() if one.why},
            **{name: self._damaged(name, ready[name].id, why, now) for name, why in errors.items()},
        }
        unprepared = {name: live.models[name] for name, one in unready.items() if not one.why}
        for name in changed & unprepared.keys():
            self.preparations.retry(unprepared[name].id)
        self._publish({**later, **damaged, **self.preparations.update(unprepared, ended, now)})
        # last, so that a failed update is repeated; older values where there are some, so that changes during the update are noticed
        self._stamps = {path: stamps.get(path, stamp) for path, stamp in self._read_stamps().items()}

    def _divide(self, models: Mapping[str, Artifact]) -> tuple[dict[str, Artifact], dict[str, Pending]]:
        """Divide models, by name, into those that can be loaded and the others.

        A model of the others must be prepared first or, if the attribute `why` is not empty, its files can't be read.
        """
        ready, unready = {}, {}
        for name, model in models.items():
            try:
                if self.fleet.ready(model):
                    ready[name] = model
                else:
                    unready[name] = Pending(model.id, "waiting")
            except Exception as error:
                unready[name] = Pending(model.id, "damaged", reason(error, model))
        return ready, unready

    def _changed(self, names: Set[str], stamps: Stamps) -> set[str]:
        """Return those of the names whose alias has changed since the last update, or all if a model or backbone has changed."""
        folder = str(self.home.folder / "aliases")
        paths = {path for path in stamps.keys() | self._stamps.keys() if stamps.get(path) != self._stamps.get(path)}
        if any(not path.startswith(folder) for path in paths):
            return set(names)
        return {name for name in names if f"{folder}{os.sep}{name}@live" in paths}

    def _not_yet(self, name: str, model: Artifact, now: float) -> Pending | None:
        """Return the state of a model that could not be loaded before and should not be tried again yet; None for any other one.

        Without this, a model that can't be loaded would delay the others each time that one of their aliases changes.
        """
        pending = self.pending.get(name)
        waits = pending is not None and pending.state == "damaged" and pending.model == model.id and (pending.retry_at or 0.0) > now
        return pending if waits else None

    def _damaged(self, name: str, model: str, why: str, now: float) -> Pending:
        earlier = self.pending.get(name)
        same = earlier is not None and (earlier.model, earlier.state, earlier.why) == (model, "damaged", why)
        attempts = earlier.attempts + 1 if earlier is not None and same else 1
        return Pending(model, "damaged", why, attempts, now + waiting_time(attempts, _FIRST_WAIT, _LONGEST_WAIT))

    def _publish(self, pending: dict[str, Pending]) -> None:
        """Replace `pending`, and log each state with a reason that was not logged before."""
        for name, one in pending.items():
            if one.why and one.why != (self.pending[name].why if name in self.pending else ""):
                _log.warning("The model of %r is not served (%s): %s", name, one.state, one.why)
        for name in self.pending.keys() - pending.keys():
            if name in self.fleet.deployments:
                _log.info("The model %s is served as %r now.", self.fleet.deployments[name].model.id, name)
        self.pending = pending

    def _suffer(self, error: Exception) -> None:
        """Let each name have the state `damaged`, because the update failed completely; log the error if it is a new one."""
        why = shorten(str(error) if isinstance(error, VertuneError) else f"{type(error).__name__}: {error}")
        if why != self.trouble:
            _log.error(
                "The aliases or models could not be read, so the loaded models are still served: %s The next attempt is in %g s.",
                why, INTERVAL, exc_info=None if isinstance(error, VertuneError) else error,
            )  # fmt: skip
        self.trouble, self._stamps = why, {}
        names = self.pending.keys() | self.fleet.deployments.keys()
        now = time.monotonic()
        models = {name: self.pending[name].model if name in self.pending else self.fleet.deployments[name].model.id for name in names}
        self.pending = {name: replace(self._damaged(name, model, why, now), retry_at=now + INTERVAL) for name, model in models.items()}

    def _read_stamps(self) -> Stamps:
        """Return inode and times of each alias NAME@live and of the folders of models and pretrained models.

        If two results are equal, no alias or model has changed between them. While a model can't be served, the files of models are
        included, so that one that is restored is noticed at once. Reading the files themselves every second would take longer than the rest
        of an update.
        """
        folder = self.home.folder
        # `vertune share` writes the precision in which a model is served to the folders `verticals/*`
        shelves = [folder / "models", folder / "backbones", *(folder / "backbones").glob("*/verticals/*")]
        if any(one.state != "loading" for one in self.pending.values()):
            shelves += [*(folder / "models").glob("*/*"), *(folder / "backbones").glob("*/verticals/*/*")]
        aliases = (folder / "aliases", *(folder / "aliases").glob("*@live"))
        return {str(path): stamp for path in (*aliases, *shelves) if (stamp := _stamp(path))}


def _stamp(path: Path) -> tuple[int, ...] | None:
    """Return what differs when the file or folder has changed; None if it does not exist. Links are not followed."""
    with suppress(OSError):  # being replaced at this moment, or not created yet
        status = os.lstat(path)
        # the inode too, because modification times may have a resolution of 4 ms; the other time, because it changes with permissions
        return (status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
    return None
