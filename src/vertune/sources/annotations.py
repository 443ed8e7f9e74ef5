"""Exports of annotation tools: spans, choices and numbers from Label Studio, doccano, Argilla, Prodigy, spaCy, brat and the HF hub.

Each text with marked spans becomes a row with `text` and `spans`, whose offsets are in code points. Records with answers to questions
become rows with their fields, and with the answers by the names of the questions. Other single values, such as an id, are kept.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import polars as pl

from vertune.core.errors import DataError, NoRows, VertuneError
from vertune.core.kinds import Source
from vertune.sources import _answered, _decode, _files, _json, _marked, _table, conll
from vertune.sources._answered import Answered
from vertune.sources._marked import Marked
from vertune.sources.csv import Csv
from vertune.sources.parquet import Parquet

_WRAPPERS = ("annotations", "data", "examples", "documents")
"""Keys of the list of records, in files that are one JSON object."""
_HEAD_RECORDS = 50
_CSV_MARKS = (b'"start', b"[[", b'"choices', b"B-", b"S-", b"U-")
"""One of these is in every table whose cells contain spans or choices as JSON, or the tags of words."""
_Value = tuple[Any, str | None]


class Annotations(Source):
    """Source that reads exports of annotation tools; the fields below are its options."""

    path: str
    """The file, a pattern such as `data/*.jsonl`, or a folder of brat with pairs of .txt and .ann files."""
    names: tuple[str, ...] = ()
    """The tags that numbers stand for, such as `[O, B-PER, I-PER]`; without it, they are read from the file or named label_1, label_2 …"""
    encoding: str = "auto"
    """The text encoding, such as gb18030; auto detects UTF-8, UTF-16, GB18030 and other common encodings."""

    @classmethod
    def recognises(cls, path: Path) -> bool:
        """Return whether the first records are texts with marked spans, or records with answers, that other sources do not read as such."""
        if path.is_dir():
            return any(note.with_suffix(".txt").exists() for note in path.rglob("*.ann"))
        try:
            if path.suffix.lower() in Csv.suffixes and not any(mark in _files.refuse_binary(path, "CSV file") for mark in _CSV_MARKS):
                return False  # without reading a large table completely
            values = [value for value, error in itertools.islice(_values(path, "auto", _HEAD_RECORDS), _HEAD_RECORDS) if error is None]
        except (VertuneError, OSError):
            return False
        if _answered.convert_all(values):
            return True
        if len(values) == 1 and _marked.has_texts(values[0]):
            return False  # a table with a list for each column
        found = [[] if _is_native(value) else _marked.convert(value, _KNOWN) or [] for value in values]
        shown = any(one.spans for marked in found for one in marked) or (values and all(map(_marked.shows_tool, values)))
        return sum(map(bool, found)) >= 0.8 * len(values) and bool(shown)

    def read(self) -> pl.DataFrame:
        """Return one row per text with `text` and `spans`, or per answered record; if one can't be read, `__error` contains the reason."""
        frame = _table.stacked([_frame(path, list(found)) for path, found in self._texts()])
        if not frame[_table.ERROR].null_count():
            raise DataError(
                f"{self.path} contains no texts with marked spans and no answers: none of its {frame.height} records can be read, "
                f"the first because it {frame[_table.ERROR][0]}. Export the annotations again, or name the source that reads this format."
            )
        return frame

    def fingerprint(self) -> str:
        """Return a hash of the paths and contents of all files that `read` reads."""
        folder = Path(self.path).expanduser()
        notes = _notes(folder) if folder.is_dir() else []
        return _files.fingerprint([*notes, *(note.with_suffix(".txt") for note in notes)] if notes else _files.find(self.path))

    @classmethod
    def sample(cls, folder: Path) -> Self:
        """Write a file in the form of doccano with two texts and return the source that reads it."""
        rows = [{"text": "Ada Lovelace wrote", "label": [[0, 12, "PER"]]}, {"text": "in Berlin", "label": [[3, 9, "LOC"]]}]
        path = folder / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return cls(path=str(path))

    def _texts(self) -> Iterator[tuple[Path, Iterator[Marked | Answered]]]:
        """Yield each file with the texts or answered records that it contains."""
        folder = Path(self.path).expanduser()
        if folder.is_dir():
            for note in _notes(folder):
                yield note.with_suffix(".txt"), iter([_of_brat(note, self.encoding)])
            return
        for path in _files.find(self.path):
            yield path, self._of_file(path)

    def _of_file(self, path: Path) -> Iterator[Marked | Answered]:
        values = list(_values(path, self.encoding))
        answers = _answered.convert_all([value for value, _ in values])
        if answers is not None:
            reasons = (error or "is no record with answers" for _, error in values)
            yield from _answered.rows(one for found, why in zip(answers, reasons, strict=True) for one in found or [Answered(error=why)])
            return
        names = list(self.names) or _stated_names(path)
        numbered = [tags for value, _ in values if (tags := _marked.numbered_tags(value))]
        if numbered and not names:
            usual = _marked.usual_names(numbered)
            if usual is None:
                raise DataError(
                    f"The tags of {path} are numbers without names, and 0 is not the most frequent of them. "
                    "Name them in their order with the option 'names', such as [O, B-PER, I-PER]."
                )
            names = usual
        for value, error in values:
            if error is not None:
                yield Marked(None, None, error)
                continue
            found = _marked.convert(value, names)
            yield from found or [Marked(None, None, f"is no text with marked spans: {value!r:.80}")]


