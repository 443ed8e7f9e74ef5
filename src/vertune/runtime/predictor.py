"""A trained model that makes predictions, in torch or as an ONNX graph; independent of training, reports and HTTP."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from vertune.core.artifact import Artifact
from vertune.core.errors import ModelError, StorageError
from vertune.core.files import read_json
from vertune.core.integrity import FILES, cached_hash
from vertune.core.kinds import Cleaner, Encoder, Run, Task
from vertune.core.machine import cpu_features, usable_processors
from vertune.core.parse import build
from vertune.core.records import Answer, Feature, Record, View
from vertune.core.regular import is_present, regular_file
from vertune.lexical.companion import FILE as COMPANION
from vertune.lexical.companion import Companion
from vertune.runtime.eager import Eager

if TYPE_CHECKING:
    from vertune.core.config import Config

BASE = "base"
"""Name of the subfolder of a model with a copy of its base model, or of only those of its files that the encoder reads."""
GRAPH = "model.onnx"
"""Name of the file in a compressed model's folder that contains the complete model as an ONNX graph."""
DELTA = ("delta.safetensors", "edits.json")
"""Names of the files in a trained model's folder that contain what training changed (nn/delta.py writes them)."""
HOST = "host.json"
"""Name of the file with measurements of a graph's speed and accuracy on the machine that runs it."""
_CHUNK = 4096
"""Number of records that are encoded and predicted together."""
_LEAST_WIDTH = 2
"""Least number of outputs that can be compared as vectors."""
_TINY = 1e-12
_log = logging.getLogger("vertune")


class Engine(Protocol):
    """Computes the outputs of a model for features (model inputs), either in torch or with an ONNX graph."""

    def outputs(self, encoder: Encoder, features: Sequence[Feature]) -> list[NDArray[Any]]:
        """Return the outputs of the model's head, one array per feature (model input)."""
        ...


