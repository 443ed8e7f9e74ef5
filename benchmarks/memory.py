"""Peak memory of `fit` on every task with default options, measured from outside, beside what was announced before the run.

    python benchmarks/memory.py [--tasks embed tag] [--rows 400 2000 10000] [--seconds 180]

Each `fit` is a process of its own. Its memory is the resident memory of it and its children together, read every 20 ms; where the
kernel's own peak of the process is higher, that counts. `--seconds` is the time limit of the training. Rows are the first ones of
the data set in a fixed random order; a set with fewer rows is repeated with a number at the end of the first text. Results go to
benchmarks/results/memory.json; what is measured already is measured again and replaced.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import load
import training

from vertune.core import documents

OUT = training.HERE / "results" / "memory.json"
BAR = 4e9
EVERY = 0.02
Rows = list[dict[str, Any]]


def data() -> Path:
    """The folder of the data sets."""
    return training.data().parent


def table(file: str, **columns: str) -> Rows:
    """The columns of a CSV file, under the names of the task's fields."""
    import polars as pl

    frame = pl.read_csv(data() / file)
    return frame.select([pl.col(column).alias(field) for field, column in columns.items()]).drop_nulls().to_dicts()


def lines(file: str) -> Rows:
    """The objects of a file of JSON lines."""
    return [json.loads(line) for line in documents.lines((data() / file).read_text(encoding="utf-8"))]


def questions() -> Rows:
    """Questions about articles, with the answer's text and its place."""
    found = []
    for language in ("en", "zh"):
        articles = json.loads((data() / f"xquad/xquad.{language}.json").read_text(encoding="utf-8"))["data"]
        for paragraph in (paragraph for article in articles for paragraph in article["paragraphs"]):
            for question in paragraph["qas"]:
                answers = [{"text": one["text"], "start": one["answer_start"]} for one in question["answers"]]
                found.append({"context": paragraph["context"], "question": question["question"], "answers": answers})
    return found


def entities() -> Rows:
    """Sentences with the offsets of their entities."""
    found = []
    for row in lines("cluener2020/train.jsonl"):
        spans = [
            {"start": start, "end": end + 1, "label": label}
            for label, names in row["label"].items()
            for places in names.values()
            for start, end in places
        ]
        found.append({"text": row["text"], "spans": spans})
    return found


TASKS: dict[str, Callable[[], Rows]] = {
    "classify": lambda: table("banking77/train.csv", text="text", label="category"),
    "embed": lambda: [{"text": row["question"], "text_pair": row["answer"]} for row in lines("medquad/medquad_fifth.jsonl")],
    "tag": entities,
    "extract": questions,
    "match": lambda: table("mrpc/train.csv", text="text", text_pair="text_pair", label="label"),
    "multilabel": lambda: [
        {"text": f"{row['title']}\n{row['body']}", "labels": row["topics"]}
        for row in lines("reuters21578/reuters21578.jsonl")
        if row["topics"]
    ],
    "regress": lambda: table("sick2014/train.csv", text="text", text_pair="text_pair", score="relatedness"),
}


def rows_of(task: str, count: int) -> Rows:
    """So many rows of a task."""
    found = TASKS[task]()
    random.Random(0).shuffle(found)
    field = "question" if task == "extract" else "text"
    more = [{**found[row % len(found)], field: f"{found[row % len(found)][field]} {row}"} for row in range(len(found), count)]
    return [*found[:count], *more]


def child(task: str, count: int, seconds: float) -> None:
    """One `fit` in this process, as a user would call it."""
    import polars as pl

    from vertune.core.artifact import Home
    from vertune.core.config import Config
    from vertune.core.parse import build
    from vertune.steps.fit import fit

    def show(kind: str, **fields: Any) -> None:
        if kind in {"memory", "chosen", "warning"}:
            print(json.dumps({"event": kind, **{name: value for name, value in fields.items() if name != "speed"}}), flush=True)

    with tempfile.TemporaryDirectory() as folder:
        value = {"task": task, "base": "minilm", "data": {}, "training": {"time_limit": seconds}}
        fit(build(Config, value), Home(Path(folder)), show, {"train": pl.DataFrame(rows_of(task, count))})


def highest(pid: int) -> int:
    """The highest resident memory of a process so far in bytes; 0 once it has ended."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in documents.lines(text) if line.startswith("VmHWM")), 0)


def measure(task: str, count: int, seconds: float, threads: int) -> dict[str, Any]:
    """The peak memory of one `fit`, and what it announced."""
    command = [sys.executable, __file__, "--child", task, str(count), str(seconds)]
    quiet = {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error"}
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as wrong:
        started, peak, own = time.monotonic(), 0, 0
        running = subprocess.Popen(command, stdout=out, stderr=wrong, env={**os.environ, **quiet})
        while running.poll() is None:
            peak = max(peak, load.resident(running.pid))
            own = max(own, highest(running.pid))
            time.sleep(EVERY)
        for file in (out, wrong):
            file.seek(0)
        events = [json.loads(line) for line in out if line.startswith("{")]
        if running.returncode:
            sys.exit(f"{task} {count} ended with {running.returncode}: {wrong.read()[-2000:]}")
    announced = next(event for event in events if event["event"] == "memory")
    chosen = next((event for event in events if event["event"] == "chosen"), {})
    return {
        "peak_bytes": max(peak, own), "announced_bytes": round(announced["gigabytes"] * 1e9), "tokens": announced["tokens"],
        "method": chosen.get("method"), "epochs": chosen.get("epochs"), "time_limit": seconds,
        "seconds": round(time.monotonic() - started, 1), "machine": training.machine(threads),
    }  # fmt: skip


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--rows", type=int, nargs="+", default=[400, 2000, 10_000])
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child[0], int(options.child[1]), float(options.child[2]))
        return
    for count in options.rows:
        for task in options.tasks:
            found = measure(task, count, options.seconds, options.threads)
            measured = json.loads(OUT.read_text()) if OUT.exists() else {"bar_bytes": BAR, "tasks": {}}
            measured["tasks"].setdefault(task, {})[str(count)] = found
            OUT.write_text(json.dumps(measured, indent=1) + "\n")
            print(f"{task} {count}: peak {found['peak_bytes'] / 1e9:.2f} GB, announced {found['announced_bytes'] / 1e9:.2f} GB", flush=True)


if __name__ == "__main__":
    main()
