"""Reduces the vocabulary of a tokenizer to the tokens in use, such that the tokenizer can still encode every text.

Works on the parsed content of `tokenizer.json`. The tokens in use and the special tokens are kept, and so are the tokens that are needed
to encode any other text: single characters, byte tokens, and for BPE the shorter tokens that a kept token is merged from.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.core.errors import ConfigError

Described = dict[str, Any]


def trimmed(described: Described, used: Collection[int]) -> tuple[Described, NDArray[np.int64]]:
    """Return the content of a smaller tokenizer.json, and an array whose element i is the old id of the token with the new id i.

    `described` is the content of the original tokenizer.json. The new tokenizer has the tokens with ids in `used`, the added tokens, and
    the tokens that its type of tokenizer always needs. Raise ConfigError if the tokenizer is neither WordPiece, Unigram nor BPE.
    """
    kind = described["model"].get("type")
    if kind not in _KEEP:
        raise ConfigError(
            f"A tokenizer of type {kind} can't be trimmed; supported types are {', '.join(_KEEP)}. "
            "Remove trim_vocabulary from compress.chain."
        )
    added = {int(token["id"]) for token in described.get("added_tokens") or []}
    ids = sorted({*used, *added, *_KEEP[kind](described["model"], set(used) | added)})
    places = {old: new for new, old in enumerate(ids)}
    made = {
        **described,
        "model": _CUT[kind](described["model"], places),
        "added_tokens": [{**token, "id": places[int(token["id"])]} for token in described.get("added_tokens") or []],
        "post_processor": _renamed(described.get("post_processor"), places),
        "truncation": None,
        "padding": None,
    }
    return made, np.array(ids, np.int64)


def _wordpiece(model: Described, used: set[int]) -> set[int]:
    """Return the ids of the tokens that a WordPiece tokenizer always needs, so that it can encode any text.

    These are the tokens of single characters (at the start of a word, and with the prefix `##`), the unknown token, and all tokens
    that contain a character for which there is no single-character token.
    """
    prefix, vocabulary = model.get("continuing_subword_prefix") or "##", model["vocab"]
    bare = {token: token.removeprefix(prefix) for token in vocabulary}
    single = {token for token in vocabulary if len(bare[token]) == 1}
    kept = {vocabulary[token] for token in single} | {vocabulary[name] for name in [model.get("unk_token")] if name in vocabulary}
    for token, place in vocabulary.items():
        inner = bare[token] if token.startswith(prefix) else bare[token][1:]
        first = token.startswith(prefix) or bare[token][:1] in single
        if not first or any(prefix + letter not in single for letter in inner):
            kept.add(place)
    return kept


def _unigram(model: Described, used: set[int]) -> set[int]:
    """Return the ids of the tokens that a Unigram tokenizer always needs: single characters, byte tokens and the unknown token."""
    kept = {place for place, (token, _) in enumerate(model["vocab"]) if len(token) == 1 or _is_byte(token)}
    return kept | ({int(model["unk_id"])} if model.get("unk_id") is not None else set())


def _bpe(model: Described, used: set[int]) -> set[int]:
    """Return the ids of the tokens that a BPE tokenizer always needs, so that it can encode any text.

    These are single characters, byte tokens, the unknown token, and all tokens that the tokens in `used` are merged from.
    """
    vocabulary = model["vocab"]
    parts = {
        vocabulary[left + right]: (vocabulary[left], vocabulary[right]) for left, right in _merges(model) if left + right in vocabulary
    }
    kept = {place for token, place in vocabulary.items() if len(token) == 1 or _is_byte(token)}
    kept |= {vocabulary[name] for name in [model.get("unk_token")] if name in vocabulary}
    waiting = list(used)
    while waiting:
        for part in parts.get(waiting.pop(), ()):
            if part not in kept:
                kept.add(part)
                waiting.append(part)
    return kept


def _is_byte(token: str) -> bool:
    return len(token) == 6 and token.startswith("<0x")


def _merges(model: Described) -> list[tuple[str, str]]:
    """Return the BPE merges as pairs of tokens; older files store a pair as one string with a space between the two tokens."""
    return [tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ", 1)) for merge in model["merges"]]


def _cut_words(model: Described, places: dict[int, int]) -> Described:
    kept = {token: places[place] for token, place in model["vocab"].items() if place in places}
    return {**model, "vocab": dict(sorted(kept.items(), key=lambda item: item[1]))}


def _cut_pieces(model: Described, places: dict[int, int]) -> Described:
    unknown, pieces = model.get("unk_id"), model["vocab"]
    kept = [pieces[place] for place in places if place < len(pieces)]  # ids of added tokens can exceed the vocabulary
    return {**model, "vocab": kept, "unk_id": None if unknown is None else places[int(unknown)]}


def _cut_merges(model: Described, places: dict[int, int]) -> Described:
    made = _cut_words(model, places)
    known = made["vocab"]
    merges = [[left, right] for left, right in _merges(model) if left in known and right in known and left + right in known]
    return {**made, "merges": merges}


_KEEP = {"WordPiece": _wordpiece, "Unigram": _unigram, "BPE": _bpe}
_CUT = {"WordPiece": _cut_words, "Unigram": _cut_pieces, "BPE": _cut_merges}


def _renamed(value: Any, places: dict[int, int]) -> Any:
    """Return a copy of a tokenizer's post-processor with new ids of the special tokens; `places` maps each old id to the new id."""
    if not isinstance(value, dict):
        return value
    made = dict(value)
    if made.get("type") == "Sequence":
        made["processors"] = [_renamed(inner, places) for inner in made["processors"]]
    for name in ("cls", "sep"):
        if isinstance(made.get(name), list):
            made[name] = [made[name][0], places[int(made[name][1])]]
    if isinstance(made.get("special_tokens"), dict):
        made["special_tokens"] = {
            name: {**token, "ids": [places[int(place)] for place in token["ids"]]} for name, token in made["special_tokens"].items()
        }
    return made
