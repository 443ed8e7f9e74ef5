"""Describes what was tried in a training as one table, for the command line, the report and the card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
    log_loss: str
    """Empty if it was not measured."""
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
    """A few sentences about how the figures were measured."""

    @property
    def has_log_loss(self) -> bool:
        """Whether the log-loss of any candidate was measured."""
        return any(row.log_loss for row in self.rows)

    @property
    def header(self) -> list[str]:
        """The titles of the columns."""
        return ["candidate", self.title, *(["log-loss"] if self.has_log_loss else []), "seconds", "ms per text", "MB"]

    @property
    def cells(self) -> list[list[str]]:
        """The cells of each row, in the order of the columns."""
        return [
            [row.title, row.score, *([row.log_loss] if self.has_log_loss else []), row.seconds, row.milliseconds, row.megabytes]
            for row in self.rows
        ]


def tried(chosen: Mapping[str, Any] | None) -> Table | None:
    """Return the table of a model; `chosen` is what its training chose. Return None if there was only one candidate."""
    entries = (chosen or {}).get("tried") or []
    if len(entries) < 2:
        return None
    assert chosen is not None
    compared = [replace(_row({**entry, "kept": False}), name=f"{entry['name']}, in folds") for entry in chosen.get("candidates") or []]
    table = Table(metric(entries[0]["metric"]).title, [*compared, *map(_row, entries)], about="")
    return replace(table, about=" ".join(_about(entries, chosen, bool(compared), table.has_log_loss)))


def _about(entries: Sequence[Mapping[str, Any]], chosen: Mapping[str, Any], compared: bool, log_loss: bool) -> Iterator[str]:
    """Yield sentences about how the figures were measured."""
    rows, folds = f"{max(entry['rows'] for entry in entries):,}", chosen.get("folds")
    run = max((entry.get("folds") or 0 for entry in entries), default=0) or folds
    if folds and run < folds:
        yield f"On {rows} labelled rows, held out in {run} of {folds} folds, until one candidate was left, with 95 % intervals."
    elif folds:
        yield f"On all {rows} labelled rows, each held out in one of {folds} folds, with 95 % intervals."
    else:
        yield f"On {rows} validation rows, with 95 % intervals."
    if compared:
        yield "Candidates 'in folds' were measured by cross-validation on the training rows."
    if len({entry["folds"] for entry in (*entries, *(chosen.get("candidates") or [])) if entry.get("folds")}) > 1:
        yield "Candidates that another one clearly beat were measured in fewer folds."
    if log_loss:
        yield "Log-loss: of calibrated probabilities."
    yield "Seconds: training; ms per text: in batches, without tokenising; MB: weights of the candidate's own."


def _row(entry: Mapping[str, Any]) -> Row:
    unit = metric(entry["metric"]).unit
    ends = "" if entry["low"] is None else f" ({format_value(entry['low'], unit)} to {format_value(entry['high'], unit)})"
    return Row(
        _NAMES.get(entry["name"], f"trained: {entry['name']}"), f"{format_value(entry['value'], unit)}{ends}",
        log_loss=f"{entry['log_loss']:.3f}" if "log_loss" in entry else "", seconds=f"{entry['seconds']:.1f}",
        milliseconds=f"{entry['milliseconds']:.2f}", megabytes=f"{entry['bytes'] / 1e6:.1f}", kept=entry["kept"],
    )  # fmt: skip
