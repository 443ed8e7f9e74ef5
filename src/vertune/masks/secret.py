"""Finds keys of interfaces, tokens, passwords and private keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from vertune.core.kinds import Mask

_KNOWN = re.compile(
    r"(?<![A-Za-z0-9_-])(?:sk-[A-Za-z0-9_-]{16,}|(?:sk|pk|rk)_(?:live|test)_[A-Za-z0-9]{10,}|gh[pousr]_[A-Za-z0-9]{20,}"
    r"|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}|xox[abeoprs]-[A-Za-z0-9-]{10,}|(?:AKIA|ASIA|LTAI|AKID)[A-Za-z0-9]{12,}"
    r"|AIza[A-Za-z0-9_-]{30,}|ya29\.[A-Za-z0-9_-]{20,}|hf_[A-Za-z0-9]{20,}|npm_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{30,}"
    r"|dop_v1_[a-f0-9]{40,}|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"
    r"|vt_[A-Za-z0-9_-]{20,}|hv[sb]\.[A-Za-z0-9_-]{20,}|dckr_pat_[A-Za-z0-9_-]{20,}|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}"
    r"|GOCSPX-[A-Za-z0-9_-]{20,}|\d{8,10}:AA[A-Za-z0-9_-]{30,})(?![A-Za-z0-9])"
)
_BLOCK = re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.{0,20000}?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)", re.DOTALL)
_NAMED = re.compile(
    r"(?:pass(?:word|wd|phrase|code)|(?:\b|_)pwd|secret(?:[ _-]?key)?|(?:api|access|account)[ _-]?key"
    r"|(?:access|auth|bearer|refresh|api)[ _-]?token"
    r"|(?:\b|_)token|client[ _-]?secret|authorization|密码|口令|密钥|令牌|秘钥)"
    r"[\"']?(?:(?: (?:is|was)|是|为)?\s*[:=是为 ]\s*|(?<=[码令牌钥])(?:[改设]?(?:成|为)了?|是)?)(?:Bearer |Basic )?[\"']?"
    r"((?=[A-Za-z+./=~-]{0,199}[0-9!@#$%^&*_])[A-Za-z0-9!@#$%^&*_+./=~-]{6,200})",
    re.IGNORECASE | re.ASCII,
)
_BEARER = re.compile(r"\b(?i:Bearer|Basic) (?=[A-Za-z0-9._~+/=-]{0,199}?(?:\d|=|[a-z][A-Z]))([A-Za-z0-9._~+/=-]{16,})", re.ASCII)
_NO_WORD = re.compile(r"[0-9!@#$%^&*_]")
"""What a password contains that no word does."""
_END = re.compile(r"(?:[.,;:!?]|\*\*)+$")
"""What ends a sentence, or bold letters in Markdown, is no part of a password."""


class Secret(Mask):
    """Mask of keys, tokens and passwords."""

    label: ClassVar[str] = "SECRET"
    precedence: ClassVar[int | None] = 30
    hints: ClassVar[tuple[str, ...]] = (
        "passw", "passp", "passc", "pwd", "secret", "key", "token", "authorization", "密码", "口令", "密钥", "令牌", "秘钥", "bearer ",
        "basic ", "begin ", "sk-", "sk_", "pk_", "rk_", "gh", "github_", "glpat-", "xox", "akia", "asia", "ltai", "akid", "aiza", "ya29.",
        "hf_", "npm_", "pypi-", "dop_v1_", "sg.", "eyj", "vt_", "hvs.", "hvb.", "dckr_pat_", "shp", "gocspx-", ":aa",
    )  # fmt: skip

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield the places of secrets, without the words that announce them."""
        for pattern in (_BLOCK, _KNOWN):
            yield from (match.span() for match in pattern.finditer(text))
        for pattern in (_NAMED, _BEARER):
            for match in pattern.finditer(text):
                secret = _END.sub("", match.group(1))
                if pattern is _BEARER or _NO_WORD.search(secret):
                    yield match.start(1), match.start(1) + len(secret)

    def examples(self) -> tuple[tuple[str, str], ...]:
        """Return some texts with secrets."""
        return (
            ("it says sk-proj-abcDEF1234567890abcDEF is invalid", "sk-proj-abcDEF1234567890abcDEF"),
            ("password: Summer2024! does not work", "Summer2024"),
            ("我的密码是abc123456，进不去", "abc123456"),
        )
