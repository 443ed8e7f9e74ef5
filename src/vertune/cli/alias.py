"""`vertune alias`: points an alias (a movable name such as `messages@live`) to a model, or lists all aliases."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from vertune.cli import options, output

if TYPE_CHECKING:
    from vertune.core.artifact import Home

PANEL = ("Use a model", 7)
_DATABASE, _FILE = "VERTUNE_DATABASE", "server.db"
"""What names the database of a server, as `store/database.py` has it: without a server, its packages need not be installed."""


def run(
    alias: Annotated[str | None, typer.Argument(metavar="NAME@TAG", help="The alias, such as support-intent@live.")] = None,
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="The model that it should point to.")] = None,
    another_task: options.AnotherTask = False,
    home: options.Home = None,
) -> None:
    """Point an alias to a model, or list all aliases.

    If a server keeps a history of its models, NAME@live is changed as by vertune deploy.
    """
    from vertune.core.artifact import Home
    from vertune.core.errors import ConfigError

    store = Home(home)
    if alias and not model:
        raise ConfigError(f"No model was given for {alias}. Write: vertune alias {alias} MODEL; `vertune list models` lists all models.")
    if alias and model:
        before = store.aliases().get(alias)
        _point(store, alias, model, another_task)
        output.say(f"{alias} points to {store.aliases()[alias]}" + (f" (before: {before})" if before else ""))
        return
    aliases = store.read_aliases()
    if not aliases:
        output.note("There are no aliases yet.")
        output.next_steps("vertune alias NAME@live MODEL")
        return
    output.table(["alias", "model"], [(name, target) for name, target in aliases.items() if isinstance(target, str)])
    for target in aliases.values():
        if not isinstance(target, str):
            output.note(str(target), style="yellow")


def _point(home: Home, alias: str, model: str, another_task: bool) -> None:
    """Point an alias to a model; where a server has a database, the change of a live model is added to its history."""
    from vertune.runtime.live import require_like_live

    name, _, tag = alias.partition("@")
    if tag != "live" or not (os.environ.get(_DATABASE) or (home.folder / _FILE).exists()):
        if tag == "live" and not another_task:
            require_like_live(home, name, home.get("models", model))
        home.alias(alias, model)
        return
    from vertune.steps.deploy import Versions

    with options.opened(home.folder, None) as (where, opened):
        Versions(where, opened, "command line").deploy(name, model, "vertune alias", another_task)
