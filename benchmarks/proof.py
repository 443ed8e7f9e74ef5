"""Whether int8 is accepted for models of 200 to 1,000 labelled rows, and what it then loses on thousands of other rows.

    python benchmarks/proof.py [--only phrasebank-400 trec6-200] [--seconds 180]

Rows are the first ones of the data set in a fixed random order; the rows after them are the test, which neither training nor
compression sees. Each set is trained and compressed with default options. Results go to benchmarks/results/proof.json.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import memory
import training

OUT = training.HERE / "results" / "proof.json"
TEST = 3000
"""Greatest number of test rows."""
SETS: dict[str, tuple[str, int, Callable[[], memory.Rows]]] = {
    "trec6-200": ("classify", 200, lambda: memory.table("trec6/train.csv", text="text", label="coarse")),
    "phrasebank-400": (
        "classify", 400, lambda: memory.table("financial_phrasebank/financial_phrasebank.csv", text="sentence", label="label")
    ),
    "banking77-770": ("classify", 770, lambda: memory.table("banking77/train.csv", text="text", label="category")),
    "sick-1000": ("regress", 1000, lambda: memory.TASKS["regress"]()),
}  # fmt: skip
"""Of each set: the task, the number of labelled rows, and all rows."""


def measure(name: str, seconds: float) -> dict[str, Any]:
    """Train and compress a model of few rows, and compare both on the other rows."""
    import polars as pl

    from vertune.core.artifact import Home
    from vertune.core.config import Config
    from vertune.core.errors import ModelError
    from vertune.core.parse import build
    from vertune.runtime.predictor import Predictor
    from vertune.steps.compress import CompressOptions, compress
    from vertune.steps.prepare import prepare
    from vertune.steps.train import train

    task, count, read = SETS[name]
    rows = read()
    random.Random(0).shuffle(rows)
    test = rows[count : count + TEST]
    with tempfile.TemporaryDirectory() as folder:
        config = build(Config, {"name": "few", "task": task, "base": "minilm", "data": {}, "training": {"time_limit": seconds}})
        home = Home(Path(folder))
        dataset = prepare(config, home, None, {"train": pl.DataFrame(rows[:count])})
        started = time.monotonic()
        model = train(config, dataset, home)
        trained = time.monotonic()
        try:
            small = compress(model, home)
        except ModelError:
            small = compress(model, home, [], None, CompressOptions(accept=True))
        ended = time.monotonic()
        predictor = Predictor.open(model)
        task_of, before, after = predictor.task, predictor.answer(test), Predictor.open(small).answer(test)
        last, gate, chosen = small.manifest["candidates"][-1], small.manifest["gate"], model.manifest["chosen"]
        values = [task_of.score(test, answers)[task_of.goal] for answers in (before, after)]
    return {
        "rows": count, "test_rows": len(test), "goal": task_of.goal, "method": chosen["method"], "refit": chosen.get("refit"),
        "verdict": last["verdict"], "why": last["why"], "cross_validation": gate["cross_validation"], "validation_rows": gate["rows"],
        "tolerance": gate["tolerance"], "share": gate["share"],
        "lower_is_better": gate["lower_is_better"], "test_before": values[0], "test_after": values[1],
        "train_seconds": round(trained - started, 1), "compress_seconds": round(ended - trained, 1), "machine": training.machine(1),
    }  # fmt: skip


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--seconds", type=float, default=180.0, help="time limit of the first training")
    options = parser.parse_args()
    for name in options.only:
        found = measure(name, options.seconds)
        measured = json.loads(OUT.read_text()) if OUT.exists() else {}
        OUT.write_text(json.dumps(measured | {name: found}, indent=1) + "\n")
        print(name, json.dumps({key: found[key] for key in ("method", "verdict", "why", "test_before", "test_after", "compress_seconds")}))


if __name__ == "__main__":
    main()
