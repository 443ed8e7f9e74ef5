"""Token sequences of texts, cut as in training; knows nothing of what is answered."""

# Written into a portable bundle by exports/onnx.py.

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import parts
from tokenizers import Tokenizer

Record = dict[str, Any]
_records = parts.load("vertune.core.records")
Feature = _records.Feature


class Texts:
    """The tokenizer, and the settings by which the model's encoder cut texts."""

    def __init__(self, file: Path, settings: Record) -> None:
        self.settings = settings
        self.tokenizer = Tokenizer.from_file(str(file))
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()

    def arrays(self, feature: Feature) -> dict[str, np.ndarray]:
        """One sequence as the inputs of the graph; alone, so that nothing is padded."""
        ids, types = (part.astype(np.int64)[None] for part in feature.payload)
        return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": types}

    def encode(self, records: list[Record], views: list[Record]) -> list[Feature]:
        """The sequences of all records, in order of records, then views, then windows."""
        return [feature for row, record in enumerate(records) for view in views for feature in self._view(row, record, view)]

    def _view(self, row: int, record: Record, view: Record) -> list[Feature]:
        """The sequences of one view of a record; none where the record lacks its first field."""
        if not record.get(view["fields"][0]):
            return []
        pieces = []
        for name in (name for name in view["fields"] if record.get(name)):
            encoding = self.tokenizer.encode(record[name], add_special_tokens=False)
            pieces.append((np.array(encoding.ids, np.int32), np.array(encoding.offsets, np.int32).reshape(-1, 2)))
        template = self.settings["templates"][str(len(pieces))]
        room = self.settings["max_tokens"] - sum(len(template[name]) for name in ("before", "between", "after"))
        lengths = [len(ids) for ids, _ in pieces]
        if sum(lengths) <= room:
            return [_feature((row, view["role"], 0, 0), pieces, template)]
        cut = view["cut"] if view["cut"] is not None and view["cut"] < len(pieces) else int(np.argmax(lengths))
        others = sum(lengths) - lengths[cut]
        if others > room // 2:
            pieces = [
                _take(piece, _kept(len(piece[0]), max(1, room // 2), "head")) if place != cut else piece
                for place, piece in enumerate(pieces)
            ]
            others = sum(len(ids) for place, (ids, _) in enumerate(pieces) if place != cut)
        room = max(1, room - others)
        how = self.settings["truncation"]
        if how == "window" and view["windows"]:
            lost = sum(lengths) - lengths[cut] - others
            stretches = _windows(lengths[cut], room, self.settings["stride"])
        else:
            stretches = [_kept(lengths[cut], room, "head" if how == "window" else how)]
            lost = sum(lengths) - others - len(stretches[0])
        return [
            _feature((row, view["role"], lost, number), [_take(p, stretch) if i == cut else p for i, p in enumerate(pieces)], template)
            for number, stretch in enumerate(stretches)
        ]


def _feature(about: tuple, pieces: list, template: Record) -> Feature:
    """Put special tokens around the pieces."""
    ids, segments, offsets, types = [], [], [], []

    def add(tokens, places, kinds, segment):
        ids.append(np.asarray(tokens, np.int32))
        offsets.append(np.asarray(places, np.int32).reshape(-1, 2))
        types.append(np.asarray(kinds, np.int8))
        segments.append(np.full(len(tokens), segment, np.int8))

    def special(pairs):
        add([token for token, _ in pairs], np.zeros((len(pairs), 2)), [kind for _, kind in pairs], -1)

    special(template["before"])
    for place, (tokens, places) in enumerate(pieces):
        if place:
            special(template["between"])
        add(tokens, places, np.full(len(tokens), template["types"][place]), place)
    special(template["after"])
    row, role, lost, window = about
    ids, segments, offsets, types = (np.concatenate(part) for part in (ids, segments, offsets, types))
    return Feature(row, role, len(ids), (ids, types), _records.Places(segments, offsets), lost, window)


def _take(piece, index):
    return piece[0][index], piece[1][index]


def _kept(length, room, how):
    """Which tokens stay of a longer text."""
    if length <= room:
        return np.arange(length)
    if how == "head":
        return np.arange(room)
    if how == "tail":
        return np.arange(length - room, length)
    return np.concatenate([np.arange(room - room // 2), np.arange(length - room // 2, length)])


def _windows(length, room, stride):
    """Overlapping stretches that cover all tokens."""
    step = max(1, int(room * (1 - stride)))
    return [np.arange(start, min(start + room, length)) for start in range(0, max(1, length - room + step), step) if start < max(1, length)]
