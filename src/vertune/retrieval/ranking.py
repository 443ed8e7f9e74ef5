"""Ranks the passages of segments for a question: by words and sounds with BM25, and by vectors; knows nothing of files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vertune.retrieval import frequent, hearing, normalise, pinyin
from vertune.retrieval.segment import Segment, text_hash

K1, B = 1.5, 0.75
"""How fast further occurrences of a term count less, and how much long texts are held against them (Robertson and Zaragoza 2009)."""
SINGLE, SOUND, SYLLABLE = 0.6, 0.4, 0.6
"""What these count beside a pair of Chinese characters: one character; a pair of syllables whose characters are known too; a syllable of
which nothing but its sound is known."""
_FREQUENT = 0.1
"""Share of units from which a term alone makes no unit a result, if others do. Such terms take most of the time and say least."""
_CLOSE = 500
"""Number of units whose complete vectors are compared, after those along the main axes were."""
_UNITS = 4
"""How many units are looked at for each passage that is wanted, because several may be of one passage."""
_REMEMBERED = 1024
"""Questions of which it is kept what they sound like: each is compared twice until it is answered, and many are asked again."""


class Place(NamedTuple):
    """Where a passage is: the number of its segment, and its number there."""

    segment: int
    passage: int


@dataclass(frozen=True, slots=True)
class Query:
    """What a question asks of words and sounds."""

    weights: dict[int, float]
    """By the hash of a term: how much it counts, with its inverse document frequency."""
    bound: float
    """The score that no unit exceeds: that of one which holds all terms often."""
    misheard: float
    """Share of the pairs of syllables that are known by their sound alone. It is high for a question in pinyin, or in wrong characters of
    the same sound, of which a vector says little."""


@dataclass(frozen=True, slots=True)
class _Sound:
    """What a question sounds like, beside what the index knows."""

    heard: pinyin.Heard
    doubtful: list[int]
    """The places of syllables that the index has in a pair of sounds, but in no pair of characters; also those that customers write in such
    a pair, unless words beside them can't be pinyin."""
    pairs: list[tuple[str, bool]]
    """The pairs of sounds that the index has, and whether it has their characters too."""
    looked_at: int
    """The number of all pairs."""


