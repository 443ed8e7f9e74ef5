"""Encodes one text or a pair of texts with a pretrained transformer encoder.

Tokenises with the tokenizers library; imports torch and transformers only to build the model.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from vertune.core import base as bases
from vertune.core.errors import ConfigError, MissingExtra, StorageError
from vertune.core.files import read_json, storage_errors, write_json
from vertune.core.kinds import Encoder, Pooling, Tokens
from vertune.core.language import detect
from vertune.core.records import Feature, InputNames, Record, View, texts
from vertune.encoders import _characters, _loading, _tokens
from vertune.encoders._tokens import Cutting, FieldTokens, Template, TokenIds

if TYPE_CHECKING:
    import tokenizers
    import torch

_SAMPLE = 20_000
_LIMIT = 512
_PARTS = ("ids", "offsets", "starts")


@dataclass(frozen=True, slots=True)
class TextTokens:
    """The tokens of some fields of many records, not truncated, and how they were made (`Text._token_source`)."""

    fields: dict[str, FieldTokens]
    tokenizer: str

    def __len__(self) -> int:
        return len(next(iter(self.fields.values()), ()))

    def take(self, rows: NDArray[np.int64]) -> TextTokens:
        """Return the tokens of the records with these indices, in the order of `rows`."""
        return TextTokens({name: field.take(rows) for name, field in self.fields.items()}, self.tokenizer)

    def joined(self, other: TextTokens) -> TextTokens:
        """Return the tokens of the records of this object, followed by those of the records of `other`.

        Only the fields that occur in both objects are contained.
        """
        names = [name for name in self.fields if name in other.fields]
        return TextTokens({name: self.fields[name].joined(other.fields[name]) for name in names}, self.tokenizer)

    def save(self, file: Path) -> None:
        """Write a safetensors file with the arrays `FIELD/ids`, `FIELD/offsets` and `FIELD/starts` of each field."""
        from safetensors.numpy import save_file

        tensors = {f"{name}/{part}": getattr(field, part) for name, field in self.fields.items() for part in _PARTS}
        with storage_errors(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, file, {"tokenizer": self.tokenizer})


class Text(Encoder):
    """Encoder of texts; the fields below are its options."""

    input_names: ClassVar[InputNames] = InputNames(_tokens.SEQUENCE, _tokens.MASK)
    base: str = bases.AUTO
    """The pretrained model: an alias (minilm for English, e5 for about 100 languages, e5-zh-en for Chinese and English), an id on the
    Hugging Face hub, or a folder; auto is minilm if the training texts are English, e5-zh-en if they are Chinese or both, else e5."""
    prefix: str = Field(default="", max_length=100)
    """Text whose tokens stand in front of every text that the model reads, such as `query: `, which e5 was pretrained with."""
    split: Literal["auto", "tokenizer", "characters"] = "auto"
    """What a token may contain: tokenizer leaves it to the tokenizer of the pretrained model; characters makes each Chinese and Japanese
    character and each punctuation mark a token of its own, so that a span can begin and end at each. auto chooses characters for tasks
    that mark spans, if the tokenizer joins such characters in the training texts."""
    pooling: Literal["auto", "mean", "cls", "native"] = "auto"
    """How the token vectors become one vector: their mean, the first token (cls), or the classification head of the model family (native);
    auto reads the choice from the pretrained model, else takes the mean."""
    max_tokens: int | Literal["auto"] = "auto"
    """Maximum sequence length in tokens; auto covers 99.5 % of the training records, up to 512 or the limit of the pretrained model."""
    truncation: Literal["auto", "head", "tail", "head_tail", "window"] = "auto"
    """Which tokens of a text above max_tokens are kept: its head, its tail, both ends, or all of it in overlapping windows; auto chooses
    windows for tasks that mark spans in the text, else the head."""
    stride: float = Field(default=0.25, ge=0, lt=0.9)
    """Fraction of a window that overlaps the previous one; has an effect only with truncation: window."""

    @cached_property
    def path(self) -> Path:
        """The folder of the pretrained model."""
        return bases.resolve(self.base)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The content of the pretrained model's config.json."""
        return bases.settings(self.path)

    @cached_property
    def tokenizer(self) -> tokenizers.Tokenizer:
        """The tokenizer of the pretrained model; truncation and padding are switched off, because this encoder does both itself."""
        from tokenizers import Tokenizer

        file = self.path / "tokenizer.json"
        tokenizer = Tokenizer.from_file(str(file)) if file.exists() else _loading.converted_tokenizer(self.path)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    @cached_property
    def reader(self) -> tokenizers.Tokenizer:
        """The tokenizer that divides texts as the option `split` says; its vocabulary is in memory once."""
        return _characters.by_characters(self.tokenizer) if self.split == "characters" else self.tokenizer

    @cached_property
    def longest(self) -> int:
        """The maximum sequence length of the pretrained model, special tokens included."""
        positions = self.settings.get("max_position_embeddings")
        if not isinstance(positions, int) or positions <= 0:
            return 1 << 20
        # RoBERTa and related families number positions from the padding id + 1, where the padding id is a small positive number
        return positions - (self.pad + 1 if 0 < self.pad < 8 else 0)

    @cached_property
    def unknown(self) -> int | None:
        """The id of the unknown token; None if the tokenizer has none."""
        token = getattr(self.tokenizer.model, "unk_token", None)
        token = token or next((name for name in ("[UNK]", "<unk>") if self.tokenizer.token_to_id(name) is not None), None)
        return self.tokenizer.token_to_id(token) if token else None

    @cached_property
    def pad(self) -> int:
        """The id of the padding token."""
        value = self.settings.get("pad_token_id")
        return value if isinstance(value, int) else 0

    @cached_property
    def tokenizer_hash(self) -> str:
        """The sha256 hex digest of the tokenizer of the pretrained model."""
        return hashlib.sha256(self.tokenizer.to_str().encode()).hexdigest()

    @property
    def _token_source(self) -> str:
        """How tokens are made: the hash of the tokenizer, and the option `split` if it changes tokens. Tokens of another source differ."""
        return self.tokenizer_hash + ("/characters" if self.split == "characters" else "")

    @property
    def base_name(self) -> str:
        """The name of the pretrained model as it is written in the config."""
        return self.base

    @property
    def base_folder(self) -> Path:
        """The folder of the pretrained model."""
        return self.path

    @property
    def max_cost(self) -> int:
        """The maximum number of tokens of one model input."""
        return self.longest if self.max_tokens == "auto" else self.max_tokens

    @property
    def max_base_cost(self) -> int:
        """The maximum number of tokens that the pretrained model accepts."""
        return self.longest

    def fingerprint(self) -> dict[str, str]:
        """Return hashes of the pretrained weights (`base`), their config.json (`config`) and the tokenizer.

        As long as the base is `auto`, return the names and hashes of the pretrained models from which it is chosen.
        """
        if self.base == bases.AUTO:
            return dict(bases.SHA256)
        return {"base": bases.fingerprint(self.path), "config": bases.digest(self.settings), "tokenizer": self.tokenizer_hash}

    @cached_property
    def pooled(self) -> Literal["mean", "cls", "native"]:
        """How token vectors become one vector (pooling): the value of the option `pooling` or, for `auto`, a choice made for the model.

        The choice is `cls`, the vector of the first token, if the pretrained model's file 1_Pooling/config.json names it, else `mean`.
        """
        if self.pooling != "auto":
            return self.pooling
        file = self.path / "1_Pooling" / "config.json"
        config = read_json(file) if file.exists() else {}
        return "cls" if config.get("pooling_mode_cls_token") or config.get("pooling_mode") == "cls" else "mean"

    def pooling_of(self, states: str) -> Pooling:
        """Return how the vectors that the task's head (last layer) reads are computed from the token vectors of the pretrained model.

        The result is `native` if that is configured. Else it is `tokens` (no change) if `states` is `tokens`, and `mean` or `cls`
        (vector of the first token) for a task that reads one vector per model input.
        """
        return "tokens" if states == "tokens" and self.pooled != "native" else self.pooled

    def sharing_with(self, other: Self) -> Self:
        """Return a copy that uses the tokenizer and settings of the encoder `other`, so that they are in memory only once."""
        copy = self.model_copy()
        for name in ("path", "settings", "tokenizer", "longest", "pad", "unknown"):
            copy.__dict__[name] = getattr(other, name)
        return copy

    def at(self, folder: Path) -> Self:
        """Return a copy whose pretrained model is the one in this folder."""
        return type(self).model_validate({**self.model_dump(), "base": str(folder)})

    def reading(self, tokens: int) -> Self:
        """Return a copy in which max_tokens is this number, or the maximum of the pretrained model, if it is `auto`."""
        if self.max_tokens != "auto":
            return self
        most = tokens if self.base == bases.AUTO else min(tokens, self.longest)
        return self.model_copy(update={"max_tokens": most})

    def choose_base(self, texts: Sequence[str], views: Sequence[View]) -> Self:
        """Return a copy in which the base `auto` is replaced by an alias that suits the language of these texts, and `split` by its choice.

        Raises MissingExtra if the package with this base is not installed.
        """
        chosen = self._with_base(texts)
        if self.split != "auto":
            return chosen
        divided = any(view.places for view in views) and _characters.joins_characters(chosen.tokenizer, texts)
        decided = chosen.model_copy(update={"split": "characters" if divided else "tokenizer"})
        decided.__dict__.pop("reader", None)
        return decided

    def _with_base(self, texts: Sequence[str]) -> Self:
        """Return a copy with the alias that suits the language of these texts, if the base is `auto`."""
        if self.base != bases.AUTO:
            return self
        language = detect(texts)
        chosen = self.model_copy(update={"base": bases.for_language(language)})
        try:
            _ = chosen.path
        except MissingExtra as error:
            why = f"The pretrained model '{chosen.base}', which base: auto chooses because the training texts are {language.sentence},"
            raise MissingExtra(why, error.extra, error.package) from error
        return chosen

    def resolve(self, records: Sequence[Record], views: Sequence[View], tokens: Tokens | None = None) -> Self:
        """Return a copy in which max_tokens and truncation are definite values instead of `auto`.

        The automatic max_tokens is so large that 99.5 % of the model inputs in a sample of the records are not truncated. It is rounded up
        to a multiple of 8, but never exceeds 512 or the maximum of the pretrained model. Raises ConfigError if a configured max_tokens
        exceeds the maximum of the pretrained model.
        """
        bases.check_weights(self.path)
        _check_views(views)
        how = self.cutting(views)
        if self.max_tokens != "auto":
            if self.max_tokens > self.longest:
                raise ConfigError(
                    f"max_tokens is {self.max_tokens}, but the pretrained model '{self.base}' takes at most {self.longest}. "
                    f"Set encoder.max_tokens to {self.longest} or less."
                )
            return self.model_copy(update={"truncation": how})
        step = max(1, len(records) // _SAMPLE)
        if tokens is None:
            lengths = self.lengths(records[::step], views)
        else:
            lengths = self.lengths(records, views, tokens).reshape(-1, max(1, len(views)))[::step]
        wanted = int(np.quantile(lengths, 0.995)) if lengths.size else 128
        size = min(max(16, math.ceil(wanted / 8) * 8), self.longest, _LIMIT)
        return self.model_copy(update={"max_tokens": size, "truncation": how})

    def cutting(self, views: Sequence[View]) -> str:
        """Return how texts that are too long are truncated: the value of the option `truncation`, if that is not `auto`.

        For `auto`, return `window` (overlapping pieces) if the task predicts spans of the text, else `head` (only the beginning is kept).
        """
        return ("window" if any(view.places for view in views) else "head") if self.truncation == "auto" else self.truncation

    def lengths(self, records: Sequence[Record], views: Sequence[View], tokens: Tokens | None = None) -> NDArray[np.int64]:
        """Return the length of every model input in tokens before truncation, special tokens included; shape (records * views,).

        A view names the record fields that form one input. The inputs are ordered by record, then by view.
        """
        fields = self._fields(records, _fields_of(views), tokens)
        counts = np.zeros((len(records), len(views)), np.int64)
        for column, view in enumerate(views):
            sides = np.ones(len(records), np.int64)
            counts[:, column] = fields[view.fields[0]].lengths
            for field in view.fields[1:]:
                present = np.fromiter((bool(record.get(field)) for record in records), bool, len(records))
                counts[:, column] += fields[field].lengths * present
                sides += present
            counts[:, column] += np.array([0, *(self.templates[number].size for number in (1, 2))])[sides]
        return counts.reshape(-1)

    def unknown_share(self, strings: Sequence[str], tokens: Tokens | None = None) -> float:
        """Return the fraction, from 0 to 1, of unknown tokens in these texts; 0 if the tokenizer has no unknown token.

        `tokens`, if given, are the tokens of these texts, so that the texts are not tokenised again.
        """
        fields = [_tokens.tokenise(self.reader, strings)] if not isinstance(tokens, TextTokens) else list(tokens.fields.values())
        total = sum(len(field.ids) for field in fields)
        return sum(int((field.ids == self.unknown).sum()) for field in fields) / total if total and self.unknown is not None else 0.0

    def read(self, records: Sequence[Record], fields: Sequence[str]) -> TextTokens:
        """Tokenise these fields of all records without truncation."""
        return TextTokens({field: _tokens.tokenise(self.reader, texts(records, field)) for field in fields}, self._token_source)

    def load_tokens(self, file: Path) -> TextTokens | None:
        """Load tokens from a file; return None if another tokenizer made the tokens. Raise StorageError if the file can't be read."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(file, "numpy") as stored:
                if (stored.metadata() or {}).get("tokenizer") != self._token_source:
                    return None
                names = dict.fromkeys(name.rpartition("/")[0] for name in stored.keys())  # noqa: SIM118 - not a mapping
                fields = {name: FieldTokens(*(stored.get_tensor(f"{name}/{part}") for part in _PARTS)) for name in names}
        except (OSError, SafetensorError) as error:
            raise StorageError(f"The tokens in {file} can't be read: {error}. Prepare the dataset again.") from error
        return TextTokens(fields, self._token_source)

    def encode(self, records: Sequence[Record], views: Sequence[View], tokens: Tokens | None = None) -> list[Feature]:
        """Return the model inputs of all records, ordered by record, then by view, then by window.

        A view names the record fields that form one input. Windows are the overlapping pieces into which a long text may be divided.
        Without `tokens`, only the beginning of a very long text is tokenised, if the input holds no more than that. The number of
        truncated tokens of its input is then too low.
        """
        if tokens is None and self.cutting(views) == "head":
            fields = {name: _tokens.tokenise_heads(self.reader, texts(records, name), self.max_cost) for name in _fields_of(views)}
        else:
            fields = self._fields(records, _fields_of(views), tokens)
        return _tokens.encode(records, views, fields, Cutting(self.max_cost, self.cutting(views), self.stride, self.templates))

    def _fields(self, records: Sequence[Record], names: Sequence[str], tokens: Tokens | None) -> dict[str, FieldTokens]:
        """Return the tokens of these fields; the fields that are missing in `tokens` are tokenised now."""
        known = tokens.fields if isinstance(tokens, TextTokens) else {}
        return {name: known[name] if name in known else _tokens.tokenise(self.reader, texts(records, name)) for name in names}

    def content(self, feature: Feature) -> bytes:
        """Return the token ids and token type ids of a model input as bytes; inputs with equal bytes have equal outputs."""
        payload: TokenIds = feature.payload
        return payload.ids.tobytes() + payload.types.tobytes()

    def collate(self, features: Sequence[Feature]) -> dict[str, NDArray[Any]]:
        """Return token ids, attention mask and token type ids (int64) of these model inputs, padded to the longest of them."""
        return _tokens.collate(features, self.pad)

    def probe(self, costs: Sequence[int]) -> dict[str, NDArray[Any]]:
        """Return a padded batch of artificial texts with these lengths in tokens (`costs`), to export, time or inspect a model."""
        return _tokens.probe(costs)

    def model(self) -> torch.nn.Module:
        """Load the pretrained model without a pooling layer, in float32."""
        from vertune.nn.inputs import declare

        transformers = _loading.transformers_library()
        return declare(_loading.load_quietly(transformers.AutoModel, self.path), self)

    def write(self, folder: Path) -> None:
        """Write the tokenizer, config.json and pooling settings of the pretrained model into a folder."""
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self.tokenizer.save(str(folder / "tokenizer.json"))
        write_json(folder / "config.json", self.settings)
        pooling = self.path / "1_Pooling" / "config.json"
        if pooling.exists():
            write_json(folder / "1_Pooling" / "config.json", read_json(pooling))

    def trimmed(self, records: Sequence[Record], views: Sequence[View], folder: Path) -> tuple[Self, NDArray[np.int64]]:
        """Write a tokenizer with a smaller vocabulary, and a matching config.json, into a folder.

        The vocabulary contains the tokens in these records and the tokens that are needed to encode any other text. Returns an encoder
        that uses this tokenizer, and an array whose element i is the old id of the token with the new id i.
        """
        from vertune.encoders import _vocabulary

        fields = self._fields(records, _fields_of(views), None)
        used = {int(place) for field in fields.values() for place in np.unique(field.ids)}
        special = {place for template in self.templates.values() for place, _ in (*template.before, *template.between, *template.after)}
        wanted = used | special | {self.pad} | ({self.unknown} if self.unknown is not None else set())
        wanted |= set(range(self.pad)) if self.pad < 8 else set()  # RoBERTa and related families count positions from the padding id
        described, ids = _vocabulary.trimmed(json.loads(self.tokenizer.to_str()), wanted)
        self.write(folder)
        write_json(folder / "tokenizer.json", described)
        places = {int(old): new for new, old in enumerate(ids.tolist())}
        named = {name: places[value] for name, value in self.settings.items() if name.endswith("_token_id") and value in places}
        write_json(folder / "config.json", {**self.settings, **named, "vocab_size": len(ids)})
        return self.at(folder), ids

    def native(self, states: str, size: int) -> torch.nn.Module:
        """Load the pretrained model as a classification model of transformers, whose last layer has `size` outputs.

        It returns the outputs for each token if `states` is `tokens`, else for each model input. Raises ConfigError if transformers has
        no such classification model for this model family.
        """
        from vertune.nn.inputs import declare

        transformers = _loading.transformers_library()
        kind = transformers.AutoModelForTokenClassification if states == "tokens" else transformers.AutoModelForSequenceClassification
        try:
            whole: Any = _loading.load_quietly(kind, self.path, num_labels=size)
        except ValueError as error:
            raise ConfigError(
                f"pooling: native needs a classification model of the family '{self.settings.get('model_type')}', "
                "but transformers has none. Choose pooling: mean or cls."
            ) from error
        declare(whole.base_model, self)
        native: torch.nn.Module = whole
        return native

    @property
    def complete_tokenizer(self) -> tokenizers.Tokenizer:
        """A tokenizer that adds the prefix by itself, for other software; it is the tokenizer if there is no prefix."""
        if not self.prefix:
            return self.reader
        from tokenizers import Tokenizer

        from vertune.encoders._prefix import with_prefix

        described = with_prefix(json.loads(self.reader.to_str()), self.templates, self.tokenizer.id_to_token)
        return Tokenizer.from_str(json.dumps(described))

    @cached_property
    def templates(self) -> dict[int, Template]:
        """The special tokens, and those of the prefix, around one text (key 1) and around a pair (key 2)."""
        prefix = self.reader.encode(self.prefix, add_special_tokens=False).ids if self.prefix else []
        return {1: _tokens.template_of(self.tokenizer, False, prefix), 2: _tokens.template_of(self.tokenizer, True, prefix)}


def _check_views(views: Sequence[View]) -> None:
    """Raise ConfigError unless each model input consists of one or two text fields; a view names the fields of one model input."""
    for view in views:
        others = [name for name, kind in zip(view.fields, view.types, strict=False) if kind != "text"]
        if others:
            raise ConfigError(
                f"The encoder 'text' reads texts, but the field '{others[0]}' is not a text. "
                "Choose encoder: table, or join the columns into one text under data.fields."
            )
        if len(view.fields) > 2:
            raise ConfigError(
                f"The encoder 'text' reads one or two texts, but the task has {len(view.fields)} input fields: {', '.join(view.fields)}. "
                "Join columns into one text under data.fields."
            )


def _fields_of(views: Sequence[View]) -> list[str]:
    """Return the distinct fields that these views name; a view names the fields of one model input."""
    return list(dict.fromkeys(field for view in views for field in view.fields))
