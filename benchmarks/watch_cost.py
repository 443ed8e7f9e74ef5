"""Measures what watching costs a request: the time of short requests to a server that watches, and to one that does not.

    python benchmarks/watch_cost.py [--blocks 40] [--requests 250]

Both servers have a home with the same tiny model. One runs monitors every 30 seconds, looks for work every two seconds and for messages
every second; the other one does none of it. One client asks blocks of single texts, by turns at both, so that a change of the machine's
speed meets both. The difference of the medians of neighbouring blocks is reported, with a 95 % interval by the bootstrap over blocks.
Results go to benchmarks/results/watch_cost.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np
from processor import code, measured_here
from ring_kills import make_home

from vertune.core.files import write_json

OUT = Path(__file__).parent / "results" / "watch_cost.json"
PORTS = {"plain": 18_481, "watching": 18_482}
BAR = 0.1
"""Milliseconds that watching may add to the median."""


def start(folder: Path, port: int, watch: Path | None) -> subprocess.Popen[bytes]:
    options = ["--watch", str(watch)] if watch else []
    command = [sys.executable, "-m", "vertune", "serve", "--home", str(folder), "--port", str(port), "--set", "threads=1", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)


def block(client: httpx.Client, first: int, requests: int) -> float:
    """The median time of single requests, in milliseconds; each has a text of its own."""
    times = []
    for number in range(first, first + requests):
        began = time.perf_counter()
        client.post("/v1/verticals/intent/predict", json={"texts": [f"tell me {number} of rome"]}).raise_for_status()
        times.append(1000 * (time.perf_counter() - began))
    return statistics.median(times)


def ready(client: httpx.Client) -> None:
    for _ in range(600):
        try:
            if client.post("/v1/verticals/intent/predict", json={"texts": ["rome"]}).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise SystemExit("A server did not start.")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--blocks", type=int, default=40)
    parser.add_argument("--requests", type=int, default=250)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cost") as name:
        homes = {kind: Path(name) / kind for kind in PORTS}
        secret = make_home(homes["plain"])
        shutil.copytree(homes["plain"], homes["watching"])
        (Path(name) / "watch.yaml").write_text(json.dumps({"every": "30s", "window": 500, "monitors": ["label_shares", "confidence"]}))
        servers = [start(homes[kind], port, Path(name) / "watch.yaml" if kind == "watching" else None) for kind, port in PORTS.items()]
        headers = {"Authorization": f"Bearer {secret}"}
        clients = {
            kind: httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=30, trust_env=False)
            for kind, port in PORTS.items()
        }
        try:
            for client in clients.values():
                ready(client)
                block(client, 10**6, given.requests)
            medians: dict[str, list[float]] = {kind: [] for kind in PORTS}
            for number in range(given.blocks):
                kinds = list(PORTS) if number % 2 else list(PORTS)[::-1]
                for kind in kinds:
                    medians[kind].append(block(clients[kind], number * given.requests, given.requests))
        finally:
            for server in servers:
                server.terminate()
                server.wait()
    difference = np.array(medians["watching"]) - np.array(medians["plain"])
    draws = np.random.default_rng(0).choice(difference, (10_000, len(difference)))
    low, high = np.quantile(np.median(draws, 1), [0.025, 0.975])
    found = {
        "median_ms": {kind: round(statistics.median(values), 4) for kind, values in medians.items()},
        "added_ms": round(float(np.median(difference)), 4), "interval_ms": [round(float(low), 4), round(float(high), 4)], "bar_ms": BAR,
        "blocks": given.blocks, "requests_a_block": given.requests, **measured_here(), "code": code(),
    }  # fmt: skip
    print(json.dumps({key: found[key] for key in ("median_ms", "added_ms", "interval_ms")}))
    write_json(OUT, found)


if __name__ == "__main__":
    main()
