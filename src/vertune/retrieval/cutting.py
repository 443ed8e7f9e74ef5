"""Cuts the blocks of documents into texts of a limited size; knows nothing of formats.

No text is lost: joined, the parts have all characters of the blocks but white space.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby

from vertune.retrieval.readers.block import Block

_SENTENCE = re.compile(r"(?<=[。！？；])(?=\S)|(?<=[.!?;])\s+|\n+")
_PHRASE = re.compile(r"(?<=[，、,:：])|\s+")


def cut(blocks: Sequence[Block], size: int) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield texts of at most `size` characters with their headings.

    Blocks below the same headings stay together as far as they fit. A block that is too long is divided at the ends of its lines and
    sentences, else between phrases, else anywhere. A part of a table begins with the names of its columns, which may exceed the size.
    """
    for headings, group in groupby(blocks, key=lambda block: block.headings):
        gathered: list[str] = []
        length = 0
        for block in group:
            for part in _parts(block, size):
                if gathered and length + 1 + len(part) > size:
                    yield headings, "\n".join(gathered)
                    gathered, length = [], 0
                length += len(part) + (1 if gathered else 0)
                gathered.append(part)
        if gathered:
            yield headings, "\n".join(gathered)


def _parts(block: Block, size: int) -> Iterator[str]:
    """Yield the block as parts of at most `size` characters."""
    head = f"{block.head}\n" if block.head else ""
    for part in _packed(block.text, max(size - len(head), size // 2, 1), (_SENTENCE, _PHRASE)):
        yield head + part


def _packed(text: str, size: int, ways: Sequence[re.Pattern[str]]) -> Iterator[str]:
    """Yield stretches of a text that are as long as possible, divided in the first way that makes them short enough."""
    if len(text) <= size:
        yield text
        return
    if not ways:
        yield from (text[start : start + size] for start in range(0, len(text), size))
        return
    start = end = 0
    for place in [*(match.end() for match in ways[0].finditer(text)), len(text)]:
        if place - start > size and end > start:
            yield from _stripped(text[start:end], size, ways[1:])
            start = end
        end = place
    yield from _stripped(text[start:], size, ways[1:])


def _stripped(text: str, size: int, ways: Sequence[re.Pattern[str]]) -> Iterator[str]:
    if text := text.strip():
        yield from _packed(text, size, ways)
