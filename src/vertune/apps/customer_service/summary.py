"""Summarises what customers wrote by extraction: their most telling messages, word for word and in their order; knows no models."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from vertune.dialogue.patterns import read
from vertune.retrieval.normalise import terms

_MESSAGES = 3
_LONGEST = 240
_REDUNDANT = 0.6
"""Share of the words of a message that a chosen one contains, from which it says nothing new."""


def extract(messages: Sequence[str], number: int = _MESSAGES) -> list[str]:
    """Return at most `number` of the messages that say most about the conversation, in their order.

    A message counts for the words that are frequent in the conversation (Nenkova and Vanderwende 2005, SumBasic), which what was chosen
    before takes away, and for being the first one. Greetings, thanks and other messages that ask for nothing are left out.
    """
    contents = [read(text).rest for text in messages]
    words = [Counter(terms(text)) for text in contents]
    shares = Counter(word for counted in words for word in counted)
    weights = {word: count / max(1, len(messages)) for word, count in shares.items()}
    chosen: list[int] = []
    while len(chosen) < number:
        scores = {
            place: sum(weights[word] for word in counted)
            / math.sqrt(len(counted))
            * (2.0 if not chosen and place == _first(contents) else 1.0)
            for place, counted in enumerate(words)
            if counted and place not in chosen and not _redundant(counted, [words[other] for other in chosen])
        }
        if not scores:
            break
        best = max(scores, key=lambda place: (scores[place], -place))
        chosen.append(best)
        for word in words[best]:
            weights[word] **= 2
    return [_shortened(messages[place]) for place in sorted(chosen)]


def _first(contents: Sequence[str]) -> int:
    return next((place for place, text in enumerate(contents) if text), -1)


def _redundant(counted: Counter[str], chosen: Sequence[Counter[str]]) -> bool:
    return any(sum(word in other for word in counted) >= _REDUNDANT * len(counted) for other in chosen)


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
