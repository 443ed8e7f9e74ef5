"""uvicorn with the server's protocol beside Granian: processor time per request, and the limits that each enforces.

    VERTUNE_GRANIAN_PYTHON=PEER/bin/python python benchmarks/transport.py [--rounds 5] [--seconds 3] [--clients 32]

Both serve the same ASGI application, which reads a request of `predict`, validates it and answers one text, without a model. The
difference in processor time per request is therefore what the server would save with the other transport. PEER is an environment
with Granian; the packages of this environment are put on its path. Writes benchmarks/results/transport.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
OUT = HERE / "results" / "transport.json"
PEER = "VERTUNE_GRANIAN_PYTHON"
PATH = "/v1/verticals/intent/predict"
BODY = json.dumps({"texts": ["My card was charged twice for the same purchase, what can I do about it?"]}).encode()
TIMEOUT = 1.0
"""Seconds that each limit on time is set to."""
HEADER_SIZE = 8192
"""Bytes that headers may have; Granian takes no smaller limit."""
CONNECTIONS = 128
"""Connections that may be open; Granian's backlog takes no smaller limit."""
LARGE = 32 << 20
PATIENCE = 6.0
"""Seconds after which a connection counts as not limited."""


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answer like `predict`; `/large` answers with more than a socket buffer holds."""
    import orjson

    body = b""
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        body += event.get("body", b"")
        if not event.get("more_body"):
            break
    if scope["path"] == "/large":
        content = b" " * LARGE
    else:
        texts = orjson.loads(body)["texts"] if body else []
        assert all(isinstance(text, str) for text in texts)
        probabilities = {f"label {number}": 1 / 77 for number in range(77)}
        answers = [{"label": "label 0", "probability": 1 / 77, "probabilities": probabilities, "truncated": False} for _ in texts]
        content = orjson.dumps({"vertical": "intent", "model": "intent-1", "answers": answers})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def serve(port: int) -> None:
    """Serve with uvicorn in this process, as `vertune serve` does."""
    import uvicorn

    from vertune.server.connections import ConnectionTable
    from vertune.server.protocol import LimitedProtocol

    limits = type(LimitedProtocol.limits)(header=HEADER_SIZE, reading=TIMEOUT, idle=TIMEOUT, connections=CONNECTIONS)
    protocol = type("Protocol", (LimitedProtocol,), {"limits": limits, "table": ConnectionTable(CONNECTIONS, CONNECTIONS)})
    uvicorn.run(
        application, port=port, http=protocol, ws="none", loop="uvloop", lifespan="off", log_config=None, access_log=False,
        server_header=False, proxy_headers=False,
    )  # fmt: skip


def command(name: str, port: int) -> list[str]:
    """Return the command that starts a server."""
    if name == "uvicorn":
        return [sys.executable, str(HERE / "transport.py"), "--serve", str(port)]
    options = {
        "interface": "asginl", "http": "1", "loop": "uvloop", "workers": 1, "runtime-threads": 1, "port": port,
        "http1-header-read-timeout": int(1000 * TIMEOUT), "http1-buffer-size": HEADER_SIZE,
        "backlog": CONNECTIONS, "backpressure": CONNECTIONS,
    }  # fmt: skip
    written = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return [os.environ[PEER], "-m", "granian", "transport:application", "--no-ws", "--no-log", *written]


@contextlib.contextmanager
def running(name: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run a server until the end of the block; its process and port."""
    import load

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    packages = [path for path in sys.path if path.endswith("site-packages")]
    environment = os.environ if name == "uvicorn" else {**os.environ, "PYTHONPATH": os.pathsep.join(packages)}
    process = subprocess.Popen(command(name, port), env=environment, cwd=HERE)
    try:
        load.wait_ready(f"http://127.0.0.1:{port}{PATH}", 30, process)
        yield process, port
    finally:
        load.end(process, 10)


# ------------------------------------------------------------------ limits


def request(method: str, path: str, body: bytes = b"", length: int | None = None) -> bytes:
    """Return the bytes of a request."""
    return (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body
    )


def seconds_open(wire: socket.socket, drip: bytes = b"") -> float | None:
    """Seconds until the server closes a connection, sending `drip` byte by byte meanwhile; None if it stays open."""
    start, sent = time.monotonic(), 0
    wire.settimeout(0.05)
    while (taken := time.monotonic() - start) < PATIENCE:
        try:
            if sent < len(drip):
                wire.send(drip[sent : sent + 1])
                sent += 1
            if not wire.recv(65536):
                return taken
        except TimeoutError:
            continue
        except OSError:
            return taken
    return None


def slow_headers(connect: Callable[[], socket.socket]) -> float | None:
    """Seconds until headers that arrive byte by byte are given up."""
    with connect() as wire:
        return seconds_open(wire, b"GET / HTTP/1.1\r\nX-Slow: " + b"a" * 1000)


def slow_body(connect: Callable[[], socket.socket]) -> float | None:
    """Seconds until a body that arrives byte by byte is given up."""
    with connect() as wire:
        wire.sendall(request("POST", PATH, length=1000))
        return seconds_open(wire, b" " * 1000)


def no_request(connect: Callable[[], socket.socket]) -> float | None:
    """Seconds until a connection without a request is closed."""
    with connect() as wire:
        return seconds_open(wire)


