"""Finds IP addresses of versions 4 and 6, but no numbers of software versions."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import ClassVar

from vertune.core.kinds import Mask
from vertune.masking.checks import is_announced

_FOUR = re.compile(r"(?=\d)(?:(?<![A-Za-z0-9_.-])|(?<=IP)|(?<=ip))(?:\d{1,3}\.){3}\d{1,3}(?:/\d{1,2})?(?![A-Za-z0-9_-])(?!\.[A-Za-z0-9])")
_SIX = re.compile(
    r"(?=[0-9A-Fa-f:])(?:(?<![A-Za-z0-9_:.])|(?<=[^0-9A-Fa-f:]:))(?!:[^:])(?:[0-9A-Fa-f]{0,4}:){2,7}(?:(?:\d{1,3}\.){3}\d{1,3}|[0-9A-Fa-f]{1,4})?(?:/\d{1,3})?"
    r"(?![A-Za-z0-9_:])"
)
_VERSION = re.compile(
    r"(?:\bv|\bver\.?|version|release|build|firmware|driver|update|upgrade(?:d)? to|版本|版|补丁|固件|驱动|升级到?|更新到?"
    r"|\b(?:i?os|android|windows|macos|linux|kernel|chrome|firefox|safari|edge|python|java|php|nginx|openssl)|系统|微信|客户端"
    r"|(?<![./\w-])(?!(?:ip|host|tcp|udp|server|addr|address)/)[a-z]{2,20}/"
    r"|\b(?:section|sect?\.|clause|chapter|paragraph|article|figure|fig\.|table|appendix|annex|item|step|rule)|§|第|见|条款?|章|节|图|表|附录)"
    r"[\s:#=号为]*$",
    re.IGNORECASE | re.ASCII,
)
"""Words before numbers of versions and of sections of a text, which have four parts, too."""
_BEFORE = 24
_SHORTEST = 7
"""Number of characters of an address of version 6 below which it is more often a time or an operator of a programming language."""


class Ip(Mask):
    """Mask of IP addresses."""

    label: ClassVar[str] = "IP"
    precedence: ClassVar[int | None] = 90
    digits: ClassVar[bool] = True
    hints: ClassVar[tuple[str, ...]] = (".", ":")

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield the places of addresses."""
        for pattern, separator in ((_FOUR, "."), (_SIX, ":")):
            for match in pattern.finditer(text) if text.count(separator) > 1 else ():
                address = match.group()
                long_enough = pattern is _FOUR or len(address) >= _SHORTEST
                if long_enough and _is_address(address) and not is_announced(text, match.start(), _VERSION, _BEFORE):
                    yield match.span()

    def examples(self) -> tuple[tuple[str, str], ...]:
        """Return some texts with addresses."""
        return (
            ("Login from 203.0.113.77 at noon", "203.0.113.77"),
            ("地址是2001:db8:85a3::8a2e:370:7334吗", "2001:db8:85a3::8a2e:370:7334"),
        )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return False
    return True
