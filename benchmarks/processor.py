"""Names the processor and the version of the code that a figure is measured with; imports the standard library alone.

Environments of peers, which lack vertune's packages, can therefore import it too.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_NUMBERS = {"family": "cpu family", "number": "model", "stepping": "stepping"}
"""Entries of /proc/cpuinfo that identify a processor where a virtual machine hides its name, by the names in result files."""


def processor() -> dict[str, Any]:
    """Name, identifying numbers and number of cores, and the instruction sets that decide how fast matrix products are."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    entries = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in info.splitlines())}
    flags = [flag for flag in entries.get("flags", "").split() if flag.startswith(("avx", "amx", "fma", "sse4"))]
    numbers = {name: int(entries[key]) for name, key in _NUMBERS.items() if entries.get(key, "").isdecimal()}
    name = entries.get("model name") or platform.processor() or platform.machine()
    return {"model": name, "cores": os.cpu_count(), **numbers, "flags": flags}


def measured_here() -> dict[str, Any]:
    """Today's date and this processor, which every result file holds beside its figures."""
    return {"date": datetime.now(UTC).date().isoformat(), "cpu": processor()}


def code(root: Path = ROOT) -> dict[str, Any]:
    """The commit, and whether `src` was changed since; without a git checkout, no commit but a hash of the files in `src`.

    It is called after a measurement that may have taken hours, so whatever is wrong with git must not raise an error.
    """
    commit, changed = _git(root, "rev-parse", "HEAD"), _git(root, "status", "--porcelain", "--", "src")
    if commit and changed is not None:
        return {"commit": commit, "changed": bool(changed)}
    return {"commit": None, "changed": None, "source_hash": source_hash(root)}


def source_hash(root: Path = ROOT) -> str:
    """The beginning of the SHA-256 of all Python files in `src`, with their paths."""
    digest = hashlib.sha256()
    for file in sorted((root / "src").rglob("*.py")):
        digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _git(root: Path, *command: str) -> str | None:
    """The output of a git command; None if git is not installed, fails, or finds a repository that is not the one of this folder."""
    try:
        run = subprocess.run(["git", *command], capture_output=True, text=True, cwd=root, check=True)
        top = subprocess.run(["git", "rev-parse", "--show-toplevel"], capture_output=True, text=True, cwd=root, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return run.stdout.strip() if Path(top.stdout.strip()).resolve() == root.resolve() else None
