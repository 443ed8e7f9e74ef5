"""Entities of the training texts found again."""

from __future__ import annotations

from typing import Any

from vertune.baselines.gazetteer import Gazetteer


def _record(text: str, *names: tuple[str, str]) -> dict[str, Any]:
    return {
        "text": text,
        "spans": [{"start": text.index(name), "end": text.index(name) + len(name), "label": label} for name, label in names],
    }


def _found(gazetteer: Gazetteer, text: str) -> list[tuple[str, str]]:
    return [(text[span["start"] : span["end"]], span["label"]) for span in gazetteer.spans(text)]


def test_longest_match_and_majority_label() -> None:
    train = [
        _record("New York won", ("New York", "LOC")),
        _record("New York Times", ("New York Times", "ORG")),
        _record("Paris is here", ("Paris", "PER")),
        _record("Paris is far", ("Paris", "LOC")),
        _record("To Paris", ("Paris", "LOC")),
        _record("在北京市", ("北京市", "LOC")),
    ]
    known = Gazetteer(train)
    assert _found(known, "The New York Times of New York, Paris") == [("New York Times", "ORG"), ("New York", "LOC"), ("Paris", "LOC")]
    assert _found(known, "我爱北京市") == [("北京市", "LOC")]
    assert _found(known, "New") == []


def test_what_is_mostly_no_entity_is_left_out() -> None:
    train = [_record("May said", ("May", "PER")), _record("In May we"), _record("last May too"), _record("Omar", ("Omar", "PER"))]
    known = Gazetteer(train)
    assert _found(known, "May and Omar") == [("Omar", "PER")]


def test_no_training_rows() -> None:
    assert Gazetteer([]).spans("anything") == []
