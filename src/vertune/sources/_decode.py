"""Detects the encoding of text files and opens them; independent of the file format.

These encodings are tried in this order: the encoding of a byte order mark; UTF-16, recognised by NUL bytes in a file that is not valid
UTF-8 or consists of them by nearly half; UTF-8, if all or most lines with non-ASCII characters are valid UTF-8; GB18030 or Big5, if the
other lines look like Chinese; else the guess of charset-normalizer for these lines. A byte that is invalid in the encoding is read as a
lone surrogate (error handler `surrogateescape`), so that a source can reject only the row with this byte. It also rejects a row with a
NUL character.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
_CONTROL_BYTES = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_BLANK_BYTES = re.compile(rb"[\n\r ,]")
_HIGH = re.compile(rb"[\x80-\xff]")
_LEGACY = ("cp1252", "cp1251", "cp1250", "cp1253", "koi8_r", "big5", "shift_jis", "euc_jp", "euc_kr")
"""Encodings that charset-normalizer may choose, common ones first; without this list it chooses rare encodings for French text."""
_EQUAL_CHAOS = 0.05
"""Difference in charset-normalizer's chaos score below which the more common encoding is chosen."""
_SAMPLE_BYTES = 1 << 18
_TOLERATED_SHARE = 0.1
_NUL_SHARE_UTF16 = 0.3
"""Fraction of NUL bytes above which a file that is valid UTF-8 is UTF-16 nevertheless: ASCII text in UTF-16 consists of them by half."""
_CONTROL_SHARE = 0.05
"""Fraction of control characters up to which a file with NUL bytes is text: in binary data, they are more than a tenth of the bytes."""
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_TOGETHER = re.compile(r"[^\x00-\x7f]{2,}")
_SIMPLIFIED = 0.8
"""Share of the non-ASCII characters of a text in GB18030 that must be frequent ones."""
_TRADITIONAL = 0.5
"""The same for Big5, which has fewer of the characters of Cantonese among them."""
_INVALID = "holds bytes"


@dataclass(frozen=True, slots=True)
class Text:
    """The path of a text file, and its encoding, which was detected or given by the user."""

    path: Path
    encoding: str
    is_valid: bool
    """Whether every byte is valid in the encoding and none is a NUL character; if so, rows need not be checked."""

    @contextmanager
    def open(self, newline: str | None = None) -> Iterator[TextIO]:
        """Open the file in a `with` block; bytes that are invalid in the encoding are read as lone surrogates.

        Raises DataError if the file ends in the middle of a character of UTF-16 or UTF-32.
        """
        try:
            with self.path.open(encoding=self.encoding, errors="surrogateescape", newline=newline) as file:
                yield file
        except UnicodeDecodeError as error:
            raise DataError(
                f"{self.path} ends in the middle of a character: the file is incomplete, or its encoding is not {self.encoding.upper()}. "
                "Copy the file again, or name its encoding with the option 'encoding'."
            ) from error

    def note(self, requested: str) -> str | None:
        """Return a sentence about the encoding if it was guessed, because the option `encoding` is `auto` and the file is not Unicode."""
        if requested != "auto" or self.encoding.startswith("utf"):
            return None
        return (
            f"{self.path.name} is not UTF-8 and is read as {self.encoding.upper()}; if characters are wrong, "
            "name its encoding with the source's option 'encoding'."
        )

    def flaw(self, text: str) -> str | None:
        """Return the reason why a part of the file, such as a line, can't be used because of its bytes; None if it can be used.

        `text` is the decoded part of the file.
        """
        if self.is_valid:
            return None
        if "\0" in text:
            return "contains a NUL character, which no text has: the file is damaged here; remove the character, or replace it by a space"
        if not (_SURROGATE.search(text) or self._hides_utf8(text)):
            return None
        return f"{_INVALID} that are not valid in {self.encoding.upper()}: the file mixes encodings here; save it in UTF-8"

    def _hides_utf8(self, text: str) -> bool:
        """Return whether the bytes of this text are UTF-8, although the file was decoded with another encoding.

        The wrong encoding does not always raise an error: GB18030 can decode nearly all bytes.
        """
        if self.encoding.startswith("utf") or text.isascii():
            return False
        try:
            # require a character of three bytes or more, because shorter sequences can be valid UTF-8 by chance
            return max(text.encode(self.encoding, "surrogateescape").decode("utf-8")) >= "\u0800"
        except UnicodeError:
            return False

    def refuse_mixed(self, errors: Sequence[str | None]) -> None:
        """Raise DataError if many rows have invalid bytes, because the encoding is probably wrong then.

        `errors` contains, for each row, the reason why it can't be used, or None. One row with invalid bytes is always tolerated, and up
        to 10 % of all rows.
        """
        flawed, rows = sum(error is not None and error.startswith(_INVALID) for error in errors), len(errors)
        if flawed > max(1, _TOLERATED_SHARE * rows):
            raise DataError(
                f"{self.path} mixes encodings, or its encoding is not {self.encoding.upper()}: {flawed} of {rows} rows contain "
                "invalid bytes. Save the file in UTF-8, or name its encoding with the source's option 'encoding'."
            )


