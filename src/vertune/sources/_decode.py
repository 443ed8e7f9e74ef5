"""Detects the encoding of text files and opens them, for sources of any file format.

Detection tries in this order: a byte order mark; UTF-16, recognised by NUL bytes; UTF-8 if the whole file is valid; else GB18030 or
the guess of charset-normalizer, decided by the lines that are not UTF-8. A byte that is invalid in the encoding is read as a lone
surrogate, so that a source can reject the row that contains it and keep the others.
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
    (codecs.BOM_UTF32_LE, "utf-32"),  # must precede UTF-16, because its mark begins with the mark of UTF-16
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SURROGATE = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile("[\x00-\x08\x0e-\x1f]")
_HIGH = re.compile(rb"[\x80-\xff]")
_LEGACY = ("cp1252", "cp1251", "cp1250", "cp1253", "koi8_r", "big5", "shift_jis", "euc_jp", "euc_kr")
"""Encodings that charset-normalizer may choose, common ones first; without this list it chooses rare encodings for French text."""
_EQUAL_CHAOS = 0.05
"""Difference in charset-normalizer's chaos score below which the more common encoding is chosen."""
_SAMPLE_BYTES = 1 << 18
_TOLERATED_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Text:
    """A text file and its encoding."""

    path: Path
    encoding: str
    is_valid: bool
    """Whether every byte is valid in the encoding; if so, rows need not be checked."""

    def open(self, newline: str | None = None) -> TextIO:
        """Open the file; bytes that are invalid in the encoding are read as lone surrogates."""
        return self.path.open(encoding=self.encoding, errors="surrogateescape", newline=newline)

    def flaw(self, text: str) -> str | None:
        """Return the reason why this part of the file can't be used; None if it can."""
        if self.is_valid or not (_SURROGATE.search(text) or self._hides_utf8(text)):
            return None
        return f"holds bytes that are not valid in {self.encoding.upper()}: the file mixes encodings here; save it in UTF-8"

    def _hides_utf8(self, text: str) -> bool:
        """Return whether this text is UTF-8 that was decoded with another encoding.

        Such a mistake need not lead to a decoding error: GB18030 decodes nearly all bytes.
        """
        if self.encoding.startswith("utf") or text.isascii():
            return False
        try:
            # require a character of three bytes or more, because shorter sequences can be valid UTF-8 by chance
            return max(text.encode(self.encoding, "surrogateescape").decode("utf-8")) >= "\u0800"
        except UnicodeError:
            return False

    def refuse_mixed(self, flawed: int, rows: int) -> None:
        """Raise DataError if more than one row and more than 10 % of all rows have invalid bytes: the encoding is probably wrong then."""
        if flawed > max(1, _TOLERATED_SHARE * rows):
            raise DataError(
                f"{self.path} mixes encodings, or is not {self.encoding.upper()}: {flawed} of {rows} rows have bytes that are not valid "
                "in it. Save it in UTF-8, or name its encoding with the source's option 'encoding'."
            )


def text(path: Path, encoding: str, wanted: str) -> Text:
    """Return the file with its encoding, which is detected if `encoding` is `auto`; `wanted` names the file format in messages.

    Raise ConfigError for an unknown encoding, DataError for a binary file or an encoding that can't be detected.
    """
    head = refuse_binary(path, wanted)
    marked = next((name for mark, name in _MARKS if head.startswith(mark)), None)
    if encoding != "auto":
        try:
            name = codecs.lookup(encoding).name
        except LookupError as error:
            raise ConfigError(
                f"There is no encoding '{encoding}'. Name one that Python supports, such as utf-8, gb18030, big5 or cp1252."
            ) from error
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
    """Return the content of a small file, and the reason why it can't be used (None if it can)."""
    source = text(path, encoding, "text")
    with source.open() as file:
        content = file.read()
    flaw = source.flaw(content)
    return (printable(content) if flaw else content), flaw


def printable(value: str) -> str:
    """Replace each byte that was invalid in the encoding by U+FFFD, for messages and lists of rejected rows."""
    return _SURROGATE.sub("\ufffd", value)


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
    """Return `utf-16-le` or `utf-16-be` for a file with NUL bytes but no byte order mark; raise DataError if it is not UTF-16.

    In UTF-16, every ASCII character has one NUL byte: at an odd position in little-endian files, at an even one in big-endian files.
    """
    zeros = [head[offset::2].count(0) for offset in (0, 1)]
    name = "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"
    start = head[: len(head) // 2 * 2].decode(name, errors="ignore")
    if min(zeros) <= max(zeros) // 5 and not _CONTROL.search(start) and _fits(path, name):
        return name
    raise DataError(
        f"{path} is not a {wanted}: it contains NUL bytes, as binary files do, but text is expected. "
        "Name a text file, or choose the source that reads this format."
    )


def _legacy(path: Path) -> tuple[str, bool]:
    """Return the encoding of a file that is not valid UTF-8, and whether some of its lines are UTF-8.

    If most lines with non-ASCII characters are UTF-8, the file is read as UTF-8, and the other lines are rejected.
    """
    valid, invalid, sample = 0, 0, bytearray()
    with path.open("rb") as file:
        for line in file:
            if not _HIGH.search(line):
                continue
            try:
                line.decode("utf-8")
                valid += 1
            except UnicodeDecodeError:
                invalid += 1
                if len(sample) < _SAMPLE_BYTES:
                    sample += line
    if valid > invalid:
        return "utf-8", True
    if _chinese(bytes(sample)):
        return "gb18030", valid > 0
    from charset_normalizer import from_bytes

    likely = {match.encoding: match.chaos for match in from_bytes(bytes(sample), cp_isolation=list(_LEGACY))}
    if not likely:
        raise DataError(
            f"The encoding of {path} can't be detected. Save the file in UTF-8, or name its encoding with the source's option 'encoding'."
        )
    return next(name for name in _LEGACY if name in likely and likely[name] <= min(likely.values()) + _EQUAL_CHAOS), valid > 0


def _chinese(sample: bytes) -> bool:
    """Return whether these bytes are GB18030: at least 80 % of the non-ASCII characters are in GB 2312, its oldest part.

    Both bytes of a GB 2312 character are above 0xA0; in Western encodings they would be two accented letters in a row, which is rare.
    """
    characters = [char for char in sample.decode("gb18030", errors="replace") if char > "\x7f"]
    common = 0
    for char in characters:
        pair = char.encode("gb18030", errors="replace")
        common += len(pair) == 2 and 0xA1 <= pair[0] <= 0xF7 and pair[1] >= 0xA1
    return common >= 0.8 * len(characters) > 0
