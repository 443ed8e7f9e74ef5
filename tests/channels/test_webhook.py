"""Webhooks: what a receiver gets, how it knows that it is genuine, and what counts as sent."""

import hashlib
import hmac
import json
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from vertune.channels.webhook import Webhook
from vertune.core.errors import ConfigError, VertuneError
from vertune.testing.channels import MESSAGE

pytestmark = pytest.mark.enable_socket


@contextmanager
def receiver(status=204, drip=0.0, to=None):
    """A server on loopback; yields its address, and the path, headers and body of each request."""
    got = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            got.append((self.path, dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            if drip:
                for byte in b"HTTP/1.1 200 OK\r\n" * 20:
                    self.wfile.write(bytes([byte]))
                    time.sleep(drip)
                return
            self.send_response(status)
            if to:
                self.send_header("Location", to)
            self.end_headers()

        def log_message(self, *_):
            pass

        def handle_one_request(self):
            try:
                super().handle_one_request()
            except OSError:  # the client gave up
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", got
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_receiver_knows_a_genuine_message_and_a_repeated_one(monkeypatch):
    monkeypatch.setenv("HOOK_SECRET", "a long secret")
    with receiver() as (url, got):
        channel = Webhook(url=f"{url}/hooks/models?team=a", secret_env="HOOK_SECRET")
        channel.check()
        channel.send(MESSAGE)
        channel.send(MESSAGE)
    (path, headers, body), (_, again, _) = got
    assert path == "/hooks/models?team=a"
    signed = f"{headers['X-Vertune-Timestamp']}.{MESSAGE.id}.".encode() + body
    expected = hmac.new(b"a long secret", signed, hashlib.sha256).hexdigest()
    assert headers["X-Vertune-Signature"] == f"v1={expected}"
    assert abs(time.time() - int(headers["X-Vertune-Timestamp"])) < 10
    assert headers["X-Vertune-Delivery"] == again["X-Vertune-Delivery"] == MESSAGE.id
    sent = json.loads(body)
    assert sent.items() >= {"format": 1, "delivery": MESSAGE.id, "text": MESSAGE.text, "evidence": MESSAGE.evidence, "value": 0.81}.items()


@pytest.mark.parametrize("status", [301, 400, 500])
def test_only_a_success_counts_as_sent_and_no_redirect_is_followed(status):
    refused = pytest.raises(VertuneError, match=f"answered with status {status}; expected 200 to 299")
    with receiver() as (other, elsewhere), receiver(status, to=other) as (url, got), refused:
        Webhook(url=url).send(MESSAGE)
    assert (len(got), elsewhere) == (1, [])


def test_a_receiver_that_answers_byte_by_byte_holds_nobody_up():
    with receiver(drip=0.05) as (url, _):
        started = time.monotonic()
        with pytest.raises(VertuneError, match="could not be reached"):
            Webhook(url=url, timeout=0.3).send(MESSAGE)
        assert time.monotonic() - started < 3


def test_a_message_without_a_secret_has_no_signature_and_a_missing_secret_is_noticed_at_the_start(monkeypatch):
    monkeypatch.delenv("HOOK_SECRET", raising=False)
    with receiver() as (url, got):
        Webhook(url=url).send(replace(MESSAGE, evidence=[]))
        for call in (lambda channel: channel.check(), lambda channel: channel.send(MESSAGE)):
            with pytest.raises(ConfigError, match="HOOK_SECRET of the webhook 'webhook' is not set"):
                call(Webhook(url=url, secret_env="HOOK_SECRET"))
    assert ["X-Vertune-Signature" in headers for _, headers, _ in got] == [False]


@pytest.mark.parametrize(
    "url",
    ["ftp://example.com/a", "example.com", "http://", "https://example.com:no/", "http://[::1", "https://example.com/ä", "http://a\nb"],
)
def test_an_address_that_is_none_of_http_is_refused(url):
    with pytest.raises(ConfigError, match="begins with https://"):
        Webhook(url=url)


@pytest.mark.parametrize("url", ["https://ann:pass@example.com/a", "https://token@example.com/"])
def test_an_address_with_credentials_is_refused_and_not_shown(url):
    with pytest.raises(ConfigError, match="contains a user or a password") as found:
        Webhook(url=url)
    assert not any(word in str(found.value) for word in ("ann:", "pass@", "token"))
