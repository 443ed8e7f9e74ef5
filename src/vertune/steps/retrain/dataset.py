"""Makes the dataset of a retraining: reads new rows, lets the guard judge them, and puts the others together with the old ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from vertune import __version__
from vertune.core import content
from vertune.core.artifact import Artifact, Home, Progress, recording
from vertune.core.columns import only
from vertune.core.config import Config, dump
from vertune.core.errors import DataError, NotFound
from vertune.core.files import write_text
from vertune.core.kinds import Encoder, Source, Task, Tokens
from vertune.core.parse import build
from vertune.core.records import Answer, Note, Record
from vertune.data import chain, dataset, tokens
from vertune.data.chain import ChainInputs, ChainLog, ChainResult
from vertune.data.dataset import GOLD, MARKS, ROUND, SPLITS, TRUST, of_model
from vertune.evaluation.rows import text_of
from vertune.reports.scales import plural
from vertune.runtime.predictor import Predictor
from vertune.steps import prepare
from vertune.steps.retrain import guard, reading, targets
from vertune.steps.retrain.assembly import Assembled, Held, Old, assemble
from vertune.steps.retrain.guard import Background, Limits
from vertune.steps.retrain.reading import AT, AUTHOR, KEY, REVIEWED

HELD = "held.jsonl"
"""The file of a dataset with the rows that were held back for review."""
How = Literal["auto", "warm", "scratch"]
_NAMED = 20
"""Largest number of labels that a warning names."""
_WITNESSES = 2000
"""Largest number of rows on which it is measured how far the live model is to be believed."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a retraining learns, and how."""

    on: Sequence[Source]
    """Where the new rows come from."""
    how: How = "auto"
    """Whether training goes on from the live model (`warm`) or begins with the pretrained one (`scratch`)."""
    retired: Mapping[str, str] = field(default_factory=dict)
    """For each label that is no longer used, the label that takes its place."""
    limits: Limits = field(default_factory=Limits)
    """From when on rows are held back."""


@dataclass(frozen=True, slots=True)
class Lineage:
    """The live model, and what it was made from."""

    live: Artifact
    trained: Artifact
    """The model that training made: the live one, or the one that it was compressed from."""
    dataset: Artifact
    config: Config
    """The config as it was asked for."""

    @classmethod
    def of(cls, live: Artifact, home: Home) -> Lineage:
        """Find what a model was made from; raise NotFound if its dataset is not in the home."""
        line = [live]  # a compressed model has the model that it was made of, and the dataset of both, as parents
        while parent := next((one for one in (home.find("models", parent) for parent in line[-1].parents) if one is not None), None):
            line.append(parent)
        for trained in reversed(line):
            if (found := of_model(trained.manifest, home)) is not None:
                return cls(live, trained, found, asked_config(trained))
        raise NotFound(
            f"The dataset that {live.id} was trained on is not in {home.folder}, but retraining needs its rows. "
            "Restore it from a backup, or train a new model on all rows: vertune fit run.yaml"
        )


def asked_config(model: Artifact) -> Config:
    """Return the config as it was asked for when a model was trained; that of the result for a model whose training is not in the home."""
    manifest = model.manifest
    trained = manifest.get("step") != "compress"
    return build(Config, (manifest.get("asked") if trained else None) or manifest["config"])


def make(lineage: Lineage, home: Home, request: Request, progress: Progress | None = None) -> Artifact:
    """Return the dataset of a retraining: one that was made before from the same rows, or a new one.

    Raises DataError if there is nothing new to learn; the rows that were held back are then listed in the folder of the run.
    """
    config, old = lineage.config, lineage.dataset
    log, rows = ChainLog(progress or _quiet), _old(old)
    further = [name for name in rows.splits["train"].columns if not name.startswith("__")]
    new = reading.read(request.on, config, further, log)
    key = _key(lineage, request, new)
    if earlier := dataset.made_from(home, config.name, key):
        return earlier
    run = home.begin("datasets", config.name, step="retrain", config=dump(config), parents=[old.id], live=lineage.live.id)
    with recording(home, run, progress) as recorder:
        log.progress = recorder
        new, rows = _renamed(config.task, new, rows, request.retired, log)
        new = _without_unlisted(config.task, new, log)
        number = int(old.manifest.get("round", 0)) + 1
        suspects = _suspects(lineage, new, rows, request, recorder)
        found = assemble(config.task, rows, new, suspects, number)
        _list(run, found.held)
        for note in found.notes:
            log.note(note)
        run.update(notes=[note.as_json() for note in log.notes], assembled=found.counts)
        dataset.write_rejected(run.folder, log.rejected)
        _require_something(found, run, log, new.height)
        dataset.write(run.folder, {GOLD: found.gold})
        result = _result(lineage, found, rows.splits["train"].height, log)
        return prepare.finished(
            home, run, result, log, recorder, inputs_hash=key, round=number, shares=list(rows.shares), held=len(found.held),
            assembled=found.counts, retired=dict(request.retired), gold={"rows": found.gold.height, "hash": _gold_hash(found.gold)},
        )  # fmt: skip


