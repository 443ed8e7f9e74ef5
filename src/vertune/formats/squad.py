"""SQuAD 2.0: questions with their answers as places in a text, in one JSON file (Rajpurkar et al., 2018)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from vertune.core.format import Labelled
from vertune.core.kinds import Format
from vertune.core.records import TargetType
from vertune.core.task import Task
from vertune.formats import _rows


class Squad(Format):
    """Format of SQuAD; it has no options."""

    media_type: ClassVar[str] = "application/json"
    suffix: ClassVar[str] = ".json"
    targets: ClassVar[frozenset[TargetType]] = frozenset({"answers"})
    texts_only: ClassVar[bool] = True

    def refusal(self, task: Task) -> str | None:
        """Return a reason also if the task has not two inputs: a question and a text."""
        wrong = super().refusal(task)
        return wrong or (None if len(task.input_columns) == 2 else "a record must have a question and a text")

    def columns(self, task: Task) -> dict[str, str]:
        """Return the names that the file has for the fields."""
        question, context = task.input_columns
        return {question.name: "question", context.name: "context", _rows.target_of(task).name: "answers"}

    def write(self, task: Task, rows: Sequence[Labelled]) -> Iterator[bytes]:
        """Yield one article with a paragraph for each label."""
        self.check(task)
        paragraphs = [_paragraph(task, row, place) for place, row in enumerate(rows)]
        return _rows.json_list(paragraphs, '{"version": "v2.0", "data": [{"title": "", "paragraphs": [', "]}]}")


def _paragraph(task: Task, row: Labelled, place: int) -> dict[str, Any]:
    question, context = (row.record[column.name] for column in task.input_columns)
    answers = []
    for answer in row.target[_rows.target_of(task).name]:
        start, text = answer["start"], answer["text"]
        if not text or context[start : start + len(text)] != text or start < 0:
            raise _rows.refused(row, f"has the answer '{text}', which is not at {start} in its text")
        answers.append({"answer_start": start, "text": text})
    number = place if row.number is None else row.number
    identity = str(number) if row.annotator is None else f"{number}:{row.annotator}"
    return {"context": context, "qas": [{"id": identity, "question": question, "answers": answers, "is_impossible": not answers,
                                         **_rows.about(row)}]}  # fmt: skip
