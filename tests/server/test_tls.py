"""Encrypted connections: certificates that change while the server runs, clients with certificates, handshakes that never end."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import time
from pathlib import Path

import httpx
import pytest
import trustme

from tests.server.running import LONG, Running, request, until
from vertune import __version__
from vertune.client import Client
from vertune.client.diagnosis import diagnose
from vertune.core.errors import ConfigError
from vertune.server import tls
from vertune.server.settings import Settings, TLSFiles, changed

pytestmark = pytest.mark.allow_hosts(["127.0.0.1", "localhost"])
BODY = json.dumps({"texts": ["soup"]}).encode()
ASKED = request("/v1/verticals/intent/predict", BODY)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


@pytest.fixture(scope="module")
def stranger() -> trustme.CA:
    """An authority that nobody trusts."""
    return trustme.CA(key_type=trustme.KeyType.ECDSA)


def write(folder: Path, authority: trustme.CA, name: str = "server.example") -> dict[str, str]:
    """The settings of a new certificate, whose files replace those before."""
    made = authority.issue_cert(name, "localhost", key_type=trustme.KeyType.ECDSA)
    made.private_key_pem.write_to_path(str(folder / "new.key"))
    (folder / "new.key").replace(folder / "server.key")
    (folder / "new.pem").write_bytes(b"".join(part.bytes() for part in made.cert_chain_pems))
    (folder / "new.pem").replace(folder / "server.pem")
    return {"cert": str(folder / "server.pem"), "key": str(folder / "server.key")}


@pytest.fixture
def files(tmp_path, authority) -> dict[str, str]:
    return write(tmp_path, authority)


def trusting(authority: trustme.CA, **options) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    for name, value in options.items():
        setattr(context, name, value)
    return context


def connect(running: Running, context: ssl.SSLContext) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", running.port), timeout=LONG)
    plain.settimeout(LONG)
    try:
        return context.wrap_socket(plain, server_hostname="localhost")
    except BaseException:
        plain.close()
        raise


def ask(encrypted: ssl.SSLSocket) -> int:
    encrypted.sendall(ASKED)
    data = b""
    while b"\r\n\r\n" not in data:
        if not (piece := encrypted.recv(65536)):
            raise ConnectionError("closed without an answer")
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += encrypted.recv(65536)
    return int(head.split()[1])


def name_of(encrypted: ssl.SSLSocket) -> str:
    return next(value for kind, value in encrypted.getpeercert()["subjectAltName"] if kind == "DNS" and value != "localhost")


# ------------------------------------------------------------------ a server


def test_requests_over_tls_are_answered(fleet, start, files, authority) -> None:
    running = start(fleet, tls=TLSFiles(**files))
    assert running.url.startswith("https://")
    with httpx.Client(base_url=f"https://localhost:{running.port}", verify=trusting(authority), trust_env=False, timeout=LONG) as client:
        for _ in range(3):
            assert client.post("/v1/verticals/intent/predict", json={"texts": ["soup"] * 20}).status_code == 200
        large = client.get("/docs/swagger-ui-bundle.js")
        assert len(large.content) == int(large.headers["content-length"]) > 500_000
    with connect(running, trusting(authority)) as encrypted:
        assert encrypted.version() == "TLSv1.3"
        assert encrypted.selected_alpn_protocol() is None
        assert [ask(encrypted) for _ in range(3)] == [200] * 3
    with connect(running, trusting(authority, maximum_version=ssl.TLSVersion.TLSv1_2)) as encrypted:
        assert ask(encrypted) == 200
    until(lambda: running.connections() == 0)


def test_a_request_that_comes_with_the_end_of_the_handshake_is_answered(fleet, start, files, authority) -> None:
    """Its bytes are there before the server knows that the handshake is over."""
    running = start(fleet, tls=TLSFiles(**files))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting(authority).wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", running.port), timeout=LONG) as plain:
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                plain.sendall(outgoing.read())
                incoming.write(plain.recv(65536))
        client.write(ASKED)
        plain.sendall(outgoing.read())  # the last words of the handshake, and the request
        data = b""
        while not data:
            piece = plain.recv(65536)
            assert piece, "closed without an answer"
            incoming.write(piece)
            with contextlib.suppress(ssl.SSLWantReadError):
                data = client.read(65536)
        assert data.startswith(b"HTTP/1.1 200"), data


def test_what_is_not_safe_enough_is_refused(fleet, start, files, authority, stranger) -> None:
    running = start(fleet, tls=TLSFiles(**files), limits={"reading": 5.0})
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old = trusting(authority, minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1_1)
    old.set_ciphers("ALL:@SECLEVEL=0")
    for context in (old, trusting(stranger)):
        with pytest.raises(ssl.SSLError):
            connect(running, context)
    with socket.create_connection(("127.0.0.1", running.port), timeout=LONG) as plain:
        plain.sendall(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"HTTP" not in plain.recv(100)
    until(lambda: running.metric("vertune_connection_events_total", kind="failed_handshake") >= 2)
    until(lambda: running.connections() == 0)


def test_a_changed_certificate_is_used_without_losing_a_connection(home, start, tmp_path, authority, monkeypatch, caplog) -> None:
    monkeypatch.setattr(tls, "INTERVAL", 0.05)
    running = start(home, tls=TLSFiles(**write(tmp_path, authority, "first.example")))
    with connect(running, trusting(authority)) as kept:
        assert (name_of(kept), ask(kept)) == ("first.example", 200)
        (tmp_path / "server.pem").write_bytes(b"half a certificate")
        until(lambda: "is not used yet" in caplog.text)
        with connect(running, trusting(authority)) as encrypted:
            assert (name_of(encrypted), ask(encrypted)) == ("first.example", 200)
        write(tmp_path, authority, "second.example")

        def renewed() -> bool:
            with connect(running, trusting(authority)) as encrypted:
                return (name_of(encrypted), ask(encrypted)) == ("second.example", 200)

        until(renewed)
        assert ask(kept) == 200
    assert caplog.text.count("is not used yet") <= 3, "once a change"


def test_clients_need_a_certificate_where_they_must_have_one(fleet, start, tmp_path, files, authority, stranger) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "clients.pem"))
    running = start(fleet, tls=TLSFiles(**files, client_ca=str(tmp_path / "clients.pem")))

    def status(issuer: trustme.CA | None) -> int:
        context = trusting(authority)
        if issuer is not None:
            issuer.issue_cert("client@example", key_type=trustme.KeyType.ECDSA).configure_cert(context)
        with connect(running, context) as encrypted:
            return ask(encrypted)

    assert status(authority) == 200
    for issuer in (None, stranger):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            status(issuer)
    until(lambda: running.metric("vertune_connection_events_total", kind="failed_handshake") == 2)
    mine = tmp_path / "mine.pem"
    authority.issue_cert("doctor@example", key_type=trustme.KeyType.ECDSA).private_key_and_cert_chain_pem.write_to_path(str(mine))
    levels = {}
    for ca, cert in (("clients.pem", mine), ("clients.pem", None), (None, mine)):
        with Client(f"https://localhost:{running.port}", running._key, ca=ca and tmp_path / ca, cert=cert) as client:
            findings = list(diagnose(client, __version__))
        levels[ca, cert] = (findings[0].level, "--cert FILE" in findings[0].advice)
    assert list(levels.values()) == [("good", False), ("bad", True), ("bad", True)]


def test_handshakes_that_never_end_are_limited_in_number_and_time(home, start, files, authority) -> None:
    limits = {"connections_per_address": 3, "reading": 0.8}
    running = start(home, tls=TLSFiles(**files), limits=limits)
    slow = [socket.create_connection(("127.0.0.1", running.port), timeout=LONG) for _ in range(3)]
    until(lambda: running.connections() == 3)
    began = time.monotonic()
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connect(running, trusting(authority))
    for one in slow:
        with contextlib.suppress(ConnectionError):
            assert one.recv(100) == b""
        one.close()
    assert time.monotonic() - began < 8
    with connect(running, trusting(authority)) as encrypted:
        assert ask(encrypted) == 200


def test_a_server_stops_in_the_middle_of_handshakes(fleet, start, files) -> None:
    running = start(fleet, tls=TLSFiles(**files))
    with socket.create_connection(("127.0.0.1", running.port), timeout=LONG):
        until(lambda: running.connections() == 1)
        running.stop()
        running._thread.join(5)
        assert not running._thread.is_alive()


# ------------------------------------------------------------------ files and settings


def test_files_that_can_not_be_used_are_told(tmp_path, authority, stranger, files) -> None:
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat, load_pem_private_key

    key = load_pem_private_key(Path(files["key"]).read_bytes(), None)
    locked = tmp_path / "locked.key"
    locked.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    (tmp_path / "other").mkdir()
    other = write(tmp_path / "other", stranger)
    (tmp_path / "text").write_text("no certificate")
    for given in ({"key": str(locked)}, {"key": other["key"]}, {"cert": str(tmp_path / "text")}, {"key": str(tmp_path / "nowhere")}):
        with pytest.raises(ConfigError, match="--tls-cert FILE --tls-key FILE"):
            tls.load_context(TLSFiles(**{**files, **given}))
    with pytest.raises(ConfigError, match="--tls-client-ca FILE"):
        tls.load_context(TLSFiles(**files, client_ca=str(tmp_path / "text")))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.168.1.4", "example.org"])
def test_other_machines_are_answered_over_tls_or_through_a_proxy_only(host) -> None:
    with pytest.raises(ConfigError, match=r"without encryption.*--tls-cert FILE --tls-key FILE.*--behind-proxy"):
        Settings(host=host).check()
    Settings(host=host, tls=TLSFiles(cert="a", key="b")).check()
    Settings(host=host, behind_proxy=True).check()
    for more in ({"tls": TLSFiles(cert="a", key="b")}, {"behind_proxy": True}):
        with pytest.raises(ConfigError, match="--open answers requests without a key"):
            Settings(host=host, open=True, **more).check()


def test_a_certificate_and_its_key_are_named_together() -> None:
    for setting, missing in (("tls.cert=a", "--tls-key"), ("tls.key=a", "--tls-cert"), ("tls.client_ca=a", "--tls-cert")):
        with pytest.raises(ConfigError, match=f"Pass {missing} FILE too"):
            changed({}, [setting]).check()
    assert changed({}, ["tls.cert=a=b", "tls.key=c", "limits.items=3"]).tls == TLSFiles("a=b", "c")
    with pytest.raises(ConfigError, match=r"tls.cert, tls.key"):
        changed({}, ["tls.certificate=a"])
