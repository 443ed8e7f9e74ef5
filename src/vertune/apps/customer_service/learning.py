"""Learns from labelled messages when a reply may be given, so that a stated share of the answers given is wrong; knows no conversations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.apps.customer_service import certainty, searching
from vertune.apps.customer_service.knowledge import Knowledge
from vertune.apps.customer_service.understanding import Belief, readable
from vertune.core.app import Ask, Labelled
from vertune.core.errors import ConfigError
from vertune.core.pack import intent_passage
from vertune.core.records import Answer
from vertune.dialogue import decision
from vertune.dialogue.outside import SIGNALS, Reference, own_places, signals
from vertune.dialogue.regression import Regression

_LEAST = 20
"""Fewest labelled messages inside, and outside, by which they are told apart, so that each of five parts leaves enough of them."""
_HELPFUL = 0.5
"""Least share of offers that contain the right entry."""
_CHUNK = 256
"""Messages that are predicted together."""


def learn(know: Knowledge, messages: Sequence[Labelled], ask: Ask, trained: Sequence[Labelled] = ()) -> dict[str, Any]:
    """Return, as JSON, the thresholds of intents and of search, and what recognises messages that belong to no intent.

    A message that an entry answers belongs to no intent either: an intent that took it would be a wrong answer. Raises ConfigError if the
    pack names labels that the model of a slot does not have.
    """
    _check_labels(know, ask)
    learnt: dict[str, Any] = {"messages": len(messages)}
    answers = _predicted(ask, messages, "intents")
    left = [(message, Belief()) for message in messages]
    if answers:
        found, left = _intents(know, messages, answers, _Reading(ask, trained))
        learnt |= found
    sought = _search(know, left, ask) if any(one.entry is not None for one in messages) else {}
    return {**learnt, "search": sought} if sought else learnt


def _check_labels(know: Knowledge, ask: Ask) -> None:
    """Raise ConfigError if no label of the slot `mood`, or `match`, is one that the pack looks for, so that the slot would do nothing."""
    answers = ask.predict({"mood": [{"text": "?"}], "match": [{"text": "?", "text_pair": "?"}]})
    for slot, wanted, option in (("mood", know.handoff.angry_labels, "handoff.angry_labels"), ("match", know.match_labels, "match_labels")):
        labels = list(answers[slot][0].get("probabilities") or {}) if slot in answers else wanted
        if not set(labels) & set(wanted):
            raise ConfigError(
                f"The model of the slot '{slot}' has the labels {', '.join(labels)}; expected one of those in {option} of pack.yaml, which "
                f"are {', '.join(wanted)}. Write the labels of the model there."
            )


def _predicted(ask: Ask, messages: Sequence[Labelled], slot: str) -> list[Answer]:
    found: list[Answer] = []
    for start in range(0, len(messages), _CHUNK):
        records = [{"text": readable(one.text, ask)} for one in messages[start : start + _CHUNK]]
        found += ask.predict({slot: records}).get(slot, [])
    return found


def _intents(
    know: Knowledge, messages: Sequence[Labelled], answers: Sequence[Answer], reading: _Reading
) -> tuple[dict[str, Any], list[tuple[Labelled, Belief]]]:  # fmt: skip
    """Learn the thresholds of intents, and what tells messages apart that belong to none, if there are enough of them.

    Returns them with the messages that are not answered by them, which is what search gets, and what the model says of these.
    """
    labels = list(answers[0]["probabilities"])
    places = {label: number for number, label in enumerate(labels)}
    probabilities = np.array([[one["probabilities"][label] for label in labels] for one in answers])
    right = np.array([places.get(one.intent or "", -1) for one in messages])
    vectors = reading.vectors(messages)
    reference = reading.reference(places, vectors[right < 0] if vectors is not None else None)
    found = signals(probabilities, vectors=vectors if reference is not None else None, reference=reference, own=own_places(right < 0))
    enough = min((right < 0).sum(), (right >= 0).sum()) >= _LEAST
    scores = Regression.held_out(found, right < 0, SIGNALS) if enough else np.zeros(len(messages))
    thresholds = decision.learn(probabilities, right, scores, (know.error,))[know.error]
    left = [
        (message, Belief(dict(zip(labels, row.tolist(), strict=True)), float(score)))
        for message, row, score in zip(messages, probabilities, scores, strict=True)
        if decision.decide(row, float(score), thresholds, intents=labels).kind != "answer"
    ]
    return {
        "labels": labels,
        "thresholds": thresholds.as_json(),
        "outside": Regression.fit(found, right < 0, SIGNALS).as_json() if enough else None,
        "reference": reference.as_json() if reference is not None else None,
    }, left


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


def _search(know: Knowledge, messages: Sequence[tuple[Labelled, Belief]], ask: Ask) -> dict[str, Any]:
    """Learn when the best that is found answers, at the stated rate of wrong answers, and from which fit on it is offered.

    `messages` are those that are not answered by intents, since search gets no others, with what the model of intents says of them.
    """
    rows, right, offered = [], [], []
    for message, belief in messages:
        found = searching.find(know, message.text, ask, extracts=False)
        if not found:
            continue
        meant = message.entry or (intent_passage(message.intent) if message.intent else None)
        rows.append(certainty.signals(found, belief))
        right.append(found[0].entry == meant)
        offered.append(meant in {one.entry for one in found[: searching.OFFERED]})
    if not rows:
        return {}
    fits = np.array([row[0] for row in rows])
    order = np.argsort(fits)[::-1]
    sure = certainty.learn(rows, right, know.error)
    return {**sure, "offer": _helpful(fits[order], np.array(offered, bool)[order]), "messages": len(rows)}


def _helpful(fits: NDArray[Any], offered: NDArray[np.bool_]) -> float | None:
    """Return the lowest fit from which on at least half of the offers, at this fit and above, contain the right entry."""
    if not len(fits):
        return None
    shares = np.cumsum(offered) / np.arange(1, len(offered) + 1)
    good = np.flatnonzero(shares >= _HELPFUL)
    return float(fits[good[-1]]) if len(good) else None
