"""How often 95 % intervals contain the truth, on test sets that are drawn from a large pool of real answers.

    python benchmarks/coverage.py [--only banking77 reuters] [--rows 100 300] [--draws 200]

The answers are those of the best simple baseline of each task, fitted on some rows of a data set and asked for all others, the
pool. The metrics of the pool are the truth. A test set is drawn from the pool with replacement, as if the pool were endless; its
intervals are those of the evaluation report, with fewer rounds. Results go to benchmarks/results/coverage.json.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

import memory
import numpy as np
import training

OUT = training.HERE / "results" / "coverage.json"
ROUNDS = 300
BAR = 0.93
SETS: dict[str, tuple[str, int, Callable[[], memory.Rows]]] = {
    "banking77": ("classify", 3000, lambda: memory.table("banking77/train.csv", text="text", label="category")),
    "symptom2disease": ("classify", 300, lambda: memory.table("symptom2disease/symptom2disease.csv", text="text", label="label")),
    "reuters": ("multilabel", 2500, lambda: memory.TASKS["multilabel"]()),
    "cluener": ("tag", 3000, lambda: memory.TASKS["tag"]()),
    "xquad": ("extract", 100, lambda: memory.TASKS["extract"]()),
    "sick": ("regress", 1500, lambda: memory.TASKS["regress"]()),
    "medquad": ("embed", 300, lambda: memory.TASKS["embed"]()),
}
"""Of each data set: the task, the rows on which the baseline is fitted, and all rows."""
LARGEST = 4000
"""Greatest number of rows of a pool."""


def pool(name: str) -> tuple[Any, np.ndarray[Any, Any], Callable[..., Any]]:
    """The truth, the tally of every row or query, and the function that computes the metrics."""
    import polars as pl

    from vertune.core.kinds import Task

    kind, fitted, read = SETS[name]
    rows = read()
    random.Random(1).shuffle(rows)
    task = Task.model_validate({"name": kind})
    frame = task.clean(pl.DataFrame(rows[: fitted + LARGEST])).frame
    task = task.fit(frame)
    records: Sequence[Any] = frame.to_dicts()
    train, test = records[:fitted], records[fitted:]
    found = {name: task.tally(test, answers) for name, answers in task.baselines(train, train[:50], test).items()}
    sign = -1 if task.goal in task.lower_is_better else 1
    best = max(found.values(), key=lambda tally: sign * float(task.summarise(tally.sum(0))[task.goal]))
    return task.summarise(best.sum(0)), best, task.summarise


def covered(name: str, sizes: Sequence[int], draws: int) -> dict[str, Any]:
    """For each number of rows and each metric: how often the interval contains the truth, and its mean width."""
    from vertune.metrics.bootstrap import intervals
    from vertune.reports.words import limits

    truth, tally, summarise = pool(name)
    result: dict[str, Any] = {"task": SETS[name][0], "pool": len(tally), "rows": {}}
    for size in sizes:
        hits: dict[str, list[bool]] = {}
        widths: dict[str, list[float]] = {}
        for seed in range(draws):
            drawn = tally[np.random.default_rng((size, seed)).integers(0, len(tally), size)]
            for metric, found in intervals(drawn, summarise, ROUNDS, seed, limits).items():
                hits.setdefault(metric, []).append(bool(found.low <= float(truth[metric]) <= found.high))
                widths.setdefault(metric, []).append(found.high - found.low)
        result["rows"][str(size)] = {
            metric: {"truth": float(truth[metric]), "coverage": float(np.mean(hit)), "width": float(np.mean(widths[metric]))}
            for metric, hit in hits.items()
        }
        print(name, size, {metric: round(float(np.mean(hit)), 3) for metric, hit in hits.items()}, flush=True)
    return result


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--rows", type=int, nargs="+", default=[100, 300])
    parser.add_argument("--draws", type=int, default=200)
    options = parser.parse_args()
    for name in options.only:
        found = covered(name, options.rows, options.draws)
        measured = json.loads(OUT.read_text()) if OUT.exists() else {"bar": BAR, "sets": {}}
        measured["sets"][name] = found | {"draws": options.draws, "rounds": ROUNDS, "machine": training.machine(1)}
        OUT.write_text(json.dumps(measured, indent=1) + "\n")


if __name__ == "__main__":
    main()
