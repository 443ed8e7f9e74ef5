"""What a document consists of for all readers, and how text files are decoded; knows no format."""

from __future__ import annotations

import re
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
class Lost:
    """Something in a file that was not read."""

    where: str
    """The name of the file, with the row or the page."""
    what: str
    """Why it was not read, such as `pages without text`."""
    value: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """The blocks of a document in their order."""

    blocks: list[Block]
    title: str = ""
    language: str | None = None
    lost: list[Lost] = field(default_factory=list)


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
