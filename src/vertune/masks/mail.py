"""Finds mail addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from vertune.core.kinds import Mask

_ADDRESS = re.compile(
    r"(?<![A-Za-z0-9\u00c0-\u024f_])[A-Za-z0-9\u00c0-\u024f_](?:[A-Za-z0-9\u00c0-\u024f._%+&-]|(?<=[a-z])'(?=[a-z])){0,63}@"
    r"(?:[A-Za-z0-9\u00c0-\u024f](?:[A-Za-z0-9\u00c0-\u024f-]{0,62})\.){1,8}(?:[A-Za-z]{2,24}|xn--[a-z0-9-]{2,59})(?![A-Za-z0-9])",
    re.IGNORECASE,
)
"""In the part before `@`, quotes, `*`, `=`, `!` and the like are legal, but stand around addresses much more often than in one."""


class Mail(Mask):
    """Mask of mail addresses."""

    label: ClassVar[str] = "MAIL"
    precedence: ClassVar[int | None] = 10
    hints: ClassVar[tuple[str, ...]] = ("@",)

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield the places of mail addresses."""
        return (match.span() for match in _ADDRESS.finditer(text))

    def examples(self) -> tuple[tuple[str, str], ...]:
        """Return some texts with mail addresses."""
        return (
            ("Write to anna.smith+bank@mail.example.co.uk, please.", "anna.smith+bank@mail.example.co.uk"),
            ("我的邮箱是wang_fang88@example.com。", "wang_fang88@example.com"),
        )
