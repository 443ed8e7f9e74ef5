"""How the tokens of a CoNLL file make a text: joined, or placed in the text that a comment states; independent of files and tags."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal

from vertune.core.documents import parse_json

_COMMENT = "# text = "
"""The beginning of the line that states the text of a sentence, as in CoNLL-U."""
_BLANK = " \t\r\n"
_CJK = (
    (0x2E80, 0x303F),  # radicals and punctuation
    (0x3040, 0x30FF),  # kana
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0xFF00, 0xFFEF),  # full-width forms
    (0x20000, 0x3FFFF),
)


def join(tokens: Sequence[str], how: Literal["auto", "space", "none"] = "auto") -> tuple[str, list[tuple[int, int]]]:
    """Join the tokens of a sentence; return the text, and the start and end (exclusive) of each token in code points.

    `how` is what to put between tokens: a space, nothing, or `auto`: a space except between two Chinese or Japanese characters.
    """
    if how == "auto" and any(map(_cjk, (token[0] for token in tokens))) and all(len(token) == 1 for token in tokens):
        how = "none"
    parts: list[str] = []
    offsets: list[tuple[int, int]] = []
    length = 0
    for place, token in enumerate(tokens):
        apart = place > 0 and how != "none" and not (how == "auto" and _cjk(tokens[place - 1][-1]) and _cjk(token[0]))
        length += apart
        parts.append(" " + token if apart else token)
        offsets.append((length, length + len(token)))
        length += len(token)
    return "".join(parts), offsets


def as_comment(text: str) -> str:
    """Return the comment that states a text: as it is or, if it has line ends, or blanks at its ends, as a JSON string."""
    plain = text == text.strip(_BLANK) and not {"\n", "\r"} & set(text)
    return _COMMENT + (text if plain else json.dumps(text, ensure_ascii=False))


def stated(line: str) -> str | None:
    """Return what a comment says that the text is, which `placed` reads; None for any other line."""
    return line.removeprefix(_COMMENT) if line.startswith(_COMMENT) else None


def placed(tokens: Sequence[str], comment: str) -> tuple[str, list[tuple[int, int]]] | None:
    """Return the text that a comment states, and the start and end of each token in it; None if its words are not these tokens.

    Nothing but white space may stand between tokens. The comment is the text itself, or the text as a JSON string.
    """
    for text in (comment, _parsed(comment)):
        offsets: list[tuple[int, int]] = []
        place = 0
        for token in tokens if text is not None else ():
            start = text.find(token, place)  # type: ignore[union-attr]
            if start < 0 or text[place:start].strip():  # type: ignore[index]
                break
            place = start + len(token)
            offsets.append((start, place))
        if text is not None and len(offsets) == len(tokens) and not text[place:].strip():
            return text, offsets
    return None


def _parsed(comment: str) -> str | None:
    try:
        value = parse_json(comment)
    except ValueError:
        return None
    return value if isinstance(value, str) else None


def _cjk(character: str) -> bool:
    point = ord(character)
    return any(low <= point <= high for low, high in _CJK)
