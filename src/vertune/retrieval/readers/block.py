"""What a document consists of for all readers, and how text files are decoded; knows no format."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from vertune.core.errors import DataError

_MARKS = ((b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"), (b"\xef\xbb\xbf", "utf-8-sig"))
_CHARSET = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([A-Za-z0-9_-]+)", re.IGNORECASE)
_ENCODINGS = ("utf-8", "gb18030", "big5")


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, a list, a table or a piece of code."""

    text: str
    headings: tuple[str, ...] = ()
    """The headings above it, the highest level first."""
    head: str = ""
    """For a table, the line with the names of its columns, which each passage with a part of the table repeats."""


@dataclass(frozen=True, slots=True)
class Losses:
    """What was not read, by reason, such as `pages have no text`; and how many places were looked at for it."""

    found: dict[str, list[tuple[str, int | None, str]]] = field(default_factory=dict)
    """By reason: the name of the file, the row or page, and what is there."""
    examined: Counter[str] = field(default_factory=Counter)

    def add(self, reason: str, file: str, row: int | None, value: str) -> None:
        """Note a place that was not read."""
        self.found.setdefault(reason, []).append((file, row, value))


@dataclass(frozen=True, slots=True)
class Document:
    """The blocks of a document in their order."""

    blocks: list[Block]
    title: str = ""
    language: str | None = None


def decoded(file: Path) -> str:
    """Return the text of a file in UTF-8, UTF-16 with a mark, GB 18030 or Big5, or in the encoding that its HTML names.

    Raises DataError for other files.
    """
    content = file.read_bytes()
    mark = next((name for mark, name in _MARKS if content.startswith(mark)), None)
    named = _CHARSET.search(content[:2_048]) if file.suffix.lower().startswith((".htm", ".xhtm")) else None
    for encoding in [mark] if mark else [*([named[1].decode()] if named else []), *_ENCODINGS]:
        try:
            text = content.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            continue
        if "\0" not in text:
            return text
    raise DataError(f"'{file}' is no text in UTF-8, UTF-16, GB 18030 or Big5. Save it in UTF-8.")
