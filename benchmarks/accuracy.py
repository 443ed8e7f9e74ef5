"""Measures rows of the accuracy table: prepare, train, evaluate, for each seed; knows nothing of any one data set.

    python benchmarks/accuracy.py banking77-full            one row, with the seeds of its bar
    python benchmarks/accuracy.py trec6-full --seeds 0 1    some seeds
    python benchmarks/accuracy.py --all                     every row
    python benchmarks/accuracy.py --list                    the rows, and what is measured already

A row is an entry of accuracy.yaml. A seed that is measured is not measured again, and a killed training goes on, so any
command can be repeated. Results go to benchmarks/results/accuracy/, work to benchmarks/.work/. With --limit, --set or
--split the result is a trial: it is printed and kept in benchmarks/.work/ only.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import json
import os
import platform
import statistics
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import yaml
from pydantic import BaseModel, ConfigDict

import vertune
from vertune.core import config as configs
from vertune.core.artifact import Artifact, Home
from vertune.core.documents import lines
from vertune.core.errors import NotFound
from vertune.core.files import read_json, write_json
from vertune.core.kinds import Source
from vertune.core.parse import build
from vertune.steps.evaluate import evaluate
from vertune.steps.fit import prepared
from vertune.steps.prepare import prepare
from vertune.steps.train import train

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "accuracy"
WORK = HERE / ".work"
SPLIT = "__split__"
PACKAGES = ("torch", "transformers", "tokenizers", "peft", "accelerate", "scikit-learn", "numpy", "polars")


class Entry(BaseModel):
    """A section of accuracy.yaml; a misspelt key is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Hash(Entry):
    """A division by sha1 of a text as a whole number, mod 10; what is in neither list is for training."""

    of: str
    validation: list[int] = []
    test: list[int] = []


class Rows(Entry):
    """Rows of one file, and the split that they go to."""

    source: str | dict[str, Any]
    split: Literal["train", "validation", "test"] | None = None
    sha1: Hash | None = None
    column: str | None = None


class Draw(Entry):
    """So many training rows of each label."""

    rows: int
    per: str


class Near(Entry):
    """The row that this one may fall behind, and by how much."""

    row: str
    by: float


class Also(Entry):
    """What README shows of a row besides its metric: other metrics of the model, its metric of other baselines."""

    metrics: list[str] = []
    baselines: list[str] = []


class Row(Entry):
    """One row of the table."""

    about: str
    data: list[Rows]
    columns: list[str] = []
    only: dict[str, Any] = {}
    draw: Draw | None = None
    shared: str | None = None
    config: dict[str, Any]
    seeds: list[int]
    metric: str
    bar: float | None = None
    near: Near | None = None
    beats: bool = False
    also: Also = Also()
    published: str = ""


@functools.cache
def rows() -> dict[str, Row]:
    """Every row of the table by its name."""
    text = (HERE / "accuracy.yaml").read_text(encoding="utf-8")
    return {name: build(Row, value, name) for name, value in yaml.safe_load(text).items()}


def data_folder() -> Path:
    """Where the data sets are."""
    return Path(os.environ.get("VERTUNE_DATA") or HERE.parent.parent / "shared" / "data").absolute()


# ── rows and their splits ────────────────────────────────────────────────────────────────────────────────────────────


def table(row: Row, seed: int, limit: int | None = None) -> pl.DataFrame:
    """All rows of a row's files with the split of each."""
    frame = pl.concat([_read(part, row.columns) for part in row.data], how="diagonal_relaxed")
    for column, value in row.only.items():
        frame = frame.filter(pl.col(column).cast(pl.String) == str(value))
    if row.shared:
        frame = _shared(frame, row.shared)
    if row.draw:
        frame = _draw(frame, row.draw, seed)
    if limit:
        frame = frame.filter(pl.int_range(pl.len()).shuffle(seed=0).over(SPLIT) < limit)
    return frame


def _read(part: Rows, columns: list[str]) -> pl.DataFrame:
    """The rows of one file."""
    written = part.source if isinstance(part.source, str) else part.source["path"]
    path = (HERE if written.startswith("./") else data_folder()) / written
    if not path.exists():
        raise NotFound(f"There is no {path}. Set VERTUNE_DATA to the folder that holds the data sets.")
    chosen = configs.source_of(str(path)) if isinstance(part.source, str) else {**part.source, "path": str(path)}
    frame = Source.model_validate(chosen).read().lazy().collect()
    broken = frame.filter(pl.col("__error").is_not_null())
    assert broken.is_empty(), broken
    frame = frame.with_columns(_split(part, frame, path).alias(SPLIT)).drop("__file", "__row", "__error")
    return frame.select([*columns, SPLIT]) if columns else frame


def _split(part: Rows, frame: pl.DataFrame, path: Path) -> pl.Series:
    """The split of each row of one file."""
    if part.split:
        return pl.Series([part.split] * frame.height, dtype=pl.String)
    if part.column:
        return frame[part.column]
    assert part.sha1 is not None
    keys = lines(path.read_text(encoding="utf-8"))[1:] if part.sha1.of == "line" else frame[part.sha1.of].to_list()
    assert len(keys) == frame.height, "a hash of lines needs a row a line"
    places = dict.fromkeys(part.sha1.validation, "validation") | dict.fromkeys(part.sha1.test, "test")
    return pl.Series([places.get(bucket(key), "train") for key in keys])


