"""`vertune user`: creates, lists, changes and removes the people who sign in to the server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vertune.cli import options, output

if TYPE_CHECKING:
    from vertune.server.people import Manager, People
    from vertune.store.user import User

PANEL = ("Serve models", 3)

_Name = Annotated[str, typer.Argument(metavar="NAME", help="The name of the user; `vertune user list` shows it.")]
_Ask = Annotated[bool, typer.Option("--ask", help="Ask for the password instead of making one.")]

verbs = typer.Typer(no_args_is_help=True)


@verbs.callback()
def run() -> None:
    """Create, list, change and remove users of the server."""


@verbs.command("create")
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Letters, digits, '-', '_' and '.', or an e-mail address.")],
    role: Annotated[str, typer.Option("--role", help="What the user may do: annotator, reviewer, manager or admin.")],
    customer: Annotated[
        str | None, typer.Option("--customer", help="The organisation whose data the user sees.", show_default="default")
    ] = None,
    ask: _Ask = False,
    home: options.Home = None,
    database: options.Database = None,
) -> None:
    """Create a user and print the password.

    Standard output contains only the password, which can't be shown again. Users change it after they have signed in. With --ask, you
    type it instead, and nothing is printed there.
    """
    password = _password(ask)
    with _people(home, database) as (people, manager):
        user = people.create(name, role, customer, password, manager)
    _print_password(password, ask)
    output.note(f"The user {user.name} of the customer {user.customer} signs in as {user.role}.")
    output.next_steps("vertune user list", f"vertune user change {user.name} --role reviewer")


@verbs.command("list")
def show(home: options.Home = None, database: options.Database = None, json: options.Json = False) -> None:
    """List all users, also disabled ones."""
    from vertune.core.artifact import Home
    from vertune.store.database import file_in

    listed: list[User] = []
    if database or file_in(Home(home).folder).exists():  # listing creates no database
        from vertune.store.users import find

        with options.opened(home, database) as (_, opened), opened.reading() as connection:
            listed = find(connection)
    if json:
        output.as_json([_json_of(user) for user in listed])
        return
    if not listed:
        output.note("There are no users yet.")
        output.next_steps("vertune user create NAME --role annotator")
        return
    rows = [[one.name, one.role, one.customer, f"{one.at[:10]}", _way(one), "disabled" if one.disabled else "active"] for one in listed]
    output.table(["name", "role", "customer", "created", "signs in by", "state"], rows)


@verbs.command("change")
def change(
    name: _Name,
    role: Annotated[str | None, typer.Option("--role", help="A new role: annotator, reviewer, manager or admin.")] = None,
    new_password: Annotated[bool, typer.Option("--new-password", help="Replace the password, and print the new one.")] = False,
    ask: _Ask = False,
    disabled: Annotated[
        bool | None, typer.Option("--disable/--enable", help="Whether the user may not sign in.", show_default="as it is")
    ] = None,
    home: options.Home = None,
    database: options.Database = None,
) -> None:
    """Change the role or the password of a user, or whether the user may sign in. All browsers of the user are signed out."""
    from vertune.core.errors import ConfigError

    if role is None and disabled is None and not (new_password or ask):
        raise ConfigError("Nothing is to be changed; expected an option. Pass --role, --new-password, --ask, --disable or --enable.")
    password = _password(ask) if new_password or ask else None
    with _people(home, database) as (people, manager):
        user = people.change(name, manager, role, password, disabled)
    if password is not None:
        _print_password(password, ask)
    output.note(f"The user {user.name} is {'disabled' if user.disabled else f'active as {user.role}'}; all browsers are signed out.")


@verbs.command("remove")
def remove(name: _Name, home: options.Home = None, database: options.Database = None) -> None:
    """Remove a user; running servers sign all browsers of the user out within half a second. What the user labelled stays."""
    with _people(home, database) as (people, manager):
        people.remove(name, manager)
    output.note(f"removed the user {name}", style="")


@contextmanager
def _people(home: Path | None, url: str | None) -> Iterator[tuple[People, Manager]]:
    """Open the users of a home folder, or of the PostgreSQL database at a URL, and yield them with who changes them."""
    from vertune.server.people import Manager, People
    from vertune.store.keys import ACTOR

    with options.opened(home, url) as (_, database):
        yield People(database), Manager(ACTOR)


def _password(ask: bool) -> str:
    """Return a new password: one that is typed twice without being shown, or a random one."""
    from vertune.store.passwords import new_password

    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)) if ask else new_password()


def _print_password(password: str, asked: bool) -> None:
    """Print a password that was made to standard output, where a script can store it; one that was typed is not printed."""
    if not asked:
        output.say(password)
        output.note("This password is shown only now, because only its hash is stored.")


def _way(user: User) -> str:
    return "password" if user.subject is None else "OpenID Connect"


def _json_of(user: User) -> dict[str, object]:
    """Return the properties of a user as a dict that can be written as JSON; the password is not among them."""
    about = {"name": user.name, "role": user.role, "customer": user.customer, "created": user.at}
    return {**about, "openid": user.subject is not None, "disabled": user.disabled}