@dataclass
class Predictor:
    """A trained model in memory that predicts records."""

    written: dict[str, Any]
    """The complete config, as the manifest of the model contains it."""
    encoder: Encoder
    task: Task
    engine: Engine
    columns: tuple[str, ...] = ()
    """The columns of the task that the model was trained on; empty if unknown."""
    companion: Companion | None = None
    """What is mixed with the model's outputs before they are decoded; None if nothing is."""
    _views: dict[frozenset[str], tuple[View, ...]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def open(cls, artifact: Artifact, threads: int | None = None, many: bool = False) -> Self:
        """Load a model; raise ModelError if its base model or its ONNX graph has changed since the model was made.

        Raises StorageError if any other file that is loaded has changed.

        `threads` is the number of threads that compute an ONNX graph. If it is None, the number that `vertune tune` found fastest on this
        machine is used: fastest for many texts at once if `many` is set, otherwise fastest for single texts. If `vertune tune` has not
        measured the graph here, all processors are used.
        """
        manifest = artifact.verified()
        lacking = [name for name in ("config", "fingerprint") if not isinstance(manifest.get(name), dict)]
        if lacking:
            raise StorageError(
                f"The manifest of the model {artifact.id} is damaged: it has no {' and no '.join(lacking)}. Restore the manifest, "
                "or train again."
            )
        config, base = manifest["config"], artifact.folder / BASE
        encoder, task = Encoder.model_validate(config["encoder"]), Task.model_validate(config["task"])
        artifact.check_files(subfolder=BASE)
        if base.is_dir():  # the artifact contains its base
            encoder = encoder.at(base)
            config = {**config, "encoder": encoder.model_dump(mode="json")}
        columns = tuple(manifest.get("columns", ()))
        companion = load_companion(artifact)
        if "graph" in manifest["fingerprint"]:
            graph = _graph(artifact, manifest["fingerprint"], task, threads or _threads(artifact, many))
            return cls(config, encoder, task, graph, columns, companion=companion)
        check_base(artifact.id, manifest["fingerprint"], encoder)
        artifact.check_files(DELTA)
        tokens = int(config.get("device", {}).get("tokens", 2048))
        return cls(config, encoder, task, Eager.load(artifact.folder, encoder, task, tokens), columns, companion=companion)

    @cached_property
    def config(self) -> Config:
        """The complete config of the model."""
        from vertune.core.config import Config

        return build(Config, self.written)

    @property
    def fields(self) -> dict[str, Any]:
        """The column of the training data that each field of the task was read from; the keys are the names of the fields."""
        return dict(self.written.get("data", {}).get("fields") or {})

    @cached_property
    def cleaners(self) -> tuple[Cleaner, ...]:
        """The cleaners (components that edit texts) of the training that must also edit every text before prediction, in their order."""
        written = self.written.get("data", {}).get("clean") or ()
        return tuple(cleaner for cleaner in map(Cleaner.model_validate, written) if cleaner.at_prediction)

    def untrained(self) -> Self | None:
        """Return a predictor that uses the base model as it was before training.

        Returns None if the head has trained weights, without which it can't predict, or if the model is an ONNX graph.
        """
        if not isinstance(self.engine, Eager):
            return None
        from vertune.nn.build import build as assemble

        model = assemble(self.encoder, self.task)
        if any(True for _ in model.head.parameters()) or model.native is not None:
            return None
        return type(self)(self.written, self.encoder, self.task, Eager(model, self.config.device.tokens), self.columns)

    def views(self, fields: Iterable[str]) -> tuple[View, ...]:
        """Return the views of records with these fields; a view is a list of fields that form one model input.

        The result is kept in memory, because every request needs it.
        """
        names = frozenset(fields)
        views = self._views.get(names)
        if views is None:
            views = self._views[names] = self.task.views(sorted(names))
        return views

    def outputs(self, features: Sequence[Feature]) -> list[NDArray[Any]]:
        """Return the outputs of the model's head, one array per feature (model input)."""
        return self.engine.outputs(self.encoder, features)

    def vectors(self, records: Sequence[Record]) -> NDArray[np.float32] | None:
        """Return one vector of length 1 per record, shape (records, width): the mean of what the model's head reads.

        Of an ONNX graph, these are the mean outputs of the head, because the graph returns nothing else; None if there is only one output.
        """
        views = self.views({key for record in records for key in record})
        features = self.encoder.encode(records, views)
        found = self.engine.states(self.encoder, features) if isinstance(self.engine, Eager) else self.outputs(features)
        if not found or found[0].shape[-1] < _LEAST_WIDTH:
            return None
        vectors, counts = np.zeros((len(records), found[0].shape[-1]), np.float32), np.zeros(len(records))
        for feature, array in zip(features, found, strict=True):
            vectors[feature.record] += array if array.ndim == 1 else array.mean(0)
            counts[feature.record] += 1
        vectors /= np.maximum(counts, 1)[:, None].astype(np.float32)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), _TINY).astype(np.float32)
        return vectors

    def answer(self, records: Sequence[Record]) -> list[Answer]:
        """Return one prediction per record."""
        views = self.views({key for record in records[:1000] for key in record})
        answers: list[Answer] = []
        for start in range(0, len(records), _CHUNK):
            part = records[start : start + _CHUNK]
            features = self.encoder.encode(part, views)
            answers += self.decode(part, features, check_finite(self.outputs(features)), self.outputs)
        return answers

    def decode(self, records: Sequence[Record], features: Sequence[Feature], outputs: Sequence[NDArray[Any]], run: Run) -> list[Answer]:
        """Return one prediction per record, from the model's outputs for the features (model inputs) of the records.

        The outputs are mixed with those of the companion first. `run` computes the model's outputs for further features.
        """
        if self.companion is not None:
            outputs = self.companion.mixed(records, features, outputs)
        return self.task.decode(records, features, outputs, run=run)


def load_companion(artifact: Artifact) -> Companion | None:
    """Load the companion of a model; None if it has none, as the models of older versions.

    Raises StorageError if its file is missing, or has changed since the model was made.
    """
    if COMPANION not in artifact.verified().get(FILES, {}) and not is_present(artifact.folder, COMPANION):
        return None
    artifact.check_files([COMPANION])
    try:
        return Companion.load(regular_file(artifact.folder, COMPANION))
    except ValueError as error:
        raise StorageError(str(error)) from error


def check_finite(outputs: Sequence[NDArray[Any]]) -> Sequence[NDArray[Any]]:
    """Return these outputs of a model unchanged; raise ModelError if one contains NaN or infinity, from which no prediction can be made."""
    numbers = outputs[0] if len(outputs) == 1 else np.concatenate(outputs, axis=None) if outputs else ()  # one call of NumPy, not many
    if not np.isfinite(numbers).all():
        raise ModelError(
            "The model's outputs contain NaN or infinity; expected finite numbers. Its weights are damaged, or training failed: "
            "restore its files from a copy, or train again."
        )
    return outputs


