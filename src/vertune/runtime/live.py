"""Finds the models to which the aliases NAME@live of a home folder point; each alias is read on its own; independent of serving."""

from __future__ import annotations

from dataclasses import dataclass, field

from vertune.core.artifact import Artifact, Home
from vertune.core.errors import ConfigError, StorageError, VertuneError
from vertune.core.kinds import Task
from vertune.core.parse import build

_REASON_CHARACTERS = 1_000
"""Maximum length of a reason that is shown to users. One that is cut is not found among the texts of errors, which have translations."""


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


def require_like_live(home: Home, name: str, candidate: Artifact) -> None:
    """Raise ConfigError if a model has another task than the live model of a vertical, or reads other fields.

    Clients of the vertical would then send what the model can't read, or get answers that they can't read. Nothing is required if no model
    is live, or if the live one can't be read.
    """
    try:
        written = [one.manifest.get("config", {}).get("task") for one in (candidate, home.get("models", f"{name}@live"))]
    except VertuneError:
        return
    if None in written:
        return
    tasks = [build(Task, one) for one in written]
    has, expected = (one.name for one in tasks)
    if has == expected:
        has, expected = (f"{one.name} with the fields {', '.join(sorted(_fields(one)))}" for one in tasks)
    if has != expected:
        raise ConfigError(
            f"The task of {candidate.id} is {has}; expected {expected}, as the live model's. Choose another model, or change the clients "
            f"of '{name}' first, and then deploy it at once: --another-task, or `another_task` over HTTP."
        )


def _fields(task: Task) -> list[str]:
    """Return the input fields that a request must have."""
    return [f"{column.name} ({column.type})" for column in task.input_columns if column.required]


def reason(error: BaseException, model: Artifact) -> str:
    """Return why a model can't be served, in one line; `error` is the exception that was raised while it was loaded."""
    if not isinstance(error, VertuneError):
        about = f"{type(error).__name__}: {error}"[: _REASON_CHARACTERS // 2]
        error = StorageError(f"The files of the model {model.id} can't be used ({about}). Restore them, or train the model again.")
    return shorten(str(error))


def shorten(text: str) -> str:
    """Return a text in one line of printable characters, cut after so many that every text of an error of ours is complete."""
    line = " ".join(text.split())
    line = "".join(character if character.isprintable() else ascii(character)[1:-1] for character in line)
    return line if len(line) <= _REASON_CHARACTERS else line[: _REASON_CHARACTERS - 1] + "…"
