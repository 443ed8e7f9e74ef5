"""Compares the spellings of labels; independent of tasks and tables."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping

_INVISIBLE = frozenset({"Cc", "Cf"})
"""Unicode categories of characters that can't be seen, such as the zero-width space and the soft hyphen."""
_BETWEEN_CHINESE = re.compile(r"(?<=[\u3400-\u9fff]) (?=[\u3400-\u9fff])")
"""A blank that separates no words, because Chinese is written without any."""
_HALF_WIDTH = {0x3000: 0x20, **{point: point - 0xFEE0 for point in range(0xFF01, 0xFF5F)}}

_MISSING = frozenset({"na", "n/a", "#n/a", "<na>", "nan", "null", "nil", "#value!", "#ref!", "#name?", "#div/0!"})
"""What programs write into a cell without a value; `None` is not among them, because it often is a label."""


def marks_missing(value: str) -> bool:
    """Return whether a value, such as `NaN` or `N/A`, usually says that there is none."""
    return key(value) in _MISSING


def key(label: str) -> str:
    """Return a text that is the same for all labels that nearly agree with this one."""
    spaced = " ".join(label.translate(_HALF_WIDTH).split())
    visible = "".join(character for character in spaced if unicodedata.category(character) not in _INVISIBLE)
    return _BETWEEN_CHINESE.sub("", unicodedata.normalize("NFC", " ".join(visible.split()).casefold()))


def nearly_equal(counts: Mapping[str, int]) -> list[dict[str, int]]:
    """Return the groups of labels that nearly agree, each with its numbers of rows, the most frequent label and group first."""
    groups: defaultdict[str, dict[str, int]] = defaultdict(dict)
    for label, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        groups[key(label)][label] = count
    return sorted((group for group in groups.values() if len(group) > 1), key=lambda group: -sum(group.values()))


def quoted(label: str) -> str:
    """Format a label for a message, in quotes; characters that can't be seen or told apart are written as escapes."""
    visible = label.isprintable() and label == label.strip() and unicodedata.normalize("NFC", label) == label
    return f"'{label}'" if visible else ascii(label)
