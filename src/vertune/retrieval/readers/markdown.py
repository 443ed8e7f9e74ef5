"""Reads Markdown (CommonMark with tables) as blocks below headings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from vertune.core.errors import MissingExtra
from vertune.retrieval.readers import html
from vertune.retrieval.readers.block import Block, Document

_FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)\n(?:---|\.\.\.)\s*\n", re.DOTALL)
_TITLE = re.compile(r"^title:\s*[\"']?(.*?)[\"']?\s*$", re.MULTILINE)


def read(text: str) -> Document:
    """Read a document; a list is one block, and so is a table. Of front matter in YAML, the title is used."""
    try:
        from markdown_it import MarkdownIt
    except ImportError as error:
        raise MissingExtra("Reading Markdown", "search", "markdown-it-py") from error
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    front = _FRONT_MATTER.match(text)
    named = _TITLE.search(front[1]) if front else None
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text[front.end() :] if front else text)
    blocks: list[Block] = []
    headings: list[tuple[int, str]] = []
    place = 0
    while place < len(tokens):
        end = _end(tokens, place)
        token = tokens[place]
        if token.type == "heading_open":
            level = int(token.tag[1:])
            headings = [one for one in headings if one[0] < level] + [(level, _text(tokens[place:end]))]
        else:
            above = tuple(heading for _, heading in headings)
            blocks += [block for block in _blocks(tokens[place:end], above) if block.text]
        place = end
    return Document(blocks, named[1] if named else "")


def _end(tokens: Sequence[Any], place: int) -> int:
    """Return the place after the token that closes what opens at `place`."""
    depth = 0
    for end in range(place, len(tokens)):
        depth += tokens[end].nesting
        if depth == 0:
            return end + 1
    return len(tokens)


def _blocks(tokens: Sequence[Any], headings: tuple[str, ...]) -> list[Block]:
    """Return the blocks of one construct on the top level."""
    kind = tokens[0].type
    if kind == "table_open":
        rows = _rows(tokens)
        return [Block("\n".join(rows[1:]), headings, rows[0])] if len(rows) > 1 else [Block("\n".join(rows), headings)]
    if kind == "html_block":
        return [Block(block.text, (*headings, *block.headings), block.head) for block in html.read(tokens[0].content).blocks]
    return [Block(_text(tokens), headings)]


def _rows(tokens: Sequence[Any]) -> list[str]:
    """Return a line for each row of a table."""
    rows: list[list[str]] = []
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append(_inline(token))
    return [" | ".join(row) for row in rows]


def _text(tokens: Sequence[Any]) -> str:
    """Return the text of a construct: a line for each paragraph in it, with a mark in front of an item of a list."""
    lines: list[str] = []
    mark = ""
    numbers: list[int | None] = []
    for token in tokens:
        if token.type in {"ordered_list_open", "bullet_list_open"}:
            numbers.append(int(token.attrs.get("start", 1)) if token.type == "ordered_list_open" else None)
        elif token.type in {"ordered_list_close", "bullet_list_close"}:
            numbers.pop()
        elif token.type == "list_item_open":
            number = numbers[-1] if numbers else None
            mark = "  " * (len(numbers) - 1) + ("- " if number is None else f"{number}. ")
            if number is not None:
                numbers[-1] = number + 1
        elif token.type in {"inline", "fence", "code_block"}:
            lines.append(mark + (_inline(token) if token.type == "inline" else token.content.rstrip("\n")))
            mark = ""
        elif token.type == "html_block":
            lines += [block.text for block in html.read(token.content).blocks]
    return "\n".join(lines)


def _inline(token: Any) -> str:
    """Return what is read of the text of a paragraph: without marks, with the descriptions of pictures."""
    parts: list[str] = []
    for child in token.children or ():
        if child.type in {"text", "code_inline", "image"}:
            parts.append(child.content)
        elif child.type in {"softbreak", "hardbreak"} or child.content.lower().startswith("<br"):
            parts.append("\n")
    return "".join(parts).strip()