def bucket(text: str) -> int:
    """sha1 of a text in UTF-8, as a whole number, mod 10."""
    return int(hashlib.sha1(text.encode("utf-8")).hexdigest(), 16) % 10


def _shared(frame: pl.DataFrame, column: str) -> pl.DataFrame:
    """The frame with only those labels of a list column that occur in training and in test rows."""
    seen = [set(frame.filter(pl.col(SPLIT) == split)[column].explode().drop_nulls()) for split in ("train", "test")]
    kept = sorted(seen[0] & seen[1])
    return frame.with_columns(pl.col(column).list.set_intersection(pl.lit(kept, dtype=pl.List(pl.String))))


def _draw(frame: pl.DataFrame, draw: Draw, seed: int) -> pl.DataFrame:
    """The frame with so many training rows of each label, or all if there are fewer, in sorted order of labels, and all other rows."""
    random = np.random.RandomState(seed)
    labels, splits = frame[draw.per].to_numpy(), frame[SPLIT].to_numpy()
    kept = np.flatnonzero(splits != "train").tolist()
    for label in sorted(set(labels[splits == "train"])):
        members = np.flatnonzero((labels == label) & (splits == "train"))
        kept += random.choice(members, min(draw.rows, len(members)), replace=False).tolist()
    return frame[sorted(kept)]


# ── one measurement ──────────────────────────────────────────────────────────────────────────────────────────────────


