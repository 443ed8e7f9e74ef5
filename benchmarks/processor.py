"""Names the processor that a figure is measured on; needs the standard library alone, so that peers' environments import it too."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def processor() -> dict[str, Any]:
    """Model, number of cores, and the instruction sets that decide how fast matrix products are."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    entries = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in info.splitlines())}
    flags = [flag for flag in entries.get("flags", "").split() if flag.startswith(("avx", "amx", "fma", "sse4"))]
    return {"model": entries.get("model name", platform.processor()), "cores": os.cpu_count(), "flags": flags}


def measured_here() -> dict[str, Any]:
    """Today's date and this processor, which every result file holds beside its figures."""
    return {"date": datetime.now(UTC).date().isoformat(), "cpu": processor()}
