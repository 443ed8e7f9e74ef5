"""The page of a compression, drawn from the manifest of what it made; knows nothing of compressors or models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vertune.reports import render
from vertune.reports.words import metric

_VERDICTS = {
    "accepted": ("accepted", "good", "It keeps what the model can."),
    "refused": ("refused", "bad", "It is not kept."),
    "undecided": ("undecided", "warn", "Somebody must decide."),
}
_SIZES = ("16", "128", "512")


def page(manifest: Mapping[str, Any]) -> str:
    """The HTML; `manifest` is that of a compressed model, with `candidates` and `gate`."""
    gate, candidates = manifest["gate"], manifest["candidates"]
    first, last = candidates[0], candidates[-1]
    sizes = [size for size in _SIZES if size in first["measured"]["latency"]] or list(first["measured"]["latency"])
    return render(
        "compress.html",
        name=manifest["name"],
        model=manifest["id"],
        goal=metric(gate["goal"]),
        gate=gate,
        candidates=candidates,
        sizes=sizes,
        first=first,
        last=last,
        verdict=_VERDICTS[last["verdict"]],
        times=first["measured"]["latency"][sizes[0]] / last["measured"]["latency"][sizes[0]],
        smaller=first["bytes"] / last["bytes"],
        points=[
            {
                "name": one["name"],
                "x": 1000 * one["measured"]["latency"][sizes[0]],
                "y": one["metrics"][gate["goal"]],
                "tone": "accent" if one["best"] else "plain",
            }
            for one in candidates
        ],
    )
