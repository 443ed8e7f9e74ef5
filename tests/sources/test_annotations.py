"""The same marked texts, as each annotation tool exports them, become the same rows."""

from __future__ import annotations

import csv
import io
import json

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertune.core.errors import DataError
from vertune.sources import huggingface
from vertune.sources.annotations import Annotations
from vertune.sources.huggingface import Huggingface

TEXTS = [
    ("Anna Smith lives in Paris.", [(0, 10, "PER"), (20, 25, "LOC")]),
    ("Nobody came.", []),
    ("In Oslo I met Li Na", [(3, 7, "LOC"), (14, 19, "PER")]),
    ("李娜住在波士顿", [(0, 2, "PER"), (4, 7, "LOC")]),
]


def _entities(spans, start="start", end="end", label="label", **more):
    return [{start: a, end: b, label: name, **more} for a, b, name in spans]


def _label_studio(text, spans):
    """Regions of Label Studio, which counts UTF-16 units."""
    units = [len(text[:place].encode("utf-16-le")) // 2 for place in range(len(text) + 1)]
    return [{"start": units[a], "end": units[b], "text": text[a:b], "labels": [name]} for a, b, name in spans]


def _lines(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _csv(rows):
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    writer.writerow(["annotation_id", "id", "label", "text"])
    writer.writerows([place, place, json.dumps(_label_studio(text, spans)), text] for place, (text, spans) in enumerate(rows))
    return buffer.getvalue()


def _cluener(text, spans):
    labels: dict = {}
    for a, b, name in spans:
        labels.setdefault(name, {}).setdefault(text[a:b], []).append([a, b - 1])
    return labels


EXPORTS = {
    "doccano_old.jsonl": lambda rows: _lines({"id": 1, "text": text, "label": [list(span) for span in spans]} for text, spans in rows),
    "doccano_labels.jsonl": lambda rows: _lines(
        {"text": text, "labels": [list(span) for span in spans], "meta": {}} for text, spans in rows
    ),
    "doccano_relations.jsonl": lambda rows: _lines(
        {"id": 1, "text": text, "entities": _entities(spans, "start_offset", "end_offset", id=3), "relations": [], "Comments": []}
        for text, spans in rows
    ),
    "doccano_first.json": lambda rows: json.dumps(
        [{"text": text, "annotations": _entities(spans, "start_offset", "end_offset", user=1)} for text, spans in rows]
    ),
    "label_studio.csv": _csv,
    "label_studio_min.json": lambda rows: json.dumps(
        [{"text": text, "id": 1, "label": _label_studio(text, spans), "annotator": 1, "annotation_id": 1} for text, spans in rows]
    ),
    "label_studio.json": lambda rows: json.dumps(
        [
            {
                "id": place,
                "data": {"text": text, "source": "web"},
                "annotations": [{"result": [{"type": "labels", "from_name": "label", "value": one} for one in _label_studio(text, spans)]}],
            }
            for place, (text, spans) in enumerate(rows)
        ],
        indent=2,
    ),
    "prodigy.jsonl": lambda rows: _lines(
        {"text": text, "spans": _entities(spans, token_start=0), "answer": "accept"} for text, spans in rows
    ),
    "spacy.json": lambda rows: json.dumps([[text, {"entities": spans}] for text, spans in rows]),
    "spacy_annotator.json": lambda rows: json.dumps(
        {"classes": ["PER", "LOC"], "annotations": [[text, {"entities": spans}] for text, spans in rows]}, indent=1
    ),
    "spacy_docs.json": lambda rows: json.dumps(
        [{"id": 0, "paragraphs": [{"raw": text, "entities": _entities(spans), "sentences": []} for text, spans in rows]}]
    ),
    "cluener.jsonl": lambda rows: _lines({"text": text, "label": _cluener(text, spans)} for text, spans in rows),
    "plain.jsonl": lambda rows: _lines({"text": text, "entities": _entities(spans, "begin", "end", "type")} for text, spans in rows),
}


def _read(path, **options):
    return Annotations(path=str(path), **options).read()


def _rows(frame):
    return [(row["text"], [(span["start"], span["end"], span["label"]) for span in row["spans"]]) for row in frame.to_dicts()]


@pytest.mark.parametrize("name", EXPORTS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_each_export_gives_the_same_rows(tmp_path, name, encoding):
    path = tmp_path / name
    path.write_text(EXPORTS[name](TEXTS), encoding=encoding)
    frame = _read(path)
    assert frame["__error"].null_count() == len(TEXTS)
    assert _rows(frame) == TEXTS
    assert encoding != "utf-8" or Annotations.recognises(path)


_LABELLED = st.text(st.sampled_from("ab 中😀\n"), min_size=1, max_size=12).flatmap(
    lambda text: st.tuples(
        st.just(text),
        st.lists(st.integers(0, len(text)), max_size=6, unique=True).map(
            lambda cuts: [(a, b, "PL"[place % 2]) for place, (a, b) in enumerate(zip(sorted(cuts)[::2], sorted(cuts)[1::2], strict=False))]
        ),
    )
)


@pytest.mark.parametrize("name", EXPORTS)
@settings(max_examples=20, deadline=None)
@given(st.lists(_LABELLED, min_size=1, max_size=4))
def test_any_marked_texts_are_read_back(tmp_path_factory, name, texts):
    path = tmp_path_factory.mktemp("export") / name
    path.write_text(EXPORTS[name](texts), encoding="utf-8", newline="")
    rows = _rows(_read(path))
    assert [(text, sorted(spans)) for text, spans in rows] == [(text, sorted(spans)) for text, spans in texts]


TOKENS = ["Anna", "Smith", "and", "Omar", "live", "in", "New", "York", "."]
BIO = ["B-PER", "I-PER", "O", "B-PER", "O", "O", "B-LOC", "I-LOC", "O"]
SCHEMES = {
    "bio": BIO,
    "iob1": ["I-PER", "I-PER", "O", "I-PER", "O", "O", "I-LOC", "I-LOC", "O"],
    "bioes": ["B-PER", "E-PER", "O", "S-PER", "O", "O", "B-LOC", "E-LOC", "O"],
    "bmes": ["B-PER", "E-PER", "O", "S-PER", "O", "O", "B-LOC", "E-LOC", "O"],
    "bilou": ["B-PER", "L-PER", "O", "U-PER", "O", "O", "B-LOC", "L-LOC", "O"],
    "labels": ["PER", "PER", "O", "PER", "O", "O", "LOC", "LOC", "O"],
}
EXPECTED = ("Anna Smith and Omar live in New York .", [(0, 10, "PER"), (15, 19, "PER"), (28, 36, "LOC")])


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("tokens", "tags"), [("tokens", "ner_tags"), ("words", "labels"), ("tokens", "tags"), ("text", "label")])
def test_tokens_with_tags_of_each_scheme(tmp_path, scheme, tokens, tags):
    path = tmp_path / "rows.jsonl"
    path.write_text(_lines([{"id": "7", tokens: TOKENS, tags: SCHEMES[scheme], "pos_tags": [0] * 9}] * 2))
    assert Annotations.recognises(path)
    frame = _read(path)
    assert _rows(frame) == [EXPECTED] * 2
    assert frame["id"].to_list() == ["7", "7"]


@pytest.mark.parametrize("tags", ["tags", "labels", "word_labels"])
def test_a_text_and_one_text_with_its_tags(tmp_path, tags):
    rows = [
        ("Anna Smith lives in Paris", "B-PER I-PER O O B-LOC"),
        ("Nobody came", "O O"),
        ("李娜住在波士顿", "B-PER I-PER O O B-LOC I-LOC I-LOC"),
    ]
    path = tmp_path / "rows.csv"
    path.write_text(f"sentence,{tags}\n" + "".join(f"{text},{tag}\n" for text, tag in rows), encoding="utf-8")
    assert Annotations.recognises(path)
    assert _rows(_read(path)) == [
        (rows[0][0], [(0, 10, "PER"), (20, 25, "LOC")]), (rows[1][0], []), (rows[2][0], [(0, 2, "PER"), (4, 7, "LOC")]),
    ]  # fmt: skip
    path.write_text(f"sentence,{tags}\n" + "".join(f"a bike of type {place},B-{place % 3}\n" for place in range(9)))
    assert not Annotations.recognises(path)


def test_numbers_of_tags_are_named_by_the_option_the_file_or_their_order(tmp_path):
    names = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    rows = [{"tokens": TOKENS, "ner_tags": [names.index(tag) for tag in BIO]}] * 3
    path = tmp_path / "rows.jsonl"
    path.write_text(_lines(rows))
    assert _rows(_read(path, names=names))[0] == EXPECTED
    unnamed = (EXPECTED[0], [(a, b, {"PER": "label_1", "LOC": "label_2"}[name]) for a, b, name in EXPECTED[1]])
    assert _rows(_read(path))[0] == unnamed
    hub = tmp_path / "rows.parquet"
    features = {"ner_tags": {"feature": {"names": names, "_type": "ClassLabel"}, "_type": "Sequence"}}
    pl.DataFrame(rows).write_parquet(hub, metadata={"huggingface": json.dumps({"info": {"features": features}})})
    assert Annotations.recognises(hub)
    assert _rows(_read(hub))[0] == EXPECTED
    added, errors = huggingface._with_spans(pl.DataFrame(rows))  # of a data set that names no classes
    assert _rows(added)[0] == unnamed
    assert errors == [None] * 3
    assert "there are only names for 0 to 2" in _read_errors(path, rows, names=names[:3])


def _read_errors(path, rows, **options):
    path.write_text(_lines([*rows, {"tokens": ["a", "b"], "ner_tags": [0, 1]}]))
    frame = _read(path, **options)
    return frame["__error"][0]


def test_numbers_without_names_that_do_not_fit_the_usual_order(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(_lines([{"tokens": ["a", "b", "c", "d", "e"], "ner_tags": [0, 2, 2, 0, 1]}]))
    assert _rows(_read(path)) == [("a b c d e", [(2, 5, "label_2"), (8, 9, "label_1")])]
    path.write_text(_lines([{"tokens": ["a", "b", "c", "d"], "ner_tags": [4, 4, 0, 4]}]))
    with pytest.raises(DataError, match="option 'names'"):
        _read(path)


def test_tokens_of_a_hub_are_texts_with_spans(tmp_path):
    datasets = pytest.importorskip("datasets")
    names = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    tags = datasets.Sequence(datasets.ClassLabel(names=names))
    features = datasets.Features({"tokens": datasets.Sequence(datasets.Value("string")), "ner_tags": tags})
    rows = {"tokens": [TOKENS, ["Rome"]], "ner_tags": [[names.index(tag) for tag in BIO], [3]]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(str(tmp_path / "hub"))
    assert _rows(Huggingface(path=str(tmp_path / "hub")).read()) == [EXPECTED, ("Rome", [(0, 4, "LOC")])]


def test_documents_of_spacy_with_tokens(tmp_path):
    tokens = [{"id": place, "orth": token, "ner": tag} for place, (token, tag) in enumerate(zip(TOKENS, SCHEMES["bilou"], strict=True))]
    paragraph = {"raw": "Anna Smith  and Omar live in New York.", "sentences": [{"tokens": tokens[:5]}, {"tokens": tokens[5:]}]}
    path = tmp_path / "docs.json"
    path.write_text(json.dumps([{"id": 1, "paragraphs": [paragraph]}]))
    assert _rows(_read(path)) == [(paragraph["raw"], [(0, 10, "PER"), (16, 20, "PER"), (29, 37, "LOC")])]


def test_a_folder_of_brat(tmp_path):
    folder = tmp_path / "corpus [1]"
    (folder / "deeper").mkdir(parents=True)
    for place, (text, spans) in enumerate(TEXTS):
        file = folder / ("deeper" if place % 2 else "") / f"{place}.txt"
        file.write_text(text + "\n", encoding="utf-8")
        lines = [f"T{number}\t{label} {a} {b}\t{text[a:b]}\n" for number, (a, b, label) in enumerate(spans)]
        file.with_suffix(".ann").write_text("".join(lines) + "R1\tLives Arg1:T1 Arg2:T2\n#1\tAnnotatorNotes T1\tsure\n", encoding="utf-8")
    assert Annotations.recognises(folder)
    frame = _read(folder)
    assert sorted(_rows(frame)) == sorted((text + "\n", spans) for text, spans in TEXTS)
    before = Annotations(path=str(folder)).fingerprint()
    (folder / "0.ann").write_text("T1\tPER 0 4;5 10\tAnna Smith\n")
    assert Annotations(path=str(folder)).fingerprint() != before
    frame = _read(folder)
    assert "has the span T1 ('PER 0 4;5 10')" in frame.filter(frame["document"] == "0.txt")["__error"][0]


def test_what_annotators_skipped_or_is_wrong_is_rejected_by_record(tmp_path):
    path = tmp_path / "rows.jsonl"
    good = {"text": "Anna came", "label": [[0, 4, "PER"]]}
    bad = [
        ({"text": "Anna came", "spans": [], "answer": "reject"}, "has the answer 'reject'"),
        ({"text": "Anna came", "label": "positive"}, "is no text with marked spans"),
        (
            {"text": "Anna came", "label": [{"start": 1, "end": 5, "label": "PER", "text": "Anna"}]},
            "has the span 'Anna', which is not where",
        ),
        ({"text": "Anna came", "label": [[0.5, 4, "PER"]]}, "where whole numbers are expected"),
        ({"data": {"text": "Anna"}, "annotations": []}, "has not been annotated"),
        ({"data": {"text": "Anna"}, "annotations": [{"was_cancelled": True, "result": []}]}, "was skipped by its annotator"),
        ({"tokens": ["a", " "], "tags": ["O", "O"]}, "has an empty token"),
        ({"tokens": ["a", "b"], "tags": ["O", "B-"]}, "has the tag 'B-'"),
        (7, "is no text with marked spans"),
        (None, "is no text with marked spans"),
    ]
    path.write_text(_lines([good, *(value for value, _ in bad), good]))
    frame = _read(path)
    errors = frame["__error"].to_list()
    assert errors[0] is errors[-1] is None
    assert [says for (_, says), error in zip(bad, errors[1:-1], strict=True) if says not in (error or "")] == []
    path.write_text(_lines([{"text": "a", "label": "b"}]))
    with pytest.raises(DataError, match="contains no texts with marked spans"):
        _read(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.jsonl", _lines([{"text": "a b", "labels": ["x", "y"]}, {"text": "c", "labels": []}])),
        ("native.jsonl", _lines([{"text": "Anna", "spans": _entities([(0, 4, "PER")])}])),
        ("squad.json", json.dumps({"data": [{"title": "t", "paragraphs": [{"context": "a", "qas": [{"question": "b", "answers": []}]}]}]})),
        ("rows.csv", "text,label,start\nAnna,PER,0\nBen,PER,1\n"),
        ("rows.csv", "text,label\n[[a]],x\n"),
        ("broken.json", '[{"a": '),
        ("words.txt", "some words\nand more\n"),
        ("empty.jsonl", "null\n3\n"),
        ("columns.json", json.dumps({"text": ["a b", "c d"], "label": ["x", "y"]})),
    ],
)
def test_other_files_are_not_taken_for_annotations(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    assert not Annotations.recognises(tmp_path / name)
    assert not Annotations.recognises(tmp_path / "missing.jsonl")
