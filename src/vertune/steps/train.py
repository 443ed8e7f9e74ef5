"""train: trains a model on a prepared dataset.

The folder of an unfinished training contains its checkpoint, so that a killed training can be resumed. It then ends
with the same weights as an uninterrupted training.
"""

from __future__ import annotations

import importlib.util
import platform
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vertune import __version__
from vertune.core.artifact import Artifact, Home, Progress, Recorder, owner_entries, recording
from vertune.core.columns import only
from vertune.core.config import Config, dump, is_same
from vertune.core.errors import ConfigError, Conflict, DataError, MissingExtra, ModelError, NotFound
from vertune.core.files import storage_errors, write_text
from vertune.core.kinds import Encoder, Task
from vertune.data import tokens
from vertune.data.chain import fields_of, sample_texts
from vertune.data.dataset import ROUND, TRUST, read
from vertune.lexical.companion import FILE as COMPANION

if TYPE_CHECKING:
    import polars as pl

    from vertune.learning.continual import Continuation, LiveModel
    from vertune.learning.training_data import TrainingData, TrainingOutcome

_PROBE_ROWS = 32
_TOLERANCE = 1e-4
_KILLED = (
    "The earlier run ended without a message, as if the system had killed it. If memory ran out, set device.memory (in GB) or "
    "device.tokens to less."
)
_PACKAGES = ("torch", "transformers", "peft", "accelerate", "tokenizers", "numpy", "polars")


@dataclass(frozen=True, slots=True)
class Start:
    """An earlier model from whose weights a training goes on, and how."""

    live: LiveModel
    how: Continuation


