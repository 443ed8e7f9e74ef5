"""`vertune watch`: runs monitors by schedule, sends alerts, and trains verticals again, in a process of its own."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vertune.cli import options, output

if TYPE_CHECKING:
    from vertune.server.watching import Watching

PANEL = ("Serve models", 11)
_PATIENCE = 20.0
"""Seconds for which --once waits for a process that watches and may have died."""


def run(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[VERTICAL]...", help="The names of the verticals.", show_default="all that are live"),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", metavar="FILE", help="Channels, and options of the section watch for all verticals.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Do what is due now, and end.")] = False,
    trial: Annotated[bool, typer.Option("--test", help="Send a test message on each channel, and end.")] = False,
    cores: Annotated[int, typer.Option("--cores", min=0, help="Processors for retrainings; 0 leaves them to a server.")] = 0,
    home: options.Home = None,
    database: options.Database = None,
) -> None:
    """Run monitors by schedule, and tell people what they find.

    A server does the same with `vertune serve --watch FILE`. Of several processes with one database, one watches at a time. Channels are
    read from FILE alone, and never from a model.
    """
    from vertune.core.watch import WatchFile
    from vertune.server.jobs import Jobs
    from vertune.server.logs import configure
    from vertune.server.settings import JobSettings
    from vertune.server.watching import Watching

    configure("text")
    with options.opened(home, database) as (where, opened):
        jobs = Jobs(opened, where.folder, JobSettings(cores=cores)) if cores else None
        written = WatchFile.read(file) if file is not None else WatchFile()
        watching = Watching(where, opened, written, jobs, only=frozenset(names or ()))
        _require(watching, names or [])
        if trial:
            _try(watching)
            return
        watching.watcher.check()
        if once:
            _once(watching)
            return
        if jobs is not None:
            jobs.polling.start()
        watching.start()
        try:
            output.note(f"Watching {', '.join(sorted(watching.watcher.watches()))}. Stop with Ctrl-C.", style="")
            _wait()
        finally:
            watching.stop()
            if jobs is not None:
                jobs.stop()


def _require(watching: Watching, names: list[str]) -> None:
    """Raise NotFound if a vertical that was named, or any, has no live model that can be watched."""
    from vertune.core.errors import NotFound

    found = watching.watcher.watches()
    missing = sorted(set(names) - set(found))
    if missing or not found:
        raise NotFound(
            f"There is no live model of {', '.join(missing) or 'any vertical'} to watch; expected an alias NAME@live. Create it: "
            f"vertune alias {missing[0] if missing else 'NAME'}@live MODEL"
        )


def _try(watching: Watching) -> None:
    """Send a test message on each channel, and print which ones work."""
    from vertune.core.errors import ConfigError, VertuneError
    from vertune.steps.alert.messages import trial

    channels = watching.watcher.channels()
    if not channels:
        raise ConfigError("There are no channels; expected some in the file of the operator. Add `channels:` to it, and pass --file FILE.")
    failed: list[VertuneError] = []
    for name, channel in channels.items():
        try:
            channel.check()
            channel.send(trial("en"))
        except VertuneError as error:
            failed.append(error)
            output.note(f"{name}: {error}", style="red")
        else:
            output.note(f"{name}: sent", style="green")
    if failed:
        raise failed[0]


def _once(watching: Watching) -> None:
    """Do what is due, and print the alerts that are open."""
    from vertune.core.errors import Busy
    from vertune.core.sentence import written
    from vertune.store import alerts

    started = time.monotonic()
    while not watching.watcher.lease.renew():
        if time.monotonic() - started > _PATIENCE:
            raise Busy("Another process watches these verticals. Stop it, or leave the work to it.", _PATIENCE)
        time.sleep(1)
    try:
        watching.watcher.step()
        sent = watching.watcher.deliver()
        with watching.watcher.database.reading() as connection:
            found = [one for name in watching.watcher.watches() for one in alerts.unsolved(connection, name).values()]
    finally:
        watching.stop()
    rows = [[one.vertical, one.rule, one.severity, one.began[:16].replace("T", " "), one.state, written(one.why, "en")] for one in found]
    if rows:
        output.table(["vertical", "rule", "severity", "since (UTC)", "state", "why"], rows)
    output.note(f"{len(rows)} open alerts; {sent} messages sent.", style="")


def _wait() -> None:
    """Wait for SIGTERM or SIGINT."""
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    ended.wait()
