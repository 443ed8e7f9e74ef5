"""Truncates tokenised texts to the size of a model's input and combines them into batches.

Uses only NumPy and the tokenizers library, because exported models are shipped with a copy of this module.

The tokenizers library tokenises texts in full, and this module truncates the tokens, for three reasons: the maximum length is chosen
from the lengths of the full texts, stored tokens can be reused with another maximum, and models with different maxima can use one
tokenizer in memory. Besides, the library can't keep both ends of a text (`head_tail`), set a maximum for each text of a pair, or split
only one text of a pair into overlapping windows.
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
_SATURATION = 8
"""Two texts with more tokens than this many model inputs hold count as equally long, so that neither must be tokenised to its end."""
_CHARACTERS_PER_TOKEN = 8
"""The first guess of how many characters of a long text give one token; few languages and tokenizers have more."""
_PROBED_IDS = range(5, 45)
"""Token ids just after the special tokens, which every vocabulary contains."""


class Fields(Protocol):
    """The attributes of a view that this module reads; a view defines a model input by the one or two record fields that form it."""

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
    """The special tokens, such as [CLS] and [SEP], that are put before, between and after one or two texts.

    The tokens of a prefix of each text are among those before and between. Each special token is a pair of token id and token type id.
    `types` contains the token type id of the tokens of each text.
    """

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
    """How model inputs with too many tokens are truncated, and which special tokens are added to the texts."""

    size: int
    """Maximum number of tokens of one model input, special tokens included."""
    how: str
    """`head`, `tail`, `head_tail` or `window`; with `window`, a text that must not be split into windows is truncated to its head."""
    stride: float
    """Fraction of a window (piece of a long text) that overlaps the previous one."""
    templates: Mapping[int, Template]
    """The template for one text (key 1) and for a pair (key 2)."""


@dataclass(frozen=True, slots=True)
class TokenIds:
    """The content of one model input: token ids, and the token type ids that the pretrained model expects."""

    ids: NDArray[np.int32]
    types: NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Piece:
    """Tokens of one text, without special tokens."""

    ids: NDArray[np.int32]
    offsets: NDArray[np.int32]

    def take(self, index: NDArray[np.int64] | slice) -> Piece:
        """Return the tokens at these positions of the text."""
        return Piece(self.ids[index], self.offsets[index])

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class FieldTokens:
    """The tokens of one field of many records, not truncated and without special tokens."""

    ids: NDArray[np.int32]
    offsets: NDArray[np.int32]
    """Start and end of each token in its text, in characters; shape (tokens, 2)."""
    starts: NDArray[np.int64]
    """Index of the first token of each record, followed by the total number of tokens; shape (records + 1,)."""

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of tokens of each record, shape (records,)."""
        return np.diff(self.starts)

    def piece(self, row: int) -> Piece:
        """Return the tokens of one record."""
        start, stop = self.starts[row], self.starts[row + 1]
        return Piece(self.ids[start:stop], self.offsets[start:stop])

    def take(self, rows: NDArray[np.int64]) -> FieldTokens:
        """Return the tokens of the records with these indices, in the order of `rows`."""
        lengths = self.lengths[rows]
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        index = np.repeat(self.starts[rows] - starts[:-1], lengths) + np.arange(starts[-1])
        return FieldTokens(self.ids[index], self.offsets[index], starts)

    def joined(self, other: FieldTokens) -> FieldTokens:
        """Return the tokens of the records of this object, followed by those of the records of `other`."""
        starts = np.concatenate([self.starts, other.starts[1:] + self.starts[-1]])
        return FieldTokens(np.concatenate([self.ids, other.ids]), np.concatenate([self.offsets, other.offsets]), starts)


