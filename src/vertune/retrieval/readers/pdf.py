"""Reads the texts of PDF files as paragraphs, page by page, below the bookmarks of the file."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from vertune.core.documents import lines
from vertune.core.errors import DataError, MissingExtra, first_line
from vertune.retrieval.readers.block import Block, Document, Losses

_HYPHEN = re.compile(r"(?<=[a-z])-\n(?=[a-z])")
_INSIDE = re.compile(r"(?<=[^\s。！？.!?:：;；])\n(?=\S)")
_CHINESE = re.compile("(?<=[\u3000-\u9fff\uff00-\uffef]) (?=[\u3000-\u9fff\uff00-\uffef])")
_PARAGRAPH = re.compile(r"\n\s*\n")


_EMPTY = "pages have no text, which is so in scans, and were not read"


def read(file: Path, losses: Losses) -> Document:
    """Read a document; add pages without text, which are most often pictures of some, to `losses`.

    Raises DataError for a file that is damaged, or that a password protects.
    """
    try:
        from pypdf import PdfReader
        from pypdf.errors import PyPdfError
    except ImportError as error:
        raise MissingExtra("Reading PDF files", "search", "pypdf") from error
    logging.getLogger("pypdf").setLevel(logging.ERROR)  # it warns of each oddity that it repairs
    try:
        reader = PdfReader(file)
        if reader.is_encrypted and not reader.decrypt(""):
            raise DataError(f"'{file}' is protected by a password; expected a PDF that opens without one. Save it without protection.")
        texts = [page.extract_text() or "" for page in reader.pages]
        bookmarks = _bookmarks(reader)
        title = str(reader.metadata.title or "").strip() if reader.metadata else ""
    except DataError:
        raise
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, RecursionError, OSError) as error:
        raise DataError(f"'{file}' can't be read as PDF: {first_line(error)}. Save it with another program, or export its text.") from error
    blocks: list[Block] = []
    losses.examined[_EMPTY] += len(texts)
    headings: tuple[str, ...] = ()
    for number, text in enumerate(texts):
        headings = bookmarks.get(number, headings)
        paragraphs = _paragraphs(text)
        blocks += [Block(paragraph, headings) for paragraph in paragraphs]
        if not paragraphs:
            losses.add(_EMPTY, file.name, number + 1, "")
    return Document(blocks, title)


def _paragraphs(text: str) -> list[str]:
    """Return the paragraphs of a page, whose lines are joined unless they end like a sentence."""
    text = "\n".join(line.strip() for line in lines(text.replace("\0", "")))
    found = []
    for part in _PARAGRAPH.split(text):
        joined = _CHINESE.sub("", _INSIDE.sub(" ", _HYPHEN.sub("", part))).strip()
        if joined:
            found.append(joined)
    return found


def _bookmarks(reader: Any) -> dict[int, tuple[str, ...]]:
    """Return by page the titles of the last bookmark that leads to it and of those above it."""
    found: dict[int, tuple[str, ...]] = {}

    def follow(entries: list[Any], above: tuple[str, ...]) -> None:
        last = above
        for entry in entries:
            if isinstance(entry, list):
                follow(entry, last)
                continue
            last = (*above, str(entry.title).strip())
            page = reader.get_destination_page_number(entry)
            if page is not None and page >= 0:
                found.setdefault(page, last)

    follow(reader.outline, ())
    return found
