"""Detects the language of texts from their scripts and frequent words; knows nothing of models.

A few languages are told apart, as far as the choice of a pretrained model needs it: English, Chinese, Japanese, Korean, some languages
in Latin letters, and other scripts by their names.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

ENGLISH, CHINESE, MIXED, NONE = "English", "Chinese", "mixed", "none"
_TEXTS = 2_000
"""Number of texts, evenly spaced, that are read."""
_CHARACTERS = 500
"""Number of characters that are read of a text."""
_ENGLISH_SHARE = 0.9
"""Least share of English from which texts are called English, because a base for English reads nothing else."""
_SHARE = 0.7
"""Least share of another language from which texts are called by it."""
_ACCENTED = 0.05
"""Share of letters with accents in a text from which it is not English."""
_JAPANESE = 0.1
"""Share of Japanese syllables among them and Chinese characters from which a text is Japanese."""
_LETTERS_PER_CHARACTER = 3
"""Letters of an alphabet that say about as much as one Chinese character, Japanese or Korean syllable."""
_FOREIGN_WORDS = 2
"""Number of different frequent words of another language from which a text in Latin letters is in it; one may be a name."""
_OTHER_LATIN, _OTHER = "another language in Latin letters", "another script"

_LATIN = re.compile(r"[A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff]+")
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]")
_KANA = re.compile(r"[\u3041-\u3096\u30a1-\u30fa\uff66-\uff9d]")
_HANGUL = re.compile(r"[\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3]")
_SCRIPTS = {
    "Cyrillic script": re.compile(r"[\u0400-\u052f]"),
    "Greek": re.compile(r"[\u0370-\u03ff\u1f00-\u1fff]"),
    "Arabic script": re.compile(r"[\u0620-\u064a\u066e-\u06d3\u0750-\u077f\u08a0-\u08c9]"),
    "Hebrew script": re.compile(r"[\u05d0-\u05ea]"),
    "Devanagari script": re.compile(r"[\u0904-\u0939\u0958-\u0961]"),
    "Thai": re.compile(r"[\u0e01-\u0e30\u0e40-\u0e46]"),
}
_WORDS = {
    ENGLISH: "the of and to is you for my i what it on this that are how do can have with not was your be me at from will why when",
    "German": "der und das ich nicht ist ein eine zu mit auf für von sie es mein kann wir dem",
    "French": "le la les et une un je pas pour que qui dans vous mon du sur avec il",
    "Spanish": "el la los de que en un una por mi para es del las cómo al",
    "Portuguese": "de que da um uma não para com meu por eu ao",
    "Italian": "il di che è la un una non sono del mi lo della ho",
    "Dutch": "de het een ik en niet dat mijn te voor met zijn op hoe er",
}
"""Frequent words of languages in Latin letters, without single letters and English words such as `in` and `come`."""
_FREQUENT = {language: frozenset(words.split()) for language, words in _WORDS.items()}


@dataclass(frozen=True, slots=True)
class Language:
    """The language of a number of texts."""

    name: str
    """The language, or a script that has no language of its own here; `mixed` if there is no clear one, `none` if there are no letters."""
    shares: dict[str, float]
    """The share of each language, from 0 to 1, the largest first; empty if there are no letters."""
    sampled: int
    """Number of texts that were read."""

    def as_json(self) -> dict[str, Any]:
        """Return the fields as a dict, for a manifest or a report."""
        return asdict(self)

    @property
    def sentence(self) -> str:
        """The languages with their shares in words, such as `Chinese (93 %), English (7 %)`."""
        return listed(self.shares)


def listed(shares: dict[str, float]) -> str:
    """List languages with their shares in words, such as `Chinese (93 %), English (7 %)`; shares below half a percent are left out."""
    return ", ".join(f"{name} ({100 * share:.0f} %)" for name, share in shares.items() if share >= 0.005) or "no letters"


def detect(texts: Sequence[str]) -> Language:
    """Detect the language of texts, on a sample of them; in each text, letters are counted by script, and frequent words by language."""
    step = max(1, len(texts) // _TEXTS)
    sample = texts[::step][:_TEXTS]
    totals: dict[str, float] = defaultdict(float)
    unclear = 0.0  # share of texts in plain Latin letters without a frequent word
    for text in sample:
        weights = _weights(text[:_CHARACTERS])
        total = sum(weights.values())
        for language, weight in weights.items():
            if language:
                totals[language] += weight / total
            else:
                unclear += weight / total
    latin: dict[str, float] = {language: share for language, share in totals.items() if language in (*_FREQUENT, _OTHER_LATIN)} or {
        ENGLISH: 1.0
    }
    for language, share in latin.items():
        totals[language] += unclear * share / sum(latin.values())
    whole = sum(totals.values())
    ranked = sorted(totals.items(), key=lambda item: -item[1])
    shares = {language: round(share / whole, 4) for language, share in ranked if share}
    return Language(_name(shares), shares, len(sample))


def language_of(text: str) -> str:
    """Return the language of most of a text; an empty text where it has no letters, or only words that can be of any language."""
    weights = _weights(text[:_CHARACTERS])
    return max(weights, key=lambda language: weights[language]) if weights else ""


def _name(shares: dict[str, float]) -> str:
    """Return the name for languages with these shares, of which the largest is first."""
    if not shares:
        return NONE
    language, share = next(iter(shares.items()))
    return language if share >= (_ENGLISH_SHARE if language == ENGLISH else _SHARE) else MIXED


def _weights(text: str) -> dict[str, int]:
    """Return how much of a text is in each language; the key is empty for Latin letters that may be of any language."""
    letters = sum(map(str.isalpha, text))
    if not letters:
        return {}
    words = _LATIN.findall(text)
    latin, kana, han, hangul = sum(map(len, words)), len(_KANA.findall(text)), len(_HAN.findall(text)), len(_HANGUL.findall(text))
    found = {name: len(pattern.findall(text)) for name, pattern in _SCRIPTS.items()} if latin + kana + han + hangul < letters else {}
    found[_OTHER] = max(0, letters - latin - kana - han - hangul - sum(found.values()))
    found["Korean"] = hangul * _LETTERS_PER_CHARACTER
    found["Japanese" if kana > _JAPANESE * (kana + han) else CHINESE] = (kana + han) * _LETTERS_PER_CHARACTER
    found[_latin_language(words)] = latin
    return {name: weight for name, weight in found.items() if weight}


def _latin_language(words: Sequence[str]) -> str:
    """Return the language of words in Latin letters; an empty text if they can be of any language."""
    lowered = {word.lower() for word in words}
    hits = {language: len(lowered & frequent) for language, frequent in _FREQUENT.items()}
    best = max(hits, key=lambda language: hits[language])  # English comes first, so it wins a tie
    if best != ENGLISH and hits[best] >= _FOREIGN_WORDS:
        return best
    accented = sum(not char.isascii() for word in words for char in word)
    if accented > _ACCENTED * sum(map(len, words)):
        return _OTHER_LATIN
    return ENGLISH if hits[ENGLISH] else ""
