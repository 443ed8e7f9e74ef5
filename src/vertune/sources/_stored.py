"""Opens the database of a server for the sources that read what it stored; knows nothing of its tables."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vertune.core.artifact import Home
from vertune.core.errors import MissingExtra, NoDatabase

if TYPE_CHECKING:
    from vertune.store.database import Database


@contextmanager
def opened(home: str | None, what: str) -> Iterator[Database]:
    """Open the database in a home folder; with None, that of this process, or the one that VERTUNE_DATABASE names.

    `what` is read from it, for the message of MissingExtra. Raises NoDatabase if there is none.
    """
    try:
        from vertune.store.database import VARIABLE, Database, file_in
    except ImportError as error:
        raise MissingExtra(f"Reading {what}", "serve", "sqlalchemy") from error
    folder = Home(None if home is None else Path(home)).folder
    remote = os.environ.get(VARIABLE) if home is None else None
    if not remote and not file_in(folder).exists():
        raise NoDatabase(f"There is no database of a server in {folder}. Name the home of the server: `home: FOLDER`.")
    with closing(Database(remote or file_in(folder))) as database:
        yield database
