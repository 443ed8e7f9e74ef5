"""Reads the JSON values of a file: lines, one array, or objects on several lines; one that can't be read has an error.

Independent of their meaning.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, TextIO

from vertune.core.errors import DataError
from vertune.sources import _decode

_BLANKS, _COMMA, _END = re.compile(r"\s*"), re.compile(r"\s*,\s*"), re.compile(r"\s*\]\s*\Z")
_BETWEEN = re.compile(r"\s*,?\s*")
"""What may stand between two objects that are not in an array."""
_CONSTANT = re.compile("NaN|Infinity")
_LONGEST_ESCAPE = len("\\u0000")
_Value = tuple[Any, str | None]


def values(text: _decode.Text) -> Iterator[_Value]:
    """Yield a pair for each JSON value of the file: (value, None), or (None, error message) if the value can't be used.

    The values are the lines that are not blank; or, if the file begins with `[`, the values of this array. If its first line is an array,
    and another one follows, each line is a value. An object may also extend over several lines, and others may follow it.
    """
    parser = _Parser()
    with text.open() as file:
        start = file.read(1)
        while start.isspace():
            start = file.read(1)
        file.seek(0)
        if start == "[" and not _lists_on_lines(file):
            yield from _array(parser, text, file.read())
            return
        if start == "{" and (found := _spread(parser, text, file)):
            yield from found
            return
        for number, line in enumerate(file, 1):
            if line.strip():
                yield _parsed(parser, text, line, f"line {number}")


class _Parser:
    """Parses JSON values, and notices a name that occurs twice in an object, of which a parser keeps the last value without a word."""

    def __init__(self) -> None:
        self.decoder = json.JSONDecoder(object_pairs_hook=self._object)
        self._strict = json.JSONDecoder(object_pairs_hook=self._object, parse_constant=_refused)
        self.twice = ""
        """What is wrong with the last value; empty if it has no name twice."""

    def parse(self, written: str) -> Any:
        """Return the value; raise ValueError for what is no JSON."""
        self.twice = ""
        return self._strict.decode(written)

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            self.twice = f"has the name '{next(name for name in names if names.count(name) > 1)[:80]}' twice in one object"
        return found


def _lists_on_lines(file: TextIO) -> bool:
    """Return whether the first two lines that are not blank are an array each; go back to the start of the file."""
    lines = list(islice((line for line in file if line.strip()), 2))
    file.seek(0)
    if len(lines) < 2 or not lines[1].lstrip().startswith("["):
        return False
    try:
        return isinstance(json.loads(lines[0]), list)
    except (ValueError, RecursionError):
        return False


def _spread(parser: _Parser, text: _decode.Text, file: TextIO) -> list[_Value]:
    """Return the values of a file whose first object extends over several lines; empty for another file, back at its start."""
    content, place = "", 0
    found: list[_Value] = []
    try:
        json.loads(next(line for line in file if line.strip()))
    except (ValueError, RecursionError):
        file.seek(0)
        content = file.read()
    with suppress(ValueError, RecursionError):
        while (start := _next(_BETWEEN, content, place)) < len(content):
            _, place = parser.decoder.raw_decode(content, start)
            found.append(_parsed(parser, text, content[start:place], "the value"))
    file.seek(0)
    # a line that is damaged must not cost the lines after it
    return found if "\n" in content[:place].strip() and place == len(content.rstrip()) else []


def _parsed(parser: _Parser, text: _decode.Text, written: str, where: str) -> _Value:
    """Parse one JSON value; return (value, None), or (None, error message), which names it by `where`, if it can't be used."""
    flaw = text.flaw(written)
    if flaw:
        return None, flaw
    try:
        return _checked(parser.parse(written), written, parser.twice)
    except json.JSONDecodeError as error:
        return None, f"{where} is not JSON: {error.msg} at character {error.pos + 1}"
    except (ValueError, RecursionError) as error:
        return None, f"{where} is not JSON: {error}"


def _array(parser: _Parser, text: _decode.Text, content: str) -> Iterator[_Value]:
    """Yield a pair for each value of a JSON array: (value, None), or (None, error message) if the value can't be used.

    `content` is the text of the array. If it ends in the middle of a value, as a file does that was not copied completely, that value has
    an error. Raises DataError if the array can't be parsed for another reason.
    """
    before, place = _BLANKS, content.index("[") + 1
    while not _END.match(content, place):
        try:
            start, parser.twice = _next(before, content, place), ""
            value, place = parser.decoder.raw_decode(content, start)
        except (ValueError, RecursionError) as error:
            if not _is_cut(content, error):
                raise DataError(
                    f"{text.path} begins like a JSON array, but can't be parsed: {error}. "
                    "Write one object in each line, or repair the array."
                ) from error
            yield None, f"the file ends in the middle of this value or before it, so it was not written or copied completely: {error}"
            return
        written, before = content[start:place], _COMMA
        strictly = _CONSTANT.search(written) or not text.is_valid
        yield _parsed(parser, text, written, "the value") if strictly else _checked(value, written, parser.twice)


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


def _checked(value: Any, written: str, twice: str) -> _Value:
    """Return (value, None); or (None, error message) if a text in the value contains a lone surrogate, which is invalid Unicode.

    `written` is the JSON text of the value, and `twice` what is wrong with its names.
    """
    if twice:
        return None, twice
    if "\\ud" in written.lower():
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            return None, "contains half a character (a lone surrogate such as \\ud800)"
    return value, None


def _refused(name: str) -> Any:
    """Raise ValueError for NaN and Infinity, which the JSON parser of Python accepts, although JSON does not define them."""
    raise ValueError(f"{name} is not a JSON value; write null or a number instead")
