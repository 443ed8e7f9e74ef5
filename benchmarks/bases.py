"""Time of one short text and memory of the shared backbone, for the bases that packages carry.

    python benchmarks/bases.py [--rounds 200]

For each base, a linear head is trained on 200 rows of Banking77 and joined to a shared backbone, as a server does. One process per base
loads the backbone in 8 bits; its resident memory is read before and after. Then these processes answer the same text in turns, on one
thread each. Results go to benchmarks/results/bases.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import polars as pl
import training
from processor import code, measured_here

from vertune.core import config as configs
from vertune.core.artifact import Home
from vertune.core.files import write_json
from vertune.steps.prepare import prepare
from vertune.steps.share import share
from vertune.steps.train import train

OUT = training.HERE / "results" / "bases.json"
BASES = ("minilm", "e5-zh-en", "e5")
TEXT = "I still have not received my new card, I ordered it over a week ago."
ROWS, LABELS, WARM = 200, 5, 20


def home_of(base: str, folder: Path) -> Path:
    """A home with a vertical on this base."""
    rows = pl.read_csv(training.data() / "train.csv").select("text", label=pl.col("category"))
    few = rows.filter(pl.col("label").is_in(sorted(rows["label"].unique())[:LABELS])).sample(ROWS, seed=0)
    few.write_ndjson(folder / "rows.jsonl")
    asked = {"training": {"refit": "never"}, "compress": {"tolerance": 1.0}}  # so that so few rows may be answered in 8 bits
    config = {"name": "bank", "base": base, "method": "head", "data": {"source": "rows.jsonl"}, **asked}
    (folder / "run.yaml").write_text(json.dumps(config))
    loaded, home = configs.load(folder / "run.yaml"), Home(folder / "home")
    model = train(loaded, prepare(loaded, home), home)
    assert not share([model], home)
    home.alias("bank@live", model.id)
    return home.folder


def resident() -> int:
    """Resident memory of this process in bytes."""
    return 4096 * int(Path("/proc/self/statm").read_text().split()[1])


def child(folder: Path) -> None:
    """Load the vertical of a home, print the memory it took, and answer whenever a line comes, printing the milliseconds."""
    import gc

    from vertune.runtime.fleet import Fleet

    fleet = Fleet(Home(folder), threads=1)
    gc.collect()
    before = resident()
    fleet.follow(fleet.live())
    assert fleet.get("bank").precision == "int8"
    predictor = fleet.get("bank").predictor
    predictor.answer([{"text": TEXT}])
    gc.collect()
    print(resident() - before, flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        predictor.answer([{"text": TEXT}])
        print(1000 * (time.perf_counter() - started), flush=True)


def ask(process: subprocess.Popen[str]) -> float:
    """The next number that a child prints after it was asked."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def measure(rounds: int) -> dict[str, Any]:
    """Time all bases in turns."""
    with tempfile.TemporaryDirectory() as name:
        children: dict[str, subprocess.Popen[str]] = {}
        found: dict[str, Any] = {}
        for base in BASES:
            folder = Path(name) / base
            folder.mkdir()
            command = [sys.executable, __file__, "--child", str(home_of(base, folder))]
            children[base] = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            output = children[base].stdout
            assert output is not None
            graphs = sum(file.stat().st_size for file in (folder / "home" / "backbones").rglob("int8/*.onnx"))
            found[base] = {"memory": int(output.readline()), "graphs": graphs}
        times: dict[str, list[float]] = {base: [] for base in BASES}
        for number in range(WARM + rounds):
            for base, process in children.items():
                spent = ask(process)
                if number >= WARM:
                    times[base].append(spent)
        for base, process in children.items():
            ratios = [own / first for own, first in zip(times[base], times[BASES[0]], strict=True)]
            found[base] |= {"milliseconds": statistics.median(times[base]), "ratio": statistics.median(ratios)}
            process.terminate()
    return found


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child)
        return
    found = {"text": TEXT, "rounds": options.rounds, "bases": measure(options.rounds)} | measured_here() | code()
    write_json(OUT, found)
    print(json.dumps(found["bases"], indent=1))


if __name__ == "__main__":
    main()
