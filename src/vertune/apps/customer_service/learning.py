"""Learns from labelled messages when a reply may be given, so that a stated share of the answers given is wrong; knows no conversations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.apps.customer_service import searching
from vertune.apps.customer_service.knowledge import Knowledge
from vertune.apps.customer_service.understanding import readable
from vertune.core.app import Ask, Labelled
from vertune.core.pack import intent_passage
from vertune.core.records import Answer
from vertune.dialogue import decision
from vertune.dialogue.outside import Outside, Reference, own_places, signals

_LEAST = 20
"""Fewest labelled messages inside, and outside, by which they are told apart, so that each of five parts leaves enough of them."""
_HELPFUL = 0.5
"""Least share of offers that contain the right entry."""
_CHUNK = 256
"""Messages that are predicted together."""


def learn(know: Knowledge, messages: Sequence[Labelled], ask: Ask, trained: Sequence[Labelled] = ()) -> dict[str, Any]:
    """Return, as JSON, the thresholds of intents and of search, and what recognises messages that belong to no intent.

    A message that an entry answers belongs to no intent either: an intent that took it would be a wrong answer.
    """
    learnt: dict[str, Any] = {"messages": len(messages)}
    answers = _predicted(ask, messages, "intents")
    unsure = [True] * len(messages)
    if answers:
        found, unsure = _intents(know, messages, answers, _Reading(ask, trained))
        learnt |= found
    left = [message for message, one in zip(messages, unsure, strict=True) if one]
    sought = _search(know, left, ask) if any(one.entry is not None for one in messages) else {}
    return {**learnt, "search": sought} if sought else learnt


def _predicted(ask: Ask, messages: Sequence[Labelled], slot: str) -> list[Answer]:
    found: list[Answer] = []
    for start in range(0, len(messages), _CHUNK):
        records = [{"text": readable(one.text, ask)} for one in messages[start : start + _CHUNK]]
        found += ask.predict({slot: records}).get(slot, [])
    return found


def _intents(
    know: Knowledge, messages: Sequence[Labelled], answers: Sequence[Answer], reading: _Reading
) -> tuple[dict[str, Any], list[bool]]:  # fmt: skip
    """Learn the thresholds of intents, and what tells messages apart that belong to none, if there are enough of them.

    Returns them with the messages that are not answered by them, which is what search gets.
    """
    labels = list(answers[0]["probabilities"])
    places = {label: number for number, label in enumerate(labels)}
    probabilities = np.array([[one["probabilities"][label] for label in labels] for one in answers])
    right = np.array([places.get(one.intent or "", -1) for one in messages])
    vectors = reading.vectors(messages)
    reference = reading.reference(places, vectors[right < 0] if vectors is not None else None)
    found = signals(probabilities, vectors=vectors if reference is not None else None, reference=reference, own=own_places(right < 0))
    enough = min((right < 0).sum(), (right >= 0).sum()) >= _LEAST
    scores = Outside.held_out(found, right < 0) if enough else np.zeros(len(messages))
    thresholds = decision.learn(probabilities, right, scores, (know.error,))[know.error]
    rows = zip(probabilities, scores, strict=True)
    unsure = [decision.decide(row, float(score), thresholds, intents=labels).kind != "answer" for row, score in rows]
    return {
        "labels": labels,
        "thresholds": thresholds.as_json(),
        "outside": Outside.fit(found, right < 0).as_json() if enough else None,
        "reference": reference.as_json() if reference is not None else None,
    }, unsure


@dataclass(frozen=True, slots=True)
class _Reading:
    """Where messages lie among those on which the intents were trained; nothing without a slot that embeds."""

    ask: Ask
    trained: Sequence[Labelled]

    def vectors(self, messages: Sequence[Labelled]) -> NDArray[np.float32] | None:
        """Return the vectors of messages, shape (messages, width)."""
        answers = _predicted(self.ask, messages, "search")
        return np.array([one["vector"] for one in answers], np.float32) if answers else None

    def reference(self, places: Mapping[str, int], outside: NDArray[np.float32] | None) -> Reference | None:
        """Return where the training messages of intents at these places lie, and messages that belong to none, by their vectors."""
        known = [one for one in self.trained if one.intent in places]
        vectors = self.vectors(known) if known else None
        return None if vectors is None else Reference.of(vectors, np.array([places[one.intent or ""] for one in known]), outside)


def _search(know: Knowledge, messages: Sequence[Labelled], ask: Ask) -> dict[str, Any]:
    """Learn above which fit the best that is found answers, at the stated rate of wrong answers, and from which fit on it is offered.

    `messages` are those that are not answered by intents, since search gets no others.
    """
    fits, right, offered = [], [], []
    for message in messages:
        found = searching.find(know, message.text, ask)
        if not found:
            continue
        fits.append(found[0].fit)
        meant = message.entry or (intent_passage(message.intent) if message.intent else None)
        right.append(found[0].entry == meant)
        offered.append(meant in {one.entry for one in found[: searching.OFFERED]})
    if not fits:
        return {}
    order = np.argsort(fits)[::-1]
    return {
        "answer": _sure(np.array(fits), np.array(right, bool), know.error),
        "offer": _helpful(np.array(fits)[order], np.array(offered, bool)[order]),
        "messages": len(messages),
    }


def _sure(fits: NDArray[Any], right: NDArray[np.bool_], error: float) -> float | None:
    """Return the fit above which what was found may be given, by the same test as for intents; None if no fit is sure enough."""
    if len(fits) < _LEAST or not right.any():
        return None
    trust = fits / (1 + fits)  # between 0 and 1, in the same order
    found = decision.learn(trust[:, None], np.where(right, 0, -1), np.zeros(len(fits)), (error,))[error].answer
    return None if found is None else found / (1 - found) if found >= 0 else -1.0


def _helpful(fits: NDArray[Any], offered: NDArray[np.bool_]) -> float | None:
    """Return the lowest fit from which on at least half of the offers, at this fit and above, contain the right entry."""
    if not len(fits):
        return None
    shares = np.cumsum(offered) / np.arange(1, len(offered) + 1)
    good = np.flatnonzero(shares >= _HELPFUL)
    return float(fits[good[-1]]) if len(good) else None
