"""Lets the models of a product that read a message share one backbone in one precision, so that one pass answers what is asked of both.

Knows nothing of HTTP, and of what an app does with answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from vertune.core.app import App, Labelled
from vertune.core.artifact import Artifact, Home, Progress
from vertune.core.errors import MissingExtra
from vertune.core.kinds import Task
from vertune.core.records import Record
from vertune.core.spellings import moved_value
from vertune.evaluation.gate import REFUSED, Candidate, Gate, GateOptions
from vertune.runtime import shared_store
from vertune.runtime.shared_store import PRECISIONS, VERTICALS, Precision, PrecisionVerdict
from vertune.steps.share import agreement, make_servable

_LEAST = 100
"""Fewest labelled messages with an intent that can tell what 8 bits cost."""
_EXACT, _SMALL = PRECISIONS
_WHERE = "on the labelled messages of the product"


@dataclass(frozen=True, slots=True)
class Known:
    """Labelled messages of a product."""

    new: Sequence[Labelled]
    """Those on which no model was trained."""
    trained: Sequence[Labelled]
    """Those on which the model was trained from whose labels the app learns."""


def prepare(kind: type[App], models: Mapping[str, str], known: Known, home: Home, progress: Progress | None = None) -> None:
    """Prepare models, given by slot, for serving, as a server does when it starts, and choose one precision for those that read a message.

    That is 8 bits unless one of them loses more than its tolerance on new messages. That the loss may be larger, as the gate asks where a
    model is compressed by itself, is no reason against it: thresholds are learnt afterwards, on what the models say in this precision, so
    what the app promises holds in any case. With few messages, it is 8 bits only if each model was accepted on its own validation rows.
    Without the packages that prepare models, nothing happens.
    """
    artifacts = {slot: home.get("models", id) for slot, id in models.items()}
    try:
        make_servable(list(artifacts.values()), home, progress)
    except MissingExtra:
        return
    read = {slot: artifacts[slot] for slot in (kind.learns_from, kind.vectors) if slot in artifacts}
    backbone = _common_backbone(home, list(read.values()))
    if backbone is None or not (backbone.folder / _SMALL).exists():
        return
    judged = _Judging(backbone, read, known).candidates(kind)
    verdicts = {slot: shared_store.read_verdict(backbone, model.id) for slot, model in read.items()}
    refused = [slot for slot, one in judged.items() if one.candidate.verdict == REFUSED]
    if not judged:
        refused = [slot for slot, one in verdicts.items() if one is not None and one.precision != _SMALL]
    precision: Precision = _EXACT if refused else _SMALL
    for slot, model in read.items():
        before, one = verdicts[slot], judged.get(slot)
        assert before is not None  # the backbone has all of these models
        found = before if one is None else PrecisionVerdict(precision, one.why, one.candidate.loss, one.same)
        if refused and slot not in refused:
            found = replace(found, why=f"one pass answers '{slot}' and '{refused[0]}', which is served in {_EXACT}")
        shared_store.write_verdict(backbone.folder / VERTICALS / model.id, replace(found, precision=precision), model)


def _common_backbone(home: Home, models: Sequence[Artifact]) -> Artifact | None:
    """Return the backbone on which a server serves each of some models; None if there is none."""
    for artifact in reversed(home.shelf("backbones")):
        present = [shared_store.read_verdict(artifact, model.id) is not None for model in models]
        if all(present) and models:
            return artifact
        if any(present):  # a server takes the newest one that has a model
            return None
    return None


@dataclass(frozen=True, slots=True)
class _Judged:
    """What 8 bits cost a model."""

    candidate: Candidate
    why: str
    same: float | None
    """The share of messages with the same answer."""


@dataclass(frozen=True, slots=True)
class _Judging:
    """Compares models in 8 bits with themselves in float32."""

    backbone: Artifact
    models: Mapping[str, Artifact]
    known: Known

    def candidates(self, kind: type[App]) -> dict[str, _Judged]:
        """Return, by slot, what 8 bits cost; nothing with few messages."""
        tasks = {slot: Task.model_validate(model.manifest["config"]["task"]) for slot, model in self.models.items()}
        labels = tasks[kind.learns_from].known_labels if kind.learns_from in tasks else ()
        inside = [one for one in self.known.new if one.intent in labels]
        if len(inside) < _LEAST:
            return {}
        exact, int8 = (shared_store.load_backbone(self.backbone, precision) for precision in PRECISIONS)
        found = {}
        for slot, model in self.models.items():
            records = _pairs(tasks[slot], inside, self.known.trained) if slot == kind.vectors else _labels(tasks[slot], inside)
            if records:
                before, after = (shared_store.attach_model(one, self.backbone, model).answer(records) for one in (exact, int8))
                tolerance = float(moved_value(model.manifest["config"], "compress.tolerance", 0.005))
                gate = Gate(tasks[slot], records, before, GateOptions(tolerance, where=_WHERE))
                candidate = gate.verdict(_SMALL, after)
                lost = f"it loses {gate.tolerance.format(candidate.loss)} {_WHERE}, and thresholds are learnt on what it says in {_SMALL}"
                why = candidate.why if candidate.verdict == REFUSED else lost
                found[slot] = _Judged(candidate, why, agreement(tasks[slot], before, after))
        return found


def _labels(task: Task, messages: Sequence[Labelled]) -> list[Record]:
    """Return messages with their intents, as the task reads them."""
    return [{task.input_columns[0].name: one.text, task.target_columns[0].name: one.intent} for one in messages]


def _pairs(task: Task, messages: Sequence[Labelled], trained: Sequence[Labelled]) -> list[Record]:
    """Return messages, each with a training message of its intent, which is to be found among those of all intents."""
    text, other = (column.name for column in task.input_columns)
    examples: dict[str, str] = {}
    for one in trained:
        examples.setdefault(one.intent or "", one.text)
    return [{text: one.text, other: examples[one.intent]} for one in messages if one.intent is not None and one.intent in examples]
