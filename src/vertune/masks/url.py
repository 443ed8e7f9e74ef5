"""Finds web addresses that contain a name with a password, or a token."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from vertune.core.kinds import Mask

_CHARACTER = r"[!#-&(-;=?-~]"
"""A character of an address: visible ASCII without quotes and angle brackets."""
_TOKENS = (
    r"(?:[\w.-]{0,40}[_.-])?(?:api[_-]?key|auth|pass|passwd|password|pwd|secret|session|session[_-]?id|sid|sig|signature|token|credential)"
    r"|key|jwt|\w{0,20}accesskeyid"
)
_LONGEST = 2_000
"""Number of characters before a token within an address; without a limit, a hostile text would take time by its length squared."""
_WEBHOOK = r"hooks\.slack\.com/services/|discord(?:app)?\.com/api/webhooks/|api\.telegram\.org/bot"
"""Addresses whose path is a secret: whoever has one can write under the name of its owner."""
_ADDRESS = re.compile(
    rf"(?<![A-Za-z0-9])[A-Za-z][A-Za-z0-9+.-]{{1,20}}://(?:[^\s/@:<>\"']{{0,100}}:[^\s/@<>\"']{{1,200}}@{_CHARACTER}*"
    rf"|{_CHARACTER}{{0,{_LONGEST}}}?[?&;#](?:{_TOKENS})={_CHARACTER}{{4,}}|(?:{_WEBHOOK}){_CHARACTER}{{8,}})",
    re.IGNORECASE,
)
_END = ".,;:!?)]}*`"


class Url(Mask):
    """Mask of web addresses with a password or a token."""

    label: ClassVar[str] = "URL"
    precedence: ClassVar[int | None] = 20
    hints: ClassVar[tuple[str, ...]] = ("://",)

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield the places of addresses."""
        for match in _ADDRESS.finditer(text):
            yield match.start(), match.start() + len(match.group().rstrip(_END))

    def examples(self) -> tuple[tuple[str, str], ...]:
        """Return some texts with addresses."""
        return (
            ("clone https://anna:s3cret@git.example.com/app.git please", "https://anna:s3cret@git.example.com/app.git"),
            ("打开https://example.com/pay?id=7&token=9f8e7d6c5b，谢谢", "https://example.com/pay?id=7&token=9f8e7d6c5b"),
        )
