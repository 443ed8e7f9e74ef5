"""What a retraining gains and forgets on Banking77, beside a training on everything from the pretrained model.

    python benchmarks/retraining.py labels          500 labels of five intents that the live model does not know
    python benchmarks/retraining.py typos           500 labels of texts with typos in a tenth of their characters
    python benchmarks/retraining.py rounds          the intents arrive in five parts, each with a retraining
    python benchmarks/retraining.py labels --rows 40 --try     40 rows an intent, and each way of going on by itself

New labels are a file, so that a part of them joins the validation and test rows; both sides train on the same assembled dataset, with one
thread. Old and new slices are official test rows, of intents that the live model knows and does not know, or with typos. Times are
processor seconds of the step `train`. Results go to benchmarks/results/retraining.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import training

from vertune.augmenters.typos import Typos
from vertune.core.artifact import Artifact, Home
from vertune.core.config import Config
from vertune.core.parse import build
from vertune.core.records import Column
from vertune.learning.continual import WAYS, Continuation, Way
from vertune.runtime.predictor import Predictor
from vertune.steps.fit import prepared
from vertune.steps.retrain import Lineage, Request
from vertune.steps.retrain.dataset import make
from vertune.steps.retrain.sources import parse_sources
from vertune.steps.retrain.training import live_model
from vertune.steps.train import Start, train

OUT = training.HERE / "results" / "retraining.json"
BARS = {"gain": 0.8, "loss": 0.003, "time": 1 / 3, "joint": 0.97, "part": 0.01}
LABELS = 500
PARTS = 5


@dataclass(frozen=True)
class Bench:
    """A place for one measurement, and how models are trained in it."""

    home: Home
    folder: Path
    method: str
    seed: int

    def config(self, train: pl.DataFrame, test: pl.DataFrame) -> Config:
        for name, frame in (("train", train), ("test", test)):
            frame.write_csv(self.folder / f"{name}.csv")
        data = {
            "source": str(self.folder / "train.csv"), "test": str(self.folder / "test.csv"),
            "fields": {"text": "text", "label": "category"}, "split": {"name": "stratified", "test": 0.0},
        }  # fmt: skip
        return build(Config, {
            "name": "bank", "seed": self.seed, "data": data, "base": "minilm", "method": self.method,
            "device": {"threads": 1, "precision": "float32"}, "training": {"refit": "never"},
        })  # fmt: skip

    def first(self, train_rows: pl.DataFrame, test_rows: pl.DataFrame) -> tuple[Artifact, float]:
        """Train the first live model; return it with the processor seconds."""
        config = self.config(train_rows, test_rows)
        model, seconds = _timed(lambda: train(config, prepared(config, self.home), self.home))
        self.home.alias("bank@live", model.id)
        return model, seconds

    def dataset(self, live: Artifact, rows: pl.DataFrame) -> tuple[Lineage, Artifact]:
        """Assemble the next dataset with these labelled rows."""
        path = self.folder / f"new-{time.monotonic_ns()}.csv"
        rows.write_csv(path)
        lineage = Lineage.of(live, self.home)
        return lineage, make(lineage, self.home, Request(parse_sources(str(path), "bank", None)))

    def on(self, lineage: Lineage, dataset: Artifact, how: Continuation) -> tuple[Artifact, float]:
        """Train on from the live model."""
        return _timed(lambda: train(lineage.config, dataset, self.home, start=Start(live_model(lineage), how)))

    def anew(self, lineage: Lineage, dataset: Artifact) -> tuple[Artifact, float]:
        """Train the pretrained model on everything."""
        return _timed(lambda: train(lineage.config, dataset, self.home))


def _timed(work: Any) -> tuple[Any, float]:
    began = time.process_time()
    made = work()
    return made, time.process_time() - began


def accuracy(model: Artifact, frame: pl.DataFrame) -> float:
    """The share of rows of which a model answers the category."""
    answers = Predictor.open(model).answer([{"text": text} for text in frame["text"]])
    return float(np.mean([answer["label"] == label for answer, label in zip(answers, frame["category"], strict=True)]))


def read(rows: int | None, seed: int, tests: int | None = None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The training rows, at most so many of each intent, and the test rows, at most so many of each."""
    folder = training.data()
    train, test = (pl.read_csv(folder / f"{name}.csv") for name in ("train", "test"))
    test = test if tests is None else test.group_by("category", maintain_order=True).head(tests)
    shuffled = train.unique("text", maintain_order=True).sample(fraction=1.0, shuffle=True, seed=seed)
    return (shuffled if rows is None else shuffled.group_by("category", maintain_order=True).head(rows)), test


def with_typos(frame: pl.DataFrame, seed: int) -> pl.DataFrame:
    """The rows with a typo in a tenth of the characters."""
    columns = [Column("text", ""), Column("category", "", role="target", type="label")]
    marked = frame.with_columns(pl.lit("f").alias("__file"), pl.int_range(1, pl.len() + 1).alias("__row"))
    made = Typos(rate=0.1).augment(marked, columns, seed)
    return made.select("text", "category")


