"""Kills servers again and again while thousands of conversations go on, and checks that no message is lost, doubled or mixed up.

    python benchmarks/chat_kills.py --database sqlite|postgresql [--conversations 2500] [--servers 2] [--seconds 400] [--seed 0]

Several servers share a database. The conversations are those of the ledger app, whose replies have the number of the message and a hash of
all messages before it. Each message goes to a server drawn by chance; a fifth of them is sent twice at once, to two servers; a fifth of the
pairs of messages is sent in the wrong order; one of twenty asks for an action, whose receiver refuses a fifth of the calls and answers a
tenth too late. A request that fails is sent again, with the same id, until it is answered. Meanwhile servers are killed (SIGKILL): from
outside, one after the other, and by themselves, just before and just after transactions.

At the end, all turns are read from the database, and for each conversation the replies are computed anew from its messages in the order in
which they are stored. Counted are: messages that were acknowledged and are not there (lost), messages or results that are there twice or
have two replies (doubled), replies that do not follow from the messages before (mixed up), messages out of the order of their numbers,
messages whose repetition got another reply, and actions that the receiver carried out twice although it knows their ids.

Results: benchmarks/results/chat_kills.json; each run adds its conversations to those of its database.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import tempfile
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from chat_client import Line, Servers, free_port
from processor import code, measured_here
from sqlalchemy import select

from vertune.core.files import write_json
from vertune.store import conversations, schema
from vertune.store.conversations import Turn
from vertune.store.database import Database
from vertune.testing import postgres
from vertune.testing.ledger import NAME, chained

OUT = Path(__file__).parent / "results" / "chat_kills.json"
AT_ONCE = 40
"""Number of conversations that go on at the same time."""
TWICE, REORDERED, ACTING = 0.2, 0.2, 0.05
LOSING = 0.001
"""The probability that a server kills itself before a commit, and again after it."""
PAUSE = (0.5, 3.0)
"""The shortest and the longest time in seconds between the moment at which all servers answer and the next kill from outside."""


class Receiver:
    """Carries out actions, each once by its id."""

    def __init__(self) -> None:
        self.calls, self.done = Counter[str](), set[str]()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                id = self.headers["Idempotency-Key"]
                receiver.calls[id] += 1
                luck = random.random()
                if luck < 0.2:
                    self.send_response(503)
                    self.end_headers()
                    return
                receiver.done.add(id)
                if luck < 0.3:
                    time.sleep(0.6)  # too late: the server calls again
                content = json.dumps({"ok": True, "data": {"id": id}}).encode()
                with contextlib.suppress(OSError):
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/"


class People:
    """Conversations that go on, whatever happens to the servers."""

    def __init__(self, ports: list[int], seed: int) -> None:
        self.ports, self.draw = ports, random.Random(seed)
        self.lines: dict[int, list[Line]] = {port: [] for port in ports}
        self.acknowledged: dict[str, dict[str, int]] = {}
        """By conversation: its messages with their numbers."""
        self.replies: dict[tuple[str, str], set[str]] = {}
        """By conversation and message, all replies that came."""
        self.requests, self.failures, self.early, self.actions = 0, 0, 0, 0

    async def ask(self, method: str, path: str, body: Any, headers: str = "") -> tuple[int, bytes]:
        """Send a request to any server, again and again until one answers it."""
        pause = 0.02
        while True:
            port = self.draw.choice(self.ports)
            line = self.lines[port].pop() if self.lines[port] else Line(port)
            self.requests += 1
            try:
                async with asyncio.timeout(10):
                    status, content = await line.send(method, path, body, headers)
                self.lines[port].append(line)
                if status < 500 and status != 429:
                    return status, content
            except (OSError, TimeoutError):
                line.close()
            self.failures += 1
            await asyncio.sleep(pause * self.draw.random())
            pause = min(1.0, 2 * pause)

    async def converse(self, name: int) -> None:
        """Have one conversation of three to six messages."""
        status, content = await self.ask("POST", f"/v1/apps/{NAME}/conversations", {})
        assert status == 201, content
        begun = json.loads(content)
        id, headers = begun["id"], f"X-Conversation-Token: {begun['token']}\r\n"
        self.acknowledged[id] = {}
        count = self.draw.randrange(3, 7)
        texts = ["act order" if self.draw.random() < ACTING else f"message {number} of {name}" for number in range(1, count + 1)]
        self.actions += texts.count("act order")
        order = list(range(1, count + 1))
        for place in range(count - 1):
            if self.draw.random() < REORDERED:
                order[place], order[place + 1] = order[place + 1], order[place]
        sending: list[asyncio.Task[None]] = []
        for number in order:
            times = 2 if self.draw.random() < TWICE else 1
            sending += [asyncio.create_task(self.say(id, headers, number, texts[number - 1])) for _ in range(times)]
            if self.draw.random() < 0.7:
                await asyncio.gather(*sending)
        await asyncio.gather(*sending)
        for number in range(1, count + 1):  # each repetition gets the same reply
            if self.draw.random() < 0.3:
                await self.say(id, headers, number, texts[number - 1])

    async def say(self, id: str, headers: str, number: int, text: str) -> None:
        message = f"m{number}"
        body = {"message": message, "sequence": number, "text": text}
        status, content = await self.ask("POST", f"/v1/apps/{NAME}/conversations/{id}/messages", body, headers)
        assert status in (200, 202), (status, content)
        self.acknowledged[id][message] = number
        if status == 202:
            self.early += 1
            return
        turns = json.loads(content)["turns"]
        self.replies.setdefault((id, message), set()).update(turn["text"] for turn in turns if turn["author"] == "bot")


async def kill(servers: Servers, ports: list[int], draw: random.Random, stop: asyncio.Event) -> int:
    """Kill one server after the other, and start those that ended; return how many were killed from outside."""
    kills = 0
    while True:
        for port in ports:
            if not servers.alive(port):
                servers.start(port)
        with contextlib.suppress(TimeoutError):
            for port in ports:
                async with asyncio.timeout(5):
                    await servers.ready(port)
        await asyncio.sleep(draw.uniform(*PAUSE))
        if stop.is_set():
            return kills
        servers.kill(draw.choice(ports))
        kills += 1
        await asyncio.sleep(0.05)


async def settle(people: People, database: Database, servers: Servers, ports: list[int]) -> bool:
    """Wait until nothing waits any more; return whether that came."""
    end = time.monotonic() + 90
    while time.monotonic() < end:
        for port in ports:
            if not servers.alive(port):
                servers.start(port)
        with database.reading() as connection:
            early = connection.execute(select(schema.early_messages.c.message).limit(1)).first()
            acting = connection.execute(select(schema.actions.c.name).where(schema.actions.c.state == "waiting").limit(1)).first()
        if early is None and acting is None:
            return True
        await asyncio.sleep(0.5)
    return False


def check(people: People, database: Database, receiver: Receiver) -> dict[str, int]:
    """Count what is wrong; all counts must be 0."""
    wrong = Counter(dict.fromkeys(("lost", "doubled", "mixed_up", "out_of_order", "another_reply", "acted_wrongly"), 0))
    for id, messages in people.acknowledged.items():
        with database.reading() as connection:
            turns, conversation = conversations.turns_of(connection, id), conversations.get(connection, id)
        assert conversation is not None
        said = [turn for turn in turns if turn.author == "visitor"]
        wrong["lost"] += len(messages.keys() - {turn.message for turn in said})
        wrong["doubled"] += len(said) - len({turn.message for turn in said})
        wrong["out_of_order"] += [turn.sequence for turn in said] != sorted(turn.sequence or 0 for turn in said)
        wrong["doubled"] += [turn.number for turn in turns] != list(range(1, conversation.turn + 1))
        walk(turns, conversation.state, wrong)
        for message in messages:
            wrong["another_reply"] += len(people.replies.get((id, message), ())) > 1
        asked = {f"{id}-{turn.number}" for turn in turns if turn.action == "act" and turn.author == "bot"}
        answered = {f"{id}-{(turn.message or '').split()[-1]}" for turn in turns if turn.author == "bot" and turn.message}
        wrong["acted_wrongly"] += len(asked ^ answered) + len(asked - receiver.calls.keys())
    return dict(wrong)


def walk(turns: list[Turn], state: dict[str, Any], wrong: Counter[str]) -> None:
    """Compute the replies anew from the messages in the order in which they are stored."""
    count, chain, expected = 0, "", None
    for turn in turns[1:]:
        if turn.author == "visitor":
            wrong["doubled"] += expected is not None  # the message before has no reply
            count, chain = count + 1, chained(chain, turn.text or "")
            expected = f"{count} {chain}"
        elif turn.author == "bot" and turn.message is not None:
            said = (turn.reply or {}).get("slots", {}).get("last", "")
            count, chain = count + 1, chained(chain, said)
            wrong["mixed_up"] += turn.text != f"{count} {chain}"
        elif turn.author == "bot":
            wrong["doubled"] += expected is None
            wrong["mixed_up"] += turn.text != expected
            expected = None
    wrong["mixed_up"] += state.get("chain") != chain or state.get("count") != count


async def go_on(options: argparse.Namespace, folder: Path, url: str | None) -> dict[str, Any]:
    receiver = Receiver()
    file = folder / "chat.yaml"
    hook = {"url": receiver.url, "secret_env": "CHAT_SECRET", "timeout": 0.5, "attempts": 20}
    file.write_text(yaml.safe_dump({"actions": {"order": hook}}))
    database = Database(url or folder / "server.db")
    unlimited = {"rate": "100000/second", "beginnings": "100000/second", "file": str(file)}
    servers, ports = Servers(folder, url, unlimited, LOSING), [free_port() for _ in range(options.servers)]
    started, draw, stop = time.monotonic(), random.Random(options.seed), asyncio.Event()
    try:
        for port in ports:
            servers.start(port)
        people, numbers = People(ports, options.seed), iter(range(options.conversations))

        async def go() -> None:
            for name in numbers:
                if time.monotonic() - started > options.seconds:
                    return
                await people.converse(name)

        killing = asyncio.create_task(kill(servers, ports, draw, stop))
        await asyncio.gather(*(go() for _ in range(AT_ONCE)))
        seconds = time.monotonic() - started
        stop.set()
        kills = await killing
        settled = await settle(people, database, servers, ports)
        wrong = check(people, database, receiver)
    finally:
        servers.close()
        database.close()
    deaths = servers.starts - len(ports)
    return {
        "conversations": len(people.acknowledged), "messages": sum(map(len, people.acknowledged.values())), "requests": people.requests,
        "failed_requests": people.failures, "early": people.early, "actions": people.actions, "action_calls": sum(receiver.calls.values()),
        "servers": options.servers, "kills_from_outside": kills, "deaths": deaths, "seconds": round(seconds, 1), "settled": settled,
        "wrong": wrong,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--database", choices=["sqlite", "postgresql"], required=True)
    parser.add_argument("--conversations", type=int, default=2500)
    parser.add_argument("--servers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=86_400.0, help="after which no further conversation begins")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.environ["CHAT_SECRET"] = "a secret for signatures"
    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as stack:
        url = None if options.database == "sqlite" else stack.enter_context(postgres.cluster(durable=True)).format("postgres")
        found = asyncio.run(go_on(options, Path(temporary), url))
    print(json.dumps(found, indent=1))
    results = json.loads(OUT.read_text()) if OUT.exists() else {"runs": []}
    results["runs"].append({"database": options.database, "seed": options.seed, **found, **measured_here(), "code": code()})
    names = found["wrong"]
    results["total"] = {
        "conversations": sum(run["conversations"] for run in results["runs"]), "messages": sum(run["messages"] for run in results["runs"]),
        "deaths": sum(run["deaths"] for run in results["runs"]),
        "wrong": {name: sum(run["wrong"][name] for run in results["runs"]) for name in names},
    }  # fmt: skip
    write_json(OUT, results)
    assert not any(found["wrong"].values()), found["wrong"]
    assert found["settled"], "messages or actions still wait"


if __name__ == "__main__":
    main()
