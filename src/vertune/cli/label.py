"""`vertune label`: makes a labelling project of a file, and opens it in the browser, on this machine alone."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from vertune.cli import options, output

PANEL = ("From a file to a model", 2)


def run(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A file or folder with records, with or without labels.")],
    labels: Annotated[str, typer.Option("--labels", metavar="A,B,…", help="The labels to choose from, divided by commas.")] = "",
    task: Annotated[str, typer.Option("--task", help="The task; `vertune parts tasks` lists them.")] = "classify",
    text: Annotated[
        list[str] | None,
        typer.Option("--text", metavar="COLUMN", help="The column of the text, if the guess is wrong; twice for two texts."),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="The name of the new project.", show_default="that of the file")] = None,
    project: Annotated[str | None, typer.Option("--project", help="Add the records of DATA to this project instead.")] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The port; 0 chooses a free one.")] = 8000,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the project in the browser.")] = True,
    set: options.Set = None,
    home: options.Home = None,
) -> None:
    """Label the records of a file in the browser.

    The model asks for the records from which it learns most. The same command opens the project again; with --project, records of a
    further file are added to one. Only this machine can reach it; for several people, use `vertune serve`.
    """
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from vertune.cli.progress import show_progress
    from vertune.core.artifact import Home
    from vertune.core.machine import usable_processors
    from vertune.server.labelling import ask_for_ranking
    from vertune.server.logs import configure
    from vertune.server.run import serve
    from vertune.server.service import Service
    from vertune.server.settings import changed
    from vertune.steps.label import Created
    from vertune.steps.label.file import Wanted, add_file, project_of_file
    from vertune.steps.label.further import Added
    from vertune.store.database import Database

    where = Home(home)
    written = {"port": port, "open": True, "open_scope": "admin"}
    settings = changed(written, [f"jobs.cores={max(1, usable_processors() - 1)}", *(set or [])])
    settings.check()
    configure(settings.log)
    with closing(Database.of_home(where.folder)) as database:
        names = [one.strip() for one in labels.split(",") if one.strip()]
        with show_progress("label") as progress:
            made: Created | Added
            if project is None:
                made = project_of_file(database, Wanted(data, task, names, text or [], name), progress)
            else:
                made = add_file(database, data, project, text or [], progress)
        if isinstance(made, Added):
            output.note(f"{made.added:,} records are new in '{project}', {made.known:,} were there already.")
        for one in made.notes:
            output.note(one.sentence)
        ask_for_ranking(database, made.project, None)
        service = Service(settings, where, database)
        service.aliases.require(some=False)
        serve(service, None, lambda url: _opened(f"{url}/#/label/{made.project.name}", browser))


def _opened(url: str, browser: bool) -> None:
    """Print where the project is, and open it."""
    import webbrowser

    output.note(f"Label at {url}. Stop with Ctrl-C; each label is stored as soon as you give it.")
    if browser:
        webbrowser.open(url)