def text(path: Path, encoding: str, wanted: str) -> Text:
    """Return a text file with its encoding, which is detected if `encoding` is `auto`.

    `wanted` is the expected file format for error messages, such as `CSV file`. Raises ConfigError for an unknown encoding, DataError for a
    binary file or an encoding that can't be detected.
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
        return Text(path, marked if marked and marked.removesuffix("-sig") == name else name, _is_clean(path, marked or name))
    if marked:
        return Text(path, marked, _is_clean(path, marked))
    nul_characters = _nul_characters(path, "utf-8")
    if 0 in head and (nul_characters is None or head.count(0) > _NUL_SHARE_UTF16 * len(head)):
        wide = _wide(path, head)
        if wide:
            return Text(path, wide, _is_clean(path, wide))
        if len(_CONTROL_BYTES.findall(head)) > max(1, _CONTROL_SHARE * len(head)):
            raise DataError(
                f"{path} is not a {wanted}: it contains NUL bytes, as binary files do, but text is expected. "
                "Name a text file, or choose the source that reads this format."
            )
    if nul_characters is not None:
        return Text(path, "utf-8", nul_characters == 0)
    name, mixed = _legacy(path)
    return Text(path, name, not mixed and _is_clean(path, name))


def printable(value: str) -> str:
    """Replace each lone surrogate, which stands for an invalid byte of a file, by U+FFFD.

    Messages and lists of rejected rows can contain the result, because it can be encoded.
    """
    return _SURROGATE.sub("\ufffd", value)


def _is_clean(path: Path, encoding: str) -> bool:
    """Return whether every byte of a file is valid in the encoding, and no decoded character is NUL."""
    return _nul_characters(path, encoding) == 0


def _nul_characters(path: Path, encoding: str) -> int | None:
    """Count the NUL characters of a file in this encoding; return None if a byte is invalid."""
    decoder, count = codecs.getincrementaldecoder(encoding)(), 0
    with path.open("rb") as file:
        try:
            while block := file.read(1 << 20):
                count += decoder.decode(block).count("\0")
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return None
    return count


def _wide(path: Path, head: bytes) -> str | None:
    """Return `utf-16-le` or `utf-16-be` for a file with NUL bytes but no byte order mark; None if it is not UTF-16.

    `head` contains the first bytes of the file. In UTF-16, every ASCII character has one NUL byte: in little-endian files at an odd
    position (counted from 0), in big-endian files at an even position.
    """
    zeros = [head[offset::2].count(0) for offset in (0, 1)]
    name = "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"
    start = head[: len(head) // 2 * 2].decode(name, errors="ignore")
    if min(zeros) > max(zeros) // 5 or _CONTROL.search(start) or _nul_characters(path, name) is None:
        return None
    # text in other encodings with a stray NUL can be valid UTF-16 by chance, but it has more blanks and line ends than NUL bytes
    stray = 4 * sum(zeros) < len(_BLANK_BYTES.findall(head)) or _simplified(head.replace(b"\0", b"")) >= _SIMPLIFIED
    return None if stray else name


def _legacy(path: Path) -> tuple[str, bool]:
    """Guess the encoding of a file that is not valid UTF-8; also return whether some lines with non-ASCII characters are UTF-8.

    If most of these lines are valid UTF-8, the encoding is UTF-8, and the other lines will be rejected. Raises DataError if the encoding
    can't be guessed.
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
    simplified, traditional = _simplified(bytes(sample)), _traditional(bytes(sample))
    if traditional > simplified and traditional >= _TRADITIONAL:
        return "big5hkscs", valid > 0
    if simplified >= _SIMPLIFIED:
        return "gb18030", valid > 0
    from charset_normalizer import from_bytes

    matches = from_bytes(bytes(sample), cp_isolation=list(_LEGACY))
    # of encodings in which the text is the same, charset-normalizer names the others beside the first
    likely = {name: match.chaos for match in matches for name in match.could_be_from_charset}
    if not likely:
        raise DataError(
            f"The encoding of {path} can't be detected. Save the file in UTF-8, or name its encoding with the source's option 'encoding'."
        )
    return next(name for name in _LEGACY if name in likely and likely[name] <= min(likely.values()) + _EQUAL_CHAOS), valid > 0


def _simplified(sample: bytes) -> float:
    """Return the share of the non-ASCII characters that are in GB 2312 if these bytes are read as GB18030.

    GB 2312 is the oldest part of GB18030. Both bytes of such a character are above 0xA0; in Western encodings, these bytes would be two
    accented letters in a row, which is rare.
    """
    characters = _NOT_ASCII.findall(sample.decode("gb18030", errors="replace"))
    pairs = [char.encode("gb18030", errors="replace") for char in characters]
    common: int = sum(len(pair) == 2 and 0xA1 <= pair[0] <= 0xF7 and pair[1] >= 0xA1 for pair in pairs)
    return common / max(1, len(pairs))


def _traditional(sample: bytes) -> float:
    """Return the share of the non-ASCII characters that stand together and are frequent, if these bytes are read as Big5 of Hong Kong.

    Frequent ones are those of the first level of Big5, and marks. The second byte may be that of a letter, so that an accented letter
    of a Western encoding and the next letter can be one of them; but then no other one is beside it.
    """
    text = sample.decode("big5hkscs", errors="replace")
    pairs = [char.encode("big5hkscs", errors="replace") for run in _TOGETHER.findall(text) for char in run]
    common: int = sum(len(pair) == 2 and 0xA1 <= pair[0] <= 0xC6 for pair in pairs)
    return common / max(1, len(_NOT_ASCII.findall(text)))
