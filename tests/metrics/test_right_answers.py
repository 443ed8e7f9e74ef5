"""The right answers of records: decisions first, then the majority or the most probable answer; never one that somebody rejected."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from vertune.core.records import Column
from vertune.metrics.consensus import dawid_skene, most_probable
from vertune.metrics.right_answers import probable_values, right_answers

LABEL = Column("label", "The class.", role="target", type="label")
SET = Column("labels", "The labels.", role="target", type="labels")


@dataclass
class Judged:
    """A record with labels of a field."""

    said: dict[str, Any]
    decided: dict[str, Any] | None = None
    rejected: bool = False
    column: Column = field(default=LABEL)

    @property
    def votes(self) -> dict[str, dict[str, Any]]:
        return {name: {self.column.name: value} for name, value in self.said.items()}


def answers(records, column=LABEL, rule="majority"):
    found = list(right_answers(records, [column], rule))
    assert [one for one, _ in found] == records
    return [None if target is None else target[column.name] for _, target in found]


@pytest.mark.parametrize("rule", ["majority", "dawid_skene"])
def test_decisions_come_first_and_what_is_rejected_has_no_answer(rule):
    records = [
        Judged({"a": "x", "b": "x"}), Judged({"a": "x", "b": "y"}, {"label": "z"}), Judged({"a": "x"}, rejected=True), Judged({}),
        Judged({}, {"label": "y"}), Judged({"a": "y"}, {"label": "x"}, rejected=True),
    ]  # fmt: skip
    assert answers(records, rule=rule) == ["x", "z", None, None, "y", "x"]


def test_the_reliable_annotator_is_believed_by_the_model_alone():
    """`good` and `fine` agree on nearly all, and `poor` guesses; then the three disagree in pairs."""
    random = np.random.default_rng(0)
    truth = random.choice(list("xyz"), 120)
    guesses = random.choice(list("xyz"), 120)
    records = [Judged({"good": one, "fine": one, "poor": str(other)}) for one, other in zip(map(str, truth), guesses, strict=True)]
    records.append(Judged({"good": "x", "poor": "y"}))
    assert answers(records)[-1] is None
    assert answers(records, rule="dawid_skene")[-1] == "x"
    (value, probability) = probable_values(records, LABEL)[-1]
    assert (value, probability > 0.9) == ("x", True)


def test_what_all_say_is_never_overruled_though_another_label_is_more_frequent():
    records = [*(Judged({"a": "x"}) for _ in range(200)), Judged({"b": "y"})]
    assert dawid_skene([one.said for one in records]).answers[-1] == "x"
    assert answers(records, rule="dawid_skene")[-1] == "y"


def test_two_who_disagree_are_undecided_if_nothing_else_is_known():
    assert most_probable([{"a": "x", "b": "y"}, {"a": "y", "b": "x"}, {}], "label") == [None, None, None]
    assert most_probable([], "label") == []


def test_each_label_of_a_set_is_decided_by_itself():
    random = np.random.default_rng(1)
    rows = [[one for one in "uvw" if random.random() < 0.5] for _ in range(80)]
    records = [Judged({"good": row, "fine": row, "poor": [one for one in "uvw" if random.random() < 0.5]}, column=SET) for row in rows]
    records.append(Judged({"good": ["u", "v"], "poor": ["w"]}, column=SET))
    assert answers(records, SET, "dawid_skene") == [*rows, ["u", "v"]]
    values = [one.said for one in records]
    assert [value for value, _ in most_probable([*values, {"good": []}], "labels")][-1] == []
    assert most_probable([*values, {}], "labels")[-1] is None


def test_a_target_of_two_fields_needs_both():
    other = Column("score", "A number.", role="target", type="number")

    class Both:
        decided, rejected = None, False

        def __init__(self, **votes):
            self.votes = votes

    pairs = [
        Both(a={"label": "x", "score": 1}, b={"label": "x", "score": 3}),
        Both(a={"label": "x", "score": 1}, b={"label": "y", "score": 1}),
    ]
    assert [target for _, target in right_answers(pairs, [LABEL, other], "majority")] == [{"label": "x", "score": 2}, None]
