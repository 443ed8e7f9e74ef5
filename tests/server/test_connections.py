"""What a connection may take of the server, and for how long, whatever its client does."""

from __future__ import annotations

import json
import time

import pytest

from tests.server.running import Running, Wire, problem, request, together, until

pytestmark = pytest.mark.allow_hosts(["127.0.0.1"])
BODY = json.dumps({"texts": ["soup"]}).encode()
ASKED = request("/v1/verticals/intent/predict", BODY)
READING, IDLE = 0.4, 0.5


@pytest.fixture(scope="module")
def running(fleet, _quick_start):
    """An open server that is soon impatient."""
    limits = {"reading": READING, "idle": IDLE, "header": 4096, "connections": 8, "body": 200_000}
    with Running(fleet, limits=limits) as made:
        yield made


@pytest.fixture(autouse=True)
def _left_as_it_was(running):
    """After each test the server still answers, and holds no connection but that of the client beside."""
    yield
    until(lambda: status(running) == 200)
    until(lambda: running.connections() <= 1)
    assert running.service.answers.batcher.queued == 0


def wired(running, *sent: bytes) -> Wire:
    return Wire(running.port, *sent)


def status(running) -> int:
    """What a question on a new connection is answered with; one that was kept may be closed as idle just when it is used again."""
    with wired(running, ASKED) as wire:
        return wire.answer()[0]


def lasted(wire: Wire) -> tuple[bytes, float]:
    began = time.monotonic()
    return wire.end(), time.monotonic() - began


# ------------------------------------------------------------------ slow


def test_a_header_letter_by_letter_is_not_waited_for(running) -> None:
    with wired(running, b"G") as wire:
        began = time.monotonic()
        try:
            for letter in b"ET /health/live HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + b"a" * 1000:
                wire.send(bytes([letter]))
                time.sleep(0.02)
        except ConnectionError:
            pass
        assert READING * 0.9 < time.monotonic() - began < READING + 2


def test_what_does_not_come_in_whole_is_refused(running) -> None:
    """A part of the header, of the body, and nothing of the body."""

    def refused(sent: bytes) -> None:
        with wired(running, sent) as wire:
            said, seconds = lasted(wire)
        head, _, body = said.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 Request Timeout"), sent
        assert "within 0.4 s" in json.loads(body)["detail"]
        assert READING * 0.9 < seconds < READING + 2

    parts = (b"GET /health/live HTTP/1.1\r\nHost: loc", ASKED[:-3], ASKED[: -len(BODY)])
    together(lambda sent=sent: refused(sent) for sent in parts)


def test_a_body_drop_by_drop_is_not_waited_for(running) -> None:
    with wired(running, request("/v1/predict", b"", "Transfer-Encoding: chunked")) as wire:
        began = time.monotonic()
        try:
            while time.monotonic() - began < 5:
                wire.send(b"1\r\n \r\n")
                time.sleep(0.05)
        except ConnectionError:
            pass
        assert time.monotonic() - began < READING + 2


def test_a_connection_without_a_request_is_closed_without_words(running) -> None:
    with wired(running) as wire:
        said, seconds = lasted(wire)
    assert said == b""
    assert seconds < READING + 2


def test_an_idle_connection_is_kept_a_while_and_closed(running) -> None:
    with wired(running, ASKED) as wire:
        assert wire.answer()[0] == 200
        time.sleep(IDLE / 2)
        wire.send(ASKED)
        assert wire.answer()[0] == 200
        said, seconds = lasted(wire)
    assert said == b""
    assert IDLE * 0.9 < seconds < IDLE + 2


def test_a_second_request_has_its_own_time(running) -> None:
    with wired(running) as wire:
        for _ in range(2):  # together longer than one may take
            wire.send(ASKED[:20])
            time.sleep(READING * 0.6)
            wire.send(ASKED[20:])
            assert wire.answer()[0] == 200


def test_answers_that_nobody_reads_are_not_kept_for_ever(running) -> None:
    """The kernel takes the first 2 MB."""
    large = request("/docs/swagger-ui-bundle.js", method="GET")

    def unread(connection: str) -> None:
        with Wire(running.port, large, large[:-4] + f"\r\nConnection: {connection}\r\n\r\n".encode(), buffer=2048) as wire:
            waiting = until(lambda: running.connection(wire))
            until(lambda: waiting.transport.get_write_buffer_size())
            time.sleep(IDLE * 0.5)
            assert running.connection(wire) is waiting, connection
            until(lambda: running.connection(wire) is None, IDLE + 3)

    together([lambda: unread("keep-alive"), lambda: unread("close")])


