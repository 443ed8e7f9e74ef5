"""Finds postal addresses: Chinese ones down to the number of the house, and English ones of a number and a street."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from vertune.core.kinds import Mask

_HAN = "[\u4e00-\u9fff]"
_NUMBER = r"(?:\d{1,5}|[一二三四五六七八九十百零]{1,6})"
_ROOM = rf"(?:[A-Za-z]?{_NUMBER}(?:室|号房|房|户)|[A-Za-z]?\d{{2,4}}(?!\d))"
_CHINESE = re.compile(
    rf"(?:{_HAN}{{2,8}}?(?:省|自治区|特别行政区))?(?:{_HAN}{{2,7}}?(?:市|自治州|盟))?(?:{_HAN}{{1,7}}?(?:区|县|旗|镇|乡|街道|新区|开发区))?"
    rf"{_HAN}{{1,8}}?(?:路|街|大道|道|巷|弄|胡同|里|村)(?:[东南西北中]段?)?{_NUMBER}(?:号院?|弄|号楼)(?:之{_NUMBER})?"
    rf"(?:{_HAN}{{0,10}}?[A-Za-z]?{_NUMBER}?(?:幢|栋|号楼|座|期))?(?:{_NUMBER}单元)?(?:{_NUMBER}(?:层|楼))?{_ROOM}?"
)
_LEAD = re.compile(
    r"^(?:.*(?:地址[是为在]?|住址[是为]?|[居家]?住[在于]?|家在|位于|(?:寄|送|发|搬|派|退|快递)[到往至给]|在|到|是|为|至|去))?(?=[\u4e00-\u9fff])"
)
"""What stands before a Chinese address, which has no space before it."""
_KINDS = (
    "Street|St|Road|Rd|Avenue|Ave|Av|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Place|Pl|Square|Sq|Terrace|Ter|Way|Close|Crescent|Cres|Highway|Hwy"
    "|Parkway|Pkwy|Gardens|Grove|Mews|Row|Hill|Walk|Circle|Cir"
)
_WORD = r"[A-Z\u00c0-\u00de][A-Za-z\u00c0-\u024f'.-]*"
_SIDE = "(?:[NSEW]|North|South|East|West)"
_INSIDE = r"(?:Flat|Apartment|Apt\.?|Unit|Suite|Ste\.?|Room)"
_POSTCODE = r"(?:\d{5}(?:-\d{4})?|[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2})"
_TOWN = rf"{_WORD}(?![A-Za-z0-9])(?: {_WORD}(?![A-Za-z0-9])){{0,2}}"
_ENGLISH = re.compile(
    rf"(?<![\w.,$€£-])(?:{_INSIDE} [A-Z0-9-]{{1,6}},? )?\d{{1,5}}[A-Za-z]?(?:-\d{{1,5}})? (?:{_SIDE}\.? )?"
    rf"(?:(?:{_WORD}|\d{{1,3}}(?:st|nd|rd|th)) ){{1,4}}?(?:{_KINDS})\b\.?(?: {_SIDE}\b)?"
    rf"(?:,? (?:{_INSIDE}|#) ?[A-Z0-9-]{{1,6}})?(?:, {_TOWN})?(?:,? [A-Z]{{2}}(?= \d{{5}}))?(?:,? {_POSTCODE})?",
    re.ASCII,
)
_END = " .,"


class PostalAddress(Mask):
    """Mask of postal addresses."""

    label: ClassVar[str] = "ADDRESS"
    precedence: ClassVar[int | None] = 120
    digits: ClassVar[bool] = True

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield the places of addresses."""
        for match in _CHINESE.finditer(text):
            lead = _LEAD.match(match.group())
            yield match.start() + (lead.end() if lead else 0), match.end()
        for match in _ENGLISH.finditer(text):
            yield match.start(), match.start() + len(match.group().rstrip(_END))

    def examples(self) -> tuple[tuple[str, str], ...]:
        """Return some texts with addresses."""
        return (
            ("Send it to 221B Baker Street, London NW1 6XE today", "221B Baker Street, London NW1 6XE"),
            ("请寄到上海市浦东新区世纪大道100号3栋502室，谢谢", "上海市浦东新区世纪大道100号3栋502室"),
        )
