"""Exact match and F1 of a short answer, compared with the accepted answers (SQuAD, Rajpurkar et al. 2016, 2018).

Answers are normalised as in SQuAD: to lower case, without ASCII punctuation and English articles. In Chinese and other scripts
without spaces, each character is a token and the script's punctuation is removed too, as in CMRC 2018 and MLQA.
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
    """Normalise an answer as in SQuAD (lower case, no punctuation, no English articles) and return its tokens."""
    normalised = _ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION))
    spaced = normalised.split()
    return spaced if split_unspaced(normalised) == spaced else split_unspaced(_WIDE.sub(" ", normalised))


def exact(answer: str, accepted: Sequence[str]) -> float:
    """Return 1 if the answer equals an accepted answer after normalisation, else 0.

    If `accepted` is empty, only an empty answer is correct.
    """
    answered = tokens(answer)
    return float(any(answered == tokens(text) for text in accepted or [""]))


def f1(answer: str, accepted: Sequence[str]) -> float:
    """Return the token F1 of the answer with the accepted answer that is most similar to it.

    If `accepted` is empty, only an empty answer is correct.
    """
    answered = tokens(answer)
    return max(_token_f1(answered, tokens(text)) for text in accepted or [""])


def _token_f1(answered: list[str], expected: list[str]) -> float:
    """Return the F1 of the tokens of two answers, each a bag of tokens; if both are empty, return 1, if only one is, return 0."""
    if not answered or not expected:
        return float(answered == expected)
    common = sum((Counter(answered) & Counter(expected)).values())
    return 2 * common / (len(answered) + len(expected))
