"""Saves and loads checkpoints, from which a killed training run continues exactly; independent of the training loop.

A checkpoint is a folder of safetensors and JSON files; pickle is not used.
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
    """The progress of a training run. Together with the config, it determines everything that remains to be done."""

    step: int = 0
    seconds: float = 0.0
    best: float | None = None
    """The best validation score so far; higher is better."""
    best_step: int = 0
    stale: int = 0
    """Number of evaluations since the best one."""


def save(folder: Path, position: Position, tensors: dict[str, Tensors], extra: dict[str, Any]) -> None:
    """Write a checkpoint that replaces the previous one.

    `tensors` contains groups of tensors by name, each of which becomes a safetensors file; `extra` contains JSON
    values. The checkpoint is written into a temporary folder, which is renamed at the end, so a process that is killed
    meanwhile leaves the previous checkpoint.
    """
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
    """Load the last complete checkpoint of `folder`; return its progress, its groups of tensors, and its extra values.

    Return None if there is none. If a process was killed while it replaced a checkpoint, the previous checkpoint is
    loaded.
    """
    for candidate in (folder, folder.with_name(f".{folder.name}.old")):
        if (candidate / "position.json").exists():
            value = read_json(candidate / "position.json")
            extra = value.pop("extra")
            return Position(**value), {file.stem: load_file(file) for file in candidate.glob("*.safetensors")}, extra
    return None


def flat_state(optimiser: torch.optim.Optimizer) -> tuple[Tensors, dict[str, Any]]:
    """Return an optimiser's state as two flat mappings that a checkpoint can store: tensors, and other values.

    The keys are the index of a parameter and a name, such as `0.exp_avg`.
    """
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
    """Set an optimiser's state from the two mappings that `flat_state` returned when the checkpoint was written."""
    state: dict[int, dict[str, Any]] = {}
    for name, value in [*tensors.items(), *others.items()]:
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
