"""Saves and loads edits (records of the changes that training made to a model).

The trained tensors are in the file `delta.safetensors`, everything else is in `edits.json`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from vertune.core.edits import EDIT_KINDS, Edit
from vertune.core.errors import StorageError
from vertune.core.files import read_json, storage_errors, write_json

TENSORS = "delta.safetensors"
EDITS = "edits.json"


def save(folder: Path, edits: Sequence[Edit]) -> None:
    """Write the edits (trained changes) to a folder, which is created if it does not exist.

    Raise StorageError if the files can't be written.
    """
    tensors = {f"{place}.{name}": tensor.contiguous() for place, edit in enumerate(edits) for name, tensor in edit.tensors.items()}
    listed = [{**asdict(edit), "tensors": sorted(edit.tensors)} for edit in (_without_tensors(edit) for edit in edits)]
    with storage_errors(folder / TENSORS):
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / TENSORS)
    write_json(folder / EDITS, listed)


def _without_tensors(edit: Edit) -> Edit:
    """Return a copy of the edit (trained change) that has the names of its tensors, but None as their values."""
    return Edit(edit.kind, edit.site, edit.depth, dict.fromkeys(edit.tensors), edit.options)


def load(folder: Path) -> list[Edit]:
    """Load the edits (trained changes) from a folder, in the order in which they were saved.

    Raise StorageError if the files are missing or damaged, do not belong together, or contain unknown kinds of changes.
    """
    listed = read_json(folder / EDITS)
    try:
        tensors = load_file(folder / TENSORS)
        edits = [
            Edit(
                item["kind"],
                item["site"],
                item["depth"],
                {name: tensors.pop(f"{place}.{name}") for name in item["tensors"]},
                item["options"],
            )
            for place, item in enumerate(listed)
        ]
    except (OSError, SafetensorError, KeyError, TypeError) as error:
        raise StorageError(
            f"The trained weights in {folder} can't be read: {error}. Restore the folder from a backup, or train the model again."
        ) from error
    unknown = sorted({edit.kind for edit in edits} - set(EDIT_KINDS))
    if unknown or tensors:
        unlisted = f"tensors that {EDITS} does not list: {', '.join(sorted(tensors))}"
        what = f"unknown kinds of changes: {', '.join(unknown)}" if unknown else unlisted
        raise StorageError(
            f"The trained weights in {folder} contain {what}. Either a newer version of vertune wrote them, or the "
            "folder is damaged. Update vertune, or restore the folder from a backup."
        )
    return edits
