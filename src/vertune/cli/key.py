"""`vertune key`: makes, lists, rotates and revokes the keys of the server; knows nothing of how they are kept or checked."""

from __future__ import annotations

import re
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vertune.cli import options, output

if TYPE_CHECKING:
    from vertune.store.keys import Key

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_DURATION = re.compile(r"(\d{1,6})([mhd])")
_Id = Annotated[str, typer.Argument(metavar="ID", help="The id of the key; `vertune key list` shows it.")]

verbs = typer.Typer(no_args_is_help=True)


@verbs.callback()
def run() -> None:
    """Make, list, rotate and revoke keys of the server."""


@verbs.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who or what will hold the key.")],
    scope: Annotated[list[str], typer.Option("--scope", help="What it may do: predict, feedback, train or admin; repeatable.")],
    vertical: Annotated[
        list[str] | None, typer.Option("--vertical", help="A vertical that it is bound to; repeatable.", show_default="all of them")
    ] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="TIME", help="When it ends: in 30m, 24h or 90d.", show_default="never")
    ] = None,
    rate: Annotated[
        str | None, typer.Option("--rate", help="How much it may ask, such as 600/minute.", show_default="no limit of its own")
    ] = None,
    home: options.Home = None,
) -> None:
    """Make a key; standard output has its secret and nothing else.

    The secret is shown this once: KEY=$(vertune key create NAME --scope predict)
    """
    from vertune.store.keys import Keys

    end = datetime.now(UTC) + _duration(expires) if expires is not None else None
    with closing(Keys(_file(home))) as keys:
        secret, key = keys.create(name, scope, vertical, end, rate)
    _hand_over(secret, key)
    output.next_steps("vertune key list", f"vertune key revoke {key.id}")


@verbs.command("list")
def show(home: options.Home = None, json: options.Json = False) -> None:
    """List all keys, the ended ones too; none of them with its secret."""
    from vertune.store.keys import Keys

    file = _file(home)
    found: list[Key] = []
    if file.exists():  # looking makes no database
        with closing(Keys(file)) as keys:
            found = keys.all()
    if json:
        output.as_json([_plain(key) for key in found])
        return
    if not found:
        output.note(f"There are no keys in {output.relative(file.parent)} yet.")
        output.next_steps("vertune key create NAME --scope predict")
        return
    rows = [
        [key.id, key.name, sorted(key.scopes), _bounds(key), key.rate, _day(key.created), _day(key.expires), key.state] for key in found
    ]
    output.table(["id", "name", "may", "verticals", "rate", "made", "ends", "state"], rows)


@verbs.command("rotate")
def rotate(
    id: _Id,
    overlap: Annotated[str, typer.Option("--overlap", metavar="TIME", help="How long the old secret works on: 30m, 24h, 0h …")] = "24h",
    home: options.Home = None,
) -> None:
    """Replace a key by one of the same rights; prints the new secret."""
    from vertune.store.keys import Keys

    with closing(Keys(_file(home))) as keys:
        secret, key = keys.rotate(id, _duration(overlap))
    _hand_over(secret, key)
    output.note(f"The old key {id} works for {overlap} more, or until it would have ended.")
    output.next_steps(f"vertune key revoke {id}")


@verbs.command("revoke")
def revoke(id: _Id, home: options.Home = None) -> None:
    """End a key at once and for good."""
    from vertune.store.keys import Keys

    with closing(Keys(_file(home))) as keys:
        key = keys.revoke(id)
    output.note(f"revoked {key.id} ('{key.name}')", style="")


def _file(home: Path | None) -> Path:
    from vertune.core.artifact import Home
    from vertune.store.keys import FILE

    return Home(home).folder / FILE


def _duration(text: str) -> timedelta:
    """A time in words of the command line; ConfigError for any other."""
    from vertune.core.errors import ConfigError

    found = _DURATION.fullmatch(text)
    if not found:
        raise ConfigError(f"A time is a whole number with m, h or d behind it, such as 30m, 24h or 90d; got '{text}'.")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _hand_over(secret: str, key: Key) -> None:
    """The secret to standard output alone, so that `$(…)` takes it; what else there is to know beside."""
    output.say(secret)
    limits = f", at most {key.rate}" if key.rate else ""
    ends = f"until {_day(key.expires)} UTC" if key.expires else "until it is revoked"
    output.note(f"The key {key.id} of '{key.name}' may {', '.join(sorted(key.scopes))} on {_bounds(key)}{limits}, {ends}.")
    output.note("Its secret is shown this once; what is stored is a hash, from which nobody gets it back.")


def _bounds(key: Key) -> str:
    return "all" if key.verticals is None else ", ".join(key.verticals)


def _day(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M}" if time else ""


def _plain(key: Key) -> dict[str, Any]:
    times = {name: time and time.isoformat() for name in ("created", "expires", "revoked") for time in [getattr(key, name)]}
    rights = {"scopes": sorted(key.scopes), "verticals": key.verticals, "rate": key.rate}
    return {"id": key.id, "name": key.name, **rights, **times, "state": key.state}
