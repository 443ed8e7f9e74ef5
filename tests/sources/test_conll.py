from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities

from vertune.core.errors import DataError
from vertune.sources.conll import Conll, join, spans


@pytest.fixture
def read(tmp_path):
    def read(content: str, **options):
        path = tmp_path / "rows.conll"
        path.write_text(content, encoding="utf-8")
        return Conll(path=str(path), **options).read()

    return read


def marked(frame, row=0):
    text = frame["text"][row]
    return [(text[span["start"] : span["end"]], span["label"]) for span in frame["spans"].to_list()[row]]


IOB1 = "EU I-ORG\nrejects O\nGerman I-MISC\nFrench B-MISC\ncall O"
BIO = "EU B-ORG\nrejects O\nGerman B-MISC\nFrench B-MISC\ncall O"
BIOES = "EU S-ORG\nrejects O\nGerman S-MISC\nFrench S-MISC\ncall O"
BMES = BIOES


@pytest.mark.parametrize("content", [IOB1, BIO, BIOES], ids=["iob1", "bio", "bioes"])
def test_schemes_say_the_same(read, content):
    frame = read(content)
    assert frame["text"].to_list() == ["EU rejects German French call"]
    assert marked(frame) == [("EU", "ORG"), ("German", "MISC"), ("French", "MISC")]


@pytest.mark.parametrize("tags", [["B", "I", "I"], ["B", "I", "E"], ["B", "M", "E"], ["I", "I", "I"]])
def test_long_spans(read, tags):
    frame = read("".join(f"{token} {tag}-LOC\n" for token, tag in zip(["New", "York", "City"], tags, strict=True)))
    assert marked(frame) == [("New York City", "LOC")]


def test_four_columns_documents_and_comments(read):
    content = "-DOCSTART- -X- -X- O\n\nAda NNP B-NP B-PER\nruns VBZ B-VP O\n\n-DOCSTART- -X- -X- O\n\n# id = 4\nBerlin NNP B-NP B-LOC\n"
    frame = read(content, document="doc")
    assert frame["text"].to_list() == ["Ada runs", "Berlin"]
    assert frame["doc"].to_list() == ["rows.conll:1", "rows.conll:2"]
    assert marked(frame, 1) == [("Berlin", "LOC")]
    assert read(content, tag=2)["spans"].to_list()[0][1]["label"] == "VP"


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        (["我", "在", "北", "京"], "我在北京"),
        (["我们", "use", "GPU", "训练", "模型"], "我们 use GPU 训练模型"),
        (["2", "0", "2", "4", "年"], "2024年"),
        (["买", "i", "P", "h", "o", "n", "e"], "买iPhone"),
        (["東京", "タワー", "。"], "東京タワー。"),
        (["a", "b"], "a b"),
    ],
)
def test_spaces_stand_between_words_and_not_between_cjk(tokens, text):
    joined, offsets = join(tokens)
    assert joined == text
    assert [joined[start:end] for start, end in offsets] == tokens


def test_join_can_be_told():
    assert join(["我", "在"], "space")[0] == "我 在"
    assert join(["a", "b"], "none")[0] == "ab"


@given(st.lists(st.sampled_from(["O", "B-A", "I-A", "B-B", "I-B", "E-A", "S-A", "S-B", "E-B"]), min_size=1, max_size=12))
def test_spans_are_those_of_seqeval(tags):
    tokens = [f"t{place}" for place in range(len(tags))]
    _, offsets = join(tokens)
    expected = [{"start": offsets[first][0], "end": offsets[last][1], "label": label} for label, first, last in get_entities(tags)]
    assert spans(tags, offsets) == expected


def test_offsets_are_code_points(read):
    frame = read("🎉 O\n𠮷野家 B-ORG\n")
    assert marked(frame) == [("𠮷野家", "ORG")]
    assert frame["spans"].to_list()[0][0]["start"] == frame["text"][0].index("𠮷")


def test_bad_sentences_are_rejected_with_their_line(read):
    frame = read("Ada B-PER\n\nlonely\n\nBob X-PER\n\nCid B-PER\nDan NNP B-PER\n\nEve\tB-PER\n\tO\n")
    errors = frame["__error"].to_list()
    assert [bool(error) for error in errors] == [False, True, True, True, True]
    assert "1 columns in line 3" in errors[1]
    assert "the tag 'X-PER' in line 5" in errors[2]
    assert "3 columns in line 8" in errors[3]
    assert "no token in line 11" in errors[4]


def test_what_is_no_conll_is_refused(read):
    with pytest.raises(DataError, match="is not a CoNLL file"):
        read("text,label\nhello,a\n")
    with pytest.raises(DataError, match="contains no sentences"):
        read("\n\n")
