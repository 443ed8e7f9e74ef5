"""Tables of how often the gate of releases is wrong, and of whether the labels that it asks for decide."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from written import Figure, bar_figures, figures_table, machines, results, table

_SHOWN = {"equal": "exactly as good", "2 points worse": "2 points worse", "2 points better": "2 points better"}


def gating() -> str:
    """What the gate says of candidates whose true difference from the live model is known."""
    found = results("gating")
    head = ["candidates", "pass", "can't tell", "fail", "labels asked for (median)", "decided with them", "with a third of them"]
    rows = [[name, *_row(found["kinds"][kind])] for kind, name in _SHOWN.items()]
    return table(head, rows) + "\n" + figures_table(gating_figures()) + "\n" + machines(found) + "\n"


def _row(one: dict[str, Any]) -> list[str]:
    verdicts = [f"{100 * one['verdicts'][name]:.1f} %" for name in ("pass", "unknown", "fail")]
    if not one["labels_asked"]:
        return [*verdicts, "–", "–", "–"]
    after = [f"{100 * (1 - one['after'][name]['unknown']):.0f} % of {one['followed']}" for name in ("all", "a third")]
    return [*verdicts, f"{one['labels_asked'][1]:,}", *after]


def gating_figures() -> Iterator[Figure]:
    """The bars of the gate."""
    yield from bar_figures("gating", "The gate of releases", results("gating")["bars"])
