"""Finds out which artifacts must not be deleted, because a running command or an alias needs them.

Artifacts are datasets, models, reports and backbones (pretrained models that several models share). An unfinished
artifact is called a run. An alias, such as `messages@live`, is a name that points to a model.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from datetime import datetime

from vertune.core.artifact import SHELVES, Artifact, Home
from vertune.core.errors import StorageError
from vertune.evaluation.gate import UNDECIDED
from vertune.runtime.shared_store import VERTICALS

QUIET = 600.0
"""Seconds without a change after which a folder without a process that works on it counts as abandoned."""


def status(run: Artifact) -> str:
    """Return the status in the manifest of a run, such as `running`; `broken` if the manifest can't be read."""
    try:
        return str(run.manifest.get("status"))
    except StorageError:
        return "broken"


def is_alive(run: Artifact) -> bool:
    """Return whether an unfinished run must be kept.

    This is so if a process is working on it, if it is a compression whose result waits for the user to accept it, or if
    its status is `running` and one of its files changed in the last ten minutes.
    """
    if run.in_use or status(run) == UNDECIDED:
        return True
    newest = max((path.stat().st_mtime for path in run.folder.rglob("*")), default=0.0)
    return status(run) == "running" and time.time() - newest < QUIET


def is_just_made(artifact: Artifact) -> bool:
    """Return whether an artifact was finished in the last ten minutes by a process that still runs.

    Such a process, for example `vertune fit` between two steps, may be about to use the artifact.
    """
    manifest = artifact.manifest_or_empty
    try:
        age = time.time() - datetime.fromisoformat(str(manifest.get("finished"))).timestamp()
    except ValueError:
        return False
    return age < QUIET and artifact.maker_runs


def needed_by_runs(home: Home) -> dict[str, Artifact]:
    """Return the ids of all artifacts from which running commands make something, each with the run that needs it."""
    alive = [run for run in home.runs() if is_alive(run)]
    parents = parents_of(home) if alive else {}  # reads every manifest
    return {id: run for run in alive for id in ancestors(run.parents, parents)}


def parents_of(home: Home) -> dict[str, list[str]]:
    """Return the ids of all finished artifacts, each with the ids of those from which it was made.

    A backbone has none here: once it is exported, it does not need the models for which it was made.
    """
    return {
        artifact.id: [] if shelf == "backbones" else list(artifact.parents)
        for shelf in SHELVES
        for artifact in home.shelf(shelf)  # type: ignore[arg-type]
    }


def ancestors(ids: Iterable[str], parents: dict[str, list[str]]) -> set[str]:
    """Return these ids, and the ids of everything from which these artifacts were made."""
    found, pending = set(), list(ids)
    while pending:
        if (id := pending.pop()) not in found:
            found.add(id)
            pending += parents.get(id, [])
    return found


def backbones_of(home: Home, models: Collection[str]) -> set[str]:
    """Return the ids of the backbones on which at least one of the models with these ids is stored."""
    return {
        backbone.id for backbone in home.shelf("backbones") for folder in (backbone.folder / VERTICALS).glob("*") if folder.name in models
    }
