"""prepare: from sources to a dataset with a split a file and a report; knows nothing of formats, tasks or pages.

No row is dropped silently: each one is in a split, counted as unused, or in rejected.jsonl with its reason.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any

import polars as pl

from vertune import __version__
from vertune.core.artifact import Artifact, Home, Progress, Recorder, recording
from vertune.core.config import Config, dump
from vertune.core.errors import ConfigError, DataError
from vertune.core.files import write_json, write_text
from vertune.core.records import Column
from vertune.data import dataset, describe
from vertune.data.fields import map_fields
from vertune.reports import render
from vertune.reports.scales import plural

_PACKAGES = ("polars", "numpy", "tokenizers")
_LABELLED = frozenset({"label", "labels", "spans"})
"""Types of columns whose values must be known from training."""


@dataclass(slots=True)
class _Rows:
    """What was read so far: the good rows of each place, and what was rejected."""

    tables: dict[str, pl.DataFrame] = field(default_factory=dict)
    rejected: list[dict[str, Any]] = field(default_factory=list)
    missing: dict[str, dict[str, float]] = field(default_factory=dict)
    """Share of the rows of each place that lack a field, before anything was rejected."""
    origin: dict[str, list[str]] = field(default_factory=dict)


def prepare(config: Config, home: Home, progress: Progress | None = None, frames: Mapping[str, pl.DataFrame] | None = None) -> Artifact:
    """Read, check and divide the records of a config, or of `frames` with the keys train, validation and test.

    Raises NotFound and DataError where records can't be read, used or divided, ConfigError where the config contradicts
    them. What was rejected until then is in rejected.jsonl of the run.
    """
    run = home.begin("datasets", config.name, step="prepare", config=dump(config), parents=[])
    with recording(home, run, progress) as recorder:
        rows = _Rows()
        try:
            _gather(config, frames, rows, recorder)
            _filled(rows.tables["train"], "training", rows.rejected)
            recorder("split", rows=sum(frame.height for frame in rows.tables.values()))
            splits, cut = _divided(config, rows.tables)
            splits = _known(config, splits, rows.rejected)
            unused = splits.pop("unused").height
            for name in ("train", "validation"):
                _filled(splits[name], name, rows.rejected)
            task = config.task.fit(splits["train"])
        finally:
            dataset.write_rejected(run.folder, rows.rejected)
        recorder("describe")
        counts = {**{name: splits[name].height for name in dataset.SPLITS}, "unused": unused, "rejected": len(rows.rejected)}
        facts = {"name": config.name, "rows": counts, "origin": rows.origin, "missing": rows.missing, "rejected": _reasons(rows.rejected)}
        report = facts | describe.describe(splits, task, config.encoder)
        report["warnings"] = describe.warnings(report)
        _write(run, splits, report)
        for message in report["warnings"]:
            recorder("warning", message=message)
        return home.finish(
            run,
            data_hash=dataset.fingerprint(splits),
            rows=counts,
            cut=sorted(cut),
            validation_cut="validation" in cut,
            versions=_versions(),
        )


def _gather(config: Config, frames: Mapping[str, pl.DataFrame] | None, rows: _Rows, progress: Recorder) -> None:
    """Read, name and clean every table; the good rows come out in the task's types."""
    for place in dataset.SPLITS:
        frame = _frame(config, frames, place, progress)
        if frame is None:
            continue
        reads = config.data.split.reads if place == "train" else ()
        table = map_fields(frame, config.data.fields, config.task, [*config.data.keep, *config.slices, *reads])
        if table.frame.is_empty():
            raise DataError(f"The {place} data has no rows. Check what the source gives.")
        rows.origin |= table.origin
        rows.missing[place] = describe.missing(table.frame, list(table.origin))
        bad = table.frame.filter(pl.col("__error").is_not_null())
        rows.rejected += [
            {"file": row["__file"], "row": row["__row"], "reason": row["__error"], "values": {name: row[name] for name in table.origin}}
            for row in bad.iter_rows(named=True)
        ]
        progress("clean", split=place, rows=table.frame.height)
        good = table.frame.filter(pl.col("__error").is_null()).drop("__error")
        cleaned = config.task.clean(good)
        rows.rejected += cleaned.rejected
        rows.tables[place] = cleaned.frame


