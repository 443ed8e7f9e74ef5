"""States in one sentence how much of a model's answers comes from words, and what the mix is worth; for the report and the card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vertune.reports.scales import format_value
from vertune.reports.words import metric

_NAMES = {"model": "the model alone", "words": "words alone", "known": "spans of training rows alone", "mixed": "both"}


def mix(figures: Mapping[str, Any] | None) -> str | None:
    """Return the sentence; `figures` is the entry `companion` of what a training chose. Return None if there is none."""
    if not figures:
        return None
    weights = f"outputs times {figures['model']:.3g}"
    if figures["words"]:
        share = format_value(figures["share"], "share")
        weights += f", scores of words times {figures['words']:.3g}, {share} of the differences between texts"
    else:
        weights += ", and no scores of words"
    measured = [
        f"{', '.join(f'{metric(name).title} {format_value(value, metric(name).unit)}' for name, value in values.items())} ({_NAMES[side]})"
        for side, values in figures["validation"].items()
    ]
    return f"{weights}. On held-out rows, which chose these weights: {'; '.join(measured)}"
