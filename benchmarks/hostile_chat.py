"""Sends 200 hostile messages to an app over HTTP, and checks that nothing is executed, leaked or broken.

    python benchmarks/hostile_chat.py [--home HOME --app NAME]

The messages are texts that try to be more: templates, scripts, commands, paths, queries, headers, orders to a language model, requests for
what belongs to others, characters that break parsers, floods. Each goes through all that takes a text: as a message, as the value of a
button, as the argument of an action (in the ledger app), and where it fits as an id, the name of a visitor, a fact or a field of its own.

Another customer's conversation holds a marker, and so do the environment of the server, a file beside its database and the secret of an
action; none of them may appear in a response, in what an action receives beside its own arguments, or in the log. A text comes back as it
was sent or not at all: what a template would compute (the product of two large numbers) must not appear. The server must answer each
request with a status below 500, be alive at the end, answer an honest visitor, and hold no turn without its conversation. Markers of
scripts are data in JSON, whose type and headers forbid a browser to run them.

Without a home, the ledger app answers; with one, a live product of it. Results: benchmarks/results/hostile_chat.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from chat_client import Line, Servers, free_port
from processor import code, measured_here
from sqlalchemy import select, text

from vertune.core.files import write_json
from vertune.store import schema
from vertune.store.database import Database

OUT = Path(__file__).parent / "results" / "hostile_chat.json"
ONE, TWO = 7919, 104_729
PRODUCT = str(ONE * TWO)
"""What `{{7919*104729}}` would become; nobody writes it by chance."""
MARKERS = {
    "other_customer": "marker-of-another-customer-5f1c", "environment": "marker-of-the-environment-88ab", "file": "marker-of-a-file-0d3e",
    "secret": "marker-of-the-secret-41aa",
}  # fmt: skip
MESSAGES = Path(__file__).parent / "data" / "hostile_chat.json"
"""By kind: texts, or a text and how often it is repeated."""


class Receiver:
    """Takes actions, and keeps what came."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((self.path, dict(self.headers), body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/order"


class Attack:
    """One server under attack."""

    def __init__(self, port: int, app: str) -> None:
        self.line, self.app, self.statuses, self.found = Line(port), app, Counter[int](), list[str]()
        self.headers = self.path = ""
        self.number = 0

    async def send(self, path: str, body: Any, headers: str | None = None, sent: str = "") -> tuple[int, bytes]:
        """Send a request, and look at the answer: its status, and what it must not hold; `sent` is the hostile text."""
        method = "GET" if body is None else "POST"
        status, content = await self.line.send(method, path, body, self.headers if headers is None else headers)
        self.statuses[status] += 1
        if status >= 500 and status != 503:
            self.found.append(f"status {status} for {sent[:40]!r}")
        self.look(content.decode("utf-8", "replace"), sent)
        return status, content

    def look(self, shown: str, sent: str) -> None:
        """Note markers in a text that came from the server."""
        self.found += [f"{name} leaked for {sent[:40]!r}" for name, marker in MARKERS.items() if marker in shown]
        if PRODUCT in shown:
            self.found.append(f"a template was computed for {sent[:40]!r}")
        if "root:x:0" in shown or "uid=0(" in shown:
            self.found.append(f"a command ran for {sent[:40]!r}")

    async def begin(self, **body: Any) -> None:
        """Begin a conversation, from which messages are sent now."""
        status, content = await self.send(f"/v1/apps/{self.app}/conversations", body, "")
        assert status == 201, content
        begun = json.loads(content)
        self.headers = f"X-Conversation-Token: {begun['token']}\r\n"
        self.path, self.number = f"/v1/apps/{self.app}/conversations/{begun['id']}", 0

    async def say(self, hostile: str, **body: Any) -> None:
        """Send a message, and read the conversation as a visitor and as the desk do."""
        self.number += 1
        await self.send(f"{self.path}/messages", {"message": f"m{self.number}", **body}, sent=hostile)

    async def attack(self, hostile: str) -> None:
        """Send a text through all that takes texts."""
        await self.begin()
        await self.say(hostile, text=hostile)
        await self.say(hostile, choice=hostile[:200])
        await self.say(hostile, text=f"act order {hostile}"[:4000])
        await self.say(hostile, text="hello", **{hostile[:50]: 1})
        await self.send(f"{self.path}/messages", {"message": hostile, "text": "x"}, sent=hostile)
        await self.send(f"{self.path}/messages", {"message": "e", "event": hostile}, sent=hostile)
        await self.send(f"{self.path}/satisfaction", {"score": 1, "comment": hostile[:2000]}, sent=hostile)
        await self.send(f"/v1/apps/{self.app}/try", {"text": hostile, "state": {"chain": hostile, "count": hostile}}, "", sent=hostile)
        await self.send(f"/v1/apps/{quote(hostile[:80], safe='')}/conversations", {}, "", sent=hostile)
        await self.send(f"/v1/apps/{self.app}/conversations/{quote(hostile[:80], safe='')}", None, sent=hostile)
        token = "".join(one for one in hostile[:100] if " " <= one <= "~")
        await self.send(self.path, None, f"X-Conversation-Token: {token}\r\n", sent=hostile)
        signed_by_nobody = {"sender": hostile, "message": "m", "text": "x"}
        await self.send(f"/v1/apps/{self.app}/incoming/{quote(hostile[:50], safe='')}", signed_by_nobody, "", sent=hostile)
        id = self.path.rpartition("/")[2]
        for path in (self.path, f"/v1/desk/conversations/{id}", f"/v1/desk/conversations/{id}/suggestions"):
            await self.send(path, None, sent=hostile)
        with_fields = {"language": hostile[:3], "visitor": hostile[:200], "known": {hostile[:50]: hostile}}
        for name, value in with_fields.items():
            await self.send(f"/v1/apps/{self.app}/conversations", {name: value}, "", sent=hostile)

    async def flood(self) -> None:
        """Send broken bodies and many messages at once."""
        for body in floods():
            await self.send(f"{self.path}/messages", body, sent=body[:40].decode("latin-1"))
        bodies = [{"message": f"f{number}", "sequence": number, "text": "flood"} for number in range(2, 400)]
        for body in bodies:
            await self.send(f"{self.path}/messages", body, sent="a flood")


