"""Edits on disk: `delta.safetensors` holds the tensors, `edits.json` what they are; knows nothing of any model."""

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
    """Write both files into the folder."""
    tensors = {f"{place}.{name}": tensor.contiguous() for place, edit in enumerate(edits) for name, tensor in edit.tensors.items()}
    listed = [{**asdict(edit), "tensors": sorted(edit.tensors)} for edit in (_bare(edit) for edit in edits)]
    with storage_errors(folder / TENSORS):
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, folder / TENSORS)
    write_json(folder / EDITS, listed)


def _bare(edit: Edit) -> Edit:
    """The edit without the contents of its tensors."""
    return Edit(edit.kind, edit.site, edit.depth, dict.fromkeys(edit.tensors), edit.options)


def load(folder: Path) -> list[Edit]:
    """The edits as they were saved, in order; StorageError where the files are missing, broken or disagree."""
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
        raise StorageError(f"Expected a delta in {folder}, but it can't be read: {error}. Restore the folder or train again.") from error
    unknown = sorted({edit.kind for edit in edits} - set(EDIT_KINDS))
    if unknown or tensors:
        what = f"edits of an unknown kind: {', '.join(unknown)}" if unknown else f"tensors that no edit names: {', '.join(sorted(tensors))}"
        raise StorageError(f"The delta in {folder} has {what}. It was written by a newer version, or is damaged.")
    return edits
