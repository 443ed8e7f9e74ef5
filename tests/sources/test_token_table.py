"""Tables with one token per row and numbered sentences are read as sentences with spans."""

from __future__ import annotations

import pytest

from vertune.core.errors import DataError
from vertune.sources.conll import Conll

SENTENCES = [
    [("Ada", "B-PER"), ("Lovelace", "I-PER"), ("wrote", "O"), (",", "O")],
    [("Berlin", "B-LOC")],
    [("北", "B-LOC"), ("京", "I-LOC")],
]


def table(delimiter=",", repeat=False, head=("Sentence #", "Word", "POS", "Tag")):
    """The sentences as a table; the number of a sentence stands in its first row only, or in all."""
    lines = [delimiter.join(head)]
    for number, sentence in enumerate(SENTENCES, 1):
        for place, (token, tag) in enumerate(sentence):
            name = f"Sentence: {number}" if repeat or place == 0 else ""
            token = f'"{token}"' if delimiter in token else token
            lines.append(delimiter.join([name, token, "X", tag]))
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("repeat", [False, True])
def test_numbered_sentences_become_rows(tmp_path, delimiter, repeat):
    path = tmp_path / "ner.csv"
    path.write_text(table(delimiter, repeat), encoding="utf-8")
    assert Conll.recognises(path)
    source, notes = Conll(path=str(path)).detect()
    assert (source.sentence, source.token, source.tag) == (0, 1, 3)
    assert "one token per row" in notes[0]
    frame = source.read()
    assert frame["text"].to_list() == ["Ada Lovelace wrote ,", "Berlin", "北京"]
    spans = [
        [(text[span["start"] : span["end"]], span["label"]) for span in row] for text, row in frame.select("text", "spans").iter_rows()
    ]
    assert spans == [[("Ada Lovelace", "PER")], [("Berlin", "LOC")], [("北京", "LOC")]]
    assert frame["__error"].to_list() == [None] * 3


def test_a_row_that_can_t_be_read_costs_its_sentence_alone(tmp_path):
    path = tmp_path / "ner.csv"
    path.write_text(table().replace("Berlin,X,B-LOC", "Berlin,X,nonsense"), encoding="utf-8")
    frame = Conll(path=str(path), sentence=0, token=1, tag=3, header=True).read()
    assert [error is None for error in frame["__error"]] == [True, False, True]
    assert "has the tag 'nonsense' in line 6" in frame["__error"][1]


@pytest.mark.parametrize(
    "content",
    [
        "text,label\na,b\nc,d\ne,f\n",
        "id,text,label\n1,a,O\n2,b,O\n3,c,O\n",  # no tag but O
        "sentence,word\n1,a\n1,b\n",
    ],
)
def test_other_tables_are_left_to_other_sources(tmp_path, content):
    path = tmp_path / "rows.csv"
    path.write_text(content, encoding="utf-8")
    assert not Conll.recognises(path)
    assert Conll(path=str(path)).detect() == (Conll(path=str(path)), ())


def test_a_field_without_an_end_is_refused(tmp_path):
    path = tmp_path / "ner.csv"
    path.write_text(table() + 'Sentence: 9,"' + "x" * 200_000, encoding="utf-8")
    with pytest.raises(DataError, match="one token per row"):
        Conll(path=str(path), sentence=0, token=1, tag=3, header=True).read()
