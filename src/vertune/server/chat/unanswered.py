"""Groups messages that an app could not answer by their words, so that people decide once for many; does not depend on where they are."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vertune.retrieval.normalise import SOUND, terms

_ALIKE = 0.3
"""Cosine of TF-IDF weights from which a message belongs to a group."""
_WORDS = 6
"""Number of words that describe a group."""


@dataclass(slots=True)
class Cluster:
    """Messages that are alike, by their places in the list."""

    members: list[int] = field(default_factory=list)
    weights: dict[str, float] = field(default_factory=dict)
    """The sum of the weights of their terms."""
    square: float = 0.0
    """The square of the length of this sum."""

    def likeness(self, vector: Mapping[str, float]) -> float:
        """Return the cosine of a text with the sum of the group."""
        return _product(vector, self.weights) / (math.sqrt(self.square) or 1.0)

    def add(self, place: int, vector: Mapping[str, float]) -> None:
        """Add a text."""
        self.square += 2 * _product(vector, self.weights) + 1.0
        self.members.append(place)
        for term, weight in vector.items():
            self.weights[term] = self.weights.get(term, 0.0) + weight

    @property
    def words(self) -> list[str]:
        """The terms that weigh most; those of sounds are left out."""
        ranked = sorted(self.weights.items(), key=lambda item: (-item[1], item[0]))
        return [term for term, _ in ranked if not term.startswith(SOUND)][:_WORDS]


def clusters(texts: Sequence[str]) -> list[Cluster]:
    """Group texts, the largest group first: each joins the most similar group so far, or begins one (leader clustering).

    The time grows with the number of texts times that of the groups that share a term with one.
    """
    vectors = _vectors(texts)
    found: list[Cluster] = []
    holders: defaultdict[str, set[int]] = defaultdict(set)
    for place, vector in enumerate(vectors):
        near: set[int] = set().union(*(holders[term] for term in vector))
        likeness, negative = max(((found[one].likeness(vector), -one) for one in near), default=(0.0, 0))
        chosen = -negative if likeness >= _ALIKE else len(found)
        if chosen == len(found):
            found.append(Cluster())
        found[chosen].add(place, vector)
        for term in vector:
            holders[term].add(chosen)
    return sorted(found, key=lambda cluster: (-len(cluster.members), cluster.members[0]))


def _vectors(texts: Sequence[str]) -> list[dict[str, float]]:
    """Return TF-IDF weights of the terms of each text, of length 1."""
    counted = [Counter(terms(text)) for text in texts]
    frequency = Counter(term for one in counted for term in one)
    vectors = []
    for one in counted:
        weights = {term: (1 + math.log(count)) * math.log(1 + len(texts) / frequency[term]) for term, count in one.items()}
        length = math.sqrt(sum(weight * weight for weight in weights.values())) or 1.0
        vectors.append({term: weight / length for term, weight in weights.items()})
    return vectors


def _product(vector: Mapping[str, float], group: Mapping[str, float]) -> float:
    return sum(weight * group.get(term, 0.0) for term, weight in vector.items())
