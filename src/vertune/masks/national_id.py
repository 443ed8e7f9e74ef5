"""Finds the numbers by which states know their people, by the check digits that the library python-stdnum knows.

Numbers of digits alone with a single check digit are found only if a word before them says what they are, because one row of digits
in ten would fit.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import ClassVar, NamedTuple

from pydantic import Field

from vertune.core.errors import MissingExtra
from vertune.core.kinds import Mask
from vertune.masking.checks import is_announced, of_a_thing

_WORDS = re.compile(
    r"(?<!order )(?<!item )(?<!request )(?<!product )(?<!session )(?<!ticket )(?<!message )(?<!device )(?<!action )(?<![?&])\bid\b|\bids\b"
    r"|identity|identification|national|personal|citizen|social|insurance|\btax|\bssn|\bnino|steuer|ident|pesel|\bbsn|burgerservice"
    r"|\bcnp\b|\begn\b|\boib\b|isikukood|asmens|amka|svnr|emšo|\bcpr\b|personnummer|henkilö|\bnif\b|\bnir\b|\bdni\b|\bnie\b"
    r"|numéro de sécu|fiscale|codice|contribuinte|sozial|\bsv[ -]?n|\bid-?nr|\bemso|EMŠO|ЕГН|егн|ΑΜΚΑ|αμκα|\bcf\b|pers\.? ?nr|personas kod"
    r"|rodné|RČ|rijksregister|registre national|\bpps|身份证|证件",
    re.IGNORECASE | re.ASCII,
)
_LONG = re.compile(r"(?<![A-Za-z0-9.-])\d(?:[ ./-]?\d){6}")
"""How all numbers begin that need a word before them."""
_START = r"(?=\d|[A-Z]{1,2}[ .-]?\d|[A-Z]{3} ?[A-Z]{3} ?\d)"
"""How the numbers begin that need no word before them; without it, each word of a text would be compared with each pattern."""
_BEGIN = r"(?:(?<![A-Za-z0-9.-])|(?<=(?<![A-Za-z])ID)(?=\d))"
"""Where a number may begin: after `ID`, too, because Chinese has no space there."""
_GAPS, _SEPARATORS = {ord(char): None for char in " ."}, {ord(char): None for char in " -"}
"""What is left out before a number is checked. A hyphen stays where it can be part of a number, such as that of a Swede's century."""


class _Form(NamedTuple):
    """How the number of a country is written, and what checks it."""

    pattern: str
    module: str
    """The module of python-stdnum; empty if the pattern is all there is to check."""
    alone: bool
    """Whether the number needs no word before it."""


_CHINESE = "[ -]?".join((r"[1-8]", *[r"\d"] * 5, "(?:1[ -]?[89]|2[ -]?0)", r"\d", r"\d", r"(?:0[ -]?[1-9]|1[ -]?[0-2])",
                         r"(?:0[ -]?[1-9]|[12][ -]?\d|3[ -]?[01])", *[r"\d"] * 3, r"[\dX]"))  # fmt: skip
_ITALIAN = r"[\dLMNPQRSTUV]"
"""A digit, or the letter that stands for it where two people would have the same number."""
_FORMS: dict[str, tuple[_Form, ...]] = {
    "CN": (_Form(_CHINESE, "iso7064.mod_11_2", alone=True),  # GB 11643; the list of counties in stdnum.cn.ric lacks many
           _Form(r"[1-8]\d{7}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}", "", alone=False)),  # as issued until 1999
    "US": (_Form(r"\d{3}([- ])\d{2}\1\d{4}", "us.ssn", alone=True), _Form(r"\d{9}", "us.ssn", alone=False)),
    "GB": (_Form(r"(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z](?:[ .-]?\d{2}){3}[ .-]?[A-D]", "", alone=True),),
    "DE": (_Form(r"\d{2} ?\d{3} ?\d{3} ?\d{3}", "de.idnr", alone=False),),
    "FR": (_Form(r"[12] ?\d\d ?\d\d ?\d[\dAB] ?\d{3} ?\d{3} ?\d\d", "fr.nir", alone=True),),
    "IT": (_Form(rf"[A-Z]{{3}} ?[A-Z]{{3}} ?\d{_ITALIAN} ?[A-EHLMPR-T]{_ITALIAN}{{2}} ?[A-Z]{_ITALIAN}{{3}} ?[A-Z]",
                 "it.codicefiscale", alone=True),),
    "ES": (_Form(r"\d\d\.?\d{3}\.?\d{3}[- ]?[A-Z]", "es.dni", alone=True), _Form(r"[XYZ][- ]?\d{7}[- ]?[A-Z]", "es.nie", alone=True)),
    "PL": (_Form(r"\d{11}", "pl.pesel", alone=False),),
    "NL": (_Form(r"\d{4}\.?\d{2}\.?\d{3}|\d{3}([ .])\d{3}\1\d{3}", "nl.bsn", alone=False),),
    "BE": (_Form(r"\d\d\.\d\d\.\d\d-\d{3}\.\d\d", "be.nn", alone=True), _Form(r"\d{11}", "be.nn", alone=False)),
    "SE": (_Form(r"(?:\d\d)?\d{6}[-+]\d{4}", "se.personnummer", alone=True), _Form(r"(?:\d\d)?\d{10}", "se.personnummer", alone=False)),
    "DK": (_Form(r"\d{6}-?\d{4}", "dk.cpr", alone=False),),
    "FI": (_Form(r"\d{6}[-+A-FU-Y]\d{3}[0-9A-Y]", "fi.hetu", alone=True),),
    "PT": (_Form(r"\d{8} ?\d ?[A-Z0-9]{2}\d", "pt.cc", alone=False), _Form(r"\d{3} ?\d{3} ?\d{3}", "pt.nif", alone=False)),
    "IE": (_Form(r"\d{7}[A-W][A-IW]?", "ie.pps", alone=False),),
    "RO": (_Form(r"\d{13}", "ro.cnp", alone=False),),
    "CZ": (_Form(r"\d{6}/\d{3,4}", "cz.rc", alone=True), _Form(r"\d{10}", "cz.rc", alone=False)),
    "SK": (_Form(r"\d{6}/\d{3,4}", "sk.rc", alone=True), _Form(r"\d{10}", "sk.rc", alone=False)),
    "LV": (_Form(r"\d{6}-?\d{5}", "lv.pvn", alone=False),),
    "BG": (_Form(r"\d{10}", "bg.egn", alone=False),),
    "HR": (_Form(r"\d{11}", "hr.oib", alone=False),),
    "LT": (_Form(r"\d{11}", "lt.asmens", alone=False),),
    "EE": (_Form(r"\d{11}", "ee.ik", alone=False),),
    "GR": (_Form(r"\d{11}", "gr.amka", alone=False),),
    "AT": (_Form(r"\d{4} ?\d{6}", "at.vnr", alone=False),),
    "SI": (_Form(r"\d{13}", "si.emso", alone=False),),
}  # fmt: skip


