"""Checks that a mask, which finds personal data or secrets in texts, obeys its contract; independent of what it finds.

Authors of a mask run the checks on it:

    for check in CHECKS:
        check(MyMask())
"""

from __future__ import annotations

from collections.abc import Callable

from vertune.core.kinds import Mask
from vertune.masking import Masker, plain

_PLAIN_TEXTS = (
    "", " ", "the card was swallowed", "我的卡被吞了", "\tline\nend", "x" * 3000, "👩\u200d💻", "\ud800",
    "order 20231234567 of 2024-01-15, 1,234.50 euros",
    "<PHONE_1> and <NAME_22>",
)  # fmt: skip
"""Texts without personal data."""
_FULL = {ord(char): ord(char) + 0xFEE0 for char in "0123456789"}


def check_examples_are_found(mask: Mask) -> None:
    """Check that a mask finds the marked part of each of its examples, and that places are inside the text."""
    examples = mask.examples()
    assert examples, f"{mask.name}: it has no examples"
    for text, part in examples:
        places = list(mask.find(plain(text)))
        assert part in {text[start:end] for start, end in places}, f"{mask.name}: '{part}' is not found in '{text}'"
        assert all(0 <= start < end <= len(text) for start, end in places), f"{mask.name}: a place is outside of the text"


def check_texts_are_not_skipped(mask: Mask) -> None:
    """Check that `digits` and `hints` skip no text in which the mask finds something."""
    for text, part in mask.examples():
        assert part not in Masker([mask]).text(text), f"{mask.name}: digits or hints skip the text '{text}'"


def check_full_width(mask: Mask) -> None:
    """Check that a mask finds its examples also if their digits have full width."""
    for text, part in mask.examples():
        wide = text.translate(_FULL)
        assert part.translate(_FULL) not in Masker([mask]).text(wide), f"{mask.name}: '{wide}' is not masked"


def check_other_texts_stay(mask: Mask) -> None:
    """Check that a mask leaves texts without personal data, and placeholders, as they are."""
    for text in _PLAIN_TEXTS:
        assert Masker([mask]).text(text) == text, f"{mask.name}: '{text}' is changed"


def check_masked_texts_stay(mask: Mask) -> None:
    """Check that masking a masked text changes nothing."""
    for text, _ in mask.examples():
        once = Masker([mask]).text(text)
        assert Masker([mask]).text(once) == once, f"{mask.name}: masking '{once}' changes it again"


def check_label(mask: Mask) -> None:
    """Check that the name of the placeholders consists of capital letters."""
    assert mask.shown.replace("_", "").isalpha(), f"{mask.name}: the label '{mask.shown}' is more than letters"
    assert mask.shown.isupper(), f"{mask.name}: the label '{mask.shown}' is not in capital letters"


CHECKS: tuple[Callable[[Mask], None], ...] = (
    check_examples_are_found,
    check_texts_are_not_skipped,
    check_full_width,
    check_other_texts_stay,
    check_masked_texts_stay,
    check_label,
)