def tokenise(tokenizer: tokenizers.Tokenizer, texts: Sequence[str]) -> FieldTokens:
    """Tokenise texts without truncation and without special tokens."""
    if len(texts) == 1:  # a batch of one would start threads and release the GIL meanwhile
        encoding = tokenizer.encode(texts[0], add_special_tokens=False)
        ids = np.array(encoding.ids, np.int32)
        return FieldTokens(ids, np.array(encoding.offsets, np.int32).reshape(-1, 2), np.array([0, len(ids)]))
    encodings = tokenizer.encode_batch(list(texts), add_special_tokens=False)
    starts = np.zeros(len(encodings) + 1, np.int64)
    np.cumsum([len(encoding) for encoding in encodings], out=starts[1:])
    total = int(starts[-1])
    ids = np.fromiter(chain.from_iterable(encoding.ids for encoding in encodings), np.int32, total)
    offsets = chain.from_iterable(chain.from_iterable(encoding.offsets for encoding in encodings))
    return FieldTokens(ids, np.fromiter(offsets, np.int32, 2 * total).reshape(-1, 2), starts)


def tokenise_heads(tokenizer: tokenizers.Tokenizer, texts: Sequence[str], size: int) -> FieldTokens:
    """Tokenise texts of which a model input holds only the first `size` tokens; the rest of long texts is not read.

    The result has at least `_SATURATION * size` tokens of a text, or all of them. A long text is divided between two words. Because
    tokenizers look only a few characters ahead, the first `size` tokens are those of the complete text.
    """
    enough = _SATURATION * size
    limit = enough * _CHARACTERS_PER_TOKEN
    if max(map(len, texts), default=0) <= limit:
        return tokenise(tokenizer, texts)
    read = [_until_word_ends(text, limit) for text in texts]
    tokens = tokenise(tokenizer, read)
    while True:
        short = [row for row, length in enumerate(tokens.lengths) if length < enough and len(read[row]) < len(texts[row])]
        if not short:
            return tokens
        limit *= 4
        for row in short:
            read[row] = _until_word_ends(texts[row], limit)
        longer = tokens.joined(tokenise(tokenizer, [read[row] for row in short]))
        order = np.arange(len(texts))
        order[short] = len(texts) + np.arange(len(short))
        tokens = longer.take(order)


def _until_word_ends(text: str, limit: int) -> str:
    """Return the beginning of a text, at most `limit` characters, up to the end of a word if one ends in its second half."""
    if len(text) <= limit:
        return text
    words = text[:limit].rsplit(None, 1)
    return words[0] if len(words) == 2 and len(words[0]) > limit // 2 else text[:limit]


def template_of(tokenizer: tokenizers.Tokenizer, pair: bool, prefix: Sequence[int] = ()) -> Template:
    """Return the special tokens that a tokenizer puts around one text, or around a pair of texts.

    `prefix` are the ids of tokens to put directly before each text.
    """
    encoding = tokenizer.encode("a", "a") if pair else tokenizer.encode("a")
    sequence = [-1 if place is None else place for place in encoding.sequence_ids]
    tokens = list(zip(encoding.ids, encoding.type_ids, strict=True))
    first = [place for place, owner in enumerate(sequence) if owner == 0]
    last = [place for place, owner in enumerate(sequence) if owner == (1 if pair else 0)]
    between = tuple(tokens[first[-1] + 1 : last[0]]) if pair else ()
    types = (encoding.type_ids[first[0]], encoding.type_ids[last[0]])
    before = (*tokens[: first[0]], *((token, types[0]) for token in prefix))
    between += tuple((token, types[1]) for token in prefix) if pair else ()
    return Template(before, between, tuple(tokens[last[-1] + 1 :]), types[: 2 if pair else 1])


def encode(
    records: Sequence[Mapping[str, Any]], views: Sequence[Fields], tokens: Mapping[str, FieldTokens], cutting: Cutting
) -> list[Feature]:
    """Return the model inputs of all records, ordered by record, then by view, then by window.

    A view names the fields of a record that form one input; its second field is skipped in a record that has no value for it. Windows are
    overlapping pieces of a long text. `tokens` contains, for each field, the tokens of all records.
    """
    features: list[Feature] = []
    for row, record in enumerate(records):
        for view in views:
            pieces = [tokens[field].piece(row) for place, field in enumerate(view.fields) if place == 0 or record.get(field)]
            features += _features(row, view, pieces, cutting)
    return features


