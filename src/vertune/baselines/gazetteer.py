"""A baseline for entity recognition (gazetteer): searches texts for the entities that the training texts contain."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from vertune.core.records import Record, Span
from vertune.metrics.words import pieces


class Gazetteer:
    """A list of the entities that are labelled in the training texts, with methods to find them in other texts.

    Each entity has its most frequent label. An entity whose words occur in the training texts more often without a
    label than with one is omitted.
    """

    def __init__(self, train: Sequence[Record]) -> None:
        seen: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        for record in train:
            for span in record["spans"]:
                name = _words(record["text"][span["start"] : span["end"]])
                if name:
                    seen[name][span["label"]] += 1
        self._labels = {name: max(sorted(counts), key=lambda label: counts[label]) for name, counts in seen.items()}
        self._index()
        unlabelled: Counter[tuple[str, ...]] = Counter()
        for record in train:
            marked = {(span["start"], span["end"]) for span in record["spans"]}
            for name, span in self._matches(record["text"]):
                unlabelled[name] += (span["start"], span["end"]) not in marked
        self._labels = {name: label for name, label in self._labels.items() if unlabelled[name] <= seen[name].total()}
        self._index()

    def _index(self) -> None:
        """Build the lookup table that `_matches` uses: for each word with which an entity begins, the lengths of these entities.

        A length is a number of words; the longest comes first.
        """
        lengths: dict[str, set[int]] = defaultdict(set)
        for name in self._labels:
            lengths[name[0]].add(len(name))
        self._lengths = {first: sorted(counts, reverse=True) for first, counts in lengths.items()}

    def _matches(self, text: str) -> Iterator[tuple[tuple[str, ...], Span]]:
        """Find the known entities in a text; yield, for each of them, its words and its labelled span.

        The text is searched from left to right. The longest entity that begins at a word is taken, and the search
        continues after it, so the spans do not overlap.
        """
        bounds = pieces(text)
        words = tuple(text[start:end] for start, end in bounds)
        position = 0
        while position < len(words):
            for length in self._lengths.get(words[position], ()):
                name = words[position : position + length]
                if len(name) == length and name in self._labels:
                    yield name, Span(start=bounds[position][0], end=bounds[position + length - 1][1], label=self._labels[name])
                    position += length - 1
                    break
            position += 1

    def spans(self, text: str) -> list[Span]:
        """Return the spans of the known entities in a text, from left to right, without overlaps.

        If several entities begin at the same word, only the longest is returned.
        """
        return [span for _, span in self._matches(text)]


def _words(text: str) -> tuple[str, ...]:
    """Split a text into words and punctuation marks."""
    return tuple(text[start:end] for start, end in pieces(text))
