"""A trimmed tokenizer says what the whole one says of the texts it was trimmed to, and still encodes every other text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from vertune.core.errors import ConfigError
from vertune.encoders import _vocabulary

TEXTS = [
    "the card was declined at the machine, why was the card declined",
    "transferring money to another account takes days",
    "我的银行卡被机器吞了 怎么办",
    "exchange rates for transferring currencies are unclear",
    "unbelievable transformations of cards and machines",
] * 3
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def wordpiece() -> Tokenizer:
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.train_from_iterator(TEXTS, trainers.WordPieceTrainer(vocab_size=400, special_tokens=SPECIAL, show_progress=False))
    return wrapped(made)


def bpe() -> Tokenizer:
    made = Tokenizer(models.BPE(unk_token=None))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=500, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False)
    )
    return wrapped(made)


def unigram() -> Tokenizer:
    made = Tokenizer(models.Unigram())
    made.pre_tokenizer = pre_tokenizers.Metaspace()
    made.train_from_iterator(TEXTS, trainers.UnigramTrainer(vocab_size=200, special_tokens=SPECIAL, unk_token="[UNK]", show_progress=False))
    return wrapped(made)


def wrapped(made: Tokenizer) -> Tokenizer:
    special = [(name, made.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    made.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=special)
    return made


WHOLE = {"wordpiece": wordpiece(), "bpe": bpe(), "unigram": unigram()}
FIELD = ["the card was declined", "transferring money", "我的银行卡"]


def trimmed(name: str) -> tuple[Tokenizer, list[int]]:
    whole = WHOLE[name]
    used = {place for text in FIELD for place in whole.encode(text).ids}
    described, ids = _vocabulary.trimmed(json.loads(whole.to_str()), used)
    return Tokenizer.from_str(json.dumps(described)), ids.tolist()


SMALL = {name: trimmed(name) for name in WHOLE}


@pytest.mark.parametrize("name", WHOLE)
def test_texts_of_the_field_have_the_same_tokens(name):
    small, ids = SMALL[name]
    assert len(ids) == small.get_vocab_size() < WHOLE[name].get_vocab_size()
    for text in FIELD:
        assert [ids[place] for place in small.encode(text).ids] == WHOLE[name].encode(text).ids
        assert small.encode(text).tokens == WHOLE[name].encode(text).tokens


@pytest.mark.parametrize("name", WHOLE)
@settings(max_examples=60, deadline=None)
@given(text=st.lists(st.sampled_from([*" ".join(TEXTS).split(), "x", "🙂", "zzz", "卡"]), max_size=8).map(" ".join))
def test_what_the_whole_tokenizer_knew_the_small_one_knows(name, text):
    small, ids = SMALL[name]
    ours, theirs = WHOLE[name].encode(text), small.encode(text)
    unknown = [WHOLE[name].token_to_id("[UNK]"), small.token_to_id("[UNK]")]
    assert theirs.ids.count(unknown[1]) <= ours.ids.count(unknown[0])
    assert all(place < len(ids) for place in theirs.ids)
    assert theirs.ids[0] == small.token_to_id("[CLS]")


def test_another_kind_of_tokenizer_is_refused():
    with pytest.raises(ConfigError, match="WordLevel can't be trimmed"):
        _vocabulary.trimmed({"model": {"type": "WordLevel"}}, {1})
