"""Finds postal addresses: Chinese ones down to the number of the house, and English ones of a number and a street."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from vertune.core.kinds import Mask

_HAN = "[\u4e00-\u9fff]"
_NUMBER = r"(?:\d{1,5}|[一二三四五六七八九十百零]{1,6})"
_ROOM = rf"(?:[A-Za-z]?{_NUMBER}(?:室|号房|号|房|户)|[A-Za-z]?\d{{2,4}}(?![\d点天元年月日个件折%小时分]))"
_AREA = (
    rf"(?P<area>(?:{_HAN}{{2,8}}?(?:省|自治区|特别行政区) ?)?(?:{_HAN}{{2,7}}?(?:市|自治州|盟) ?)?"
    rf"(?:{_HAN}{{1,7}}?(?:区|县|旗|镇|乡|街道|新区|开发区) ?)?)"
)
_BLOCK = "(?:幢|栋|号楼|座|期)"
_BUILDING = rf"(?:(?:(?![请把送给我你他的了是有不在到放从和]){_HAN}){{0,10}}?(?=(?:[A-Za-z]|{_NUMBER})(?:{_BLOCK}|单元|层|楼)))?"
_CHINESE = re.compile(
    rf"{_AREA}(?P<street>{_HAN}{{1,8}}?(?:路|街|大道|道|巷|弄|胡同|里|村)(?:[东南西北中]段?)?) ?(?:{_NUMBER}组)?"
    rf"{_NUMBER} ?(?:号院?|弄(?:{_NUMBER}支弄)?(?:{_NUMBER}号)?|号楼)(?:之{_NUMBER})?"
    rf"(?P<inside>{_BUILDING}(?:(?:[A-Za-z]|{_NUMBER}){_BLOCK})?(?:{_NUMBER}单元)?(?:{_NUMBER}(?:层|楼))?{_ROOM}?)"
)
_ESTATE = re.compile(
    rf"{_AREA}(?P<street>{_HAN}{{2,10}}?){_NUMBER}(?:幢|栋|号楼|座)(?:{_NUMBER}单元)?(?:{_NUMBER}层)?[A-Za-z]?{_NUMBER}(?:室|号房|号|户|房)"
)
"""An address without a street: buildings that have a name."""
_FLAT = re.compile(rf"{_NUMBER}(?:幢|栋|号楼|座)(?:{_NUMBER}单元)?(?:{_NUMBER}层)?[A-Za-z]?{_NUMBER}[室号户房]")
_ANCHOR = re.compile(rf"[路街道巷弄同里村](?:[东南西北中]段?)? ?(?:{_NUMBER}组)?{_NUMBER} ?[号弄]")
"""What each of them contains; it is found faster."""
_BEFORE, _AFTER = 40, 60
"""Number of characters before and after the number of a house within which an address begins and ends."""
_LEAD = re.compile(
    r"^.*(?:地址[是为在]?|住址[是为]?|[居家]?住[在于]?|家在|位于|(?:寄|送|发|搬|派|退|快递)[到往至给来]|在|到|是|为|至|去|[的用填写说给把了与我你他她您]"
    r"|显示|登记|改成)(?=[\u4e00-\u9fff])"
)
"""What stands before a Chinese address, which has no space before it."""
_AT_HOME = re.compile(r"地址[是为在]?|住址[是为]?|[居家]?住[在于]?|家在|位于|(?:寄|送|发|搬|派|退|快递)[到往至给]")
"""Words that say that an address follows."""
_NO_STREET = re.compile(
    r"(?:^一|[思线套铁网电半上走错迷马之顺赶让开修问带绕弯退出末陌歧岔领海陆水通生活财销这那条段])路$|(?:^|[这那条])公路$"
    r"|(?:[知通频渠味跑赛报管隧车轨弯柔茶地难厚门行航水河街铁公交布传霸正魔步几]|^.)道$|(?:[逛上过当骂满这那条]|^.)街$|[里村弄]$"
)
"""Words that end like a street: an idea is 思路, to know is 知道."""
_NO_HOUSE = re.compile(
    r"(?:线|机房|机库|选手|套餐|文物|台风|公告|文件|仓|闸|到|见|发|开|坏|之?前|以前|以?后|晚|早|上午|下午|生效|截止|考试|出发|起|车|店|歌|球)"
)
"""What follows the numbers of things and days."""
_KINDS = (
    "Street|St|Road|Rd|Avenue|Ave|Av|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Place|Pl|Square|Sq|Terrace|Ter|Way|Close|Crescent|Cres|Highway|Hwy"
    "|Parkway|Pkwy|Gardens|Grove|Mews|Row|Hill|Walk|Circle|Cir"
)
_WORD = r"[A-Z\u00c0-\u00de][A-Za-z\u00c0-\u024f'.-]*"
_SIDE = "(?:[NS][EW]|[NSEW]|North|South|East|West)"
_INSIDE = r"(?:Flat|Apartment|Apt\.?|Unit|Suite|Ste\.?|Room)"
_POSTCODE = r"(?:\d{5}(?:-\d{4})?|[A-Z]{1,2}\d[A-Z\d]? ?\d[A-Z]{2})"
_TOWN = rf"{_WORD}(?![A-Za-z0-9])(?: {_WORD}(?![A-Za-z0-9])){{0,2}}"
_NO_PLURAL = r"(?! (?!(?:is|was|has|as|does|this|its|always|yes|unless|across|plus|thanks|besides|towards|sometimes|perhaps)\b)[a-z]+s\b)"
"""Things are counted where a plural follows: 100 Wall Street firms."""
_COUNTED = re.compile(
    r" (?:(?:Hard|Disk|Flash|Google|USB|Tape|Cloud|Test|Shared|Network) Drive|(?:Tennis|Basketball|Squash|Food|Supreme|District|Day) Court"
    r"|(?:Parking|First|Second|Third|Last) Place"
    r"|(?:One|Two|Three|Four|Best|Same|Right|Wrong|Only|Other|Better|Half|Times|Hours|Minutes|Days|Weeks|Months|Years) Way)\b"
)
"""Things that end like a street: a hard drive."""
_ENGLISH = re.compile(
    rf"(?<![\w.,$€£-])(?:{_INSIDE} [A-Z0-9-]{{1,6}},? )?\d{{1,5}}[A-Za-z]?(?:-\d{{1,5}})? (?:{_SIDE}\.? )?"
    rf"(?:(?:{_WORD}|\d{{1,3}}(?:st|nd|rd|th)) ){{1,4}}?(?:{_KINDS})\b(?!-)\.?(?: {_SIDE}\b)?{_NO_PLURAL}"
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
        for anchors, pattern in () if text.isascii() else ((_ANCHOR, _CHINESE), (_FLAT, _ESTATE)):
            yield from _chinese(text, anchors, pattern)
        for match in _ENGLISH.finditer(text):
            if not _COUNTED.search(match.group()):
                yield match.start(), match.start() + len(match.group().rstrip(_END))

    def examples(self) -> tuple[tuple[str, str], ...]:
        """Return some texts with addresses."""
        return (
            ("Send it to 221B Baker Street, London NW1 6XE today", "221B Baker Street, London NW1 6XE"),
            ("请寄到上海市浦东新区世纪大道100号3栋502室，谢谢", "上海市浦东新区世纪大道100号3栋502室"),
        )


def _chinese(text: str, anchors: re.Pattern[str], pattern: re.Pattern[str]) -> Iterator[tuple[int, int]]:
    """Yield the places of Chinese addresses, which are searched for around their numbers alone: elsewhere a pattern takes much longer."""
    stop = 0
    for anchor in anchors.finditer(text):
        match = pattern.search(text, max(stop, anchor.start() - _BEFORE), anchor.end() + _AFTER) if anchor.start() >= stop else None
        if match:
            stop = match.end()
            lead = _LEAD.match(text[match.start() : match.end("street")])
            start = match.start() + (lead.end() if lead else 0)
            if _is_address(match, text[start : match.end("street")], lead.group() if lead else ""):
                yield start, stop


def _is_address(match: re.Match[str], street: str, lead: str) -> bool:
    """Return whether a street with a number is one: it has a town or a room, or words announce it, or it is no other word."""
    if match["area"] or _AT_HOME.search(lead) or match.groupdict().get("inside"):
        return True
    return match.re is _CHINESE and not _NO_STREET.search(street) and not _NO_HOUSE.match(match.string, match.end())
