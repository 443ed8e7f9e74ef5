"""Opens text files in whatever encoding they are written; knows nothing of their format.

The order is: what a byte order mark says; UTF-8 where the whole file is valid; UTF-16 by its zero bytes; else the bytes
of the lines that are not UTF-8 decide between GB18030 and what charset-normalizer finds. A byte that does not fit is read
as a lone surrogate, so that a source can reject its row and keep the others.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from vertune.core.errors import ConfigError, DataError
from vertune.sources._files import refuse_binary

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark is the first half of it
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_FLAW = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f]")
_HIGH = re.compile(rb"[\x80-\xff]")
_LEGACY = ("cp1252", "cp1251", "cp1250", "cp1253", "koi8_r", "big5", "shift_jis", "euc_jp", "euc_kr")
"""What charset-normalizer may choose from, common ones first: among all that it knows it takes rare ones for French."""
_AS_LIKELY = 0.05
"""Difference in its measure of disorder below which the more common one is taken."""
_SAMPLE = 1 << 18
_TOLERATED = 0.1


@dataclass(frozen=True, slots=True)
class Text:
    """A text file with the encoding that it is read in."""

    path: Path
    encoding: str
    whole: bool
    """Whether every byte is known to fit, so that rows need no check."""

    def open(self, newline: str | None = None) -> TextIO:
        """The file as text; bytes that don't fit are lone surrogates."""
        return self.path.open(encoding=self.encoding, errors="surrogateescape", newline=newline)

    def flaw(self, text: str) -> str | None:
        """Why this stretch of the file can't be used; None when it can."""
        if self.whole or not (_FLAW.search(text) or self._hides_utf8(text)):
            return None
        return f"holds bytes that are not {self.encoding.upper()}: the file mixes encodings here; save it in UTF-8"

    def _hides_utf8(self, text: str) -> bool:
        """Whether this was UTF-8 that another encoding could read too, as GB18030 reads nearly everything, wrongly."""
        if self.encoding.startswith("utf") or text.isascii():
            return False
        try:
            # characters of three bytes or more: shorter ones come about by chance
            return max(text.encode(self.encoding, "surrogateescape").decode("utf-8")) >= "\u0800"
        except UnicodeError:
            return False

    def refuse_mixed(self, flawed: int, rows: int) -> None:
        """DataError when so many rows don't fit that the file as a whole is read wrongly."""
        if flawed > max(1, _TOLERATED * rows):
            raise DataError(
                f"{self.path} mixes encodings, or is not {self.encoding.upper()}: {flawed} of {rows} rows don't fit. "
                "Save it in UTF-8, or name its encoding with the source's option 'encoding'."
            )


def text(path: Path, encoding: str, wanted: str) -> Text:
    """The file with its encoding, detected where `encoding` is auto; DataError when it is binary."""
    head = refuse_binary(path, wanted)
    marked = next((name for mark, name in _MARKS if head.startswith(mark)), None)
    if encoding != "auto":
        try:
            name = codecs.lookup(encoding).name
        except LookupError as error:
            raise ConfigError(f"There is no encoding '{encoding}'. Known are for example utf-8, gb18030, utf-16, big5, cp1252.") from error
        return Text(path, marked if marked and marked.removesuffix("-sig") == name else name, _fits(path, marked or name))
    if marked:
        return Text(path, marked, _fits(path, marked))
    if 0 in head:
        return Text(path, _wide(path, head, wanted), False)
    if _fits(path, "utf-8"):
        return Text(path, "utf-8", True)
    name, mixed = _legacy(path)
    return Text(path, name, not mixed and _fits(path, name))


def decode(path: Path, encoding: str) -> tuple[str, str | None]:
    """The whole text of a small file, and why it can't be used."""
    found = text(path, encoding, "text")
    with found.open() as file:
        whole = file.read()
    flaw = found.flaw(whole)
    return (_FLAW.sub("\ufffd", whole) if flaw else whole), flaw


def printable(value: str) -> str:
    """The text with what did not fit replaced, for a list of rejected rows."""
    return _FLAW.sub("\ufffd", value)


def _fits(path: Path, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    with path.open("rb") as file:
        try:
            while block := file.read(1 << 20):
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def _wide(path: Path, head: bytes, wanted: str) -> str:
    """UTF-16 without a mark: the zero bytes of its ASCII characters are nearly all at odd, or all at even places."""
    zeros = [head[place::2].count(0) for place in (0, 1)]
    name = "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"
    start = head[: len(head) // 2 * 2].decode(name, errors="ignore")
    if min(zeros) <= max(zeros) // 5 and not _CONTROL.search(start) and _fits(path, name):
        return name
    raise DataError(
        f"{path} is no {wanted}: it holds zero bytes, as binary files do. Name a text file, or a source that reads this format."
    )


def _legacy(path: Path) -> tuple[str, bool]:
    """The encoding of a file that is not UTF-8 (`utf-8` when less than half of its lines are not), and whether some lines are."""
    valid, strange, sample = 0, 0, bytearray()
    with path.open("rb") as file:
        for line in file:
            if not _HIGH.search(line):
                continue
            try:
                line.decode("utf-8")
                valid += 1
            except UnicodeDecodeError:
                strange += 1
                if len(sample) < _SAMPLE:
                    sample += line
    if valid > strange:
        return "utf-8", True
    if _chinese(bytes(sample)):
        return "gb18030", valid > 0
    from charset_normalizer import from_bytes

    likely = {match.encoding: match.chaos for match in from_bytes(bytes(sample), cp_isolation=list(_LEGACY))}
    if not likely:
        raise DataError(f"The encoding of {path} can't be told. Save it in UTF-8, or name it with the source's option 'encoding'.")
    return next(name for name in _LEGACY if name in likely and likely[name] <= min(likely.values()) + _AS_LIKELY), valid > 0


def _chinese(sample: bytes) -> bool:
    """Whether these bytes are GB18030: nearly all characters beyond ASCII stand in its oldest part, GB 2312.

    There both bytes are above 0xA0, which in Western text would be two accented letters in a row.
    """
    characters = [char for char in sample.decode("gb18030", errors="replace") if char > "\x7f"]
    common = 0
    for char in characters:
        pair = char.encode("gb18030", errors="replace")
        common += len(pair) == 2 and 0xA1 <= pair[0] <= 0xF7 and pair[1] >= 0xA1
    return common >= 0.8 * len(characters) > 0
