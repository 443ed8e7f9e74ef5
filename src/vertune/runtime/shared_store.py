"""A shared backbone on disk, and what its folder holds of each vertical; knows nothing of training or HTTP.

base/                    tokenizer and settings
float32/, int8/          the stretches of the graph
verticals/MODEL/         what one model adds: rows of banks and head, its own layers, and how it may be served
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from vertune.core.artifact import Artifact
from vertune.core.banks import BankRows
from vertune.core.errors import StorageError
from vertune.core.files import read_json, write_json
from vertune.core.kinds import Encoder, Task
from vertune.core.records import Feature
from vertune.runtime.backbone import END, START, Backbone, Banks, Slot
from vertune.runtime.graph import GraphSegment
from vertune.runtime.predictor import BASE, Predictor, check_base, task_hash

Precision = Literal["float32", "int8"]
PRECISIONS: tuple[Precision, ...] = ("float32", "int8")
VERTICALS = "verticals"
_ROWS, _SAID, _HEAD = "rows.safetensors", "served.json", "head/"


@dataclass(frozen=True, slots=True)
class SharedEntry:
    """What one model adds to a backbone."""

    rows: BankRows
    head: dict[str, NDArray[Any]]
    begin: int
    """The states from which on its rows are its own, as runtime/backbone.py counts them."""
    pooling: str


@dataclass(frozen=True, slots=True)
class PrecisionVerdict:
    """How a model may be served, and why."""

    precision: Precision
    why: str
    loss: float | None = None
    """What 8 bits lose of its goal metric on validation; None where that could not be measured."""
    same: float | None = None
    """Share of the validation records whose labels or spans are the same in 8 bits; None where answers have neither, or unmeasured."""


def load_backbone(artifact: Artifact, precision: Precision, threads: int | None = None) -> Backbone:
    """The backbone in memory, without verticals."""
    manifest = artifact.manifest
    encoder = Encoder.model_validate(manifest["encoder"]).at(artifact.folder / BASE)
    return Backbone(encoder, _stretches(artifact.folder / precision, manifest["stretches"], threads), _banks(manifest), precision)


def load_torch_backbone(artifact: Artifact, device: str) -> Backbone:
    """The backbone in torch, for a GPU; ModelError where the base is not the one that its models were trained on."""
    from vertune.nn.banks import MixedBackbone
    from vertune.nn.vertical import headless_backbone
    from vertune.runtime import eager

    manifest = artifact.manifest
    encoder, banks = Encoder.model_validate(manifest["encoder"]), _banks(manifest)
    check_base(artifact.id, manifest["fingerprint"], encoder)
    return Backbone(
        encoder, [eager.TorchSegment(MixedBackbone(headless_backbone(encoder).backbone, banks.shapes), device)], banks, "float32"
    )


def _banks(manifest: dict[str, Any]) -> Banks:
    return Banks({name: tuple(shape) for name, shape in manifest["banks"].items()})


def attach_model(backbone: Backbone, artifact: Artifact, model: Artifact, threads: int | None = None) -> Predictor:
    """One model on a backbone in memory, ready to answer; StorageError where its folder is damaged or of another model."""
    folder = artifact.folder / VERTICALS / model.id
    said, manifest = read_json(folder / _SAID), model.manifest
    if said.get("task") != task_hash(manifest["config"]["task"]):
        raise StorageError(
            f"The rows of {model.id} in {artifact.id} were made for another task. Remove {folder} and share the model again."
        )
    try:
        tensors = load_file(folder / _ROWS)
    except (OSError, SafetensorError) as error:
        raise StorageError(f"The rows of {model.id} in {folder} can't be read: {error}. Share the model again.") from error
    encoder = Encoder.model_validate(manifest["config"]["encoder"]).sharing_with(backbone.encoder)
    task = Task.model_validate(manifest["config"]["task"])
    head = {name.removeprefix(_HEAD): array for name, array in tensors.items() if name.startswith(_HEAD)}
    rows = {name: array for name, array in tensors.items() if not name.startswith(_HEAD)}
    begin = {"start": START, "end": END}.get(said["begin"], said["begin"])
    top = _stretches(folder / backbone.precision, said["top"], threads) if said["top"] else []
    place = backbone.add(rows, Slot(begin, task, said["pooling"], head, top=tuple(top)))
    return Predictor(manifest["config"], encoder, task, SharedEngine(backbone, place), tuple(manifest.get("columns", ())))


def write_entry(folder: Path, entry: SharedEntry, task: dict[str, Any], top: Sequence[dict[str, Any]]) -> None:
    """What a model adds, into a folder of its own; how it may be served is said later."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {**entry.rows, **{f"{_HEAD}{name}": array for name, array in entry.head.items()}}
    save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, folder / _ROWS)
    begin = {START: "start", END: "end"}.get(entry.begin, entry.begin)
    write_json(folder / _SAID, {"begin": begin, "pooling": entry.pooling, "task": task_hash(task), "top": list(top)})


def write_verdict(folder: Path, read_verdict: PrecisionVerdict) -> None:
    """Say how the model of this folder may be served."""
    found = {"precision": read_verdict.precision, "why": read_verdict.why, "loss": read_verdict.loss, "same": read_verdict.same}
    write_json(folder / _SAID, {**read_json(folder / _SAID), **found})


def read_verdict(artifact: Artifact, model: str) -> PrecisionVerdict | None:
    """How a model may be served on this backbone; None where it was not put on it."""
    file = artifact.folder / VERTICALS / model / _SAID
    said = read_json(file) if file.exists() else {}
    return PrecisionVerdict(said["precision"], said["why"], said["loss"], said["same"]) if "precision" in said else None


def replaces_layers(artifact: Artifact, model: str) -> bool:
    """Whether a model brings layers of its own, which are graphs."""
    return bool(read_json(artifact.folder / VERTICALS / model / _SAID)["top"])


def _stretches(folder: Path, listed: Sequence[dict[str, Any]], threads: int | None) -> list[GraphSegment]:
    return [GraphSegment(folder / one["file"], one["start"], one["end"], threads) for one in listed]


@dataclass(slots=True)
class SharedEngine:
    """What answers for one vertical by way of its backbone."""

    backbone: Backbone
    place: Slot

    def outputs(self, encoder: Encoder, features: Sequence[Feature]) -> list[NDArray[Any]]:
        """The head's outputs, one array a feature."""
        return self.backbone.outputs(encoder, features, self.place)
