"""`vertune doctor`: shows the machine, the installed packages, and whether a pretrained model and the hub of such models are available."""

from __future__ import annotations

import os
import re
import sys
from importlib import metadata
from typing import Annotated, Any

import typer

from vertune.cli import options, output

PANEL = ("Look around", 4)

_UNSHOWN = frozenset({"all", "dev", "docs"})
"""Extras (optional sets of packages, as in `pip install 'vertune[train]'`) that only combine others or are for developers."""
_PURPOSES = {
    "train": "training", "serve": "the HTTP server", "minilm": "a base for English", "zh": "a base for Chinese and other languages",
    "excel": "Excel files", "sql": "databases",
    "huggingface": "data sets of the Hugging Face hub", "sentence-transformers": "an export", "tensorboard": "training curves",
    "wandb": "training curves", "mlflow": "training curves", "sign": "signatures of models",
}  # fmt: skip
"""What each extra is needed for; an extra that is not listed is shown without a purpose."""
_HUB_SECONDS = 3.0
"""Longest time to wait for the hub."""


def run(
    base: Annotated[
        str, typer.Option("--base", help="The base model to look for: an alias, a Hugging Face hub id or a folder.")
    ] = "minilm",
    server: Annotated[
        str, typer.Option("--server", metavar="URL", help="Check a running server instead; VERTUNE_KEY is used if it is set.")
    ] = "",
    ca: Annotated[str, typer.Option("--ca", metavar="FILE", help="With --server: the authority that signed its certificate (PEM).")] = "",
    cert: Annotated[
        str, typer.Option("--cert", metavar="FILE", help="With --server: your certificate and its key (PEM), if the server requires one.")
    ] = "",
    home: options.Home = None,
    json: options.Json = False,
) -> None:
    """Check the installation, the machine, a base and the hub."""
    if server:
        _check_server(server, ca, cert, json)
        return
    from vertune.core.artifact import Home

    facts = {**_machine(), **_base(base), "hub": _hub(), **_disk(Home(home).folder)}
    extras = _packages()
    packages = {name: _version(name) for name in extras}
    if json:
        output.as_json({**facts, "packages": packages, "extras": extras})
        return
    output.facts(facts)
    output.say()
    output.table(
        ["package", "version", "for", "install with"],
        [
            [name, version or "missing", _PURPOSES.get(extras[name], ""), "" if version else f"pip install 'vertune[{extras[name]}]'"]
            for name, version in packages.items()
        ],
    )
    if not all(packages[name] for name, extra in extras.items() if extra == "train"):
        output.note("Training needs all packages of the extra 'train'. Install with: pip install 'vertune[train]'", "yellow")
    elif not all(packages[name] for name, extra in extras.items() if extra == "serve"):
        output.note("`vertune serve` needs all packages of the extra 'serve'. Install with: pip install 'vertune[serve]'", "yellow")
    elif "found" in facts["base"]:
        output.next_steps("vertune init DATA.csv")


def _check_server(url: str, ca: str, cert: str, json: bool) -> None:
    """Print what is found about a running server; the exit status is 1 if something is bad."""
    from dataclasses import asdict

    from vertune import __version__
    from vertune.client.client import Client
    from vertune.client.diagnosis import diagnose

    with Client(url, ca=ca or None, cert=cert or None) as client:
        findings = list(diagnose(client, __version__))
    if json:
        output.as_json({"findings": [asdict(finding) for finding in findings]})
    else:
        output.table(["", "what", "found", "what to do"], [[one.level, one.what, one.found, one.advice] for one in findings])
    if any(finding.level == "bad" for finding in findings):
        raise typer.Exit(1)


def _packages() -> dict[str, str]:
    """Return the optional packages of vertune, each with the extra that installs it, as the installed version of vertune lists them."""
    found: dict[str, str] = {}
    for line in metadata.requires("vertune") or ():
        if sys.platform == "win32" and "sys_platform" in line:  # such a package is only for other systems
            continue
        package, extra = re.match(r"[\w.-]+", line), re.search(r"extra == ['\"]([\w-]+)['\"]", line)
        if package and extra and extra[1] not in _UNSHOWN and package[0] != "vertune":
            found.setdefault(package[0], extra[1])
    return found


def _hub() -> str:
    """Return whether the Hugging Face hub can be reached; being offline is no fault, and the text says so."""
    import http.client
    import urllib.error
    import urllib.request

    address = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    fine = "that is fine: only a base that is not on this machine yet must be downloaded"
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "on", "yes", "true"}:
        return f"switched off by HF_HUB_OFFLINE; {fine}"
    try:
        request = urllib.request.Request(address, method="HEAD")  # noqa: S310 - the user sets the address
        with urllib.request.urlopen(request, timeout=_HUB_SECONDS):  # noqa: S310
            return f"{address} can be reached"
    except urllib.error.HTTPError:
        return f"{address} can be reached"  # it answered, although it refused this request
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        return f"{address} can't be reached ({reason}); {fine}"


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
