"""`vertune key`: creates, lists, rotates and revokes the API keys of the server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vertune.cli import options, output

if TYPE_CHECKING:
    from vertune.store.key import Key
    from vertune.store.keys import Keys

PANEL = ("Serve models", 3)

_Id = Annotated[str, typer.Argument(metavar="ID", help="The id of the key; `vertune key list` shows it.")]

verbs = typer.Typer(no_args_is_help=True)


@verbs.callback()
def run() -> None:
    """Create, list, rotate and revoke API keys of the server."""


@verbs.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The person or service that will hold the key.")],
    scope: Annotated[
        list[str],
        typer.Option("--scope", help="A permission: predict, feedback, train, label, review, chat or admin; repeatable."),
    ],
    vertical: Annotated[
        list[str] | None,
        typer.Option("--vertical", help="A vertical (the name of a model) that the key is restricted to; repeatable.", show_default="all"),
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option("--expires", metavar="TIME", help="Lifetime, such as 30m, 24h or 90d.", show_default="never expires"),
    ] = None,
    customer: Annotated[
        str | None,
        typer.Option("--customer", help="The organisation that owns the key, which sees only its own data.", show_default="default"),
    ] = None,
    rate: Annotated[str | None, typer.Option("--rate", help="Rate limit, such as 600/minute.", show_default="that of the server")] = None,
    origin: Annotated[
        str | None,
        typer.Option("--origin", help="Pages that alone may use the key: https://www.example.com.", show_default="not a web page"),
    ] = None,
    home: options.Home = None,
    database: options.Database = None,
) -> None:
    """Create an API key and print its secret.

    Standard output contains only the secret. Store it, because it can't be shown again:
    KEY=$(vertune key create NAME --scope predict)
    """
    expiry = datetime.now(UTC) + options.parse_duration(expires) if expires is not None else None
    with _keys(home, database) as keys:
        secret, key = keys.create(name, scope, vertical, expiry, rate=rate, customer=customer, origin=origin)
    _print_secret(secret, key)
    output.next_steps("vertune key list", f"vertune key revoke {key.id}")


@verbs.command("list")
def show(home: options.Home = None, database: options.Database = None, json: options.Json = False) -> None:
    """List all keys, also expired and revoked ones, without their secrets."""
    from vertune.core.artifact import Home
    from vertune.store.database import file_in

    folder = Home(home).folder
    listed: list[Key] = []
    if database or file_in(folder).exists():  # listing creates no database
        with _keys(home, database) as keys:
            listed = keys.all()
    if json:
        output.as_json([_json_of(key) for key in listed])
        return
    if not listed:
        output.note(f"There are no keys in {'this database' if database else output.relative(folder)} yet.")
        output.next_steps("vertune key create NAME --scope predict")
        return
    rows = [
        [
            key.id,
            key.name,
            key.customer,
            sorted(key.scopes),
            _verticals(key),
            key.origin,
            key.rate,
            _minute(key.created),
            _minute(key.expires),
            key.state,
        ]
        for key in listed
    ]
    output.table(["id", "name", "customer", "scopes", "verticals", "origin", "rate", "created", "expires", "state"], rows)


@verbs.command("rotate")
def rotate(
    id: _Id,
    overlap: Annotated[str, typer.Option("--overlap", metavar="TIME", help="How long the old secret stays valid: 30m, 24h, 0h …")] = "24h",
    home: options.Home = None,
    database: options.Database = None,
) -> None:
    """Replace a key by a new one with the same permissions, and print the secret of the new one."""
    with _keys(home, database) as keys:
        secret, key = keys.rotate(id, options.parse_duration(overlap))
    _print_secret(secret, key)
    output.note(f"The old key {id} stays valid for {overlap}, but not beyond its own expiry.")
    output.next_steps(f"vertune key revoke {id}")


@verbs.command("revoke")
def revoke(id: _Id, home: options.Home = None, database: options.Database = None) -> None:
    """Revoke a key permanently; running servers refuse it within half a second."""
    with _keys(home, database) as keys:
        key = keys.revoke(id)
    output.note(f"revoked {key.id} ('{key.name}')", style="")


@contextmanager
def _keys(home: Path | None, url: str | None) -> Iterator[Keys]:
    """Open the API keys in a home folder, or in the PostgreSQL database at a URL; raise StorageError if they can't be read."""
    from vertune.store.keys import Keys

    with options.opened(home, url) as (_, database):
        yield Keys(database)


def _print_secret(secret: str, key: Key) -> None:
    """Print a key's secret to standard output, and a description of the key to standard error.

    Because standard output contains only the secret, a shell script can store it with `$(…)`.
    """
    output.say(secret)
    rate = f", at most {key.rate}" if key.rate else ""
    validity = f"until {_minute(key.expires)} UTC" if key.expires else "until it is revoked"
    models = "all models" if key.verticals is None else f"the models {_verticals(key)}"
    output.note(f"The key {key.id} of '{key.name}' is valid {validity}, with the scope {', '.join(sorted(key.scopes))} for {models}{rate}.")
    output.note("Its secret is shown only now, because only its hash is stored.")


def _verticals(key: Key) -> str:
    """Format the names of the models that a key may use; "all" if the key is not restricted to some models."""
    return "all" if key.verticals is None else ", ".join(key.verticals)


def _minute(time: datetime | None) -> str:
    """Format a time as date, hours and minutes; an empty string for None."""
    return f"{time:%Y-%m-%d %H:%M}" if time else ""


def _json_of(key: Key) -> dict[str, Any]:
    """Return the properties of a key as a dict that can be written as JSON; the secret is not among them."""
    times = {name: time and time.isoformat() for name in ("created", "expires", "revoked") for time in [getattr(key, name)]}
    permissions = {"scopes": sorted(key.scopes), "verticals": key.verticals, "rate": key.rate, "origin": key.origin}
    return {"id": key.id, "name": key.name, "customer": key.customer, **permissions, **times, "state": key.state}
