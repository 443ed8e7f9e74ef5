"""Adds descriptions of labels, such as their names, to the training examples where there are few; knows nothing of training loops.

A label is often called like what it means, and a pretrained model has read these words. Names that mislead are found by a cross-validation
of linear probes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from vertune.learning import probe, team
from vertune.learning.examples import Examples, encode
from vertune.learning.training_input import TrainingInput
from vertune.nn.vertical import VerticalModel

ROWS_PER_LABEL = 16
"""Largest mean number of labelled rows per label with which descriptions are training rows: with more, they change little."""


def read(training_input: TrainingInput, pool: Examples, columns: Sequence[str]) -> tuple[Examples | None, bool]:
    """Return the examples that describe the labels, and whether they are surely of use; None if there are none, or many other rows.

    `pool` contains all labelled rows that the model may be trained on, and `columns` are their columns.
    """
    task = training_input.task
    records, sure = task.label_records(columns) if len(pool) <= ROWS_PER_LABEL * task.size and team.size() == 1 else ([], False)
    return (encode(records, task, training_input.encoder, task.views(columns)) if records else None), sure


def chosen(
    training_input: TrainingInput, pool: Examples, columns: Sequence[str], build: Callable[[TrainingInput], VerticalModel]
) -> tuple[TrainingInput, dict[str, Any] | None]:
    """Return the input with descriptions of the labels as examples, if they help, and what the report says about them.

    `pool` contains the labelled rows on which this is decided, and `columns` are their columns. `build` returns the model before
    training.
    """
    described, sure = read(training_input, pool, columns)
    if described is None:
        return training_input, None
    facts: dict[str, Any] = {"labels": len(described)}
    if not sure:
        model = build(training_input)
        if not probe.solvable(model, training_input.task, pool):
            return training_input, None
        found = losses(training_input, pool, described, model)
        facts |= {name: round(loss, 4) for name, loss in found.items()}
        if found["with"] >= found["without"]:
            return training_input, None
    training_input.progress("described", **facts)
    return added(training_input, described), facts


def losses(training_input: TrainingInput, pool: Examples, described: Examples, model: VerticalModel) -> dict[str, float]:
    """Return the mean loss of held-out rows `with` and `without` the descriptions, in a cross-validation of linear probes.

    `model` is the model before training.
    """
    both = replace(training_input, examples=pool.joined(described), cache=None)
    frozen, task = probe.freeze(model, both), training_input.task
    return {
        "with": probe.cross_validate(frozen, len(pool), task, task.size),
        "without": probe.cross_validate(frozen.until(len(pool)), len(pool), task, task.size),
    }


def added(training_input: TrainingInput, described: Examples) -> TrainingInput:
    """Return the input with the descriptions after its examples."""
    return replace(training_input, examples=training_input.examples.joined(described), described=described)
