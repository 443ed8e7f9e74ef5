"""Brings texts into one form, and reads the terms by which search finds them; knows nothing of passages and indexes.

A term is an English word without its ending, a Chinese character, a pair of adjacent ones, or a syllable or pair of syllables as they
sound. Syllables let a text be found that was written with other characters of the same sound, or in pinyin.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any

from vertune.core.errors import MissingExtra
from vertune.retrieval import pinyin

_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af"
"""Kana and Chinese characters, which are written without spaces."""
_TOKEN = re.compile(rf"[{_IDEOGRAPHS}]+|[^\W_{_IDEOGRAPHS}]+(?:['’][^\W\d_{_IDEOGRAPHS}]+)*")
_IDEOGRAPH = re.compile(f"[{_IDEOGRAPHS}]")
_HAN = re.compile("[\u3400-\u9fff]")
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060-\u2064\ufe00-\ufe0f\ufeff]")
"""Characters without a width, which hide in copied texts."""
_VARIANTS = {"帐": "账"}
"""A character that both scripts have, by that which simplified texts write for most of its meanings: 帳號 becomes 帐号, and is 账号."""
SOUND = "@"
"""The beginning of a term that is a syllable or a pair of them; no word begins with it."""
_PASSES = 4


def forms(text: str) -> str:
    """Return the text in the form in which texts are compared: half width, simplified Chinese, lower case, single spaces.

    Applying it again changes nothing. Each traditional character becomes one simplified character, by the tables of OpenCC. Raises
    MissingExtra for a Chinese text if OpenCC is not installed.
    """
    for _ in range(_PASSES):  # folding the case can make characters that are normalised further
        before, text = text, _folded(text)
        if before == text:
            break
    return text


def terms(text: str) -> list[str]:
    """Return all terms of a text, with repetitions: words, characters, pairs of characters, and after `@` syllables and their pairs."""
    plain = forms(text)
    return [*written(plain), *(SOUND + sound for sound in pinyin.sounds(plain))]


def written(plain: str) -> list[str]:
    """Return the terms of a text in normal form without those of its sound."""
    found: list[str] = []
    for token in tokens(plain):
        if is_ideographic(token):
            found += token
            found += map("".join, pairwise(token))
        else:
            found.append(stem(token))
    return found


def sounds(text: str) -> list[str]:
    """Return the syllables of the Chinese characters of a text, without tones, and with sounds that are often confused made equal."""
    return pinyin.syllables(forms(text))


def tokens(plain: str) -> list[str]:
    """Return the words of a text in normal form, and its runs of Chinese characters, in their order."""
    return _TOKEN.findall(plain)


def is_pinyin(word: str) -> bool:
    """Return whether a word in lower case can be read as two or more syllables of pinyin."""
    return pinyin.is_pinyin(word)


def replace_words(text: str, others: Mapping[str, str]) -> str:
    """Return the text with some words replaced, given by their normal forms."""
    return _TOKEN.sub(lambda match: others.get(match[0].casefold(), match[0]), text) if others else text


def is_ideographic(token: str) -> bool:
    """Return whether a token is a run of Chinese characters or kana."""
    return _IDEOGRAPH.match(token) is not None


@lru_cache(maxsize=1 << 16)
def stem(word: str) -> str:
    """Return a word in normal form without its English ending (Porter 2001, the English stemmer of Snowball); others stay as they are."""
    word = word.replace("’", "'")
    if not word.replace("'", "").isascii() or not word.replace("'", "").isalpha():
        return word.replace("'", "")
    return str(_stemmer().stemWord(word)).replace("'", "")


@cache
def _stemmer() -> Any:
    try:
        import snowballstemmer
    except ImportError as error:
        raise MissingExtra("Searching texts", "search", "snowballstemmer") from error
    return snowballstemmer.stemmer("english")


def _folded(text: str) -> str:
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).casefold())
    if _HAN.search(plain):
        plain = plain.translate(_simplified())
    return " ".join(plain.split())


@cache
def _simplified() -> dict[int, str]:
    """Return the simplified form of each traditional character; no character is the simplified form of one and has one itself."""
    try:
        import opencc
    except ImportError as error:
        raise MissingExtra("Searching Chinese texts", "search", "opencc") from error
    characters = [chr(code) for code in range(0x3400, 0xA000)]
    converted = opencc.OpenCC("t2s").convert("\n".join(characters)).split("\n")
    table = {old: new for old, new in zip(characters, converted, strict=True) if old != new and len(new) == 1}
    table = {old: _VARIANTS.get(new, new) for old, new in (table | _VARIANTS).items()}
    return {ord(old): new for old, new in table.items() if new not in table}
