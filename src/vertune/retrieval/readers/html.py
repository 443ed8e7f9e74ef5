"""Reads HTML as blocks below headings; scripts, styles and templates are left out."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from vertune.retrieval.readers.block import Block, Document

_LEFT_OUT = frozenset({"script", "style", "template", "noscript", "svg", "iframe", "object", "canvas"})
_BREAKS = frozenset({
    "address", "article", "aside", "blockquote", "body", "dd", "details", "dialog", "div", "dl", "dt", "fieldset", "figcaption", "figure",
    "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "legend", "li", "main", "nav", "ol", "option", "p", "pre",
    "section", "select", "summary", "table", "tbody", "tfoot", "thead", "tr", "ul",
})  # fmt: skip
"""Elements that begin on a line of their own."""
_HEADING = re.compile(r"h[1-6]")
_SPACE = re.compile(r"[ \t\r\n\f]+")


def read(text: str) -> Document:
    """Read a document; each paragraph, item of a list and row of a table is a line, and lines between two headings are one block each.

    The title is that of the head; without one, it is empty.
    """
    reader = _Reader()
    reader.feed(text)
    reader.close()
    reader.break_line()
    return Document(reader.blocks, _SPACE.sub(" ", reader.title).strip(), reader.language)


class _Reader(HTMLParser):
    """Collects the blocks of a document while it is parsed."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[Block] = []
        self.title = ""
        self.language: str | None = None
        self._headings: list[tuple[int, str]] = []
        self._line: list[str] = []
        self._left_out: list[str] = []
        self._in_title = False
        self._kept = 0  # elements `pre`, in which white space is part of the text
        self._table: list[str] = []
        self._has_head = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "html":
            self.language = (values.get("lang") or "").split("-")[0].lower() or None
        if tag in _LEFT_OUT:
            self._left_out.append(tag)
        elif tag == "title" and not self._left_out:
            self._in_title = True
        elif tag in _BREAKS:
            self.break_line()
        elif tag in {"td", "th"} and "".join(self._line).strip():
            self._line.append(" | ")
        elif tag == "br":
            self._line.append("\n")
        elif tag == "img" and values.get("alt"):
            self._line.append(f" {values['alt']} ")
        if tag == "th":
            self._has_head = self._has_head or not self._table
        self._kept += tag == "pre"
        if tag == "li":
            self._line.append("- ")

    def handle_endtag(self, tag: str) -> None:
        if tag in _LEFT_OUT:
            if tag in self._left_out:
                del self._left_out[self._left_out.index(tag) :]
        elif tag == "title":
            self._in_title = False
        elif _HEADING.fullmatch(tag):
            self._end_heading(int(tag[1]))
        elif tag == "tr":
            self._end_row()
        elif tag == "table":
            self._end_table()
        elif tag in _BREAKS:
            self.break_line()
        self._kept -= tag == "pre" and self._kept > 0

    def handle_data(self, data: str) -> None:
        if self._left_out:
            return
        if self._in_title:
            self.title += data
        else:
            self._line.append(data if self._kept else _SPACE.sub(" ", data))

    def break_line(self) -> None:
        """End the line at hand; what it holds becomes a block."""
        if text := self._take():
            self.blocks.append(Block(text, self._above()))

    def _above(self) -> tuple[str, ...]:
        return tuple(heading for _, heading in self._headings)

    def _take(self) -> str:
        """Return the text of the line at hand, and begin a new one."""
        lines = "".join(self._line).split("\n")
        self._line = []
        text = "\n".join(line.rstrip() if self._kept else line.strip() for line in lines).strip("\n")
        return "" if text.strip() in {"", "-"} else text

    def _end_heading(self, level: int) -> None:
        if text := self._take():
            self._headings = [one for one in self._headings if one[0] < level] + [(level, text.replace("\n", " "))]

    def _end_row(self) -> None:
        if text := self._take():
            self._table.append(text.replace("\n", " "))

    def _end_table(self) -> None:
        self.break_line()
        rows, head = self._table, self._table[0] if self._has_head and len(self._table) > 1 else ""
        if rows:
            self.blocks.append(Block("\n".join(rows[1:] if head else rows), self._above(), head))
        self._table, self._has_head = [], False
