"""Pairs of Chinese characters that are frequent in what customers write, for words that an index lacks; knows nothing of indexes.

The file is made by `benchmarks/frequent_pairs.py`, of our own sentences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from vertune.core.documents import lines
from vertune.retrieval import pinyin
from vertune.retrieval.normalise import SOUND

FILE = Path(__file__).with_name("frequent_zh.txt")


@cache
def pairs() -> dict[str, int]:
    """Return how often each pair occurs."""
    found: dict[str, int] = {}
    for line in lines(FILE.read_text(encoding="utf-8")):
        count, *listed = line.split(" ")
        found |= dict.fromkeys(listed, int(count))
    return found


@cache
def characters() -> dict[str, str]:
    """Return the characters of the pairs with each syllable, the most frequent first."""
    counts = Counter[str]()
    for pair, count in pairs().items():
        counts.update(dict.fromkeys(pair, count))
    known = {sound: [one for one in several if one in counts] for sound, several in pinyin.characters().items()}
    return {sound: "".join(sorted(several, key=lambda one: (-counts[one], one))) for sound, several in known.items() if several}


def has_sound(terms: Iterable[str]) -> bool:
    """Return whether one of some terms, such as `@yin han`, is the sound of a pair."""
    return not _sounds().isdisjoint(terms)


@cache
def _sounds() -> frozenset[str]:
    readings: dict[str, list[str]] = {}
    for sound, several in characters().items():
        for character in several:
            readings.setdefault(character, []).append(sound)
    known = ((readings.get(pair[0], ()), readings.get(pair[1], ())) for pair in pairs())
    return frozenset(f"{SOUND}{one} {other}" for firsts, seconds in known for one in firsts for other in seconds)
