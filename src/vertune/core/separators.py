"""Recognises how several labels are written in one cell of a table; knows nothing of tasks, columns or models.

Labels are either separated by a text, as in `wheel|urgent`, or written as a list, as in `['wheel', 'urgent']`.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

CANDIDATES = ("|", ";", "；", "、", ",", "，", "\t", "\n", "/", " ")
"""Texts that can separate labels, the most typical first."""
_IN_NAMES = frozenset({"/", " "})
"""Separators that also occur within the names of labels, such as `card lost` or `TCP/IP`; they are chosen only on more evidence."""
_WORD = re.compile(r"[^\s\u3400-\u9fff]+|[^\s。！？!?]{1,12}")
"""A part that may be one word; Chinese has no blanks between words, so its length decides, and a mark that ends a sentence."""
_MOST_CELLS = 20_000
"""Greatest number of different cells that are examined."""
_LONGEST_LIST = 100_000
"""Greatest length, in characters, of a cell that is read as a list."""
_BRACKETS = {"[": "]", "(": ")", "{": "}"}
_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)'|\"((?:[^\"\\]|\\.)*)\"")
_ESCAPED = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U(000[0-9a-f]{5}|0010[0-9a-f]{4})|(.))", re.DOTALL)
_CONTROL = {"n": "\n", "r": "\r", "t": "\t"}


def recognise(cells: Iterable[str]) -> str:
    """Return the text that separates the labels of a cell; return an empty text if each cell contains only one label.

    The parts of a cell are labels if they also occur in other combinations: `wheel|urgent` beside `wheel` or `brake|urgent`. The parts
    of a name that contains the separator, such as `Refund; I paid twice`, never occur without each other.
    """
    distinct = list(dict.fromkeys(cell.strip() for cell in cells if cell.strip() and not _is_bracketed(cell.strip())))[:_MOST_CELLS]
    scores = {candidate: _score(distinct, candidate) for candidate in CANDIDATES}
    best = max(CANDIDATES, key=lambda candidate: scores[candidate])
    if scores[best] > 0:
        return best
    return next((candidate for candidate in CANDIDATES if candidate not in _IN_NAMES and _only_words(distinct, candidate)), "")


def listed(cell: str) -> list[str] | None:
    """Return the labels of a cell that is written as a list, such as `["a", "b"]`, `['a' 'b']` or `[a, b]`; None for another cell.

    JSON, and the ways in which Python, NumPy and pandas print lists, tuples and sets, are read. An item that is null is returned as an
    empty text. A mapping, a nested list, or a list whose items can't be told apart is not read.
    """
    text = cell.strip()
    if not _is_bracketed(text) or len(text) > _LONGEST_LIST:
        return None
    if text[0] == "[":
        try:
            return _names(json.loads(text))
        except (ValueError, RecursionError):
            pass
    inner = text[1:-1]
    if _QUOTED.search(inner):
        rest = _QUOTED.sub("", inner)
        # without quoted items, only the separators between them may remain
        return (
            [_ESCAPED.sub(_character, single or double) for single, double in _QUOTED.findall(inner)] if not rest.strip(", \t\n") else None
        )
    if text[0] != "[" or re.search(r"[\[\](){}:]", inner):
        return [] if not inner.strip() and text[0] != "{" else None
    return [
        item.strip() for item in (inner.split(",") if "," in inner else inner.split() if _are_numbers(inner) else [inner]) if item.strip()
    ]


def split(cell: str, separator: str) -> list[str]:
    """Return the labels of one cell: the items of a list, or the parts between the separators.

    If `separator` is empty, a cell that is not a list is one label.
    """
    items = listed(cell)
    if items is not None:
        return items
    return cell.split() if separator == " " else cell.split(separator) if separator else [cell]


def _score(cells: Sequence[str], separator: str) -> float:
    """Return the share of the parts of divided cells that also occur in other cells; 0 if the share is too small for labels."""
    places: defaultdict[str, int] = defaultdict(int)
    divided: set[str] = set()
    alone: set[str] = set()
    for cell in cells:
        parts = {part.strip() for part in cell.split(separator) if part.strip()}
        for part in parts:
            places[part] += 1
        if len(parts) > 1:
            divided |= parts
        else:
            alone |= parts
    if not divided:
        return 0.0
    share = sum(places[part] > 1 for part in divided) / len(divided)
    if separator in _IN_NAMES:
        single_words = all(not re.search(r"\s", part) for part in divided)
        return share if share == 1 and single_words and len(divided & alone) >= len(divided) / 2 else 0.0
    return share if share >= 0.5 else 0.0


def _only_words(cells: Sequence[str], separator: str) -> bool:
    """Return whether some cells are divided by the separator, and all parts of these cells are single words."""
    divided = [cell for cell in cells if separator in cell]
    return bool(divided) and all(_WORD.fullmatch(part.strip()) for cell in divided for part in cell.split(separator))


def _is_bracketed(text: str) -> bool:
    return len(text) > 1 and _BRACKETS.get(text[0]) == text[-1]


def _names(value: object) -> list[str] | None:
    """Return the items of a parsed JSON list as texts; None if it is not a list, or contains lists or mappings."""
    if not isinstance(value, list) or any(isinstance(item, (list, dict)) for item in value):
        return None
    return ["" if item is None else item if isinstance(item, str) else json.dumps(item) for item in value]


def _character(escape: re.Match[str]) -> str:
    """Return the character that an escape sequence in a printed Python string stands for."""
    digits = escape[1] or escape[2] or escape[3]
    return chr(int(digits, 16)) if digits else _CONTROL.get(escape[4], escape[4])


def _are_numbers(text: str) -> bool:
    """Return whether a text contains only whole numbers that white space separates, as NumPy prints them."""
    return re.fullmatch(r"\s*-?\d+(\s+-?\d+)*\s*", text) is not None
