"""Child processes that need not import: forks of one process that has imported what is heavy; knows nothing of what they run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).parent
_SECONDS = 180.0
"""How long the process that forks may take to import."""


class Forks:
    """The process that forks, started when it is first needed; all workers of a run with pytest-xdist share one, which takes 6 s to import.

    `words` are what Python is called with to run a module or a file in a fork. What runs has its own process and group, and the standard
    streams, environment and folder of whoever called; that its imports are done already is the only difference. Whoever ends the process
    that was called ends the fork too.
    """

    def __init__(self, folder: Path, shared: bool) -> None:
        """`folder` is that of all workers if they share the process, which then ends with the process that started the workers."""
        self._folder, self._shared = folder, shared
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process, if no worker has; it imports while tests go on."""
        if self._process is not None:
            return
        self._folder.mkdir(exist_ok=True)
        try:
            (self._folder / "started").touch(exist_ok=False)
        except FileExistsError:
            return
        command = [sys.executable, "-P", str(_HERE / "forking.py"), str(self._socket), str(os.getppid() if self._shared else 0)]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL if self._shared else subprocess.PIPE, stdout=subprocess.DEVNULL)

    def words(self, what: str) -> list[str]:
        """Return the arguments of Python that stand for `-m NAME`, or for a path that ends in .py."""
        self.start()
        end = time.monotonic() + _SECONDS
        while not self._socket.exists():
            assert self._process is None or self._process.poll() is None, "the process that forks has ended"
            assert time.monotonic() < end, "the process that forks is not ready"
            time.sleep(0.01)
        return ["-IS", str(_HERE / "standing.py"), str(self._socket), what]

    def close(self) -> None:
        """End the process and what it forked, unless others go on with it."""
        if self._process is None:
            return
        if self._shared:
            self._process.returncode = 0  # else a warning says that it still runs
        else:
            self._process.communicate(timeout=60)

    @property
    def _socket(self) -> Path:
        return self._folder / "socket"


@dataclass(frozen=True)
class ForkedModule:
    """The arguments of Python that stand for `-m NAME`; whoever reads them waits for the process that forks."""

    forks: Forks
    name: str

    def __iter__(self) -> Iterator[str]:
        return iter(self.forks.words(self.name))
