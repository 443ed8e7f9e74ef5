"""clean: deletes failed runs and, on request, all artifacts that no alias needs.

Artifacts are datasets, models, reports and backbones (pretrained models that several models share). An alias, such as
`messages@live`, is a name that points to a model. The alias needs this model, the dataset of the model, the reports on
the model, and the backbones with it. What a running command reads is never deleted, nor what a retraining that has not ended
made, nor the candidate of a rollout.
"""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vertune.core.artifact import ALIASED, SHELVES, Home
from vertune.core.errors import Conflict, NotFound, UnknownName
from vertune.core.files import folder_size, storage_errors
from vertune.steps import in_use
from vertune.steps.remove import remove

if TYPE_CHECKING:
    from vertune.store.database import Database


@dataclass(frozen=True, slots=True)
class Freed:
    """A folder that `clean` deleted or, with `dry`, would have deleted."""

    id: str
    size: int
    """Size on disk, in bytes."""
    why: str


def clean(home: Home, unused: bool = False, dry: bool = False, database: Database | None = None) -> list[Freed]:
    """Delete failed and stopped runs, and folders that interrupted removals left behind; return the deleted items.

    With `unused`, also delete all datasets, models, reports and backbones that no alias needs, and the cached outputs
    of frozen layers, which training can compute again. An alias, such as `messages@live`, needs the model or the product
    that it points to, the models of this product, the datasets of these models, the reports on them, and the backbones
    with them. With `dry`, delete nothing, and return what would be deleted.

    A run is kept while a process is working on it, and while its result waits for the user to accept it. A run with the
    status `running` is also kept if one of its files changed in the last ten minutes. What a kept run was made from is
    kept too, and so is what another running process finished in the last ten minutes, because it may be about to use
    it. `database` is that of the server of this home, if there is one: what its unfinished retrainings and rollouts need
    is kept.
    """
    unneeded = [(run, in_use.status(run)) for run in home.runs() if not in_use.is_alive(run)]
    if unused:
        needed = _needed(home, set() if database is None else _in_progress(database))
        unneeded += [
            (artifact, "no alias needs it")
            for shelf in SHELVES
            for artifact in home.shelf(shelf)  # type: ignore[arg-type]
            if artifact.id not in needed and not in_use.is_just_made(artifact)
        ]
    freed = []
    for artifact, why in unneeded:
        with suppress(Conflict, UnknownName):  # meanwhile, a command has begun to use it, or has deleted it
            freed.append(Freed(artifact.id, folder_size(artifact.folder) if dry else remove(home, artifact.id), why))
    return freed + finish_removals(home, dry) + (_trunk_caches(home, dry) if unused else [])


def _trunk_caches(home: Home, dry: bool) -> list[Freed]:
    """Delete the cached outputs of frozen layers; return the deleted folders.

    A cache that was used in the last ten minutes is kept, because a training may still need it. With `dry`, delete
    nothing, and return the folders that would be deleted.
    """
    folders = [path for path in (home.folder / "cache" / "trunk").glob("*") if time.time() - path.stat().st_mtime >= in_use.QUIET]
    freed = [Freed(f"trunk cache {path.name[:8]}", folder_size(path), "training can compute it again") for path in folders]
    if not dry:
        for path in folders:
            with storage_errors(path):
                shutil.rmtree(path)
    return freed


def _needed(home: Home, more: set[str]) -> set[str]:
    """Return the ids of all artifacts that must not be deleted, because an alias or a running command needs them.

    An alias needs the model that it points to, the reports on this model, the backbones with it, and everything from
    which this model and these reports were made. A running command needs everything from which it makes something. The
    artifacts with the ids `more` are kept as if an alias pointed to them.
    """
    live = more | {target for shelf in ALIASED for target in home.all_aliases(shelf).values()}
    parents = in_use.parents_of(home)
    reports = {report.id for report in home.shelf("reports") if live & set(parents[report.id])}
    needed = in_use.ancestors(live | reports, parents) | set(in_use.needed_by_runs(home))
    return needed | in_use.backbones_of(home, needed)


def _in_progress(database: Database) -> set[str]:
    """Return the ids of what unfinished retrainings made, and of the candidates of rollouts."""
    from vertune.store import jobs, retrainings, rollouts

    found: set[str] = set()
    with database.reading() as connection:
        for one in retrainings.unfinished(connection):
            with suppress(NotFound):  # its job may have been deleted
                result = jobs.get(connection, str(one.job), jobs.Filter()).result or {}
                found |= {str(result[name]) for name in ("dataset", "model", "report") if result.get(name)}
            found |= {id for id in (one.dataset, one.model, one.report) if id}
        return found | {one.model for one in rollouts.running(connection).values()}


def finish_removals(home: Home, dry: bool = False) -> list[Freed]:
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
