"""Compares the number of connections with the number of files that the process may open; independent of what the connections carry."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from vertune.core.errors import ConfigError

try:
    import resource
except ImportError:  # on Windows, which has no such limit
    resource = None  # type: ignore[assignment]

_log = logging.getLogger("vertune")
_RESERVED = 64
"""Number of files that models, the database and child processes may need at the same time, beside those that are open already."""
_MAX_BACKLOG = 2048
_MIN_BACKLOG = 16
_UNKNOWN_OPEN_FILES = 64
"""Assumed number of files that are already open, if the system does not show it."""


@dataclass(frozen=True, slots=True)
class ConnectionCapacity:
    """How many connections a process can have."""

    connections: int
    backlog: int
    """Maximum number of connections that wait to be accepted. All of them may be accepted at once, even if they are refused then."""


def connection_capacity(wanted: int) -> ConnectionCapacity:
    """Return how many connections this process can have without running out of file handles, but at most `wanted`.

    If necessary, the limit of the process is raised as far as the system allows. If it is still too low, this is logged. Raises
    ConfigError if the process can have no connections at all.
    """
    if resource is None:
        return ConnectionCapacity(wanted, _MAX_BACKLOG)
    used = _open_files() + _RESERVED
    soft = _raised(used + wanted + 2 * _MAX_BACKLOG)
    if soft is None:
        return ConnectionCapacity(wanted, _MAX_BACKLOG)
    backlog = min(_MAX_BACKLOG, max(_MIN_BACKLOG, (soft - used) // 8))
    connections = min(wanted, soft - used - 2 * backlog)
    if connections < 1:
        raise ConfigError(
            f"The process may open only {soft} files; expected at least {used + 2 * backlog + 1} for one connection. "
            f"Raise the limit before the start: ulimit -n {used + wanted + 2 * _MAX_BACKLOG}"
        )
    if connections < wanted:
        _log.warning(
            "At most %d connections are accepted instead of %d, because this process may open only %d files. Raise the limit before the "
            "start: ulimit -n %d",
            connections, wanted, soft, used + wanted + 2 * _MAX_BACKLOG,
        )  # fmt: skip
    return ConnectionCapacity(connections, backlog)


def _raised(needed: int) -> int | None:
    """Return how many files the process may open, after raising this limit to `needed` if that is allowed; None means unlimited."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft == unlimited:
        return None
    raised = needed if hard == unlimited else min(needed, hard)
    if soft < raised:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
        except (OSError, ValueError):  # macOS allows fewer than the hard limit says
            return soft
        soft = raised
    return soft


def _open_files() -> int:
    try:
        return sum(1 for _ in Path("/dev/fd").iterdir())
    except OSError:
        return _UNKNOWN_OPEN_FILES
