"""Time and peak memory of `prepare` at 10,000, 100,000 and 1,000,000 short rows.

    python benchmarks/prepare.py [--rows 10000 100000 1000000] [--out benchmarks/results/prepare.json]

Each size runs in a process of its own, whose peak resident memory the operating system counts. Time is measured on the clock
and on the processor, because the first one grows with what else the machine does (`load`). Rows are sentences of a
few words under 20 labels, written as CSV, one in a thousand of them unusable.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from processor import code, processor

LABELS = 20
WORDS = 4000
LIMIT_BYTES = 2.5e9
LIMIT_GROWTH = 12.0


def write(path: Path, rows: int) -> None:
    """A CSV of short texts whose words tell their label a little."""
    draw = random.Random(rows)
    with path.open("w", encoding="utf-8") as file:
        file.write("text,label\n")
        for row in range(rows):
            label = draw.randrange(LABELS)
            words = [f"word{draw.randrange(WORDS)}" if draw.random() < 0.7 else f"topic{label}" for _ in range(draw.randint(4, 14))]
            file.write(f"{'' if row % 1000 == 999 else ' '.join(words)},label_{label:02d}\n")


def measure(path: Path, home: Path) -> dict[str, Any]:
    """Prepare one file in this process and say what it took."""
    from vertune.core.artifact import Home
    from vertune.core.config import Config
    from vertune.core.parse import build
    from vertune.steps.prepare import prepare

    config = build(Config, {"name": "bench", "data": {"source": str(path)}})
    started, worked = time.perf_counter(), time.process_time()
    dataset = prepare(config, Home(home))
    seconds, processor_seconds = time.perf_counter() - started, time.process_time() - worked
    # ru_maxrss is in KiB on Linux, in bytes on macOS
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {
        "seconds": round(seconds, 2),
        "processor_seconds": round(processor_seconds, 2),
        "peak_bytes": peak,
        "rows": dataset.manifest["rows"],
    }


def main() -> None:
    """Measure every size, check the limits, write the result."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    arguments.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "prepare.json")
    arguments.add_argument("--one", type=Path, nargs=2, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.one:
        print(json.dumps(measure(*options.one)))
        return
    runs = []
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "rows.csv"
            write(path, rows)
            command = [sys.executable, __file__, "--one", str(path), str(Path(folder) / "home")]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        runs.append({"asked": rows, **json.loads(output.splitlines()[-1])})
        last = runs[-1]
        print(f"{rows:>9,} rows: {last['seconds']:7.2f} s, {last['processor_seconds']:6.2f} s CPU, {last['peak_bytes'] / 1e9:5.2f} GB")
    growth = {
        kind: [round(after[kind] / before[kind], 2) for before, after in itertools.pairwise(runs)]
        for kind in ("seconds", "processor_seconds")
    }
    result = {
        "command": "python benchmarks/prepare.py",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **code(),
        "cpu": processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "versions": {"python": platform.python_version()} | {name: metadata.version(name) for name in ("polars", "numpy", "tokenizers")},
        "runs": runs,
        "growth": growth,
        "limits": {"peak_bytes": LIMIT_BYTES, "growth_at_10x": LIMIT_GROWTH},
        "met": all(run["peak_bytes"] < LIMIT_BYTES for run in runs)
        and all(factor <= LIMIT_GROWTH for factors in growth.values() for factor in factors),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"growth at 10x: {growth}; {'within' if result['met'] else 'NOT within'} the limits; {options.out}")


if __name__ == "__main__":
    main()
