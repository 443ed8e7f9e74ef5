"""Tables in delimited text, such as CSV and TSV; delimiter and encoding are detected.

All values are read as texts; the task converts them later. A line that can't be read becomes a row with an error, and costs no other
line: after a quote that is opened and not closed correctly, reading continues at the next line.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import ClassVar, Literal, Self

import polars as pl
from pydantic import Field

from vertune.core.errors import ConfigError, DataError, NoRows
from vertune.core.kinds import Source
from vertune.sources import _decode, _files, _header, _sentences, _table

_DELIMITERS = (",", "\t", ";", "|")
_LONG_DELIMITERS = ("||", "::", "|||", ":::", "##", "@@", "$$", "^^", "~~", "<sep>", "[SEP]")
"""Delimiters of several characters; a file in which nearly all lines have the same number of them is divided there."""
_STAND_IN = "\ufdd0"
"""The character that the csv module gets for a delimiter of several; Unicode reserves it, so no text contains it."""
_SAMPLE_CHARACTERS = 1 << 16
_CHUNK_ROWS = 50_000
_HEADER_ROWS = 100
"""Number of rows, from the start of a file, that show whether the first one contains names of columns."""
_EQUAL_LINES = 0.9
"""Fraction of lines that must have the same number of fields in a file that is recognised as delimited text."""
_MOST_LINES = 0.5
"""Fraction of lines above which they show the delimiter of a file whose first line contains none."""
_FIELD_BYTES = 1 << 30
_FEWEST_LINES = 5
"""Lines of a row from which it is checked whether they are rows themselves, between a quote that is not closed and the next quote."""
_SEPARATOR = re.compile(r'"?sep=(.)"?[\r\n]*', re.IGNORECASE)
"""The line with which Excel marks the delimiter of a file, before the header: `sep=;`."""
_ADVICE = "close the quote, or write each quote inside a field twice"


_Record = tuple[list[str], str | None]
"""The fields of one row, and None; or no fields and an error, if the first line of the row can't be read."""


class _Lines:
    """Iterator over the lines of a file; it remembers the lines of the current row, so that they can be read again."""

    def __init__(self, file: Iterator[str]) -> None:
        self._file = file
        self._again: deque[str] = deque()
        self.taken: list[str] = []
        """The lines of the current row."""
        self.first = 1
        """Number of the first line of the current row in the file, counted from 1."""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._file)
        self.taken.append(line)
        return line

    def repeat_all_but_first(self) -> None:
        """Let the lines of the current row, except the first, be read again as further rows."""
        self._again.extendleft(reversed(self.taken[1:]))
        del self.taken[1:]


@dataclass(frozen=True, slots=True)
class _Dialect:
    """The delimiter and the quoting rule of a file."""

    delimiter: str
    quoting: Literal[0, 3]
    """`csv.QUOTE_MINIMAL` or `csv.QUOTE_NONE`."""

    def parse(self, lines: Iterable[str], strict: bool = True) -> Iterator[list[str]]:
        """Return an iterator over the fields of each row; if `strict`, it raises csv.Error at a quoted field that is not closed correctly.

        The csv module takes one character as the delimiter, so a longer one is replaced before, and restored inside of quoted fields.
        """
        if len(self.delimiter) == 1:
            return csv.reader(lines, delimiter=self.delimiter, quoting=self.quoting, strict=strict)
        replaced = (line.replace(self.delimiter, _STAND_IN) for line in lines)
        rows = csv.reader(replaced, delimiter=_STAND_IN, quoting=self.quoting, strict=strict)
        return ([field.replace(_STAND_IN, self.delimiter) for field in row] for row in rows)

    def records(self, file: Iterable[str], width: int | None = None) -> Iterator[_Record]:
        """Yield all rows of a file, blank lines included, as lists of fields; a line that can't be read is yielded with an error.

        `width` is the number of fields of the header. If it is known, a quoted field that contains several complete rows counts as not
        closed.
        """
        lines = _Lines(iter(file))
        taken, reader = lines.taken, self.parse(lines)
        while True:
            lines.first += len(taken)
            taken.clear()
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield [], f"line {lines.first}: {_quote_error(error, len(taken))}"
                lines.repeat_all_but_first()
                continue
            if len(taken) > 1 and width is not None and self._holds_rows(taken, len(row), width):
                later = "in the next row" if len(taken) == 2 else f"{len(taken) - 1} rows later"
                yield [], f"line {lines.first}: a quote that is opened here is closed only {later}; {_ADVICE}"
                lines.repeat_all_but_first()
            elif lines.first > 1 or not _SEPARATOR.fullmatch(taken[0]):
                yield row, None

    def _holds_rows(self, lines: list[str], fields: int, width: int) -> bool:
        """Return whether the lines that were read as one row of `fields` fields are rows themselves: each has `width` fields.

        If the number of quotes is odd, one of them is a mistake, and all lines but the first must have `width` fields. Otherwise the
        last line is not checked, and a row that has as many fields as the header must have five lines to be regarded as several rows.
        """
        first = lines[0].count(self.delimiter) + 1
        if width == 1 or first < width:
            return False
        if sum(line.count('"') for line in lines) % 2:
            return self._are_rows(lines[1:], width)
        if first > width or len(lines) == 2 or (fields == width and len(lines) < _FEWEST_LINES):
            return False
        return self._are_rows(lines[1:-1], width)

    def _are_rows(self, lines: list[str], width: int) -> bool:
        return all(len(row) == width for row in self.parse(lines, strict=False))


