"""remove: finds and deletes artifacts of any shelf; knows nothing of what they hold."""

from __future__ import annotations

import shutil

from vertune.core.artifact import SHELVES, Artifact, Home
from vertune.core.errors import NotFound, UnknownName
from vertune.core.files import folder_size, storage_errors


def find(home: Home, name: str) -> Artifact:
    """The artifact of this id on any shelf or among the runs, else the model, dataset or report of this name or path."""
    for artifact in everything(home):
        if artifact.id == name:
            return artifact
    for shelf in ("models", "datasets", "reports"):
        try:
            return home.get(shelf, name)
        except NotFound:
            continue
    raise UnknownName("artifact", name, [*(artifact.id for artifact in everything(home)), *home.aliases()], str(home.folder))


def everything(home: Home) -> list[Artifact]:
    """All artifacts of all shelves, then the unfinished runs."""
    return [artifact for shelf in SHELVES for artifact in home.shelf(shelf)] + home.runs()  # type: ignore[arg-type]


def remove(home: Home, name: str) -> int:
    """Delete the artifact of exactly this id and return the bytes that are free again.

    Raises UnknownName for anything but an id, so that a name never deletes the newest of several, and Conflict when an
    alias points to it.
    """
    found = {artifact.id: artifact for artifact in everything(home)}
    if name not in found:
        raise UnknownName("id", name, found, str(home.folder))
    artifact = found[name]
    freed = folder_size(artifact.folder)
    shelf = artifact.folder.parent.name
    if shelf == "runs":
        with storage_errors(artifact.folder):
            shutil.rmtree(artifact.folder)
    else:
        home.remove(shelf, name)  # type: ignore[arg-type]
    return freed
