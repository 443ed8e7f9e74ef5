"""`vertune alias`: points an alias (a movable name such as `messages@live`) to a model, or lists all aliases."""

from __future__ import annotations

from typing import Annotated

import typer

from vertune.cli import options, output

PANEL = ("Use a model", 7)


def run(
    alias: Annotated[str | None, typer.Argument(metavar="NAME@TAG", help="The alias, such as support-intent@live.")] = None,
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="The model that it should point to.")] = None,
    home: options.Home = None,
) -> None:
    """Point an alias to a model, or list all aliases."""
    from vertune.core.artifact import Home
    from vertune.core.errors import ConfigError

    store = Home(home)
    if alias and not model:
        raise ConfigError(f"No model was given for {alias}. Write: vertune alias {alias} MODEL; `vertune list models` lists all models.")
    if alias and model:
        before = store.aliases().get(alias)
        store.alias(alias, model)
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
