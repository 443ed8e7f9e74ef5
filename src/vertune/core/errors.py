"""The errors that vertune raises, grouped by who must act; independent of how they are displayed.

Each class has an exit code of the command line and an HTTP status of the server:

                   exit HTTP  who must act
VertuneError
├── ConfigError      2  422   the author of the config or command
│   └── UnknownName   2  422   the same author, who misspelt the name of a component, field, model or label
├── DataError        3  422   the supplier of the records
│   └── NoRows        3  422   the same supplier, whose source can be read and has no records, or none yet
├── MissingExtra     4  501   whoever installs packages: an optional package is missing
├── NotFound         5  404   the caller, who named something that does not exist
│   └── NoDatabase    5  404   the same caller, who wants what a server stored, where no server has stored anything
├── Conflict         6  409   the caller, whose request contradicts what exists
├── ModelError       7  500   whoever made the trained or pretrained model: it does not behave as required
├── AccessError      8  403   the caller, who lacks a permission (HTTP 401 if the caller sent no valid key)
├── Busy             9  503   the caller, who must wait and retry (HTTP 429 if the caller exceeded a limit)
└── StorageError    10  507   the operator of the machine: disk, memory, database, files
    └── Unavailable  10  503   the same operator; the caller may retry, because the database can be used again without a change of theirs

A message says what went wrong (with the value), what was expected, and what to do, in this order.
"""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

_DISK = re.compile(
    r"os error (5|24|27|28|30|122)\b|No space left on device|Disk quota exceeded|File too large|Read-only file system|Input/output error"
    r"|Too many open files|database or disk is full|disk I/O error|inline_container.*unexpected pos|requested and \d+ written"
)
"""How polars, safetensors, tokenizers, torch, numpy and SQLite say that a file can't be written, in this order of appearance."""
_DISK_NUMBERS = frozenset({errno.EIO, errno.EMFILE, errno.EFBIG, errno.ENOSPC, errno.EROFS, errno.EDQUOT})
_MEMORY = re.compile(
    r"os error 12\b|(can't|cannot|failed to|unable to) allocate|not enough memory|out of memory|bad.?alloc(ation)?\b",
    re.ASCII | re.IGNORECASE,
)
"""How torch, ONNX Runtime, numpy and C++ libraries say that there is not enough memory."""


def first_line(error: BaseException) -> str:
    """Return the first line of the message of an error of another library, for a message of ours; its class if there is no message."""
    return next((line.strip() for line in str(error).split("\n") if line.strip()), type(error).__name__)


class VertuneError(Exception):
    """Base class of all errors that vertune raises on purpose."""

    exit_code = 1
    http_status = 500


class ConfigError(VertuneError):
    """An option, or a combination of options, that can't work."""

    exit_code = 2
    http_status = 422


class UnknownName(ConfigError):
    """A name that does not exist; the message lists the known names and suggests the most similar one.

    `what` is the kind of thing that has such names, such as "metric"; `where`, if given, is the place that was searched, such as a file.
    """

    def __init__(self, what: str, name: str, known: Iterable[str], where: str = "") -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        listed = ", ".join(names[:30]) + (f" and {len(names) - 30} more" if len(names) > 30 else "")
        super().__init__(f"There is no {what} '{name}'{where and f' in {where}'}.{hint} Known: {listed or 'none'}.")


class DataError(VertuneError):
    """Records that can't be used; the message names the file, row and field if they are known."""

    exit_code = 3
    http_status = 422


class NoRows(DataError):
    """A source that can be read has no records, or none yet; whoever reads several sources may go on with the others."""


class MissingExtra(VertuneError):
    """An optional package that an operation needs is not installed; the message contains the pip command that installs it.

    `purpose` is the operation, such as "Drawing a chart"; `extra` is the extra of vertune, such as `train`, that includes the package.
    """

    exit_code = 4
    http_status = 501

    def __init__(self, purpose: str, extra: str, package: str | None = None) -> None:
        what = f"the package '{package}', which is" if package else "packages that are"
        super().__init__(f"{purpose} needs {what} not installed. Install with: pip install 'vertune[{extra}]'")
        self.extra, self.package = extra, package


class NotFound(VertuneError):
    """Something that the caller named does not exist."""

    exit_code = 5
    http_status = 404


class NoDatabase(NotFound):
    """No server has stored anything in a home; whoever reads several sources may go on with the others."""


class Conflict(VertuneError):
    """A request that contradicts what already exists."""

    exit_code = 6
    http_status = 409


class ModelError(VertuneError):
    """A trained model, or the pretrained model that it is based on, does not behave as required."""

    exit_code = 7
    http_status = 500


class AccessError(VertuneError):
    """The caller is not allowed to do this. The server answers with HTTP 403 if the caller sent a valid key (`authenticated`), else 401."""

    exit_code = 8
    http_status = 403

    def __init__(self, message: str, authenticated: bool = True) -> None:
        super().__init__(message)
        self.http_status = 403 if authenticated else 401


class Busy(VertuneError):
    """The request can't be processed now; retry after `retry_after` seconds.

    The server answers with HTTP 429 if the caller exceeded a limit (`over_limit`), else with 503.
    """

    exit_code = 9
    http_status = 503

    def __init__(self, message: str, retry_after: float = 1.0, over_limit: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.http_status = 429 if over_limit else 503


class StorageError(VertuneError):
    """The disk, a database or a file can't be read or written, or no memory is left."""

    exit_code = 10
    http_status = 507


class Unavailable(StorageError):
    """The database can't be used at the moment; a request that needs it is to be retried after `retry_after` seconds."""

    http_status = 503
    retry_after = 5.0


def machine_error(error: BaseException) -> StorageError | None:
    """Translate an error with which another library says that the disk or the memory is full; return None for any other error.

    Each library has its own class for it: polars ComputeError, safetensors SafetensorError, torch RuntimeError, ONNX Runtime Fail. So the
    message decides, and these libraries need not be imported.
    """
    if isinstance(error, VertuneError):
        return None
    if isinstance(error, MemoryError) or _MEMORY.search(str(error)):
        return StorageError(
            f"The memory of this machine is not sufficient: {first_line(error)}. Close other programs, or use less memory with fewer "
            "tokens in a pass (device.tokens) or a smaller pretrained model; then run again."
        )
    if is_disk_error(error):
        return StorageError(
            f"A file can't be written or read: {first_line(error)}. Free some disk space, or raise the limit that the message names; "
            "then run again. VERTUNE_HOME names another folder for results."
        )
    return None


def is_disk_error(error: BaseException) -> bool:
    """Return whether an exception of any library says that the disk is full, read-only or broken; errors of vertune never do."""
    if isinstance(error, VertuneError):
        return False
    return (isinstance(error, OSError) and error.errno in _DISK_NUMBERS) or bool(_DISK.search(str(error)))


@contextmanager
def machine_errors() -> Iterator[None]:
    """Run the `with` block, or the decorated function; raise StorageError if another library says that the disk or the memory is full."""
    try:
        yield
    except Exception as error:
        translated = machine_error(error)
        if translated is None:
            raise
        raise translated from error


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception of any library says that memory could not be allocated.

    torch raises a RuntimeError for the memory of the processor, and a class derived from it for that of a GPU.
    """
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and bool(_MEMORY.search(str(error))))


def describe_exit(code: int) -> str:
    """Describe why a child process ended with this exit code, if it printed no reason; a negative code is that of a signal."""
    if code == -9:
        return "the system killed the process, most likely because no memory was left"
    return f"the process ended with the code {code} and without a message"
