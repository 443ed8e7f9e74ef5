"""The figures of replayed conversations: wrong answers, containment, asking back, handing over, each with its interval; pure counting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vertune.metrics import bootstrap
from vertune.metrics.drift import share_interval
from vertune.products.replay import Outcome

FIGURES = ("false_answers", "containment", "right", "clarified", "handoff_precision", "handoff_recall", "resolved")
"""The names of the figures, in the order in which they are shown."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A share with its 95 % interval (Wilson 1927)."""

    hits: int
    of: int
    value: float | None
    """None if there is nothing to count."""
    low: float
    high: float

    @classmethod
    def of_hits(cls, hits: int, of: int) -> Figure:
        """Return the share of `hits` among `of`."""
        low, high = share_interval(hits, of)
        return cls(hits, of, hits / of if of else None, low, high)

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def figures(outcomes: Sequence[Outcome]) -> dict[str, Figure]:
    """Return all figures.

    `false_answers` is the share of the answers given that are wrong; `containment` the share of the messages with a right answer that
    are answered at once; `right` the share of turns that are as expected; `clarified` the share of turns that ask which intent is meant;
    `handoff_precision` and `handoff_recall` compare with the turns that must, or may, hand over; `resolved` is the share of conversations
    that end without a person.
    """
    given = [one for one in outcomes if one.given]
    inside = [one for one in outcomes if one.inside]
    handed = [one for one in outcomes if one.reply.action == "handoff"]
    wanted = [one for one in outcomes if one.expected.action == ["handoff"]]
    whole = {one.conversation for one in outcomes}
    return {
        "false_answers": Figure.of_hits(sum(one.false for one in given), len(given)),
        "containment": Figure.of_hits(sum(one.given and not one.false for one in inside), len(inside)),
        "right": Figure.of_hits(sum(one.right for one in outcomes), len(outcomes)),
        "clarified": Figure.of_hits(sum(one.reply.action == "clarify" for one in outcomes), len(outcomes)),
        "handoff_precision": Figure.of_hits(sum("handoff" in one.expected.action for one in handed), len(handed)),
        "handoff_recall": Figure.of_hits(sum(one.reply.action == "handoff" for one in wanted), len(wanted)),
        "resolved": Figure.of_hits(len(whole) - len({one.conversation for one in handed}), len(whole)),
    }


def by(outcomes: Sequence[Outcome], key: Callable[[Outcome], str | None]) -> dict[str, dict[str, Figure]]:
    """Return the figures of each group of outcomes, the largest group first; outcomes whose key is None or empty are left out."""
    groups: dict[str, list[Outcome]] = {}
    for one in outcomes:
        if name := key(one):
            groups.setdefault(name, []).append(one)
    return {name: figures(rows) for name, rows in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))}


@dataclass(frozen=True, slots=True)
class Given:
    """What a simple baseline does with one message: the intent or entry that it answers, or None if it hands over."""

    answer: str | None


def baseline_figures(outcomes: Sequence[Outcome], given: Sequence[Given]) -> dict[str, Figure]:
    """Return the figures of a baseline that answers single messages, for the same turns."""
    answered = [(one, other.answer) for one, other in zip(outcomes, given, strict=True) if other.answer is not None]
    inside = [(one, other.answer) for one, other in zip(outcomes, given, strict=True) if one.inside]
    return {
        "false_answers": Figure.of_hits(sum(not _fits(one, answer) for one, answer in answered), len(answered)),
        "containment": Figure.of_hits(sum(_fits(one, answer) for one, answer in inside), len(inside)),
    }


def _fits(outcome: Outcome, answer: str | None) -> bool:
    expected = outcome.expected
    return answer is not None and answer in {expected.intent, expected.entry, *expected.also}


def difference(outcomes: Sequence[Outcome], given: Sequence[Given]) -> bootstrap.Interval | None:
    """Return by how much more messages a product answers rightly than a baseline, paired by conversation; None if none has an answer."""
    rows = [(one, other) for one, other in zip(outcomes, given, strict=True) if one.inside]
    if not rows:
        return None
    ours = np.array([[1, one.given and not one.false] for one, _ in rows], np.float64)
    theirs = np.array([[1, _fits(one, other.answer)] for one, other in rows], np.float64)
    members = np.unique([one.conversation for one, _ in rows], return_inverse=True)[1]

    def summarise(total: Any) -> dict[str, Any]:
        return {"containment": total[..., 1] / np.maximum(total[..., 0], 1)}

    tallies = [bootstrap.Tallies(bootstrap.merged(one, members), summarise) for one in (ours, theirs)]
    found = bootstrap.paired(tallies[0], tallies[1])["containment"]
    return bootstrap.Interval(found.value, max(-1.0, found.low), min(1.0, found.high))  # a difference of two shares