@dataclass(frozen=True)
class Ranker:
    """Segments with what their terms have in common."""

    segments: Sequence[Segment]
    chinese: bool
    """Whether any passage has Chinese characters, so that questions may be in pinyin."""

    @cached_property
    def size(self) -> int:
        """The number of units, including those of removed passages."""
        return sum(len(segment.lengths) for segment in self.segments)

    @cached_property
    def _penalties(self) -> list[NDArray[np.float32]]:
        """What each unit's length adds below the fraction of BM25."""
        mean = sum(int(segment.lengths.sum(dtype=np.int64)) for segment in self.segments) / max(1, self.size)
        return [(K1 * (1 - B + B * segment.lengths / max(mean, 1e-9))).astype(np.float32) for segment in self.segments]

    def frequency(self, term: str) -> int:
        """Return the number of units with a term."""
        return self.frequencies([term])[term]

    def frequencies(self, terms: Iterable[str]) -> dict[str, int]:
        """Return the number of units with each term; asking for many at once takes hardly longer than for one."""
        names = list(dict.fromkeys(terms))
        hashes = np.fromiter(map(text_hash, names), np.uint64, len(names))
        counts = np.zeros(len(names), np.int64)
        for segment in self.segments:
            starts, ends = segment.all_postings(hashes)
            counts += ends - starts
        return dict(zip(names, counts.tolist(), strict=True))

    def query(self, plain: str) -> Query:
        """Read a question in normal form."""
        weights: defaultdict[str, float] = defaultdict(float)
        words = [token for token in normalise.tokens(plain) if not normalise.is_ideographic(token)]
        for term in normalise.written(plain):
            weights[term] += SINGLE if len(term) == 1 and normalise.is_ideographic(term) else 1.0
        misheard = self._add_sounds(weights, plain, words) if self.chinese else 0.0
        units = self.frequencies(weights)
        rare = {term: weight * self._rarity(units[term]) for term, weight in weights.items() if weight > 0}
        return Query({text_hash(term): weight for term, weight in rare.items()}, (K1 + 1) * sum(rare.values()), misheard)

    def _rarity(self, units: int) -> float:
        """Return the inverse document frequency of a term that so many units have; it is positive for all."""
        return float(np.log1p((self.size - units + 0.5) / (units + 0.5)))

    def _add_sounds(self, weights: defaultdict[str, float], plain: str, words: Sequence[str]) -> float:
        """Add the terms of the sound of a question with its words in Latin letters, and return what is `misheard` of it.

        A pair of syllables counts more where the index lacks the two characters, because these are then wrong ones. So does a doubtful
        syllable; its character counts nothing.
        """
        known_words = self._known(words)
        sound = self._sound(plain, 2 * known_words <= len(words))
        for term, known in sound.pairs:
            weights[term] += SOUND if known else 1.0 + SOUND
        for place in sound.doubtful:
            syllable = sound.heard.syllables[place]
            weights[normalise.SOUND + syllable.sounds[0]] += SYLLABLE
            if syllable.character:
                weights[syllable.character] -= SINGLE
        return sum(not known for _, known in sound.pairs) / max(1, sound.looked_at + known_words)

    def _known(self, words: Sequence[str]) -> int:
        stems = list(map(normalise.stem, words))
        units = self.frequencies(stems)
        return sum(units[stem] > 0 for stem in stems)

    @cached_property
    def _sound(self) -> Callable[[str, bool], _Sound]:
        return lru_cache(_REMEMBERED)(self._compared)

    def _compared(self, plain: str, latin: bool) -> _Sound:
        """Compare what a question sounds like with the index; `latin` says whether Latin letters may be pinyin, and are not words."""
        heard = pinyin.heard(plain)
        trusted, followed = [False] * len(heard.syllables), [False] * len(heard.syllables)
        spoken = all(map(pinyin.is_spoken, normalise.tokens(plain)))  # else Latin letters may be English
        pairs: list[tuple[str, bool]] = []
        asked: list[tuple[tuple[int, int], str | None, list[str]]] = []
        for places in heard.pairs:
            first, second = (heard.syllables[place] for place in places)
            characters = first.character + second.character if first.character and second.character else None
            if characters or latin:
                asked.append((places, characters, [f"{normalise.SOUND}{one} {other}" for one in first.sounds for other in second.sounds]))
        units = self.frequencies(term for _, characters, sounds in asked for term in (characters, *sounds) if term)
        for places, characters, sounds in asked:
            sound = next((term for term in sounds if units[term]), None)
            known = bool(characters and units[characters])
            if sound is not None:
                pairs.append((sound, known))
            for place in places:
                trusted[place] = trusted[place] or known
                followed[place] = (
                    followed[place] or sound is not None or (spoken and characters not in frequent.pairs() and frequent.has_sound(sounds))
                )
        runs: dict[int, list[bool]] = {}
        for one, is_followed in zip(heard.syllables, followed, strict=True):
            runs.setdefault(one.run, []).append(is_followed)
        for place, one in enumerate(heard.syllables):  # in pinyin, syllables are doubtful together
            followed[place] = followed[place] or (latin and not one.character and 2 * sum(runs[one.run]) >= len(runs[one.run]))
        doubtful = [place for place in range(len(trusted)) if followed[place] and not trusted[place]]
        return _Sound(heard, doubtful, pairs, len(asked))

    def rewritten(self, plain: str, allowed: Sequence[NDArray[np.bool_]]) -> str:
        """Return a question in normal form with its doubtful syllables in characters of the passages that may be found."""
        words = [token for token in normalise.tokens(plain) if not normalise.is_ideographic(token)]
        sound = self._sound(plain, 2 * self._known(words) <= len(words)) if self.chinese else None
        if sound is None or not sound.doubtful:
            return plain
        chosen = [one[segment.owners] for one, segment in zip(allowed, self.segments, strict=True)]
        return hearing.rewritten(sound.heard, sound.doubtful, self._alike, lambda terms: self._counts(terms, chosen))

    def _counts(self, terms: Sequence[str], chosen: Sequence[NDArray[np.bool_]]) -> dict[str, int]:
        """Return in how many of the chosen units each term is; terms that are in none are left out."""
        hashes = np.array([text_hash(term) for term in terms], np.uint64)
        found: dict[str, int] = {}
        for segment, mask in zip(self.segments, chosen, strict=True):
            if not len(segment.terms):
                continue
            places = np.minimum(np.searchsorted(segment.terms, hashes), len(segment.terms) - 1)
            for number in np.flatnonzero(segment.terms[places] == hashes).tolist():
                units = segment.units[segment.starts[places[number]] : segment.starts[places[number] + 1]]
                if count := int(mask[units].sum()):
                    found[terms[number]] = found.get(terms[number], 0) + count
        return found

    def _alike(self, sound: str) -> str:
        """Return the characters of the index with a sound, the most frequent first."""
        if sound not in self._characters:
            counted = [(count, character) for character, count in self.frequencies(pinyin.characters().get(sound, "")).items()]
            self._characters[sound] = "".join(character for count, character in sorted(counted, reverse=True) if count)
        return self._characters[sound]

    @cached_property
    def _characters(self) -> dict[str, str]:
        return {}

    def by_words(self, query: Query, allowed: Sequence[NDArray[np.bool_]], number: int) -> dict[Place, float]:
        """Return the places of at most `number` passages with any term of a question, the best one first.

        Their scores are the share of the largest possible score, from 0 to 1. `allowed` says of each segment which passages may be found.
        """
        results = []
        hashes = np.fromiter(query.weights, np.uint64, len(query.weights))
        for place, segment in enumerate(self.segments):
            slices = (slice(*one) for one in zip(*(bounds.tolist() for bounds in segment.all_postings(hashes)), strict=True))
            weighted = sorted(zip(slices, query.weights.values(), strict=True), key=lambda one: one[0].stop - one[0].start)
            scores = _scores(segment, self._penalties[place], weighted, _UNITS * number)
            scores[~allowed[place][segment.owners]] = 0
            best = _best(scores, np.flatnonzero(scores), _UNITS * number)
            results.append((place, segment.owners[best], scores[best].astype(np.float64) / query.bound))
        return _distinct(results, number)

    def by_vector(self, vector: NDArray[np.float32], allowed: Sequence[NDArray[np.bool_]], number: int) -> dict[Place, float]:
        """Return the places of at most `number` passages with the cosines of their vectors with one of length 1, the best one first."""
        results = []
        for place, segment in enumerate(self.segments):
            if segment.short is None or not len(segment.lengths):
                continue
            chosen = np.flatnonzero(allowed[place][segment.owners])
            cosines = segment.short @ (vector if segment.axes is None else vector @ segment.axes)
            best = _best(cosines, chosen, _UNITS * number if segment.axes is None else max(_CLOSE, _UNITS * number))
            if segment.axes is not None:
                best, cosines = np.sort(best), np.array(cosines)
                cosines[best] = segment.cosines(best, vector)
            results.append((place, segment.owners[best], cosines[best]))
        return _distinct(results, number)

    def cosine(self, place: Place, vector: NDArray[np.float32]) -> float | None:
        """Return the largest cosine of a vector of length 1 with those of a passage; None if the passage has none."""
        segment = self.segments[place.segment]
        units = segment.units_of(place.passage)
        if segment.axes is None:  # `short` are the vectors themselves, in memory
            return None if segment.short is None else float((segment.short[units] @ vector).max())
        cosines = segment.cosines(np.arange(units.start, units.stop), vector)
        return None if cosines is None else float(cosines.max())


