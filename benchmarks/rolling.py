"""Replaces models of a server again and again while clients ask, and looks for refused or wrong answers and for memory that stays.

    python benchmarks/rolling.py [--rounds 100] [--seed 0]
    python benchmarks/rolling.py --quick                 3 rounds, and no result file

A real `vertune serve` process answers for tiny models. In each round, for a vertical on a shared backbone and for one with a graph of
its own: the other model is deployed; the model before it is compared as a shadow, then as a canary for half of the requests; the canary
is promoted; the promotion is rolled back. Each of these waits until answers name the models that they must name. Meanwhile clients ask
without a pause, and each answer is compared with what the model that it names says alone. `moves` has, of each kind of change, how many
there were, and the median and the largest number of seconds until it was seen in an answer. Memory and open files are those after a
tenth of the rounds and at the end. Results go to benchmarks/results/rolling.json; the exit status is 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import load
import soak
from processor import code, measured_here

from vertune.core.files import write_json
from vertune.steps.share import make_servable

OUT = Path(__file__).resolve().parent / "results" / "rolling.json"
LONGEST = 30.0
"""Seconds within which a change must be seen in answers."""
GROWTH = 1.05
"""By how much memory may grow from a tenth of the rounds to the end."""


class Operator:
    """The person who replaces models, and the clock of each change."""

    def __init__(self, world: soak.Soak) -> None:
        self.world = world
        headers = {"Authorization": f"Bearer {world.server.key}"}
        self.client = httpx.Client(base_url=world.server.url, headers=headers, trust_env=False, timeout=30)
        self.seconds: dict[str, list[float]] = {}

    def round(self, vertical: str, models: tuple[str, str]) -> None:
        """All changes once; the first of the models is live before and the second one afterwards."""
        old, new = models
        path = f"/v1/verticals/{vertical}"
        self._move("deploy", lambda: self.client.put(path, json={"model": new}), lambda: self._names(vertical) == {new})
        shadow = {"model": old, "mode": "shadow", "rules": {"roll_back": False}}
        self._move("shadow", lambda: self.client.post(f"{path}/rollout", json=shadow), lambda: self._compared(path))
        canary = {"model": old, "mode": "canary", "share": 0.5, "rules": {"roll_back": False}}
        self._move("canary", lambda: self.client.post(f"{path}/rollout", json=canary), lambda: self._names(vertical) == {old, new})
        self._move("promote", lambda: self.client.post(f"{path}/promote", json={}), lambda: self._names(vertical) == {old})
        self._move("roll back", lambda: self.client.post(f"{path}/rollback", json={}), lambda: self._names(vertical) == {new})

    def _move(self, kind: str, change: Callable[[], httpx.Response], seen: Callable[[], bool]) -> None:
        began = time.monotonic()
        answer = change()
        if not answer.is_success:
            self.world.count("unexpected", f"{kind}: {answer.status_code} {answer.text}")
            return
        while not seen():
            if time.monotonic() - began > LONGEST:
                self.world.count("unexpected", f"{kind} was not seen in answers after {LONGEST:g} s")
                return
        self.seconds.setdefault(kind, []).append(time.monotonic() - began)

    def _names(self, vertical: str) -> set[str]:
        """The models that answer a few requests."""
        found = set()
        for number in range(12):
            texts = [f"{self.world.texts[number]} {number}"]
            answer = self.client.post(f"/v1/verticals/{vertical}/predict", json={"texts": texts})
            if answer.status_code != 200:
                self.world.count("unexpected", f"{answer.status_code} {answer.text}")
            else:
                found.add(answer.json()["model"])
        return found

    def _compared(self, path: str) -> bool:
        """Whether the shadow has answered, of which nothing is seen but what the server counts."""
        return bool(self.client.get(f"{path}/rollout").json().get("evidence", {}).get("compared"))


def rolled(world: soak.Soak, pairs: dict[str, tuple[str, str]], rounds: int, seed: int) -> dict[str, Any]:
    """All rounds under load, and what came of them."""
    clients = [threading.Thread(target=world.client, args=(seed + place,)) for place in range(soak.CLIENTS)]
    for client in clients:
        client.start()
    operator, sizes = Operator(world), []
    with operator.client:
        for number in range(rounds):
            for vertical, models in pairs.items():
                operator.round(vertical, models)
                pairs[vertical] = models[::-1]
            sizes.append((world.server.memory(), load.open_files(world.server.child.pid)))
            if number % 10 == 9:
                print(f"  {number + 1} of {rounds} rounds: {sizes[-1][0] / 1e6:.0f} MB, {sizes[-1][1]} open files", flush=True)
    world.over.set()
    for client in clients:
        client.join(soak.DEADLINE + soak.GRACE + 5)
    early = sizes[max(1, rounds // 10) - 1]
    counts = {what: world.counts[what] for what in ("requests", "checked", "wrong", "hung", "unexpected", "lost", "refused")}
    moves = {
        kind: {"count": len(found), "median_seconds": round(statistics.median(found), 2), "largest_seconds": round(max(found), 2)}
        for kind, found in operator.seconds.items()
    }
    return {"rounds": rounds, **counts, "moves": moves, "memory": {"early": early[0], "end": sizes[-1][0]},
            "open_files": {"early": early[1], "end": sizes[-1][1]}}  # fmt: skip


def passed(result: dict[str, Any]) -> bool:
    """Whether nothing failed and nothing stayed."""
    failed = any(result[what] for what in ("wrong", "hung", "unexpected", "lost", "refused"))
    complete = all(one["count"] == 2 * result["rounds"] for one in result["moves"].values()) and len(result["moves"]) == 5
    memory, files = result["memory"], result["open_files"]
    kept = memory["end"] <= memory["early"] * GROWTH and files["end"] <= files["early"] + 5
    return bool(not failed and complete and kept and result["checked"] and result["exit"] == 0)


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="3 rounds, and no result file")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as folder:
        home = soak.home_of(Path(folder))
        base = Path(folder) / "base"
        troubles = make_servable([soak.trained(home, base, "whole", "classify", "full", ("one", "two"))], home)
        if troubles:
            sys.exit(f"The second model of 'whole' can't be served: {troubles}")
        texts = soak.drawn(random.Random(options.seed))
        world = soak.Soak(soak.Server(home), home, texts, soak.expected(home, texts))
        pairs = {}
        for vertical in ("intent", "whole"):
            live = home.get("models", f"{vertical}@live").id
            pairs[vertical] = (live, next(id for id in world.expected if id.startswith(f"{vertical}-") and id != live))
        try:
            result = rolled(world, pairs, 3 if options.quick else options.rounds, options.seed)
        finally:
            status = world.server.end()
        result |= {"exit": status, "clients": soak.CLIENTS} | measured_here() | code()
        result["passed"] = passed(result)
        if not result["passed"]:
            print("\n".join(world.examples), file=sys.stderr)
            print(world.server.text()[-4000:], file=sys.stderr)
    print(json.dumps(result, indent=1))
    if not options.quick:
        write_json(OUT, result)
    sys.exit(not result["passed"])


if __name__ == "__main__":
    main()
