"""Which of the details in a message its customer means: not those that are negated or replaced in it; knows no slots.

`not 200, 300`, `Friday, no, Saturday` and 不是200，是300 mean the last one; `50 or 60` and 明天或者后天 leave it open.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from vertune.dialogue.entities import Found

_NEGATED_BEFORE = re.compile(
    r"(?:(?<![a-z])(?:not|instead of|rather than|isn't|isnt|wasn't|wasnt)(?:\s+(?:for|to|from|in|on|at|with|the|my|a|an|by|of|send|pay))*"
    r"|(?:(?<![是要])不|并不|而不)(?:是|用|要|从|在|给|选|转给|想要|想用)+|(?<![a-z])not\s+(?:it|that)\s+is)\s*$"
)
"""What stands directly in front of a detail that isn't meant."""
_NEGATED_AFTER = re.compile(r"\s*(?:方面|上|倒是|倒|都|这?个?)?(?:没有?(?:什么|啥)?问题|没得说|不是(?:问题|重点|原因))")
"""What follows a detail that isn't meant."""
_REFUSED_AFTER = re.compile(
    r"\s*(?:都|也|是)?(?:不行|不可以|不方便|没空|不对|错了)|\s+(?:is|was)\s+(?:wrong|incorrect|not\s+(?:right|correct))"
    r"|\s+(?:isn't|wasn't)\s+(?:right|correct)|\s+(?:doesn't|does\s+not|won't)\s+work"
)
"""What follows one that is refused; after a choice, such as the reason for a return, it says what is wrong."""
_RELATIVE_BEFORE = re.compile(r"(?:再|多|少)(?:加|付|转|给|打|充|减|扣|要)?\s*$|(?<![a-z])(?:another|extra|add|plus|minus)\s+$")
_RELATIVE_AFTER = re.compile(r"\s+(?:more|less|extra|on\s+top)(?![a-z])")
_LATER = re.compile(r"(?<![a-z])(?:later|earlier)$")
"""What makes a detail a change of the value that is known: 再加十块, `10 pounds more`, `a day later`."""
_REPLACED = re.compile(
    r"(?<![a-z])(?:no|nope|wait|sorry|actually|i mean|i meant|make (?:it|that)|scratch that|oops|correction|rather)(?![a-z])"
    r"|不对|不是|不不|应该|哦不|啊不|(?<![是要])不[，,、\s]|说错|打错|写错|错了|改成|改到|改为|换成|还是算"
)
"""What stands between a detail and the one that replaces it."""
_OR = re.compile(r"\s*(?:,?\s*or(?: maybe| perhaps)?|/|或者?|还是|要么|,?\s*maybe)\s*")
"""What stands alone between two details of which one is meant."""
_RANGE = re.compile(r"\s*(?:到|至|~|-|–|—|to)\s*")
"""What stands alone between the ends of a range."""
_AND, _BETWEEN_THEM = re.compile(r"\s+and\s+"), re.compile(r"(?<![a-z])between\s+\W*$")
_BETWEEN = 30
"""Number of characters between a detail and the one that may replace it."""


def is_negated(text: str, start: int, end: int) -> bool:
    """Return whether the detail at a place of a plain text is one that the customer doesn't mean."""
    return bool(_NEGATED_BEFORE.search(text[max(0, start - _BETWEEN) : start]) or _NEGATED_AFTER.match(text, end))


def is_relative(text: str, one: Found) -> bool:
    """Return whether a detail of a plain text says by how much another value is to change, rather than a value."""
    before = text[max(0, one.start - _BETWEEN) : one.start]
    later = _LATER.search(text[one.start : one.end])
    return bool(later or _RELATIVE_BEFORE.search(before) or _RELATIVE_AFTER.match(text, one.end))


def meant(text: str, found: Sequence[Found], refusable: bool = True) -> list[Found]:
    """Return the details of one kind that are neither negated nor replaced by the next one, in the order of their places.

    With `refusable`, `not possible` and the like behind a detail negate it too.
    """
    left = [one for one in found if not is_negated(text, one.start, one.end)]
    left = [one for one in left if not (refusable and _REFUSED_AFTER.match(text, one.end))]
    replaced = {place for place, (one, after) in enumerate(pairwise(left)) if _is_replaced(text, one, after)}
    return [one for place, one in enumerate(left) if place not in replaced]


def is_open(text: str, found: Sequence[Found], ranges: bool) -> bool:
    """Return whether a text leaves open which of several different details is meant; a range does so where one detail is needed."""
    joints = (_OR, _RANGE) if ranges else (_OR,)
    pairs = [(one, other) for one, other in pairwise(found) if one.value != other.value]
    if any(joint.fullmatch(text, one.end, other.start) for joint in joints for one, other in pairs):
        return True
    return ranges and any(_AND.fullmatch(text, one.end, other.start) and _BETWEEN_THEM.search(text[: one.start]) for one, other in pairs)


def _is_replaced(text: str, one: Found, after: Found) -> bool:
    between = text[one.end : after.start]
    return len(between) <= _BETWEEN and bool(_REPLACED.search(between))
