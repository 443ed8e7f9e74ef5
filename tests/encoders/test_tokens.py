"""Cutting against the tokenizers library's own truncation, and tokens that are read once, stored, and encoded from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertune.core.errors import StorageError
from vertune.core.records import Feature, View
from vertune.encoders import _tokens
from vertune.encoders.text import Text
from vertune.testing import tiny

ONE = View("text", ("text",), windows=True)
PAIR = View("pair", ("text", "text_pair"), windows=True)
CUT = View("pair", ("text", "text_pair"), cut=1, windows=True)
WORDS = st.lists(st.sampled_from(["tell", "rome", "you", "x1", "??", "é", "中文", "😀"]), max_size=24).map(" ".join)
RECORDS = st.lists(st.fixed_dictionaries({"text": WORDS}, optional={"text_pair": WORDS}), min_size=1, max_size=4)


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> str:
    return str(tiny.write("bert", tmp_path_factory.mktemp("base") / "bert", ["tell", "rome", "you"]))


def plain(features: list[Feature]) -> list[tuple]:
    return [
        (one.record, one.role, one.window, one.truncated, one.payload.ids.tolist(), one.payload.types.tolist(),
         one.places.segments.tolist(), one.places.offsets.tolist())
        for one in features
    ]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(text=WORDS, size=st.integers(4, 20), how=st.sampled_from(["head", "tail", "window"]), stride=st.sampled_from([0.0, 0.25, 0.5]))
def test_one_text_is_cut_as_the_tokenizers_library_cuts_it(base, text, size, how, stride) -> None:
    encoder = Text(base=base, max_tokens=size, truncation=how, stride=stride)
    room = size - 2
    overlap = room - max(1, int(room * (1 - stride)))
    oracle = Text(base=base).tokenizer
    oracle.enable_truncation(size, stride=overlap, direction="left" if how == "tail" else "right")
    first = oracle.encode(text)
    windows = [first, *first.overflowing] if how == "window" else [first]
    features = encoder.encode([{"text": text}], [ONE])
    assert [feature.payload.ids.tolist() for feature in features] == [window.ids for window in windows]
    assert [feature.places.offsets.tolist() for feature in features] == [list(map(list, window.offsets)) for window in windows]
    oracle.no_truncation()
    lost = len(oracle.encode(text).ids) - len(first.ids) if how != "window" else 0
    assert {feature.truncated for feature in features} == {lost}


@settings(max_examples=60, deadline=None)
@given(
    records=RECORDS,
    size=st.integers(8, 20),
    how=st.sampled_from(["head", "tail", "head_tail", "window"]),
    view=st.sampled_from([ONE, PAIR, CUT]),
)
def test_features_hold_as_much_as_fits_and_count_the_rest(base, records, size, how, view) -> None:
    encoder = Text(base=base, max_tokens=size, truncation=how)
    lengths = encoder.lengths(records, [view])
    features = encoder.encode(records, [view])
    assert {feature.record for feature in features} == set(range(len(records)))
    for feature in features:
        text = records[feature.record]
        fields = [text.get(name, "") for name in view.fields]
        assert feature.cost == feature.positions == len(feature.payload.ids) <= size
        if how != "window":
            assert feature.cost + feature.truncated == lengths[feature.record]
        for segment, (start, end) in zip(feature.places.segments, feature.places.offsets, strict=True):
            assert segment < 0 or 0 <= start < end <= len(fields[segment])


@settings(max_examples=40, deadline=None)
@given(records=RECORDS, size=st.integers(8, 20), cut=st.integers(0, 4))
def test_stored_tokens_give_the_same_features(base, tmp_path_factory, records, size, cut) -> None:
    encoder = Text(base=base, max_tokens=size, truncation="window")
    views = [ONE, PAIR]
    expected = plain(encoder.encode(records, views))
    tokens = encoder.read(records, ["text", "text_pair"])
    file = tmp_path_factory.mktemp("tokens") / "train.safetensors"
    tokens.save(file)
    loaded = encoder.load_tokens(file)
    assert loaded is not None
    assert len(loaded) == len(records)
    assert plain(encoder.encode(records, views, loaded)) == expected
    cut = min(cut, len(records))
    joined = loaded.take(np.arange(cut)).joined(loaded.take(np.arange(cut, len(records))))
    assert plain(encoder.encode(records, views, joined)) == expected
    assert encoder.lengths(records, views, joined).tolist() == encoder.lengths(records, views).tolist()
    assert encoder.resolve(records, views, joined) == encoder.resolve(records, views)


class Counting:
    """A tokenizer that counts the texts that it is asked to encode."""

    def __init__(self, tokenizer) -> None:
        self.tokenizer, self.texts = tokenizer, 0

    def __getattr__(self, name):
        return getattr(self.tokenizer, name)

    def encode(self, text, **options):
        self.texts += 1
        return self.tokenizer.encode(text, **options)

    def encode_batch(self, texts, **options):
        self.texts += len(texts)
        return self.tokenizer.encode_batch(texts, **options)


def test_a_text_that_was_read_is_not_tokenised_again(base) -> None:
    encoder = Text(base=base)
    encoder.templates  # noqa: B018 - the special tokens are learnt from a short text, once
    encoder.__dict__["tokenizer"] = counting = Counting(encoder.tokenizer)
    records = [{"text": "tell you", "text_pair": "rome"}] * 5
    tokens = encoder.read(records, ["text", "text_pair"])
    assert counting.texts == 10
    resolved = encoder.resolve(records, [PAIR], tokens)
    resolved.lengths(records, [PAIR], tokens)
    resolved.encode(records, [PAIR], tokens)
    assert resolved.unknown_share([], tokens) == 0
    assert counting.texts == 10
    resolved.encode(records, [PAIR])
    assert counting.texts == 20


def test_tokens_of_another_tokenizer_are_not_loaded(base, tmp_path) -> None:
    Text(base=base).read([{"text": "rome"}], ["text"]).save(tmp_path / "train.safetensors")
    other = tiny.write("bert", tmp_path / "other", ["berlin"])
    assert Text(base=str(other)).load_tokens(tmp_path / "train.safetensors") is None


def test_tokens_that_can_t_be_read_are_an_error(base, tmp_path) -> None:
    (tmp_path / "train.safetensors").write_bytes(b"nothing")
    with pytest.raises(StorageError, match="Prepare the dataset again"):
        Text(base=base).load_tokens(tmp_path / "train.safetensors")


def test_a_probe_is_a_batch_of_the_costs_asked_for(base) -> None:
    encoder = Text(base=base)
    arrays = encoder.probe([3, 7])
    assert encoder.mask(arrays).sum(1).tolist() == [3, 7]
    assert {name: array.shape for name, array in arrays.items()} == dict.fromkeys([_tokens.SEQUENCE, _tokens.MASK, _tokens.TYPES], (2, 7))
    assert np.all(arrays[_tokens.SEQUENCE] < encoder.settings["vocab_size"])


LONG = st.tuples(
    st.lists(st.sampled_from(["tell", "rome", "you", "x1", "?", "中文", "zzz", "  "]), min_size=1, max_size=40), st.integers(1, 400)
)


@settings(max_examples=60, deadline=None)
@given(first=LONG, second=LONG, spaced=st.booleans(), size=st.integers(6, 24), view=st.sampled_from([ONE, PAIR, CUT]))
def test_a_long_text_gives_the_input_of_its_complete_tokens(base, first, second, spaced, size, view) -> None:
    encoder = Text(base=base, max_tokens=size, truncation="head")
    record = {name: (" " * spaced).join(words * times) for name, (words, times) in (("text", first), ("text_pair", second))}
    found, complete = (encoder.encode([record], (view,), tokens) for tokens in (None, encoder.read([record], ["text", "text_pair"])))
    for one, other in zip(found, complete, strict=True):
        assert (one.truncated > 0) == (other.truncated > 0)
        one.truncated = other.truncated
    assert plain(found) == plain(complete)


def test_only_the_beginning_of_a_long_text_is_read(base, monkeypatch) -> None:
    read: list[int] = []
    tokenise = _tokens.tokenise
    monkeypatch.setattr(_tokens, "tokenise", lambda tokenizer, texts: read.extend(map(len, texts)) or tokenise(tokenizer, texts))
    encoder = Text(base=base, max_tokens=16, truncation="head")
    encoder.encode([{"text": "tell rome " * 100_000}, {"text": "you"}], (ONE,))
    assert sum(read) < 16 * 8 * 8 + 4
    read.clear()
    Text(base=base, max_tokens=16, truncation="window").encode([{"text": "tell rome " * 100}], (ONE,))
    assert read == [1000]
