"""Stands for a process that another one forks: hands over its streams, environment, folder and signals, and ends as that one ends.

It imports next to nothing, because it is started for each of these processes.
"""

import _socket
import array
import os
import signal
import sys

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)


def main(where: str, *words: str) -> None:
    """Ask for a process that runs `words`, and end with its status."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    connection.connect(where)
    folder = os.getcwd()  # noqa: PTH109 - pathlib takes longer to import than all of this
    given = [str(len(words)), *words, folder, *(f"{name}={value}" for name, value in os.environ.items())]
    body = "\0".join(given).encode(errors="surrogateescape")
    streams = array.array("i", [0, 1, 2])
    connection.sendmsg([len(body).to_bytes(8, "big")], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)])
    connection.sendall(body)
    for number in FORWARDED:
        signal.signal(number, lambda number, _: connection.send(bytes([number])))
    how = connection.recv(2)
    if how[:1] == b"s":
        signal.signal(how[1], signal.SIG_DFL) if how[1] != signal.SIGKILL else None
        os.kill(os.getpid(), how[1])
    os._exit(how[1] if how else 70)


main(*sys.argv[1:])
