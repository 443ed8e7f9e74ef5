"""Cuts tokenised texts into features and collates them, with NumPy and the tokenizers library alone.

Portable bundles ship this module as it is. Knows nothing of options, files or models.

Texts are tokenised uncut, and cut here rather than by the truncation of the tokenizers library: the limit is chosen from the
lengths of the uncut texts, stored tokens serve encoders with other limits, and one tokenizer in memory serves verticals that
cut differently. `head_tail`, the room that both sides of a pair keep, and windows of one side have no counterpart there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vertune.core.records import Feature, Places

if TYPE_CHECKING:
    import tokenizers

SEQUENCE = "input_ids"
MASK = "attention_mask"
TYPES = "token_type_ids"
_PROBED_IDS = range(5, 45)
"""Token ids that every vocabulary has behind its special tokens."""


class Fields(Protocol):
    """The part of a view that encoding reads."""

    @property
    def role(self) -> str: ...

    @property
    def fields(self) -> Sequence[str]: ...

    @property
    def cut(self) -> int | None: ...

    @property
    def windows(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Template:
    """The special tokens around one or two texts, as (ids, type ids) before, between and after, and the type of each text."""

    before: tuple[tuple[int, int], ...]
    between: tuple[tuple[int, int], ...]
    after: tuple[tuple[int, int], ...]
    types: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of special tokens."""
        return len(self.before) + len(self.between) + len(self.after)


@dataclass(frozen=True, slots=True)
class Cutting:
    """How long texts become features."""

    size: int
    """Most tokens of a feature, special tokens included."""
    how: str
    """`head`, `tail`, `head_tail` or `window`; windows only where a view allows them, else the head."""
    stride: float
    """Share of a window that overlaps the one before."""
    templates: Mapping[int, Template]
    """Special tokens around one text, and around two."""


