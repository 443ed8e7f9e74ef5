"""What `method: auto` reaches while other programs take half of the processors.

    python benchmarks/half.py [ROW …]

Trains rows of accuracy.yaml that leave the method to `auto` (first seed) while as many busy processes run as there are processors, at the
same priority, and compares the score on the test rows with that of accuracy.py, which had the machine to itself. Bar: at most one point
less, or a warning that says what more time would allow. Results go to benchmarks/results/half.json.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import accuracy
import measured_rows

from vertune.core.files import read_json

OUT = accuracy.HERE / "results" / "half.json"
ROWS = ("trec6-auto", "phrasebank-auto", "smp2019-domain", "waimai")
BELOW = 0.01


@contextmanager
def busy() -> Iterator[None]:
    """As many processes that count as there are processors."""
    counting = "number = 0\nwhile True:\n    number += 1"
    running = [subprocess.Popen([sys.executable, "-c", counting]) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for one in running:
            one.kill()
            one.wait()


def measure(name: str) -> dict[str, Any]:
    """The first seed of a row, beside the same one alone."""
    row = accuracy.rows()[name]
    seed = row.seeds[0]
    options = argparse.Namespace(limit=None, set=["device.cache=auto"], split="test")  # an option makes it a trial, which starts anew
    with busy():
        found = accuracy.measure(name, row, seed, options)
    alone = read_json(accuracy.RESULTS / f"{name}.json")["seeds"][str(seed)]
    value, before = (one["metrics"][row.metric]["value"] for one in (found, alone))
    told = any("time limit" in warning for warning in found["chosen"].get("warnings", []))
    return {"metric": row.metric, "alone": before, "busy": value, "methods": [alone["chosen"].get("method"), found["chosen"].get("method")],
            "seconds": [alone["seconds"]["train"], found["seconds"]["train"]], "warned": told,
            "met": told or value >= before - BELOW}  # fmt: skip


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", default=ROWS)
    for name in parser.parse_args().rows:
        measured_rows.add(OUT, name, found := measure(name))
        print(name, found, flush=True)
    sys.exit(not all(one["met"] for one in measured_rows.read(OUT).values()))


if __name__ == "__main__":
    main()
