"""Finds the models to which the aliases NAME@live of a home folder point; each alias is read on its own; independent of serving."""

from __future__ import annotations

from dataclasses import dataclass, field

from vertune.core.artifact import Artifact, Home
from vertune.core.errors import VertuneError

_REASON_CHARACTERS = 400
"""Maximum length of a reason that is shown to users."""


@dataclass(frozen=True, slots=True)
class LiveModels:
    """The models that are to be served, and the aliases for which none was found."""

    models: dict[str, Artifact] = field(default_factory=dict)
    """By NAME, the model to which the alias NAME@live points."""
    errors: dict[str, str] = field(default_factory=dict)
    """By NAME, why the model of the alias NAME@live was not found: the alias can't be read, or its model does not exist."""


def read_live(home: Home) -> LiveModels:
    """Return the models to which aliases NAME@live point; raise StorageError if the folder of the aliases can't be read."""
    live = LiveModels()
    for alias, target in home.read_aliases().items():
        name, _, tag = alias.partition("@")
        if tag != "live":
            continue
        if isinstance(target, VertuneError):
            live.errors[name] = shorten(str(target))
            continue
        try:
            live.models[name] = home.target("models", target)
        except VertuneError as error:
            live.errors[name] = shorten(str(error).replace("NAME@TAG", alias))
    return live


def reason(error: BaseException, model: Artifact) -> str:
    """Return why a model can't be served, in one line; `error` is the exception that was raised while it was loaded."""
    if isinstance(error, VertuneError):
        return shorten(str(error))
    return shorten(
        f"The files of the model {model.id} can't be used ({type(error).__name__}: {error}). Restore them, or train the model again."
    )


def shorten(text: str) -> str:
    """Return a text in one line of printable characters, cut after a few hundred."""
    line = " ".join(text.split())
    line = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in line)
    return line if len(line) <= _REASON_CHARACTERS else line[: _REASON_CHARACTERS - 1] + "…"
