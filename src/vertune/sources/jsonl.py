"""JSON lines, with one JSON object per line; also reads a file that is a single array of objects."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Self

import polars as pl

from vertune.core.errors import DataError
from vertune.core.kinds import Source
from vertune.sources import _decode, _files, _table

_BLANKS, _COMMA, _END = re.compile(r"\s*"), re.compile(r"\s*,\s*"), re.compile(r"\s*\]\s*\Z")
_CONSTANT = re.compile("NaN|Infinity")
_LONGEST_ESCAPE = len("\\u0000")
_KINDS = {type(None): "null", bool: "true or false", str: "a text", list: "a list"}
"""How messages name the JSON values of these Python types; all others are numbers."""
_Row = tuple[dict[str, Any], str | None]


class Jsonl(Source):
    """Source that reads JSON lines; the fields below are its options."""

    suffixes: ClassVar[tuple[str, ...]] = (".jsonl", ".ndjson", ".json")
    path: str
    """The file, or a pattern such as `data/*.jsonl`."""
    encoding: str = "auto"
    """The text encoding, such as gb18030; auto detects UTF-8, UTF-16, GB18030 and other common encodings."""

    def read(self) -> pl.DataFrame:
        """Return one row per object. If an object lacks a key, the value is null; nested lists and objects keep their structure."""
        return _table.stacked([self._file(path) for path in _files.find(self.path)])

    def fingerprint(self) -> str:
        """Return a hash of the paths and contents of all files that `read` reads."""
        return _files.fingerprint(_files.find(self.path))

    @classmethod
    def sample(cls, folder: Path) -> Self:
        """Write a JSON lines file with three labelled texts and return the source that reads it."""
        path = folder / "rows.jsonl"
        lines = [json.dumps({"text": text, "label": label}, ensure_ascii=False) + "\n" for text, label in _table.SAMPLE]
        path.write_text("".join(lines), encoding="utf-8")
        return cls(path=str(path))

    def _file(self, path: Path) -> pl.DataFrame:
        text = _decode.text(path, self.encoding, "JSON file")
        errors: list[str | None] = []

        def rows() -> Iterator[dict[str, Any]]:
            for row, error in _objects(text):
                errors.append(error)
                yield row

        table = _table.columns(rows())
        if not table:
            first = next(filter(None, errors), "they are all empty" if errors else None)
            reason = f" ({first})" if first else ""
            raise DataError(f'{path} contains no JSON objects{reason}. Write one object in each line, such as {{"text": "…"}}.')
        text.refuse_mixed(errors)
        return _table.marked(pl.DataFrame({name: _table.series(name, values) for name, values in table.items()}), str(path), errors)


def _objects(text: _decode.Text) -> Iterator[_Row]:
    """Yield a pair for each JSON value of the file: (object, None), or (empty object, error message) if the value can't be used."""
    with text.open() as file:
        start = file.read(1)
        while start.isspace():
            start = file.read(1)
        file.seek(0)
        if start == "[":
            yield from _array(text, file.read())
            return
        for number, line in enumerate(file, 1):
            if line.strip():
                yield _parsed(text, line, number)


def _parsed(text: _decode.Text, line: str, number: int | None) -> _Row:
    """Parse one line, or one value of an array; return (object, None), or (empty object, error message) if it is not a valid JSON object.

    `number` is the number of the line, for the message.
    """
    flaw = text.flaw(line)
    if flaw:
        return {}, flaw
    try:
        return _checked(json.loads(line, parse_constant=_refused), line)
    except (ValueError, RecursionError) as error:
        return {}, f"{f'line {number}' if number else 'the value'} is not JSON: {error}"


def _array(text: _decode.Text, content: str) -> Iterator[_Row]:
    """Yield a pair for each value of a JSON array: (object, None), or (empty object, error message) if the value can't be used.

    `content` is the text of the array. If it ends in the middle of a value, as a file does that was not copied completely, that value has
    an error. Raises DataError if the array can't be parsed for another reason.
    """
    decoder, before, place = json.JSONDecoder(), _BLANKS, content.index("[") + 1
    while not _END.match(content, place):
        try:
            start = _next(before, content, place)
            value, place = decoder.raw_decode(content, start)
        except (ValueError, RecursionError) as error:
            if not _is_cut(content, error):
                raise DataError(
                    f"{text.path} begins like a JSON array, but can't be parsed: {error}. "
                    "Write one object in each line, or repair the array."
                ) from error
            yield {}, f"the file ends in the middle of this value or before it, so it was not written or copied completely: {error}"
            return
        written, before = content[start:place], _COMMA
        yield _parsed(text, written, None) if _CONSTANT.search(written) or not text.is_valid else _checked(value, written)


def _next(pattern: re.Pattern[str], content: str, place: int) -> int:
    """Return where a match of the pattern that begins at `place` ends; raise JSONDecodeError if there is none."""
    found = pattern.match(content, place)
    if found is None:
        raise json.JSONDecodeError("Expecting ',' delimiter or ']'", content, place)
    return found.end()


def _is_cut(content: str, error: Exception) -> bool:
    """Return whether JSON text can't be parsed because it ends in the middle of a value."""
    if not isinstance(error, json.JSONDecodeError):
        return False
    # a string without an end begins where the error is reported; of other values, at most an escape such as "\u00e" can be cut
    return error.msg.startswith("Unterminated string") or error.pos >= len(content.rstrip()) - _LONGEST_ESCAPE


def _checked(value: Any, written: str) -> _Row:
    """Check a parsed JSON value; return (value, None), or (empty object, error message) if the value can't be used.

    The value must be an object and must not contain a lone surrogate, which is invalid Unicode. `written` is the JSON text of the value.
    """
    if not isinstance(value, dict):
        kind = _KINDS.get(type(value), "a number")
        return {}, f'is {kind}, where a JSON object such as {{"text": "…"}} is expected'
    if "\\ud" in written.lower():
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return {}, "contains half a character (a lone surrogate such as \\ud800)"
    return value, None


def _refused(name: str) -> Any:
    """Raise ValueError for NaN and Infinity, which the JSON parser of Python accepts, although JSON does not define them."""
    raise ValueError(f"{name} is not a JSON value; write null or a number instead")
