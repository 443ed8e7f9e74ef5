"""JSON lines, with one JSON object per line; also reads other forms of JSON files, such as a single array of objects.

These are: an object with a list of records, such as `{"data": [{"text": …}, …]}`, or with one list for each split; what pandas writes; a
list for each column, or of the texts of each label; lists of cells; objects on several lines. Each key of an object in a record is a column
too, such as `data.text`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Self

import polars as pl

from vertune.core.errors import DataError
from vertune.core.kinds import Source
from vertune.sources import _decode, _files, _json, _layouts, _table

_KINDS = {type(None): "null", bool: "true or false", str: "a text", list: "a list"}
"""How messages name the JSON values of these Python types; all others are numbers."""


class Jsonl(Source):
    """Source that reads JSON lines; the fields below are its options."""

    suffixes: ClassVar[tuple[str, ...]] = (".jsonl", ".ndjson", ".json")
    general: ClassVar[bool] = True
    path: str
    """The file, or a pattern such as `data/*.jsonl`."""
    encoding: str = "auto"
    """The text encoding, such as gb18030; auto detects UTF-8, UTF-16, GB18030 and other common encodings."""

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Return whether the first line is a JSON object, or the content begins like an array of objects."""
        start = next((line.strip() for line in _files.head_lines(path) if line.strip()), "")
        if start.startswith("["):
            return re.match(r"\s*\[\s*\{", "".join(_files.head_lines(path))) is not None
        try:
            return isinstance(json.loads(start), dict)
        except (ValueError, RecursionError):
            return False

    def read(self) -> pl.DataFrame:
        """Return one row per object. If an object lacks a key, the value is null; nested lists and objects keep their structure."""
        return _table.stacked([self._file(path) for path in _files.find(self.path)])

    def detect(self) -> tuple[Self, tuple[str, ...]]:
        """Return the source itself; the sentences say where the rows are, if the values are no rows, and the encoding if it was guessed."""
        text = _decode.text(_files.find(self.path)[0], self.encoding, "JSON file")
        _, note = _layouts.rows(_json.values(text))
        return self, tuple(filter(None, [text.note(self.encoding), note]))

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
            for value, error in _layouts.rows(_json.values(text))[0]:
                errors.append(error or _unusable(value))
                yield {} if errors[-1] else value

        table = _layouts.flattened(_table.columns(rows()))
        if not table:
            first = next(filter(None, errors), "they are all empty" if errors else None)
            reason = f" ({first})" if first else ""
            raise DataError(f'{path} contains no JSON objects{reason}. Write one object in each line, such as {{"text": "…"}}.')
        text.refuse_mixed(errors)
        return _table.marked(pl.DataFrame({name: _table.series(name, values) for name, values in table.items()}), str(path), errors)


def _unusable(value: Any) -> str | None:
    """Return the reason why a JSON value is not a row; None if it is an object."""
    if isinstance(value, dict):
        return None
    return f'is {_KINDS.get(type(value), "a number")}, where a JSON object such as {{"text": "…"}} is expected'
