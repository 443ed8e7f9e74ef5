"""`vertune fit`: prepares the data, trains a model and evaluates it in one command."""

from __future__ import annotations

from typing import Annotated

import typer

from vertune.cli import options, output

PANEL = ("From a file to a model", 2)


def run(
    config: options.Run,
    set: options.Set = None,
    accept: Annotated[
        bool, typer.Option("--accept", help="Let NAME@live point to the new model even if it is worse than a simple baseline.")
    ] = False,
    home: options.Home = None,
) -> None:
    """Prepare the data, train a model and evaluate it.

    The alias NAME@live selects the model that is served; NAME is the name in the config. If this alias does not exist
    yet, it is created and points to the new model, unless the model is worse than a simple baseline. Such a model is
    stored too, but the command ends with exit code 7.
    """
    from vertune.cli import evaluate, prepare, train
    from vertune.cli.progress import show_progress
    from vertune.core.artifact import Home
    from vertune.core.config import load
    from vertune.core.errors import ModelError
    from vertune.steps.fit import fit

    settings = load(config, set or [])
    place = Home(home)
    with show_progress("fit") as progress, train.stoppable(settings, place, config, set):
        fitted = fit(settings, place, progress, accept=accept)
    prepare.show(fitted.dataset)
    output.say()
    train.show(fitted.model)
    output.say()
    evaluate.show(fitted.report)
    if fitted.warning:
        raise ModelError(fitted.warning)
    alias = f"{settings.name}@live"
    if place.aliases().get(alias) == fitted.model.id:
        output.note(f"{alias} points to {fitted.model.id}.")
    else:
        output.note(f"{alias} still points to {place.aliases().get(alias)}. Compare the two models, then change the alias.")
        output.next_steps(f"vertune compare {alias} {fitted.model.id}", f"vertune alias {alias} {fitted.model.id}")
        return
    output.next_steps(f'vertune predict {settings.name} "a text"', f"vertune compress {settings.name}", f"vertune bundle {settings.name}")
