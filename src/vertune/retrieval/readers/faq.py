"""Reads FAQs: questions with their answers, in CSV, TSV, JSONL or YAML."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from vertune.core.bounded_yaml import parse_yaml
from vertune.core.documents import lines, parse_json
from vertune.core.errors import DataError
from vertune.retrieval.readers.block import Losses, decoded

_NAMES = {
    "question": "questions", "q": "questions", "query": "questions", "问题": "questions", "问": "questions", "問題": "questions",
    "similar": "questions", "相似问题": "questions", "相似问": "questions",
    "a": "answer", "answers": "answer", "response": "answer", "答案": "answer", "回答": "answer", "答": "answer",
    "标题": "title", "heading": "title", "link": "url", "网址": "url", "lang": "language", "语言": "language", "编号": "id",
}  # fmt: skip
"""Other names of fields, in lower case."""
_EMPTY = "rows have no question or no answer and were left out"
_REST = ("url", "customer", "language", "valid_from", "valid_until")


@dataclass(frozen=True, slots=True)
class Entry:
    """A question with its answer."""

    questions: tuple[str, ...]
    answer: str
    title: str
    id: str
    rest: dict[str, str | None]
    """The other fields that a passage has too."""


def read(file: Path, losses: Losses) -> Iterator[Entry]:
    """Yield the entries of a file; add rows without a question or an answer to `losses`.

    A row has the fields `question` and `answer` and, as far as they are known, `id`, `title`, `url`, `customer`, `language`, `valid_from`
    and `valid_until`; questions that mean the same are a list, or lines of one cell. Questions and answers by language, such as
    `{en: …, zh: …}`, are an entry for each language.
    """
    for number, row in enumerate(_rows(file), 1):
        fields = {_NAMES.get(name, name): value for name, value in _named(row, file, number)}
        entries = list(_of_row(fields))
        losses.examined[_EMPTY] += 1
        if not entries:
            losses.add(_EMPTY, file.name, number, json.dumps(row, default=str, ensure_ascii=False)[:200])
        yield from entries


def _rows(file: Path) -> list[Any]:
    text, suffix = decoded(file), file.suffix.lower()
    if suffix in {".yaml", ".yml"}:
        value = parse_yaml(text, str(file))
        value = value.get("faq", value.get("entries")) if isinstance(value, dict) else value
        if value is not None and not isinstance(value, list):
            raise DataError(f"'{file}' holds a {type(value).__name__}; expected a list of questions with answers. Correct the file.")
        return value or []
    if suffix == ".jsonl":
        return [_parsed(line, file, number) for number, line in enumerate(lines(text), 1) if line.strip()]
    found = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""), delimiter="\t" if suffix == ".tsv" else _separator(text))
    try:
        return list(found)
    except csv.Error as error:
        raise DataError(f"'{file}', line {found.line_num}, is no row of a table: {error}. Correct this line.") from error


def _separator(text: str) -> str:
    head = text.split("\n", 1)[0]
    return max(",;\t", key=head.count)


def _parsed(line: str, file: Path, number: int) -> Any:
    try:
        return parse_json(line)
    except ValueError as error:
        raise DataError(f"'{file}', line {number}, is no JSON: {error}. Expected one object with question and answer per line.") from error


def _named(row: Any, file: Path, number: int) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a row under names in lower case; those under their own names last, so that they win."""
    if not isinstance(row, Mapping):
        raise DataError(f"'{file}', entry {number}, is {str(row)[:60]!r}; expected fields such as question and answer. Correct this entry.")
    fields = [(str(name).strip().lower(), value) for name, value in row.items() if name is not None and value not in (None, "", [])]
    yield from sorted(fields, key=lambda one: one[0] not in _NAMES)


def _of_row(fields: Mapping[str, Any]) -> Iterator[Entry]:
    questions, answer = fields.get("questions"), fields.get("answer")
    if isinstance(questions, Mapping) or isinstance(answer, Mapping):
        languages = [*(questions if isinstance(questions, Mapping) else answer or {})]
        for language in languages:
            one = _in(fields, language) | {"language": language}
            if fields.get("id") and len(languages) > 1:
                one["id"] = f"{fields['id']}:{language}"
            yield from _of_row(one)
        return
    asked = tuple(text for one in _listed(questions) for line in lines(str(one)) if (text := line.strip()))
    answers = [str(one).strip() for one in _listed(answer)]
    if asked and answers and answers[0]:
        rest = {name: _text(fields.get(name)) for name in _REST}
        yield Entry(asked, answers[0], _text(fields.get("title")) or "", _text(fields.get("id")) or "", rest)


def _in(fields: Mapping[str, Any], language: str) -> dict[str, Any]:
    """Return the fields as they are in one language; those that name no language are in all."""
    return {name: value.get(language) if isinstance(value, Mapping) else value for name, value in fields.items()}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return value.isoformat() if isinstance(value, date) else str(value).strip() or None
