"""Saves and loads checkpoints, from which a killed training resumes exactly; independent of the training loop.

A checkpoint is a folder of safetensors and JSON files; nothing is pickled.
"""

from __future__ import annotations

import secrets
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from vertune.core.files import read_json, storage_errors, write_json

Tensors = dict[str, torch.Tensor]


@dataclass(slots=True)
class Position:
    """The progress of a training run; the config and this progress determine all that remains to be done."""

    step: int = 0
    seconds: float = 0.0
    best: float | None = None
    """The best validation score so far; higher is better."""
    best_step: int = 0
    stale: int = 0
    """Number of evaluations since the best one."""


def save(folder: Path, position: Position, tensors: dict[str, Tensors], extra: dict[str, Any]) -> None:
    """Write a checkpoint into a temporary folder, then rename it so that it replaces the old checkpoint."""
    beside = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    with storage_errors(folder):
        beside.mkdir(parents=True)
        try:
            for name, members in tensors.items():
                save_file({key: value.detach().cpu().contiguous() for key, value in members.items()}, beside / f"{name}.safetensors")
            write_json(beside / "position.json", {**asdict(position), "extra": extra})
            old = folder.with_name(f".{folder.name}.old")
            shutil.rmtree(old, ignore_errors=True)
            if folder.exists():
                folder.rename(old)
            beside.rename(folder)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def load(folder: Path) -> tuple[Position, dict[str, Tensors], dict[str, Any]] | None:
    """Load the last complete checkpoint, even if a process was killed while it replaced one; return None if there is none."""
    for candidate in (folder, folder.with_name(f".{folder.name}.old")):
        if (candidate / "position.json").exists():
            value = read_json(candidate / "position.json")
            extra = value.pop("extra")
            return Position(**value), {file.stem: load_file(file) for file in candidate.glob("*.safetensors")}, extra
    return None


def flat_state(optimiser: torch.optim.Optimizer) -> tuple[Tensors, dict[str, Any]]:
    """Return the optimiser's state as two mappings by name: its tensors, and its values that are not tensors."""
    tensors: Tensors = {}
    others: dict[str, Any] = {}
    for index, entries in optimiser.state_dict()["state"].items():
        for key, value in entries.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.{key}"] = value
            else:
                others[f"{index}.{key}"] = value
    return tensors, others


def restore_state(optimiser: torch.optim.Optimizer, tensors: Tensors, others: dict[str, Any]) -> None:
    """Load the two mappings that `flat_state` returned into an optimiser."""
    state: dict[int, dict[str, Any]] = {}
    for name, value in [*tensors.items(), *others.items()]:
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