def _frame(config: Config, frames: Mapping[str, pl.DataFrame] | None, place: str, progress: Recorder) -> pl.DataFrame | pl.LazyFrame | None:
    """The rows that are given for a split, with their marks."""
    if frames is not None:
        unknown = sorted(set(frames) - set(dataset.SPLITS))
        if unknown or "train" not in frames:
            raise ConfigError(f"Frames are given as train, and if wanted validation and test; got {', '.join(frames) or 'none'}.")
        if place not in frames:
            return None
        frame = frames[place]
        return frame.drop("__file", "__row", "__error", strict=False).with_columns(
            pl.lit(f"{place} frame").alias("__file"),
            pl.int_range(1, pl.len() + 1, dtype=pl.Int64).alias("__row"),
            pl.lit(None, dtype=pl.String).alias("__error"),
        )
    source = {"train": config.data.source, "validation": config.data.validation, "test": config.data.test}[place]
    if source is None:
        if place == "train":
            raise ConfigError("The config names no data. Write `data: {source: FILE}`.")
        return None
    progress("read", split=place, source=source.name)
    return source.read()


def _divided(config: Config, tables: Mapping[str, pl.DataFrame]) -> tuple[dict[str, pl.DataFrame], set[str]]:
    """The rows of each split and of `unused`, and which splits were cut from the source's rows."""
    source = tables["train"]
    given = frozenset(tables) - {"train"}
    names = config.data.split.without(given).divide(source, config.task.columns)
    found = set(names.unique())
    twice = sorted(given & found)
    if twice:
        raise ConfigError(
            f"Rows for {twice[0]} are given twice: in data.{twice[0]} and by the split '{config.data.split.name}'. Leave one out."
        )
    extra = [name for name in config.data.split.reads if name not in {*config.data.keep, *config.slices, *_names(config)}]
    source = source.drop(extra, strict=False)
    splits = {name: source.filter(names == name) for name in (*dataset.SPLITS, "unused")}
    splits |= {name: tables[name] for name in given}
    return splits, found & {"validation", "test"}


def _names(config: Config) -> set[str]:
    return {column.name for column in config.task.columns}


def _known(config: Config, splits: dict[str, pl.DataFrame], rejected: list[dict[str, Any]]) -> dict[str, pl.DataFrame]:
    """The splits without the rows that ask for a label which no training row has: no model could answer it."""
    listed = getattr(config.task, "labels", None) or []
    for column in config.task.columns:
        train = splits["train"]
        if column.role != "target" or not column.required or column.type not in _LABELLED or column.name not in train.columns:
            continue
        known = {*describe.labels(train, column.name)["label"].unique(), *listed}
        for name in ("validation", "test"):
            splits[name] = _without_strangers(splits[name], name, column, known, rejected)
    return splits


def _without_strangers(frame: pl.DataFrame, split: str, column: Column, known: set[str], rejected: list[dict[str, Any]]) -> pl.DataFrame:
    if frame.is_empty() or column.name not in frame.columns:
        return frame
    found = describe.labels(frame, column.name).filter(~pl.col("label").is_in(list(known))).unique(subset="row", keep="first")
    strangers = dict(found.select("row", "label").iter_rows())
    for place in sorted(strangers):
        row = frame.row(place, named=True)
        reason = f"the {column.name.removesuffix('s')} '{strangers[place]}' of this {split} row does not occur in the training rows"
        rejected.append({"file": row["__file"], "row": row["__row"], "reason": reason, "values": {column.name: row[column.name]}})
    return frame.with_row_index("__place").filter(~pl.col("__place").is_in(list(strangers))).drop("__place") if strangers else frame


def _filled(frame: pl.DataFrame, name: str, rejected: Sequence[Mapping[str, Any]]) -> None:
    """DataError where rows are needed and none is left."""
    if frame.is_empty():
        why = f": {plural(len(rejected), 'row was', 'rows were')} rejected, the first because {rejected[0]['reason']}" if rejected else ""
        raise DataError(f"No row is left for {name}{why}. Correct the rows, add some, or change the split.")


def _reasons(rejected: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How many rows were rejected for what, most frequent first, with one of them as an example."""
    counts = Counter(row["reason"] for row in rejected)
    first = {row["reason"]: row for row in reversed(rejected)}
    return [
        {"reason": reason, "rows": count, "file": str(first[reason].get("file", "")), "row": first[reason]["row"]}
        for reason, count in counts.most_common(20)
    ]


def _write(run: Artifact, splits: Mapping[str, pl.DataFrame], report: dict[str, Any]) -> None:
    dataset.write(run.folder, splits)
    write_json(run.folder / "report.json", report)
    write_text(run.folder / "report.html", render("prepare.html", report=report))


def _versions() -> dict[str, str]:
    return {"vertune": __version__, "python": platform.python_version(), **{name: metadata.version(name) for name in _PACKAGES}}
