"""A trained model that answers, in torch or as an ONNX graph; knows nothing of training, reports or HTTP."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from numpy.typing import NDArray

from vertune.core.artifact import Artifact
from vertune.core.errors import ModelError, StorageError
from vertune.core.files import file_hash, read_json
from vertune.core.kinds import Cleaner, Encoder, Task
from vertune.core.machine import cpu_features, usable_processors
from vertune.core.parse import build
from vertune.core.records import Answer, Feature, Record
from vertune.runtime.eager import Eager

if TYPE_CHECKING:
    from vertune.core.config import Config

BASE = "base"
"""The folder of an artifact that holds its base, where it was bundled with it, or what the encoder reads of it."""
GRAPH = "model.onnx"
"""The whole model of an artifact that was compressed."""
HOST = "host.json"
"""What was measured of a graph on the machine that it runs on."""
_CHUNK = 4096
_log = logging.getLogger("vertune")


class Engine(Protocol):
    """What computes the outputs of features."""

    def outputs(self, encoder: Encoder, cpu_features: Sequence[Feature]) -> list[NDArray[Any]]:
        """The head's outputs, one array a feature."""
        ...


@dataclass
class Predictor:
    """One model in memory."""

    written: dict[str, Any]
    """The resolved config as the manifest has it."""
    encoder: Encoder
    task: Task
    engine: Engine
    columns: tuple[str, ...] = ()
    """The columns of the task that the model was trained on; empty where that is not known."""

    @classmethod
    def open(cls, artifact: Artifact, threads: int | None = None, many: bool = False) -> Self:
        """Load a model artifact; ModelError when its base, or its graph, is not the one that it was made with.

        `threads` is for graphs; None takes what was tuned for this machine, for one text or for `many`, else all processors.
        """
        manifest = artifact.manifest
        lacking = [name for name in ("config", "fingerprint") if not isinstance(manifest.get(name), dict)]
        if lacking:
            raise StorageError(
                f"The manifest of {artifact.id} has no {' and no '.join(lacking)}: it is damaged. Restore it, or train again."
            )
        config, base = manifest["config"], artifact.folder / BASE
        encoder, task = Encoder.model_validate(config["encoder"]), Task.model_validate(config["task"])
        if base.is_dir():  # the base lies inside the artifact
            encoder = encoder.at(base)
            config = {**config, "encoder": encoder.model_dump(mode="json")}
        columns = tuple(manifest.get("columns", ()))
        if "graph" in manifest["fingerprint"]:
            return cls(config, encoder, task, _graph(artifact, manifest["fingerprint"], task, threads or _threads(artifact, many)), columns)
        check_base(artifact.id, manifest["fingerprint"], encoder)
        tokens = int(config.get("device", {}).get("tokens", 8192))
        return cls(config, encoder, task, Eager.load(artifact.folder, encoder, task, tokens), columns)

    @cached_property
    def config(self) -> Config:
        """The resolved config."""
        from vertune.core.config import Config

        return build(Config, self.written)

    @property
    def fields(self) -> dict[str, Any]:
        """Which column of the training data each field of the task was read from."""
        return dict(self.written.get("data", {}).get("fields") or {})

    @cached_property
    def cleaners(self) -> tuple[Cleaner, ...]:
        """The cleaners of the training data that edit texts, in order: what the model is given is edited in the same way."""
        written = self.written.get("data", {}).get("clean") or ()
        return tuple(cleaner for cleaner in map(Cleaner.model_validate, written) if cleaner.at_prediction)

    def untrained(self) -> Self | None:
        """The same task on the base as it is; None where its head must be learnt first, or the base is not here."""
        if not isinstance(self.engine, Eager):
            return None
        from vertune.nn.build import build as assemble

        model = assemble(self.encoder, self.task)
        if any(True for _ in model.head.parameters()) or model.native is not None:
            return None
        return type(self)(self.written, self.encoder, self.task, Eager(model, self.config.device.tokens), self.columns)

    def outputs(self, cpu_features: Sequence[Feature]) -> list[NDArray[Any]]:
        """The head's outputs, one array a feature."""
        return self.engine.outputs(self.encoder, cpu_features)

    def answer(self, records: Sequence[Record]) -> list[Answer]:
        """One answer a record."""
        views = self.task.views(sorted({key for record in records[:1000] for key in record}))
        answers: list[Answer] = []
        for start in range(0, len(records), _CHUNK):
            part = records[start : start + _CHUNK]
            cpu_features = self.encoder.encode(part, views)
            answers += self.task.decode(part, cpu_features, self.outputs(cpu_features), run=self.outputs)
        return answers


def _graph(artifact: Artifact, known: dict[str, str], task: Task, threads: int | None) -> Engine:
    """The session on an artifact's graph, checked to be the one that was measured, and to give what the task reads."""
    from vertune.runtime.graph import Graph

    found = {**hashes(artifact.folder, "tokenizer" in known), "task": task_hash(artifact.manifest["config"]["task"])}
    for what, value in found.items():
        if known.get(what) != value:
            raise ModelError(
                f"The {what} of {artifact.id} has changed since it was measured: expected sha256 {str(known.get(what))[:12]}…, "
                f"here is {value[:12]}…. Restore the folder, or compress again."
            )
    graph = Graph(artifact.folder / GRAPH, threads)
    if task.size and graph.size not in (None, task.size):
        raise ModelError(f"The graph of {artifact.id} returns {graph.size} numbers, but its task reads {task.size}. Compress again.")
    return graph


def _threads(artifact: Artifact, many: bool) -> int | None:
    """The threads that were found best on this machine; a warning where the graph was measured on another, or is worse here."""
    here, manifest = list(cpu_features()), artifact.manifest_or_empty
    told = read_json(artifact.folder / HOST) if (artifact.folder / HOST).exists() else {}
    if told.get("processor") == here and told.get("usable") == usable_processors():
        lost = told.get("lost")
        if lost is not None and lost > manifest["gate"]["tolerance"]:
            _log.warning(
                "%s scores %.4f lower on this processor than where it was compressed. Compress it again on this machine.", artifact.id, lost
            )
        return int(told["threads_of_many" if many else "threads"])
    made = manifest.get("processor")
    if made and made != here:
        lacking = ", ".join(sorted({*made} ^ {*here}))
        _log.warning(
            "%s was measured on another processor (they differ in %s); int8 may round differently here. Measure it here: vertune tune %s",
            artifact.id, lacking, manifest.get("name"),
        )  # fmt: skip
    return None


def hashes(folder: Path, tokenizer: bool) -> dict[str, str]:
    """sha256 of a graph and, where the encoder has one, of the tokenizer beside it; StorageError where one is missing."""
    files = {"graph": folder / GRAPH, **({"tokenizer": folder / BASE / "tokenizer.json"} if tokenizer else {})}
    for file in files.values():
        if not file.exists():
            raise StorageError(f"{file} is missing: the artifact is damaged. Restore it, or compress again.")
    return {what: file_hash(file) for what, file in files.items()}


def task_hash(written: dict[str, Any]) -> str:
    """sha256 of a task as a manifest has it, labels and thresholds among it."""
    return hashlib.sha256(json.dumps(written, sort_keys=True).encode()).hexdigest()


def check_base(model: str, trained: dict[str, str], encoder: Encoder) -> None:
    """Refuse a base or tokenizer that is not the one trained on."""
    for what, expected in trained.items():
        found = encoder.fingerprint()[what]
        if found != expected:
            raise ModelError(
                f"The {what} under {model} has changed: it was trained on sha256 {expected[:12]}…, here is {found[:12]}…. "
                "Restore that base, or train again on this one."
            )
