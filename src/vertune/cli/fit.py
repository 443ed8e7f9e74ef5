"""`vertune fit`: prepares the data, trains a model and evaluates it in one command."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from vertune.cli import options, output

if TYPE_CHECKING:
    from vertune.core.artifact import Artifact, Home

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

    Behaviour tests in a file tests.yaml beside the config are saved in the home and run.

    If the argument is a data file or folder instead of a config, a config is guessed and written first, as by vertune init.

    The alias NAME@live selects the model that is served; NAME is the name in the config. If this alias does not exist
    yet, it is created and points to the new model, unless the model is worse than a simple baseline. Such a model is
    stored too, but the command ends with exit code 7.
    """
    from vertune.cli import evaluate, init, prepare, train
    from vertune.cli.progress import show_progress
    from vertune.core.artifact import Home
    from vertune.core.behaviour import FILE
    from vertune.core.config import load
    from vertune.core.errors import ModelError
    from vertune.steps import check
    from vertune.steps.fit import fit

    config = init.as_config(config)
    settings = load(config, set or [])
    place = Home(home)
    if (tests := config.with_name(FILE)).exists():
        check.save(settings.name, place, tests)
    with show_progress("fit") as progress, train.stoppable(settings, place, config, set):
        warned = prepare.Warned(progress)
        fitted = fit(settings, place, warned, accept=accept)
    prepare.show(fitted.dataset, warned.messages)
    output.say()
    train.show(fitted.model)
    output.say()
    evaluate.show(fitted.report)
    if fitted.warning:
        evaluate.advise(fitted.report)
        raise ModelError(fitted.warning)
    _show_alias(place, fitted.model)
    evaluate.advise(fitted.report)


def _show_alias(home: Home, model: Artifact) -> None:
    """Print to which model the alias NAME@live points, and the commands with which the user may go on."""
    name = str(model.manifest["name"])
    alias = f"{name}@live"
    live = home.aliases().get(alias)
    if live == model.id:
        output.note(f"{alias} points to {model.id}.")
        output.next_steps(f'vertune predict {name} "a text"', f"vertune compress {name}", f"vertune bundle {name}")
        return
    output.note(f"{alias} still points to {live}. Compare the two models, then change the alias.")
    output.next_steps(f"vertune compare {alias} {model.id}", f"vertune alias {alias} {model.id}")
