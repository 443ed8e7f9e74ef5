"""clean: frees the space of runs that came to nothing and, when asked, of all that no alias needs; knows nothing of models."""

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
"""Seconds without an event after which a run that says it is running is taken for dead."""


@dataclass(frozen=True, slots=True)
class Freed:
    """One thing that was deleted, or would be."""

    id: str
    size: int
    """Bytes."""
    why: str


def clean(home: Home, unused: bool = False, dry: bool = False) -> list[Freed]:
    """Delete runs that ended in nothing and what a crash left of removed artifacts.

    With `unused`, also every dataset, model and report that no alias needs (an aliased model keeps its dataset and the reports
    on it), and the states of frozen layers, which a training computes again. With `dry`, only say what would be deleted. A
    run that is at work, or wrote in the last ten minutes, stays.
    """
    doomed = [(run, _state(run)) for run in home.runs() if not _alive(run)]
    if unused:
        needed = _needed(home)
        doomed += [
            (artifact, "no alias needs it")
            for shelf in SHELVES
            for artifact in home.shelf(shelf)  # type: ignore[arg-type]
            if artifact.id not in needed
        ]
    freed = [Freed(artifact.id, folder_size(artifact.folder), why) for artifact, why in doomed]
    if not dry:
        for artifact, _ in doomed:
            remove(home, artifact.id)
    return freed + _rests(home, dry) + (_states(home, dry) if unused else [])


def _states(home: Home, dry: bool) -> list[Freed]:
    """Remembered states of frozen layers that no training used in the last ten minutes."""
    folders = [path for path in (home.folder / "cache" / "trunk").glob("*") if time.time() - path.stat().st_mtime >= _QUIET]
    freed = [Freed(f"states {path.name[:8]}", folder_size(path), "a training can compute it again") for path in folders]
    if not dry:
        for path in folders:
            with storage_errors(path):
                shutil.rmtree(path)
    return freed


def _alive(run: Artifact) -> bool:
    """Whether another process is at work on it, it waits for a decision, or it says that it is running and wrote something lately."""
    if run.in_use or _state(run) == UNDECIDED:
        return True
    newest = max((path.stat().st_mtime for path in run.folder.rglob("*")), default=0.0)
    return _state(run) == "running" and time.time() - newest < _QUIET


def _state(run: Artifact) -> str:
    try:
        return str(run.manifest.get("status"))
    except StorageError:
        return "broken"


def _needed(home: Home) -> set[str]:
    """Ids of aliased models, of what they were made of, and of the reports on them."""
    needed = set(home.aliases().values())
    parents: dict[str, list[str]] = {
        artifact.id: list(artifact.manifest.get("parents", []))
        for shelf in SHELVES
        for artifact in home.shelf(shelf)  # type: ignore[arg-type]
    }
    needed |= {report.id for report in home.shelf("reports") if needed & set(parents[report.id])}
    waiting = list(needed)
    while waiting:
        for parent in parents.get(waiting.pop(), []):
            if parent not in needed:
                needed.add(parent)
                waiting.append(parent)
    return needed


def _rests(home: Home, dry: bool) -> list[Freed]:
    """What a crash in the middle of a removal left behind."""
    rests = [path for shelf in SHELVES for path in (home.folder / shelf).glob(".*.removed")]
    freed = [Freed(path.name, folder_size(path), "left over from a removal") for path in rests]
    if not dry:
        for path in rests:
            with storage_errors(path):
                shutil.rmtree(path)
    return freed
