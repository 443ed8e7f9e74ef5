"""Tagged sentences in CoNLL format: one token and its tag per line, in the schemes IOB1, BIO, BIOES or BMES.

Each sentence becomes a row with its text and its spans, whose offsets are in code points. One rule reads all four schemes (Tjong
Kim Sang and Buchholz, 2000): a tag such as B-PER starts a span if it begins with B or S, and ends the span if it begins with E or S.
Tags with I, M or E continue the open span of the same label, or start one if there is none. U and L (scheme BILOU) are read like S and E.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import polars as pl

from vertune.core.conll import join, placed, stated
from vertune.core.errors import DataError, NoRows
from vertune.core.kinds import Source
from vertune.sources import _decode, _files, _table, _token_table

SPANS = pl.List(pl.Struct({"start": pl.Int64, "end": pl.Int64, "label": pl.String}))
_OPEN, _CLOSE = frozenset("BSU"), frozenset("ESLU")
_KNOWN = frozenset("BIOEMSLU")
_BLANK = " \t\r\n"
_TAGGED = 0.9
"""Fraction of lines that must have a tag in a file that is recognised as CoNLL."""
_LONGEST = 50
"""Number of lines from which a file without a blank line is not recognised as CoNLL."""
_DOCUMENT = "-DOCSTART-"


@dataclass(frozen=True, slots=True)
class _Sentence:
    """One sentence: its lines, each split into columns; the number of its document; the number of its first line in the file (from 1)."""

    document: int
    line: int
    lines: list[list[str]]
    comment: str | None = None
    """What a comment before it says that its text is."""


class Conll(Source):
    """Source that reads files with one token and its tag per line; the fields below are its options."""

    suffixes: ClassVar[tuple[str, ...]] = (".conll", ".bio", ".iob", ".bioes", ".bmes")
    path: str
    """The file, or a pattern such as `data/*.conll`."""
    token: int = 0
    """Index of the column with the token, counted from 0."""
    tag: int = -1
    """Index of the column with the tag, counted from 0; -1 is the last column."""
    join: Literal["auto", "space", "none"] = "auto"
    """What to put between tokens, `space` or `none`; auto puts a space except between two CJK characters, and none in CJK text with one
    token per character."""
    sentence: int | None = None
    """Index of a column that numbers the sentences, counted from 0, in a table with one token per row; a blank cell means that the
    sentence goes on. Without it, blank lines end sentences."""
    header: bool = False
    """Whether the first line contains the names of the columns."""
    document: str | None = None
    """Name of a column to add that identifies the document, for `split: group`; documents begin at -DOCSTART- lines."""
    encoding: str = "auto"
    """The text encoding, such as gb18030; auto detects UTF-8, UTF-16, GB18030 and other common encodings."""

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Return whether the first lines are tokens with tags, in blocks with blank lines between them or with numbered sentences."""
        if _token_table.columns_of(path) is not None:
            return True
        lines = [line.rstrip(_BLANK) for line in _files.head_lines(path)]
        rows = [line.split("\t") if "\t" in line else line.split() for line in lines if line and stated(line) is None]
        tokens = [row for row in rows if row and row[0] != _DOCUMENT and not _comment(row)]  # a line of odd blanks has no words
        tagged = [row[-1] for row in tokens if len(row) > 1 and is_tag(row[-1])]
        blocks = "" in lines[:-1] or len(tokens) < _LONGEST
        return blocks and len(tagged) >= _TAGGED * len(tokens) > 0 and any(tag != "O" for tag in tagged)

    def detect(self) -> tuple[Self, tuple[str, ...]]:
        """Return a copy with the columns of a table that has one token per row and numbers its sentences."""
        path = _files.find(self.path)[0]
        found = _token_table.columns_of(path)
        if found is None or {"sentence", "token", "tag"} & self.model_fields_set:
            return self, ()
        return self.model_copy(update={**asdict(found), "header": True}), (
            f"{path.name} has one token per row; its sentences are numbered in column {found.sentence + 1}.",
        )

    def read(self) -> pl.DataFrame:
        """Return one row per sentence with `text` and `spans`; if a sentence can't be read, `__error` contains the reason."""
        return _table.stacked([self._file(path) for path in _files.find(self.path)])

    def fingerprint(self) -> str:
        """Return a hash of the paths and contents of all files that `read` reads."""
        return _files.fingerprint(_files.find(self.path))

    @classmethod
    def sample(cls, folder: Path) -> Self:
        """Write a file with two tagged sentences of one document and return the source that reads it."""
        path = folder / "rows.conll"
        path.write_text("-DOCSTART- O\n\nAda B-PER\nLovelace I-PER\nwrote O\n\nBerlin B-LOC\n", encoding="utf-8")
        return cls(path=str(path))

    def _file(self, path: Path) -> pl.DataFrame:
        text = _decode.text(path, self.encoding, "CoNLL file")
        sentences = _sentences(text) if self.sentence is None else _numbered(text, self.sentence, self.header)
        try:
            found = [(sentence.document, *self._row(text, sentence)) for sentence in sentences]
        except csv.Error as error:
            raise DataError(
                f"{path} can't be read as a table with one token per row: {error}. Check its quotes and its delimiter."
            ) from error
        if not found:
            raise NoRows(f"{path} contains no sentences. Write a token and its tag on each line, and an empty line between sentences.")
        documents, texts, spans, errors = (list(column) for column in zip(*found, strict=True))
        if all(errors):
            raise DataError(
                f"{path} is not a CoNLL file: none of its {len(errors)} blocks of lines can be read, the first because it {errors[0]}. "
                "Write a token and its tag on each line, or name the source that reads this format."
            )
        text.refuse_mixed(errors)
        frame = pl.DataFrame([pl.Series("text", texts, dtype=pl.String), pl.Series("spans", spans, dtype=SPANS)])
        if self.document:
            frame = frame.with_columns(pl.Series(self.document, [f"{path.name}:{number}" for number in documents]))
        return _table.marked(frame, str(path), errors)

    def _row(self, text: _decode.Text, sentence: _Sentence) -> tuple[str | None, list[dict[str, Any]] | None, str | None]:
        """Convert one sentence of the file `text` to its text and its spans; the third returned value is None.

        If the sentence can't be read, the first two values are None, and the third is the reason.
        """
        width = len(sentence.lines[0])
        columns = (self.token, self.tag)
        for number, fields in enumerate(sentence.lines, sentence.line):
            flaw = next(filter(None, map(text.flaw, fields)), None)
            if flaw:
                return None, None, flaw
            if len(fields) != width or width < 2 or any(not -width <= column < width for column in columns):
                return None, None, f"has {len(fields)} columns in line {number}, where {max(width, 2)} are expected"
        tokens = [fields[self.token].strip(" ") for fields in sentence.lines]
        if not all(tokens):
            return None, None, f"has no token in line {sentence.line + tokens.index('')}"
        tags = [fields[self.tag] for fields in sentence.lines]
        wrong = next((place for place, tag in enumerate(tags) if not is_tag(tag)), None)
        if wrong is not None:
            return None, None, f"has the tag '{tags[wrong]}' in line {sentence.line + wrong}, where O or one such as B-PER is expected"
        found = None if sentence.comment is None or text.flaw(sentence.comment) else placed(tokens, sentence.comment)
        joined, offsets = found or join(tokens, self.join)
        return joined, spans(tags, offsets), None