def compare(
    bench: Bench, live: Artifact, new: pl.DataFrame, slices: dict[str, pl.DataFrame], ways: Sequence[Way] | None
) -> dict[str, Any]:  # fmt: skip
    """Train on and anew, and return the accuracies of all on both slices, and the seconds."""
    lineage, dataset = bench.dataset(live, new)
    found: dict[str, Any] = {"rows": dataset.manifest["rows"], "assembled": dataset.manifest["assembled"]}
    found["live"] = {name: accuracy(live, frame) for name, frame in slices.items()}
    scratch, seconds = bench.anew(lineage, dataset)
    found["scratch"] = {**{name: accuracy(scratch, frame) for name, frame in slices.items()}, "seconds": seconds}
    print("live", found["live"], "scratch", found["scratch"], flush=True)
    plans = {"default": Continuation()} if ways is None else {way.name: Continuation(ways=(way,)) for way in ways}
    for name, how in plans.items():
        model, spent = bench.on(lineage, dataset, how)
        chosen = model.manifest["chosen"]
        entry = {part: accuracy(model, frame) for part, frame in slices.items()}
        gains = [side["new"] - found["live"]["new"] for side in (entry, found["scratch"])]
        found[name] = {
            **entry, "seconds": spent, "time": spent / seconds, "gain": gains[0] / gains[1] if gains[1] else None,
            "loss": found["live"]["old"] - entry["old"], "way": chosen["way"], "ways": chosen["ways"], "replayed": chosen["replayed"],
        }  # fmt: skip
        print(name, json.dumps(found[name]), flush=True)
    return found


def labels(bench: Bench, options: argparse.Namespace) -> dict[str, Any]:
    """Five intents arrive with 100 labels each."""
    rows, test = read(options.rows, options.seed, options.tests)
    counts = read(None, options.seed)[0]
    names = np.random.default_rng(options.seed).permutation(sorted(rows["category"].unique()))[: LABELS // 100].tolist()
    new = counts.filter(pl.col("category").is_in(names)).group_by("category", maintain_order=True).head(100)
    old, later = test.filter(~pl.col("category").is_in(names)), test.filter(pl.col("category").is_in(names))
    live, seconds = bench.first(rows.filter(~pl.col("category").is_in(names)), old)
    found = compare(bench, live, new, {"old": old, "new": later}, WAYS if options.every else None)
    return {"intents": names, "live_seconds": seconds, **found}


def typos(bench: Bench, options: argparse.Namespace) -> dict[str, Any]:
    """500 of the rows have typos, and so have texts from now on."""
    rows, test = read(options.rows, options.seed, options.tests)
    if options.rows is None:
        later = rows.sample(LABELS, seed=options.seed)
        rows = rows.join(later, on="text", how="anti")
    else:
        later = read(None, options.seed)[0].join(rows, on="text", how="anti").sample(LABELS, seed=options.seed)
    live, seconds = bench.first(rows, test)
    found = compare(
        bench, live, with_typos(later, options.seed), {"old": test, "new": with_typos(test, options.seed + 1)},
        WAYS if options.every else None,
    )  # fmt: skip
    return {"live_seconds": seconds, **found}


def rounds(bench: Bench, options: argparse.Namespace) -> dict[str, Any]:
    """The intents arrive in five parts."""
    rows, test = read(options.rows, options.seed, options.tests)
    names = np.random.default_rng(options.seed).permutation(sorted(rows["category"].unique()))
    parts = [part.tolist() for part in np.array_split(names, PARTS)]
    seen = test.filter(pl.col("category").is_in(parts[0]))
    model, seconds = bench.first(rows.filter(pl.col("category").is_in(parts[0])), seen)
    tests = [test.filter(pl.col("category").is_in(part)) for part in parts]
    table = [[accuracy(model, tests[0])]]
    spent = [seconds]
    for number in range(1, PARTS):
        lineage, dataset = bench.dataset(model, rows.filter(pl.col("category").is_in(parts[number])))
        model, seconds = bench.on(lineage, dataset, Continuation())
        table.append([accuracy(model, frame) for frame in tests[: number + 1]])
        spent.append(seconds)
        print(number, [f"{value:.4f}" for value in table[-1]], model.manifest["chosen"]["ways"], f"{seconds:.0f} s", flush=True)
        bench.home.alias("bank@live", model.id)
    joint, joint_seconds = bench.anew(lineage, dataset)  # on the same training rows, of which some were set aside for tests in each round
    all_rows, joint_parts = accuracy(joint, test), [accuracy(joint, frame) for frame in tests]
    end = float(np.mean([value for value, frame in zip(table[-1], tests, strict=True) for _ in range(frame.height)]))
    return {
        "parts": parts, "accuracy": table, "seconds": spent, "joint": all_rows, "joint_parts": joint_parts, "joint_seconds": joint_seconds,
        "end": end, "share": end / all_rows, "lost": [table[part][part] - table[-1][part] for part in range(PARTS - 1)],
        "lost_beside_joint": [joint_parts[part] - table[-1][part] for part in range(PARTS)],
    }  # fmt: skip


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", choices=["labels", "typos", "rounds"])
    parser.add_argument("--rows", type=int, help="rows of an intent; all without it")
    parser.add_argument("--tests", type=int, help="test rows of an intent; all without it")
    parser.add_argument("--method", default="full")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--try", dest="every", action="store_true", help="each way by itself")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bench = Bench(Home(folder / "home"), folder, options.method, options.seed)
        found = {"labels": labels, "typos": typos, "rounds": rounds}[options.scenario](bench, options)
    found |= {"machine": training.machine(1), "bars": BARS, "how": asdict(Continuation())}
    key = " ".join(
        [options.scenario, options.method, str(options.rows or "all"), f"seed {options.seed}", *(["ways"] if options.every else [])]
    )
    results = json.loads(OUT.read_text()) if OUT.exists() else {}
    OUT.write_text(json.dumps({**results, key: found}, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({name: value for name, value in found.items() if name not in ("machine", "parts")}, indent=1))


if __name__ == "__main__":
    main()
