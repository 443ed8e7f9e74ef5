"""CoNLL: a token and its BIO tag on each line, and an empty line after each record, as many taggers read them.

Where tokens alone do not show where spaces and line ends were, a comment contains the text, as in CoNLL-U: `# text = It's fine.`
A text with line ends is written as a JSON string.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

from vertune.core.conll import as_comment, join
from vertune.core.format import Labelled
from vertune.core.kinds import Format
from vertune.core.records import TargetType
from vertune.core.task import Task
from vertune.formats import _rows
from vertune.metrics.words import pieces


class Conll(Format):
    """Format of CoNLL; it has no options."""

    media_type: ClassVar[str] = "text/plain"
    suffix: ClassVar[str] = ".conll"
    targets: ClassVar[frozenset[TargetType]] = frozenset({"spans"})
    single_text: ClassVar[bool] = True

    def columns(self, task: Task) -> dict[str, str]:
        """Return the columns of the rows that are read again."""
        return {_rows.text_of(task).name: "text", _rows.target_of(task).name: "spans"}

    def write(self, task: Task, rows: Sequence[Labelled]) -> Iterator[bytes]:
        """Yield a block of lines for each label; what else is known about a label is left out.

        Raises DataError for spans that overlap, for one that begins or ends with white space, and for a text without a visible character.
        """
        self.check(task)
        return _rows.pieces([_block(task, row) for row in rows])


def _block(task: Task, row: Labelled) -> str:
    text: str = row.record[_rows.text_of(task).name]
    spans = _rows.apart(row, text, row.target[_rows.target_of(task).name])
    for span in spans:
        marked, label = text[span["start"] : span["end"]], span["label"]
        if marked != marked.strip():
            raise _rows.refused(row, f"has the span '{marked}', which begins or ends with white space")
        if not label or label != " ".join(label.split()):
            raise _rows.refused(row, f"has the label '{label}', which is empty, or has white space other than single blanks")
    places = _tokens(text, spans)
    if not places:
        raise _rows.refused(row, "has a text without a visible character")
    tags = _tags(places, spans)
    tokens = [text[start:end] for start, end in places]
    comment = "" if join(tokens)[0] == text else f"{as_comment(text)}\n"
    return comment + "".join(f"{token}\t{tag}\n" for token, tag in zip(tokens, tags, strict=True)) + "\n"


def _tokens(text: str, spans: Sequence[dict[str, Any]]) -> list[tuple[int, int]]:
    """Return the start and end of each token; a word is divided where a span begins or ends inside it."""
    cuts = sorted({place for span in spans for place in (span["start"], span["end"])})
    found: list[tuple[int, int]] = []
    for start, end in pieces(text):
        inner = [cut for cut in cuts if start < cut < end]
        found += zip([start, *inner], [*inner, end], strict=True)
    return found


def _tags(places: Sequence[tuple[int, int]], spans: Sequence[dict[str, Any]]) -> list[str]:
    tags = []
    left = list(reversed(spans))
    for start, _ in places:
        while left and left[-1]["end"] <= start:
            left.pop()
        inside = left and left[-1]["start"] <= start
        tags.append(f"{'B' if start == left[-1]['start'] else 'I'}-{left[-1]['label']}" if inside else "O")
    return tags
