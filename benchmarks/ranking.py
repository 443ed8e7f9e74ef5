"""What it takes to rank the records of a labelling project, when the states of the records are there.

    python benchmarks/ranking.py                 10,003 real texts, and a pool of a million
    python benchmarks/ranking.py --only small

Banking77 becomes a project; 1,000 labels are given in batches of 50, and after each batch the job that ranks the rest is run in this
process. Its time is that of reading the labels, fitting and measuring the probe, choosing the next records, and storing suggestions for
all. Then the states of these texts are repeated, with some noise, until there are a million of them, 1,000 of which have labels, and 50
records are chosen in a process of its own, whose largest memory is measured. Bars: after a batch, fitting takes at most 3 s and choosing
2 s, on two processors; of a million, choosing takes at most 30 s and 3 GB. Results go to benchmarks/results/ranking.json; the exit status
is 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import accuracy
import numpy as np
import servers
from processor import code, measured_here

from vertune.core.artifact import Home
from vertune.core.files import read_json, write_json
from vertune.core.kinds import Task
from vertune.core.parse import build
from vertune.core.query import Pool
from vertune.learning.pool import StatePool
from vertune.steps import rank as ranking
from vertune.steps.label.file import Wanted, project_of_file
from vertune.steps.rank import rank
from vertune.steps.record_states import FOLDER
from vertune.steps.simulate import query_of
from vertune.store import labels, projects
from vertune.store.database import FILE, Database

OUT = accuracy.HERE / "results" / "ranking.json"
BATCH, LABELS, MANY, NOISE = 50, 1000, 1_000_000, 0.05


class Times:
    """The seconds that functions of the ranking took, in each turn."""

    def __init__(self) -> None:
        self.turns: dict[str, list[float]] = {}

    def watch(self, owner: Any, name: str, shown: str) -> None:
        """Note how long each call of a function takes."""
        original = getattr(owner, name)

        def timed(*arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return original(*arguments, **options)
            finally:
                self.turns.setdefault(shown, []).append(time.perf_counter() - started)

        setattr(owner, name, timed)


def small(folder: Path) -> dict[str, list[float]]:
    """The seconds of fitting, choosing, and of the whole job after each batch."""
    source = accuracy.data_folder() / "banking77" / "train.csv"
    with source.open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    right = {row["text"]: row["category"] for row in rows}
    (folder / "texts.csv").write_text("", "utf-8")
    with (folder / "texts.csv").open("w", encoding="utf-8", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerows([["text"], *([row["text"]] for row in rows)])
    times, home = Times(), Home(folder)
    times.watch(ranking._FittedProbe, "on", "fitting")
    times.watch(ranking, "_chosen", "choosing")
    with closing(Database(folder / FILE)) as database:
        project_of_file(database, Wanted(folder / "texts.csv", labels=sorted(set(right.values()))))
        for turn in range(LABELS // BATCH + 1):
            with database.reading() as connection:
                project = projects.get(connection, "texts", "default")
            started = time.perf_counter()
            rank(database, home, project)
            if turn:
                times.turns.setdefault("the whole job", []).append(time.perf_counter() - started)
            items = labels.reserve(database, project, "ann", BATCH, datetime.now(UTC))
            changes = [labels.Change(one.record.number, "done", {"label": right[one.record.fields["text"]]}, None, 1) for one in items]
            labels.save(database, project, "ann", changes, datetime.now(UTC))
            print(turn, {name: round(values[-1], 2) for name, values in times.turns.items()}, flush=True)
    write_json(folder / "labels.json", {"labels": sorted(set(right.values()))})
    return {name: values[-LABELS // BATCH :] for name, values in times.turns.items()}


def enlarge(folder: Path) -> None:
    """Write a million states, each a real one with some noise, in the place of the real ones."""
    found = next((folder / FOLDER).iterdir())
    states = np.load(found / "states.npy", "r")
    out = folder / "large"
    out.mkdir()
    random = np.random.default_rng(0)
    many = np.lib.format.open_memmap(out / "states.npy", "w+", np.float16, (MANY, states.shape[1]))
    for start in range(0, MANY, 50_000):
        chosen = random.integers(len(states), size=50_000)
        part = states[chosen].astype(np.float32)
        many[start : start + 50_000] = part + random.normal(0, NOISE * part.std(), part.shape)
    np.save(out / "parts.npy", np.arange(MANY + 1))
    features = np.zeros((MANY, 4), np.int64)
    features[:, 0], features[:, 1] = np.arange(MANY), 12
    np.save(out / "features.npy", features)


def choose(folder: Path) -> None:
    """Choose 50 of a million records, and print the seconds and the largest memory."""
    names = ["a", "b", "c", "d"]
    task = build(Task, {"name": "classify", "labels": names, "counts": [1] * len(names)})
    pool = StatePool.open(task, folder / "large")
    random = np.random.default_rng(1)
    rows = np.sort(random.choice(MANY, LABELS, replace=False))
    side = pool.states[rows].astype(np.float32) @ random.normal(size=(pool.states.shape[1], len(names)))
    head = pool.solve(rows, [{"text": "", "label": names[one]} for one in side.argmax(1)])
    started = time.perf_counter()
    labelled = np.zeros(MANY, bool)
    labelled[rows] = True
    picked = query_of("auto").pick(Pool(pool.vectors(), labelled, labelled, pool.beliefs(head), 0), BATCH)
    assert len(set(picked.tolist())) == BATCH
    seconds, memory = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(json.dumps({"seconds": seconds, "gigabytes": memory}))


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["small", "large"])
    parser.add_argument("--choose", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.choose:
        choose(options.choose)
        return
    results = read_json(OUT) if OUT.exists() else {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        turns = small(folder)
        bars = {"fitting": 3.0, "choosing": 2.0}
        results["after a batch"] = {"turns": turns} | {
            shown: servers.bar(values, limit) for shown, limit in bars.items() if (values := turns[shown])
        }
        if options.only != "small":
            enlarge(folder)
            command = [sys.executable, __file__, "--choose", str(folder)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            print(found)
            results["of a million"] = {
                "seconds": servers.bar([found["seconds"]], 30.0),
                "gigabytes": servers.bar([found["gigabytes"]], 3.0),
            }
    write_json(OUT, results | measured_here() | code())
    sys.exit(
        not all(
            one["met"]
            for part in results.values()
            if isinstance(part, dict)
            for one in part.values()
            if isinstance(one, dict) and "met" in one
        )
    )


if __name__ == "__main__":
    main()
