"""Text, or two texts, through any pretrained encoder in the form of transformers.

Tokenises with the tokenizers library alone; torch and transformers are imported only to build the model.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vertune.core import base as bases
from vertune.core.errors import ConfigError, MissingExtra
from vertune.core.files import read_json, storage_errors, write_json
from vertune.core.kinds import Encoder, Pooling
from vertune.core.records import Feature, Record, View, texts

if TYPE_CHECKING:
    import tokenizers
    import torch

_SAMPLE = 20_000
_LIMIT = 512


@dataclass(frozen=True, slots=True)
class _Template:
    """The special tokens around one or two texts, as (ids, type ids) before, between and after, and the type of each text."""

    before: tuple[tuple[int, int], ...]
    between: tuple[tuple[int, int], ...]
    after: tuple[tuple[int, int], ...]
    types: tuple[int, ...]

    @property
    def size(self) -> int:
        return len(self.before) + len(self.between) + len(self.after)


@dataclass(slots=True)
class _Piece:
    """The tokens of one field, without special tokens."""

    ids: NDArray[np.int32]
    offsets: NDArray[np.int32]

    def take(self, index: NDArray[np.int64]) -> _Piece:
        return _Piece(self.ids[index], self.offsets[index])

    def __len__(self) -> int:
        return len(self.ids)


class Text(Encoder):
    """Options of the text encoder."""

    base: str = "minilm"
    """The pretrained model: an alias, a hub id or a folder."""
    pooling: Literal["auto", "mean", "cls", "native"] = "auto"
    """How token states become one: auto as the base was trained (mean where it does not say); native is the family's own head."""
    max_tokens: int | Literal["auto"] = "auto"
    """Longest sequence; auto covers 99.5 % of the training records, up to 512 or what the base can take."""
    truncation: Literal["auto", "head", "tail", "head_tail", "window"] = "auto"
    """What is kept of a longer text: its head, its tail, both ends, or all of it in overlapping windows; auto takes windows where
    the answer is a place in the text, else the head."""
    stride: float = Field(default=0.25, ge=0, lt=0.9)
    """Share of a window that overlaps the one before."""

    @cached_property
    def path(self) -> Path:
        """The folder of the base."""
        return bases.resolve(self.base)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The base's config.json."""
        return bases.settings(self.path)

    @cached_property
    def tokenizer(self) -> tokenizers.Tokenizer:
        """The base's tokenizer; truncation and padding that its file may carry are reset, because they are ours."""
        from tokenizers import Tokenizer

        file = self.path / "tokenizer.json"
        tokenizer = Tokenizer.from_file(str(file)) if file.exists() else _converted(self.path)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    @cached_property
    def longest(self) -> int:
        """The longest sequence that the base can take, special tokens included."""
        positions = self.settings.get("max_position_embeddings")
        if not isinstance(positions, int) or positions <= 0:
            return 1 << 20
        # RoBERTa and its kin number positions from the padding id + 1, which is then a small number above 0
        return positions - (self.pad + 1 if 0 < self.pad < 8 else 0)

    @cached_property
    def unknown(self) -> int | None:
        """Id of the unknown token, where the tokenizer has one."""
        token = getattr(self.tokenizer.model, "unk_token", None)
        token = token or next((name for name in ("[UNK]", "<unk>") if self.tokenizer.token_to_id(name) is not None), None)
        return self.tokenizer.token_to_id(token) if token else None

    @cached_property
    def pad(self) -> int:
        """Id that fills a batch; it is masked."""
        value = self.settings.get("pad_token_id")
        return value if isinstance(value, int) else 0

    def fingerprint(self) -> dict[str, str]:
        """Hashes of the base's weights, its settings and its tokenizer."""
        import hashlib

        return {
            "base": bases.fingerprint(self.path),
            "config": bases.digest(self.settings),
            "tokenizer": hashlib.sha256(self.tokenizer.to_str().encode()).hexdigest(),
        }

    @cached_property
    def pooled(self) -> Literal["mean", "cls", "native"]:
        """The pooling in use."""
        if self.pooling != "auto":
            return self.pooling
        file = self.path / "1_Pooling" / "config.json"
        said = read_json(file) if file.exists() else {}
        return "cls" if said.get("pooling_mode_cls_token") or said.get("pooling_mode") == "cls" else "mean"

    def pooling_of(self, states: str) -> Pooling:
        """Native where it is asked for, all tokens where the task reads tokens, else as the base pools."""
        return "tokens" if states == "tokens" and self.pooled != "native" else self.pooled

    def beside(self, other: Self) -> Self:
        """A copy with the other's tokenizer and settings, which are held once."""
        copy = self.model_copy()
        for name in ("path", "settings", "tokenizer", "templates", "longest", "pad", "unknown"):
            copy.__dict__[name] = getattr(other, name)
        return copy

    def resolve(self, records: Sequence[Record], views: Sequence[View]) -> Self:
        """A copy whose max_tokens covers 99.5 % of a sample of these records, in steps of 8, and whose truncation is said."""
        bases.check_weights(self.path)
        how = self.cutting(views)
        if self.max_tokens != "auto":
            if self.max_tokens > self.longest:
                raise ConfigError(f"max_tokens is {self.max_tokens}, but the base '{self.base}' takes at most {self.longest}.")
            return self.model_copy(update={"truncation": how})
        step = max(1, len(records) // _SAMPLE)
        lengths = self.lengths(records[::step], views)
        wanted = int(np.quantile(lengths, 0.995)) if len(lengths) else 128
        size = min(max(16, math.ceil(wanted / 8) * 8), self.longest, _LIMIT)
        return self.model_copy(update={"max_tokens": size, "truncation": how})

    def cutting(self, views: Sequence[View]) -> str:
        """How a longer text is cut: as was said, else in windows where an answer is a place in the text."""
        return ("window" if any(view.places for view in views) else "head") if self.truncation == "auto" else self.truncation

    def lengths(self, records: Sequence[Record], views: Sequence[View]) -> NDArray[np.int64]:
        """Tokens of each view of each record before anything is cut, special tokens included; shape (records x views,)."""
        counts = []
        for view in views:
            pieces = [[len(piece) for piece in self._pieces(records, field)] for field in view.fields]
            present = [[bool(text) for text in texts(records, field)] for field in view.fields]
            for row in range(len(records)):
                used = [size[row] for place, size in enumerate(pieces) if place == 0 or present[place][row]]
                counts.append(sum(used) + self._template(len(used)).size)
        return np.array(counts, dtype=np.int64)

    def unknown_share(self, strings: Sequence[str]) -> float:
        """Share of tokens of these texts that the base does not know."""
        encodings = self.tokenizer.encode_batch(list(strings), add_special_tokens=False)
        total = sum(len(encoding.ids) for encoding in encodings)
        return sum(encoding.ids.count(self.unknown) for encoding in encodings) / total if total and self.unknown is not None else 0.0

    def encode(self, records: Sequence[Record], views: Sequence[View]) -> list[Feature]:
        """Features in order of records, then views, then windows."""
        size = self.longest if self.max_tokens == "auto" else self.max_tokens
        tokenised = {field: self._pieces(records, field) for field in dict.fromkeys(f for view in views for f in view.fields)}
        features: list[Feature] = []
        for row, record in enumerate(records):
            for view in views:
                fields = [field for place, field in enumerate(view.fields) if place == 0 or record.get(field)]
                features += self._cut(row, view, [tokenised[field][row] for field in fields], size)
        return features

    def content(self, feature: Feature) -> bytes:
        """Token ids and their types."""
        return feature.ids.tobytes() + feature.types.tobytes()

    def collate(self, features: Sequence[Feature]) -> dict[str, NDArray[Any]]:
        """`input_ids`, `attention_mask` and `token_type_ids` (int64), padded to the longest feature."""
        shape = (len(features), max(len(feature) for feature in features))
        ids = np.full(shape, self.pad, np.int64)
        mask = np.zeros(shape, np.int64)
        types = np.zeros(shape, np.int64)
        for row, feature in enumerate(features):
            ids[row, : len(feature)] = feature.ids
            mask[row, : len(feature)] = 1
            types[row, : len(feature)] = feature.types
        return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}

    def model(self) -> torch.nn.Module:
        """The backbone without a pooling layer, in float32."""
        transformers = _transformers()
        return _quietly(transformers.AutoModel, self.path)

    def write(self, folder: Path) -> None:
        """The tokenizer and the settings of the base."""
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self.tokenizer.save(str(folder / "tokenizer.json"))
        write_json(folder / "config.json", self.settings)
        pooling = self.path / "1_Pooling" / "config.json"
        if pooling.exists():
            write_json(folder / "1_Pooling" / "config.json", read_json(pooling))

    def trimmed(self, records: Sequence[Record], views: Sequence[View], folder: Path) -> tuple[Self, NDArray[np.int64]]:
        """A copy on the tokens that these records use, and the ids that stay."""
        from vertune.encoders import _vocabulary

        fields = dict.fromkeys(field for view in views for field in view.fields)
        used = {int(place) for field in fields for piece in self._pieces(records, field) for place in np.unique(piece.ids)}
        special = {place for template in self.templates.values() for place, _ in (*template.before, *template.between, *template.after)}
        wanted = used | special | {self.pad} | ({self.unknown} if self.unknown is not None else set())
        wanted |= set(range(self.pad)) if self.pad < 8 else set()  # RoBERTa and its kin count positions from the padding id
        described, ids = _vocabulary.trimmed(json.loads(self.tokenizer.to_str()), wanted)
        self.write(folder)
        write_json(folder / "tokenizer.json", described)
        places = {int(old): new for new, old in enumerate(ids.tolist())}
        named = {name: places[value] for name, value in self.settings.items() if name.endswith("_token_id") and value in places}
        write_json(folder / "config.json", {**self.settings, **named, "vocab_size": len(ids)})
        return type(self).model_validate({**self.model_dump(), "base": str(folder)}), ids

    def native(self, states: str, size: int) -> torch.nn.Module:
        """The family's own model with a head of this size; ConfigError where the family has none."""
        transformers = _transformers()
        kind = transformers.AutoModelForTokenClassification if states == "tokens" else transformers.AutoModelForSequenceClassification
        try:
            return _quietly(kind, self.path, num_labels=size)
        except ValueError as error:
            raise ConfigError(
                f"pooling: native needs a head of the family '{self.settings.get('model_type')}', which has none. Choose mean or cls."
            ) from error

    def _pieces(self, records: Sequence[Record], field: str) -> list[_Piece]:
        if len(records) == 1:  # a batch of one would start threads, and hand the interpreter to others meanwhile
            encodings = [self.tokenizer.encode(texts(records, field)[0], add_special_tokens=False)]
        else:
            encodings = self.tokenizer.encode_batch(texts(records, field), add_special_tokens=False)
        return [_Piece(np.array(encoding.ids, np.int32), np.array(encoding.offsets, np.int32).reshape(-1, 2)) for encoding in encodings]

    @cached_property
    def templates(self) -> dict[int, _Template]:
        """The special tokens around one text, and around two."""
        return {1: _template_of(self.tokenizer, False), 2: _template_of(self.tokenizer, True)}

    def _template(self, fields: int) -> _Template:
        return self.templates[fields]

    def _cut(self, row: int, view: View, pieces: list[_Piece], size: int) -> list[Feature]:
        """The features of one view: one, or several windows of the part that may be cut."""
        template = self._template(len(pieces))
        room = size - template.size
        total = sum(map(len, pieces))
        if total <= room:
            return [_feature(row, view.role, pieces, template, 0, 0)]
        cut = self._side(view, pieces)
        others = total - len(pieces[cut])
        if others > room // 2:  # the other side leaves too little room: shorten it too
            other = 1 - cut
            pieces = [
                piece.take(_kept(len(piece), max(1, room // 2), "head")) if place == other else piece for place, piece in enumerate(pieces)
            ]
            others = len(pieces[other])
        room = max(1, room - others)
        how = self.cutting([view])
        if how == "window" and view.windows:
            lost = total - len(pieces[cut]) - others  # of the other side, which no window holds
            return [
                _feature(
                    row,
                    view.role,
                    [piece.take(index) if place == cut else piece for place, piece in enumerate(pieces)],
                    template,
                    lost,
                    number,
                )
                for number, index in enumerate(_windows(len(pieces[cut]), room, self.stride))
            ]
        how = "head" if how == "window" else how
        short = [piece.take(_kept(len(piece), room, how)) if place == cut else piece for place, piece in enumerate(pieces)]
        return [_feature(row, view.role, short, template, total - sum(map(len, short)), 0)]

    @staticmethod
    def _side(view: View, pieces: list[_Piece]) -> int:
        if view.cut is not None and view.cut < len(pieces):
            return view.cut
        return max(range(len(pieces)), key=lambda place: len(pieces[place]))


def _kept(length: int, room: int, how: str) -> NDArray[np.int64]:
    """Which tokens stay."""
    if length <= room:
        return np.arange(length)
    if how == "head":
        return np.arange(room)
    if how == "tail":
        return np.arange(length - room, length)
    head = room - room // 2
    return np.concatenate([np.arange(head), np.arange(length - room // 2, length)])


def _windows(length: int, room: int, stride: float) -> list[NDArray[np.int64]]:
    """Overlapping stretches that cover all tokens; one empty stretch where there are none."""
    step = max(1, int(room * (1 - stride)))
    starts = range(0, max(1, length - room + step), step)
    return [np.arange(start, min(start + room, length)) for start in starts if start < max(1, length)]


def _feature(row: int, role: str, pieces: list[_Piece], template: _Template, truncated: int, window: int) -> Feature:
    """Put special tokens around the pieces."""
    count = template.size + sum(map(len, pieces))
    ids, types = np.empty(count, np.int32), np.empty(count, np.int8)
    segments, offsets = np.full(count, -1, np.int8), np.zeros((count, 2), np.int32)
    at = 0

    def special(tokens: tuple[tuple[int, int], ...]) -> None:
        nonlocal at
        for ids[at], types[at] in tokens:
            at += 1

    special(template.before)
    for place, piece in enumerate(pieces):
        if place:
            special(template.between)
        end = at + len(piece)
        ids[at:end], offsets[at:end] = piece.ids, piece.offsets
        segments[at:end], types[at:end] = place, template.types[place]
        at = end
    special(template.after)
    return Feature(row, role, ids, segments, offsets, types, truncated, window)


def _template_of(tokenizer: tokenizers.Tokenizer, pair: bool) -> _Template:
    """Learn the special tokens by looking at how the tokenizer wraps a short text."""
    encoding = tokenizer.encode("a", "a") if pair else tokenizer.encode("a")
    sequence = [-1 if place is None else place for place in encoding.sequence_ids]
    tokens = list(zip(encoding.ids, encoding.type_ids, strict=True))
    first = [place for place, owner in enumerate(sequence) if owner == 0]
    last = [place for place, owner in enumerate(sequence) if owner == (1 if pair else 0)]
    between = tuple(tokens[first[-1] + 1 : last[0]]) if pair else ()
    types = (encoding.type_ids[first[0]], encoding.type_ids[last[0]])
    return _Template(tuple(tokens[: first[0]]), between, tuple(tokens[last[-1] + 1 :]), types[: 2 if pair else 1])


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise MissingExtra("Building a model with torch", "train", "transformers") from error
    return transformers


def _converted(folder: Path) -> tokenizers.Tokenizer:
    """The fast form of a tokenizer that has no tokenizer.json."""
    try:
        tokenizer = _transformers().AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        fast: tokenizers.Tokenizer = tokenizer.backend_tokenizer
        return fast
    except (OSError, ValueError, AttributeError) as error:
        raise ConfigError(f"The base in {folder} has no tokenizer that the tokenizers library reads: {error}") from error


def _quietly(kind: Any, folder: Path, **options: Any) -> torch.nn.Module:
    """Load from safetensors without progress bars, without code from the folder, and without unpickling."""
    import torch

    bases.check_weights(folder)
    transformers = _transformers()
    level = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        model: torch.nn.Module = kind.from_pretrained(
            str(folder), local_files_only=True, use_safetensors=True, trust_remote_code=False, dtype=torch.float32, **options
        )
    finally:
        transformers.logging.set_verbosity(level)
        transformers.utils.logging.enable_progress_bar()
    return model
