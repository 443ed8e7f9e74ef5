"""remove: finds and deletes the folders of artifacts and unfinished runs.

An artifact is a dataset, a model, a report, or a backbone (a pretrained model in ONNX that several models share).
"""

from __future__ import annotations

import shutil

from vertune.core.artifact import SHELVES, Artifact, Home
from vertune.core.errors import Conflict, NotFound, UnknownName
from vertune.core.files import folder_size, storage_errors
from vertune.runtime.shared_store import VERTICALS
from vertune.steps import in_use
from vertune.steps.monitor.reference import forget_reference


def find(home: Home, name: str) -> Artifact:
    """Return the artifact or unfinished run with the id `name`.

    If there is none, return the model, dataset or report with this name, alias or path. Raises UnknownName if there is
    none either.
    """
    artifact = _of_id(home, name)
    if artifact is not None:
        return artifact
    for shelf in ("models", "datasets", "reports"):
        try:
            return home.get(shelf, name)
        except NotFound:
            continue
    raise UnknownName("artifact", name, [*(artifact.id for artifact in everything(home)), *home.aliases()], str(home.folder))


def _of_id(home: Home, id: str) -> Artifact | None:
    """Return the artifact or unfinished run with this id; None if there is none."""
    finished = (home.find(shelf, id) for shelf in SHELVES)  # type: ignore[arg-type]
    return next((artifact for artifact in finished if artifact), None) or next((run for run in home.runs() if run.id == id), None)


def everything(home: Home) -> list[Artifact]:
    """Return all finished artifacts (datasets, models, reports and backbones), then the unfinished runs."""
    return [artifact for shelf in SHELVES for artifact in home.shelf(shelf)] + home.runs()  # type: ignore[arg-type]


def remove(home: Home, name: str) -> int:
    """Delete the artifact or unfinished run with this id, and return the number of bytes freed.

    Raises UnknownName for a name that is not an id, because several artifacts can share a name. Raises Conflict if an
    alias points to the artifact, if a running command needs it, or if it is a backbone with a model of an alias.
    """
    with home.locked():
        artifact = _of_id(home, name)
        if artifact is None:
            raise UnknownName("id", name, [artifact.id for artifact in everything(home)], str(home.folder))
        _check_unused(home, artifact)
        freed = folder_size(artifact.folder)
        shelf = artifact.folder.parent.name
        if shelf == "runs":
            with storage_errors(artifact.folder):
                shutil.rmtree(artifact.folder)
        else:
            home.remove(shelf, name)  # type: ignore[arg-type]
            forget_reference(home.folder, name)
    return freed


def _check_unused(home: Home, artifact: Artifact) -> None:
    """Raise Conflict if a running command needs the artifact, or if it is a backbone with a model of an alias."""
    if artifact.in_use:
        pid = artifact.manifest["pid"]
        raise Conflict(f"{artifact.id} can't be removed: the process {pid} is working on it. Wait until it ends, or stop it: kill {pid}")
    stored = {path.name for path in (artifact.folder / VERTICALS).glob("*")}  # none, if it is no backbone
    for id, run in in_use.needed_by_runs(home).items():
        if artifact.id == id or id in stored:
            raise Conflict(
                f"{artifact.id} can't be removed: the unfinished run {run.id} needs it. Wait until this run ends, or stop it and "
                f"remove it first: vertune remove {run.id}"
            )
    products = {alias: home.find("products", id) for alias, id in home.aliases("products").items()}
    using = [alias for alias, product in products.items() if product is not None and artifact.id in product.parents]
    if using:
        raise Conflict(
            f"{artifact.id} can't be removed: the product {using[0]} is made of it. Make another version of the product live first: "
            f"vertune app {using[0].partition('@')[0]} train"
        )
    holders = [alias for alias, model in home.aliases().items() if model in stored]
    if holders:
        raise Conflict(
            f"{artifact.id} can't be removed: {' and '.join(holders)} {'is' if len(holders) == 1 else 'are'} served with it. "
            f"Let every such alias point to another model first: vertune alias {holders[0]} MODEL"
        )
