"""prepare: reads the data that a config names, and writes a dataset: one file per split, the rejected rows, and a report."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import polars as pl

from vertune import __version__
from vertune.core.artifact import Artifact, Home, Progress, Recorder, recording
from vertune.core.config import Config, dump
from vertune.core.files import write_json, write_text
from vertune.data import chain, dataset, describe, tokens
from vertune.data.chain import ChainInputs, ChainLog, ChainResult
from vertune.reports import language, render

_PACKAGES = ("polars", "numpy", "tokenizers")
_REASONS = 20
"""Maximum number of reasons for rejection that the report lists."""


def prepare(
    config: Config,
    home: Home,
    progress: Progress | None = None,
    frames: Mapping[str, pl.DataFrame] | None = None,
    fingerprint: str | None = None,
) -> Artifact:
    """Read, clean, check and split labelled rows, and return them as a dataset.

    The rows come from the config's data sources, or from `frames`, whose keys are train, validation and test. Every row
    is in a split of the dataset, counted as unused (in no split), or written to rejected.jsonl with a reason.
    `fingerprint` is the hash of the files and options (`ChainInputs.fingerprint`). A caller that has this hash should
    pass it, because computing it reads all files.

    Raises NotFound or DataError if the rows can't be read, used or split, ConfigError if options of the config don't
    suit the data. After such an error, the run's folder contains the rows that were rejected up to then.
    """
    run = home.begin("datasets", config.name, step="prepare", config=dump(config), parents=[])
    with recording(home, run, progress) as recorder:
        inputs, log = ChainInputs.of(config), ChainLog(recorder)
        tables = chain.read(inputs, log) if frames is None else chain.mark(frames)
        # hashed before reading: if a file changes meanwhile, the next run prepares it again
        if frames is None and fingerprint is None:
            fingerprint = inputs.fingerprint()
        try:
            result = chain.run(inputs, tables, log)
        finally:
            dataset.write_rejected(run.folder, log.rejected)
            run.update(notes=[note.as_json() for note in log.notes])
        return finished(home, run, result, log, recorder, inputs_hash=fingerprint)


def finished(home: Home, run: Artifact, result: ChainResult, log: ChainLog, progress: Recorder, **entries: Any) -> Artifact:
    """Describe the rows of a dataset, write them with the report into the folder of the run, and return the finished dataset.

    `entries` are further ones of the manifest.
    """
    progress("describe")
    rows = _counts(result, log)
    report = _report(str(run.manifest["name"]), rows, result, log)
    _write(run, result, report, progress)
    return home.finish(
        run,
        data_hash=dataset.fingerprint(result.splits),
        rows=rows,
        read=log.read,
        added=result.added,
        cut=result.cut,
        validation_cut="validation" in result.cut,
        task=dump(result.task),
        encoder=dump(result.encoder),
        language=report["language"],
        unknown=report["unknown"]["share"] if report["language"] else None,
        versions=_versions(),
        **entries,
    )


def _counts(result: ChainResult, log: ChainLog) -> dict[str, int]:
    """Return the number of rows in each split, of unused rows (in no split), and of rejected rows."""
    return {**{name: result.splits[name].height for name in dataset.SPLITS}, "unused": result.unused, "rejected": len(log.rejected)}


def _report(name: str, rows: Mapping[str, int], result: ChainResult, log: ChainLog) -> dict[str, Any]:
    """Return the content of report.json: row counts, notes on changed rows, statistics of the splits, and warnings."""
    facts = {
        "name": name,
        "rows": dict(rows),
        "read": log.read,
        "added": result.added,
        "origin": log.origin,
        "examples": describe.examples(_of_training_table(result), result.task),
        "missing": log.missing,
        "rejected": _reasons(log.rejected),
        "notes": [{**note.as_json(), "sentence": note.sentence} for note in log.notes],
    }
    report = facts | describe.describe(result.splits, result.task, result.encoder, result.tokens)
    report["warnings"] = [*describe.warnings(report), *(note.sentence for note in log.changes)]
    return report


def _of_training_table(result: ChainResult) -> pl.DataFrame:
    """Return the rows of the splits that were read from the training table: without rows of other tables and of augmenters."""
    train = result.splits["train"]
    frames = [train.head(train.height - result.added), *(result.splits[name] for name in result.cut)]
    return pl.concat(frames, how="diagonal_relaxed")


def _reasons(rejected: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the most frequent reasons why rows were rejected, at most `_REASONS`.

    Each comes with the number of its rows, and with the file and the row number of its first row.
    """
    counts = Counter(row["reason"] for row in rejected)
    first = {row["reason"]: row for row in reversed(rejected)}
    return [
        {"reason": reason, "rows": count, "file": str(first[reason].get("file", "")), "row": first[reason]["row"]}
        for reason, count in counts.most_common(_REASONS)
    ]


def _write(run: Artifact, result: ChainResult, report: Mapping[str, Any], progress: Recorder) -> None:
    """Write the dataset into the folder of the run: the rows of each split, their token ids, and the report.

    For each warning in the report, one event is sent to `progress`.
    """
    dataset.write(run.folder, result.splits)
    tokens.write(run.folder, result.tokens)
    write_json(run.folder / "report.json", report)
    words = language.sentence(report["language"], report["unknown"]["share"])
    write_text(run.folder / "report.html", render("prepare.html", report=report, language=words))
    for message in report["warnings"]:
        progress("warning", message=message)


def _versions() -> dict[str, str]:
    """Return the versions of vertune, of Python, and of the packages that influence the content of a dataset."""
    return {"vertune": __version__, "python": platform.python_version(), **{name: metadata.version(name) for name in _PACKAGES}}
