"""bundle: a model together with its base, for machines without a network; knows nothing of what a base computes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from vertune.core.artifact import Artifact
from vertune.core.errors import ModelError
from vertune.core.files import new_folder, storage_errors
from vertune.runtime.predictor import BASE, Predictor

_LEFT_OUT = (".bin", ".h5", ".ot", ".msgpack", ".onnx", ".onnx_data", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".py", ".pyc")
"""Endings of other forms of the weights, and of what could run when it is loaded."""


def bundle(model: Artifact, folder: Path) -> Path:
    """Copy a model and its base into a new or empty folder that `predict` and `vertune.load` take by its path.

    Raises Conflict where the folder holds anything, ModelError where the bundle answers otherwise than the model; a failed
    bundle leaves nothing behind.
    """
    opened = Predictor.open(model)
    base = opened.encoder.base_folder
    with new_folder(folder) as place:
        with storage_errors(place):
            shutil.copytree(model.folder, place, dirs_exist_ok=True, ignore=shutil.ignore_patterns(BASE, ".*"))
            if base is not None:
                shutil.copytree(base, place / BASE, ignore=_left_out)
        _check(opened, Artifact(place))
    return folder.absolute()


def _left_out(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if name.startswith(".") or name in {"onnx", "openvino"} or name.lower().endswith(_LEFT_OUT)}


def _check(model: Predictor, bundled: Artifact) -> None:
    """ModelError unless the bundle, loaded from its own base, gives the same outputs."""
    import numpy as np

    inputs = [column.name for column in model.task.columns if column.role == "input"]
    records: list[dict[str, Any]] = [{name: row[name] for name in inputs if name in row} for row in model.task.example(8)]
    views = model.task.views(sorted({key for record in records for key in record}))
    other = Predictor.open(bundled)
    if other.encoder.base_folder not in (None, bundled.folder / BASE):
        raise ModelError(f"The bundle of {bundled.id} was loaded from another base than its own. Report this as a bug.")
    for ours, theirs in zip(*(one.outputs(one.encoder.encode(records, views)) for one in (model, other)), strict=True):
        if not np.array_equal(ours, theirs):
            raise ModelError("The bundle answers otherwise than the model, so it was not kept. Check the disk and try again.")
