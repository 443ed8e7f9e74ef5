"""Asks a server a million times at half of the rate that it can answer, and looks for memory, files and times that grow.

    python benchmarks/enduring.py [--requests 1000000] [--window 60]
    python benchmarks/enduring.py --quick                               windows of 3 s, and no result file

A real `vertune serve` process answers for tiny models of four tasks, sometimes for several of them in one request, and stores what it
answers, with masked texts, in a database that may hold 100 megabytes. Requests come at random times, at half of the rate at which 32
clients without a pause were answered. After each window of a minute its times are noted, and the memory, the open files and the database
of the server. Bars, over the windows after the first quarter: memory at the end is at most 1.05 × that at their start (both are medians
of five windows); no more files are open; the 99th percentile of the last third of windows is at most 1.1 × that of the first third
(medians); the database is within its limit. Results go to benchmarks/results/enduring.json; the exit status is 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import load
import servers
import soak
from processor import code, measured_here

from vertune.core.files import write_json

OUT = Path(__file__).resolve().parent / "results" / "enduring.json"
CLIENTS = 32
MEGABYTES = 100
"""Largest size of the database."""
VERTICALS = ("intent", "spans", "find", "whole")


def bodies(draw: random.Random, number: int) -> list[dict[str, Any]]:
    """Requests: most for one vertical and with one text, some for three verticals or with five texts."""
    words = [*soak.CITIES, *soak.FOODS, "tell", "me", "of", "and"]

    def text() -> str:
        return f"{' '.join(draw.choices(words, k=draw.choice((3, 8, 20))))} {draw.randint(0, 10**6)}"

    return [
        {
            "verticals": draw.sample(VERTICALS, 3 if draw.random() < 0.1 else 1),
            "texts": [text() for _ in range(5 if draw.random() < 0.1 else 1)],
        }
        for _ in range(number)
    ]


def window(side: servers.Side, database: Path, rate: float, seconds: float, seed: int) -> dict[str, Any]:
    """What a while under load shows, and what the server holds after it."""
    told = side.load(CLIENTS, seconds, rate=rate, seed=seed)
    pid = side.process.pid
    size = sum(file.stat().st_size for file in database.parent.glob(f"{database.name}*"))
    return {
        "requests": told["requests"], "not_answered": told["requests"] - told["codes"].get("200", 0), "p50": told["answered"]["p50"],
        "p99": told["answered"]["p99"], "memory": load.resident(pid), "open_files": load.open_files(pid),
        "database": size,
    }  # fmt: skip


def judged(windows: list[dict[str, Any]]) -> dict[str, Any]:
    """The bars."""
    later = windows[len(windows) // 4 :]
    few = min(5, max(1, len(later) // 3))
    third = max(1, len(later) // 3)

    def files(part: list[dict[str, Any]]) -> int:
        return min(one["open_files"] for one in part)  # a request that is being answered has files open for a moment

    def growth(key: str, number: int) -> float:
        first, last = (statistics.median(float(one[key]) for one in part) for part in (later[:number], later[-number:]))
        return last / first

    return {
        "memory at the end in times of a quarter on": servers.bar([growth("memory", few)], 1.05),
        "more open files": servers.bar([files(later[-few:]) - files(later[:few])], 0),
        "99th percentile of the last third in times of the first": servers.bar([growth("p99", third)], 1.1),
        "megabytes of the database": servers.bar([max(one["database"] for one in windows) / 1e6], MEGABYTES * 1.1),
        "requests without an answer": servers.bar([sum(one["not_answered"] for one in windows)], 0),
    }


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--window", type=float, default=60.0, help="seconds")
    parser.add_argument("--quick", action="store_true", help="windows of 3 s, and no result file")
    options = parser.parse_args()
    if options.quick:
        options.requests, options.window = 10_000, 3.0
    windows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        home = soak.home_of(Path(folder))
        asked = servers.written("enduring", bodies(random.Random(0), 50_000))
        with servers.serving(home, [], "traffic.keep_text=masked", f"traffic.megabytes={MEGABYTES}") as server:
            side = server.at("/v1/predict", asked)
            side.load(CLIENTS, 2.0)
            most = statistics.median(servers.rate(side.load(CLIENTS, 5.0)) for _ in range(3))
            while (done := sum(one["requests"] for one in windows)) < options.requests:
                windows.append(window(side, home.folder / "server.db", most / 2, options.window, len(windows)))
                last = windows[-1]
                print(
                    f"  {done + last['requests']:,} of {options.requests:,} requests: p99 {1000 * last['p99']:.1f} ms, "
                    f"{last['memory'] / 1e6:.0f} MB, {last['open_files']} open files, database {last['database'] / 1e6:.0f} MB",
                    flush=True,
                )
    bars = judged(windows)
    result = {"bars": bars, "requests_per_second_at_most": most, "clients": CLIENTS, "window": options.window, "windows": windows}
    print(json.dumps(bars, indent=1))
    if not options.quick:
        write_json(OUT, result | measured_here() | code())
    sys.exit(not all(one["met"] for one in bars.values()))


if __name__ == "__main__":
    main()