def _quiet(kind: str, **fields: object) -> None:
    """Take an event, and do nothing."""


def _old(found: Artifact) -> Old:
    """Return the rows of the old dataset; its test rows are the gold rows unless it has gold rows already."""
    train = dataset.read(found, "train")
    others = {name: dataset.find(found, name) for name in SPLITS if name != "train"}
    splits = {"train": train} | {name: train.clear() if frame is None else frame for name, frame in others.items()}
    manifest, gold = found.manifest, dataset.find(found, GOLD)
    if "shares" in manifest:
        validation, test = manifest["shares"]
    else:
        own = splits["train"].height - int(manifest.get("added") or 0)
        total = max(1, own + splits["validation"].height + splits["test"].height)
        validation, test = splits["validation"].height / total, splits["test"].height / total
    return Old(splits, splits["test"] if gold is None else gold, (validation, test))


def _gold_hash(gold: pl.DataFrame) -> str:
    return content.of_table(gold, [name for name in gold.columns if name not in (*MARKS, ROUND, TRUST)])


def _key(lineage: Lineage, request: Request, new: pl.DataFrame) -> str:
    """Return a hash of everything that decides the dataset."""
    rows = content.of_table(new, sorted(new.columns))
    read = [__version__, lineage.live.id, lineage.dataset.id, dict(request.retired), repr(request.limits), rows]
    return hashlib.sha256(json.dumps(read).encode()).hexdigest()


def _renamed(
    task: Task, new: pl.DataFrame, old: Old, labels: Mapping[str, str], log: ChainLog
) -> tuple[pl.DataFrame, Old]:  # fmt: skip
    """Replace retired labels in all rows, and note how many rows this changed."""
    if not labels:
        return new, old
    what = f"rows had a retired label, which was replaced ({', '.join(f'{one} by {other}' for one, other in labels.items())})"

    def replaced(where: str, frame: pl.DataFrame) -> pl.DataFrame:
        found, changed = targets.renamed(task, frame, labels)
        if changed.any():
            log.note(Note(f"retrain {where}", what, int(changed.sum()), frame.height))
        return found

    present = {label for frame in (new, old.gold, *old.splits.values()) for found in targets.labels_of(task, frame) for label in found}
    for label in sorted(labels.keys() - present):
        what_is = f"No row has the label '{label}', which was to be replaced; rows have: {', '.join(sorted(present)[:_NAMED])}."
        log.progress("warning", message=what_is)
    splits = {name: replaced(name, frame) for name, frame in old.splits.items()}
    return replaced("new", new), Old(splits, replaced(GOLD, old.gold), old.shares)


def _without_unlisted(task: Task, new: pl.DataFrame, log: ChainLog) -> pl.DataFrame:
    """Reject new rows with labels that the config does not list, if it lists the labels."""
    listed = set(task.known_labels)
    if not listed:
        return new
    unlisted = [row for row, found in enumerate(targets.labels_of(task, new)) if set(found) - listed]
    if not unlisted:
        return new
    rejected = [
        {"file": row["__file"], "row": row["__row"], "reason": "its label is not one of those that the config lists",
         "values": {name: row[name] for name in targets.target_names(task, new)}}
        for row in new[unlisted].iter_rows(named=True)
    ]  # fmt: skip
    log.reject("retrain", rejected, new.height)
    return new.filter(~pl.Series(np.isin(np.arange(new.height), unlisted)))


def _suspects(lineage: Lineage, new: pl.DataFrame, old: Old, request: Request, progress: Progress) -> dict[int, tuple[str, str]]:
    """Return the new rows to hold back, each with the check that found it and the reason; what is strange in reviewed rows is a warning."""
    if new[REVIEWED].all() or not lineage.config.task.names_labels:
        return {}
    progress("guarding", rows=new.height)
    predictor = Predictor.open(lineage.trained, many=True)
    rows, background = _rows(predictor, new, request.retired), _background(predictor, lineage, old)
    found = guard.guard(rows, background, request.limits)
    for suspicion in found.suspicions:
        reviewed = int(rows.reviewed[suspicion.rows].sum())
        if reviewed:
            progress("warning", message=f"{plural(reviewed, 'reviewed row')} should be looked at: {suspicion.what}.")
    return {row: (suspicion.check, suspicion.what) for row, suspicion in found.held(rows).items()}


