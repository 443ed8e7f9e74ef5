"""A trained model that answers; knows nothing of training, reports or HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from numpy.typing import NDArray

from vertune.core.artifact import Artifact
from vertune.core.config import Config
from vertune.core.errors import ModelError, StorageError
from vertune.core.kinds import Encoder, Task
from vertune.core.parse import build
from vertune.core.records import Answer, Feature, Record

BASE = "base"
"""The folder of an artifact that holds its base, where it was bundled with it."""
_CHUNK = 4096


@dataclass(slots=True)
class Predictor:
    """One model in memory."""

    config: Config
    encoder: Encoder
    task: Task
    model: Any
    """The torch module; see nn/vertical.py."""
    columns: tuple[str, ...] = ()
    """The columns of the task that the model was trained on; empty where that is not known."""

    @classmethod
    def open(cls, artifact: Artifact) -> Self:
        """Load a model artifact on its base; ModelError when the base is not the one that it was trained on."""
        from vertune.nn import delta, edits
        from vertune.nn.build import build as assemble

        manifest = artifact.manifest
        lacking = [name for name in ("config", "fingerprint") if not isinstance(manifest.get(name), dict)]
        if lacking:
            raise StorageError(
                f"The manifest of {artifact.id} has no {' and no '.join(lacking)}: it is damaged. Restore it, or train again."
            )
        config = build(Config, _bundled(manifest["config"], artifact.folder / BASE))
        check_base(artifact.id, manifest["fingerprint"], config.encoder)
        model = assemble(config.encoder, config.task)
        edits.apply(model, delta.load(artifact.folder))
        return cls(config, config.encoder, config.task, model.to(_device()).eval(), tuple(manifest.get("columns", ())))

    def untrained(self) -> Self | None:
        """The same task on the base as it is; None where its head must be learnt first."""
        from vertune.nn.build import build as assemble

        model = assemble(self.encoder, self.task)
        if any(True for _ in model.head.parameters()) or model.native is not None:
            return None
        return type(self)(self.config, self.encoder, self.task, model.to(_device()).eval(), self.columns)

    def outputs(self, features: Sequence[Feature]) -> list[NDArray[Any]]:
        """The head's outputs, one array a feature."""
        from vertune.nn.run import outputs

        return outputs(self.model, self.encoder, features, self.config.device.tokens)

    def answer(self, records: Sequence[Record]) -> list[Answer]:
        """One answer a record."""
        views = self.task.views(sorted({key for record in records[:1000] for key in record}))
        answers: list[Answer] = []
        for start in range(0, len(records), _CHUNK):
            part = records[start : start + _CHUNK]
            features = self.encoder.encode(part, views)
            answers += self.task.decode(part, features, self.outputs(features), run=self.outputs)
        return answers


def _device() -> str:
    """The GPU where there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _bundled(config: dict[str, Any], base: Path) -> dict[str, Any]:
    """The config with the base that lies inside the artifact, where there is one."""
    return {**config, "encoder": {**config["encoder"], "base": str(base)}} if base.is_dir() else config


def check_base(model: str, trained: dict[str, str], encoder: Encoder) -> None:
    """Refuse a base or tokenizer that is not the one trained on."""
    for what, expected in trained.items():
        found = encoder.fingerprint()[what]
        if found != expected:
            raise ModelError(
                f"The {what} under {model} has changed: it was trained on sha256 {expected[:12]}…, here is {found[:12]}…. "
                "Restore that base, or train again on this one."
            )
