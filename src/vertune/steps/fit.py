"""fit: runs the steps prepare, train and evaluate in one call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vertune.core.artifact import Artifact, Home, Progress
from vertune.core.config import Config, is_same
from vertune.core.errors import ConfigError
from vertune.core.files import read_json
from vertune.data.chain import ChainInputs
from vertune.data.dataset import made_from
from vertune.learning import team
from vertune.reports.verdict import beaten_by
from vertune.reports.words import baseline_name, format_difference, metric
from vertune.steps.evaluate import evaluate
from vertune.steps.prepare import prepare
from vertune.steps.train import train

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class Fitted:
    """The dataset, the model and the report that `fit` makes."""

    dataset: Artifact
    model: Artifact
    report: Artifact
    worse_than: str | None = None
    """Name of the best simple baseline if the model is worse than it, and this was not accepted; None otherwise."""

    @property
    def warning(self) -> str:
        """Three sentences for the user if the model is worse than a simple baseline; empty otherwise."""
        if self.worse_than is None:
            return ""
        measured = read_json(self.report.folder / "metrics.json")
        goal, name = metric(measured["goal"]), self.model.manifest["name"]
        difference = format_difference(measured["differences"][self.worse_than][goal.name], goal)
        return (
            f"The model {self.model.id} is worse than {baseline_name(self.worse_than)}: the difference in {goal.title} is {difference}. "
            f"It was stored, but {name}@live was not pointed to it. Use the baseline, or add labelled rows and train again; to use the "
            f"model nevertheless: vertune alias {name}@live {self.model.id}"
        )


def fit(
    config: Config,
    home: Home,
    progress: Progress | None = None,
    frames: Mapping[str, pl.DataFrame] | None = None,
    accept: bool = False,
) -> Fitted:
    """Prepare a dataset, train a model on it, and evaluate the model on the test split.

    If there is no test split, the model is evaluated on the validation split. If the alias `NAME@live` does not exist
    yet (NAME is the name in the config), it is created and points to the new model; this alias selects the model to
    serve. It is not created for a model that is worse than the best simple baseline, which is so if the paired 95 %
    interval of the difference in the main metric excludes 0; with `accept`, it is created for this model too.
    """
    if team.size() > 1:
        raise ConfigError(
            f"`fit` was started in {team.size()} processes, but it works only in one process. "
            "Train with: accelerate launch -m vertune train run.yaml, then run vertune evaluate."
        )
    dataset = prepare(config, home, progress, frames) if frames else prepared(config, home, progress)
    model = train(config, dataset, home, progress)
    report = evaluate(model, home, measured_on(dataset), progress)
    return Fitted(dataset, model, report, go_live(home, model, report, accept))


def go_live(home: Home, model: Artifact, report: Artifact, accept: bool) -> str | None:
    """Let the alias NAME@live point to a model if it does not exist yet, and if the model is not worse than a simple baseline.

    Return the baseline that is better; None if none is, or if `accept` is true.
    """
    worse_than = None if accept else beaten_by(read_json(report.folder / "metrics.json"))
    alias = f"{model.manifest['name']}@live"
    if worse_than is None and alias not in home.aliases():
        home.alias(alias, model.id)
    return worse_than


def measured_on(dataset: Artifact) -> str:
    """Return the name of the split on which a model of this dataset is measured.

    This is `test`, or `validation` if there are no test rows.
    """
    return "test" if dataset.manifest["rows"].get("test") else "validation"


def prepared(config: Config, home: Home, progress: Progress | None = None, resume: bool = False) -> Artifact:
    """Return an earlier dataset that was made from the same files with the same options, or prepare a new one.

    With `resume`, the dataset of the newest unfinished training of this config is returned, so that this training
    continues on the same rows. In distributed training, only the leading process prepares the dataset; the other
    processes wait, and then open this dataset.
    """
    if not team.is_leader():
        return home.get("datasets", team.broadcast_text())
    dataset = _find_or_prepare(config, home, progress, resume)
    team.broadcast_text(dataset.id)
    return dataset


def _find_or_prepare(config: Config, home: Home, progress: Progress | None, resume: bool) -> Artifact:
    """Find an existing dataset or prepare a new one, as `prepared` describes; only the leading process may call this."""
    for run in reversed(home.runs()) if resume else ():
        manifest = run.manifest_or_empty
        if manifest.get("step") == "train" and is_same(manifest.get("asked"), config):
            return home.get("datasets", manifest["parents"][0])
    fingerprint = ChainInputs.of(config).fingerprint()
    earlier = made_from(home, config.name, fingerprint) if fingerprint else None
    return earlier or prepare(config, home, progress, fingerprint=fingerprint)