class Csv(Source):
    """Source that reads delimited text; the fields below are its options."""

    suffixes: ClassVar[tuple[str, ...]] = (".csv", ".tsv", ".tab")
    general: ClassVar[bool] = True
    path: str
    """The file, or a pattern such as `data/*.csv`."""
    delimiter: str = Field(default="auto", min_length=1)
    """What separates fields: one character or several, or `tab`; auto detects comma, tab, semicolon and vertical bar, and longer ones such
    as `||` and `::` if nearly all lines have them."""
    encoding: str = "auto"
    """The text encoding, such as gb18030; auto detects UTF-8, UTF-16, GB18030 and other common encodings."""
    quotes: bool | Literal["auto"] = "auto"
    """Whether double quotes can enclose a field; auto means yes, except in tab-separated text with unpaired quotes."""
    header: int = Field(default=1, ge=0)
    """Number of the row with the column names, counted from 1 without blank lines; the rows above it, such as a title, are not read.
    With 0 there is none, and columns are named column_1, column_2 and so on."""

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Return whether nearly all of the first lines have the same number of fields, two or more, and are no sentences."""
        lines = _files.head_lines(path)
        if next((line.lstrip() for line in lines if line.strip()), "").startswith("{"):
            return False  # JSON lines have commas too
        try:
            counts = _counts(lines, _delimiter(lines)) if lines else []
        except csv.Error:
            return False
        if counts and path.suffix.lower() not in cls.suffixes and _sentences.contain(lines, _delimiter(lines)):
            return False
        return len(counts) > 1 and counts[0] > 1 and counts.count(counts[0]) >= _EQUAL_LINES * len(counts)

    def read(self) -> pl.DataFrame:
        """Return all rows of all files; raise NotFound for a missing file, DataError for a file that is not delimited text."""
        return _table.stacked([self._file(path) for path in _files.find(self.path)])

    def detect(self) -> tuple[Self, tuple[str, ...]]:
        """Return a copy with the number of the row with the column names, if this is not the first one; 0 if that contains values.

        The sentences name this row, and the encoding if it was guessed.
        """
        path = _files.find(self.path)[0]
        text = _decode.text(path, self.encoding, "CSV file")
        found, note = (self, None) if "header" in self.model_fields_set else self._header_of(text)
        return found, tuple(filter(None, [text.note(self.encoding), note]))

    def _header_of(self, text: _decode.Text) -> tuple[Self, str | None]:
        """Return a copy with the number of the row with the column names of a file, and a sentence about it if it is not the first."""
        with text.open(newline="") as file:
            rows = list(islice((row for row, error in self._dialect(text).records(file) if row and not error), _HEADER_ROWS))
        found = _header.row_of_names([[cell.strip() for cell in row] for row in rows])
        # a title fills one field; lines with more fields than one may be damaged
        if found == 0 or (found and any(sum(map(bool, row)) > 1 for row in rows[:found])):
            return self, None
        if found is not None:
            return self.model_copy(update={"header": found + 1}), (
                f"The names of the columns are in row {found + 1} of {text.path.name}; the rows above it are not read."
            )
        names = ", ".join(f"column_{place}" for place in range(1, min(4, len(rows[0]) + 1)))
        return self.model_copy(update={"header": 0}), (
            f"The first line of {text.path.name} seems to contain values, not the names of the columns; the columns are called {names}."
        )

    def fingerprint(self) -> str:
        """Return a hash of the paths and contents of all files that `read` reads."""
        return _files.fingerprint(_files.find(self.path))

    def separator(self) -> str:
        """Return the delimiter of the first file."""
        return self._dialect(_decode.text(_files.find(self.path)[0], self.encoding, "CSV file")).delimiter

    @classmethod
    def sample(cls, folder: Path) -> Self:
        """Write a CSV file with three labelled texts and return the source that reads it."""
        path = folder / "rows.csv"
        path.write_text("text,label\n" + "".join(f'"{text}",{label}\n' for text, label in _table.SAMPLE), encoding="utf-8")
        return cls(path=str(path))

    def _file(self, path: Path) -> pl.DataFrame:
        text = _decode.text(path, self.encoding, "CSV file")
        limit = csv.field_size_limit(_FIELD_BYTES)
        try:
            return self._table(text, self._dialect(text))
        finally:
            csv.field_size_limit(limit)

    def _dialect(self, text: _decode.Text) -> _Dialect:
        with text.open(newline="") as file:
            sample = file.read(_SAMPLE_CHARACTERS)
        lines = list(io.StringIO(sample, newline=""))
        if len(sample) == _SAMPLE_CHARACTERS and len(lines) > 1:
            lines = lines[:-1]  # the sample ends in the middle of this line
        marked = _SEPARATOR.fullmatch(lines[0]) if lines else None
        lines = lines[1:] if marked else lines
        if self.delimiter == "auto":
            delimiter = marked[1] if marked and any(marked[1] in line for line in lines) else _delimiter(lines)
        else:
            delimiter = {"tab": "\t", "\\t": "\t"}.get(self.delimiter, self.delimiter)
        if set(delimiter) & set('"\r\n'):
            raise ConfigError(
                f"The option 'delimiter' is {self.delimiter!r}; expected characters other than quotes and line ends, or tab. "
                "Write for example delimiter: ';'."
            )
        quotes = (delimiter != "\t" or _pairs(lines)) if self.quotes == "auto" else self.quotes
        return _Dialect(delimiter, csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE)

    def _table(self, text: _decode.Text, dialect: _Dialect) -> pl.DataFrame:
        names = self._names(text, dialect)
        frames: list[pl.DataFrame] = []
        errors: list[str | None] = []
        with text.open(newline="") as file:
            records = dialect.records(file, len(names))
            for chunk in _chunks(records, _RowCheck(text, len(names), dialect.delimiter), self.header):
                table = [pl.Series(name, column, dtype=pl.String) for name, column in zip(names, chunk.columns(), strict=True)]
                frames.append(_table.marked(pl.DataFrame(table), str(text.path), chunk.errors, len(errors) + 1))
                errors += chunk.errors
        if not frames:
            raise NoRows(f"{text.path} has a header ({', '.join(names)}), but no rows. Check how the file was written.")
        text.refuse_mixed(errors)
        return pl.concat(frames)

    def _names(self, text: _decode.Text, dialect: _Dialect) -> list[str]:
        with text.open(newline="") as file:
            filled = (record for record in dialect.records(file) if any(record))
            first, error = next(islice(filled, max(0, self.header - 1), None), ([], None))
        if error:
            raise DataError(f"{text.path} is not a CSV file: its header can't be read ({error}). Check its quotes and delimiter.")
        if not first:
            lacks = "is empty" if self.header < 2 else f"has no row {self.header}"
            raise DataError(f"{text.path} {lacks}: expected a header and rows. Check how the file was written.")
        if not self.header:
            return [f"column_{place}" for place in range(1, len(first) + 1)]
        return _table.names(map(_decode.printable, first), str(text.path))


@dataclass(frozen=True, slots=True)
class _RowCheck:
    """Checks whether a row of the file `text` has as many fields as the header, that is, `width` fields."""

    text: _decode.Text
    width: int
    delimiter: str

    def count(self, row: list[str]) -> str | None:
        """Return the reason why a row with another number of fields than the header can't be used; None if it can be used.

        A row that is longer than the header can be used if all additional fields are empty.
        """
        if len(row) > self.width and not any(row[self.width :]):
            return None
        fields = f"has {len(row)} field{'' if len(row) == 1 else 's'} where the header has {self.width}"
        if len(row) < self.width:
            return f"{fields}: some are missing, or the line was broken inside of a field; complete the row"
        return f"{fields}: put double quotes around fields that contain {self.delimiter!r} or a line end"


@dataclass(slots=True)
class _Chunk:
    """Consecutive rows of a file, with an error message or None for each row.

    Every row has as many values as the header: shorter rows are padded, and longer rows are cut.
    """

    rows: list[list[str]]
    errors: list[str | None]

    def add(self, row: list[str], check: _RowCheck) -> None:
        """Add a row, with an error if it has a wrong number of fields or contains bytes that are invalid in the encoding."""
        error = None
        if len(row) != check.width:
            error = check.count(row)
            row = [*row, *[""] * check.width][: check.width]
        if not check.text.is_valid:
            flaw = next(filter(None, map(check.text.flaw, row)), None)
            error = error or flaw
            row = [_decode.printable(value) for value in row]
        self.rows.append(row)
        self.errors.append(error)

    def broken(self, error: str, check: _RowCheck) -> None:
        """Add an empty row with this error, for lines that can't be parsed."""
        self.rows.append([""] * check.width)
        self.errors.append(error)

    def columns(self) -> Iterator[tuple[str, ...]]:
        """Yield, for each column, a tuple of its values in all rows."""
        return zip(*self.rows, strict=True)


