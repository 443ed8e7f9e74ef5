"""`vertune clean`: deletes failed and stopped runs and, with --unused, all artifacts that no alias needs.

Artifacts are datasets, models, reports and backbones (pretrained models that several models share). An alias needs the
model that it points to, the dataset of this model, the reports on this model, and the backbones with this model.
"""

from __future__ import annotations

from typing import Annotated

import typer

from vertune.cli import options, output

PANEL = ("Free space", 2)


def run(
    unused: Annotated[
        bool, typer.Option("--unused", help="Also delete all datasets, models, reports and backbones that no alias needs.")
    ] = False,
    dry: Annotated[bool, typer.Option("--dry-run", help="Show what would be deleted, and delete nothing.")] = False,
    home: options.Home = None,
    database: options.Database = None,
) -> None:
    """Delete failed and stopped runs.

    A run is the folder of a training, or of another step, that did not finish. Once it is deleted, the step can't be
    resumed. A model that an alias points to is never deleted, and neither is anything that a running command, or a
    retraining or a rollout of the server, needs.
    """
    from contextlib import closing, nullcontext

    from vertune.core.artifact import Home
    from vertune.steps.clean import clean
    from vertune.store.database import Database, file_in

    where = Home(home)
    there = unused and (database or file_in(where.folder).exists())
    with closing(Database.of_home(where.folder, database)) if there else nullcontext() as opened:
        freed = clean(where, unused, dry, opened)
    if not freed:
        output.say("Nothing to clean.")
        return
    output.table(["id", "size", "why"], [[item.id, output.size(item.size), item.why] for item in freed])
    total = output.size(sum(item.size for item in freed))
    output.say(f"{total} would be freed" if dry else f"{total} freed")
