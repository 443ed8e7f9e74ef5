"""Scores the tags of the units of a text (words, or characters of scripts without spaces); reads no model's outputs.

The scores are those of a linear model, plus votes for the tags of the spans that are labelled in the training texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vertune.decoders import tag
from vertune.lexical.scorer import Scorer
from vertune.lexical.units import FEATURES, KnownSpans, describe, lower_hashes
from vertune.lexical.vectors import Vectors

if TYPE_CHECKING:
    from vertune.core.records import Feature

_CHUNK = 4_096
"""Number of units after which texts are scored separately, which limits the memory."""


@dataclass(frozen=True, slots=True)
class UnitModel:
    """A linear model of the descriptions of a unit, with one output per BIO tag."""

    fields: tuple[str]
    """The name of the field with the text."""
    descriptions: NDArray[np.uint64]
    """The descriptions that have weights, as sorted hashes."""
    known: KnownSpans
    scorer: Scorer
    votes: float = 0.0
    """What a unit's score is raised by at the tag that the known spans give it; without descriptions, they alone decide."""

    @property
    def bytes(self) -> int:
        """The size of the stored arrays."""
        return sum(array.nbytes for array in self.arrays().values())

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that are stored, by name."""
        return {
            "descriptions": self.descriptions, "spans": self.known.hashes, "labels": self.known.labels, "firsts": self.known.firsts,
            "votes": np.array([self.votes], np.float32), **self.scorer.arrays(),
        }  # fmt: skip

    @classmethod
    def of(cls, fields: Sequence[str], arrays: Mapping[str, NDArray[Any]]) -> UnitModel:
        """Return the model of these arrays, which `arrays` returned; raise KeyError if one is missing."""
        known = KnownSpans(arrays["spans"], arrays["labels"], arrays["firsts"])
        votes = arrays.get("votes")  # models that were made before there were votes have none
        return cls((fields[0],), arrays["descriptions"], known, Scorer.of(arrays), 0.0 if votes is None else float(votes[0]))

    def with_votes(self, votes: float) -> UnitModel:
        """Return the model with another weight of the known spans."""
        return replace(self, votes=votes)

    def votes_alone(self) -> UnitModel:
        """Return the model of the known spans alone, which knows no descriptions."""
        scorer = self.scorer
        silent = np.zeros(len(scorer.intercepts), np.float32)
        nothing = Scorer(np.zeros(1, np.int64), scorer.outputs[:0], scorer.weights[:0], scorer.scales, silent)
        return UnitModel(self.fields, self.descriptions[:0], self.known, nothing, 1.0)

    def scores(self, records: Sequence[Mapping[str, Any]], features: Sequence[Feature]) -> NDArray[np.float64]:
        """Return the scores of the units of all records, one record after another, shape (units, tags)."""
        return self.unit_scores(units(records, tag.read(records, features, self.fields[0]), self.fields[0]))

    def add_scores(
        self, records: Sequence[Mapping[str, Any]], features: Sequence[Feature], outputs: Sequence[NDArray[np.float64]], weight: float
    ) -> None:
        """Add the scores of the units times a weight to a model's outputs, at the first token of each unit; `outputs` are changed."""
        readings = tag.read(records, features, self.fields[0])
        scores = weight * self.unit_scores(units(records, readings, self.fields[0]))
        start = 0
        for reading in readings:
            own = scores[start : start + len(reading.merged)]
            for number in reading.numbers:
                here = np.flatnonzero(reading.owners == number)
                outputs[number][reading.merged.tokens[here]] += own[here]
            start += len(own)

    def unit_scores(self, texts: Sequence[Sequence[str]]) -> NDArray[np.float64]:
        """Return the scores of the units of texts, one text after another, shape (units, tags); a text is the list of its units."""
        parts, start, count = [], 0, 0
        for place, text in enumerate(texts, start=1):
            count += len(text)
            if count >= _CHUNK or place == len(texts):
                described = describe(texts[start:place], self.known)
                scores = self.scorer.scores(vectors(described, self.descriptions), len(described))
                if self.votes:
                    tags = [tag for text in texts[start:place] for tag in self.known.tags(lower_hashes(text))]
                    scores[np.arange(len(tags)), tags] += self.votes
                parts.append(scores)
                start, count = place, 0
        return np.concatenate(parts) if parts else np.zeros((0, len(self.scorer.intercepts)))


def units(records: Sequence[Mapping[str, Any]], readings: Sequence[tag.Reading], field: str) -> list[list[str]]:
    """Return the units of the text of each record."""
    return [
        [record[field][start:end] for start, end in zip(reading.merged.starts, reading.merged.ends, strict=True)]
        for record, reading in zip(records, readings, strict=True)
    ]


def vectors(described: NDArray[np.uint64], descriptions: NDArray[np.uint64]) -> Vectors:
    """Return a vector of zeros and ones per unit: which of the descriptions with weights fit it."""
    flat = described.ravel()
    if not len(descriptions):
        return Vectors(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    places = np.searchsorted(descriptions, flat)
    places[places == len(descriptions)] = 0
    fits = np.flatnonzero(descriptions[places] == flat)
    return Vectors(fits // FEATURES, places[fits], np.ones(len(fits)))