class NationalId(Mask):
    """Mask of numbers of people; the field below is its option."""

    label: ClassVar[str] = "ID"
    precedence: ClassVar[int | None] = 60
    digits: ClassVar[bool] = True

    countries: tuple[str, ...] = Field(default=tuple(_FORMS), max_length=50)
    """Countries (ISO 3166) whose numbers are found."""

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Yield the places of numbers of people."""
        words = any(is_announced(text, match.start(), _WORDS) for match in _LONG.finditer(text))
        if not words and not _any(self.countries).search(text):
            return
        for country in self.countries:
            for pattern, form in _compiled(country):
                for match in pattern.finditer(text) if words or form.alone else ():
                    said = is_announced(text, match.start(), _WORDS)
                    if (said or (form.alone and not of_a_thing(text, match.start()))) and _is_valid(form.module, match.group()):
                        yield match.span()

    def examples(self) -> tuple[tuple[str, str], ...]:
        """Return some texts with numbers of people."""
        found = {
            "CN": ("身份证１１０１０１１９９００３０７８５５８在这里", "１１０１０１１９９００３０７８５５８"),
            "US": ("SSN 536-90-4399 on file", "536-90-4399"),
            "GB": ("It is QQ 12 34 56 C or AB 12 34 56 C", "AB 12 34 56 C"),
            "DE": ("Meine Steuer-ID ist 36 574 261 809", "36 574 261 809"),
        }
        return tuple(found[country] for country in self.countries if country in found)


@lru_cache(maxsize=64)
def _any(countries: tuple[str, ...]) -> re.Pattern[str]:
    """Return a pattern that finds something wherever one of the patterns does that need no word before them."""
    forms = {form.pattern for country in countries for form in _FORMS.get(country, ()) if form.alone}
    patterns = "|".join(_without_groups(pattern) for pattern in sorted(forms))
    return re.compile(rf"{_BEGIN}{_START}(?:{patterns or '(?!)'})(?![A-Za-z0-9])", re.IGNORECASE | re.ASCII)


def _without_groups(pattern: str) -> str:
    """Return a pattern that finds at least as much, without groups and references to them."""
    return pattern.replace("([- ])", "[- ]").replace(r"\1", "[- ]")


@lru_cache(maxsize=64)
def _compiled(country: str) -> tuple[tuple[re.Pattern[str], _Form], ...]:
    """Return the patterns of a country, which match whole numbers alone."""
    return tuple(
        (re.compile(rf"{_BEGIN}(?:{form.pattern})(?![A-Za-z0-9])(?![.,-]\d)", re.IGNORECASE), form) for form in _FORMS.get(country, ())
    )


@lru_cache(maxsize=4096)
def _is_valid(module: str, number: str) -> bool:
    if not module:
        return True
    try:
        check = importlib.import_module(f"stdnum.{module}")
    except ImportError as error:
        raise MissingExtra("Finding national identity numbers", "mask", "python-stdnum") from error
    compact = number.upper().translate(_SEPARATORS if module.startswith("iso") else _GAPS)
    return bool(check.is_valid(compact))
