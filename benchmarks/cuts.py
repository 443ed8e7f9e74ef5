"""Sends recorded HTTP requests to the server's protocol in pieces, cut at every byte, and checks that each is answered once.

    python benchmarks/cuts.py [--every 1]        all requests and all pairs of requests, cut at every byte (minutes)

The protocol of `vertune serve` runs on real sockets; the application behind it answers with the method, the path and the body that it
received. A request that arrives in two pieces must be answered as if it had arrived at once, and two requests in a row must be answered
as each by itself. If the body of a request were taken for another request (request smuggling, CWE-444), there would be one answer more.
A request that is not valid HTTP is answered with status 400 or not at all, and the connection is closed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONCURRENT = 200
"""Connections that are open at the same time."""
PAUSE = 0.01
"""Seconds between two pieces, so that the server receives them one after the other."""
END = b"GET /end HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
"""The last request of each connection, after whose answer the server closes it."""
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n"
"""A body that would be a request if it were not recognised as a body."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A request, and what the application must receive of it; None if the request is not valid."""

    sent: bytes
    received: tuple[str, str, bytes] | None
    closes: bool = False
    """Whether the server closes the connection after its answer."""


def valid(method: str, path: str, *headers: str, body: bytes = b"", sent: bytes | None = None, closes: bool = False) -> Recorded:
    """A valid request; `sent` is the body with its framing if the framing is not a Content-Length."""
    lines = [f"{method} {path} HTTP/1.1", "Host: a", *headers]
    if sent is None and body:
        lines.append(f"Content-Length: {len(body)}")
    return Recorded("\r\n".join([*lines, "", ""]).encode() + (body if sent is None else sent), (method, path, body), closes)


def broken(sent: bytes) -> Recorded:
    """A request that is not valid HTTP/1.1, or that two servers could understand in different ways."""
    return Recorded(sent, None, closes=True)