def spans(tags: Sequence[str], offsets: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    """Convert the tags of a sentence, such as B-PER, to spans with `start`, `end` and `label`, in the order of the text.

    `offsets` contains the start and end of each token in the text.
    """
    found: list[dict[str, Any]] = []
    inside: str | None = None
    for tag, (start, end) in zip(tags, offsets, strict=True):
        prefix, _, label = tag.partition("-")
        if prefix == "O":
            inside = None
            continue
        if prefix in _OPEN or label != inside:
            found.append({"start": start, "end": end, "label": label})
        else:
            found[-1]["end"] = end
        inside = None if prefix in _CLOSE else label
    return found


def is_tag(tag: str) -> bool:
    """Return whether a tag is O, or one such as B-PER in the schemes that are read here."""
    prefix, dash, label = tag.partition("-")
    return tag == "O" or (prefix in _KNOWN and prefix != "O" and bool(dash) and bool(label))


def _sentences(text: _decode.Text) -> Iterator[_Sentence]:
    document, started = 0, 1
    lines: list[list[str]] = []
    comment: str | None = None
    with text.open() as file:
        for number, line in enumerate(file, 1):
            line = line.rstrip(_BLANK)
            said = stated(line)
            # only tabs and plain spaces separate columns, because a token may contain other kinds of space
            fields = line.split("\t") if "\t" in line else [field for field in line.split(" ") if field]
            if fields and said is None and fields[0] != _DOCUMENT and not _comment(fields):
                started = started if lines else number
                lines.append(fields)
                continue
            if lines:
                yield _Sentence(document, started, lines, comment)
                lines, comment = [], None
            comment = said or comment
            document += bool(fields) and fields[0] == _DOCUMENT
    if lines:
        yield _Sentence(document, started, lines, comment)


def _numbered(text: _decode.Text, column: int, header: bool) -> Iterator[_Sentence]:
    """Yield the sentences of a table with one token per row, in which a column numbers the sentences."""
    with text.open(newline="") as file:
        rows = _token_table.rows(file)
        if header:
            next(rows, None)
        current: str | None = None
        started = 1
        lines: list[list[str]] = []
        for number, fields in rows:
            if not any(fields):
                continue
            name = fields[column].strip() if -len(fields) <= column < len(fields) else ""
            if lines and name and name != current:
                yield _Sentence(0, started, lines)
                lines = []
            current = name or current
            started = started if lines else number
            lines.append(fields)
        if lines:
            yield _Sentence(0, started, lines)


def _comment(fields: list[str]) -> bool:
    """Return whether a line, split into `fields`, is a comment such as `# sent_id = 4`; a line with a tagged token has another form."""
    return fields[0] == "#" and len(fields) > 2 and fields[2] == "="
