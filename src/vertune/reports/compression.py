"""Renders the report page of a compression from the manifest of the compressed model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vertune.reports import render
from vertune.reports.words import metric

_VERDICTS = {
    "accepted": ("Accepted", "good", "The smaller model loses no more accuracy than compress.tolerance allows."),
    "refused": ("Refused", "bad", "The smaller model loses too much accuracy and is not kept."),
    "undecided": ("Undecided", "warn", "There are too few labelled rows to decide. Decide yourself, or add rows."),
}
_SIZES = ("16", "128", "512")
"""Text lengths in tokens for which the page shows the latency."""


def page(manifest: Mapping[str, Any]) -> str:
    """Return the HTML of the report page; `manifest` is the content of manifest.json of a compressed model.

    In it, `candidates` lists the results of the model before compression and after each compressor. `gate` describes
    how the loss of accuracy was compared with the allowed loss; its entry `cross_validation` is None if there was none.
    """
    gate, candidates = manifest["gate"], manifest["candidates"]
    first, last = candidates[0], candidates[-1]
    sizes = [size for size in _SIZES if size in first["measured"]["latency"]] or list(first["measured"]["latency"])
    return render(
        "compress.html",
        name=manifest["name"],
        model=manifest["id"],
        goal=metric(gate["goal"]),
        gate=gate,
        cross_validation=gate.get("cross_validation"),
        candidates=candidates,
        sizes=sizes,
        first=first,
        last=last,
        verdict=_VERDICTS[last["verdict"]],
        faster=first["measured"]["latency"][sizes[0]] / last["measured"]["latency"][sizes[0]],
        smaller=first["bytes"] / last["bytes"],
        points=[
            {
                "name": candidate["name"],
                "x": 1000 * candidate["measured"]["latency"][sizes[0]],
                "y": candidate["metrics"][gate["goal"]],
                "tone": "accent" if candidate["best"] else "plain",
            }
            for candidate in candidates
        ],
    )
