"""A server under load, beside what its clients got and what its database says in the end; knows nothing of what breaks it."""

from __future__ import annotations

import contextlib
import itertools
import random
import re
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import soak
from sqlalchemy import func, select

from vertune.store import schema
from vertune.store.database import VARIABLE, Database
from vertune.store.keys import Keys

LIMIT = 10.0
"""Seconds within which everything must have recovered."""
PATIENCE = 90.0
"""Seconds after which recovery is not waited for any longer."""
ASKERS, SENDERS, PAUSE = 3, 2, 0.02
OPTIONS = ("exact=true", "cache=200", "jobs.cores=2", "jobs.at_once=2")
QUOTA, RATE = 20, 5
PLANS = f"plans: {{small: {{requests: {QUOTA}}}}}\ncustomers: {{quota: small}}\n"
BAD = ("wrong", "hung", "unexpected", "lost", "refused", "feedback_unclear", "feedback_unanswered")
"""What must not happen to a client."""
SCOPES = {"load": ["predict", "feedback"], "probe": ["predict", "feedback"], "rate": ["predict"], "quota": ["predict"],
          "once": ["predict"], "admin": ["admin"]}  # fmt: skip


@dataclass
class World:
    """A home with its database, the server of the moment, and all that clients got from its servers."""

    folder: Path
    home: Any
    url: str | None
    expected: dict[str, dict[str, Any]]
    environment: dict[str, str] = field(default_factory=dict)
    loads: list[Load] = field(default_factory=list)
    sent: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    """Numbers of feedback, which a repeated request has in common with the first one: the field `trust`, in millionths."""
    acknowledged: list[int] = field(default_factory=list)
    """The numbers of acknowledged feedback."""
    answered: dict[str, int] = field(default_factory=dict)
    """Answers by customer, as its usage must count them."""
    unstored: int = 0
    exits: list[int | None] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict)
    server: soak.Server = field(init=False)

    def __post_init__(self) -> None:
        (self.folder / "plans.yaml").write_text(PLANS)
        with contextlib.closing(self.database()) as database:
            for name, scopes in SCOPES.items():
                rate = f"{RATE}/minute" if name == "rate" else None
                self.secrets[name] = Keys(database).create(name, scopes, rate=rate, customer=name)[0]

    def database(self) -> Database:
        return Database.of_home(self.home.folder, self.url)

    def start(self) -> None:
        """Start a server, which the clients ask from now on."""
        options = [word for option in (*OPTIONS, f"plans={self.folder / 'plans.yaml'}") for word in ("--set", option)]
        environment = self.environment | ({} if self.url is None else {VARIABLE: self.url})
        self.server = soak.Server(self.home, False, options, **environment)
        wait(lambda: self.get("/health/ready").json()["ready"])

    def stop(self, kill: bool = False) -> None:
        """End the server, and read before how many requests it could only count; a server that is killed gets a second to write."""
        page = self.get("/metrics").text
        self.unstored += int(float(re.search(r"^vertune_unstored_requests (\S+)", page, re.MULTILINE)[1]))  # type: ignore[index]
        if kill:
            time.sleep(1)
            self.server.child.kill()
            self.server.child.wait()
        else:
            self.exits.append(self.server.end())

    def send(self, customer: str, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.secrets[customer]}", **options.pop("headers", {})}
        return httpx.request(method, f"{self.server.url}{path}", headers=headers, timeout=20, trust_env=False, **options)

    def get(self, path: str) -> httpx.Response:
        return self.send("admin", "GET", path)

    def predict(self, customer: str, **headers: str) -> httpx.Response:
        """One answer of `intent`, counted if it is given."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        found = self.send(customer, "POST", "/v1/verticals/intent/predict", json={"texts": ["tell me 3 of rome"]}, headers=named)
        if found.status_code == 200 and "Idempotency-Key" not in named:
            self.answered[customer] = self.answered.get(customer, 0) + 1
        return found

    @contextlib.contextmanager
    def under_load(self) -> Iterator[Load]:
        """Clients ask while the block runs."""
        self.server.key = self.secrets["load"]
        load = Load(self.server, self.home, list(next(iter(self.expected.values()))), self.expected, world=self)
        self.loads.append(load)
        threads = [threading.Thread(target=load.client, args=(seed,)) for seed in range(ASKERS)]
        threads += [threading.Thread(target=load.give, args=(ASKERS + seed,)) for seed in range(SENDERS)]
        for thread in threads:
            thread.start()
        try:
            yield load
        finally:
            load.over.set()
            for thread in threads:
                thread.join(60)
            load.counts["hung"] += sum(thread.is_alive() for thread in threads)


@dataclass
class Load(soak.Soak):
    """Clients of one server."""

    world: World = None  # type: ignore[assignment]

    def ask(self, client: Any, path: str, body: dict[str, Any]) -> Any:
        time.sleep(PAUSE)
        return super().ask(client, path, body)

    def give(self, seed: int) -> None:
        """Send feedback as long as it lasts; what was refused and has an idempotency key is sent until it is acknowledged."""
        draw = random.Random(seed)
        with httpx.Client(base_url=self.server.url, headers={"Authorization": f"Bearer {self.server.key}"}, trust_env=False) as client:
            while not self.over.is_set():
                text = draw.choice(self.texts)
                body: dict[str, Any] = {"vertical": "intent", "text": text, "score": 3}
                if draw.random() < 0.5:
                    found = self.ask(client, "/v1/verticals/intent/predict", {"texts": [text]})
                    self.judge(found, [text])
                    if found is None or found.status_code != 200:
                        continue
                    body = {"answer": found.json()["ids"][0], "verdict": "right"}
                key, number = uuid.uuid4().hex if draw.random() < 0.5 else "", next(self.world.sent)
                body["trust"] = number / 1e6
                while not self._sent(client, body, key) and key and not self.over.is_set():
                    time.sleep(0.2)
                time.sleep(PAUSE)

    def _sent(self, client: httpx.Client, body: dict[str, Any], key: str) -> bool:
        """Send feedback once; return whether it need not be sent again."""
        try:
            found = client.post("/v1/feedback", json=body, headers={"Idempotency-Key": key} if key else {}, timeout=20)
        except httpx.HTTPError as error:
            self.count("feedback_unanswered", f"{body} {error!r}")
            return False
        if found.status_code in (200, 201):
            self.count("feedback")
            self.world.acknowledged.append(round(body["trust"] * 1e6))
            return True
        clear = found.status_code == 503 and found.headers.get("retry-after", "").isdigit()
        self.count("feedback_refused" if clear else "feedback_unclear", "" if clear else f"{body} {found.status_code} {found.text}")
        return False


def wait(condition: Callable[[], Any], seconds: float = PATIENCE) -> float | None:
    """Seconds until a condition holds; None where it did not in time."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        with contextlib.suppress(httpx.HTTPError):
            if condition():
                return round(time.monotonic() - began, 2)
        time.sleep(0.1)
    return None


