"""Starts a program of the operator, which reads the message as JSON from its standard input."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from typing import Annotated

from pydantic import Field

from vertune.core.channel import Channel, Message
from vertune.core.errors import StorageError, Unavailable

_SHOWN = 200
"""Number of characters of what a failed program wrote that the message quotes."""


class Command(Channel):
    """A program that is started for each message."""

    command: Annotated[list[str], Field(min_length=1, max_length=100)]
    """The program and its arguments, one each; no shell reads them. The message is on its standard input, and its id in the environment
    variable VERTUNE_DELIVERY."""
    timeout: Annotated[float, Field(gt=0, le=600)] = 30.0
    """Seconds that the program may take before it is ended with all that it started."""

    def send(self, message: Message) -> None:
        """Run the program; raise Unavailable if it can't be started, takes too long, or ends with another status than 0."""
        try:
            process = subprocess.Popen(  # noqa: S603 - from the operator's file alone, and no shell
                self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
                env={**os.environ, "VERTUNE_DELIVERY": message.id},
            )  # fmt: skip
        except (OSError, ValueError) as error:  # a NUL in an argument
            raise StorageError(
                f"The program {self.command[0]!r} of the channel '{self.called}' can't be started: {getattr(error, 'strerror', error)}. "
                "Correct its path and its arguments."
            ) from error
        try:
            written, _ = process.communicate(message.body(), self.timeout)
        except subprocess.TimeoutExpired as error:
            raise Unavailable(
                f"The program {self.command[0]} of the channel '{self.called}' took longer than {self.timeout:g} s. Make it faster, or "
                "raise `timeout`."
            ) from error
        finally:
            _end(process)
        if process.returncode:
            said = written.decode(errors="replace").strip()[-_SHOWN:]
            raise Unavailable(
                f"The program {self.command[0]} of the channel '{self.called}' ended with status {process.returncode}; expected 0. "
                f"Run it by hand, with a message on its standard input.{f' It wrote: {said}' if said else ''}"
            )

    @classmethod
    def example(cls) -> Command:
        """Return a channel with a program that does not exist."""
        return cls(command=["/nonexistent/tell", "--team", "models"])


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the program with all that it started, and close its streams."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for stream in (process.stdin, process.stdout):
        with suppress(OSError):
            stream.close()  # type: ignore[union-attr]