def _graph(artifact: Artifact, known: dict[str, str], task: Task, threads: int | None) -> Engine:
    """Load the ONNX graph of a compressed model.

    `known` contains the sha256 of the graph, tokenizer and task when the model was compressed. Raises ModelError if one of them has
    changed since then, or if the graph's number of outputs is not the one that the task expects.
    """
    from vertune.runtime.graph import Graph

    found = {**hashes(artifact.folder, "tokenizer" in known), "task": task_hash(artifact.manifest["config"]["task"])}
    for what, value in found.items():
        if known.get(what) != value:
            raise ModelError(
                f"The {what} of the model {artifact.id} has changed since the model was compressed: expected sha256 "
                f"{str(known.get(what))[:12]}…, found {value[:12]}…. Restore the folder of the model, or compress the model again."
            )
    artifact.check_files([GRAPH])
    graph = Graph(artifact.folder / GRAPH, threads)
    if task.size and graph.size not in (None, task.size):
        raise ModelError(
            f"The ONNX graph of the model {artifact.id} has {graph.size} outputs, but the task of the model expects {task.size}. "
            "Compress the model again."
        )
    return graph


def _threads(artifact: Artifact, many: bool) -> int | None:
    """Return the number of threads with which the graph was fastest on this machine; None if this was not measured.

    If `many` is set, this is the number that was fastest for many texts at once, otherwise the number that was fastest for single
    texts. Logs a warning if the graph was measured only on another type of processor, or if the model is less accurate on this one.
    """
    here, manifest = list(cpu_features()), artifact.manifest_or_empty
    measured = read_json(artifact.folder / HOST) if (artifact.folder / HOST).exists() else {}
    if measured.get("processor") == here and measured.get("usable") == usable_processors():
        lost = measured.get("lost")
        if lost is not None and lost > manifest["gate"]["tolerance"]:
            _log.warning(
                "The score of the model %s is worse by %.4f on this processor than on the one where the model was compressed. "
                "Compress the model again on this machine.",
                artifact.id, lost,
            )  # fmt: skip
        return int(measured["threads_of_many" if many else "threads"])
    made = manifest.get("processor")
    if made and made != here:
        lacking = ascii(", ".join(sorted({*made} ^ {*here})))  # what a manifest contains may change how a terminal shows the log
        _log.warning(
            "The model %s was measured on a processor that differs from this one in its instruction sets (%s), so int8 numbers may be "
            "rounded differently here. Measure the model on this machine: vertune tune %s",
            artifact.id, lacking, artifact.id,
        )  # fmt: skip
    return None


def hashes(folder: Path, tokenizer: bool) -> dict[str, str]:
    """Return the sha256 of the ONNX graph in a model's folder and, if `tokenizer` is set, of the tokenizer.

    Raises StorageError if one of these files is missing.
    """
    files = {"graph": folder / GRAPH, **({"tokenizer": folder / BASE / "tokenizer.json"} if tokenizer else {})}
    for file in files.values():
        if not file.exists():
            raise StorageError(
                f"The file {file} is missing, so the folder of the model is damaged. Restore the folder, or compress the model again."
            )
    return {what: cached_hash(file) for what, file in files.items()}


def task_hash(written: dict[str, Any]) -> str:
    """Return the sha256 of a task's options, including its labels and thresholds; `written` is the task as the manifest contains it."""
    return hashlib.sha256(json.dumps(written, sort_keys=True).encode()).hexdigest()


def check_base(model: str, trained: dict[str, str], encoder: Encoder) -> None:
    """Raise ModelError if the encoder's base model or tokenizer is not the one with which a model was trained.

    `model` is the id that the error names, and `trained` contains the hashes of the base model and tokenizer when it was trained.
    """
    found = encoder.fingerprint()
    for what, expected in trained.items():
        if found[what] != expected:
            raise ModelError(
                f"The {what} of {model} has changed since training: expected sha256 {expected[:12]}…, found {found[what][:12]}…. "
                "Restore the original files, or train again with the present ones."
            )
