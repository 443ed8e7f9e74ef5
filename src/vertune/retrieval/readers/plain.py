"""Reads plain text as paragraphs; lines that are underlined, and chapters of Chinese laws and contracts, are headings."""

from __future__ import annotations

import re

from vertune.core.documents import lines
from vertune.retrieval.readers.block import Block, Document

_UNDERLINE = re.compile(r"\s*(={3,}|-{3,})\s*")
_CHAPTER = re.compile(r"\s*第[一二三四五六七八九十百零〇\d]{1,6}([编章节])(?:\s+\S.{0,40}|[^\s。，；：,.;:]{0,20})?")
_LEVELS = {"编": 1, "章": 2, "节": 3}


def read(text: str) -> Document:
    """Read a document; an empty line ends a paragraph."""
    blocks: list[Block] = []
    headings: list[tuple[int, str]] = []
    paragraph: list[str] = []

    def finish() -> None:
        if joined := "\n".join(paragraph).strip():
            blocks.append(Block(joined, tuple(heading for _, heading in headings)))
        paragraph.clear()

    for line in lines(text.replace("\f", "\n\n")):
        underline, chapter = _UNDERLINE.fullmatch(line), _CHAPTER.fullmatch(line)
        if underline and len(paragraph) == 1:
            level = 1 if underline[1][0] == "=" else 2
            headings = [one for one in headings if one[0] < level] + [(level, paragraph.pop().strip())]
        elif chapter:
            finish()
            level = _LEVELS[chapter[1]]
            headings = [one for one in headings if one[0] < level] + [(level, " ".join(line.split()))]
        elif line.strip():
            paragraph.append(line.rstrip())
        else:
            finish()
    finish()
    return Document(blocks)
