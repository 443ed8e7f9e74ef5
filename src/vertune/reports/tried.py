"""Describes what was tried in a training as one table, for the command line, the report and the card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vertune.reports.scales import format_value
from vertune.reports.words import metric

_NAMES = {"words": "words alone", "probe": "linear probe", "head": "head", "mixed": "model and words"}


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
    goal = entries[0]["metric"]
    compared = [row for entry in chosen.get("candidates") or [] if (row := _compared(entry, goal))]
    first = f"On {entries[0]['rows']:,} validation rows, with 95 % intervals. "
    folds = "Candidates 'in folds' were measured by cross-validation on the training rows. " if compared else ""
    return Table(
        metric(goal).title,
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


def _compared(entry: Mapping[str, Any], goal: str) -> Row | None:
    """Return the row of a candidate of a cross-validation; None for one whose metric is another."""
    if goal not in entry:
        return None
    return Row(f"{entry['name']}, in folds", format_value(entry[goal], metric(goal).unit), f"{entry['seconds']:.1f}", "", "", kept=False)
