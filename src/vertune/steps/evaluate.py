"""evaluate: measures a model on labelled rows, and writes a report.

The report contains metrics with confidence intervals, comparisons with simple baselines, and metrics per group of rows.
Everything that its HTML page shows is also in metrics.json, so that the page can be rendered again without the model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vertune import __version__
from vertune.core import content
from vertune.core.artifact import Artifact, Home, Progress, Recorder, recording
from vertune.core.behaviour import Suite
from vertune.core.errors import ConfigError, DataError, NotFound, StorageError
from vertune.core.files import read_json, storage_errors, write_json, write_text
from vertune.core.kinds import Task
from vertune.core.records import Answer, Record
from vertune.data import describe
from vertune.data.chain import label_columns
from vertune.data.dataset import of_model, read
from vertune.data.fields import map_fields
from vertune.data.spellings import Spellings
from vertune.evaluation import mistakes, recorded
from vertune.evaluation import scores as measure
from vertune.evaluation.scores import Sample
from vertune.reports import evaluation, language
from vertune.reports.card import card
from vertune.reports.scales import format_value as percent
from vertune.reports.scales import plural
from vertune.runtime.predictor import Predictor
from vertune.steps import check

BASELINE_ROWS = 20_000
"""Maximum number of training rows that baselines are fitted on: more rows take minutes and change the metrics little."""

_LEAK_SHARE = 0.01
"""The report warns if at least this share of the measured rows has a text that is also in the training rows."""


@dataclass(slots=True)
class _Rows:
    """The rows that a model is measured on."""

    records: list[dict[str, Any]]
    split: str
    """Name of the split; `given` for rows that the caller passed."""
    rejected: list[dict[str, Any]] = field(default_factory=list)
    """`{"row", "reason"}` for each row that can't be measured."""
    notes: list[str] = field(default_factory=list)
    """Sentences for the report on how reliable its figures are."""


@dataclass(frozen=True, slots=True)
class _Subject:
    """A model and the rows to measure it on."""

    predictor: Predictor
    dataset: Artifact | None
    """The dataset that the model was trained on; None if it is not in this home folder."""
    rows: _Rows
    refitted: bool
    """Whether the final model was trained on the validation rows too."""


def evaluate(
    model: Artifact,
    home: Home,
    split: str = "test",
    progress: Progress | None = None,
    frame: pl.DataFrame | None = None,
    tests: Path | None = None,
) -> Artifact:
    """Measure a model on a split of its dataset, or on a frame of labelled rows, and return the report as an artifact (a folder).

    If there is no test split, the validation split is used instead, and the report says so. The behaviour tests in the file `tests`, or
    else those of the vertical in the home, are run too. Raises NotFound if the dataset is needed but was deleted, DataError if no row can
    be measured, ConfigError if the file `tests` is not valid.
    """
    manifest = model.manifest
    dataset = _dataset(manifest, home, needed=frame is None)
    suite = check.suite_of(str(manifest["name"]), home, tests)
    parents = [model.id, *([dataset.id] if dataset else [])]
    run = home.begin("reports", manifest["name"], step="evaluate", config=manifest["config"], parents=parents, split=split)
    with recording(home, run, progress) as recorder:
        predictor = Predictor.open(model, many=True)
        rows = _given(frame, predictor, dataset) if frame is not None else _of_split(dataset, split, model)
        rows.notes += _language(dataset, manifest)
        recorder("answering", rows=len(rows.records))
        answers = predictor.answer(rows.records)
        measured, units = _measured(_Subject(predictor, dataset, rows, model.refitted), answers, recorder)
        wrong = measured["details"].get("errors", [])
        if "errors" in measured["details"]:
            measured["details"] |= {"errors": wrong[: mistakes.LISTED], "error_count": len(wrong)}
        measured |= _behaviour(predictor, suite, measured["notes"], recorder)
        measured |= {"model": model.id, "dataset": dataset.id if dataset else None, "name": manifest["name"]}
        measured["training"] = _training(model, dataset, predictor.task)
        _write(run.folder, measured, rows, [predictor.task.brief(answer) for answer in answers], units)
        if wrong:
            write_text(run.folder / "errors.csv", "\ufeff" + mistakes.as_csv(wrong))  # the mark lets spreadsheets read UTF-8
        report = home.finish(
            run, metrics={rows.split: measured["metrics"]}, split=rows.split, rows={rows.split: len(rows.records)},
            seed=measured["seed"], data_hash=measured["rows_hash"], versions={"vertune": __version__},
        )  # fmt: skip
    if rows.split == "test":
        _add_to_card(model, dataset, report, measured)
    return report


