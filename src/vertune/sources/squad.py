"""Questions about texts, with their answers, in the JSON format of SQuAD 1.1 and 2.0 (Rajpurkar et al., 2016 and 2018)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import polars as pl

from vertune.core.errors import DataError
from vertune.core.kinds import Source
from vertune.sources import _decode, _files, _table

_ANSWERS = pl.List(pl.Struct({"start": pl.Int64, "text": pl.String}))
_SCHEMA: dict[str, Any] = {"id": pl.String, "title": pl.String, "question": pl.String, "context": pl.String, "answers": _ANSWERS}


class Squad(Source):
    """Source that reads SQuAD files; the fields below are its options."""

    path: str
    """The file, or a pattern such as `data/*.json`."""

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
    content, flaw = _decode.decode(path, "auto")
    try:
        value = json.loads(content)
        rows = list(_questions(value["data"]))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        reason = flaw or f"{type(error).__name__}: {error}"
        raise DataError(
            f'{path} is not a SQuAD file ({reason}). Expected {{"data": [{{"title", "paragraphs": [{{"context", "qas": […]}}]}}]}}, '
            'where each entry of "qas" has "id", "question" and "answers". Correct the file, or name the source that reads this format.'
        ) from error
    if not rows:
        raise DataError(f"{path} contains no questions. Check that its paragraphs have lists 'qas' of questions.")
    frame = pl.DataFrame([pl.Series(name, [row[name] for row, _ in rows], dtype=kind) for name, kind in _SCHEMA.items()])
    return _table.marked(frame, str(path), [error for _, error in rows])


def _questions(articles: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], str | None]]:
    """Yield a pair (row, error) for each question of the articles (the list `data` in a SQuAD file).

    The error is None, or a message if the context does not contain an answer at the position where it should start.
    """
    for article in articles:
        for paragraph in article["paragraphs"]:
            context = paragraph["context"]
            for item in paragraph["qas"]:
                answers = (
                    [] if item.get("is_impossible") else [(answer["answer_start"], answer["text"]) for answer in item.get("answers", [])]
                )
                wrong = next((text for start, text in answers if start < 0 or not context.startswith(text, start)), None)
                error = None if wrong is None else f"the answer '{wrong}' is not at its answer_start (counted in code points)"
                row = {"id": str(item["id"]), "title": article.get("title", ""), "question": item["question"], "context": context}
                yield {**row, "answers": [{"start": start, "text": text} for start, text in answers]}, error
