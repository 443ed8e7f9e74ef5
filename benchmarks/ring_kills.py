"""Kills a server that watches, alerts, retrains and rolls out, again and again in every step, and checks what is left.

    python benchmarks/ring_kills.py [--kills 200] [--seed 0] [--minutes 600]

A real server (`vertune serve --watch`) with a tiny model serves requests whose labels drift and come back, takes feedback, runs monitors in
child processes every second, raises alerts, sends them to a webhook and a file, retrains after 24 new labels, and leads each candidate
through gate, shadow and canary to live. Each kill has a stage as its target, one after the other: the server is killed (SIGKILL) at most
2.5 s after a retraining is seen in it. Besides, the server kills itself at random points: before and after transactions, before and after
an alias is moved, before and after a message is sent, and when a process is started; jobs kill themselves at random events. After each kill
it is started again. The leases of jobs and of the watch are 2 s and 1 s instead of 30 s and 15 s.

The first retraining is the real step: data, training and gate. The others make a dataset, a copy of the live model and a report in the same
places and by the same rules, because 200 kills of real trainings would take a day. The verdict of the gate is always `pass`: so few
texts decide nothing, and a ring that stops at the gate would not be killed behind it. Preparing a candidate for serving is always real.

While it runs, another thread reads the alias every 20 ms: it must name one finished model, always. At the end, without kills, all messages
must be sent and all retrainings ended. Then: each alert has each of its messages once (by delivery id, as the receiver has them), the
receiver has every message of the database, no vertical has two rollouts, and each model that became live followed the one that was live
before. Each run adds its kills to those in benchmarks/results/ring_kills.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
from chat_client import free_port
from processor import code, measured_here
from sqlalchemy import select

from vertune.core.artifact import Home
from vertune.core.files import write_json
from vertune.store import deliveries, jobs, retrainings, schema
from vertune.store.database import FILE, Database
from vertune.store.keys import Keys

OUT = Path(__file__).parent / "results" / "ring_kills.json"
CITIES = ["london", "paris", "rome", "oslo", "cairo", "lima"]
FOODS = ["bread", "cheese", "soup", "rice", "apple", "cake"]
PATIENCE = 45.0
"""Seconds to wait for the stage that is the target of a kill."""
LATE = 2.5
"""Seconds in the stage after which the server is killed at the latest."""
TARGETS = ("none", "train", "gate", "shadow", "canary")
"""The stages; `none` is a ring that measures, alerts and sends."""
LOSING = {"vertune-monitors": 0.004, "vertune-alerts": 0.015, "vertune-rollouts": 0.02}
"""The probability of a kill at a point, by the thread; `OTHERWISE` in all other threads."""
OTHERWISE = 0.0005
EVENTS = 0.01
"""The probability that a job kills itself at an event."""
SETTLING = 900.0
"""Seconds after the last kill within which everything that began must end."""
PHASE = 8.0
"""Seconds after which the labels of requests drift, or come back."""


# ------------------------------------------------------------------ the process that is killed


def die(probability: float, what: str) -> None:
    if random.random() < probability:
        with Path(os.environ["RING_LOG"]).open("a") as log:
            log.write(f"{what}\n")
        os.kill(os.getpid(), signal.SIGKILL)


def serve(arguments: list[str]) -> None:
    """Serve with points at which the process may kill itself."""
    from vertune.channels.file import File
    from vertune.channels.webhook import Webhook
    from vertune.cli import main
    from vertune.server import jobs as runner
    from vertune.server import watching
    from vertune.steps import watch as steps
    from vertune.steps.watch import retraining
    from vertune.store import leases

    random.seed()
    active = float(os.environ["RING_KILL"])

    def point(what: str) -> None:
        die(active * LOSING.get(threading.current_thread().name, OTHERWISE), f"{threading.current_thread().name}: {what}")

    transaction = Database._transaction

    @contextlib.contextmanager
    def transacting(self: Database, wait: float | None, immediate: bool) -> Any:
        if immediate:
            point("before a transaction")
        with transaction(self, wait, immediate) as connection:
            yield connection
            if immediate:
                point("before a commit")
        if immediate:
            point("after a commit")

    def around(owner: Any, name: str, what: str) -> None:
        act = getattr(owner, name)

        def acting(*given: Any, **options: Any) -> Any:
            point(f"before {what}")
            result = act(*given, **options)
            point(f"after {what}")
            return result

        setattr(owner, name, acting)

    Database._transaction = transacting  # type: ignore[method-assign,assignment]
    around(Home, "alias", "an alias is moved")
    around(Webhook, "send", "a message is sent")
    around(File, "send", "a message is written")
    around(runner, "_start", "a process is started")
    around(retraining, "advance", "a stage")
    watching.STEP, watching.DELIVERY, watching.LEASE = 0.3, 0.1, 0.2
    leases.LEASE, jobs.LEASE, jobs.ATTEMPTS = timedelta(seconds=1), timedelta(seconds=2), 1000
    runner._LOOKING, runner._TELLING, steps._REASONING = 0.1, 0.4, 0.5
    runner.ARGUMENTS[:] = [__file__, "--job"]
    main(arguments)


def job() -> None:
    """Do a job with its real steps, and kill itself at random events; the gate lets everything pass."""
    from vertune.server import job_process

    active = float(os.environ["RING_KILL"])
    write, retrain = job_process._Output.write, job_process.WORK["retrain"]

    def writing(self: Any, value: dict[str, Any]) -> None:
        write(self, value)
        die(active * EVENTS, f"job: {value.get('event', {}).get('event', 'end')}")

    job_process._Output.write = writing  # type: ignore[method-assign]

    def passing(request: dict[str, Any], home: Home, progress: Any) -> dict[str, Any]:
        rounds = sum(one.manifest_or_empty.get("step") == "gate" for one in home.shelf("reports"))
        return {**(imitate if rounds else retrain)(request, home, progress), "verdict": "pass"}

    job_process.WORK["retrain"] = passing
    job_process.main()


def imitate(request: dict[str, Any], home: Home, progress: Any) -> dict[str, Any]:
    """Make a dataset, a copy of the live model, and a report; each is made once, as the real steps do."""
    live = home.get("models", f"{request['vertical']}@live")
    made: dict[str, Any] = {}
    for shelf, step, parents in (
        ("datasets", "prepare", lambda: [live.id]), ("models", "train", lambda: [made["dataset"]]),
        ("reports", "gate", lambda: [made["model"], live.id]),
    ):  # fmt: skip
        progress("retraining", stage=step)
        found = next((one for one in home.shelf(shelf) if list(one.parents) == parents()), None)
        if found is None:
            run = home.begin(shelf, request["vertical"], step=step, config=live.manifest["config"], parents=parents())
            if step == "train":
                files = [file for file in live.folder.iterdir() if file.name not in ("manifest.json", "events.jsonl")]
                for file in files:
                    (shutil.copytree if file.is_dir() else shutil.copy)(file, run.folder / file.name)
            time.sleep(random.random())
            own = {*run.manifest, "files", "status", "finished"}
            about = {name: value for name, value in live.manifest.items() if step == "train" and name not in own}
            found = home.finish(run, **about)
        made[shelf[:-1]] = found.id
    return {**made, "headline": "An imitation.", "labels_needed": None}


# ------------------------------------------------------------------ what it is tried with


class Receiver:
    """A webhook on loopback that counts what it gets, by delivery."""

    def __init__(self) -> None:
        got: list[tuple[str, str, str]] = []
        self.got = got

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                got.append((self.headers["X-Vertune-Delivery"], body["alert"], body["event"]))
                self.send_response(503 if random.random() < 0.2 else 204)  # a message that is refused is sent again
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/"


class Alias:
    """Reads the alias again and again; counts the times at which it named no finished model."""

    def __init__(self, home: Path) -> None:
        self.home, self.models, self.looks, self.none, self.seen = Home(home), home / "models", 0, 0, list[str]()
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while True:
            live = self.home.aliases().get("intent@live", "")
            if not (self.models / live / "manifest.json").is_file():
                self.none += 1
            elif live not in self.seen[-1:]:
                self.seen.append(live)
            self.looks += 1
            time.sleep(0.02)


class Users:
    """Ask the server, and say what is right, as long as it answers."""

    def __init__(self, port: int, secret: str) -> None:
        self.client = httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {secret}"}, timeout=5, trust_env=False
        )
        self.answered, self.failed, self.models, self.said, self.learning = 0, 0, Counter[str](), 0, True
        threading.Thread(target=self._ask, daemon=True).start()

    def _ask(self) -> None:
        draw = random.Random(0)
        while True:
            drifted = int(time.monotonic() / PHASE) % 2
            words = [draw.choice(FOODS if draw.random() < (0.97 if drifted else 0.5) else CITIES) for _ in range(16)]
            texts = [f"tell me {draw.randrange(10**6)} of {word}" for word in words]
            try:
                found = self.client.post("/v1/verticals/intent/predict", json={"texts": texts})
                if found.status_code == 200:
                    self.answered += len(texts)
                    self.models[found.json()["model"]] += 1
                    if self.learning and draw.random() < 0.2:
                        self._teach(texts[0], "food" if words[0] in FOODS else "place")
                else:
                    self.failed += 1
            except (httpx.HTTPError, ValueError, KeyError):
                time.sleep(0.1)
            time.sleep(0.1)  # trainings run beside, with a lower priority

    def _teach(self, text: str, label: str) -> None:
        body = {"vertical": "intent", "text": text, "target": label}
        self.said += self.client.post("/v1/feedback", json=body).status_code == 201


def make_home(folder: Path) -> str:
    """Train a tiny model, prepare it for serving, make it live; return the secret of a key."""
    import polars as pl

    from vertune.core.config import Config
    from vertune.core.parse import build
    from vertune.steps.prepare import prepare
    from vertune.steps.share import make_servable
    from vertune.steps.train import train
    from vertune.testing import tiny

    home = Home(folder)
    base = tiny.write("bert", folder / "base", [*CITIES, *FOODS, "tell", "me", "of"])
    draw = random.Random(1)
    rows = [(f"tell me {number} of {draw.choice(FOODS if number % 2 else CITIES)}", ("place", "food")[number % 2]) for number in range(240)]
    options = {"name": "intent", "base": str(base), "task": "classify", "method": {"name": "lora", "rank": 2}, "data": {}}
    config = build(Config, {**options, "training": {"epochs": 1, "refit": "never"}, "companion": "none"})
    frame = pl.DataFrame(rows, ["text", "label"], orient="row")
    model = train(config, prepare(config, home, None, {"train": frame}), home)
    assert not make_servable([model], home)
    home.alias("intent@live", model.id)
    keys = Keys(Database(folder / FILE))
    try:
        return keys.create("bench", ["admin"])[0]
    finally:
        keys.close()


def start(folder: Path, port: int, killing: float) -> subprocess.Popen[bytes]:
    with (folder / "server.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, __file__, "--serve", "serve", "--home", str(folder), "--port", str(port), "--set", "jobs.cores=1",
             "--watch", str(folder / "watch.yaml")],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env={**os.environ, "RING_KILL": str(killing), "RING_LOG": str(folder / "kills.log"), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip


def wait(server: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait until the server ends, and return whether it did by itself; then all that it started is dead too, within a second."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(seconds)
        return True
    server.kill()
    server.wait()
    return False


# ------------------------------------------------------------------ what is left


def check(folder: Path, receiver: Receiver, alias: Alias) -> dict[str, int]:
    """Count what is wrong; all counts must be 0."""
    database = Database(folder / FILE)
    with database.reading() as connection:
        alerts = {row.id: row for row in connection.execute(select(schema.alerts))}
        sent = list(connection.execute(select(schema.deliveries)))
        versions = list(connection.execute(select(schema.versions).order_by(schema.versions.c.id)))
        open_retrainings = len(going_on(connection))
        stuck = len(list(connection.execute(select(schema.jobs.c.id).where(schema.jobs.c.state.in_(["queued", "running"])))))
        sound = connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    database.close()
    hooked = {one.id: one for one in sent if one.channel == "webhook"}
    got = {id for id, *_ in receiver.got}
    lines = (folder / "alerts.jsonl").read_text().split("\n") if (folder / "alerts.jsonl").exists() else []
    written = Counter(json.loads(line)["delivery"] for line in lines if line.endswith("}"))
    by_event = Counter((alert, event) for _, alert, event in {*receiver.got})
    live = [one.model for one in versions if one.action in ("promote", "deploy", "roll back")]
    previous = [one.previous for one in versions if one.action in ("promote", "deploy", "roll back")]
    return {
        "no_live_model": alias.none,
        "alerts_without_messages": sum(not one.messages for one in alerts.values() if one.state != "false"),
        "messages_unsent": sum(one.state != "sent" for one in sent),
        "messages_lost": len(hooked.keys() - got),
        "messages_unknown": len(got - hooked.keys()),
        "events_sent_twice": sum(count > 1 for (_, event), count in by_event.items() if event != "waiting"),  # each look has one
        "lines_written_twice": sum(count > 1 for count in written.values()),
        "lines_lost": len({one.id for one in sent if one.channel == "file"} - written.keys()),
        "broken_history": sum(one != other for one, other in zip(live, previous[1:], strict=False)),
        "live_without_history": len(set(alias.seen[1:]) - set(live)),
        "retrainings_stuck": open_retrainings, "jobs_stuck": stuck, "damaged": int(not sound),
    }  # fmt: skip


def going_on(connection: Any) -> list[Any]:
    """The retrainings that have not ended and do not wait for labels, which nobody gives here."""
    return [one for one in retrainings.unfinished(connection) if one.stage != retrainings.WAITING]


def settled(folder: Path) -> bool:
    database = Database(folder / FILE)
    try:
        with database.reading() as connection:
            running = connection.execute(select(schema.jobs.c.id).where(schema.jobs.c.state.in_(["queued", "running"]))).first()
            return not deliveries.waiting(connection) and not going_on(connection) and running is None
    finally:
        database.close()


def stage_of(folder: Path) -> str:
    """What the ring was doing: the stage of the retraining, or that there is none."""
    with contextlib.suppress(Exception):
        database = Database(folder / FILE)
        try:
            with database.reading() as connection:
                running = retrainings.unfinished(connection)
            return running[0].stage if running else "none"
        finally:
            database.close()
    return "unknown"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=600.0, help="stop killing after this time, and count what was done")
    parser.add_argument("--serve", nargs=argparse.REMAINDER)
    parser.add_argument("--job", action="store_true")
    given = parser.parse_args()
    if given.job:
        job()
    elif given.serve:
        serve(given.serve)
    else:
        measure(given.kills, given.seed, 60 * given.minutes)


def measure(kills: int, seed: int, longest: float) -> None:
    random.seed(seed)
    with tempfile.TemporaryDirectory(prefix="ring") as name:
        folder, receiver = Path(name) / "home", Receiver()
        secret = make_home(folder)
        rule = {"name": "drift", "monitors": ["label_shares"], "after": 1, "calm": 1, "cool_down": "1s"}
        retrain = {"labels": 24, "go_live": "live", "enough": 8, "least_pause": "1s"}
        channels = [{"name": "webhook", "url": receiver.url}, {"name": "file", "path": str(folder / "alerts.jsonl")}]
        watch = {"every": "1s", "window": 250, "monitors": ["label_shares"], "rules": [rule], "channels": channels, "retrain": retrain}
        (folder / "watch.yaml").write_text(json.dumps(watch))
        alias, users = Alias(folder), Users(port := free_port(), secret)
        stages, points, started = Counter[str](), Counter[str](), time.time()
        number = -1
        while number + 1 < kills and time.time() - started < longest:
            number += 1
            server, target, waited = start(folder, port, 1.0), TARGETS[number % len(TARGETS)], time.time()
            answered = users.answered
            while server.poll() is None and time.time() - waited < PATIENCE:
                if stage_of(folder) == target and users.answered > answered:
                    break
                time.sleep(0.1)
            by_itself = wait(server, random.uniform(0, LATE))
            stages[stage_of(folder)] += 1
            points["by itself" if by_itself else "from outside"] += 1
            print(f"kill {number + 1}: {dict(stages)}, {users.answered} answers, {len(receiver.got)} messages", flush=True)
        users.learning = False
        assert users.answered, f"No server answered anything: {(folder / 'server.log').read_text()[-1000:]}"
        waited = time.time()
        while time.time() - waited < SETTLING:  # again if it has begun something while it was told to end
            server = start(folder, port, 0.0)
            while time.time() - waited < SETTLING and not settled(folder):
                time.sleep(1)
            server.terminate()
            server.wait()
            if settled(folder):
                break
        wrong = check(folder, receiver, alias)
        log = (folder / "kills.log").read_text().split("\n") if (folder / "kills.log").exists() else []
        database = Database(folder / FILE)
        with database.reading() as connection:
            ended = Counter(one.stage for one in retrainings.find(connection, None, 10_000))
            alerts = len(list(connection.execute(select(schema.alerts.c.id))))
        database.close()
        found = {
            "kills": number + 1, "seed": seed,
            "by": dict(points), "stages": dict(stages), "points": dict(Counter(one for one in log if one)),
            "alerts": alerts, "messages": len(receiver.got), "retrainings": dict(ended), "live_models": len(alias.seen),
            "answers": users.answered, "alias_looks": alias.looks, "settled_after": round(time.time() - waited, 1), "wrong": wrong,
            "minutes": round((time.time() - started) / 60, 1), **measured_here(), "code": code(),
        }  # fmt: skip
        print(json.dumps(found, indent=1))
        before = json.loads(OUT.read_text())["runs"] if OUT.exists() else []
        write_json(OUT, {"runs": [*before, found]})


if __name__ == "__main__":
    main()
