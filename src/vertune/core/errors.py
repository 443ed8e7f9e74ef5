"""The errors that vertune raises, named by who must act; knows nothing of how they are shown.

VertuneError
├── ConfigError      2  422  the one who wrote the config or the command
│   └── UnknownName         … and misspelt the name of a part, field, model or label
├── DataError        3  422  the one who supplies the records
├── MissingExtra     4  501  the one who installs
├── NotFound         5  404  the one who named something that is not there
├── Conflict         6  409  the one whose request contradicts what already exists
├── ModelError       7  500  the one who trained, or the base: a model that does not do what it must
├── AccessError      8  403  the one who needs a permission; 401 where nobody knows who asks
├── Busy             9  503  nobody: wait and ask again; 429 where it is the asker who asks too much
└── StorageError    10  507  the one who runs the machine: disk, database, files

Every message says what was expected, what came, and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class VertuneError(Exception):
    """Base of all errors that vertune raises on purpose."""

    exit_code = 1
    http_status = 500


class ConfigError(VertuneError):
    """A config, option or combination that can't work."""

    exit_code = 2
    http_status = 422


class UnknownName(ConfigError):
    """A name that is not among the known ones; the message offers the nearest, and says after `where` it was looked for."""

    def __init__(self, what: str, name: str, known: Iterable[str], where: str = "") -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        listed = ", ".join(names[:30]) + (f" and {len(names) - 30} more" if len(names) > 30 else "")
        super().__init__(f"There is no {what} '{name}'{where and f' in {where}'}.{hint} Known: {listed or 'none'}.")


class DataError(VertuneError):
    """Records that can't be used, with the file, row and field where they are known."""

    exit_code = 3
    http_status = 422


class MissingExtra(VertuneError):
    """An optional package that this work needs is not installed."""

    exit_code = 4
    http_status = 501

    def __init__(self, purpose: str, extra: str, package: str | None = None) -> None:
        what = f"the package '{package}'" if package else "packages"
        super().__init__(f"{purpose} needs {what}, not installed here. Install with: pip install 'vertune[{extra}]'")


class NotFound(VertuneError):
    """Something named does not exist."""

    exit_code = 5
    http_status = 404


class Conflict(VertuneError):
    """What is asked contradicts what already exists."""

    exit_code = 6
    http_status = 409


class ModelError(VertuneError):
    """A model or base that does not do what it must."""

    exit_code = 7
    http_status = 500


class AccessError(VertuneError):
    """The asker may not do this; `known` is whether it was proved who asks."""

    exit_code = 8
    http_status = 403

    def __init__(self, message: str, known: bool = True) -> None:
        super().__init__(message)
        self.http_status = 403 if known else 401


class Busy(VertuneError):
    """The work can't be taken now; `retry_after` says how many seconds to wait, `own` whether it is the asker who asks too much."""

    exit_code = 9
    http_status = 503

    def __init__(self, message: str, retry_after: float = 1.0, own: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.http_status = 429 if own else 503


class StorageError(VertuneError):
    """The disk, a database or a file can't be read or written."""

    exit_code = 10
    http_status = 507