def hostile_texts() -> list[str]:
    """Return the hostile messages."""
    kinds = json.loads(MESSAGES.read_text(encoding="utf-8"))
    return [one if isinstance(one, str) else one[0] * one[1] for texts in kinds.values() for one in texts]


def floods() -> Iterator[bytes]:
    """Yield bodies that are no messages."""
    yield b'{"message": "a", "text": "' + b"x" * (5 << 20) + b'"}'
    yield b'{"a":' * 50_000 + b"1" + b"}" * 50_000
    yield b"[" * 100_000
    yield b'{"message": "a", "text": "x", "text": "y"}'
    yield b'{"message": "a", "text": "\\ud800"}'
    yield b'{"message": "a", "text": "\xff\xfe"}'
    yield b'{"message": "a", "text": "x", "sequence": 1e400}'
    yield b'{"message": "a", "text": "x", "sequence": ' + b"9" * 5000 + b"}"
    yield b'{"message": "a", "text": NaN}'
    yield b""


async def run(options: argparse.Namespace, home: Path, receiver: Receiver) -> dict[str, Any]:
    file = home / "hostile_chat.yaml"
    file.write_text(yaml.safe_dump({"actions": {"order": {"url": receiver.url, "secret_env": "CHAT_SECRET"}}}))
    (home / "beside.txt").write_text(MARKERS["file"])
    unlimited = {"rate": "1000/second", "beginnings": "100000/second", "file": str(file)}
    (home / "servers.log").unlink(missing_ok=True)  # of an earlier run in this home
    servers, port = Servers(home, None, unlimited), free_port()
    try:
        servers.start(port)
        await servers.ready(port)
        attack = Attack(port, options.app)
        await attack.begin()
        while (await attack.line.send("POST", f"{attack.path}/messages", {"message": "w", "text": "hello"}, attack.headers))[0] == 503:
            await asyncio.sleep(0.5)  # the models of a product are loaded after the server listens
        await attack.line.send("POST", f"{attack.path}/messages", {"message": "m", "text": MARKERS["other_customer"]}, attack.headers)
        owned = attack.path.rpartition("/")[2]
        database = Database(home / "server.db")
        with database.writing() as connection:  # it belongs to another customer, whose conversations others must not see
            connection.execute(schema.conversations.update().where(schema.conversations.c.id == owned).values(customer="another"))
        for hostile in hostile_texts():
            await attack.attack(hostile)
        await attack.begin()
        await attack.flood()
        await asyncio.sleep(1.5)
        alive = servers.alive(port)
        await attack.begin()
        status, content = await attack.line.send("POST", f"{attack.path}/messages", {"message": "m", "text": "hello"}, attack.headers)
        honest = status == 200 and len(json.loads(content)["turns"]) == 2
        with database.reading() as connection:
            orphans = len(
                connection.execute(
                    select(schema.turns.c.number).where(schema.turns.c.conversation.not_in(select(schema.conversations.c.id)))
                ).all()
            )
            sound = connection.execute(text("PRAGMA integrity_check")).scalar() == "ok"
        database.close()
    finally:
        servers.close()
    for path, headers, body in receiver.got:
        sent = json.loads(body)
        if path != "/order" or sent["action"] != "order" or len(headers) > 12:
            attack.found.append(f"an action was called otherwise: {path} {sent['action'][:40]!r}")
        attack.look(body.decode(), "the arguments of an action")
    log = (home / "servers.log").read_text(errors="replace")
    attack.look(log, "the log")
    lines = [line for line in re.split("\n", log) if "Traceback" in line]
    return {
        "app": options.app, "messages": len(hostile_texts()), "requests": sum(attack.statuses.values()),
        "statuses": {str(status): count for status, count in sorted(attack.statuses.items())}, "action_calls": len(receiver.got),
        "found": attack.found[:50], "alive": alive, "honest_visitor_answered": honest, "turns_without_conversation": orphans,
        "sound": sound, "tracebacks_in_log": len(lines), **measured_here(), "code": code(),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path)
    parser.add_argument("--app", default="ledger")
    options = parser.parse_args()
    os.environ |= {"CHAT_SECRET": MARKERS["secret"], "HOSTILE_MARKER": MARKERS["environment"]}
    receiver = Receiver()
    with tempfile.TemporaryDirectory() as temporary:
        found = asyncio.run(run(options, options.home or Path(temporary), receiver))
    print(json.dumps(found, indent=1))
    results = json.loads(OUT.read_text()) if OUT.exists() else {"cases": {}}
    results["cases"][options.app] = found
    write_json(OUT, results)
    assert not found["found"], found["found"]
    assert found["alive"]
    assert found["honest_visitor_answered"]
    assert found["sound"]
    assert not found["turns_without_conversation"]
    assert not found["tracebacks_in_log"]


if __name__ == "__main__":
    main()