def _behaviour(predictor: Predictor, suite: Suite | None, notes: list[str], recorder: Recorder) -> dict[str, Any]:
    """Run behaviour tests, if there are any, and return the entry `tests`; tests that can't be run on this model become a note."""
    if suite is None:
        return {}
    try:
        return {"tests": check.as_json(check.run_on(predictor, suite, recorder))}
    except (ConfigError, DataError) as error:
        notes.append(f"The behaviour tests could not be run. {error}")
        return {}


def _add_to_card(model: Artifact, dataset: Artifact | None, report: Artifact, measured: Mapping[str, Any]) -> None:
    """Write the figures that were measured on the test rows into the folder of the model, and into its card.

    A folder that can't be written, such as a model on a read-only disk, is left as it is.
    """
    with suppress(StorageError):
        entries = recorded.record(model, report.id, measured)
        write_text(model.folder / "README.md", card(model.manifest, dataset.manifest if dataset else None, entries))


def _dataset(manifest: Mapping[str, Any], home: Home, needed: bool) -> Artifact | None:
    """Return the dataset that the model with this manifest was trained on.

    If it is not in the home folder, return None or, if `needed` is true, raise NotFound.
    """
    found = of_model(manifest, home)
    if found is None and needed:
        raise NotFound(
            f"The dataset that {manifest['id']} was trained on is not in {home.folder}; the model was made from "
            f"{', '.join(manifest.get('parents', ())) or 'unnamed data'}. "
            f"Give labelled rows instead: vertune evaluate {manifest['id']} --data FILE"
        )
    return found


def _of_split(dataset: Artifact | None, split: str, model: Artifact) -> _Rows:
    """Return the rows of a split of the dataset; if there is no test split, return the validation rows instead.

    The result contains notes for the report, for example if the model was trained on these rows. Raises DataError if
    the split is empty.
    """
    assert dataset is not None
    notes, used = [], split
    try:
        frame = read(dataset, split)
    except NotFound:
        if split != "test":
            raise
        used, frame = "validation", read(dataset, "validation")
        notes.append(
            "There is no test split, so these figures are from the validation rows, which also chose the best checkpoint: on new rows the "
            "model will be less good. To measure that, provide test rows (data.test, or a split with a test part)."
        )
    if used == "validation" and model.refitted:
        notes.append("The final model was trained on the validation rows too: these figures say nothing about new rows.")
    if used == "train":
        notes.append("These are the rows that the model was trained on: the figures say nothing about new rows.")
    if not frame.height:
        raise DataError(
            f"The {used} split of the dataset {dataset.id} has no rows, so nothing can be measured. Prepare a dataset with test rows."
        )
    return _Rows(frame.to_dicts(), used, notes=[*notes, *_leaks(dataset, used), *_copies(dataset, used, frame.height)])


def _language(dataset: Artifact | None, manifest: Mapping[str, Any]) -> list[str]:
    """Return a note if the base of the model with this manifest does not know the language of the training texts."""
    trained = dataset.manifest if dataset else {}
    base = manifest["config"].get("encoder", {}).get("base", "")
    unknown = trained.get("unknown") if trained.get("encoder", {}).get("base", "") == base else None
    return list(filter(None, [language.warning(base, trained.get("language"), unknown)]))


def _copies(dataset: Artifact, split: str, rows: int) -> list[str]:
    """Return a warning, as a list of one text, if many rows of a split repeat the text and the answer of an earlier row.

    Many means at least the share that the step `prepare` warns of, as it counted them. Otherwise, the list is empty.
    """
    path = dataset.folder / "report.json"
    copies = read_json(path).get("duplicates", {}).get(split, 0) if path.exists() else 0
    if not copies or copies < describe.COPIES * rows:
        return []
    return [
        f"{plural(copies, 'row')} of the {plural(rows, 'row')} measured here repeat the text and the answer of another one, so the "
        "figures count these texts several times. Unless they are as frequent in practice, remove the copies with "
        "--set 'data.clean=[duplicates]'."
    ]


def _leaks(dataset: Artifact, split: str) -> list[str]:
    """Return a warning, as a list of one text, if many rows of a split have a text that is also in the training rows.

    Many means at least 1 % of the rows of the split, as the step `prepare` counted them. Otherwise, the list is empty.
    """
    path = dataset.folder / "report.json"
    found = read_json(path).get("leakage", []) if path.exists() else []
    return [
        f"{_too_kind(leak['rows'], leak['share'])} Remove them, or divide with split: group."
        for leak in found
        if leak["splits"] == ["train", split] and leak["share"] >= _LEAK_SHARE
    ]


