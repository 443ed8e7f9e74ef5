"""What a file seems to be, judged by its first bytes, and what to do with one that no source reads; knows no sources."""

from __future__ import annotations

import codecs
import re
import zipfile
from collections.abc import Iterable
from pathlib import Path

from vertune.core.documents import lines

BINARY = (
    (b"PK\x03\x04", "a zip or Excel file", "the source excel, if it is a workbook"),
    (b"PAR1", "a Parquet file", "the source parquet"),
    (b"\x1f\x8b", "a gzip file", "the unpacked file"),
    (b"%PDF", "a PDF file", "a table exported from it"),
    (b"SQLite format 3", "an SQLite database", "the source sql with url: sqlite:///FILE"),
    (b"\xd0\xcf\x11\xe0", "an old Excel or Office file", "the source excel, if it is a workbook"),
    (b"\x89PNG", "a picture", "a text file"),
)
"""For each binary format: how its files begin, what they are, and what to use instead where a text file is expected."""
_TABLE = "Save its records as a table (CSV, Excel or Parquet) with the names of the columns in the first row"
_UNREAD = (
    (b"\x1f\x8b", "a gzip file", "Unpack it, and name the file that it contains"),
    (b"BZh", "a bzip2 file", "Unpack it, and name the file that it contains"),
    (b"\xfd7zXZ", "an xz file", "Unpack it, and name the file that it contains"),
    (b"7z\xbc\xaf", "a 7z archive", "Unpack it, and name the file or folder with the records"),
    (b"Rar!", "a RAR archive", "Unpack it, and name the file or folder with the records"),
    (b"%PDF", "a PDF file", _TABLE),
    (b"SQLite format 3", "an SQLite database", "Name its table in a config: `source: {name: sql, url: sqlite:///FILE, query: SELECT …}`"),
    (b"ARROW1", "an Arrow (Feather) file", _TABLE),
    (b"\x89HDF", "an HDF5 file", _TABLE),
    (b"\x80\x02", "a Python pickle, which is never opened because it may run programs", _TABLE),
    (b"\x80\x03", "a Python pickle, which is never opened because it may run programs", _TABLE),
    (b"\x80\x04", "a Python pickle, which is never opened because it may run programs", _TABLE),
    (b"\x80\x05", "a Python pickle, which is never opened because it may run programs", _TABLE),
    (b"\x89PNG", "a picture", "Name a file of records"),
    (b"\xff\xd8\xff", "a picture", "Name a file of records"),
)
"""For each format that no source recognises: how its files begin, what they are, and what to do."""
_IN_ZIP = (("word/", "a Word document", _TABLE), ("ppt/", "a presentation", _TABLE))
_PAGE = re.compile(r"\s*<(!doctype\s+html|html|table|head|body|div)\b", re.IGNORECASE)
_XML = re.compile(r"\s*<(\?xml|[A-Za-z][\w:.-]*[\s>])")
MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
"""Byte order marks, and the encodings of files that begin with them."""
_WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
_HEAD_BYTES = 1 << 12
_MUCH = 1 << 16
_SHOWN = 60


def is_text(path: Path) -> bool:
    """Return whether a file seems to contain text: it has a byte order mark, or neither NUL bytes nor the start of a binary format."""
    start = head(path, _HEAD_BYTES)
    if start.startswith(tuple(mark for mark, _ in MARKS)):
        return True
    return bool(start) and 0 not in start and not start.startswith(tuple(magic for magic, *_ in (*BINARY, *_UNREAD)))


def is_of_spreadsheet(path: Path) -> bool:
    """Return whether a program for spreadsheets seems to have written a file: a workbook, or text with the mark of UTF-8 or not in UTF-8.

    Such a program reads a CSV file in UTF-8 correctly only if it begins with the mark.
    """
    start = head(path, _MUCH)
    if start.startswith((*_WORKBOOKS, MARKS[0][0])):
        return True
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return is_text(path)
    return False


def unread(path: str, sources: Iterable[str]) -> str:
    """Return the message for a file that no source reads: what it seems to be, and what to do. `sources` are the names of all sources."""
    file = Path(path).expanduser()
    if not file.is_file():
        named = f"name the data source in the config: `source: {{name: NAME, path: {path}}}`, where NAME is one of: {', '.join(sources)}."
        return (
            f"No source reads files such as '{path}': there is none, and its ending is that of no known format. Check the path, or {named}"
        )
    what, advice = _seems(file)
    return f"No source reads '{path}': it is {what}. {advice}."


def _seems(file: Path) -> tuple[str, str]:
    """Return what a file seems to be, and what to do with it."""
    start = head(file, _HEAD_BYTES)
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as opened:
            names = opened.namelist()
        found = next(((what, advice) for folder, what, advice in _IN_ZIP if any(name.startswith(folder) for name in names)), None)
        return found or ("a zip file", "Unpack it, and name the file or folder with the records")
    for magic, what, advice in _UNREAD:
        if start.startswith(magic):
            return what, advice
    if not is_text(file):
        return "a binary file of a format that is not known", _TABLE
    encoding = next((name for mark, name in MARKS if start.startswith(mark)), "utf-8")
    text = start.decode(encoding, errors="replace")
    if _PAGE.match(text):
        return "an HTML page", "Open it in a spreadsheet and save it as .xlsx or CSV"
    if _XML.match(text):
        return "XML", _TABLE
    if file.suffix.lower() in {".yaml", ".yml"}:
        return "YAML, as configs are", _TABLE
    line = " ".join(next((line for line in lines(text) if line.strip()), "").split())
    shown = line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"
    return (
        f"text without columns, and its first line is '{shown}'",
        f"{_TABLE}, such as text,label, or texts alone as .txt, one in each line",
    )


def head(path: Path, size: int) -> bytes:
    """Return the first bytes of a file, at most `size`; empty for a folder, and for a file that can't be read."""
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError:
        return b""
