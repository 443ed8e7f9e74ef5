"""A gazetteer: a list of the entities in the training texts, which finds the same words in other texts."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from vertune.core.records import Record, Span
from vertune.metrics.words import pieces


class Gazetteer:
    """The labelled entities of the training texts, each with its most frequent label, and methods to find them in a text.

    An entity whose words occur in the training texts more often unlabelled than labelled is omitted.
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
        """Store, for each first word of known entities, how many words the entities with this first word have, in descending order."""
        lengths: dict[str, set[int]] = defaultdict(set)
        for name in self._labels:
            lengths[name[0]].add(len(name))
        self._lengths = {first: sorted(counts, reverse=True) for first, counts in lengths.items()}

    def _matches(self, text: str) -> Iterator[tuple[tuple[str, ...], Span]]:
        """Yield the words and the labelled span of each known entity that occurs in a text; matches do not overlap."""
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
        """Return the spans of the known entities in a text, from left to right; if several begin at the same word, only the longest."""
        return [span for _, span in self._matches(text)]


def _words(text: str) -> tuple[str, ...]:
    """Return the words and punctuation marks of a text."""
    return tuple(text[start:end] for start, end in pieces(text))
