"""Describes what was tried in a training as one table, for the command line, the report and the card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from vertune.reports.scales import format_value
from vertune.reports.words import metric

_NAMES = {
    "words": "words alone", "probe": "linear probe", "head": "head", "mixed": "model and words",
    "fine-tuning": "fine-tuning", "contrastive": "contrastive training",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One candidate, as texts for the cells of the table."""

    name: str
    score: str
    seconds: str
    milliseconds: str
    megabytes: str
    kept: bool

    @property
    def title(self) -> str:
        """The name, and whether this candidate became the model."""
        return f"{self.name} (chosen)" if self.kept else self.name


@dataclass(frozen=True, slots=True)
class Table:
    """All candidates of a training."""

    title: str
    """The title of the metric."""
    rows: list[Row]
    about: str
    """One or two sentences about how the figures were measured."""


def tried(chosen: Mapping[str, Any] | None) -> Table | None:
    """Return the table of a model; `chosen` is what its training chose. Return None if there was only one candidate."""
    entries = (chosen or {}).get("tried") or []
    if len(entries) < 2:
        return None
    assert chosen is not None
    compared = [replace(_row({**entry, "kept": False}), name=f"{entry['name']}, in folds") for entry in chosen.get("candidates") or []]
    rows = f"{entries[0]['rows']:,}"
    if chosen.get("folds"):
        first = f"On all {rows} labelled rows, each held out in one of {chosen['folds']} folds, with 95 % intervals. "
    else:
        first = f"On {rows} validation rows, with 95 % intervals. "
    folds = "Candidates 'in folds' were measured by cross-validation on the training rows. " if compared else ""
    return Table(
        metric(entries[0]["metric"]).title,
        [*compared, *map(_row, entries)],
        f"{first}{folds}Seconds: training; ms per text: in batches, without tokenising; MB: weights of the candidate's own.",
    )


def _row(entry: Mapping[str, Any]) -> Row:
    unit = metric(entry["metric"]).unit
    ends = "" if entry["low"] is None else f" ({format_value(entry['low'], unit)} to {format_value(entry['high'], unit)})"
    return Row(
        _NAMES.get(entry["name"], f"trained: {entry['name']}"), f"{format_value(entry['value'], unit)}{ends}",
        f"{entry['seconds']:.1f}", f"{entry['milliseconds']:.2f}", f"{entry['bytes'] / 1e6:.1f}", kept=entry["kept"],
    )  # fmt: skip
