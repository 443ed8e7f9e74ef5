"""clean: deletes failed runs and, on request, all datasets, models and reports that no alias (a name that points to a model) needs."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass

from vertune.core.artifact import SHELVES, Artifact, Home
from vertune.core.errors import StorageError
from vertune.core.files import folder_size, storage_errors
from vertune.evaluation.gate import UNDECIDED
from vertune.steps.remove import remove

_QUIET = 600.0
"""Seconds without a file change after which a run with status `running` counts as dead."""


@dataclass(frozen=True, slots=True)
class Freed:
    """One item that `clean` deleted, or would delete without `dry`."""

    id: str
    size: int
    """Size on disk, in bytes."""
    why: str


def clean(home: Home, unused: bool = False, dry: bool = False) -> list[Freed]:
    """Delete failed and stopped runs, and folders that an interrupted removal left behind; return the deleted items.

    With `unused`, also delete the datasets, models and reports that no alias needs (a model that an alias points to needs its
    dataset and the reports on it), and cached outputs of frozen layers, which training can compute again. With `dry`, delete
    nothing and only return what would be deleted. A run is kept if it is active, or if its files changed in the last ten minutes.
    """
    unneeded = [(run, _status(run)) for run in home.runs() if not _alive(run)]
    if unused:
        needed = _needed(home)
        unneeded += [
            (artifact, "no alias needs it")
            for shelf in SHELVES
            for artifact in home.shelf(shelf)  # type: ignore[arg-type]
            if artifact.id not in needed
        ]
    freed = [Freed(artifact.id, folder_size(artifact.folder), why) for artifact, why in unneeded]
    if not dry:
        for artifact, _ in unneeded:
            remove(home, artifact.id)
    return freed + _interrupted_removals(home, dry) + (_trunk_caches(home, dry) if unused else [])


def _trunk_caches(home: Home, dry: bool) -> list[Freed]:
    """Unless `dry`, delete the cached outputs of frozen layers that no training used in the last ten minutes; return these items."""
    folders = [path for path in (home.folder / "cache" / "trunk").glob("*") if time.time() - path.stat().st_mtime >= _QUIET]
    freed = [Freed(f"trunk cache {path.name[:8]}", folder_size(path), "training can compute it again") for path in folders]
    if not dry:
        for path in folders:
            with storage_errors(path):
                shutil.rmtree(path)
    return freed


def _alive(run: Artifact) -> bool:
    """Return whether a run must be kept.

    This is so if a process is working on it, if its result waits for the user to accept it, or if its status is `running` and one
    of its files changed in the last ten minutes.
    """
    if run.in_use or _status(run) == UNDECIDED:
        return True
    newest = max((path.stat().st_mtime for path in run.folder.rglob("*")), default=0.0)
    return _status(run) == "running" and time.time() - newest < _QUIET


def _status(run: Artifact) -> str:
    try:
        return str(run.manifest.get("status"))
    except StorageError:
        return "broken"


def _needed(home: Home) -> set[str]:
    """Return the ids of all artifacts that aliases need.

    These are the models that aliases point to, the reports on these models, and all artifacts from which these models and
    reports were made.
    """
    needed = set(home.aliases().values())
    parents: dict[str, list[str]] = {
        artifact.id: list(artifact.manifest.get("parents", []))
        for shelf in SHELVES
        for artifact in home.shelf(shelf)  # type: ignore[arg-type]
    }
    needed |= {report.id for report in home.shelf("reports") if needed & set(parents[report.id])}
    pending = list(needed)
    while pending:
        for parent in parents.get(pending.pop(), []):
            if parent not in needed:
                needed.add(parent)
                pending.append(parent)
    return needed


def _interrupted_removals(home: Home, dry: bool) -> list[Freed]:
    """Unless `dry`, delete the folders that remained because a removal was interrupted; return these items."""
    folders = [path for shelf in SHELVES for path in (home.folder / shelf).glob(".*.removed")]
    freed = [Freed(path.name, folder_size(path), "left over from a removal") for path in folders]
    if not dry:
        for path in folders:
            with storage_errors(path):
                shutil.rmtree(path)
    return freed
