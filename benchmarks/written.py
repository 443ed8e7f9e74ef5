"""Reads result files and formats tables and processors for the pages; knows no benchmark."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent / "results"
NOT_MEASURED = "not measured yet\n"
INSTRUCTIONS = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_vnni": "VNNI", "avx512_bf16": "BF16", "amx_bf16": "AMX"}
"""Instruction sets that decide how fast matrix products are."""
GENERATIONS = {
    "AMD": (("avx512_vp2intersect", "Zen 5"), ("avx512_bf16", "Zen 4"), ("avx2", "Zen 3 or older")),
    "Intel": (("amx_fp16", "Granite Rapids"), ("amx_bf16", "Sapphire or Emerald Rapids"), ("avx512f", "Ice Lake or older")),
}
"""For each maker of server processors: instruction sets, newest first, with the generation that brought them. Virtual machines often
hide the number of the model ("AMD EPYC"), but not the instruction sets."""


@dataclass(frozen=True)
class Figure:
    """One measured figure beside its bar; `key` names it in missed.yaml."""

    key: str
    what: str
    measured: str
    bar: str
    missed: bool


def results(name: str) -> dict[str, Any]:
    """The content of a result file; empty if the benchmark was never run."""
    file = RESULTS / f"{name}.json"
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.exists() else {}


def machines(*parts: dict[str, Any]) -> str:
    """The processors and dates that result entries name, in one sentence."""
    entries = [part.get("machine", part) for part in parts]
    recorded = [entry for entry in entries if entry.get("cpu")]
    processors = ", ".join(dict.fromkeys(processor_of(entry) for entry in recorded))
    dates = sorted({str(entry["date"])[:10] for entry in recorded})
    missing = len(entries) - len(recorded)
    if not recorded:
        return "Processor: not recorded."
    span = dates[0] if dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}"
    rest = f" Not recorded for {missing} of {len(entries)} entries." if missing else ""
    return f"Processor: {processors}. Measured {span}.{rest}"


def processor_of(entry: dict[str, Any]) -> str:
    """Name, number of cores and instruction sets of a processor; of a name without a number, the generation too."""
    cpu = entry["cpu"]
    if isinstance(cpu, str):
        return f"{cpu}, {entry['cores']} cores"
    found = [name for flag, name in INSTRUCTIONS.items() if flag in cpu["flags"]]
    return f"{cpu['model']}{_generation(cpu)}, {cpu['cores']} cores" + (f" ({', '.join(found)})" if found else "")


def _generation(cpu: dict[str, Any]) -> str:
    """The generation of a processor in brackets, from its instruction sets; nothing if its name has a number, or if it is unknown."""
    maker = next((maker for maker in GENERATIONS if maker in cpu["model"]), None)
    if maker is None or re.search(r"\d", cpu["model"]):
        return ""
    return next((f" ({generation})" for flag, generation in GENERATIONS[maker] if flag in cpu["flags"]), "")


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, or that nothing was measured yet."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines) if rows else NOT_MEASURED


def figures_table(figures: Iterator[Figure]) -> str:
    """A table of figures with their bars."""
    return table(["what", "measured", "bar"], [[one.what, one.measured, one.bar] for one in figures])


def bar_figures(key: str, about: str, bars: dict[str, Any]) -> Iterator[Figure]:
    """The bars of a result file: each has a limit, whether it `is` the `least` or the most, a figure, and whether it is `met`.

    `low` and `high`, of the rounds of a measurement, stand behind the figure where they differ from it.
    """
    for name, one in bars.items():
        sign = "≥" if one["is"] == "least" else "≤"
        spread = f" ({short(one['low'])} – {short(one['high'])})" if one["low"] != one["high"] else ""
        yield Figure(f"{key}/{name}", f"{about}: {name}", f"{short(one['figure'])}{spread}", f"{sign} {short(one['bar'])}", not one["met"])


def short(value: float) -> str:
    """Three significant digits, without an exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) >= 0.001 or not value else f"{value:.6f}"
