"""How time and memory of a training grow with its rows: 1, 10 and 100 times as many, texts repeated with changes.

    python benchmarks/growth.py [--rows 500 5000 50000] [--threads 1] [--method full]

One pass of the method over rows of Banking77, each size in a process of its own; time is from reading the rows to the saved
weights, imports excluded, on the clock and on the processor; memory is the peak of the process. Results go to
benchmarks/results/growth.json.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import training

OUT = training.HERE / "results" / "growth.json"


def rows(count: int) -> list[dict[str, str]]:
    """So many rows; what comes again has two of its words exchanged and a number at its end."""
    found = training.texts(10_003)
    draw = random.Random(count)
    made = found[:count]
    while len(made) < count:
        row = draw.choice(found)
        words = row["text"].split()
        first, second = (draw.randrange(len(words)) for _ in range(2))
        words[first], words[second] = words[second], words[first]
        made.append({"text": f"{' '.join(words)} {draw.randrange(10_000)}", "label": row["label"]})
    return made


def child(options: argparse.Namespace) -> None:
    """One training in this process."""
    import polars as pl

    from vertune.core.artifact import Home
    from vertune.core.config import Config
    from vertune.core.parse import build
    from vertune.learning import session
    from vertune.steps.prepare import prepare
    from vertune.steps.train import train

    assert session  # imported before the clock starts
    with tempfile.TemporaryDirectory() as folder:
        pl.DataFrame(rows(options.rows[0])).write_csv(Path(folder) / "rows.csv")
        value = {
            "data": {"source": str(Path(folder) / "rows.csv"), "split": {"name": "stratified", "test": 0.0, "validation": 0.01}},
            "base": "minilm", "method": options.method, "training": {"epochs": 1, "evaluations": 0, "refit": "never"},
            "device": {"threads": options.threads},
        }  # fmt: skip
        config, home = build(Config, value), Home(Path(folder) / "home")
        dataset = prepare(config, home)
        started, worked = time.perf_counter(), time.process_time()
        train(config, dataset, home)
        found = {"seconds": time.perf_counter() - started, "processor_seconds": time.process_time() - worked}
    Path(options.out).write_text(json.dumps(found))


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[500, 5000, 50_000])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--method", default="full")
    parser.add_argument("--out", default=str(OUT))
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options)
        return
    measured: dict[int, dict[str, Any]] = {}
    for count in options.rows:
        arguments = ["--child", "--rows", str(count), "--threads", str(options.threads), "--method", options.method]
        measured[count] = training.spawn(__file__, arguments)
        print(count, measured[count], flush=True)
    first, last = (measured[count] for count in (options.rows[0], options.rows[-1]))
    times = last["processor_seconds"] / first["processor_seconds"]
    result = {
        "method": options.method, "rows": {str(count): value for count, value in measured.items()},
        "times_the_rows": options.rows[-1] / options.rows[0],
        "processor_seconds": times, "clock": last["seconds"] / first["seconds"], "memory": last["peak_bytes"] / first["peak_bytes"],
        "exponent": math.log(times) / math.log(options.rows[-1] / options.rows[0]), "machine": training.machine(options.threads),
    }  # fmt: skip
    known = json.loads(Path(options.out).read_text()) if Path(options.out).exists() else {}
    Path(options.out).write_text(json.dumps({**known, options.method: result}, indent=1) + "\n")
    print({key: value for key, value in result.items() if isinstance(value, float)})


if __name__ == "__main__":
    main()
