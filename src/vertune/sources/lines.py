"""Text files in which each line is a text, also with labels in the form of fastText, such as `__label__card my card is lost`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, ClassVar, Self

import polars as pl

from vertune.core import documents
from vertune.core.errors import DataError
from vertune.core.file_formats import is_text
from vertune.core.kinds import Source
from vertune.sources import _decode, _files, _table

_ENDINGS = (".txt", ".text")
_MARK = "__label__"
_LABELS = re.compile(rf"\s*((?:{_MARK}\S+\s*)+)")
_LABELLED = 0.5
"""Fraction of the lines that must begin with a label in a file with labels."""
_OTHER_FORMATS = ("{", "[", "<")
"""How JSON, HTML and XML begin."""


class Lines(Source):
    """Source that reads a text from each line; the fields below are its options."""

    general: ClassVar[bool] = True
    path: str
    """The file, or a pattern such as `texts/*.txt`."""
    encoding: str = "auto"
    """The text encoding, such as gb18030; auto detects UTF-8, UTF-16, GB18030 and other common encodings."""

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Return whether it is a file of text whose ending is .txt; sources of tables are asked first."""
        if path.suffix.lower() not in _ENDINGS or not path.is_file() or not is_text(path):
            return False
        first = next((line.lstrip() for line in _files.head_lines(path) if line.strip()), "")
        return bool(first) and not first.startswith(_OTHER_FORMATS)

    def read(self) -> pl.DataFrame:
        """Return a row with `text` per line that is not blank, and with `label` if the lines begin with labels.

        A label is a list if a line has several. `__row` is the number of the line.
        """
        return _table.stacked([self._file(path) for path in _files.find(self.path)])

    def detect(self) -> tuple[Self, tuple[str, ...]]:
        """Return the source itself; the sentence names the encoding of the first file if it was guessed."""
        note = _decode.text(_files.find(self.path)[0], self.encoding, "text file").note(self.encoding)
        return self, (note,) if note else ()

    def fingerprint(self) -> str:
        """Return a hash of the paths and contents of all files that `read` reads."""
        return _files.fingerprint(_files.find(self.path))

    @classmethod
    def sample(cls, folder: Path) -> Self:
        """Write a file with three labelled texts and return the source that reads it."""
        path = folder / "rows.txt"
        path.write_text("".join(f"{_MARK}{label} {text}\n" for text, label in _table.SAMPLE), encoding="utf-8")
        return cls(path=str(path))

    def _file(self, path: Path) -> pl.DataFrame:
        source = _decode.text(path, self.encoding, "text file")
        with source.open() as opened:
            lines = documents.lines(opened.read())
        errors = [source.flaw(line) for line in lines]
        source.refuse_mixed(errors)
        columns: dict[str, list[Any]] = {"text": [_decode.printable(line).strip() for line in lines]}
        found = [_LABELS.match(line) for line in columns["text"]]
        if sum(map(bool, found)) >= _LABELLED * sum(map(bool, columns["text"])):
            labels = [match[1].replace(_MARK, " ").split() if match else None for match in found]
            several = any(one and len(one) > 1 for one in labels)
            columns["label"] = labels if several else [one[0] if one else None for one in labels]
            columns["text"] = [line[match.end() :] if match else line for line, match in zip(columns["text"], found, strict=True)]
        frame = pl.DataFrame({name: _table.series(name, values) for name, values in columns.items()})
        is_blank = pl.Series([not line.strip() for line in lines])
        frame = _table.marked(frame, str(path), errors).filter(~is_blank)
        if frame.is_empty():
            raise DataError(f"{path} contains only blank lines, but a text is expected in each line. Check how the file was written.")
        return frame
