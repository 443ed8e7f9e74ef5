"""Whether `training.time_limit` holds: the clock of the whole training step beside the limit, on data sets of several sizes.

    python benchmarks/time_limit.py [--limits 20 60 180]

From the first line of the step, the import of torch included, to the model in its shelf. Results go to
benchmarks/results/time_limit.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import training

OUT = training.HERE / "results" / "time_limit.json"
ROWS = {"few": 770, "some": 3000, "all": 10_003}
"""Rows of Banking77."""


def child(rows: int, limit: float, threads: int) -> dict[str, Any]:
    """One training in this process."""
    import polars as pl

    from vertune.core.artifact import Home
    from vertune.core.config import Config
    from vertune.core.parse import build
    from vertune.steps.prepare import prepare
    from vertune.steps.train import train

    with tempfile.TemporaryDirectory() as folder:
        pl.DataFrame(training.texts(rows)).write_csv(Path(folder) / "rows.csv")
        value = {
            "data": {"source": str(Path(folder) / "rows.csv")}, "base": "minilm", "training": {"time_limit": limit},
            "device": {"threads": threads},
        }  # fmt: skip
        config, home = build(Config, value), Home(Path(folder) / "home")
        dataset = prepare(config, home)
        started = time.monotonic()
        model = train(config, dataset, home)
        seconds = time.monotonic() - started
        chosen, metrics = model.manifest["chosen"], model.manifest["metrics"]
    solved, kept = chosen["solved_head"]["accuracy"], metrics["validation"]["accuracy"]
    return {
        "seconds": seconds,
        "share": seconds / limit,
        "method": chosen["method"],
        "why": chosen["why"],
        "solved_head": solved,
        "kept": kept,
    }


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limits", type=float, nargs="+", default=[20, 60, 180])
    parser.add_argument("--sizes", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--child", nargs=2, type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(int(options.child[0]), options.child[1], options.threads)))
        return
    results: list[dict[str, Any]] = []
    for size in options.sizes:
        for limit in options.limits:
            command = [sys.executable, __file__, "--threads", str(options.threads), "--child", str(ROWS[size]), str(limit)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            results.append({"rows": ROWS[size], "limit": limit, **json.loads(done.stdout.splitlines()[-1])})
            print(results[-1], flush=True)
    found = {"worst": max(one["share"] for one in results), "runs": results, "machine": training.machine(options.threads)}
    OUT.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
