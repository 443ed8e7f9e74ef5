"""bundle: copies a model and the pretrained model that it needs into one folder, for machines without a network."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from vertune.core.artifact import Artifact
from vertune.core.errors import ModelError
from vertune.core.files import new_folder, storage_errors
from vertune.core.integrity import SIGNATURE
from vertune.runtime.predictor import BASE, Predictor

_SKIPPED_SUFFIXES = (".bin", ".h5", ".ot", ".msgpack", ".onnx", ".onnx_data", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".py", ".pyc")
"""Suffixes of files that are not copied: weights in unused formats, and code or pickles, which could execute when they are loaded."""


def bundle(model: Artifact, folder: Path) -> Path:
    """Copy a fine-tuned model and the pretrained model that it is based on into a new or empty folder.

    Returns the path of the folder, which `vertune predict` and `vertune.load` accept in place of a model's name. Raises
    Conflict if the folder is not empty, ModelError if the outputs of the copy differ from those of the original. If
    there is an error, no files remain in the folder. The signature of the model is not copied, because it does not
    cover the copy of the pretrained model.
    """
    predictor = Predictor.open(model)
    base = predictor.encoder.base_folder
    with new_folder(folder) as target:
        with storage_errors(target):
            shutil.copytree(model.folder, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns(BASE, SIGNATURE, ".*"))
            if base is not None:
                shutil.copytree(base, target / BASE, ignore=_skipped)
            Artifact(target).seal()  # the copy of the base is not in the list of the original
        _check(predictor, Artifact(target))
    return folder.absolute()


def _skipped(folder: str, names: list[str]) -> set[str]:
    """Return which of `names`, the content of `folder`, should not be copied; a callback for `shutil.copytree`.

    These are hidden files, weights in formats that are not used, code, and pickles.
    """
    return {name for name in names if name.startswith(".") or name in {"onnx", "openvino"} or name.lower().endswith(_SKIPPED_SUFFIXES)}


def _check(model: Predictor, bundled: Artifact) -> None:
    """Compare the copy of a model (`bundled`) with the original (`model`).

    Raises ModelError if the copy uses a pretrained model from outside its folder, or has other outputs than the
    original.
    """
    import numpy as np

    inputs = [column.name for column in model.task.input_columns]
    records: list[dict[str, Any]] = [{name: row[name] for name in inputs if name in row} for row in model.task.example(8)]
    views = model.task.views(sorted({key for record in records for key in record}))
    copy = Predictor.open(bundled)
    if copy.encoder.base_folder not in (None, bundled.folder / BASE):
        raise ModelError(
            f"The copy of {bundled.id} loaded its pretrained model from {copy.encoder.base_folder}, not from the folder of the bundle. "
            "Report this as a bug."
        )
    for ours, theirs in zip(*(one.outputs(one.encoder.encode(records, views)) for one in (model, copy)), strict=True):
        if not np.array_equal(ours, theirs):
            raise ModelError(
                "The copied model has other outputs than the original model, so the copy was deleted. Check the disk and try again."
            )
