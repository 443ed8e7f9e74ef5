"""Finds numbers of bank cards: 12 to 19 digits in groups or together, with the check digit and the first digits of a card network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from vertune.core.kinds import Mask
from vertune.masking.checks import digits_of, luhn, of_a_thing

_RUN = re.compile(
    r"(?=\d)(?<![\d.,+-])(?:(?<!\d )|(?<=\d{12} ))(?:\d{4}(?:\.\d{4}){3}(?:\.\d{1,3})?|\d(?:[ -]{0,3}\d){11,18})(?![\d%A-Za-z])(?!\.\d)"
)
_GROUP = re.compile(r"\d+")
_SHORTEST = 4
"""Number of digits of the groups of a card number, except the last one."""
_LEAST = 15
"""Number of digits that a card number has at least where other digits, such as its security code, follow after a space."""
_NETWORKS: tuple[tuple[str, range, frozenset[int]], ...] = (
    ("4", range(4, 5), frozenset({13, 16, 19})),
    ("mastercard", range(51, 56), frozenset({16})),
    ("mastercard", range(2221, 2721), frozenset({16})),
    ("american express", range(34, 35), frozenset({15})),
    ("american express", range(37, 38), frozenset({15})),
    ("unionpay", range(62, 63), frozenset({16, 17, 18, 19})),
    ("unionpay", range(81, 82), frozenset({16, 17, 18, 19})),
    ("discover", range(6011, 6012), frozenset({16, 19})),
    ("discover", range(644, 660), frozenset({16, 19})),
    ("jcb", range(3528, 3590), frozenset({16, 19})),
    ("diners", range(300, 306), frozenset({14, 16, 19})),
    ("diners", range(36, 37), frozenset({14, 19})),
    ("diners", range(38, 40), frozenset({14, 16, 19})),
    ("mir", range(2200, 2205), frozenset({16, 19})),
    ("maestro", range(50, 51), frozenset({12, 13, 14, 15, 16, 18, 19})),
    ("maestro", range(56, 59), frozenset({12, 13, 14, 15, 16, 18, 19})),
    ("maestro", range(6304, 6305), frozenset({12, 13, 14, 15, 16, 18, 19})),
    ("maestro", range(6759, 6764), frozenset({12, 13, 14, 15, 16, 18, 19})),
)
"""For each card network: its name, the first digits of its numbers, and how long they are."""


class Card(Mask):
    """Mask of numbers of bank cards."""

    label: ClassVar[str] = "CARD"
    precedence: ClassVar[int | None] = 50
    digits: ClassVar[bool] = True

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield the places of card numbers."""
        for match in _RUN.finditer(text):
            length = _length(match.group())
            if length and not of_a_thing(text, match.start()):
                yield match.start(), match.start() + length

    def examples(self) -> tuple[tuple[str, str], ...]:
        """Return some texts with card numbers."""
        return (
            ("My card 4539 1488 0343 6467 was declined.", "4539 1488 0343 6467"),
            ("卡号６２２２０２１２３４５６７８９０１２８", "６２２２０２１２３４５６７８９０１２８"),
        )


def _length(run: str) -> int:
    """Return how long the card number is with which digits in groups begin: all of them, or fewer whole groups; 0 if there is none."""
    groups = list(_GROUP.finditer(run))
    if any(len(group.group()) < _SHORTEST for group in groups[:-1]):
        return 0
    if _is_card(digits_of(run)):
        return len(run)
    for group in reversed(groups[:-1]):
        digits = digits_of(run[: group.end()])
        if len(digits) < _LEAST:
            break
        if _is_card(digits):
            return group.end()
    return 0


def _is_card(digits: str) -> bool:
    return luhn(digits) and _of_a_network(digits)


def _of_a_network(digits: str) -> bool:
    """Return whether a card network issues numbers that begin like this and are so long."""
    return any(int(digits[: len(str(first.start))]) in first and len(digits) in lengths for _, first, lengths in _NETWORKS)
