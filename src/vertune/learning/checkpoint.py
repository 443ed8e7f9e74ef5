"""Checkpoints from which a killed training goes on as if it had not stopped: safetensors and JSON, nothing pickled."""

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
    """Where a training stands; everything else follows from the config and this."""

    step: int = 0
    seconds: float = 0.0
    best: float | None = None
    """The best value of the task's metric so far."""
    best_step: int = 0
    stale: int = 0
    """Evaluations since the best one."""


def save(folder: Path, position: Position, tensors: dict[str, Tensors], extra: dict[str, Any]) -> None:
    """Write a checkpoint beside the old one and swap them by a rename."""
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
    """The last whole checkpoint, or None; one that was being swapped when the process died is found too."""
    for place in (folder, folder.with_name(f".{folder.name}.old")):
        if (place / "position.json").exists():
            value = read_json(place / "position.json")
            extra = value.pop("extra")
            return Position(**value), {file.stem: load_file(file) for file in place.glob("*.safetensors")}, extra
    return None


def flat_state(optimiser: torch.optim.Optimizer) -> tuple[Tensors, dict[str, Any]]:
    """The optimiser's state as tensors by name, and what of it is no tensor."""
    tensors: Tensors = {}
    plain: dict[str, Any] = {}
    for index, entries in optimiser.state_dict()["state"].items():
        for key, value in entries.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.{key}"] = value
            else:
                plain[f"{index}.{key}"] = value
    return tensors, plain


def restore_state(optimiser: torch.optim.Optimizer, tensors: Tensors, plain: dict[str, Any]) -> None:
    """Give back what `flat_state` took."""
    state: dict[int, dict[str, Any]] = {}
    for name, value in [*tensors.items(), *plain.items()]:
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