def _frame(path: Path, found: list[Marked | Answered]) -> pl.DataFrame:
    if not found:
        raise NoRows(f"{path} contains no records. Check how it was exported.")
    marked = [one for one in found if isinstance(one, Marked)]
    columns: dict[str, pl.Series] = {}
    if marked:
        columns["text"] = pl.Series([one.text for one in marked], dtype=pl.String)
        columns["spans"] = pl.Series([one.spans for one in marked], dtype=conll.SPANS)
    others = _table.columns(one.others if isinstance(one, Marked) else one.values for one in found)
    columns |= {name: _table.series(name, values) for name, values in others.items()}
    return _table.marked(pl.DataFrame(columns), str(path), [one.error for one in found])


_KNOWN = [f"I-{number}" for number in range(10_000)]
"""Names for the numbers of tags while a file is recognised, when it does not matter which names they have."""


def _values(path: Path, encoding: str, limit: int | None = None) -> Iterator[_Value]:
    """Yield the records of a file, as `_json.values` does: of JSON, of delimited text, or of Parquet; at least `limit`, if set."""
    ending = path.suffix.lower()
    if ending in Parquet.suffixes or ending in Csv.suffixes:
        source = Parquet(path=str(path)) if ending in Parquet.suffixes else Csv(path=str(path), encoding=encoding)
        frame = source.read().lazy().slice(0, limit).collect()
        errors = frame[_table.ERROR].to_list()
        yield from zip(frame.drop(_table.FILE, _table.ROW, _table.ERROR).to_dicts(), errors, strict=True)
        return
    text = _decode.text(path, encoding, "JSON file")
    wrapped = _wrapped(text)
    if wrapped is None:
        yield from _json.values(text)
    else:
        yield from ((value, None) for value in wrapped)


def _wrapped(text: _decode.Text) -> list[Any] | None:
    """Return the records of a file that is one JSON object on several lines, or one object with a list of records; None for others."""
    with text.open() as file:
        first = file.readline()
        if not first.lstrip().startswith("{"):
            return None
        try:
            value = json.loads(first)
            if file.readline().strip():
                return None
        except (ValueError, RecursionError):
            try:
                value = json.loads(first + file.read())
            except (ValueError, RecursionError):
                return None
    if not isinstance(value, dict):
        return None
    lists = [value[key] for key in _WRAPPERS if isinstance(value.get(key), list) and not isinstance(value.get("text"), str)]
    return lists[0] if lists else [value]


def _is_native(value: Any) -> bool:
    """Return whether a record already has the form of rows: `spans` with start, end and label."""
    is_plain = isinstance(value, dict) and isinstance(value.get("text"), str) and "answer" not in value
    spans = value.get("spans") if is_plain else None
    return isinstance(spans, list) and all(isinstance(one, dict) and {"start", "end", "label"} <= set(one) for one in spans)


def _stated_names(path: Path) -> list[str]:
    """Return the names of numbered tags that a Parquet file of the Hugging Face hub states; empty if it states none."""
    if path.suffix.lower() not in Parquet.suffixes:
        return []
    try:
        features = json.loads(pl.read_parquet_metadata(path)["huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return []
    inner = [feature.get("feature", feature) for feature in features.values() if isinstance(feature, dict)]
    return next((one["names"] for one in inner if isinstance(one, dict) and isinstance(one.get("names"), list)), [])


def _notes(folder: Path) -> list[Path]:
    """Return the .ann files of a folder of brat that have a .txt file, sorted; raise DataError if there is none."""
    found = sorted(note for note in folder.rglob("*.ann") if note.with_suffix(".txt").exists())
    if not found:
        raise DataError(f"{folder} contains no pair of an .ann and a .txt file, as brat writes them. Name a folder with both, or a file.")
    return found


def _of_brat(note: Path, encoding: str) -> Marked:
    """Return the text and the spans of a pair of files: each line `T1<tab>PER 0 3<tab>Ada` of `note` is a span."""
    file = note.with_suffix(".txt")
    others = {"document": file.name}
    texts = []
    for path in (file, note):
        if path.stat().st_size == 0:
            texts.append("")
            continue
        source = _decode.text(path, encoding, "text file")
        with source.open(newline="") as opened:
            texts.append(opened.read())
        flaw = source.flaw(texts[-1])
        if flaw:
            return Marked(None, None, flaw, others)
    items = []
    for line in texts[1].replace("\r", "").split("\n"):
        if not line.startswith("T"):
            continue  # relations, events, attributes and notes are no spans
        name, _, rest = line.partition("\t")
        place, _, surface = rest.partition("\t")
        fields = place.split()
        if len(fields) != 3 or not (fields[1].isdigit() and fields[2].isdigit()):
            return Marked(texts[0], None, f"has the span {name} ('{place}'), where one label, start and end are expected", others)
        # a marked text with a line end is written with a blank instead
        stated = {"text": surface} if "\n" not in texts[0][int(fields[1]) : int(fields[2])] else {}
        items.append({"start": int(fields[1]), "end": int(fields[2]), "label": fields[0], **stated})
    return _marked.placed(texts[0], items, others)