def _learnt(frame: pl.DataFrame, dataset: Artifact | None, task: Task) -> list[str]:
    """Return a warning, as a list of one text, if many rows of `frame` have a text that is also in the training rows.

    Many means at least 1 % of the rows. Otherwise, or if the dataset with the training rows is missing, the list is
    empty.
    """
    if dataset is None:
        return []
    train = read(dataset, "train")
    names = [column.name for column in task.input_columns if column.name in frame.columns and column.name in train.columns]
    known = np.isin(content.of_inputs(frame, names), content.of_inputs(train, names))
    share = float(known.mean())
    return [f"{_too_kind(int(known.sum()), share)} Give rows that it has not seen."] if share >= _LEAK_SHARE else []


def _too_kind(rows: int, share: float) -> str:
    return (
        f"{plural(rows, 'row')} measured here ({percent(share, 'share')}) have a text that is also in the training rows, "
        "so these figures look better than they would on new rows."
    )


def _given(frame: pl.DataFrame, predictor: Predictor, dataset: Artifact | None) -> _Rows:
    """Return the rows of `frame` that can be measured; the others are listed as rejected, with the reasons.

    The columns of the frame are named like the columns of the training data, or like the task's fields. Raises
    DataError if no row can be measured.
    """
    config, task = predictor.config, predictor.task
    there = set(frame.columns)
    fields = {name: value for name, value in config.data.fields.items() if ({value} if isinstance(value, str) else {*value}) <= there}
    table = map_fields(frame, fields, task, keep=[name for name in config.evaluate.slices if name in frame.columns]).frame
    for cleaner in predictor.cleaners:
        table = cleaner.edit_inputs(table, task.columns)
    unread = table.filter(pl.col("__error").is_not_null()) if "__error" in table.columns else table.clear()
    cleaned = task.clean(table.filter(pl.col("__error").is_null()) if "__error" in table.columns else table)
    rejected = [{"row": row.get("__row"), "reason": row["__error"]} for row in unread.iter_rows(named=True)] + cleaned.rejected
    if not cleaned.frame.height:
        reasons = ", ".join(sorted({str(row["reason"]) for row in rejected})) or "there are none"
        raise DataError(f"None of the {frame.height} rows can be measured: {reasons}. Correct the rows, or give others.")
    if config.data.labels == "merge":
        for column in label_columns(task, cleaned.frame):
            cleaned.frame, merged = Spellings.of({}, task.known_labels).merge(cleaned.frame, column.name, "given")
            cleaned.notes += [merged] if merged is not None else []
    notes = [f"{len(rejected)} of {frame.height} rows could not be read and were left out; see rejected.jsonl."] if rejected else []
    return _Rows(
        cleaned.frame.to_dicts(),
        "given",
        rejected,
        [*notes, *(note.sentence for note in cleaned.notes), *_learnt(cleaned.frame, dataset, task)],
    )


def _measured(subject: _Subject, answers: Sequence[Answer], recorder: Recorder) -> tuple[dict[str, Any], NDArray[Any]]:
    """Return the content of metrics.json, and the counts from which the metrics are computed.

    The counts are an array with one row for all records with equal inputs (or per query, for retrieval).
    """
    rows, task, config = subject.rows, subject.predictor.task, subject.predictor.config
    sample = Sample(task, rows.records, config.seed)
    tally = task.tally(rows.records, answers)
    units = sample.units(tally)
    details = task.details(rows.records, answers)
    notes = [
        *rows.notes,
        *_unseen_labels(details),
        *(
            f"The rows have no column '{name}', so no metrics are shown per value of it."
            for name in config.evaluate.slices
            if name not in rows.records[0]
        ),
    ]
    baselines, used = _baselines(subject, recorder)
    if subject.dataset is None:
        notes.append("The model's dataset is not in this home folder, so there are no baselines to compare with.")
    recorder("scoring", units=len(units))
    if "errors" in details:
        details = {**details, "errors": mistakes.locate(details["errors"], rows.records)}
    further = {name: {"value": float(value), "low": None, "high": None} for name, value in details.items() if isinstance(value, float)}
    measured = {
        "task": task.name,
        "split": rows.split,
        "rows": len(rows.records),
        "units": len(units),
        "rejected": len(rows.rejected),
        "goal": task.goal,
        "lower_is_better": sorted(task.lower_is_better),
        "metrics": sample.metrics(answers, tally) | further,
        **measure.compare_with_baselines(sample, tally, baselines),
        "baseline_rows": used,
        "truncated": float(np.mean([bool(answer.get("truncated")) for answer in answers])),
        "slices": measure.slices(sample, tally, [name for name in config.evaluate.slices if name in rows.records[0]]),
        "details": {name: value for name, value in details.items() if name not in further},
        "notes": notes,
        "rounds": measure.ROUNDS,
        "seed": config.seed,
        "version": __version__,
        "rows_hash": hash_rows(task, rows.records),
    }
    return measured, units


