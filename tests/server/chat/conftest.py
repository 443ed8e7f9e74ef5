"""A server with the ledger app, visitors and people at its desk; most tests share it, each with conversations of its own."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.server.running import Running, until
from vertune.core.artifact import Home
from vertune.server.chat import acting, adapters
from vertune.server.settings import ChatSettings
from vertune.store.database import FILE, Database
from vertune.store.keys import Keys
from vertune.testing.ledger import NAME, ledger

ORIGIN = "https://shop.example.com"
SECRET = "a secret of the operator"
IDS = itertools.count(1)


class Receiver:
    """A server of the operator: it takes signed messages, and answers as it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: list[tuple[int, bytes]] = []
        """What it answers to the next calls; afterwards 200 and an order."""
        self.seen: dict[str, int] = {}
        """How often each id came."""
        self.delay = 0.0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.calls.append((self.path, dict(self.headers), body))
                delivery = self.headers["X-Vertune-Delivery"]
                receiver.seen[delivery] = receiver.seen.get(delivery, 0) + 1
                time.sleep(receiver.delay)
                status, content = receiver.answers.pop(0) if receiver.answers else (200, b'{"ok": true, "data": {"state": "sent"}}')
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *given: Any) -> None:
                pass

        return Handler


def genuine(headers: dict[str, str], body: bytes) -> bool:
    """Whether a message was signed with the secret of the operator, computed here anew."""
    signed = f"{headers['X-Vertune-Timestamp']}.{headers['X-Vertune-Delivery']}.".encode() + body
    return headers["X-Vertune-Signature"] == "v1=" + hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def chat_file(folder: Path, url: str) -> Path:
    """Write the operator's file."""
    hook = {"secret_env": "CHAT_SECRET", "timeout": 1, "attempts": 3}
    file = folder / "chat.yaml"
    messenger = {"app": NAME, "secret_env": "CHAT_SECRET"}
    actions = {"order": {**hook, "url": f"{url}/order"}, "dead": {**hook, "url": "http://127.0.0.1:9/"}}
    posted = {**messenger, "customer": "bank", "send_to": f"{url}/replies"}
    file.write_text(yaml.safe_dump({"actions": actions, "adapters": {"messenger": messenger, "posted": posted}}))
    return file


@pytest.fixture(scope="module")
def quick() -> Iterator[None]:
    """Servers look more often for what is due."""
    from datetime import timedelta

    from vertune.store import actions

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHAT_SECRET", SECRET)
        patch.setattr(acting, "INTERVAL", 0.02)
        patch.setattr(adapters, "INTERVAL", 0.02)
        patch.setattr(adapters, "_FIRST_PAUSE", 0.02)
        patch.setattr(actions, "FIRST_PAUSE", timedelta(seconds=0.02))
        patch.setattr("vertune.server.chat.tidying.INTERVAL", 0.05)
        patch.setattr("vertune.server.chat.tidying._WAITING", timedelta(seconds=0.05))
        patch.setattr("vertune.server.chat.watchers.INTERVAL", 0.05)
        patch.setattr("vertune.store.cached.REVOCATION_DELAY", 0.0)
        yield


def run(home: Home, key: str | None, file: Path | None, **chat: Any) -> Running:
    """A server with the ledger app, which is not stored as an artifact."""
    made = Running(home, key, chat=ChatSettings(file=file, **chat))
    product = ledger(home.folder / "ledger")
    made.service.chats.products.products = {NAME: product}
    made.service.chats.products._aliases = lambda: {NAME: product.artifact.id}
    return made


@pytest.fixture(scope="module")
def server(tmp_path_factory, receiver, quick) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("chat")
    home = Home(folder / "home")
    home.folder.mkdir()
    keys = Keys(Database(home.folder / FILE))
    secret = keys.create("admin", ["admin"])[0]
    keys.close()
    with run(home, secret, chat_file(folder, receiver.url), rate="1000/second", beginnings="1000/second") as running:
        yield running


class Visitor:
    """Somebody with a conversation."""

    def __init__(self, server: Running, key: str, origin: str | None = None, **body: Any) -> None:
        self.server = server
        self.headers = {"Authorization": f"Bearer {key}", **({} if origin is None else {"Origin": origin})}
        self.begun = server.stranger.post(f"/v1/apps/{NAME}/conversations", json=body, headers=self.headers)
        assert self.begun.status_code == 201, self.begun.text
        self.id = self.begun.json()["id"]
        self.headers["X-Conversation-Token"] = self.begun.json()["token"]
        self.path = f"/v1/apps/{NAME}/conversations/{self.id}"

    def post(self, what: str, **body: Any) -> Any:
        return self.server.stranger.post(f"{self.path}/{what}", json=body, headers=self.headers)

    def say(self, text: str, message: str | None = None, **more: Any) -> Any:
        return self.post("messages", message=message or f"m{next(IDS)}", text=text, **more)

    def get(self, after: int = 0, wait: float = 0.0) -> dict[str, Any]:
        found = self.server.stranger.get(self.path, params={"after": after, "wait": wait}, headers=self.headers)
        assert found.status_code == 200, found.text
        return found.json()

    def turns(self, after: int = 0) -> list[dict[str, Any]]:
        return self.get(after)["turns"]

    def until(self, number: int) -> list[dict[str, Any]]:
        """Wait until the conversation has so many turns."""
        until(lambda: self.get()["turn"] >= number)
        return self.turns()


@pytest.fixture(scope="module")
def secrets(server) -> dict[str, str]:
    create = server.keys.create
    return {
        "page": create("page", ["chat"], origin=ORIGIN)[0],
        "own": create("own server", ["chat"], customer="bank")[0],
        "other": create("other", ["chat", "review"], customer="other")[0],
        "agent": create("agent", ["review"], customer="bank")[0],
        "colleague": create("colleague", ["review", "chat"], customer="bank")[0],
        "predict": create("predict", ["predict"], customer="bank")[0],
    }


@pytest.fixture
def visitor(server, secrets) -> Visitor:
    return Visitor(server, secrets["own"], language="en")


@pytest.fixture
def desk(server, secrets):
    """Asks the server at its desk."""

    def ask(method: str, path: str, who: str = "agent", **body: Any) -> Any:
        headers = {"Authorization": f"Bearer {secrets[who]}"}
        json_body = body if method in ("POST", "PUT") else None
        return server.stranger.request(
            method, f"/v1/desk/{path}", headers=headers, json=json_body, params=body if json_body is None else None
        )

    return ask


def signed(body: dict[str, Any], secret: str = SECRET, age: float = 0.0, delivery: str = "d1") -> tuple[bytes, dict[str, str]]:
    """A message of an adapter as it goes over the wire."""
    content = json.dumps(body).encode()
    stamp = str(int(time.time() - age))
    mark = hmac.new(secret.encode(), f"{stamp}.{delivery}.".encode() + content, hashlib.sha256).hexdigest()
    headers = {"Content-Type": "application/json", "X-Vertune-Timestamp": stamp, "X-Vertune-Delivery": delivery}
    return content, {**headers, "X-Vertune-Signature": f"v1={mark}"}