@dataclass(frozen=True, slots=True)
class TokenIds:
    """The payload of a feature: token ids, and token type ids as the base was pretrained with them."""

    ids: NDArray[np.int32]
    types: NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Piece:
    """Tokens of one text, without special tokens."""

    ids: NDArray[np.int32]
    offsets: NDArray[np.int32]

    def take(self, index: NDArray[np.int64] | slice) -> Piece:
        """Some of the tokens."""
        return Piece(self.ids[index], self.offsets[index])

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class FieldTokens:
    """The tokens of one field of many records, uncut and without special tokens."""

    ids: NDArray[np.int32]
    offsets: NDArray[np.int32]
    """Start and end character of each token, shape (tokens, 2)."""
    starts: NDArray[np.int64]
    """First token of each record, and behind the last one the number of tokens; shape (records + 1,)."""

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each record."""
        return np.diff(self.starts)

    def piece(self, row: int) -> Piece:
        """The tokens of one record."""
        start, stop = self.starts[row], self.starts[row + 1]
        return Piece(self.ids[start:stop], self.offsets[start:stop])

    def take(self, rows: NDArray[np.int64]) -> FieldTokens:
        """The tokens of these records, in their order."""
        lengths = self.lengths[rows]
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        index = np.repeat(self.starts[rows] - starts[:-1], lengths) + np.arange(starts[-1])
        return FieldTokens(self.ids[index], self.offsets[index], starts)

    def joined(self, other: FieldTokens) -> FieldTokens:
        """Those of these records, followed by those of others."""
        starts = np.concatenate([self.starts, other.starts[1:] + self.starts[-1]])
        return FieldTokens(np.concatenate([self.ids, other.ids]), np.concatenate([self.offsets, other.offsets]), starts)


def tokenise(tokenizer: tokenizers.Tokenizer, texts: Sequence[str]) -> FieldTokens:
    """The tokens of these texts, each tokenised once."""
    if len(texts) == 1:  # a batch of one would start threads, and hand the interpreter to others meanwhile
        encoding = tokenizer.encode(texts[0], add_special_tokens=False)
        ids = np.array(encoding.ids, np.int32)
        return FieldTokens(ids, np.array(encoding.offsets, np.int32).reshape(-1, 2), np.array([0, len(ids)]))
    encodings = tokenizer.encode_batch(list(texts), add_special_tokens=False)
    starts = np.zeros(len(encodings) + 1, np.int64)
    np.cumsum([len(encoding) for encoding in encodings], out=starts[1:])
    total = int(starts[-1])
    ids = np.fromiter(chain.from_iterable(encoding.ids for encoding in encodings), np.int32, total)
    places = chain.from_iterable(chain.from_iterable(encoding.offsets for encoding in encodings))
    return FieldTokens(ids, np.fromiter(places, np.int32, 2 * total).reshape(-1, 2), starts)


def template_of(tokenizer: tokenizers.Tokenizer, pair: bool) -> Template:
    """The special tokens that a tokenizer puts around a short text, or around two."""
    encoding = tokenizer.encode("a", "a") if pair else tokenizer.encode("a")
    sequence = [-1 if place is None else place for place in encoding.sequence_ids]
    tokens = list(zip(encoding.ids, encoding.type_ids, strict=True))
    first = [place for place, owner in enumerate(sequence) if owner == 0]
    last = [place for place, owner in enumerate(sequence) if owner == (1 if pair else 0)]
    between = tuple(tokens[first[-1] + 1 : last[0]]) if pair else ()
    types = (encoding.type_ids[first[0]], encoding.type_ids[last[0]])
    return Template(tuple(tokens[: first[0]]), between, tuple(tokens[last[-1] + 1 :]), types[: 2 if pair else 1])


def encode(
    records: Sequence[Mapping[str, Any]], views: Sequence[Fields], tokens: Mapping[str, FieldTokens], cutting: Cutting
) -> list[Feature]:
    """Features in order of records, then views, then windows; a second field that a record lacks is left out."""
    features: list[Feature] = []
    for row, record in enumerate(records):
        for view in views:
            pieces = [tokens[field].piece(row) for place, field in enumerate(view.fields) if place == 0 or record.get(field)]
            features += _features(row, view, pieces, cutting)
    return features


def _features(row: int, view: Fields, pieces: list[Piece], cutting: Cutting) -> list[Feature]:
    """The features of one view: one, or several windows of the side that may be cut."""
    template = cutting.templates[len(pieces)]
    room = cutting.size - template.size
    total = sum(map(len, pieces))
    if total <= room:
        return [_assembled(Feature(row, view.role, 0, None), pieces, template)]
    side = _side(view, pieces)
    others = total - len(pieces[side])
    if others > room // 2:  # the other side leaves too little room: shorten it too
        limit = max(1, room // 2)
        pieces = [piece if place == side else piece.take(_kept(len(piece), limit, "head")) for place, piece in enumerate(pieces)]
        others = sum(map(len, pieces)) - len(pieces[side])
    room = max(1, room - others)
    length = len(pieces[side])
    if cutting.how == "window" and view.windows:
        stretches: list[NDArray[np.int64] | slice] = [*_windows(length, room, cutting.stride)]
        lost = total - length - others  # of the other side, which no window holds
    else:
        stretches = [_kept(length, room, "head" if cutting.how == "window" else cutting.how)]
        lost = total - others - min(length, room)
    return [
        _assembled(
            Feature(row, view.role, 0, None, truncated=lost, window=number),
            [piece.take(stretch) if place == side else piece for place, piece in enumerate(pieces)],
            template,
        )
        for number, stretch in enumerate(stretches)
    ]


def _side(view: Fields, pieces: Sequence[Piece]) -> int:
    """Which of the fields is cut."""
    if view.cut is not None and view.cut < len(pieces):
        return view.cut
    return max(range(len(pieces)), key=lambda place: len(pieces[place]))


def _kept(length: int, room: int, how: str) -> NDArray[np.int64] | slice:
    """Which tokens of a text stay."""
    if length <= room:
        return slice(None)
    if how == "head":
        return slice(room)
    if how == "tail":
        return slice(length - room, None)
    return np.concatenate([np.arange(room - room // 2), np.arange(length - room // 2, length)])


def _windows(length: int, room: int, stride: float) -> list[slice]:
    """Overlapping stretches that cover all tokens; one empty stretch where there are none."""
    step = max(1, int(room * (1 - stride)))
    starts = range(0, max(1, length - room + step), step)
    return [slice(start, min(start + room, length)) for start in starts if start < max(1, length)]


def _assembled(feature: Feature, pieces: Sequence[Piece], template: Template) -> Feature:
    """The feature filled with the pieces and the special tokens around them."""
    count = template.size + sum(map(len, pieces))
    ids, types = np.empty(count, np.int32), np.zeros(count, np.int8)
    segments, offsets = np.full(count, -1, np.int8), np.zeros((count, 2), np.int32)
    at = 0
    for place, piece in enumerate(pieces):
        for ids[at], types[at] in template.between if place else template.before:
            at += 1
        end = at + len(piece)
        ids[at:end], offsets[at:end], segments[at:end] = piece.ids, piece.offsets, place
        if template.types[place]:
            types[at:end] = template.types[place]
        at = end
    for ids[at], types[at] in template.after:
        at += 1
    feature.cost, feature.payload, feature.places = count, TokenIds(ids, types), Places(segments, offsets)
    return feature


def collate(features: Sequence[Feature], padding: int) -> dict[str, NDArray[np.int64]]:
    """Token ids, mask and token type ids (int64), padded to the longest feature."""
    shape = (len(features), max(feature.cost for feature in features))
    ids = np.full(shape, padding, np.int64)
    mask = np.zeros(shape, np.int64)
    types = np.zeros(shape, np.int64)
    for row, feature in enumerate(features):
        length = feature.cost
        ids[row, :length] = feature.payload.ids
        mask[row, :length] = 1
        types[row, :length] = feature.payload.types
    return {SEQUENCE: ids, MASK: mask, TYPES: types}


def probe(costs: Sequence[int]) -> dict[str, NDArray[np.int64]]:
    """A batch of sequences of these lengths, made of token ids that every vocabulary has."""
    positions = np.arange(max(costs))[None]
    mask = (positions < np.array(costs)[:, None]).astype(np.int64)
    ids = (positions % len(_PROBED_IDS) + _PROBED_IDS.start) * mask
    return {SEQUENCE: ids, MASK: mask, TYPES: np.zeros_like(ids)}
