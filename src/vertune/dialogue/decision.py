"""Decides whether a message is answered, asked about or searched for, by thresholds learnt for a stated rate of false answers.

A false answer is an answer to a message that means another intent, or none. `learn` finds on calibration rows, which no model was trained
on, the lowest trust at which the share of false answers among all answers stays below a target. With the probability `confidence`, this
holds for messages of the same kind: risk control by fixed-sequence testing (Angelopoulos, Bates, Candès, Jordan and Lei 2021, "Learn then
Test") with exact binomial p-values. Knows nothing of models and texts.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vertune.core.errors import DataError
from vertune.dialogue.bounds import fewest, lower_tail, upper_bound

TARGETS = (0.01, 0.02, 0.05)
"""Rates of false answers for which thresholds are learnt."""
CONFIDENCE = 0.9
"""Probability with which a learnt threshold keeps its rate."""
_LATER, _LATER_SHARE = 1 / 3, 0.2
"""Share of the calibration rows, the most trusted ones, from which thresholds are loosened a second time, with this share of the error.

The first start is the fewest rows that may be enough; if false answers are among them by chance, the second one doesn't depend on it.
"""
_STEPS = 200
"""Largest number of thresholds that are tested from a start."""
_OFFERED = (2, 4)
"""Fewest and most intents in a question which is meant."""
_OFFER_MISSES = 0.1
"""Share of messages that are asked about whose intent may be missing among those that are offered."""
_INSIDE_LOST = 0.05
"""Share of messages with an intent that may be treated as outside of all intents."""
_FEWEST_ROWS = 20
_TIMES = tuple(1.05**power for power in range(95))
"""How many times as many rows are tried, up to a hundred."""

Floats = NDArray[np.floating[Any]]
Places = NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a decision needs, and what it was learnt from."""

    target: float
    """The stated rate of false answers."""
    answer: float | None
    """Trust above which a message is answered; None if the rows are too few, or too often wrong, to promise the rate for any."""
    offer: float
    """Least probability of an intent that is offered when it is asked which one is meant."""
    outside: float
    """Score above which a message is outside of all intents."""
    confidence: float
    """Probability with which the rate is kept."""
    rows: int
    """Number of calibration rows."""
    answered: int
    """How many of them are answered."""
    wrong: int
    """How many of the answers are false."""
    bound: float
    """Upper bound of the rate of false answers (Clopper and Pearson) with the error of one test."""

    def as_json(self) -> dict[str, Any]:
        """Return the fields as a dict that `read` takes."""
        return asdict(self)

    @classmethod
    def read(cls, stored: dict[str, Any]) -> Thresholds:
        """Return the thresholds that `as_json` wrote."""
        return cls(**stored)


@dataclass(frozen=True, slots=True)
class Decision:
    """What is done with a message."""

    kind: Literal["answer", "clarify", "search"]
    """Answer the intent; ask which of a few is meant; search documents, or hand over."""
    intents: tuple[str, ...]
    """The intent that is answered, or those that are offered, the most probable one first; none if it is searched."""
    confidence: float
    """The trust in the most probable intent: how probable it is that this intent is meant."""


def trust(probabilities: Floats, outside: Floats) -> Floats:
    """Return how probable it is that the most probable intent is meant: its probability, unless the message is outside of all intents.

    `probabilities` has the shape (rows, intents); `outside`, (rows,), are probabilities of being outside.
    """
    top: Floats = probabilities.max(1) * (1 - outside)
    return top


def learn(
    probabilities: Floats, right: Places, outside: Floats, targets: Sequence[float] = TARGETS, confidence: float = CONFIDENCE
) -> dict[float, Thresholds]:  # fmt: skip
    """Return thresholds for each target.

    `probabilities` (rows, intents) are what a model says of calibration rows; `right` (rows,) is the place of the intent that is meant, or
    -1; `outside` (rows,) are probabilities of being outside of all intents. The rows must be messages as they come, also in how many of
    them are outside. Raises DataError for fewer than 20 rows, or for none with an intent.

    The rows are ordered by trust. Given the trust of the row after them, the first k rows are a random sample of the messages with a higher
    trust, so that the number of false answers among them is binomial. From each of two starts the threshold is loosened as long as a rate
    at the target is rejected; the starts share the error. That the rate holds with `confidence` needs that messages with less trust are not
    less often wrong, as far as the threshold is near; that a single tested threshold keeps its rate needs no assumption.
    """
    _check(probabilities, right, outside)
    values = trust(probabilities, outside)
    order = np.argsort(-values, kind="stable")
    wrong = np.cumsum((probabilities.argmax(1) != right)[order])
    ordered = values[order]
    learnt = {}
    for target in targets:
        starts = _starts(len(ordered), target, 1 - confidence)
        best, error = max(((_loosest(ordered, wrong, start, (target, error)), error) for start, error in starts), default=(0, 0.0))
        unsure = values <= (_cut(ordered, best) if best else math.inf)
        learnt[target] = Thresholds(
            target=target,
            answer=_cut(ordered, best) if best else None,
            offer=_offer(probabilities, right, unsure),
            outside=_quantile(outside[right >= 0], 1 - _INSIDE_LOST),
            confidence=confidence,
            rows=len(ordered),
            answered=best,
            wrong=int(wrong[best - 1]) if best else 0,
            bound=upper_bound(int(wrong[best - 1]), best, error) if best else 1.0,
        )
    return learnt


