"""clean: deletes failed runs and, on request, all artifacts that no alias needs.

Artifacts are datasets, models, reports and backbones (pretrained models that several models share). An alias, such as
`messages@live`, is a name that points to a model. The alias needs this model, the dataset of the model, and the reports
on the model.
"""

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
    """A folder that `clean` deleted or, with `dry`, would have deleted."""

    id: str
    size: int
    """Size on disk, in bytes."""
    why: str


def clean(home: Home, unused: bool = False, dry: bool = False) -> list[Freed]:
    """Delete failed and stopped runs, and folders that interrupted removals left behind; return the deleted items.

    With `unused`, also delete all datasets, models, reports and backbones that no alias needs, and the cached outputs
    of frozen layers, which training can compute again. An alias, such as `messages@live`, needs the model that it
    points to, the dataset of this model, and the reports on it. With `dry`, delete nothing, and return what would be
    deleted.

    A run is kept while a process is working on it, and while its result waits for the user to accept it. A run with the
    status `running` is also kept if one of its files changed in the last ten minutes.
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
    """Delete the cached outputs of frozen layers; return the deleted folders.

    A cache that was used in the last ten minutes is kept, because a training may still need it. With `dry`, delete
    nothing, and return the folders that would be deleted.
    """
    folders = [path for path in (home.folder / "cache" / "trunk").glob("*") if time.time() - path.stat().st_mtime >= _QUIET]
    freed = [Freed(f"trunk cache {path.name[:8]}", folder_size(path), "training can compute it again") for path in folders]
    if not dry:
        for path in folders:
            with storage_errors(path):
                shutil.rmtree(path)
    return freed


def _alive(run: Artifact) -> bool:
    """Return whether an unfinished run must be kept.

    This is so if a process is working on it, if it is a compression whose result waits for the user to accept it, or if
    its status is `running` and one of its files changed in the last ten minutes.
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
    """Return the ids of all artifacts that must not be deleted, because an alias needs them.

    These are the models that aliases point to, the reports on these models, and everything from which these models and
    reports were made.
    """
    needed = set(home.all_aliases().values())
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
    """Delete the folders that remained because a removal was interrupted; return the deleted folders.

    With `dry`, delete nothing, and return the folders that would be deleted.
    """
    folders = [path for shelf in SHELVES for path in (home.folder / shelf).glob(".*.removed")]
    freed = [Freed(path.name, folder_size(path), "left over from a removal") for path in folders]
    if not dry:
        for path in folders:
            with storage_errors(path):
                shutil.rmtree(path)
    return freed
