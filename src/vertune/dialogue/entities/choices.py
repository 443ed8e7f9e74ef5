"""Finds values of lists, by their titles, synonyms and with single typing errors, and yes and no; knows no list of its own."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator

from vertune.dialogue.characters import any_of, plain
from vertune.dialogue.entities.found import Found, Options
from vertune.dialogue.flows import Option, pick_words
from vertune.dialogue.lexicon import Lexicon

_TYPO_FROM, _TYPOS_AT = 5, 1
"""Letters from which a word is found with one letter wrong."""
_WORDS = re.compile(r"[a-z]{5,}")
_HAN, _PARTICLES = re.compile(r"[\u3400-\u9fff]"), frozenset("的啊呀吧了嘛哦呢哈我喔哟唷噢哩")
"""Chinese characters, of which a short word for yes or no isn't a part, and those that may stand beside it."""
_AGREEING = frozenset("对好嗯行是")
"""Characters behind which a longer word for yes may stand without a mark."""
_START = " ,.!?;，。！？；、~我那嗯"


_MOST_PLACES = 9
"""Number of options up to which one may be meant by its place."""
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")
_PLACES = {
    **{form: number for number, word in enumerate(_ORDINALS, 1) for form in (word, str(number))},
    **{form: number for number, form in enumerate(("1st", "2nd", "3rd", *(f"{n}th" for n in range(4, 10))), 1)},
    **{form: number for number, form in enumerate("一二三四五六七八九", 1)},
    **{form: number for number, form in enumerate(("one", "two", "three", "four", "five", "six", "seven", "eight", "nine"), 1)},
    "former": 1, "前者": 1, "前面": 1, "前一": 1, "两": 2,
}  # fmt: skip
_LAST = frozenset({"last", "latter", "后者", "后面", "后一", "最后"})
_OF_TWO = frozenset({"former", "latter", "前者", "后者", "前面", "后面", "前一", "后一"})
_PLACE = re.compile(
    r"\W*(?:(?:i\s+(?:want|choose|pick|take|mean)|i'd\s+like|it's|option|number|no\.?|choice)\s+)*(?:the\s+)?"
    rf"(?:(?P<ordinal>{'|'.join(_ORDINALS)}|[1-9](?:st|nd|rd|th)|last|former|latter)(?:\s+(?:one|option|choice))?"
    r"|(?P<digit>[1-9]|one|two|three|four|five|six|seven|eight|nine))(?:\s*,?\s*(?:please|thanks))?\W*"
    r"|\W*(?:我?(?:选|要|是))?(?:第(?P<chinese>[一二三四五六七八九1-9])|(?P<side>前者|后者|前面|后面|前一|后一|最后)|选(?P<chosen>[一二三四五六七八九]))"
    r"(?:一?[个种项样条款]|号)?(?:那个|的)?(?:吧|谢谢)?\W*"
)
"""How a reply means an option by its place."""


def choices(text: str, _: float, options: Options) -> Iterator[Found]:
    """Yield the options that a plain text names; words with one typing error only where no option is named as it is written."""
    index = _index(tuple(_entries(options.choices)))
    exact = [Found(match.start(), match.end(), index[1][_key(match.group())], match.group()) for match in index[0].finditer(text)]
    if exact:
        yield from exact
        return
    if options.asked and (place := _place(text, len(options.choices))) is not None:
        stripped = text.strip()
        start = text.index(stripped)
        yield Found(start, start + len(stripped), options.choices[place].value, stripped)
        return
    for match in _WORDS.finditer(text):
        near = {value for word, value in index[2] if abs(len(word) - len(match.group())) <= _TYPOS_AT and is_near(word, match.group())}
        if len(near) == 1:
            yield Found(match.start(), match.end(), near.pop(), match.group())


def _place(text: str, count: int) -> int | None:
    """Return which option, counted from 0, a reply means by its place: `2`, `the first one`, 第二个; None if it names no place."""
    written = _PLACE.fullmatch(text.strip())
    if written is None or count < 2:
        return None
    word = next(filter(None, written.groups()))
    number = count if word in _LAST else _PLACES.get(word, 0)
    return number - 1 if 0 < number <= min(count, _MOST_PLACES) and (count == 2 or word not in _OF_TWO) else None


def yes_no(text: str, _: float, options: Options) -> Iterator[Found]:
    """Yield at most one yes or no: what a reply begins with, or the only one of both that it contains."""
    words = said(text, options.lexicon or Lexicon.built_in())
    if not words:
        return
    first, value = words[0]
    if not text[: first.start()].strip(_START) or len({value for _, value in words}) == 1:
        yield Found(first.start(), first.end(), value, first.group())


def said(text: str, lexicon: Lexicon) -> list[tuple[re.Match[str], bool]]:
    """Return each yes and no in a plain text with its value, in the order of their places."""
    words = [(match, value) for value in (True, False) for match in (lexicon.affirm if value else lexicon.deny).matches(text)]
    return sorted(
        (one for one in words if _alone(text, *one)),
        key=lambda one: (one[0].start(), -one[0].end()),
    )


def _alone(text: str, match: re.Match[str], value: bool) -> bool:
    """Return whether a Chinese word for yes or no isn't part of another word: 行 in 银行, or 需要 in 他需要."""
    word = match.group()
    word = word[0] if len(set(word)) == 1 and _HAN.match(word) else word
    if not _HAN.match(word[0]):
        return len(word) > 1 or not text.replace(word, "", 1).strip(_START)
    if word == match.group()[0] and match.end() < len(text) and _HAN.match(text[match.end()]) and len(match.group()) > 1:
        return False  # 好好 in 好好想想
    before, after = text[: match.start()][-1:], text[match.end() :][:1]
    begins = not _HAN.match(before) or before in _PARTICLES
    if len(word) > 1:
        return begins or not value or before in _AGREEING
    return begins and (not _HAN.match(after) or after in _PARTICLES)


def is_near(one: str, other: str) -> bool:
    """Return whether two different words are one insertion, deletion, replacement or swap of neighbours apart (Damerau 1964)."""
    if one == other:
        return False
    if len(one) > len(other):
        one, other = other, one
    same = next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))
    if len(one) < len(other):
        return len(other) - len(one) == 1 and one[same:] == other[same + 1 :]
    return one[same + 1 :] == other[same + 1 :] or (
        one[same : same + 2] == other[same : same + 2][::-1] and one[same + 2 :] == other[same + 2 :]
    )


def _entries(options: Iterable[Option]) -> Iterator[tuple[str, str]]:
    for option in options:
        for word in (option.value, *option.title.values(), *pick_words(option.words)):
            yield _key(plain(word)), option.value


@functools.lru_cache(maxsize=512)
def _index(entries: tuple[tuple[str, str], ...]) -> tuple[re.Pattern[str], dict[str, str], list[tuple[str, str]]]:
    """Return the expression for all words, the value of each, and the words that are found with a typing error."""
    values: dict[str, str] = {}
    for word, value in entries:
        values.setdefault(word, value)
    return (
        any_of(values),
        values,
        [(word, value) for word, value in values.items() if len(word) >= _TYPO_FROM and word.isascii() and word.isalpha()],
    )


def _key(written: str) -> str:
    return " ".join(written.split())
