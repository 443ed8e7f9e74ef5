"""Reads and writes a shared backbone (a base model that several fine-tuned models use); independent of training and HTTP.

The folder of a backbone contains:

base/                    tokenizer and settings
float32/, int8/          the base model in each precision, as ONNX graphs of consecutive layers
verticals/MODEL/         one fine-tuned model: its trained changes, its head, layers that it replaces, the precision to serve it in,
                         reference outputs (runtime/reference.py); served.json lists the SHA-256 of these files
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

from vertune.core import integrity
from vertune.core.artifact import Artifact
from vertune.core.banks import BankRows
from vertune.core.errors import ModelError, StorageError
from vertune.core.files import read_json, write_json
from vertune.core.kinds import Encoder, Task
from vertune.core.records import Feature
from vertune.core.regular import check_tree, is_present, regular_file
from vertune.core.sentence import stored
from vertune.runtime import reference
from vertune.runtime.backbone import END, START, Backbone, Banks, Slot
from vertune.runtime.graph import GraphSegment
from vertune.runtime.predictor import BASE, Predictor, check_base, load_companion, task_hash

Precision = Literal["float32", "int8"]
PRECISIONS: tuple[Precision, ...] = ("float32", "int8")
"""The precisions in which a shared base model is stored."""
VERTICALS = "verticals"
"""Name of the folder that contains one folder per fine-tuned model."""
_ROWS, SERVED, _HEAD = "rows.safetensors", "served.json", "head/"
_REMEDY = "or remove the folder of this model and run vertune share again"


@dataclass(frozen=True, slots=True)
class SharedEntry:
    """What distinguishes one fine-tuned model from the shared base model: its trained changes and its head."""

    rows: BankRows
    head: dict[str, NDArray[Any]]
    begin: int
    """Layer from which the model's hidden states differ from the base model's; or START or END (see `Slot.begin`)."""
    pooling: str


@dataclass(frozen=True, slots=True)
class PrecisionVerdict:
    """The precision in which a model is served, with the reason and the measurements."""

    precision: Precision
    why: str
    """A text, or a sentence; one that was read is as `core.sentence.stored` returns it."""
    loss: float | None = None
    """By how much the main metric on validation is worse in int8 than in float32; None if it could not be measured."""
    same: float | None = None
    """Fraction of validation records with equal labels or spans in int8 and float32; None if there are none or it was not measured."""


def load_backbone(artifact: Artifact, precision: Precision, threads: int | None = None) -> Backbone:
    """Load a shared base model (backbone) into memory, without the changes of the fine-tuned models that share it.

    `threads` is the number of threads that compute one batch; None uses all processors that this process may use. Raises StorageError
    if a file has changed since the backbone was made.
    """
    manifest = artifact.verified()
    for name in (BASE, precision):  # before the files are opened to compare them
        check_tree(artifact.folder, name)
    artifact.check_files([f"{precision}/{one['file']}" for one in manifest["stretches"]], BASE)
    encoder = Encoder.model_validate(manifest["encoder"]).at(artifact.folder / BASE)
    return Backbone(encoder, _segments(artifact.folder / precision, manifest["stretches"], threads), _banks(manifest), precision)


def load_torch_backbone(artifact: Artifact, device: str) -> Backbone:
    """Load a shared base model (backbone) in torch, without the changes of the fine-tuned models that share it.

    Raises ModelError if the files of the base model have changed since these models were trained.
    """
    from vertune.nn.banks import MixedBackbone
    from vertune.nn.vertical import headless_backbone
    from vertune.runtime import eager

    manifest = artifact.verified()
    encoder, banks = Encoder.model_validate(manifest["encoder"]), _banks(manifest)
    check_base(artifact.id, manifest["fingerprint"], encoder)
    return Backbone(
        encoder, [eager.TorchSegment(MixedBackbone(headless_backbone(encoder).backbone, banks.shapes), device)], banks, "float32"
    )


def _banks(manifest: dict[str, Any]) -> Banks:
    """Allocate the banks, arrays for the trained changes of all fine-tuned models, with the shapes in the backbone's manifest."""
    return Banks({name: tuple(shape) for name, shape in manifest["banks"].items()})


def attach_model(backbone: Backbone, artifact: Artifact, model: Artifact, threads: int | None = None) -> Predictor:
    """Add a fine-tuned model to a shared base model (backbone) in memory; return a predictor for the fine-tuned model.

    `artifact` is the stored folder of the backbone, which also contains the trained changes. Raises StorageError if these changes
    can't be read, have changed, or were made for another model or task, and ModelError if they are not finite numbers.
    """
    check_tree(artifact.folder, VERTICALS, model.id)
    folder, manifest = artifact.folder / VERTICALS / model.id, model.verified()
    served = check_entry(folder, model, backbone.precision)
    if served.get("task") != task_hash(manifest["config"]["task"]):
        raise StorageError(
            f"The trained changes of the model {model.id} that are stored in {artifact.id} were made for another task. "
            f"Remove the folder {folder} and run vertune share again."
        )
    try:
        tensors = load_file(regular_file(folder, _ROWS))
    except (OSError, SafetensorError) as error:
        raise StorageError(
            f"The trained changes of the model {model.id} in {folder} can't be read: {error}. "
            f"Remove the folder, and prepare the model again: vertune share {model.id}"
        ) from error
    damaged = sorted(name for name, array in tensors.items() if not np.isfinite(array).all())
    if damaged:
        raise ModelError(
            f"The trained changes of the model {model.id} in {folder} contain NaN or infinity in '{damaged[0]}'; expected finite numbers. "
            "Remove the folder and run vertune share again."
        )
    encoder = Encoder.model_validate(manifest["config"]["encoder"]).sharing_with(backbone.encoder)
    task = Task.model_validate(manifest["config"]["task"])
    head = {name.removeprefix(_HEAD): array for name, array in tensors.items() if name.startswith(_HEAD)}
    rows = {name: array for name, array in tensors.items() if not name.startswith(_HEAD)}
    begin = {"start": START, "end": END}.get(served["begin"], served["begin"])
    top = _segments(folder / backbone.precision, served["top"], threads) if served["top"] else []
    place = backbone.add(rows, Slot(begin, task, served["pooling"], head, top=tuple(top)))
    engine, columns = SharedEngine(backbone, place), tuple(manifest.get("columns", ()))
    return Predictor(manifest["config"], encoder, task, engine, columns, companion=load_companion(model))