def _chunks(records: Iterable[_Record], check: _RowCheck, header: int) -> Iterator[_Chunk]:
    """Yield the rows of a file in chunks of up to 50,000 rows; blank lines and the first `header` other rows are skipped.

    Lines that can't be read become an empty row with an error.
    """
    chunk, above = _Chunk([], []), header
    for row, error in records:
        if error is not None:
            chunk.broken(error, check)
        elif above and row:
            above -= 1
        elif row:
            chunk.add(row, check)
        if len(chunk.rows) == _CHUNK_ROWS:
            yield chunk
            chunk = _Chunk([], [])
    if chunk.rows:
        yield chunk


def _quote_error(error: csv.Error, lines: int) -> str:
    """Return what is wrong with a quote: it is never closed, or closed in the middle of a field, `lines` - 1 lines after it was opened."""
    if "end of data" in str(error):
        return f"a quote that is opened here is never closed; {_ADVICE}"
    where = "" if lines == 1 else f" only {lines - 1} lines later, and there" if lines > 2 else " only in the next line, and there"
    return f"a quote that is opened here is closed{where} in the middle of a field ({error}); {_ADVICE}"


def _delimiter(lines: list[str]) -> str:
    """Guess the delimiter: comma, tab, semicolon, vertical bar, or one of several characters that is in nearly all lines.

    Of the single characters, returns the one that gives the largest fraction of lines with as many fields as the first line. If several
    are equally good, the one that gives more fields is returned. If the first line contains none of them, as a title does, the most
    frequent number of fields counts instead, if most lines have it; else the comma is returned. A character that only the first line
    contains belongs to a name.
    """
    longest = max(filter(lambda candidate: _divides(lines, candidate), _LONG_DELIMITERS), key=len, default=None)
    if longest is not None:
        return longest
    counted = {candidate: _counts(lines, candidate) for candidate in _DELIMITERS}
    by_candidate = {name: counts for name, counts in counted.items() if counts and (len(counts) == 1 or max(counts[1:]) > 1)}
    wanted = {candidate: counts[0] for candidate, counts in by_candidate.items()}
    least = 0.0
    if all(width < 2 for width in wanted.values()):
        wanted = {candidate: Counter(counts).most_common(1)[0][0] for candidate, counts in by_candidate.items()}
        least = _MOST_LINES
    scores = {
        candidate: (round(counts.count(width) / len(counts), 2), width)
        for candidate, counts in by_candidate.items()
        if (width := wanted[candidate]) > 1 and counts.count(width) > least * len(counts)
    }
    return max(scores, key=lambda candidate: scores[candidate], default=",")


def _divides(lines: list[str], delimiter: str) -> bool:
    """Return whether the first line and nearly all others have the same number of fields, two or more, if divided at `delimiter`.

    The first line counts because `a||b` is also a row of three columns with an empty one, whose header then has all names.
    """
    if not any(delimiter in line for line in lines):
        return False
    rows = [row for row in _Dialect(delimiter, csv.QUOTE_MINIMAL).parse(lines, strict=False) if row]
    width, number = Counter(map(len, rows)).most_common(1)[0]
    return len(rows[0]) == width > 1 and number >= _EQUAL_LINES * len(rows)


def _counts(lines: list[str], delimiter: str) -> list[int]:
    """Return the number of fields of each line that is not blank, if lines are divided at `delimiter`."""
    return [len(row) for row in _Dialect(delimiter, csv.QUOTE_MINIMAL).parse(lines, strict=False) if row]


def _pairs(lines: list[str]) -> bool:
    """Return whether double quotes in these tab-separated lines always enclose a whole field; if not, they are ordinary characters."""
    try:
        for _ in csv.reader(lines, delimiter="\t", strict=True):
            pass
    except csv.Error:
        return False
    return True
