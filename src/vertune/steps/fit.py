"""fit: prepare, train and evaluate in one call; knows nothing of how any of the three works."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from vertune.core.artifact import Artifact, Home, Progress
from vertune.core.config import Config, dump
from vertune.core.errors import ConfigError
from vertune.learning import team
from vertune.steps.evaluate import evaluate
from vertune.steps.prepare import prepare
from vertune.steps.train import train

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class Fitted:
    """The three artifacts that `fit` makes."""

    dataset: Artifact
    model: Artifact
    report: Artifact


def fit(config: Config, home: Home, progress: Progress | None = None, frames: Mapping[str, pl.DataFrame] | None = None) -> Fitted:
    """Prepare, train, and evaluate on test (on validation where there is no test); `NAME@live` is set where there is none."""
    if team.size() > 1:
        raise ConfigError("fit works in one process. Train in several with: accelerate launch -m vertune train run.yaml, then evaluate.")
    dataset = prepare(config, home, progress, frames) if frames else prepared(config, home, progress)
    model = train(config, dataset, home, progress)
    report = evaluate(model, home, measured_on(dataset), progress)
    alias = f"{config.name}@live"
    if alias not in home.aliases():
        home.alias(alias, model.id)
    return Fitted(dataset, model, report)


def measured_on(dataset: Artifact) -> str:
    """The split that a model of this dataset is measured on: test, or validation where there is no test."""
    return "test" if dataset.manifest["rows"].get("test") else "validation"


def prepared(config: Config, home: Home, progress: Progress | None = None, resume: bool = False) -> Artifact:
    """The newest dataset of exactly this data, task and seed whose files have not changed since, else a new one.

    With `resume`, the dataset of the newest unfinished training of this config, so that it goes on with the same rows. Of
    several processes one prepares, and the others find what it made.
    """
    if not team.is_leader():
        team.barrier()
        return _found(config, home, progress, resume)
    dataset = _found(config, home, progress, resume)
    team.barrier()
    return dataset


def _found(config: Config, home: Home, progress: Progress | None, resume: bool) -> Artifact:
    wanted = dump(config)
    for run in reversed(home.runs()) if resume else ():
        if run.manifest_or_empty.get("asked") == wanted:
            return home.get("datasets", run.manifest_or_empty["parents"][0])
    for dataset in reversed(home.shelf("datasets")):
        manifest = dataset.manifest_or_empty  # a damaged dataset is none of this data
        made = manifest.get("config", {})
        if all(made.get(key) == wanted[key] for key in ("name", "seed", "data", "task", "encoder", "slices")) and _unchanged(
            config, manifest["created"]
        ):
            return dataset
    return prepare(config, home, progress)


def _unchanged(config: Config, since: str) -> bool:
    """Whether every source is made of files none of which was written, or put in its place, after this time."""
    moment = datetime.fromisoformat(since).timestamp()
    sources = [source for source in (config.data.source, config.data.validation, config.data.test) if source is not None]
    paths = [Path(path) for path in (getattr(source, "path", None) for source in sources) if isinstance(path, str)]
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*"))]
    return len(paths) == len(sources) and all(path.exists() for path in paths) and all(_touched(file) < moment for file in files)


def _touched(file: Path) -> float:
    """When a file last changed; moving an old file over it counts, and leaves its time of writing as it was."""
    return max(file.stat().st_mtime, file.stat().st_ctime)