CHUNKS = b"5;name=value\r\nGET /\r\n%x\r\n%s\r\n0\r\nX-Trailer: a\r\n\r\n" % (len(HIDDEN), HIDDEN)
HTTP2 = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA")
WEBSOCKET = ("Upgrade: websocket", "Connection: keep-alive, Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZQ==")
REQUESTS = {
    "get": valid("GET", "/a?b=c"),
    "head": valid("HEAD", "/a"),
    "options": valid("OPTIONS", "/a", "Origin: http://b", "Access-Control-Request-Method: POST"),
    "post": valid("POST", "/a", "Content-Type: text/plain", body=HIDDEN),
    "empty headers": valid("POST", "/a", "Accept:", "X-Empty: ", body=HIDDEN),
    "chunked": valid("POST", "/a", "Transfer-Encoding: chunked", body=b"GET /" + HIDDEN, sent=CHUNKS),
    "expect": valid("POST", "/a", "Expect: 100-continue", body=HIDDEN),
    "long headers": valid("POST", "/a", *(f"X-{number}: {'a' * 50}" for number in range(8)), body=HIDDEN),
    "close": valid("POST", "/a", "Connection: close", body=HIDDEN, closes=True),
    "no body, h2c": valid("GET", "/a", *HTTP2),
    "body, h2c": valid("POST", "/a", *HTTP2, "Accept:", body=HIDDEN),
    "chunked, h2c": valid("PUT", "/a", *HTTP2, "Transfer-Encoding: chunked", body=b"GET /" + HIDDEN, sent=CHUNKS),
    "body, websocket": valid("POST", "/a", *WEBSOCKET, body=HIDDEN),
    "upgrade twice": valid("POST", "/a", "upgrade: a", "UPGRADE:b", "connection:UPGRADE", body=HIDDEN),
    "upgrade and expect": valid("POST", "/a", *HTTP2, "Expect: 100-continue", body=HIDDEN),
    "upgrade without connection": valid("POST", "/a", "Upgrade: h2c", body=HIDDEN),
    "unread body": valid("POST", "/unread", *HTTP2, body=HIDDEN),
    "version 1.0": Recorded(b"POST /a HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s" % (len(HIDDEN), HIDDEN), ("POST", "/a", HIDDEN), True),
    "connect": Recorded(b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (len(HIDDEN), HIDDEN), None, True),
    "garbage": broken(b"GARBAGE\r\n\r\n" + HIDDEN),
    "two lengths": broken(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 33\r\n\r\n" + HIDDEN),
    "length and chunked": broken(b"POST /a HTTP/1.1\r\nContent-Length: 40\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN),
    "length, chunked, h2c": broken(
        b"POST /a HTTP/1.1\r\nUpgrade: h2c\r\nConnection: upgrade\r\nContent-Length: 4\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + HIDDEN
    ),
    "unknown coding": broken(b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + HIDDEN),
    "no chunk size": broken(b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" + HIDDEN),
    "space before colon": broken(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length : 33\r\n\r\n" + HIDDEN),
    "folded header": broken(b"POST /a HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n Content-Length: 33\r\n\r\n" + HIDDEN),
    "line feeds alone": broken(b"POST /a HTTP/1.1\nHost: a\nContent-Length: 33\n\n" + HIDDEN),
    "second version": broken(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
}  # fmt: skip


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the method, the path and the body that were received; without reading the body if the path is `/unread`."""
    body, event = b"", {"more_body": scope["path"] != "/unread"}
    while event.get("more_body"):
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        body += event.get("body", b"")
    query = f"?{scope['query_string'].decode()}" if scope["query_string"] else ""
    content = json.dumps([scope["method"], scope["path"] + query, body.decode("latin-1")]).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(len(content)).encode())]})
    await send({"type": "http.response.body", "body": content})


@contextlib.asynccontextmanager
async def served(protocol: type) -> AsyncIterator[str]:
    """Serve with this protocol class until the end of the block; the path of the socket."""
    import uvicorn
    from uvicorn.server import ServerState

    config, state = uvicorn.Config(application, http=protocol, ws="none", lifespan="off", log_config=None), ServerState()
    config.load()
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "socket")
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(lambda: protocol(config, state, {}), path, backlog=CONCURRENT)
        try:
            yield path
        finally:
            server.close()
            for connection in tuple(state.connections):
                connection.transport.abort()
            if state.tasks:
                await asyncio.wait(state.tasks)


Answer = tuple[int, Any]
"""The status of a response, and what the application received of its request; None for a response without a body."""


async def answers(path: str, pieces: Sequence[bytes], methods: Sequence[str]) -> list[Answer]:
    """Send these pieces over one connection; return the responses until the server closes it.

    `methods` are those of the requests, because a response to HEAD has no body.
    """
    loop, data = asyncio.get_running_loop(), b""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.setblocking(False)
        await loop.sock_connect(connection, path)
        with contextlib.suppress(ConnectionError):  # the server may have closed the connection, and what it sent is still to be read
            for number, piece in enumerate(pieces):
                if number:
                    await asyncio.sleep(PAUSE)
                await loop.sock_sendall(connection, piece)
        with contextlib.suppress(ConnectionError):
            while piece := await loop.sock_recv(connection, 65536):
                data += piece
    return list(_parsed(data, iter(methods)))


def _parsed(data: bytes, methods: Iterable[str]) -> Iterable[Answer]:
    methods = iter(methods)
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        status = int(head.split()[1])
        if status == 100:
            continue
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        if next(methods, "") == "HEAD":
            yield status, None
            continue
        body, data = data[:length], data[length:]
        yield status, json.loads(body) if status == 200 else None


def expected(requests: Sequence[Recorded]) -> list[Answer]:
    """What valid requests in a row must be answered, until one after which the connection is closed."""
    found: list[Answer] = []
    for request in requests:
        if request.received is None:
            break
        method, path, body = request.received
        told = [method, path, "" if path == "/unread" else body.decode("latin-1")]
        found.append((200, None if method == "HEAD" else told))
        if request.closes:
            break
    return found


LAST = Recorded(END, ("GET", "/end", b""), closes=True)


async def wrong(path: str, names: Sequence[str], cut: int) -> str | None:
    """Send requests in a row, cut at this byte; what is wrong with the responses, or None."""
    requests = [REQUESTS[name] for name in names] + [LAST]
    sent = b"".join(request.sent for request in requests)
    methods = [request.received[0] if request.received else "" for request in requests]
    found, must = await answers(path, [sent[:cut], sent[cut:]], methods), expected(requests)
    refused = next(request for request in requests if request.closes).received is None
    rest = found[len(must) :]  # after a request that is not valid: its refusal, or the answer of the application to CONNECT
    if found == must or (refused and found[: len(must)] == must[: len(found)] and not any(map(_is_hidden, rest)) and len(rest) <= 1):
        return None
    return f"{' + '.join(names)}, cut at {cut} of {len(sent)}: {found} instead of {must}"


def _is_hidden(answer: Answer) -> bool:
    return answer[1] is not None and "/hidden" in answer[1][1]


async def all_wrong(protocol: type, conversations: Iterable[tuple[Sequence[str], int]]) -> tuple[int, list[str]]:
    """Hold these conversations (names of requests in a row, and where they are cut); how many there were, and what was wrong."""
    count, found = 0, []
    pending = iter(conversations)
    async with served(protocol) as path:
        while batch := list(itertools.islice(pending, CONCURRENT)):
            results = await asyncio.gather(*(wrong(path, names, cut) for names, cut in batch))
            count += len(batch)
            found += [one for one in results if one]
    return count, found


def cuts(names: Sequence[str], every: int = 1) -> Iterable[tuple[Sequence[str], int]]:
    """Each place at which these requests in a row can be cut."""
    length = sum(len(REQUESTS[name].sent) for name in names)
    return ((names, cut) for cut in range(1, length + 1, every))


def impatient() -> type:
    """The protocol of the server, which waits half a second for the rest of a request."""
    from vertune.server.connections import ConnectionTable
    from vertune.server.protocol import LimitedProtocol
    from vertune.server.settings import RequestLimits

    return type("Protocol", (LimitedProtocol,), {"limits": RequestLimits(reading=0.5, idle=0.5), "table": ConnectionTable(2048, 2048)})


def search(every: int = 1) -> dict[str, Any]:
    """Cut all requests and all pairs of requests at each place, or at every so many bytes."""
    alone = itertools.chain.from_iterable(cuts([name]) for name in REQUESTS)
    pairs = itertools.chain.from_iterable(cuts(pair, every) for pair in itertools.product(REQUESTS, REQUESTS))
    count, found = asyncio.run(all_wrong(impatient(), itertools.chain(alone, pairs)))
    return {"conversations": count, "wrong": len(found), "examples": found[:10]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="cut pairs at every so many bytes only")
    result = search(parser.parse_args().every)
    print(json.dumps(result, indent=1))
    sys.exit(bool(result["wrong"]))


if __name__ == "__main__":
    main()
