"""Corrects words to those of an index, by few edits; knows nothing of how an index is stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from vertune.core.errors import MissingExtra

_LENGTHS = ((8, 2), (5, 1))
"""From which number of letters a word may have how many edits; shorter words are too like each other."""


class Vocabulary:
    """Words with the number of passages in which each occurs."""

    def __init__(self, counted: Iterable[Mapping[str, int]]) -> None:
        self._counts: dict[str, int] = {}
        for counts in counted:
            for word, count in counts.items():
                self._counts[word] = self._counts.get(word, 0) + count
        self._by_length: dict[int, list[str]] = {}
        for word in self._counts:
            self._by_length.setdefault(len(word), []).append(word)

    def __contains__(self, word: str) -> bool:
        return word in self._counts

    def near(self, word: str, edits: int) -> list[tuple[int, int, str]]:
        """Return words with at most so many edits: the edits, the negative count, and the word."""
        try:
            from rapidfuzz import process
            from rapidfuzz.distance import OSA
        except ImportError as error:
            raise MissingExtra("Correcting misspelt words", "search", "rapidfuzz") from error
        found: list[tuple[int, int, str]] = []
        for length in range(len(word) - edits, len(word) + edits + 1):
            near = process.extract(word, self._by_length.get(length, []), scorer=OSA.distance, score_cutoff=edits, limit=20)
            found += [(int(distance) + (other[0] != word[0]), -self._counts[other], other) for other, distance, _ in near]
        return found


def nearest(word: str, vocabularies: Sequence[Vocabulary]) -> str:
    """Return the word with the fewest edits, and among these the most frequent; the word itself if it is known or none is near.

    An edit adds, removes or replaces a letter or swaps two adjacent ones (optimal string alignment). A word that begins differently
    counts as one edit further away, because people seldom mistype the first letter.
    """
    edits = next((edits for length, edits in _LENGTHS if len(word) >= length), 0)
    if not edits or any(word in one for one in vocabularies):
        return word
    found = [one for vocabulary in vocabularies for one in vocabulary.near(word, edits)]
    return min(found)[2] if found else word
