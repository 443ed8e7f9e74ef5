"""The client against a real HTTP server on loopback: what it sends, what it makes of answers, when it tries again, when it gives up."""

import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from vertune.client import Client
from vertune.core.errors import AccessError, Busy, ConfigError, Conflict, DataError, MissingExtra, ModelError, NotFound, StorageError

httpx = pytest.importorskip("httpx")
pytestmark = pytest.mark.enable_socket
KEY = "vt_0123456789ab_a-secret_of-many-bits"


class Served(ThreadingHTTPServer):
    """Answers what a test has laid out, the last reply again and again, and keeps what it was asked."""

    daemon_threads = True

    def __init__(self):
        self.asked, self.replies = [], []
        super().__init__(("127.0.0.1", 0), Reply)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def will(self, status=200, body=None, wait=0.0, **headers):
        """Lay out one reply; bytes as they are, a list of bytes drop by drop with the wait between, None as a broken connection."""
        self.replies.append((status, body, wait, {name.replace("_", "-"): value for name, value in headers.items()}))


class Reply(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each reply waits 40 ms for the head to be acknowledged

    def do_GET(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        self.server.asked.append((self.command, self.path, body, dict(self.headers), time.monotonic()))
        replies = self.server.replies
        status, body, wait, headers = replies.pop(0) if len(replies) > 1 else replies[0]
        if body is None:
            self.close_connection = True
            return
        drops = body if isinstance(body, list) and body and isinstance(body[0], bytes) else None
        whole = b"".join(drops) if drops else body if isinstance(body, bytes) else json.dumps(body).encode()
        if not drops:
            time.sleep(wait)
        self.send_response(status)
        for name, value in {"Content-Length": len(whole), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        for drop in drops or [whole]:
            if drops:
                time.sleep(wait)
            try:
                self.wfile.write(drop)
            except OSError:  # the client has given up, as some tests want
                self.close_connection = True
                return

    do_POST = do_GET  # noqa: N815

    def log_message(self, *_):
        pass


@contextmanager
def running():
    served = Served()
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    served.shutdown()
    served.server_close()
    thread.join()


@pytest.fixture(scope="module")
def served():
    with running() as served:
        yield served


@pytest.fixture
def server(served):
    """The server of all these tests, with nothing laid out and nothing asked yet."""
    served.asked, served.replies = [], []
    return served


@pytest.fixture(scope="module")
def shared(served):
    """A client takes a while to make, because httpx reads the certificates of the machine."""
    with Client(served.url, KEY, deadline=5) as made:
        yield made


@pytest.fixture
def client(server, shared):
    return shared


@pytest.fixture(autouse=True)
def _no_key_of_the_environment(monkeypatch):
    monkeypatch.delenv("VERTUNE_KEY", raising=False)


def answered(*labels):
    return {"vertical": "support", "model": "support-1", "answers": [{"label": label} for label in labels]}


@pytest.mark.parametrize(
    ("inputs", "sent"),
    [
        ("hello", {"texts": ["hello"]}),
        (["hello"], {"texts": ["hello"]}),
        ({"text": "你好", "age": 3}, {"records": [{"text": "你好", "age": 3}]}),
        (({"text": "hello"},), {"records": [{"text": "hello"}]}),
    ],
)
def test_predict(server, client, inputs, sent):
    server.will(body=answered("a"))
    assert client.predict("support", inputs) == [{"label": "a"}]
    method, path, body, headers, _ = server.asked[0]
    assert (method, path, body) == ("POST", "/v1/verticals/support/predict", sent)
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert 4000 < int(headers["X-Deadline-Ms"]) <= 5000


def test_a_name_can_not_leave_its_place_in_the_path(server, client):
    server.will(body=answered("a"))
    client.predict("a/b?c=d#e", "hello")
    assert server.asked[0][1] == "/v1/verticals/a%2Fb%3Fc%3Dd%23e/predict"


def test_ask_several(server, client):
    server.will(body={"results": [answered("a", "b"), {**answered("c", "d"), "vertical": "mood"}]})
    found = client.ask(("support", "mood"), ["one", "two"])
    assert found == {"support": [{"label": "a"}, {"label": "b"}], "mood": [{"label": "c"}, {"label": "d"}]}
    assert server.asked[0][:3] == ("POST", "/v1/predict", {"verticals": ["support", "mood"], "texts": ["one", "two"]})


def test_embed_in_the_order_of_the_texts(server, client):
    server.will(body={"object": "list", "data": [{"index": 1, "embedding": [3.0, 4.0]}, {"index": 0, "embedding": [1.0, 2.0]}]})
    assert client.embed("find", ["one", "two"]) == [[1.0, 2.0], [3.0, 4.0]]
    assert server.asked[0][:3] == ("POST", "/v1/embeddings", {"model": "find", "input": ["one", "two"]})
    with pytest.raises(ModelError, match="Expected 1 vectors"):
        client.embed("find", "one")


def test_verticals(server, client):
    server.will(body={"verticals": [{"name": "support", "task": "classify"}]})
    assert client.verticals() == [{"name": "support", "task": "classify"}]
    assert server.asked[0][:3] == ("GET", "/v1/verticals", None)


def test_below_a_path(server):
    server.will(body={"verticals": []})
    with Client(f"{server.url}/models/") as client:
        client.verticals()
    assert server.asked[0][1] == "/models/v1/verticals"


@pytest.mark.parametrize(
    ("status", "body", "ready"),
    [
        (200, {"ready": True}, True),
        (200, {"ready": False}, False),
        (200, b"<html>", False),
        (503, {"ready": False}, False),
        (500, {}, False),
    ],
)
def test_ready_asks_once(server, client, status, body, ready):
    server.will(status, body)
    assert client.ready() is ready
    assert len(server.asked) == 1
    assert server.asked[0][1] == "/health/ready"


def test_a_wrong_url_is_no_matter_of_waiting(server, client):
    server.will(404, {"detail": "no such page"})
    with pytest.raises(NotFound):
        client.ready()


@pytest.mark.parametrize(
    ("status", "kind", "http"),
    [
        (400, DataError, 422), (401, AccessError, 401), (403, AccessError, 403), (404, NotFound, 404), (409, Conflict, 409),
        (413, DataError, 422), (415, DataError, 422), (418, ModelError, 500), (422, DataError, 422), (500, ModelError, 500),
        (504, ModelError, 500), (507, StorageError, 507), (301, ModelError, 500),
    ],
)  # fmt: skip
def test_a_problem_becomes_the_error_it_stands_for(server, client, status, kind, http):
    server.will(status, {"title": "No", "status": status, "detail": "The server says why."}, Content_Type="application/problem+json")
    with pytest.raises(kind, match=r"^The server says why\.$") as raised:
        client.predict("support", "hello")
    assert type(raised.value) is kind
    assert raised.value.http_status == http
    assert len(server.asked) == 1


@pytest.mark.parametrize("body", [b"<html>Bad gateway</html>", b"", [1], {"detail": None}, b"\xff"])
def test_an_error_of_something_between_is_told_with_its_status(server, client, body):
    server.will(502, body)
    with pytest.raises(ModelError, match=f"{server.url} answered with status 502"):
        client.verticals()


@pytest.mark.parametrize("body", [b"<html>", b"", b"\xff", [], {}, {"answers": None}, {"answers": []}, answered("a", "b")])
def test_an_answer_of_another_shape(server, client, body):
    server.will(200, body)
    with pytest.raises(ModelError, match="Check that the URL is that of a vertune server"):
        client.predict("support", "hello")


@pytest.mark.parametrize("status", [429, 503])
def test_one_more_try_after_the_wait_that_the_server_names(server, client, status):
    server.will(status, {"detail": "Later."}, Retry_After="0.25")
    server.will(200, answered("a"))
    assert client.predict("support", "hello") == [{"label": "a"}]
    first, second = server.asked
    assert 0.25 <= second[4] - first[4] < 3
    assert first[:3] == second[:3]
    assert int(first[3]["X-Deadline-Ms"]) - int(second[3]["X-Deadline-Ms"]) >= 250


@pytest.mark.parametrize("named", ["", "Wed, 21 Oct 2015 07:28:00 GMT", "-1", "nan", "inf"])
def test_a_wait_that_is_none_is_short(server, client, named):
    server.will(503, {"detail": "Later."}, Retry_After=named)
    server.will(200, answered("a"))
    client.predict("support", "hello")
    assert 0.1 <= server.asked[1][4] - server.asked[0][4] < 3


def test_a_wait_in_milliseconds_goes_before_one_in_whole_seconds(server):
    server.will(429, {"detail": "Later."}, Retry_After="1", Retry_After_Ms="50")
    server.will(200, answered("a"))
    with Client(server.url, deadline=1) as client:
        assert client.predict("support", "hello") == [{"label": "a"}]
    assert 0.05 <= server.asked[1][4] - server.asked[0][4] < 0.6


@pytest.mark.parametrize("named", ["", "soon", "-1", "nan"])
def test_milliseconds_that_are_none_leave_the_seconds(server, client, named):
    server.will(503, {"detail": "Later."}, Retry_After="0.2", Retry_After_Ms=named)
    server.will(200, answered("a"))
    client.predict("support", "hello")
    assert 0.2 <= server.asked[1][4] - server.asked[0][4] < 3


@pytest.mark.parametrize("status", [429, 503])
def test_never_more_than_two_tries(server, client, status):
    server.will(status, {"detail": "Later."}, Retry_After="0.01")
    with pytest.raises(Busy, match=r"Later\.") as raised:
        client.predict("support", "hello")
    assert (raised.value.retry_after, raised.value.http_status) == (0.01, status)
    assert len(server.asked) == 2


def test_a_wait_that_does_not_fit_is_not_begun(server):
    server.will(429, {"detail": "Later."}, Retry_After="30")
    start = time.monotonic()
    with Client(server.url, deadline=2) as client, pytest.raises(Busy) as raised:
        client.predict("support", "hello")
    assert raised.value.retry_after == 30
    assert time.monotonic() - start < 1.5
    assert len(server.asked) == 1


def test_a_connection_that_breaks_before_an_answer_is_tried_again(server, client):
    server.will(body=None)
    server.will(body=answered("a"))
    assert client.predict("support", "hello") == [{"label": "a"}]
    assert len(server.asked) == 2
    server.replies[:] = []
    server.will(body=None)
    with pytest.raises(Busy, match="broke before an answer"):
        client.predict("support", "hello")
    assert len(server.asked) == 4


def test_a_connection_that_breaks_within_an_answer_is_not(server, client):
    server.will(body=b'{"answers"', Content_Length="100", Connection="close")
    with pytest.raises(ModelError, match="in the middle of an answer"):
        client.predict("support", "hello")
    assert len(server.asked) == 1


def test_where_no_server_is():
    with Served() as gone:
        url = gone.url
    start = time.monotonic()
    with Client(url, KEY) as client:
        with pytest.raises(Busy, match=rf"No vertune server answers at {url} .*start one: vertune serve"):
            client.predict("support", "hello")
        assert 0.1 <= time.monotonic() - start < 2
        assert client.ready() is False


def test_a_server_that_starts_meanwhile_is_found():
    calls = []

    def answer(request):
        calls.append(request)
        if len(calls) == 1:
            raise httpx.ConnectError("refused")
        return httpx.Response(200, json=answered("a"))

    with Client("http://far.example", transport=httpx.MockTransport(answer), insecure=True) as client:
        assert client.predict("support", "hello") == [{"label": "a"}]


def test_a_slow_server_is_left_at_the_deadline(server):
    server.will(body=answered("a"), wait=1.0)
    start = time.monotonic()
    with Client(server.url, deadline=0.2) as client, pytest.raises(ModelError, match=r"did not answer within 0\.2 s"):
        client.predict("support", "hello")
    assert 0.15 < time.monotonic() - start < 0.6
    assert len(server.asked) == 1


def test_the_second_try_has_what_the_first_one_left(server):
    server.will(503, {"detail": "Later."}, Retry_After="0.25")
    server.will(body=answered("a"), wait=1.5)
    start = time.monotonic()
    with Client(server.url, deadline=0.5) as client, pytest.raises(ModelError, match="did not answer"):
        client.predict("support", "hello")
    assert time.monotonic() - start < 0.8
    assert len(server.asked) == 2


def test_a_server_that_drips_is_left_at_the_deadline(server):
    server.will(body=[b" "] * 20 + [b"{}"], wait=0.1)
    start = time.monotonic()
    with Client(server.url, deadline=0.3) as client, pytest.raises(ModelError, match=r"did not answer within 0\.3 s"):
        client.predict("support", "hello")
    assert time.monotonic() - start < 0.8


@contextmanager
def dripping() -> Iterator[tuple[str, threading.Event]]:
    """The address of a server that sends the head of an answer letter by letter, and an event that is set where its client leaves."""
    left = threading.Event()

    def drip(listening):
        connection, _ = listening.accept()
        with connection, suppress(OSError):
            for letter in b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 100:
                connection.send(bytes([letter]))
                time.sleep(0.05)
            return
        left.set()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=drip, args=[listening], daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", left


def test_a_server_that_drips_its_head_is_left_at_the_deadline_and_loses_the_connection_with_the_client():
    with dripping() as (url, left):
        start = time.monotonic()
        with Client(url, deadline=0.4) as client, pytest.raises(ModelError, match=r"did not answer within 0\.4 s"):
            client.predict("support", "hello")
        assert 0.3 < time.monotonic() - start < 1
        assert left.wait(2)


@pytest.fixture
def resolve(monkeypatch):
    """Give the host `far.example` these addresses, and no proxy."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    getaddrinfo = socket.getaddrinfo

    def to(*addresses):
        def resolved(host, *rest, **options):
            return [one for address in (addresses if host == "far.example" else [host]) for one in getaddrinfo(address, *rest, **options)]

        monkeypatch.setattr(socket, "getaddrinfo", resolved)

    return to


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["127.0.0.1", "127.0.0.2", "127.0.0.3"]])
def test_connections_that_hang_while_they_are_made_are_left_before_the_deadline(resolve, addresses):
    resolve(*addresses)
    with socket.socket() as listening, ExitStack() as waiting:
        listening.bind(("0.0.0.0", 0))
        listening.listen(0)
        port = listening.getsockname()[1]
        for _ in range(8):  # after these the kernel answers to no other connection
            other = waiting.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex(("127.0.0.1", port))
        start = time.monotonic()
        with (
            Client(f"http://far.example:{port}", deadline=0.4, insecure=True) as client,
            pytest.raises(Busy, match="No vertune server answers"),
        ):
            client.predict("support", "hello")
        assert 0.3 < time.monotonic() - start < 1


def test_a_host_without_an_address_is_no_server(resolve):
    resolve()
    with Client("http://far.example", deadline=0.4, insecure=True) as client, pytest.raises(Busy, match=r"far\.example has no address"):
        client.predict("support", "hello")


def test_the_second_address_of_a_host_is_tried(server, resolve):
    resolve("127.0.0.2", "127.0.0.1")  # the server listens on the second one alone
    server.will(body={"verticals": []})
    with Client(f"http://far.example:{server.server_port}", insecure=True) as client:
        assert client.verticals() == []


def test_the_calls_of_a_client_start_no_threads(server, client):
    server.will(body=answered("a"))
    seen = set()
    read = httpx.Response.read

    def counting(response):
        seen.add(threading.current_thread())
        return read(response)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpx.Response, "read", counting)
        client.predict("support", "hello")
    assert seen == {threading.current_thread()}


def test_the_deadline_holds_behind_a_proxy_too(monkeypatch):
    with dripping() as (url, _):
        monkeypatch.setenv("HTTP_PROXY", url)
        monkeypatch.setenv("http_proxy", url)
        start = time.monotonic()
        with Client("http://far.example", deadline=0.4, insecure=True) as client, pytest.raises(ModelError, match="did not answer"):
            client.predict("support", "hello")
        assert 0.3 < time.monotonic() - start < 1


@pytest.mark.parametrize("inputs", [["text", {"text": "record"}], [1], [None, "text"], b"bytes"])
def test_inputs_of_other_kinds(client, inputs):
    with pytest.raises(DataError, match=r"Expected only texts or only records"):
        client.predict("support", inputs)


@pytest.mark.parametrize("value", [object(), float("nan"), "\udc80"])
def test_what_json_can_not_hold(server, client, value):
    server.will(body=answered("a"))
    with pytest.raises(DataError, match="JSON can't represent"):
        client.predict("support", {"text": value})
    assert not server.asked


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8000", "ftp://x", "http://", "http://x:abc", "http://x:99999", "http://x/?q=1", "http://x/#a", "http://x\n"]
)
def test_a_url_that_is_none(url):
    with pytest.raises(ConfigError, match=r"such as http://127\.0\.0\.1:8000"):
        Client(url)


def test_a_password_in_the_url_is_refused_and_not_repeated():
    with pytest.raises(ConfigError, match="VERTUNE_KEY") as raised:
        Client("http://user:hidden@x")
    assert "hidden" not in str(raised.value)


@pytest.mark.parametrize("deadline", [0, -1, float("inf"), float("nan")])
def test_a_deadline_that_is_none(deadline):
    with pytest.raises(ConfigError, match="over 0"):
        Client(deadline=deadline)


def test_the_key_of_the_environment(server, monkeypatch):
    server.will(body={"verticals": []})
    monkeypatch.setenv("VERTUNE_KEY", f"{KEY}\n")
    for key in (None, "vt_other", ""):
        with Client(server.url, key) as client:
            client.verticals()
    assert [asked[3].get("Authorization") for asked in server.asked] == [f"Bearer {KEY}", "Bearer vt_other", None]


@pytest.mark.parametrize("key", ["vt_secret\nX-Other: 1", "vt_sécret", "vt_secret two", "vt_secret\x00"])
def test_a_key_that_no_header_holds_is_refused_and_not_repeated(key):
    with pytest.raises(ConfigError, match="Copy it again") as raised:
        Client(key=key)
    assert "cret" not in str(raised.value)


def test_the_key_is_in_no_message(server, caplog):
    caplog.set_level("DEBUG")
    client = Client(server.url, KEY, deadline=0.3)
    said = [repr(client), str(client)]
    for status, body in [(200, None), (401, {"detail": "Who?"}), (200, b"<html>"), (503, {})]:
        server.replies[:] = []
        server.will(status, body)
        with pytest.raises((Busy, AccessError, ModelError)) as raised:
            client.predict("support", "hello")
        said.append(f"{raised.value!r} {raised.value.__cause__!r}")
    client.close()
    assert repr(client) == f"Client('{server.url}')"
    assert not [text for text in [*said, caplog.text] if KEY.split("_", 2)[2] in text]


def test_a_proxy_is_no_way_to_this_machine(server, monkeypatch):
    server.will(body={"verticals": []})
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with Client(server.url) as client:
        assert client.verticals() == []


def test_many_threads(server, client):
    from concurrent.futures import ThreadPoolExecutor

    server.will(body=answered("a"))
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: client.predict("support", "hello"), range(40))) == [[{"label": "a"}]] * 40


def test_without_httpx_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(MissingExtra, match=r"'httpx'.*pip install 'vertune\[serve\]'"):
        Client()


def test_it_loads_no_other_part_of_vertune():
    code = "import sys, vertune.client; print(sorted(n for n in sys.modules if n.startswith('vertune') or n in ('numpy', 'httpx')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": ":".join(sys.path)})
    modules = ["", ".client", ".client.client", ".core", ".core.documents", ".core.errors", ".core.ids", ".core.machine"]
    assert done.stdout.strip() == str([f"vertune{name}" for name in modules])


def test_an_unencrypted_way_to_another_machine_must_be_asked_for():
    with pytest.raises(ConfigError, match="unencrypted to another machine; expected https"):
        Client("http://bank.example", KEY)
    Client("http://bank.example", KEY, insecure=True).close()
    for near in ("http://localhost:1", "http://127.9.9.9:1", "http://[::1]:1", "https://bank.example"):
        Client(near, KEY).close()


@pytest.fixture
def encrypted(tmp_path):
    """A server with a certificate of an authority of its own, its TLS settings, and the folder with the certificates."""
    import trustme

    authority, stranger = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    stranger.cert_pem.write_to_path(tmp_path / "stranger.pem")
    authority.issue_cert("client.example").private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    with running() as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.will(body=answered("a"))
        yield server, context, tmp_path


def test_a_certificate_of_the_named_authority_is_trusted(encrypted):
    server, context, folder = encrypted
    url = f"https://127.0.0.1:{server.server_port}"
    with Client(url, KEY, ca=folder / "ca.pem") as client:
        assert client.predict("support", "hello") == [{"label": "a"}]
    context.verify_mode = ssl.CERT_REQUIRED
    with Client(url, KEY, ca=folder / "ca.pem", cert=folder / "client.pem") as client:
        assert client.predict("support", "hello") == [{"label": "a"}]


@pytest.mark.parametrize("ca", [None, "stranger.pem"])
def test_a_certificate_that_is_not_trusted_is_named_and_not_tried_again(encrypted, ca):
    server, _, folder = encrypted
    url = f"https://127.0.0.1:{server.server_port}"
    started = time.monotonic()
    with Client(url, KEY, ca=ca and folder / ca) as client, pytest.raises(ConfigError, match=r"encrypted connection.*certificate"):
        client.predict("support", "hello")
    assert time.monotonic() - started < 5
    assert not server.asked


def test_files_of_certificates_that_can_not_be_read(tmp_path):
    (tmp_path / "no.pem").write_text("no certificate")
    for options in ({"ca": tmp_path / "absent.pem"}, {"ca": tmp_path / "no.pem"}):
        with pytest.raises(ConfigError, match=r"certificates in ca=.*can't be read"):
            Client("https://bank.example", **options)
    for cert in (tmp_path / "absent.pem", (tmp_path / "no.pem", tmp_path / "no.pem")):
        with pytest.raises(ConfigError, match="client's certificate in cert="):
            Client("https://bank.example", cert=cert)


@pytest.mark.parametrize("status", [200, 503])
def test_an_answer_of_endless_depth(server, status):
    server.will(status, b"[" * 200_000 + b"]" * 200_000)
    with Client(server.url, deadline=5) as client, pytest.raises((ModelError, Busy), match=r"not JSON|without an explanation"):
        client.predict("support", "hello")


@pytest.mark.parametrize(("name", "value"), [("HTTPS_PROXY", "ftp://proxy:1"), ("NO_PROXY", "[::1]:80"), ("NO_PROXY", "host:port")])
def test_a_proxy_that_can_not_be_used_is_named(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="proxy in the environment"):
        Client("https://bank.example")


@pytest.mark.parametrize("value", ["socks5://127.0.0.1:1", "socks5h://127.0.0.1:1", "http://127.0.0.1:1"])
def test_proxies_that_can_be_used(monkeypatch, value):
    monkeypatch.setenv("ALL_PROXY", value)
    monkeypatch.setenv("NO_PROXY", "::1,localhost,10.0.0.1")
    with Client("https://bank.example", deadline=1) as client, pytest.raises(Busy):
        client.predict("support", "hello")
