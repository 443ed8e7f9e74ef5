"""Child processes that need not import: forks of one process that has imported what is heavy; knows nothing of what they run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).parent


class Forks:
    """The process that forks, started when it is first needed.

    `words` are what Python is called with to run a module or a file in a fork. What runs has its own process and group, and the standard
    streams, environment and folder of whoever called; that its imports are done already is the only difference. Whoever ends the process
    that was called ends the fork too.
    """

    def __init__(self, folder: Path) -> None:
        self._socket = folder / "socket"
        self._process: subprocess.Popen[str] | None = None

    def words(self, what: str) -> list[str]:
        """Return the arguments of Python that stand for `-m NAME`, or for a path that ends in .py."""
        if self._process is None:
            command = [sys.executable, "-P", str(_HERE / "forking.py"), str(self._socket)]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            assert self._process.stdout is not None
            assert self._process.stdout.readline() == "ready\n"
        return ["-IS", str(_HERE / "standing.py"), str(self._socket), what]

    def close(self) -> None:
        """End the process, and what it forked."""
        if self._process is not None:
            self._process.communicate(timeout=20)


@dataclass(frozen=True)
class ForkedModule:
    """The arguments of Python that stand for `-m NAME`; the process that forks is started when they are first read."""

    forks: Forks
    name: str

    def __iter__(self) -> Iterator[str]:
        return iter(self.forks.words(self.name))