def test_an_answer_that_is_read_slowly_arrives_whole(running) -> None:
    with Wire(running.port, buffer=65536) as wire:
        wire.send(request("/docs/swagger-ui-bundle.js", b"", "Connection: close", method="GET"))
        found = b""
        while piece := wire.socket.recv(100_000):
            found += piece
            time.sleep(0.02)
    assert found.endswith(running.ask.get("/docs/swagger-ui-bundle.js").content)


# ------------------------------------------------------------------ large, many, malformed


def test_headers_too_large_are_refused(running) -> None:
    for sent in (
        b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nX-Large: " + b"a" * 4096 + b"\r\n\r\n",
        b"GET /" + b"a" * 5000,
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 1000,
    ):
        with wired(running, sent) as wire:
            said = wire.end()
        assert said.startswith(b"HTTP/1.1 431 Request Header Fields Too Large")
        assert b"at most 4096 bytes" in said


@pytest.mark.parametrize("cut", [4, 3, 2, 1, 0])
def test_the_end_of_the_headers_may_come_in_pieces(running, cut) -> None:
    """What comes behind it is the body, however much that is."""
    body = b'{"texts": ["soup"]' + b" " * 60_000 + b"}"
    sent = request("/v1/verticals/intent/predict", body)
    place = sent.index(b"\r\n\r\n") + 4 - cut
    with wired(running, sent[:place], sent[place:]) as wire:
        assert wire.answer()[0] == 200


def test_headers_just_within_the_limit_are_taken(running) -> None:
    head = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nX-Large: "
    with wired(running, head + b"a" * (4096 - len(head)) + b"\r\n\r\n") as wire:
        assert wire.answer()[0] == 200


def test_more_connections_than_are_kept_are_refused(running) -> None:
    running.predict("intent", "soup")
    kept = [wired(running, ASKED) for _ in range(7)]
    try:
        assert [wire.answer()[0] for wire in kept] == [200] * 7
        with wired(running) as wire:
            said = wire.end()
        assert said.startswith(b"HTTP/1.1 503") or not said
        if said:
            assert b"retry-after: 1" in said
        kept.pop().socket.close()
        until(lambda: running.connections() < 8)
        with wired(running, ASKED) as wire:
            assert wire.answer()[0] == 200
    finally:
        for wire in kept:
            wire.socket.close()


def test_a_flood_of_requests_on_one_connection_is_cut(running) -> None:
    """Each takes a hundred times the memory of its bytes, until it is its turn; those that were taken are answered."""
    with wired(running, request("/health/live", method="GET") * 2000) as wire:
        said = wire.end()
    assert said.count(b"HTTP/1.1 200") == said.count(b"HTTP/1.1 ") == 65
    assert said.count(b"connection: close") == 1


def test_what_came_whole_before_garbage_is_answered(running) -> None:
    with wired(running, ASKED + b"GARBAGE\r\n\r\n" + ASKED) as wire:
        said = wire.end()
    assert said.count(b"HTTP/1.1 200") == said.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in said


def test_half_a_request_behind_a_whole_one_is_not_waited_for(running) -> None:
    half = request("/v1/verticals/intent/predict", b"", length=100)

    def left(sent: bytes) -> None:
        with wired(running, sent) as wire:
            assert wire.answer()[0] == 200
            said, seconds = lasted(wire)
        assert said.startswith(b"HTTP/1.1 408") or not said, sent
        assert seconds < READING + 2

    parts = (request("/health/live", method="GET") + half, ASKED + half + b"{", ASKED + half[:30])
    together(lambda sent=sent: left(sent) for sent in parts)


def test_what_stands_behind_a_body_is_limited(fleet, start) -> None:
    patient = start(fleet, limits={"header": 4096, "reading": 60.0})
    for path, method in (("/v1/verticals/intent/predict", "POST"), ("/docs/swagger-ui-bundle.js", "GET")):
        with wired(patient, request(path, b"2\r\n{}\r\n0\r\n", "Transfer-Encoding: chunked", method=method)) as wire:
            sent = 0
            while sent < 32 << 20:
                try:
                    wire.send(b"a: b\r\n" * 5000)
                except ConnectionError:
                    break
                sent += 30_000
            assert sent < 8 << 20, "the kernel takes some of it, the server next to nothing"


def test_a_body_in_a_coding_is_refused(running) -> None:
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
    with wired(running, request("/v1/verticals/intent/predict", chunks, "Transfer-Encoding: gzip, chunked")) as wire:
        assert wire.answer()[0] == 415


