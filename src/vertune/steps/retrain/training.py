"""Trains the candidate of a retraining, from the live model or from the pretrained one, and measures what it has forgotten."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from vertune.core.artifact import Artifact, Home, Progress
from vertune.core.config import Config, is_same
from vertune.core.errors import ConfigError
from vertune.core.files import write_text
from vertune.core.kinds import Method, Task
from vertune.data import dataset as stored
from vertune.data.dataset import ROUND
from vertune.evaluation.forgetting import forgetting
from vertune.evaluation.retired import renamed_answer
from vertune.reports.card import card
from vertune.runtime.predictor import DELTA, Predictor
from vertune.steps.retrain.dataset import How, Lineage
from vertune.steps.train import Start, train

if TYPE_CHECKING:
    from vertune.learning.continual import LiveModel

_SHARE = 1 / 3
"""Share of the time limit of a training from the pretrained model that training from the live model may take."""


def train_candidate(lineage: Lineage, dataset: Artifact, home: Home, how: How, progress: Progress | None = None) -> Artifact:
    """Return the candidate: one that was trained on this dataset before, or a new one.

    With `auto`, training goes on from the live model where it can be continued and where enough rows validate it; the pretrained model is
    trained instead if this forgets more than allowed, and is better. Raises ConfigError if `warm` is asked for and impossible.
    """
    if earlier := _earlier(home, dataset, how):
        return earlier
    reason = "it was asked for" if how == "scratch" else obstacle(lineage) or ("" if how == "warm" else doubt(lineage, dataset))
    if how == "warm" and reason:
        raise ConfigError(f"Training can't go on from {lineage.live.id}: {reason}. Train from the pretrained model: --how scratch")
    if reason:
        found = _trained(lineage, dataset, home, None, progress)
        found.update(chosen={**found.manifest["chosen"], "retrained": f"trained from the pretrained model, because {reason}"})
    else:
        found = _continued(lineage, dataset, home, how, progress)
    return found


def obstacle(lineage: Lineage) -> str:
    """Return why training can't go on from the live model, as the end of a sentence; empty if it can."""
    manifest = lineage.trained.manifest
    if not all((lineage.trained.folder / name).exists() for name in DELTA):
        return "the model that training made is not in the home, only what was made of it"
    method = Method.model_validate(manifest["config"]["method"])
    if not method.continues:
        return f"the method '{method.name}' can't continue a training"
    return ""


def doubt(lineage: Lineage, dataset: Artifact) -> str:
    """Return why a training from the pretrained model is better than going on, as the end of a sentence; empty if it is not."""
    from vertune.learning.session import FEW_ROWS

    manifest = lineage.trained.manifest
    method = Method.model_validate(manifest["config"]["method"])
    rows = dataset.manifest["rows"]
    if method.depth(1) > 1:
        return "only the head was trained, which is solved again on all rows within seconds"
    if lineage.trained.refitted or rows["train"] + rows["validation"] <= FEW_ROWS:
        return "there are so few rows that a training on all of them is fast, and its validation fairer"
    return ""


def _earlier(home: Home, dataset: Artifact, how: How) -> Artifact | None:
    """Return the candidate that was trained on this dataset in this way before, if it is finished."""
    for model in reversed(home.shelf("models")):
        manifest = model.manifest_or_empty
        continued = "continues" in manifest
        if list(model.parents) == [dataset.id] and "forgetting" in manifest and (how == "auto" or continued == (how == "warm")):
            return model
    return None


def _trained(lineage: Lineage, dataset: Artifact, home: Home, start: Start | None, progress: Progress | None) -> Artifact:
    """Train on a dataset, and return the model.

    What a process that was killed had finished is returned as it is, and a training that it had begun goes on from its checkpoint.
    """
    continues = None if start is None else start.live.id

    def is_this(manifest: Mapping[str, Any]) -> bool:
        same = manifest.get("parents") == [dataset.id] and manifest.get("continues") == continues
        return manifest.get("step") == "train" and same and is_same(manifest.get("asked"), lineage.config)

    for model in reversed(home.shelf("models")):
        if is_this(model.manifest_or_empty):
            return model
    resume = any(is_this(run.manifest_or_empty) and not run.in_use for run in home.runs())
    return train(lineage.config, dataset, home, progress, resume=resume, start=start)