def _scores(segment: Segment, penalties: NDArray[np.float32], weighted: Iterable[tuple[slice, float]], enough: int) -> NDArray[np.float32]:
    """Return the score of each unit for terms, given by their postings and their weights, the rarest first.

    If `enough` units have a rare term, frequent terms add to the scores of these alone (as in MaxScore, Turtle and Flood 1995).
    """
    scores = np.zeros(len(segment.lengths), np.float32)
    candidates: NDArray[np.int64] | None = None
    for place, weight in weighted:
        units = segment.units[place]
        if not len(units):
            continue
        chosen: Any = slice(None)
        if len(units) > _FREQUENT * len(scores):
            candidates = np.flatnonzero(scores) if candidates is None else candidates
            if len(candidates) >= enough:
                places = np.minimum(np.searchsorted(units, candidates), len(units) - 1)
                chosen = places[units[places] == candidates]
        units, counts = units[chosen], segment.counts[place][chosen].astype(np.float32)
        scores[units] += weight * (K1 + 1) * counts / (counts + penalties[units])
    return scores


def _best(scores: NDArray[np.float32], chosen: NDArray[np.int64], number: int) -> NDArray[np.int64]:
    """Return at most `number` of the chosen rows with the highest scores, in no order."""
    if len(chosen) <= number:
        return chosen
    return chosen[np.argpartition(-scores[chosen], number - 1)[:number]]


def _distinct(results: Sequence[tuple[int, NDArray[np.int32], NDArray[Any]]], number: int) -> dict[Place, float]:
    """Return the places of the best results, each with its best score; of equal ones, the first in the index comes first.

    `results` are, for each segment, its number, the passages of units, and their scores.
    """
    if not results:
        return {}
    passages = np.concatenate([np.int64(segment << 32) + owners for segment, owners, _ in results])
    scores = np.concatenate([scores for _, _, scores in results]).astype(np.float64)
    order = np.lexsort((passages, -scores))
    best: dict[int, float] = {}
    for passage, score in zip(passages[order].tolist(), scores[order].tolist(), strict=True):
        best.setdefault(passage, score)
    return {Place(passage >> 32, passage & 0xFFFFFFFF): score for passage, score in islice(best.items(), number)}