def _rows(predictor: Predictor, new: pl.DataFrame, retired: Mapping[str, str]) -> guard.Rows:
    """Return the new rows as the guard sees them, with what the live model answers."""
    task = predictor.task
    records, answers, confidence = _asked(predictor, new)
    said = [tuple(retired.get(label, label) for label in task.named(answer)) for answer in answers]
    labels = targets.labels_of(task, new)
    return guard.Rows(
        texts=[text_of(task, record) for record in records], labels=labels,
        senders={"author": new[AUTHOR].to_list(), "key": new[KEY].to_list()}, at=new[AT].to_list(), reviewed=new[REVIEWED].to_numpy(),
        said=said, agrees=np.array([sorted(one) == sorted(other) for one, other in zip(labels, said, strict=True)], bool),
        confidence=confidence,
    )  # fmt: skip


def _asked(predictor: Predictor, rows: pl.DataFrame) -> tuple[list[Record], list[Answer], NDArray[np.float64]]:
    """Return rows as records, what the model answers, and how sure it is, which is NaN where it does not say."""
    task = predictor.task
    records: list[Record] = list(only(rows, [column.name for column in task.columns if column.name in rows.columns]).to_dicts())
    answers = predictor.answer(records) if records else []
    sure = [task.confidence(answer) for answer in answers]
    return records, answers, np.array([np.nan if value is None else value for value in sure], np.float64)


def _background(predictor: Predictor, lineage: Lineage, old: Old) -> Background:
    """Return what the guard knows from before.

    How far the live model is to be believed is measured on validation rows; if it was trained on them too, on gold rows, of which nothing
    else is learnt.
    """
    task, train = predictor.task, old.splits["train"]
    labels = targets.labels_of(task, train)
    flat = [label for found in labels for label in found]
    names, counts = np.unique(np.array(flat, dtype=str), return_counts=True)
    held = (old.gold if lineage.trained.refitted else old.splits["validation"]).head(_WITNESSES)
    names_read = [column.name for column in task.columns if column.name in train.columns]
    records, answers, confidence = _asked(predictor, held)
    return Background(
        texts=[text_of(task, record) for record in only(train, names_read).iter_rows(named=True)],
        shares={str(name): int(count) / max(1, train.height) for name, count in zip(names, counts, strict=True)},
        right=np.array(targets.agreeing(task, records, answers), bool), confidence=confidence,
    )  # fmt: skip


def _list(run: Artifact, held: Sequence[Held]) -> None:
    """Write the rows that were held back, one JSON object per line; a source can read them again."""
    if held:
        lines = (json.dumps(one.as_json(), ensure_ascii=False, default=str) for one in held)
        write_text(run.folder / HELD, "".join(f"{line}\n" for line in lines))


def _require_something(found: Assembled, run: Artifact, log: ChainLog, rows: int) -> None:
    """Raise DataError if no new row is left to learn from."""
    if found.learnt:
        return
    reasons = ", ".join(f"{count:,} {outcome}" for outcome, count in found.counts.items())
    where = f" See {HELD} of the run {run.id}." if found.held else ""
    raise DataError(
        f"There is nothing new to learn: none of the {log.read:,} rows can be used ({reasons or f'{rows} left'}).{where} Review rows that "
        "were held back, or give others."
    )


def _result(lineage: Lineage, found: Assembled, before: int, log: ChainLog) -> ChainResult:
    """Return the rows with the task and the encoder for them; new training rows, which follow `before` old ones, are augmented as these."""
    old, config = lineage.dataset.manifest, lineage.config
    splits = dict(found.splits)
    inputs = ChainInputs.of(config)
    more = chain.augment(inputs, splits["train"][before:], log)[splits["train"].height - before :] if inputs.augment else None
    if more is not None and more.height:
        splits["train"] = pl.concat([splits["train"], more], how="diagonal_relaxed")
    known = Task.model_validate(old["task"]) if "task" in old else config.task
    task = config.task.resolve(splits["train"]).fit(splits["train"]) if known.names_labels or "task" not in old else known
    used = chain.fields_of(splits["train"], task)[1]
    encoder = Encoder.model_validate(old.get("encoder") or lineage.trained.manifest["config"]["encoder"])
    return ChainResult(
        splits, unused=0, added=0 if more is None else more.height, cut=list(old.get("cut") or ()), task=task, encoder=encoder,
        tokens=_tokens(lineage.dataset, encoder, task, splits, used),
    )  # fmt: skip


def _tokens(old: Artifact, encoder: Encoder, task: Task, splits: Mapping[str, pl.DataFrame], used: Sequence[str]) -> dict[str, Tokens]:
    """Return the tokens of training and validation rows; those of old rows, which come first, are read from the old dataset."""
    found: dict[str, Tokens] = {}
    for name in ("train", "validation"):
        frame = splits[name]
        known = tokens.load(old, name, encoder) if frame.height else None
        if known is None:
            found |= tokens.read(encoder, task, {name: frame}, used)
            continue
        more = tokens.read(encoder, task, {name: frame[len(known) :]}, used)
        found[name] = known.joined(more[name]) if name in more else known
    return found
