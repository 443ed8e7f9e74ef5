"""`vertune fit`: prepares the data, trains a model and evaluates it in one command."""

from __future__ import annotations

from vertune.cli import options, output

PANEL = ("From a file to a model", 2)


def run(config: options.Run, set: options.Set = None, home: options.Home = None) -> None:
    """Prepare the data, train a model and evaluate it.

    If the argument is a data file or folder instead of a config, a config is guessed and written first, as by vertune init.

    The alias NAME@live selects the model that is served; NAME is the name in the config. If this alias does not exist
    yet, it is created and points to the new model.
    """
    from vertune.cli import evaluate, init, prepare, train
    from vertune.cli.progress import show_progress
    from vertune.core.artifact import Home
    from vertune.core.config import load
    from vertune.steps.fit import fit

    config = init.as_config(config)
    settings = load(config, set or [])
    place = Home(home)
    with show_progress("fit") as progress, train.stoppable(settings, place, config, set):
        fitted = fit(settings, place, progress)
    prepare.show(fitted.dataset)
    output.say()
    train.show(fitted.model)
    output.say()
    evaluate.show(fitted.report)
    alias = f"{settings.name}@live"
    if place.aliases().get(alias) == fitted.model.id:
        output.note(f"{alias} points to {fitted.model.id}.")
    else:
        output.note(f"{alias} still points to {place.aliases().get(alias)}. Compare the two models, then change the alias.")
        output.next_steps(f"vertune compare {alias} {fitted.model.id}", f"vertune alias {alias} {fitted.model.id}")
        return
    output.next_steps(f'vertune predict {settings.name} "a text"', f"vertune compress {settings.name}", f"vertune bundle {settings.name}")
