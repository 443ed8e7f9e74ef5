"""What a server bears of its surroundings: full disks, databases that are gone, clocks that are set, corrupt versions of models.

    python benchmarks/trouble.py                        disks and databases 30 s, versions 8 s, clocks 5 s (20 minutes)
    python benchmarks/trouble.py --quick                5 s each, and no result file
    python benchmarks/trouble.py --only clock sqlite    what is named alone; the rest of the result file stays

A real `vertune serve` process answers for the verticals of soak.py. Clients ask again 20 ms after each answer, and compare it with what the
model that it names says alone; others send feedback, half of it about an answer that they have just got, and remember what was
acknowledged. (Without these 20 ms, clients, server and PostgreSQL on one processor store less than they answer, also without a trouble.)
Meanwhile, one after the other:

    disk       the disk of the home and of the database is full (a tmpfs, which only root can mount; else it is skipped)
    gone       PostgreSQL is stopped and started; SQLite is held locked by another process; its file is moved away and back
    clock      the clock of the server is set back and forward by an hour, while it runs and before it starts (libfaketime, package faketime
               of Debian; else it is skipped). Jobs run, one of them on a server that is killed; rates, quotas and idempotency keys are used
    corrupt    a new version of a vertical is deployed of which a file is cut, flipped, missing, no ONNX graph, or a broken manifest

`recovered` are the seconds from the end of a trouble until /health/ready names no trouble, and feedback on a new answer is acknowledged,
which needs everything before it to be stored; for `corrupt`, until the restored version answers. `calm` is what the same takes without a
trouble, and `processor_share` the share of a processor that was free for one process, before and after. `told` are the seconds until
/health/ready, or the list of verticals, names the trouble. The exit status is 1 where

    an answer was wrong, late or refused, or the server ended;
    feedback was refused with another status than 503, or without Retry-After;
    recovery took more than 10 s;
    acknowledged feedback is not in the database exactly once, or usage is not the number of answers that clients got, whatever was only
    counted (`unstored`: in the usage, but without their rows);
    a job was lost, or run by two workers; a rate, a quota or an idempotency key did not hold.

Results go to benchmarks/results/trouble.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import soak
from processor import code, measured_here
from surroundings import Clock, Postgres, Unable, between, fill, locked, mounted, processor_share
from under_load import QUOTA, RATE, Trouble, World, checked, missed, settled, suffer, wait

from vertune.core.artifact import Home
from vertune.store.database import FILE

OUT = Path(__file__).resolve().parent / "results" / "trouble.json"
HOUR = 3600
STEPS = (
    ("set back", -1, False), ("right", 0, False), ("set forward", 1, False), ("right again", 0, False), ("started back", -1, True),
    ("right while it runs", 0, False), ("started forward", 1, True), ("started right", 0, True),
)  # fmt: skip
"""What happens to a clock: a name, the hours that it is then before or after the right time, and whether the server ends before."""
DATABASES = ("sqlite", "postgresql")
KINDS = ("disk", "gone", "clock", "corrupt")


# ------------------------------------------------------------------ troubles


def disk_and_database(world: World, disks: list[Path], server: Postgres | None, plan: Plan) -> dict[str, Any]:
    """Full disks, and a database that is gone."""
    found: dict[str, Any] = {}
    world.start()
    troubles: dict[str, Trouble] = {}

    def told() -> bool:
        return bool(world.get("/health/ready").json()["storage"])

    def fill_all() -> None:
        for disk in disks:
            fill(disk)

    def free_all() -> None:
        for disk in disks:
            (disk / "filler").unlink()
        if server is not None:
            found["postgresql_ended_by_itself"] = server.start_if_ended()

    if "disk" in plan.kinds and disks:
        troubles["disk full"] = between(fill_all, free_all), told
    if "gone" in plan.kinds and server is not None:
        troubles["stopped"] = between(server.stop, server.start), told
        troubles["crashed"] = between(lambda: server.stop("immediate"), server.start), told
    elif "gone" in plan.kinds:
        file = world.home.folder / FILE
        away = file.with_name("away.db")
        troubles["locked"] = locked(file), told
        troubles["moved away"] = between(lambda: file.rename(away), lambda: away.rename(file)), told
    with world.under_load() as load:
        time.sleep(2)
        found["calm"] = wait(lambda: settled(world))
        found |= {name: suffer(load, trouble, plan.seconds) for name, trouble in troubles.items()}
    world.stop()
    return found


def clocks(world: World, plan: Plan) -> dict[str, Any]:
    """A clock that is set back and forward, while the server runs, and before it starts."""
    clock = Clock(world.folder)
    world.environment = clock.environment
    world.start()
    found: dict[str, Any] = {}
    held = Held(world)
    jobs: dict[str, str] = {}
    for name, hours, restarted in STEPS:
        if restarted:
            world.stop()
            clock.set(hours * HOUR)
            world.start()
            held.restarted()
        with world.under_load() as load:
            if not restarted:
                jobs[name] = begun(world)
                time.sleep(2)  # it runs when the clock is set
            setting = between(partial(clock.set, hours * HOUR), lambda: None)
            found[name] = suffer(load, (setting, lambda: True), min(plan.seconds, 5.0))
            del found[name]["told"]
            held.check(name)
    found["jobs"] = {name: ended(world, id) for name, id in jobs.items()}
    if not plan.quick:
        found["killed"] = killed(world, clock)
    found["broken_limits"] = held.broken
    world.stop()
    return found


@dataclass
class Held:
    """A rate, a quota and an idempotency key, which hold whatever the clock says."""

    world: World
    broken: list[str] = field(default_factory=list)
    used: list[float] = field(default_factory=list)
    """Real times of the requests that the rate allowed."""
    quota: int = 0

    def restarted(self) -> None:
        """Rates begin at zero when a server starts."""
        self.used = []

    def check(self, name: str) -> None:
        """Use all three."""
        for _ in range(RATE + 2):
            asked = time.monotonic()
            found = self.world.predict("rate")
            self.used = [at for at in self.used if at > asked - 61]
            if found.status_code == 200:
                self.used.append(asked)
            elif found.status_code != 429 or not 0 < int(found.headers["retry-after"]) <= 60:
                self.broken.append(f"{name}: rate {found.status_code} {found.headers}")
        if len([at for at in self.used if at > time.monotonic() - 59]) > RATE:
            self.broken.append(f"{name}: {len(self.used)} requests within a minute")
        for _ in range(QUOTA // 4):
            self.quota += self.world.predict("quota").status_code == 200
        found = self.world.predict("once", **{"Idempotency-Key": "the same at every time"})
        if found.status_code != 200:
            self.broken.append(f"{name}: repeated request {found.status_code}")
        self.world.answered["once"] = 1


def begun(world: World) -> str:
    """The id of a job that evaluates a model."""
    found = world.send("admin", "POST", "/v1/jobs", json={"kind": "evaluate", "model": "intent"})
    return str(found.json()["id"])


def ended(world: World, id: str, attempts: int = 1) -> dict[str, Any]:
    """How a job ended, and whether as it should: with a result, after so many attempts, and with one end in its events."""
    wait(lambda: world.get(f"/v1/jobs/{id}").json()["state"] not in ("queued", "running"), 300)
    job = world.get(f"/v1/jobs/{id}").json()
    return {**{name: job[name] for name in ("state", "attempts", "why")}, "good": (job["state"], job["attempts"]) == ("done", attempts)}


def killed(world: World, clock: Clock) -> dict[str, Any]:
    """A job on a server that is killed, and goes on with one whose clock is an hour behind."""
    id = begun(world)
    wait(lambda: world.get(f"/v1/jobs/{id}").json()["state"] == "running")
    world.stop(kill=True)
    clock.set(-HOUR)
    world.start()
    again = wait(lambda: world.get(f"/v1/jobs/{id}").json()["attempts"] == 2)
    return {"taken_again": again, **ended(world, id, attempts=2)}


# ------------------------------------------------------------------ corrupt versions


def corrupt(world: World, plan: Plan) -> dict[str, Any]:
    """Versions of `intent`, on a shared backbone, and of `whole`, with a graph of its own, of which a file is damaged.

    Each has a server of its own, because a server that has loaded a version keeps it in memory. What a server makes to repair a version is
    removed before the next one.
    """
    found: dict[str, Any] = {}
    live = {name: world.home.aliases()[f"{name}@live"] for name in ("intent", "whole")}
    others = {name: next(id for id in world.expected if id.startswith(f"{name}-") and id != live[name]) for name in live}
    graph = next(model for model in world.home.shelf("models") if others["whole"] in json.dumps(model.manifest["parents"]))
    rows = next(world.home.folder.glob(f"backbones/*/verticals/{others['intent']}/rows.safetensors"))
    models = world.home.folder / "models"
    kept = set(models.iterdir())
    for vertical, weights, model in (("intent", rows, models / others["intent"]), ("whole", graph.folder / "model.onnx", graph.folder)):
        content, manifest = weights.read_bytes(), model / "manifest.json"
        half = len(content) // 2
        ways: dict[str, tuple[Path, bytes | None]] = {
            "cut": (weights, content[:half]), "flipped": (weights, content[:half] + bytes([content[half] ^ 255]) + content[half + 1 :]),
            "manifest": (manifest, b'{"id": "broken'), "missing": (weights, None), "no graph": (weights, b"not a graph" * 500),
        }  # fmt: skip
        for way, (file, damaged) in ways.items():
            deploying = Deploying(world, vertical, (live[vertical], others[vertical]), file, damaged)
            world.start()
            with world.under_load() as load:
                time.sleep(2)
                about = suffer(load, (deploying.damaged(), deploying.told), min(plan.seconds, 8.0), deploying.well)
                found[f"{vertical} {way}"] = about | deploying.undo()
            world.stop()
            for made in set(models.iterdir()) - kept:
                shutil.rmtree(made)
    return found


@dataclass
class Deploying:
    """A corrupt version that is deployed."""

    world: World
    vertical: str
    versions: tuple[str, str]
    """The ids of the version that is live, and of the one that is deployed."""
    file: Path
    content: bytes | None
    """What the file contains instead; None if it is missing."""
    status: int = 0

    @contextlib.contextmanager
    def damaged(self) -> Iterator[None]:
        """The version is deployed; at the end of the block, its file is restored."""
        original = self.file.read_bytes()
        self._write(self.content)
        try:
            self.status = self._deploy(self.versions[1])
            if self.status >= 400:  # an operator may do it past the server
                self.world.home.alias(f"{self.vertical}@live", self.versions[1])
            yield
        finally:
            self._write(original)

    def _write(self, content: bytes | None) -> None:
        if content is None:
            self.file.unlink()
            return
        temporary = self.file.with_name(f".{self.file.name}.new")
        temporary.write_bytes(content)
        temporary.replace(self.file)

    def _deploy(self, model: str) -> int:
        return self.world.send("admin", "PUT", f"/v1/verticals/{self.vertical}", json={"model": model}).status_code

    def told(self) -> bool:
        entries = self.world.get("/v1/verticals").json()["verticals"]
        return any(one["name"] == self.vertical and one["coming"] for one in entries)

    def _answers(self) -> Any:
        found = self.world.send("probe", "POST", f"/v1/verticals/{self.vertical}/predict", json={"texts": ["tell me 3 of rome"]})
        if found.status_code == 200:
            self.world.answered["probe"] = self.world.answered.get("probe", 0) + 1
        return found.json().get("model")

    def well(self) -> bool:
        return bool(self._answers() == self.versions[1])

    def undo(self) -> dict[str, Any]:
        """Deploy the version before, as an operator would who rolls back."""
        self._deploy(self.versions[0])
        return {"deployed": self.status, "rolled_back": wait(lambda: self._answers() == self.versions[0])}


@dataclass(frozen=True)
class Plan:
    """What is tried, and for how long."""

    kinds: tuple[str, ...]
    databases: tuple[str, ...]
    seconds: float
    quick: bool


def tried(place: Path, original: Path, expected: dict[str, dict[str, Any]], database: str, plan: Plan) -> dict[str, Any]:
    """All troubles of one kind of database."""
    result: dict[str, Any] = {}
    for kind, wanted in (("storage", {"disk", "gone"}), ("clock", {"clock"}), ("corrupt", {"corrupt"})):
        if not wanted & set(plan.kinds) or (kind == "corrupt" and database != "sqlite"):
            continue
        folder = place / f"{database}-{kind}"
        folder.mkdir(mode=0o711)
        with contextlib.ExitStack() as stack:
            disks = [folder / "home", folder / "pg"] if database == "postgresql" else [folder / "home"]
            whys = [stack.enter_context(mounted(disk)) for disk in disks] if kind == "storage" else []
            server = None
            if database == "postgresql":
                server = Postgres(folder / "pg")
                stack.callback(server.stop, "immediate")
            shutil.copytree(original, folder / "home", dirs_exist_ok=True)
            share = processor_share()
            world = World(folder, Home(folder / "home"), None if server is None else server.url(), expected)
            try:
                if kind == "storage":
                    found = disk_and_database(world, [] if any(whys) else disks, server, plan)
                    found |= {"disk_skipped": f"no disk could be mounted: {whys[0]}"} if any(whys) and "disk" in plan.kinds else {}
                else:
                    found = (clocks if kind == "clock" else corrupt)(world, plan)
            except Unable as error:
                result[kind] = {"skipped": str(error)}
                continue
            except BaseException:
                print(world.server.text()[-5000:], file=sys.stderr)
                world.server.child.kill()
                raise
            result[kind] = {**found, "end": checked(world), "processor_share": [share, processor_share()], **measured_here(), **code()}
            if missed(result[kind]):
                print(world.server.text()[-5000:], file=sys.stderr)
        print(json.dumps({f"{database} {kind}": result[kind]}, indent=1), flush=True)
    return result


def write(found: dict[str, dict[str, Any]]) -> None:
    """Write what was measured into the result file, and keep what was not."""
    before = json.loads(OUT.read_text(encoding="utf-8"))["databases"] if OUT.exists() else {}
    databases = {name: before.get(name, {}) | found.get(name, {}) for name in DATABASES}
    bad = missed(databases)
    OUT.write_text(json.dumps({"databases": databases, "missed": bad, "passed": not bad}, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="5 s per trouble, and no result file")
    parser.add_argument("--only", nargs="+", choices=[*KINDS, *DATABASES], default=[], help="what else is in the result file stays")
    options = parser.parse_args()
    kinds = tuple(kind for kind in KINDS if kind in options.only) or KINDS
    databases = tuple(name for name in DATABASES if name in options.only) or DATABASES
    plan = Plan(kinds, databases, 5.0 if options.quick else 30.0, options.quick)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o711)  # the user of PostgreSQL goes through it
        home = soak.home_of(place)
        from vertune.steps.share import make_servable

        assert not make_servable([soak.trained(home, place / "base", "whole", "classify", "full", ("even", "odd"))], home)
        expected = soak.expected(home, soak.drawn(random.Random(0)))
        found = {database: tried(place, home.folder, expected, database, plan) for database in plan.databases}
    bad = missed(found)
    print(json.dumps({"missed": bad, "passed": not bad}, indent=1))
    if not plan.quick:
        write(found)
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
