"""Finds Chinese licence plates, with five characters after the letter of the city or, for new energy, six."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from vertune.core.kinds import Mask

_PROVINCES = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"
_PLATE = re.compile(
    rf"[{_PROVINCES}][A-HJ-NP-Z] ?[·•・‧∙⋅.-]? ?"
    r"(?:[A-HJK][A-HJ-NP-Z0-9]\d{4}|(?=[A-HJ-NP-Z0-9]\d{4}[DF])[A-HJ-NP-Z0-9]{5}[DF]|\d{5}[DF]"
    r"|(?=[A-HJ-NP-Z0-9]*\d)[A-HJ-NP-Z0-9]{4}(?:[A-HJ-NP-Z0-9]|[挂学警港澳试超领]))(?![A-Za-z0-9])",
    re.IGNORECASE,
)


class Plate(Mask):
    """Mask of Chinese licence plates."""

    label: ClassVar[str] = "PLATE"
    precedence: ClassVar[int | None] = 100
    digits: ClassVar[bool] = True

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield the places of licence plates."""
        return (match.span() for match in _PLATE.finditer(text)) if not text.isascii() else iter(())

    def examples(self) -> tuple[tuple[str, str], ...]:
        """Return some texts with licence plates."""
        return (("车牌京A·12345被拍了", "京A·12345"), ("我的新能源车粤BD12345在哪", "粤BD12345"), ("沪A1234学", "沪A1234学"))
