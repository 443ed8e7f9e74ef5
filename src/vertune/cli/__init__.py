"""The command line: each file defines one command, which parses arguments, calls a function and prints its result.

The functions that do the work are in other packages, mostly in `vertune.steps`. A command imports what it needs only
when it is called, so that `vertune --help` is fast.
"""

from __future__ import annotations

import importlib
import inspect
import io
import pkgutil
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from types import ModuleType
from typing import Annotated, NoReturn

import typer

from vertune.core import collector

HEADINGS = ("From a file to a model", "Use a model", "Serve models", "Look around", "Free space", "Further commands")
"""The headings of `vertune --help`, in order; a command's `PANEL` has its heading and its position under the heading."""
ENTRY_POINTS = "vertune.cli"
"""Group of the entry points with which other packages add commands."""
_SHARED = frozenset({"options", "output", "progress"})
"""Modules of this folder that are not commands but are used by them."""


def commands(only: str | None = None) -> dict[str, ModuleType]:
    """Return the modules of all commands by the command's name, in the order of `vertune --help`.

    The commands are the modules of this folder, and those that other packages register as entry points of the group
    `vertune.cli`. If `only` is the name of one in this folder, return that one alone, without importing the others.
    """
    targets = {found.name: f"{__name__}.{found.name}" for found in pkgutil.iter_modules(__path__) if found.name not in _SHARED}
    if only in targets:
        return {only: importlib.import_module(targets[only])}
    for entry in metadata.entry_points(group=ENTRY_POINTS):
        targets.setdefault(entry.name, entry.value)
    modules = {name: importlib.import_module(target) for name, target in targets.items()}
    return dict(sorted(modules.items(), key=lambda item: (HEADINGS.index(panel(item[1])[0]), panel(item[1])[1], item[0])))


def panel(command: ModuleType) -> tuple[str, int]:
    """Return where `vertune --help` lists a command: the heading, and the position under this heading.

    A command's module defines both in its variable `PANEL`. Without it, or with an unknown heading, the command is
    listed under the last heading.
    """
    heading, place = getattr(command, "PANEL", (HEADINGS[-1], 0))
    return (heading, place) if heading in HEADINGS else (HEADINGS[-1], place)


def application(only: str | None = None) -> typer.Typer:
    """Return the Typer application with all commands; if `only` is the name of one of this package, with that one alone.

    To build all commands takes about as long as a short command itself.
    """
    app = typer.Typer(
        name="vertune",
        help="Turn a general pretrained model into one for your field: from a labelled file to a model that you can serve.",
        epilog="Start with: vertune init DATA.csv && vertune fit run.yaml",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for name, module in commands(only).items():
        heading, _ = panel(module)
        if hasattr(module, "verbs"):
            app.add_typer(module.verbs, name=name, rich_help_panel=heading)
        else:
            app.command(name, rich_help_panel=heading, help=_help(module.run))(module.run)
    return app


def _help(run: Callable[..., object]) -> str:
    """Return the docstring of a command with each paragraph on one line, because Typer would keep its line breaks."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in (inspect.getdoc(run) or "").split("\n\n"))


def _version(requested: bool) -> None:
    """If the option `--version` was given, print the version and exit."""
    if requested:
        from vertune import __version__

        typer.echo(f"vertune {__version__}")
        raise typer.Exit


def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error. Can also follow any command.")] = False,
) -> None:
    """Declare the options that can be written before a command.

    The function does nothing itself: `_version` handles `--version`, and `main` removes `--debug` before Typer parses
    the arguments.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit the process; `arguments` are by default those of the process.

    An error is printed to standard error, and its class decides the exit code. With `--debug`, it is raised instead, so
    that Python prints the traceback.
    """
    words = [*(sys.argv[1:] if arguments is None else arguments)]  # not list(): that name is a command's module here
    end = words.index("--") if "--" in words else len(words)
    debug = "--debug" in words[:end]
    collector.look_less_often()
    _print_every_character()
    words = [word for position, word in enumerate(words) if word != "--debug" or position >= end]
    try:
        application(words[0] if words else None)(words, prog_name="vertune")
    except Exception as error:
        if debug:
            raise
        sys.exit(_report(error))
    sys.exit(0)


def _print_every_character() -> None:
    """Print characters that the encoding of a stream lacks as escapes instead of failing.

    A command that fails when it prints its last line would lose the result of long work.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _report(error: Exception) -> int:
    """Print an error to standard error, and return the exit code for errors of its class.

    A missing optional package is reported as MissingExtra; a file that can't be read or written, and a lack of memory,
    as StorageError.
    Any other error that is not a VertuneError is reported as a bug of vertune, with the exit code 1.
    """
    from vertune.core.errors import MissingExtra, StorageError, VertuneError, machine_error

    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in _EXTRAS:
        package = (error.name or "").partition(".")[0]
        error = MissingExtra("This command", _EXTRAS[package], package)
    elif translated := machine_error(error):
        error = translated
    elif isinstance(error, OSError) and error.filename:
        error = StorageError(f"Can't read or write {error.filename}: {error.strerror or error}. Check the path and its permissions.")
    if isinstance(error, VertuneError):
        _print_error(str(error))
        return error.exit_code
    _print_error(f"This is a bug in vertune: {type(error).__name__}: {error}. Run the command again with --debug and report the traceback.")
    return 1


_EXTRAS = {
    "accelerate": "train", "huggingface_hub": "train", "peft": "train", "sklearn": "train", "torch": "train", "transformers": "train",
    "fastapi": "serve", "httpx": "serve", "limits": "serve", "orjson": "serve", "prometheus_client": "serve", "uvicorn": "serve",
    "sentence_transformers": "sentence-transformers", "sqlalchemy": "sql", "fastexcel": "excel", "datasets": "huggingface",
}  # fmt: skip
"""Maps the import name of each optional package to the pip extra that installs it, as in `pip install 'vertune[train]'`."""


def _print_error(text: str) -> None:
    """Write a message to standard error after the word `Error:`, which is red on a terminal."""
    red, reset = ("\033[31m", "\033[0m") if sys.stderr.isatty() else ("", "")
    sys.stderr.write(f"{red}Error:{reset} {text}\n")
