"""Few labelled rows a class: accuracy and processor seconds of `method: auto`, of fine-tuning alone, and of the linear probe.

    python benchmarks/shots.py                          what is not measured yet
    python benchmarks/shots.py trec6 --seeds 0 1 2      one data set, some draws
    python benchmarks/shots.py --peer PEER/bin/python   SetFit as well, in an environment with setfit and torch

The sides have the same rows and the same defaults with the base `minilm`. `labels` is `method: auto` with `training.objective:
labels`, which compares no candidates, and `contrastive` trains contrastively without a comparison. A draw takes so many rows of each
label, in sorted order of labels; data sets without test rows of their own are tested on other rows of the same draw. A draw that is
measured is not measured again unless --again is given. Results go to benchmarks/results/shots.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from processor import code, measured_here

from vertune.core import base as bases
from vertune.core import config as configs
from vertune.core.artifact import Home
from vertune.core.files import read_json, write_json
from vertune.steps.evaluate import evaluate
from vertune.steps.prepare import prepare
from vertune.steps.train import train

HERE = Path(__file__).resolve().parent
OUT = HERE / "results" / "shots.json"
TEST_ROWS = 1000
"""Largest number of test rows of a data set that has none of its own."""
SIDES: dict[str, dict[str, Any]] = {
    "auto": {},
    "contrastive": {"method": "full", "training": {"objective": "contrastive"}},
    "labels": {"training": {"objective": "labels"}},
    "probe": {"method": "head"},
}
"""What each side sets in the config."""
PEER = "setfit"
"""The side that trains in an environment of its own."""


@dataclass(frozen=True, slots=True)
class Set:
    """A data set: its file, its columns of text and label, how many rows of each label are drawn, and its own test rows, if any."""

    file: str
    text: str
    label: str
    rows: int
    test: str | None = None
    only: tuple[str, int] | None = None


SETS = {
    "trec6": Set("trec6/train.csv", "text", "coarse", 16, test="trec6/test.csv"),
    "phrasebank": Set("financial_phrasebank/financial_phrasebank.csv", "sentence", "label", 8, only=("agreement", 100)),
    "bank-faq": Set("bank_faq_en/bank_faqs.csv", "Question", "Class", 8),
    "trec6-8": Set("trec6/train.csv", "text", "coarse", 8, test="trec6/test.csv"),
    "youtube": Set("wrench_youtube/train.jsonl", "text", "label", 8, test="wrench_youtube/test.jsonl"),
}


def read(chosen: Set, file: str) -> pl.DataFrame:
    """The texts and labels of one file."""
    folder = Path(os.environ.get("VERTUNE_DATA") or HERE.parent.parent / "shared" / "data")
    path = folder / file
    frame = pl.read_ndjson(path) if path.suffix == ".jsonl" else pl.read_csv(path, infer_schema_length=None)
    if chosen.only:
        frame = frame.filter(pl.col(chosen.only[0]) == chosen.only[1])
    return frame.select(text=pl.col(chosen.text), label=pl.col(chosen.label).cast(pl.String))


def draw(chosen: Set, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The training rows and the test rows of a draw."""
    frame, random, kept = read(chosen, chosen.file), np.random.RandomState(seed), []
    labels = frame["label"].to_numpy()
    for label in sorted(set(labels)):
        kept += random.choice(np.flatnonzero(labels == label), chosen.rows, replace=False).tolist()
    if chosen.test:
        return frame[sorted(kept)], read(chosen, chosen.test)
    others = np.setdiff1d(np.arange(frame.height), kept)
    return frame[sorted(kept)], frame[np.sort(random.permutation(others)[:TEST_ROWS]).tolist()]


def measure(chosen: Set, seed: int, side: str) -> dict[str, Any]:
    """Train one side on a draw, and evaluate it on the test rows."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for split, frame in zip(("train", "test"), draw(chosen, seed), strict=True):
            frame.write_ndjson(folder / f"{split}.jsonl")
        data = {"source": "train.jsonl", "test": "test.jsonl", "fields": {"text": "text", "label": "label"}}
        value = {"name": "shots", "seed": seed, "data": data, "base": "minilm", **SIDES[side]}
        (folder / "run.yaml").write_text(json.dumps(value))
        config, home = configs.load(folder / "run.yaml"), Home(folder / "home")
        dataset = prepare(config, home)
        started = time.process_time()
        model = train(config, dataset, home)
        seconds = time.process_time() - started
        report = evaluate(model, home)
        accuracy = read_json(report.folder / "metrics.json")["metrics"]["accuracy"]["value"]
        made = model.manifest["chosen"]
    kept = {key: made[key] for key in ("method", "objective", "why", "candidates", "warnings") if key in made}
    return {"accuracy": accuracy, "processor_seconds": round(seconds, 1), "chosen": kept} | measured_here() | code()


def measure_peer(chosen: Set, seed: int, python: str) -> dict[str, Any]:
    """Train SetFit on the same draw and the same base, by the interpreter of another environment."""
    train_rows, test_rows = (frame.to_dicts() for frame in draw(chosen, seed))
    request = {"base": str(bases.resolve("minilm")), "train": train_rows, "test": test_rows, "seed": seed}
    ran = subprocess.run([python, HERE / "setfit_peer.py"], input=json.dumps(request), capture_output=True, text=True, check=True)
    return json.loads(ran.stdout.splitlines()[-1]) | measured_here() | code()


def summary(draws: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The mean of each side over its draws."""
    found = {}
    for side in (*SIDES, PEER):
        measured = [sides[side] for sides in draws.values() if side in sides]
        if measured:
            found[side] = {
                "draws": len(measured),
                "accuracy": round(statistics.fmean(item["accuracy"] for item in measured), 4),
                "processor_seconds": round(statistics.fmean(item["processor_seconds"] for item in measured), 1),
            }
    return found


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", help=f"of {', '.join(SETS)}; all by default")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--sides", nargs="*", default=list(SIDES), choices=list(SIDES))
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--peer", help="the interpreter of an environment with setfit")
    options = parser.parse_args()
    for name in options.sets or SETS:
        for seed in options.seeds:
            for side in (*options.sides, *([PEER] if options.peer else [])):
                if options.again or side not in measured().get(name, {}).get("draws", {}).get(str(seed), {}):
                    found = measure_peer(SETS[name], seed, options.peer) if side == PEER else measure(SETS[name], seed, side)
                    add(name, seed, side, found)
                    print(name, seed, side, f"{found['accuracy']:.4f}", found["processor_seconds"], found["chosen"].get("why"), flush=True)


def measured() -> dict[str, Any]:
    """The results so far, read anew each time, so that several commands may measure different rows at once."""
    return read_json(OUT) if OUT.exists() else {}


def add(name: str, seed: int, side: str, found: dict[str, Any]) -> None:
    """Add one measurement to the results."""
    results = measured()
    entry = results.setdefault(name, {"rows_per_label": SETS[name].rows, "draws": {}})
    entry["draws"].setdefault(str(seed), {})[side] = found
    entry["mean"] = summary(entry["draws"])
    write_json(OUT, results)


if __name__ == "__main__":
    main()