def _unseen_labels(details: Mapping[str, Any]) -> list[str]:
    """Return a note on how many of the labels that the model knows occur in none of the rows, if there are any."""
    classes = details.get("per_class") or []
    unseen = sum(entry["support"] == 0 for entry in classes)
    if not unseen:
        return []
    return [
        f"{unseen} of {plural(len(classes), 'label')} occur in none of these rows. Metrics that average over labels, such as macro F1, "
        "leave them out, so they and their intervals say nothing about these labels."
    ]


def _baselines(subject: _Subject, recorder: Recorder) -> tuple[dict[str, list[Answer]], dict[str, int]]:
    """Return the predictions of each baseline, by its name, and the numbers of training rows.

    Baselines are fitted on the rows on which the final model was trained, or on a random sample of them. The second
    result contains the number of these rows (`of`) and of those that were used (`used`). A model without a trained
    output layer, such as an embedding model, is also compared with its pretrained model, under the name `base`.
    """
    untrained = {} if (plain := subject.predictor.untrained()) is None else {"base": plain.answer(subject.rows.records)}
    if subject.dataset is None:
        return untrained, {"used": 0, "of": 0}
    seed = subject.predictor.config.seed
    frame = read(subject.dataset, "train")
    try:
        held = read(subject.dataset, "validation")
    except NotFound:
        held = frame.clear()
    frame = pl.concat([frame, held], how="diagonal_relaxed") if subject.refitted else frame
    train = _sample(frame, seed)
    recorder("baselines", rows=train.height, of=frame.height)
    answers = subject.predictor.task.baselines(train.to_dicts(), _sample(held, seed).to_dicts(), subject.rows.records)
    return answers | untrained, {"used": train.height, "of": frame.height}


def _sample(frame: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Return a random sample of at most `BASELINE_ROWS` rows, in their original order."""
    if frame.height <= BASELINE_ROWS:
        return frame
    return frame[np.sort(np.random.default_rng(seed).choice(frame.height, BASELINE_ROWS, replace=False))]


def hash_rows(task: Task, records: Sequence[Record]) -> str:
    """Return the SHA-256, in hexadecimal, of the inputs and the expected answers of all records, in order.

    Two reports with the same hash measured the same rows.
    """
    names = [column.name for column in task.columns]
    digest = hashlib.sha256()
    for record in records:
        digest.update(_line({name: record.get(name) for name in names if name in record}).encode())
    return digest.hexdigest()


def _training(model: Artifact, dataset: Artifact | None, task: Task) -> dict[str, Any]:
    """Return what the report shows about the training: pretrained model, method, rows and learning curves."""
    manifest = model.manifest
    config = manifest["config"]
    method = config.get("method")
    return {
        "base": config.get("encoder", {}).get("base"),
        "method": method["name"] if isinstance(method, dict) else method,
        "step": manifest.get("step"),
        "chosen": manifest.get("chosen"),
        "trained": manifest.get("trained"),
        "rows": dataset.manifest.get("rows", {}).get("train") if dataset else None,
        "curves": measure.curves(model.events(), task.goal_sign),
    }


def _write(folder: Path, measured: dict[str, Any], rows: _Rows, answers: Sequence[Answer], tally: NDArray[Any]) -> None:
    """Write the files of a report into its folder.

    They contain the metrics, the HTML page, the predictions (shortened by `Task.brief`), the rejected rows, and the counts
    from which the metrics were computed (`tally`).
    """
    write_json(folder / "metrics.json", measured)
    write_text(folder / "report.html", evaluation.page(measured))
    pairs = zip(rows.records, answers, strict=True)
    _write_lines(folder / "answers.jsonl", ({"record": record, "answer": _rounded(answer)} for record, answer in pairs))
    if rows.rejected:
        _write_lines(folder / "rejected.jsonl", rows.rejected)
    with storage_errors(folder):
        names = [str(column) for column in range(tally.shape[1])]
        pl.DataFrame(np.ascontiguousarray(tally, np.float64), schema=names, orient="row").write_parquet(folder / "tally.parquet")


def _write_lines(path: Path, values: Iterable[Mapping[str, Any]]) -> None:
    """Write the values into a file as JSON lines: one JSON object per line."""
    with storage_errors(path), path.open("w", encoding="utf-8") as file:
        file.writelines(_line(value) + "\n" for value in values)


def _rounded(value: Any) -> Any:
    """Return a copy of a JSON value in which floats are rounded to 6 decimals.

    Further digits are noise, and would make up most of the file.
    """
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, 6) if isinstance(value, float) else value


def _line(value: Any) -> str:
    """Format a value as one line of JSON; arrays become lists, and other types that JSON lacks, such as dates, become strings."""
    return json.dumps(value, ensure_ascii=False, default=lambda other: other.tolist() if hasattr(other, "tolist") else str(other))
