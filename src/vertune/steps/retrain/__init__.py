"""retrain: trains a candidate for a vertical on what was learnt since its live model was made, and lets the gate judge it.

Each stage makes an artifact: a dataset, a model, a smaller one if the live model is compressed, and a report of the gate. A stage whose
artifact exists is not repeated, so that a retraining that was interrupted goes on when it is started again. No alias is moved here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import polars as pl

from vertune.core.artifact import Artifact, Home, Progress
from vertune.core.errors import NotFound
from vertune.core.files import read_json
from vertune.core.kinds import Source
from vertune.data import dataset as stored
from vertune.data.dataset import GOLD, ROUND, of_model
from vertune.steps.gate import COMPRESSION_FAILED, FILE, Terms, gate
from vertune.steps.retrain import judging
from vertune.steps.retrain.compressing import compressed_candidate
from vertune.steps.retrain.dataset import HELD as HELD
from vertune.steps.retrain.dataset import Lineage as Lineage
from vertune.steps.retrain.dataset import Request as Request
from vertune.steps.retrain.dataset import make
from vertune.steps.retrain.training import measured, train_candidate


@dataclass(frozen=True, slots=True)
class Retrained:
    """What a retraining made."""

    live: Artifact
    dataset: Artifact
    model: Artifact
    """The candidate, compressed if the live model is."""
    report: Artifact

    @property
    def verdict(self) -> str:
        """The verdict of the gate: `pass`, `fail` or `unknown`."""
        return str(self.report.manifest["verdict"])

    @property
    def compression(self) -> str:
        """What became of the compression of the candidate, as a sentence; empty if the live model is not compressed."""
        manifest = self.model.manifest
        if manifest.get("step") == "compress":
            last = manifest["candidates"][-1]
            return f"{self.model.id} was made of {self.model.parents[0]} as {self.live.id} was: {last['verdict']}, {last['why']}."
        failed = manifest.get(COMPRESSION_FAILED)
        return f"{self.model.id} could not be compressed as {failed['live']} was. {failed['why']}" if failed else ""


def retrain(name: str, home: Home, request: Request, terms: Terms | None = None, progress: Progress | None = None) -> Retrained:
    """Assemble the next dataset of a vertical, train a candidate on it, and compare it with the live model.

    Raises NotFound if the vertical has no live model or its dataset is missing, DataError if there is nothing new to learn, and ConfigError
    if training can't be done as asked for.
    """
    live = home.get("models", f"{name}@live")
    lineage = Lineage.of(live, home)
    dataset = assemble(lineage, home, request, progress)
    trained = train_candidate(lineage, dataset, home, request.how, progress)
    model = compressed_candidate(lineage, trained, home, progress)
    if "forgetting" not in model.manifest:
        measured(lineage, dataset, model, progress)
    return Retrained(live, dataset, model, judge(model, live, dataset, home, terms=terms, progress=progress))


def assemble(lineage: Lineage, home: Home, request: Request, progress: Progress | None = None) -> Artifact:
    """Return the dataset of a retraining."""
    return make(lineage, home, request, progress)


def judge(
    model: Artifact, live: Artifact, dataset: Artifact, home: Home, terms: Terms | None = None, progress: Progress | None = None
) -> Artifact:  # fmt: skip
    """Return the report of the gate on a candidate: one that was made before within the same bounds, or a new one."""
    bounds, pair = asdict((terms or Terms()).bounds), [model.id, live.id]
    for report in reversed(home.shelf("reports")):
        of_pair = report.manifest_or_empty.get("step") == "gate" and list(report.parents) == pair
        if of_pair and read_json(report.folder / FILE).get("bounds", bounds) == bounds:
            return report
    return gate(model, live, home, sets(dataset), terms=terms, progress=progress)


def look_again(
    model: Artifact, home: Home, on: Sequence[Source], terms: Terms | None = None, progress: Progress | None = None
) -> Retrained:  # fmt: skip
    """Let the gate judge a candidate once more, with the labels that came since its dataset was made as further gold rows.

    Rows whose inputs are in the dataset do not count again, nor do those that nobody reviewed. Raises NotFound if the vertical has no live
    model or the dataset is missing, and DataError if there is no new label.
    """
    live, dataset = home.get("models", f"{model.manifest['name']}@live"), of_model(model.manifest, home)
    if dataset is None:
        raise NotFound(
            f"The dataset that {model.id} was trained on is not in {home.folder}, but its gold rows are needed. Restore it from a backup, "
            f"or train again: vertune retrain {model.manifest['name']}"
        )
    rows, later = sets(dataset), judging.labelled_since(model, dataset, on)
    rows[GOLD] = pl.concat([rows[GOLD], _plain(later)], how="diagonal_relaxed") if GOLD in rows else _plain(later)
    return Retrained(live, dataset, model, gate(model, live, home, rows, terms=terms, progress=progress))


def sets(dataset: Artifact) -> dict[str, pl.DataFrame]:
    """Return the rows by which a candidate is judged: `gold`, the `new` test rows, and those of each earlier retraining.

    If there are no gold rows, the old validation rows stand in for them.
    """
    newest = int(dataset.manifest["round"])
    test, gold = stored.find(dataset, "test"), stored.find(dataset, GOLD)
    if gold is None:
        held = stored.find(dataset, "validation")
        gold = held if held is None else held.filter(pl.col(ROUND) < newest)
    found = {} if gold is None else {GOLD: _plain(gold)}
    if test is None:
        return found
    parts = {"new": newest, **{f"round {number}": number for number in range(1, newest)}}
    rows = {name: _plain(test.filter(pl.col(ROUND) == number)) for name, number in parts.items()}
    return found | {name: frame for name, frame in rows.items() if frame.height}


def _plain(frame: pl.DataFrame) -> pl.DataFrame:
    """Return rows without the columns that vertune added."""
    return frame.drop([name for name in frame.columns if name.startswith("__")])
