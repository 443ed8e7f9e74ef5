"""Connects the terminal with an app: an example of an adapter between another channel and a server of vertune.

    export CHAT_SECRET=…                                        # any long random text, the same for server and adapter
    vertune app shop serve --set chat.file=chat.yaml
    python examples/chat_adapter.py --server http://127.0.0.1:8000 --app shop --adapter terminal

chat.yaml names the adapter, and where the server posts replies:

    adapters:
      terminal: {app: shop, secret_env: CHAT_SECRET, send_to: "http://127.0.0.1:8900/"}

Each line that is typed becomes a message of the sender `me`. To connect a messenger, replace `main`: call `Adapter.send` for each of its
messages, with its ids, and let `Adapter.received` pass replies on to it. This needs nothing but Python: the signature is computed here.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MAX_AGE = 300
"""Seconds after which a signed message counts as an old one that somebody sends again."""
ATTEMPTS = 5


def signature(secret: str, stamp: str, delivery: str, body: bytes) -> str:
    """Return the signature of a message: the HMAC-SHA256 of its time, its id and its body."""
    return "v1=" + hmac.new(secret.encode(), f"{stamp}.{delivery}.".encode() + body, hashlib.sha256).hexdigest()


class Adapter:
    """Sends messages to the server, and takes its replies."""

    def __init__(self, incoming: str, secret: str, show: Callable[[dict[str, Any]], None]) -> None:
        """`incoming` is the address for messages; `show` gets each reply once: what is said, and to whom."""
        self.incoming, self.secret, self.show = incoming, secret, show
        self._had: set[str] = set()
        """The ids of replies that were shown. A real adapter keeps them where they outlast a restart."""

    def send(self, sender: str, message: str, text: str) -> dict[str, Any]:
        """Send a message; it may be repeated with the same id until it is answered, and is answered once."""
        body = json.dumps({"sender": sender, "message": message, "text": text}).encode()
        for attempt in range(ATTEMPTS):
            stamp = str(int(time.time()))
            headers = {
                "Content-Type": "application/json", "X-Vertune-Timestamp": stamp, "X-Vertune-Delivery": message,
                "X-Vertune-Signature": signature(self.secret, stamp, message, body),
            }  # fmt: skip
            try:
                with urllib.request.urlopen(urllib.request.Request(self.incoming, body, headers), timeout=30) as answer:
                    found: dict[str, Any] = json.load(answer)
                    return found
            except urllib.error.HTTPError as error:
                if error.code < 500 and error.code != 429:
                    raise
            except OSError:
                pass
            time.sleep(0.2 * 2**attempt)
        raise ConnectionError(f"The server at {self.incoming} did not answer; expected an answer within {ATTEMPTS} attempts. Start it.")

    def received(self, headers: Any, body: bytes) -> int:
        """Take a reply of the server, and return the status to answer with."""
        stamp, delivery = headers.get("X-Vertune-Timestamp", ""), headers.get("X-Vertune-Delivery", "")
        genuine = hmac.compare_digest(headers.get("X-Vertune-Signature", ""), signature(self.secret, stamp, delivery, body))
        if not genuine or abs(time.time() - int(stamp)) > MAX_AGE:
            return 401
        if delivery not in self._had:
            self.show(json.loads(body))
            self._had.add(delivery)  # last: a reply that could not be shown is sent again
        return 204


def listening(adapter: Adapter, port: int) -> ThreadingHTTPServer:
    """Return a server that takes replies; call its `serve_forever`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(min(int(self.headers["Content-Length"]), 1 << 20))
            self.send_response(adapter.received(self.headers, body))
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


def show(reply: dict[str, Any]) -> None:
    """Print what an app or a person says, with its buttons and links."""
    turn = reply["turn"]
    print(f"{turn['author']}: {turn['text'] or turn['event']}")
    for choice in turn["choices"]:
        print(f"  [{choice['title']}]")
    for attachment in turn["attachments"]:
        print(f"  {attachment['title']}: {attachment['url']}")


def main() -> None:
    """Send what is typed, and print what is replied."""
    parser = argparse.ArgumentParser(description="Talk to an app in the terminal.")
    parser.add_argument("--server", default="http://127.0.0.1:8000")
    parser.add_argument("--app", required=True)
    parser.add_argument("--adapter", default="terminal")
    parser.add_argument("--port", type=int, default=8900, help="Where replies arrive.")
    options = parser.parse_args()
    incoming = f"{options.server}/v1/apps/{options.app}/incoming/{options.adapter}"
    adapter = Adapter(incoming, os.environ["CHAT_SECRET"], show)
    server = listening(adapter, options.port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for line in sys.stdin:
        if line.strip():
            adapter.send("me", uuid.uuid4().hex, line.strip())
    server.shutdown()


if __name__ == "__main__":
    main()