def idle(connect: Callable[[], socket.socket]) -> float | None:
    """Seconds after a response until the connection is closed."""
    with connect() as wire:
        wire.sendall(request("POST", PATH, BODY))
        wire.recv(65536)
        return seconds_open(wire)


def unread_response(connect: Callable[[], socket.socket]) -> int:
    """Bytes of a response of 32 MiB that still arrive if the client begins to read after 4 times the limit."""
    received = 0
    with connect() as wire, contextlib.suppress(OSError):
        wire.sendall(request("GET", "/large"))
        time.sleep(4 * TIMEOUT)
        while received < LARGE and (data := wire.recv(1 << 20)):
            received += len(data)
    return received


def large_headers(connect: Callable[[], socket.socket]) -> str:
    """The status line for headers of 60 kB."""
    with connect() as wire, contextlib.suppress(OSError):
        wire.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X-Large: 0123456789\r\n" * 3000 + b"\r\n")
        return wire.recv(65536).partition(b"\r\n")[0].decode()
    return "connection lost"


def pipelined(connect: Callable[[], socket.socket]) -> int:
    """How many of 2,000 requests are accepted that one connection sends without waiting."""
    received = b""
    with connect() as wire, contextlib.suppress(OSError):
        wire.settimeout(PATIENCE)
        wire.sendall(request("GET", PATH) * 2000)
        while received.count(b"HTTP/1.1 200") < 2000 and (data := wire.recv(65536)):
            received += data
    return received.count(b"HTTP/1.1 200")


def connections(connect: Callable[[], socket.socket]) -> int:
    """How many of 300 connections that stay open are answered."""
    answered = 0
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            wire = stack.enter_context(connect())
            wire.settimeout(0.5)
            with contextlib.suppress(OSError):
                wire.sendall(request("GET", PATH))
                answered += wire.recv(65536).startswith(b"HTTP/1.1 200")
    return answered


PROBES = (slow_headers, slow_body, no_request, idle, unread_response, large_headers, pipelined, connections)


# ------------------------------------------------------------------ figures


def loop_cpu(pid: int) -> float:
    """Processor seconds of the busiest thread of a server, which is the one that runs the event loop."""
    import load

    ticks = [0]
    for process in load.tree(pid):
        for thread in Path(f"/proc/{process}/task").iterdir():
            fields = (thread / "stat").read_text().rpartition(")")[2].split()  # the name before may contain blanks
            ticks.append(int(fields[11]) + int(fields[12]))
    return max(ticks) / os.sysconf("SC_CLK_TCK")


def measure(rounds: int, seconds: float, clients: int) -> dict[str, Any]:
    """Measure both servers in turns, then probe the limits of each."""
    import load

    bodies = HERE / ".work" / "transport.jsonl"
    bodies.parent.mkdir(parents=True, exist_ok=True)
    bodies.write_bytes(BODY + b"\n")
    found: dict[str, list[dict[str, Any]]] = {"uvicorn": [], "granian": []}
    limits: dict[str, dict[str, Any]] = {}
    with contextlib.ExitStack() as stack:
        servers = {name: stack.enter_context(running(name)) for name in found}
        for number in range(rounds + 1):  # the first one warms up
            for name, (process, port) in servers.items():
                before, loop_before = load.process_cpu(process.pid), loop_cpu(process.pid)
                result = load.run(f"http://127.0.0.1:{port}{PATH}", bodies, clients=clients, seconds=seconds)
                spent, loop_spent = load.process_cpu(process.pid) - before, loop_cpu(process.pid) - loop_before
                assert result["codes"].keys() == {"200"}, result
                if number:
                    answered = result["codes"]["200"]
                    figures = {"cpu_seconds_per_request": spent / answered, "loop_cpu_seconds_per_request": loop_spent / answered}
                    found[name].append(figures | {"requests_per_second": result["requests_per_second"], "p50": result["answered"]["p50"]})
        for name, (_, port) in servers.items():

            def connect(port: int = port) -> socket.socket:
                return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)

            limits[name] = {}
            for probe in PROBES:
                limits[name][probe.__name__] = probe(connect)
                time.sleep(2 * TIMEOUT)
    medians = {name: {key: statistics.median(one[key] for one in rows) for key in rows[0]} for name, rows in found.items()}
    saved = {}
    for key in ("cpu_seconds_per_request", "loop_cpu_seconds_per_request"):
        differences = [ours[key] - theirs[key] for ours, theirs in zip(found["uvicorn"], found["granian"], strict=True)]
        saved[key] = {"median": statistics.median(differences), "low": min(differences), "high": max(differences)}
    return {**medians, "granian_saves": saved, "limits": limits, "rounds": rounds, "clients": clients, "seconds": seconds}


def peer_version() -> str:
    """Return the version of Granian."""
    code = "import importlib.metadata as m; print(m.version('granian'))"
    return subprocess.run([os.environ[PEER], "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    """Parse the command line, measure, write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", type=int, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--clients", type=int, default=32)
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.serve)
        return
    import importlib.metadata

    import training

    versions = {name: importlib.metadata.version(name) for name in ("uvicorn", "httptools", "uvloop")} | {"granian": peer_version()}
    machine = training.machine(len(os.sched_getaffinity(0)))
    result = measure(options.rounds, options.seconds, options.clients) | {"transport_versions": versions, "machine": machine}
    OUT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
