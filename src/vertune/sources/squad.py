"""Questions about texts, with their answers, in the JSON format of SQuAD 1.1 and 2.0 (Rajpurkar et al., 2016 and 2018)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import polars as pl

from vertune.core.errors import DataError
from vertune.core.kinds import Source
from vertune.sources import _decode, _files, _table

_ANSWERS = pl.List(pl.Struct({"start": pl.Int64, "text": pl.String}))
_Row = dict[str, Any]
_SCHEMA: dict[str, Any] = {"id": pl.String, "title": pl.String, "question": pl.String, "context": pl.String, "answers": _ANSWERS}


class Squad(Source):
    """Source that reads SQuAD files; the fields below are its options."""

    path: str
    """The file, or a pattern such as `data/*.json`."""

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Return whether the content begins like a JSON object with paragraphs, as in SQuAD."""
        start = "".join(_files.head_lines(path))
        keys = set(re.findall(r'"(data|paragraphs|context|qas)"\s*:', start))
        return start.lstrip().startswith("{") and {"data", "paragraphs"} <= keys and bool(keys & {"context", "qas"})

    def read(self) -> pl.DataFrame:
        """Return one row per question with `id`, `title`, `question`, `context` and `answers`.

        `answers` is a list of dicts with `text` and `start`, the offset of the answer in the context in code points. The list is empty
        for an unanswerable question.
        """
        return _table.stacked([_file(path) for path in _files.find(self.path)])

    def fingerprint(self) -> str:
        """Return a hash of the paths and contents of all files that `read` reads."""
        return _files.fingerprint(_files.find(self.path))

    @classmethod
    def sample(cls, folder: Path) -> Self:
        """Write a file with one answerable and one unanswerable question and return the source that reads it."""
        context = "🎉 Ada Lovelace was born in London."
        questions = [
            {"id": "1", "question": "Where?", "answers": [{"answer_start": context.index("London"), "text": "London"}]},
            {"id": "2", "question": "When?", "answers": [], "is_impossible": True},
        ]
        value = {"version": "v2.0", "data": [{"title": "Ada", "paragraphs": [{"context": context, "qas": questions}]}]}
        path = folder / "rows.json"
        path.write_text(json.dumps(value), encoding="utf-8")
        return cls(path=str(path))


def _file(path: Path) -> pl.DataFrame:
    source = _decode.text(path, "auto", "SQuAD file")
    with source.open() as file:
        content = file.read()
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise _refusal(path, source.flaw(content) or str(error)) from error
    articles = value.get("data") if isinstance(value, dict) else None
    if not isinstance(articles, list):
        raise _refusal(path, "it has no list 'data'")
    found = [_checked(source, row, error, number) for number, (row, error) in enumerate(_questions(articles), 1)]
    if not found:
        raise DataError(f"{path} contains no questions. Check that its paragraphs have lists 'qas' of questions.")
    if all(error for _, error in found):
        raise _refusal(path, f"none of its {len(found)} questions can be read, the first because it {found[0][1]}")
    errors = [error for _, error in found]
    source.refuse_mixed(errors)
    frame = pl.DataFrame([pl.Series(name, [row.get(name) for row, _ in found], dtype=kind) for name, kind in _SCHEMA.items()])
    return _table.marked(frame, str(path), errors)


def _refusal(path: Path, reason: str) -> DataError:
    return DataError(
        f'{path} is not a SQuAD file ({reason}). Expected {{"data": [{{"title", "paragraphs": [{{"context", "qas": […]}}]}}]}}, '
        'where each entry of "qas" has "id", "question" and "answers". Correct the file, or name the source that reads this format.'
    )


def _checked(source: _decode.Text, row: _Row, error: str | None, number: int) -> tuple[_Row, str | None]:
    """Return a row and its error, after checks of the characters; a question without an id gets its `number` in the file as id."""
    row.setdefault("id", str(number))
    texts = [*(value for value in row.values() if isinstance(value, str)), *(answer["text"] for answer in row.get("answers", ()))]
    flaw = next(filter(None, map(source.flaw, texts)), None)
    if flaw is None and any(text != _decode.printable(text) for text in texts):
        flaw = "contains half a character (a lone surrogate such as \\ud800)"
    return ({"id": _decode.printable(row["id"])}, flaw) if flaw else (row, error and _decode.printable(error))


def _questions(articles: list[Any]) -> Iterator[tuple[_Row, str | None]]:
    """Yield a pair (row, error) for each question of the articles (the list `data` in a SQuAD file).

    The error is None, or the reason why the question, or a whole article or paragraph, can't be used.
    """
    for place, article in enumerate(articles, 1):
        paragraphs = article.get("paragraphs") if isinstance(article, dict) else None
        if not isinstance(paragraphs, list):
            yield {}, f"belongs to article {place}, which has no list 'paragraphs'"
            continue
        title = article.get("title")
        for number, paragraph in enumerate(paragraphs, 1):
            where = f"paragraph {number} of article {place}"
            context, questions = (paragraph.get("context"), paragraph.get("qas")) if isinstance(paragraph, dict) else (None, None)
            if not isinstance(context, str) or not isinstance(questions, list):
                yield {}, f"belongs to {where}, which has no text 'context' or no list 'qas'"
                continue
            for item in questions:
                row, error = _question(item, context)
                yield {"title": title if isinstance(title, str) else "", **row}, error and f"{error} ({where})"


def _question(item: Any, context: str) -> tuple[_Row, str | None]:
    """Convert one entry of `qas` to a row; the second value is the reason why it can't be used, or None."""
    if not isinstance(item, dict):
        return {}, f"is no question: {item!r:.50}"
    known = isinstance(item.get("id"), (str, int)) and item["id"] != ""
    row: _Row = {"context": context, **({"id": str(item["id"])} if known else {})}
    if not isinstance(item.get("question"), str):
        return row, "has no text 'question'"
    row["question"] = item["question"]
    try:
        pairs = [] if item.get("is_impossible") is True else _pairs(item.get("answers"))
    except (TypeError, ValueError, KeyError, OverflowError):
        return row, f"has answers that are no list of {{text, answer_start}}: {item['answers']!r:.80}"
    # the usual form of "no answer" in files without is_impossible: an empty text that starts at -1
    places = {pair: _place(context, *pair) for pair in pairs if pair[1].strip()}
    row["answers"] = [{"start": place, "text": text} for (_, text), place in places.items() if place is not None]
    lost = next((text for (_, text), place in places.items() if place is None), None)
    return row, None if lost is None else f"has the answer '{lost}', which is not at its answer_start (counted in code points)"


def _pairs(answers: Any) -> list[tuple[int, str]]:
    """Return start and text of each answer, which is an object, or, in exports of Hugging Face, one place of an object of lists."""
    if isinstance(answers, dict):
        texts, starts = answers["text"], answers["answer_start"]
        pairs = list(zip(starts, texts, strict=True)) if isinstance(texts, list) else [(starts, texts)]
    else:
        pairs = [(answer["answer_start"], answer["text"]) for answer in answers or ()]
    if not all(isinstance(text, str) and int(start) == float(start) for start, text in pairs):
        raise ValueError("a start must be a whole number, and an answer a text")
    return [(int(start), text) for start, text in pairs]


def _place(context: str, start: int, text: str) -> int | None:
    """Return where an answer starts in its context: at `start`, or where it stands if it occurs once; None if that is not clear.

    Starts that are wrong by some characters are common, because other software counts bytes or UTF-16 units, or removes blanks.
    """
    if start >= 0 and context.startswith(text, start):
        return start
    return context.index(text) if context.count(text) == 1 else None