def _continued(lineage: Lineage, dataset: Artifact, home: Home, how: How, progress: Progress | None) -> Artifact:
    """Train from the live model; if this forgets too much, train from the pretrained one too, and return the better model."""
    from vertune.learning.continual import Continuation, forgets

    limit = _seconds(lineage.config)
    warm = _trained(lineage, dataset, home, Start(live_model(lineage), Continuation(seconds=limit)), progress)
    chosen = warm.manifest["chosen"]
    best = next(way for way in chosen["ways"] if way["name"] == chosen["way"])
    sign = Task.model_validate(warm.manifest["config"]["task"]).goal_sign
    lost = 0.0 if best["old"] is None or chosen["live_on_old"] is None else sign * (chosen["live_on_old"] - best["old"])
    if how == "warm" or not forgets(lost, chosen["live_on_old"] or 1.0):
        return warm
    if progress:
        progress(
            "warning", message=f"Training from the live model lost {lost:.4f} on old rows, so the pretrained model is trained as well."
        )
    scratch = _trained(lineage, dataset, home, None, progress)
    scores = [_validated(model, dataset) for model in (warm, scratch)]
    better = sum(scores[1]) > sum(scores[0])
    why = (
        f"on old and new validation rows, it has {_listed(scores[0])} from the live model, and {_listed(scores[1])} from the pretrained one"
    )
    kept = scratch if better else warm
    kept.update(chosen={**kept.manifest["chosen"], "retrained": why})
    return kept


def _listed(scores: tuple[float, float]) -> str:
    return " and ".join(f"{score:.4f}" for score in scores)


def live_model(lineage: Lineage) -> LiveModel:
    """Return the live model as a training reads it."""
    from vertune.learning.continual import LiveModel
    from vertune.nn import delta

    lineage.trained.check_files(DELTA)
    config = lineage.trained.manifest["config"]
    method, task = Method.model_validate(config["method"]), Task.model_validate(config["task"])
    return LiveModel(lineage.trained.id, method, task, delta.load(lineage.trained.folder))


def _seconds(config: Config) -> float | None:
    """Return the seconds that training from the live model may take; None if there is no limit."""
    from vertune.learning.session import seconds_allowed

    limit = seconds_allowed(config)
    return None if limit is None else limit * _SHARE


def _validated(model: Artifact, dataset: Artifact) -> tuple[float, float]:
    """Return the main metric of a model on old and on new validation rows, greater is better; 0 where there are none."""
    predictor, frame = Predictor.open(model, many=True), stored.read(dataset, "validation")
    newest = dataset.manifest["round"]
    parts = [frame.filter(pl.col(ROUND) != newest).to_dicts(), frame.filter(pl.col(ROUND) == newest).to_dicts()]
    task = predictor.task
    old, new = (task.goal_sign * task.score(part, predictor.answer(part))[task.goal] if part else 0.0 for part in parts)
    return old, new


def measured(lineage: Lineage, dataset: Artifact, model: Artifact, progress: Progress | None) -> Artifact:
    """Write into the manifest of the candidate what it has forgotten, measured on test rows, or else on validation rows."""
    split, frame = "test", stored.find(dataset, "test")
    if frame is None:
        split, frame = "validation", stored.read(dataset, "validation")
    if progress:
        progress("answering", rows=frame.height)
    records = frame.to_dicts()
    before, after = (Predictor.open(one, many=True) for one in (lineage.live, model))
    retired = dataset.manifest.get("retired") or {}
    answers = [renamed_answer(before.task, answer, retired) for answer in before.answer(records)], after.answer(records)
    rounds = frame[ROUND].to_numpy()
    slices = {"first" if number == 0 else f"round {number}": np.flatnonzero(rounds == number) for number in np.unique(rounds).tolist()}
    found = forgetting(after.task, records, answers, slices)
    model.update(forgetting={"split": split, "live": lineage.live.id, **found})
    write_text(model.folder / "README.md", card(model.manifest, dataset.manifest))
    return model
