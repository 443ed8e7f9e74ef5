"""`vertune alias`: says which model an alias names, or points it at another; knows nothing of models."""

from __future__ import annotations

from typing import Annotated

import typer

from vertune.cli import options, output


def run(
    alias: Annotated[str | None, typer.Argument(metavar="NAME@TAG", help="The alias, such as support-intent@live.")] = None,
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="The model that it shall name.")] = None,
    home: options.Home = None,
) -> None:
    """Point an alias at a model, or list all aliases."""
    from vertune.core.artifact import Home
    from vertune.core.errors import ConfigError

    place = Home(home)
    if alias and not model:
        raise ConfigError(f"Which model shall {alias} name? vertune alias {alias} MODEL; `vertune list models` shows them.")
    if alias and model:
        before = place.aliases().get(alias)
        place.alias(alias, model)
        output.say(f"{alias} is {place.aliases()[alias]}" + (f" (before: {before})" if before else ""))
        return
    if not place.aliases():
        output.note("There are no aliases yet.")
        output.then("vertune alias NAME@live MODEL")
        return
    output.table(["alias", "model"], place.aliases().items())
