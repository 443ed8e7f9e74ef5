"""Exact match and F1 of a short answer against accepted ones (Rajpurkar et al. 2016, 2018); knows nothing of contexts.

Normalisation is SQuAD's: lower case, without ASCII punctuation and English articles. In Chinese and other scripts without
spaces each character is a token of its own and their punctuation is dropped too, as CMRC 2018 and MLQA do.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

from vertune.metrics.words import split_unspaced

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_WIDE = re.compile("[\u3000-\u3004\u3008-\u3020\u3030\u2018-\u201f\u2014\u2026\u00b7\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65]")
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def tokens(text: str) -> list[str]:
    """The normalised tokens of an answer."""
    plain = _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION))
    found = plain.split()
    cut = split_unspaced(plain)
    return found if cut == found else split_unspaced(_WIDE.sub(" ", plain))


def exact(answer: str, accepted: Sequence[str]) -> float:
    """1 when the answer equals one of the accepted ones after normalisation; none accepted means that no answer is right."""
    given = tokens(answer)
    return float(any(given == tokens(text) for text in accepted or [""]))


def f1(answer: str, accepted: Sequence[str]) -> float:
    """The best overlap of tokens with one of the accepted answers; none accepted means that no answer is right."""
    given = tokens(answer)
    return max(_overlap(given, tokens(text)) for text in accepted or [""])


def _overlap(given: list[str], wanted: list[str]) -> float:
    if not given or not wanted:
        return float(given == wanted)
    common = sum((Counter(given) & Counter(wanted)).values())
    return 2 * common / (len(given) + len(wanted))