def config(name: str, row: Row, seed: int, options: argparse.Namespace) -> configs.Config:
    """The config of a row for one seed, written beside its rows so that `vertune fit` runs it as well."""
    key = json.dumps([row.model_dump(mode="json"), str(data_folder()), seed, options.limit], sort_keys=True)
    folder = WORK / "data" / f"{name}-{seed}-{hashlib.sha256(key.encode()).hexdigest()[:8]}"
    file = folder / "rows.parquet"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        table(row, seed, options.limit).write_parquet(folder / "part")
        (folder / "part").replace(file)
    data = {**row.config.get("data", {}), "source": "rows.parquet", "split": {"name": "given", "by": SPLIT}}
    value = {**row.config, "name": f"{name}-{seed}", "seed": seed, "data": data}
    (folder / "run.yaml").write_text(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return configs.load(folder / "run.yaml", options.set)


def measure(name: str, row: Row, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train and evaluate one seed."""
    home = Home(WORK / "home")
    settings = config(name, row, seed, options)
    say = Talk(f"{name} seed {seed}")
    started = time.monotonic()
    # a trial starts anew, because the code may have changed since the last one
    dataset = prepare(settings, home, say) if is_trial(options) else prepared(settings, home, say)
    trained_from = time.monotonic()
    model = learn(settings, dataset, home, say, resume=not is_trial(options))
    evaluated_from = time.monotonic()
    report = evaluate(model, home, options.split, say)
    seconds = {
        "prepare": round(trained_from - started, 1),
        "train": round(evaluated_from - trained_from, 1),
        "evaluate": round(time.monotonic() - evaluated_from, 1),
    }
    return outcome(row, dataset, model, report) | {"seconds": seconds}


def learn(settings: configs.Config, dataset: Artifact, home: Home, say: Talk, resume: bool) -> Artifact:
    """Train, or go on with a training that was killed."""
    if resume:
        with contextlib.suppress(NotFound):
            return train(settings, dataset, home, say, resume=True)
    return train(settings, dataset, home, say)


def outcome(row: Row, dataset: Artifact, model: Artifact, report: Artifact) -> dict[str, Any]:
    """What is kept of one seed."""
    made, measured = model.manifest, read_json(report.folder / "metrics.json")
    details = measured.get("details") or {}
    return {
        "rows": dataset.manifest["rows"],
        "data_hash": dataset.manifest["data_hash"],
        "metrics": measured["metrics"],
        "baselines": measured["baselines"],
        "differences": measured["differences"],
        "truncated": measured["truncated"],
        "classes": details.get("per_class") if row.metric == "f1" else None,
        "calibration_error": (details.get("calibration") or {}).get("ece"),
        "chosen": made.get("chosen"),
        "trained": made.get("trained"),
        "bytes": made.get("bytes"),
        "validation": made["metrics"]["validation"],
        "fingerprint": made["fingerprint"],
        "config": {key: value for key, value in made["config"].items() if key != "data"},
    }


class Talk:
    """Prints what a step says, at most a line in ten seconds."""

    def __init__(self, about: str) -> None:
        self.about, self.last = about, 0.0

    def __call__(self, kind: str, **fields: Any) -> None:
        if time.monotonic() - self.last >= 10:
            self.last = time.monotonic()
            shown = {key: round(value, 4) if isinstance(value, float) else value for key, value in fields.items()}
            print(f"  {self.about}: {kind} " + " ".join(f"{key}={str(value)[:60]}" for key, value in shown.items()), flush=True)


# ── results ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def measure_row(name: str, row: Row, options: argparse.Namespace) -> dict[str, Any]:
    """Measure the seeds that are missing, writing the result after each."""
    file = (WORK / "trials" if is_trial(options) else RESULTS) / f"{name}.json"
    known = read_json(file)["seeds"] if file.exists() and not is_trial(options) else {}
    for seed in options.seeds or row.seeds:
        if str(seed) in known and not options.again:
            continue
        known[str(seed)] = measure(name, row, seed, options) | machine()
        write_json(file, summary(name, row, known))
    result: dict[str, Any] = read_json(file)
    return result


def is_trial(options: argparse.Namespace) -> bool:
    """Whether the result is of something else than the row says."""
    return bool(options.limit or options.set or options.split != "test")


def machine() -> dict[str, Any]:
    """When, on what and with what a seed was measured."""
    from processor import code, measured_here

    return {
        **measured_here(),
        **code(),
        "versions": {
            "vertune": vertune.__version__,
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in PACKAGES},
        },
    }


def summary(name: str, row: Row, seeds: dict[str, Any]) -> dict[str, Any]:
    """The row of the table: the mean over seeds, the spread, the baselines, and whether the bar is met."""
    values = [seed["metrics"][row.metric] for seed in seeds.values()]
    scores = [value["value"] for value in values]
    best = strongest(seeds, row.metric)
    result = {
        "row": name,
        "about": row.about,
        "command": f"python benchmarks/accuracy.py {name} --seeds {' '.join(seeds)}",
        "metric": row.metric,
        "mean": statistics.fmean(scores),
        "spread": statistics.stdev(scores) if len(scores) > 1 else None,
        "low": statistics.fmean(value["low"] for value in values),
        "high": statistics.fmean(value["high"] for value in values),
        "baseline": best,
        "bar": row.bar,
        "published": row.published,
    }
    return result | {"met": met(row, result, len(seeds)), "seeds": seeds}


def strongest(seeds: dict[str, Any], metric: str) -> dict[str, Any] | None:
    """The baseline with the best mean over seeds, with the paired difference of the model from it."""
    means = {
        name: statistics.fmean(values)
        for name in next(iter(seeds.values()))["baselines"]
        if None not in (values := [seed["baselines"][name][metric]["value"] for seed in seeds.values()])
    }
    if not means:
        return None
    name = max(sorted(means), key=lambda item: means[item])
    paired = [seed["differences"][name][metric] for seed in seeds.values()]
    return {
        "name": name,
        "mean": means[name],
        "difference": {key: statistics.fmean(one[key] for one in paired) for key in ("value", "low", "high")},
    }


def met(row: Row, result: dict[str, Any], measured: int) -> bool | None:
    """Whether the row's bar is met; None where it has none, or where not all of its seeds are measured."""
    if measured < len(row.seeds):
        return None
    if row.bar is not None:
        return bool(result["mean"] >= row.bar)
    if row.beats:
        return bool(result["baseline"]["difference"]["low"] > 0)
    other = RESULTS / f"{row.near.row}.json" if row.near else None
    if row.near is None or other is None or not other.exists():
        return None
    return bool(result["mean"] >= read_json(other)["mean"] - row.near.by)


def show(result: dict[str, Any]) -> None:
    """One row, as a person reads it."""
    spread = f" ± {result['spread']:.4f}" if result["spread"] is not None else ""
    best = result["baseline"] or {"name": "no baseline", "mean": float("nan")}
    verdict = {True: "met", False: "NOT met", None: "no verdict"}[result["met"]]
    print(
        f"{result['row']:<18} {result['metric']} {result['mean']:.4f}{spread} [{result['low']:.4f}, {result['high']:.4f}] over "
        f"{len(result['seeds'])} seed(s); {best['name']} {best['mean']:.4f}; bar {result['bar'] or '–'}: {verdict}"
    )


def listing() -> None:
    """The rows, and what is measured of each."""
    for name, row in rows().items():
        file = RESULTS / f"{name}.json"
        if file.exists():
            show(read_json(file))
        else:
            print(f"{name:<18} not measured yet: {row.about}")


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="names of rows, see --list")
    parser.add_argument("--all", action="store_true", help="every row")
    parser.add_argument("--list", action="store_true", help="show the rows and leave")
    parser.add_argument("--seeds", type=int, nargs="+", help="these seeds, instead of the row's own")
    parser.add_argument("--again", action="store_true", help="measure also what is measured already")
    parser.add_argument("--limit", type=int, help="a trial on at most so many rows of each split")
    parser.add_argument("--split", default="test", choices=["test", "validation"], help="a trial on another split")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a trial with a changed config")
    options = parser.parse_args()
    wanted = list(rows()) if options.all else options.rows
    unknown = [name for name in wanted if name not in rows()]
    if options.list or unknown or not wanted:
        listing()
        sys.exit(f"There is no row {', '.join(unknown)}." if unknown else 0)
    for name in wanted:
        show(measure_row(name, rows()[name], options))


if __name__ == "__main__":
    main()