def rows_needed(values: Floats, right: NDArray[np.bool_], target: float, confidence: float = CONFIDENCE) -> int | None:
    """Return about how many calibration rows would show a threshold for a target, if they were like these, shape (rows,).

    `values` are trusts, and `right` says which rows are answered rightly. None means that the most trusted rows are wrong too often for
    any number, or that it would take more than a hundred times as many.
    """
    wrong = np.cumsum(~right[np.argsort(-values, kind="stable")])
    for times in _TIMES:
        rows = round(times * len(wrong))
        for start, error in _starts(rows, target, 1 - confidence):
            false = round(times * wrong[min(len(wrong), math.ceil(start / times)) - 1])
            if lower_tail(false, start, target) <= error:
                return rows
    return None


def decide(
    probabilities: Sequence[float] | Floats, outside: float, thresholds: Thresholds, intents: Sequence[str], rejected: Collection[str] = ()
) -> Decision:  # fmt: skip
    """Return what is done with a message, of which a model gives the probability of each of `intents`.

    Intents that the customer has rejected are left out; the probabilities of the others stay as they are, so that a rejection alone never
    makes an answer sure.
    """
    values = np.array(probabilities, float)
    values[[intent in rejected for intent in intents]] = 0.0
    order = np.argsort(-values, kind="stable")
    sure = float(values[order[0]] * (1 - outside))
    if thresholds.answer is not None and sure > thresholds.answer:
        return Decision("answer", (intents[int(order[0])],), sure)
    offered = [int(place) for place in order if values[place] >= thresholds.offer and values[place] > 0]
    if outside > thresholds.outside or len(offered) > _OFFERED[1] or values[order[0]] <= 0:
        return Decision("search", (), sure)
    offered = [int(place) for place in order[: max(len(offered), _OFFERED[0])] if values[place] > 0]
    return Decision("clarify", tuple(intents[place] for place in offered), sure)


def wishes_of(whole: Decision, parts: Sequence[Decision]) -> list[Decision]:
    """Return the decisions on a message that may hold several wishes: those of its parts if at least two are answered and differ.

    A part that isn't answered doesn't count: it may be no wish at all.
    """
    answered: dict[str, Decision] = {}
    for part in parts:
        if part.kind == "answer":
            answered.setdefault(part.intents[0], part)
    return list(answered.values()) if len(answered) > 1 else [whole]


def _check(probabilities: Floats, right: Places, outside: Floats) -> None:
    rows = len(probabilities)
    if rows < _FEWEST_ROWS or not (right >= 0).any():
        inside = int((right >= 0).sum())
        raise DataError(
            f"There are {rows} calibration rows, {inside} of them with an intent. Thresholds need at least {_FEWEST_ROWS} rows. Add rows."
        )
    if len(right) != rows or len(outside) != rows or not np.isfinite(probabilities).all() or not np.isfinite(outside).all():
        raise DataError(
            f"There are {rows} rows of probabilities, {len(right)} intents and {len(outside)} scores, or some are not finite numbers. "
            "Pass one finite number of each for each row."
        )


def _starts(rows: int, target: float, error: float) -> list[tuple[int, float]]:
    """Return from how many answers on thresholds are tested, each with its part of the error; none if all rows are too few.

    The first start is the fewest answers of which one may be false; with few rows, the fewest without a false one.
    """
    later = math.ceil(_LATER * rows)
    for failed, share in ((1, 1 - _LATER_SHARE), (1, 1.0), (0, 1.0)):
        first = fewest(target, share * error, failed)
        if first < later or (share == 1.0 and first <= rows):
            return [(first, share * error), *([(later, (1 - share) * error)] if share < 1 else [])]
    return []


def _loosest(ordered: Floats, wrong: NDArray[np.integer[Any]], start: int, test: tuple[float, float]) -> int:
    """Return how many of the ordered rows are answered by the loosest threshold of a sequence before the first that isn't accepted."""
    target, error = test
    best, step = 0, max(1, len(ordered) // _STEPS)
    for count in [*range(start, len(ordered), step), len(ordered)]:
        while count < len(ordered) and ordered[count] == ordered[count - 1]:
            count += 1  # rows with the same trust are answered together
        if lower_tail(int(wrong[count - 1]), count, target) > error:
            break
        best = count
    return best


def _cut(ordered: Floats, count: int) -> float:
    """Return the trust above which the first `count` rows are."""
    return float(ordered[count]) if count < len(ordered) else -1.0


def _offer(probabilities: Floats, right: Places, unsure: NDArray[np.bool_]) -> float:
    """Return the least probability of intents to offer, so that the one that is meant is among them (Sadinle, Lei and Wasserman 2019).

    It is learnt on the rows with an intent that are not answered, as only these are asked about; on all of them if there are few.
    """
    asked = (right >= 0) & unsure
    rows = asked if asked.sum() >= _FEWEST_ROWS else right >= 0
    own = probabilities[rows, right[rows]]
    return 1 - _quantile(1 - own, 1 - _OFFER_MISSES)


def _quantile(values: Floats, share: float) -> float:
    """Return the value that a further one exceeds with at most the probability 1 - share (split conformal prediction)."""
    place = math.ceil((len(values) + 1) * share)
    return float(np.sort(values)[place - 1]) if place <= len(values) else 1.0
