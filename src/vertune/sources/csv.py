"""Tables in delimited text, such as CSV and TSV; delimiter and encoding are detected.

All values are read as texts; the task converts them later. A line that can't be read becomes a row with an error.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import polars as pl
from pydantic import Field

from vertune.core.errors import ConfigError, DataError
from vertune.core.kinds import Source
from vertune.sources import _decode, _files, _table

_DELIMITERS = ",\t;|"
_SAMPLE_CHARACTERS = 1 << 16
_CHUNK_ROWS = 50_000
_FIELD_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class _Dialect:
    """The delimiter and the quoting rule of a file."""

    delimiter: str
    quoting: Literal[0, 3]
    """`csv.QUOTE_MINIMAL` or `csv.QUOTE_NONE`."""

    def parse(self, lines: Iterable[str]) -> Iterator[list[str]]:
        """Yield the fields of each row; raise csv.Error if a quoted field is not closed correctly."""
        return csv.reader(lines, delimiter=self.delimiter, quoting=self.quoting, strict=True)


class Csv(Source):
    """Source that reads delimited text; the fields below are its options."""

    suffixes: ClassVar[tuple[str, ...]] = (".csv", ".tsv", ".tab")
    path: str
    """The file, or a pattern such as `data/*.csv`."""
    delimiter: str = Field(default="auto", min_length=1)
    """The character between fields, or `tab`; auto detects comma, tab, semicolon or vertical bar."""
    encoding: str = "auto"
    """The text encoding, such as gb18030; auto detects UTF-8, UTF-16, GB18030 and other common encodings."""
    quotes: bool | Literal["auto"] = "auto"
    """Whether double quotes can enclose a field; auto means yes, except in tab-separated text with unpaired quotes."""
    header: bool = True
    """Whether the first line contains the column names; otherwise columns are named column_1, column_2 and so on."""

    def read(self) -> pl.DataFrame:
        """Return all rows of all files; raise NotFound for a missing file, DataError for a file that is not delimited text."""
        return _table.stacked([self._file(path) for path in _files.find(self.path)])

    def fingerprint(self) -> str:
        """Return a hash of the paths and contents of all files that `read` reads."""
        return _files.fingerprint(_files.find(self.path))

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
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path} ends in the middle of a character: the file is incomplete, or its encoding is not {text.encoding.upper()}. "
                "Copy the file again, or name its encoding with the option 'encoding'."
            ) from error
        finally:
            csv.field_size_limit(limit)

    def _dialect(self, text: _decode.Text) -> _Dialect:
        with text.open(newline="") as file:
            sample = file.read(_SAMPLE_CHARACTERS)
        lines = sample.splitlines(keepends=True)
        if len(sample) == _SAMPLE_CHARACTERS and len(lines) > 1:
            lines = lines[:-1]  # the sample ends in the middle of this line
        delimiter = _delimiter(lines) if self.delimiter == "auto" else {"tab": "\t", "\\t": "\t"}.get(self.delimiter, self.delimiter)
        if len(delimiter) != 1:
            raise ConfigError(
                f"The option 'delimiter' is '{self.delimiter}'; expected one character, or tab. Write for example delimiter: ';'."
            )
        quotes = (delimiter != "\t" or _pairs(lines)) if self.quotes == "auto" else self.quotes
        return _Dialect(delimiter, csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE)

    def _table(self, text: _decode.Text, dialect: _Dialect) -> pl.DataFrame:
        names = self._names(text, dialect)
        frames: list[pl.DataFrame] = []
        flawed, first = 0, 1
        with text.open(newline="") as file:
            for chunk in _chunks(dialect.parse(file), _RowCheck(text, len(names), dialect.delimiter), self.header):
                flawed += chunk.flawed
                table = [pl.Series(name, column, dtype=pl.String) for name, column in zip(names, chunk.columns(), strict=True)]
                frames.append(_table.marked(pl.DataFrame(table), str(text.path), chunk.errors, first))
                first += len(chunk.rows)
        if not frames:
            raise DataError(f"{text.path} has a header ({', '.join(names)}), but no rows. Check how the file was written.")
        text.refuse_mixed(flawed, first - 1)
        return pl.concat(frames)

    def _names(self, text: _decode.Text, dialect: _Dialect) -> list[str]:
        try:
            with text.open(newline="") as file:
                first = next((row for row in dialect.parse(file) if row), None)
        except csv.Error as error:
            raise DataError(
                f"{text.path} is not a CSV file: its first line can't be read ({error}). Check its quotes and delimiter."
            ) from error
        if first is None:
            raise DataError(f"{text.path} is empty: expected a header and rows. Check how the file was written.")
        if not self.header:
            return [f"column_{place}" for place in range(1, len(first) + 1)]
        names = [_decode.printable(name).strip() or f"column_{place}" for place, name in enumerate(first, 1)]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise DataError(f"The header of {text.path} names '{repeated[0]}' more than once. Rename one of the columns.")
        return names


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
        return (
            f"has {len(row)} fields where the header has {self.width}: put quotes around fields that hold {self.delimiter!r} or a line end"
        )


@dataclass(slots=True)
class _Chunk:
    """Consecutive rows of a file, with an error message or None for each row.

    Every row has as many values as the header: shorter rows are padded, and longer rows are cut.
    """

    rows: list[list[str]]
    errors: list[str | None]
    flawed: int = 0
    """Number of rows that contain invalid bytes."""

    def add(self, row: list[str], check: _RowCheck) -> None:
        """Add a row, with an error if it has a wrong number of fields or contains bytes that are invalid in the encoding."""
        error = None
        if len(row) != check.width:
            error = check.count(row)
            row = [*row, *[""] * check.width][: check.width]
        if not check.text.is_valid:
            flaw = next(filter(None, map(check.text.flaw, row)), None)
            self.flawed += flaw is not None
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


def _chunks(reader: Any, check: _RowCheck, header: bool) -> Iterator[_Chunk]:
    """Yield the rows of a file in chunks of up to 50,000 rows; blank lines and, if `header` is true, the header are skipped.

    `reader` is the iterator that `csv.reader` returns. Lines that can't be parsed become an empty row with an error.
    """
    chunk, at_header, before = _Chunk([], []), header, 0
    while True:
        before = reader.line_num
        try:
            row = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            lines = f"line {before + 1}" if reader.line_num == before + 1 else f"lines {before + 1} to {reader.line_num}"
            chunk.broken(f"{lines}: {error}: a quoted field is not closed correctly; write each quote inside a field twice", check)
            continue
        if at_header and row:
            at_header = False
        elif row:
            chunk.add(row, check)
        if len(chunk.rows) == _CHUNK_ROWS:
            yield chunk
            chunk = _Chunk([], [])
    if chunk.rows:
        yield chunk


def _delimiter(lines: list[str]) -> str:
    """Guess the delimiter: comma, tab, semicolon or vertical bar.

    Returns the one that gives the largest fraction of lines with as many fields as the first line. If several are equally good, the one
    that gives more fields is returned. If the first line contains none of them, the comma is returned.
    """
    best, chosen = (0.0, 0), ","
    for candidate in _DELIMITERS:
        counts = _counts(lines, candidate)
        if counts and counts[0] > 1:
            score = (round(counts.count(counts[0]) / len(counts), 2), counts[0])
            if score > best:
                best, chosen = score, candidate
    return chosen


def _counts(lines: list[str], delimiter: str) -> list[int]:
    """Return the number of fields of each line that is not blank, if lines are divided at `delimiter`."""
    reader = csv.reader(lines, delimiter=delimiter)
    return [len(row) for row in reader if row]


def _pairs(lines: list[str]) -> bool:
    """Return whether double quotes in these tab-separated lines always enclose a whole field; if not, they are ordinary characters."""
    try:
        for _ in csv.reader(lines, delimiter="\t", strict=True):
            pass
    except csv.Error:
        return False
    return True