def _features(row: int, view: Fields, pieces: list[Piece], cutting: Cutting) -> list[Feature]:
    """Return the model inputs that are made from one record for one view, which names the fields that form an input.

    `row` is the index of the record, and `pieces` are the tokens of each field. There is one input, or, if a long text is split into
    windows (overlapping pieces), one for each window.
    """
    template = cutting.templates[len(pieces)]
    room = cutting.size - template.size
    total = sum(map(len, pieces))
    if total <= room:
        return [_assembled(Feature(row, view.role, 0, None), pieces, template)]
    side = _side(view, [min(len(piece), _SATURATION * cutting.size) for piece in pieces])
    others = total - len(pieces[side])
    if others > room // 2:  # the other text leaves too little room, so it is truncated as well
        limit = max(1, room // 2)
        pieces = [piece if place == side else piece.take(_kept(len(piece), limit, "head")) for place, piece in enumerate(pieces)]
        others = sum(map(len, pieces)) - len(pieces[side])
    room = max(1, room - others)
    length = len(pieces[side])
    if cutting.how == "window" and view.windows:
        selections: list[NDArray[np.int64] | slice] = [*_windows(length, room, cutting.stride)]
        lost = total - length - others  # tokens of the other text that no window contains
    else:
        selections = [_kept(length, room, "head" if cutting.how == "window" else cutting.how)]
        lost = total - others - min(length, room)
    return [
        _assembled(
            Feature(row, view.role, 0, None, truncated=lost, window=number),
            [piece.take(selection) if place == side else piece for place, piece in enumerate(pieces)],
            template,
        )
        for number, selection in enumerate(selections)
    ]


def _side(view: Fields, lengths: Sequence[int]) -> int:
    """Return the index, in `lengths`, of the text that is truncated if a model input is too long.

    It is `view.cut` if the view (definition of the input) sets this, else the index of the longest text.
    """
    if view.cut is not None and view.cut < len(lengths):
        return view.cut
    return max(range(len(lengths)), key=lengths.__getitem__)


def _kept(length: int, room: int, how: str) -> NDArray[np.int64] | slice:
    """Return an array or slice that selects the tokens to keep of a text with `length` tokens: at most `room` tokens.

    `how` decides which tokens are kept: the first (`head`), the last (`tail`), or half of `room` at each end (`head_tail`).
    """
    if length <= room:
        return slice(None)
    if how == "head":
        return slice(room)
    if how == "tail":
        return slice(length - room, None)
    return np.concatenate([np.arange(room - room // 2), np.arange(length - room // 2, length)])


def _windows(length: int, room: int, stride: float) -> list[slice]:
    """Divide a text of `length` tokens into overlapping slices of at most `room` tokens, which together cover the text.

    `stride` is the fraction of a slice that the next slice overlaps. A text without tokens gives one empty slice.
    """
    step = max(1, int(room * (1 - stride)))
    starts = range(0, max(1, length - room + step), step)
    return [slice(start, min(start + room, length)) for start in starts if start < max(1, length)]


def _assembled(feature: Feature, pieces: Sequence[Piece], template: Template) -> Feature:
    """Fill the model input `feature` with the tokens of these texts and the special tokens around them; return the model input."""
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
    """Return token ids, attention mask and token type ids, padded to the longest input; each int64 of shape (inputs, tokens)."""
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
    """Return a padded batch of artificial token sequences with which a model can be run; `costs` are their lengths in tokens.

    The batch contains only token ids that every vocabulary has.
    """
    positions = np.arange(max(costs))[None]
    mask = (positions < np.array(costs)[:, None]).astype(np.int64)
    ids = (positions % len(_PROBED_IDS) + _PROBED_IDS.start) * mask
    return {SEQUENCE: ids, MASK: mask, TYPES: np.zeros_like(ids)}
