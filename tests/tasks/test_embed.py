"""Embedding: queries rank documents."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from vertune.core.errors import DataError
from vertune.core.records import Feature
from vertune.tasks.embed import Embed

DATA = Path(os.environ.get("VERTUNE_DATA", "../shared/data"))


def row(query: str, document: str, label: int | None = None) -> dict[str, Any]:
    return {"text": query, "text_pair": document} | ({} if label is None else {"label": label})


def features(records: list[dict[str, Any]]) -> list[Feature]:
    """Two empty sequences a record."""
    return [
        Feature(number, role, 1, None)
        for number, record in enumerate(records)
        for role in (["query", "document"] if "text_pair" in record else ["query"])
    ]


def answers(records: list[dict[str, Any]], seed: int = 0) -> list[dict[str, Any]]:
    """Decoded random vectors, equal for equal texts."""
    random = np.random.default_rng(seed)
    known: dict[str, np.ndarray] = {}
    outputs = []
    for feature in features(records):
        text = records[feature.record]["text" if feature.role == "query" else "text_pair"]
        vector = known.setdefault(f"{feature.role} {text}", random.normal(size=4))
        outputs.append((vector / np.linalg.norm(vector)).astype(np.float32))
    return Embed().decode(records, features(records), outputs)


def test_clean_reads_labels_and_says_why_rows_are_rejected() -> None:
    frame = pl.DataFrame(
        {"text": ["q", "q", " ", "q", "q"], "text_pair": ["d", "", "d", "d", "d"], "label": ["1", "0", "1", "maybe", "False"]}
    )
    cleaned = Embed().clean(frame)
    assert cleaned.frame["label"].to_list() == [1, 0]
    reasons = {item["row"]: item["reason"] for item in cleaned.rejected}
    assert "text_pair is empty" in reasons[2]
    assert "text is empty" in reasons[3]
    assert "maybe" in reasons[4]
    for labels in ([1.0, 0.0], [True, False]):
        assert Embed().clean(pl.DataFrame({"text": ["a", "b"], "text_pair": ["c", "d"], "label": labels})).frame["label"].to_list() == [
            1,
            0,
        ]


def test_rows_to_predict_may_have_one_text_and_training_rows_may_not() -> None:
    frame = Embed().clean(pl.DataFrame({"text": ["q"]})).frame
    assert frame.height == 1
    assert [view.role for view in Embed().views(frame.columns)] == ["query"]
    with pytest.raises(DataError, match="text_pair"):
        Embed().fit(frame)
    with pytest.raises(DataError, match="No training row has the value 1 in the column 'label'"):
        Embed().fit(pl.DataFrame([row("q", "d", 0)]))
    with pytest.raises(DataError, match="text_pair"):
        Embed().targets([{"text": "q"}], features([{"text": "q"}]))


def test_targets_name_texts_the_same_in_every_batch() -> None:
    records = [row("q", "a", 1), row("q", "b", 0), row("r", "a")]
    values = np.stack(Embed().targets(records, features(records)).values)
    assert values[:, 0].tolist() == [0, 1] * 3
    assert values[:, 3].tolist() == [1, 1, 0, 0, 1, 1]
    assert values[0, 1] == values[2, 1] != values[4, 1]
    assert values[0, 2] == values[4, 2] != values[2, 2]
    alone = np.stack(Embed().targets(records[2:], features(records[2:])).values)
    assert (alone == values[4:]).all()


def test_sampling_lets_half_of_the_rows_ask() -> None:
    records = [row("q", "a", 1), *[row("q", "b", 0)] * 3]
    sampling = Embed().sampling(records)
    assert sampling is not None
    assert sampling.tolist() == [2, *[pytest.approx(2 / 3)] * 3]
    assert Embed().sampling([row("q", "a")]) is None


def test_labelled_queries_rank_their_own_rows_and_those_without_an_answer_do_not_count() -> None:
    records = [row("q", "a", 0), row("q", "b", 1), row("r", "a", 0), row("s", "a", 1), row("q", "c", 1)]
    given = [{"score": score} for score in (0.9, 0.8, 0.1, 0.2, 0.95)]
    assert Embed().tally(records, given).shape == (2, 6)
    found = Embed().score(records, given)
    assert found["map"] == pytest.approx(((1 + 2 / 3) / 2 + 1) / 2)
    assert found["mrr"] == 1
    assert found["recall_at_1"] == pytest.approx(0.75)
    assert Embed().score(records[2:3], given[:1])["map"] == 0
    (error,) = Embed().details(records, given)["errors"]
    assert (error["row"], error["text"], error["average_precision"]) == (0, "q", pytest.approx(5 / 6))
    assert (error["expected"], error["answered"]) == ("b", "c")


def test_unlabelled_queries_rank_every_document_once() -> None:
    records = [row("q", "a"), row("r", "b"), row("q", "c"), row("s", "a")]
    found = answers(records)
    tally = Embed().tally(records, found)
    assert tally.shape == (3, 6)
    documents = {record["text_pair"]: np.array(answer["vector_pair"]) for record, answer in zip(records, found, strict=True)}
    scores = {text: float(vector @ np.array(found[0]["vector"])) for text, vector in documents.items()}
    order = sorted(scores, key=lambda text: -scores[text])
    ranks = sorted(order.index(text) + 1 for text in "ac")
    assert tally[0, 1] == pytest.approx((1 / ranks[0] + 2 / ranks[1]) / 2)
    assert tally[0, 2] == pytest.approx(1 / ranks[0])


def test_answers_hold_vectors_and_their_cosine() -> None:
    found = answers([row("q", "d")])[0]
    assert found["score"] == pytest.approx(float(np.dot(found["vector"], found["vector_pair"])))
    alone = answers([{"text": "q"}])[0]
    assert set(alone) == {"vector", "truncated"}


@pytest.mark.parametrize("labelled", [True, False])
def test_bm25_ranks_english_and_chinese(labelled: bool) -> None:
    texts = {"如何办理信用卡": "信用卡办理需要身份证。", "怎么退货": "七天内可以退货。", "where is my parcel": "The parcel is on its way."}
    records = [row(query, document, int(query == asked) if labelled else None) for asked, document in texts.items() for query in texts]
    records = records if labelled else [row(query, document) for query, document in texts.items()]
    found = Embed().baselines([], [], records)
    assert list(found) == ["bm25"]
    assert Embed().score(records, found["bm25"])["map"] == 1


def test_the_figures_of_trec_qa() -> None:
    path = DATA / "trec_qa" / "test.csv"
    if not path.exists():
        pytest.skip(f"trec_qa is not in {DATA}")
    frame = Embed().clean(pl.read_csv(path).rename({"question": "text", "answer": "text_pair"})).frame
    records = frame.to_dicts()
    found = Embed().baselines([], [], records)["bm25"]
    assert len(Embed().tally(records, found)) == 89
    assert Embed().score(records, found)["map"] == pytest.approx(0.768, abs=0.005)


def test_queries_without_documents_can_not_be_measured():
    with pytest.raises(DataError, match="1 of 2 records have no value in the field 'text_pair'"):
        Embed().tally([row("a", "b"), {"text": "c"}], [{"vector": [1.0], "vector_pair": [1.0]}, {"vector": [1.0]}])