def settled(world: World) -> bool:
    """Whether no trouble is named, and feedback on a new answer, which is stored after all earlier ones, is acknowledged."""
    if world.get("/health/ready").json()["storage"]:
        return False
    asked = world.predict("probe")
    number = next(world.sent)
    given = world.send("probe", "POST", "/v1/feedback", json={"answer": asked.json()["ids"][0], "score": 4, "trust": number / 1e6})
    if given.status_code == 201:
        world.acknowledged.append(number)
    return given.status_code == 201


Trouble = tuple[contextlib.AbstractContextManager[None], Callable[[], Any]]
"""What happens to a server, and a function that returns whether the server tells it."""


def suffer(load: Load, trouble: Trouble, seconds: float, well: Callable[[], Any] | None = None) -> dict[str, Any]:
    """One trouble under load; `well` returns whether the server has recovered."""
    before, world = load.counts.copy(), load.world
    context, telling = trouble
    with context:
        began = time.monotonic()
        told = wait(telling, seconds)
        time.sleep(max(0.0, began + seconds - time.monotonic()))
    recovered = wait(well or (lambda: settled(world)))
    time.sleep(1)
    names = ("checked", *BAD, "feedback", "feedback_refused")
    counts = {name: load.counts[name] - before[name] for name in names}
    print(f"told after {told} s, recovered after {recovered} s, {counts}", file=sys.stderr, flush=True)
    return {"told": told, "recovered": recovered, **counts, "alive": world.server.child.poll() is None}


def checked(world: World) -> dict[str, Any]:
    """What the database says in the end, beside what clients got."""
    for load in world.loads:
        world.answered["load"] = world.answered.get("load", 0) + load.counts["checked"]
    with contextlib.closing(world.database()) as database, database.reading() as connection:
        kept = Counter(round(trust * 1e6) for trust in connection.scalars(select(schema.feedback.c.trust)))
        rows = connection.execute(select(schema.usage.c.customer, func.sum(schema.usage.c.requests)).group_by(schema.usage.c.customer))
        usage = {customer: int(number) for customer, number in rows}
        stored = connection.scalar(select(func.count()).select_from(schema.requests)) or 0
    acknowledged = set(world.acknowledged)
    return {
        "acknowledged": len(acknowledged), "feedback_lost": len(acknowledged - kept.keys()),
        "feedback_twice": sum(number > 1 for number in kept.values()), "feedback_unacknowledged": len(kept.keys() - acknowledged),
        **{name: sum(load.counts[name] for load in world.loads) for name in BAD}, "answered": world.answered, "usage_difference": {
            name: usage.get(name, 0) - number for name, number in world.answered.items() if usage.get(name, 0) != number
        },
        "quota_exceeded": max(0, usage.get("quota", 0) - QUOTA), "stored_requests": stored, "unstored": world.unstored,
        "exits": world.exits, "examples": [example for load in world.loads for example in load.examples][:10],
    }  # fmt: skip


def missed(found: Any, name: str = "") -> list[str]:
    """The bars that were missed."""
    bad: list[str] = []
    if not isinstance(found, Mapping):
        return bad
    for key, value in found.items():
        where = f"{name} {key}".strip()
        zero = key in (*BAD, "feedback_lost", "feedback_twice", "quota_exceeded", "usage_difference", "broken_limits")
        slow = key in ("recovered", "rolled_back", "told") and (value is None or value > LIMIT)
        wrong = (key in ("alive", "good") and not value) or (key == "exits" and any(value)) or (key == "taken_again" and not value)
        if (zero and value) or slow or wrong:
            bad.append(f"{where}: {value}")
        bad += missed(value, where)
    return bad