def test_what_stands_behind_a_body_is_no_key(server) -> None:
    key = server.ask.headers["Authorization"]
    chunks = b"%x\r\n%s\r\n0\r\nAuthorization: %s\r\n\r\n" % (len(BODY), BODY, key.encode())
    with Wire(server.port, request("/v1/verticals/intent/predict", chunks, "Transfer-Encoding: chunked")) as wire:
        assert wire.answer()[0] == 401


def test_a_few_requests_on_one_connection_are_answered_in_their_order(running) -> None:
    first, second = request("/health/live", method="GET"), request("/v1/nothing", method="GET")
    with wired(running, (first + second) * 10) as wire:
        codes = []
        data = b""
        while len(codes) < 20:
            data += wire.socket.recv(65536)
            codes = [int(part[:3]) for part in data.split(b"HTTP/1.1 ")[1:]]
    assert codes == [200, 404] * 10


@pytest.mark.parametrize(
    "sent",
    [
        b"GARBAGE\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/9.9\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", b"GET / HTTP/1.1\r\nA\x00: a\r\n\r\n",
        request("/v1/predict", b"", "Content-Length: 5"), request("/v1/predict", b"", "Content-Length: 99999999999999999999999", length=0),
        request("/v1/predict", b"0\r\n\r\n", "Transfer-Encoding: chunked", "Content-Length: 5"),
        request("/v1/predict", b"0\r\n\r\n", "Transfer-Encoding: xchunked"), request("/v1/predict", b"", "Content-Length: -5"),
        request("/v1/predict", b"zz\r\n", "Transfer-Encoding: chunked"), request("/v1/predict", b"", length=-1),
    ],
)  # fmt: skip
def test_what_is_no_http_or_could_be_read_in_two_ways_is_refused(running, sent) -> None:
    """Lengths that contradict each other are how requests are smuggled past a proxy."""
    with wired(running, sent) as wire:
        said = wire.end()
    assert said.split(b" ", 2)[1] in (b"400", b"408"), said
    assert said.count(b"HTTP/1.1 ") == 1


def test_a_body_after_a_refusal_is_no_second_request(running) -> None:
    """The body of what was refused by its length is read past, and the connection goes on after it."""
    hidden = request("/health/live", method="GET")
    sent = request("/v1/predict", b"", length=300_000)
    with wired(running, sent) as wire:
        assert wire.answer()[0] == 413
        wire.send((hidden * 10_000)[:300_000])
        wire.send(ASKED)
        assert wire.answer()[0] == 200


def test_a_refused_body_that_never_ends_says_nothing_more(running) -> None:
    with wired(running, request("/v1/predict", b"", length=300_000)) as wire:
        assert wire.answer()[0] == 413
        said, seconds = lasted(wire)
    assert said == b"", "an answer to no request"
    assert seconds < READING + IDLE + 2


def test_a_request_with_an_upgrade_is_answered_as_any(running) -> None:
    for upgrade in ("websocket", "h2c"):
        headers = ("Connection: Upgrade", f"Upgrade: {upgrade}", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
        with wired(running, request("/health/live", b"", *headers, method="GET")) as wire:
            assert wire.answer()[0] == 200
        with wired(running, request("/v1/verticals/intent/predict", BODY, *headers) + ASKED) as wire:  # as Java's client begins
            assert wire.answer()[0] == 200
            assert wire.answer()[0] == 200


def test_a_body_is_asked_for_where_the_client_waits_for_that(running) -> None:
    with wired(running, request("/v1/verticals/intent/predict", b"", "Expect: 100-continue", length=len(BODY))) as wire:
        assert wire.socket.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        wire.send(BODY)
        assert wire.answer()[0] == 200


def test_strange_hosts_and_paths_are_nobodys_fault(running) -> None:
    for line in (
        b"GET //evil.example/.. HTTP/1.1",
        b"GET /%ff%fe HTTP/1.1",
        b"GET /v1/verticals/%0d%0aSet-Cookie:x=1 HTTP/1.1",
        b"GET * HTTP/1.1",
        b"GET http://localhost HTTP/1.1",
        b"CONNECT localhost:80 HTTP/1.1",
    ):
        for host in (b"[", b"a b", b"localhost", b"evil.example/@x"):
            with wired(running, line + b"\r\nHost: " + host + b"\r\nContent-Length: 0\r\n\r\n") as wire:
                status, body = wire.answer()
                assert status in (400, 403, 404, 405), body
                assert b"location:" not in body.lower()


def test_a_header_of_the_path_is_no_header_of_the_answer(running) -> None:
    found = running.ask.get("/v1/verticals/%0d%0aSet-Cookie:x=1")
    assert problem(found, 404)
    assert "set-cookie" not in found.headers