def train(
    config: Config,
    dataset: Artifact,
    home: Home,
    progress: Progress | None = None,
    resume: bool = False,
    start: Start | None = None,
) -> Artifact:
    """Train the model that a config describes on a prepared dataset, and return it as an artifact (a folder).

    With `resume`, the newest unfinished training with the same config and dataset is continued from its checkpoint.
    With `start`, training goes on from the weights of an earlier model; the dataset says which of its rows are new.
    Raises ConfigError for a combination of options that can't work, ModelError if the model has other outputs after it
    is saved and loaded again.
    """
    from vertune.learning import clock

    started = clock.now()
    for package in ("torch", "transformers", "accelerate"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtra("Training", "train", package)
    from vertune.learning import continual, memory, session, team
    from vertune.learning.threads import use_threads
    from vertune.learning.trackers import tracking
    from vertune.learning.training_data import TrainingFolders

    if start is not None and team.size() > 1:
        raise ConfigError(f"Training from an earlier model works in one process, but there are {team.size()}. Start it in one process.")
    if not team.is_leader():
        return _follow(config, dataset, home, started)
    run = _unfinished(home, config, dataset, None if start is None else start.live.id) if resume else None
    if run is None:
        about = {} if start is None else {"continues": start.live.id}
        run = home.begin("models", config.name, step="train", asked=dump(config), parents=[dataset.id], **about)
    was_killed = resume and run.manifest.get("status") == "running"
    # the number of threads changes the rounding of sums, so a resumed training uses as many as it started with
    threads = use_threads(run.manifest.get("threads") or config.device.threads)
    config = config.model_copy(update={"device": config.device.model_copy(update={"threads": threads})})
    with home.locked():
        run.update(error=None, threads=threads, **owner_entries())
    team.broadcast_text(run.id)
    with recording(home, run, progress) as recorder:
        resolved, data = _training_data(config, dataset)
        if was_killed:
            recorder("warning", message=_KILLED)
        # `tracking` ends before `finish` hashes the files of the run
        with memory.told("Training", config), tracking(config, run.folder, home.folder, recorder) as report:
            folders = TrainingFolders(run.folder, home.folder / "cache" / "trunk", started)
            if start is None:
                result = session.train(resolved, data, folders, report)
            else:
                result = continual.train(resolved, data, start.live, start.how, (folders, report))
        _save(run, result, recorder)
        entries = _entries(run, result, dataset) | {"columns": list(data.columns)}
        _verify(run, entries, result, data)
        write_text(run.folder / "README.md", _card({**run.manifest, **entries}, dataset))
        session.remove_checkpoints(run.folder)
        model = home.finish(run, **entries)
    team.barrier()
    return model


def _follow(config: Config, dataset: Artifact, home: Home, started: float) -> Artifact:
    """Take part in a distributed training as one of the processes that are not the leader.

    Only the leader writes files; this function returns the model that the leader wrote.
    """
    from vertune.learning import session, team
    from vertune.learning.threads import use_threads
    from vertune.learning.training_data import TrainingFolders

    run = Artifact(home.folder / "runs" / team.broadcast_text())
    config = config.model_copy(update={"device": config.device.model_copy(update={"threads": use_threads(run.manifest["threads"])})})
    resolved, data = _training_data(config, dataset)
    folders = TrainingFolders(run.folder, home.folder / "cache" / "trunk", started)
    session.train(resolved, data, folders, lambda kind, **fields: None)
    team.barrier()
    return home.get("models", run.id)


def _unfinished(home: Home, config: Config, dataset: Artifact, continues: str | None) -> Artifact:
    """Return the newest unfinished training with this config and dataset, from the weights of the model `continues` if there is one.

    Raises Conflict if another process is working on it, NotFound if there is none.
    """
    for run in reversed(home.runs()):
        manifest = run.manifest_or_empty
        wanted = manifest.get("step") == "train" and manifest.get("continues") == continues and manifest.get("parents") == [dataset.id]
        if wanted and is_same(manifest.get("asked"), config):
            if run.in_use:
                raise Conflict(f"{run.id} is being trained by process {manifest['pid']}. Wait until it ends, or stop it.")
            return run
    raise NotFound(
        f"There is no unfinished training of '{config.name}' with this config on dataset {dataset.id}. Start it without --resume."
    )


def _training_data(config: Config, dataset: Artifact) -> tuple[Config, TrainingData]:
    """Read a dataset for training.

    Returns a copy of the config, in which the task and the encoder are fitted to the training rows (for example, the
    task has the list of labels), and the training and validation records. Raises DataError if there are fewer than 2
    training rows.
    """
    from vertune.learning.training_data import TrainingData

    frame = read(dataset, "train")
    manifest = dataset.manifest
    if frame.height < 2:
        raise DataError(f"The dataset {dataset.id} has {frame.height} training rows, but training needs at least 2. Add rows.")
    validation = read(dataset, "validation") if manifest["rows"].get("validation") else frame.clear()
    present, used = fields_of(frame, config.task)
    records = only(frame, present).to_dicts()
    learnt = _learnt_in_prepare(config, manifest)
    task = learnt[0] if learnt else config.task.fit(frame)
    views = task.views(used)
    encoder = learnt[1] if learnt else config.encoder.choose_base(sample_texts(frame, task), views).resolve(records, views)
    held_out = only(validation, present).to_dicts()
    return config.model_copy(update={"task": task, "encoder": encoder}), TrainingData(
        records, held_out, used, bool(manifest.get("validation_cut")),
        train_tokens=tokens.load(dataset, "train", encoder), validation_tokens=tokens.load(dataset, "validation", encoder),
        trust=frame[TRUST].to_numpy().astype(np.float64) if TRUST in frame.columns else None,
        fresh=_fresh(frame, validation, manifest.get("round", 0)),
    )  # fmt: skip


def _fresh(train: pl.DataFrame, validation: pl.DataFrame, newest: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
    """Return which training and validation rows the last retraining added; None for a dataset that no retraining made."""
    if ROUND not in train.columns:
        return None
    first, second = ((frame[ROUND] == newest).to_numpy() for frame in (train, validation))
    return first, second


def _learnt_in_prepare(config: Config, manifest: dict[str, Any]) -> tuple[Task, Encoder] | None:
    """Return the task and the encoder that the step `prepare` fitted to the training rows and stored with the dataset.

    Returns None if an older version of vertune made the dataset, or if the config has another task or encoder.
    """
    if "task" not in manifest or "encoder" not in manifest:
        return None
    asked = manifest["config"]
    if asked["task"] != dump(config.task) or asked["encoder"] != dump(config.encoder):
        return None
    return Task.model_validate(manifest["task"]), Encoder.model_validate(manifest["encoder"])


def _save(run: Artifact, result: TrainingOutcome, progress: Recorder) -> None:
    """Write what training changed into the run's folder: changed weights of the pretrained model, and added ones.

    These weights are called the delta. The other weights are not saved, because they are in the pretrained model.
    """
    from vertune.nn import delta

    method = result.config.method
    assert method != "auto"
    edits = method.edits(result.model)
    delta.save(run.folder, edits)
    if result.companion is not None:
        with storage_errors(run.folder):
            result.companion.save(run.folder / COMPANION)
    progress("saved", edits=len(edits), bytes=(run.folder / "delta.safetensors").stat().st_size)


def _entries(run: Artifact, result: TrainingOutcome, dataset: Artifact) -> dict[str, Any]:
    """Return the manifest entries that describe the trained model."""
    return {
        "config": dump(result.config),
        "fingerprint": result.config.encoder.fingerprint(),
        "data_hash": dataset.manifest.get("data_hash"),
        "metrics": {"validation": result.metrics},
        "intervals": {"validation": result.intervals},
        "chosen": result.chosen,
        "trained": result.trained,
        "seed": result.config.seed,
        "threads": result.threads,
        "tokens": result.config.device.tokens,
        "bytes": sum(file.stat().st_size for file in run.folder.glob("*.safetensors")),
        "versions": {"vertune": __version__, "python": platform.python_version()}
        | {name: metadata.version(name) for name in _PACKAGES if importlib.util.find_spec(name)},
    }


def _verify(run: Artifact, entries: dict[str, Any], result: TrainingOutcome, data: TrainingData) -> None:
    """Load the saved model, and compare its outputs with those of the trained model on a few training records.

    Raises ModelError if the outputs differ.
    """
    from vertune.nn.run import outputs
    from vertune.runtime.predictor import Predictor

    config = result.config
    records = data.train[:_PROBE_ROWS]
    known = data.train_tokens.take(np.arange(len(records))) if data.train_tokens is not None else None
    features = config.encoder.encode(records, config.task.views(data.columns), known)
    expected = outputs(result.model, config.encoder, features, config.device.tokens)
    run.update(**entries)
    loaded = Predictor.open(run).outputs(features)
    worst = max(float((np.abs(a - b) / (1 + np.abs(a))).max()) for a, b in zip(expected, loaded, strict=True))
    if not worst <= _TOLERANCE:
        raise ModelError(
            f"The outputs of the saved model differ from those of the trained model by {worst:g}, but at most {_TOLERANCE:g} is allowed. "
            "The training method changed weights that were not saved. Report this as a bug, with the config."
        )


def _card(manifest: dict[str, Any], dataset: Artifact) -> str:
    """Return the model card, a description of the model in Markdown; `manifest` is that of the model."""
    from vertune.reports.card import card

    return card(manifest, dataset.manifest)
