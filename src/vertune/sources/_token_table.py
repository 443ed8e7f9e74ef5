"""Recognises tables with one token per row, such as `Sentence #,Word,Tag`, and splits their lines; knows no spans."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vertune.core.profile import simple
from vertune.sources import _files

_SENTENCE = frozenset({"sentence", "sentence_id", "sent_id", "sent", "sentence_idx", "doc", "document", "id", "句子", "句子编号", "句号"})
_TOKEN = frozenset({"word", "token", "words", "tokens", "character", "char", "text", "词", "字", "字符"})
_TAG = frozenset({"tag", "ner", "ner_tag", "label", "tags", "labels", "entity", "bio", "标签", "实体"})
"""Usual names of the columns, in the form of `simple` without marks such as `#`."""
_TAG_FORM = re.compile(r"O|[BIESMLU]-\S+")
_TAGGED = 0.9
"""Fraction of the rows that must have a tag."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The indices of the columns of such a table, counted from 0."""

    sentence: int
    token: int
    tag: int


def columns_of(path: Path) -> Columns | None:
    """Return the columns of a table with a header, one token per row and numbered sentences; None if the file is no such table."""
    lines = _files.head_lines(path)
    try:
        table = [fields for _, fields in rows(lines)]
    except csv.Error:
        return None
    if len(table) < 3:
        return None
    names = [simple(re.sub(r"[^\w\s-]", " ", name)) for name in table[0]]
    found = Columns(*(_place(names, usual) for usual in (_SENTENCE, _TOKEN, _TAG)))
    body = [row for row in table[1:] if len(row) == len(names)]
    if min(found.sentence, found.token, found.tag) < 0 or len(body) < len(table) // 2:
        return None
    tags = [row[found.tag] for row in body]
    tagged = sum(_TAG_FORM.fullmatch(tag) is not None for tag in tags)
    return found if tagged >= _TAGGED * len(tags) and any(tag != "O" for tag in tags) else None


def rows(lines: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each line, counted from 1, and its fields; the first line shows whether tabs, semicolons or commas divide them.

    Raises csv.Error for a quote that is not closed.
    """
    reader = iter(lines)
    first = next(reader, None)
    if first is None:
        return
    delimiter = max("\t;,", key=first.count)
    yield 1, next(csv.reader([first], delimiter=delimiter), [])
    parsed = csv.reader(reader, delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if delimiter != "\t" else csv.QUOTE_NONE)
    for fields in parsed:
        yield parsed.line_num + 1, fields


def _place(names: Sequence[str], usual: frozenset[str]) -> int:
    """Return the index of the first name that is usual for a column; -1 if there is none."""
    return next((place for place, name in enumerate(names) if name in usual), -1)