def check_entry(folder: Path, model: Artifact, precision: str | None = None) -> dict[str, Any]:
    """Return the content of served.json in the folder of a fine-tuned model; raise StorageError if one of the model's files has changed.

    Only the files that are loaded in this precision are checked, or all if it is None. An entry that an older version wrote lists no
    files; it is not checked.
    """
    served: dict[str, Any] = read_json(folder / SERVED)
    integrity.check_entries(served, folder / SERVED, _REMEDY)
    loaded = [_ROWS, reference.FILE, *(f"{precision}/{one['file']}" for one in served.get("top", ()))]
    integrity.check_files(folder, served, loaded if precision else served.get(integrity.FILES, ()), _REMEDY)
    if integrity.FILES in served and served.get("model") != identity(model):
        raise StorageError(
            f"The trained changes in {folder} were made for another model than {model.id}, or its manifest has changed since. "
            "Remove the folder and run vertune share again."
        )
    return served


def identity(model: Artifact) -> str:
    """Return the SHA-256 of those entries of a model's manifest that decide its predictions, such as its config and labels."""
    manifest = model.manifest
    names = ("id", "config", "fingerprint", "columns")
    return integrity.checksum({name: manifest.get(name) for name in names})


def write_entry(folder: Path, entry: SharedEntry, task: dict[str, Any], top: Sequence[dict[str, Any]]) -> None:
    """Write the trained changes and the head of a fine-tuned model into its folder within a shared backbone.

    `task` is the task in the model's config. `top` lists the files with layers of the model's own, and the layer numbers at which
    each file starts and ends. The precision in which the model is served is written later, by `write_verdict`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {**entry.rows, **{f"{_HEAD}{name}": array for name, array in entry.head.items()}}
    save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, folder / _ROWS)
    begin = {START: "start", END: "end"}.get(entry.begin, entry.begin)
    write_json(folder / SERVED, {"begin": begin, "pooling": entry.pooling, "task": task_hash(task), "top": list(top)})


def write_verdict(folder: Path, verdict: PrecisionVerdict, model: Artifact) -> None:
    """Write the precision in which `model` is served, the reason, and the SHA-256 of each file in the model's folder.

    All other files of the folder must have been written before.
    """
    why = stored(verdict.why)
    entries = {"precision": verdict.precision, "why": why, "loss": verdict.loss, "same": verdict.same, "model": identity(model)}
    files = {name: value for name, value in integrity.hash_files(folder).items() if name != SERVED}
    write_json(folder / SERVED, integrity.sealed({**read_json(folder / SERVED), **entries, integrity.FILES: files}))


def read_verdict(artifact: Artifact, model: str) -> PrecisionVerdict | None:
    """Return the precision in which a model is served on this shared base model, and why.

    Returns None if the shared base model is not stored with the changes of this model.
    """
    if not is_present(artifact.folder, VERTICALS, model, SERVED):
        return None
    file = regular_file(artifact.folder, VERTICALS, model, SERVED)
    served = read_json(file)
    if not isinstance(served, dict) or served.get("precision", PRECISIONS[0]) not in PRECISIONS:
        raise StorageError(
            f"The file {file} is damaged; expected a mapping whose entry 'precision' is one of {', '.join(PRECISIONS)}. "
            f"Prepare the model again: vertune share {model}"
        )
    return PrecisionVerdict(served["precision"], served["why"], served["loss"], served["same"]) if "precision" in served else None


def replaces_layers(artifact: Artifact, model: str) -> bool:
    """Return whether a model uses some layers of its own instead of those of the shared base model."""
    return bool(read_json(artifact.folder / VERTICALS / model / SERVED)["top"])


def _segments(folder: Path, listed: Sequence[dict[str, Any]], threads: int | None) -> list[GraphSegment]:
    """Load segments (ONNX graphs of consecutive layers) from a folder.

    Each entry of `listed` contains the file of one segment and the layer numbers at which it starts and ends.
    """
    return [GraphSegment(regular_file(folder, one["file"]), one["start"], one["end"], threads) for one in listed]


@dataclass(slots=True)
class SharedEngine:
    """Computes the outputs of one fine-tuned model on its shared base model."""

    backbone: Backbone
    place: Slot

    def outputs(self, encoder: Encoder, features: Sequence[Feature]) -> list[NDArray[Any]]:
        """Return the outputs of the model's head, one array per feature (model input)."""
        return self.backbone.outputs(encoder, features, self.place)
