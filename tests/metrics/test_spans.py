"""Entity scores against seqeval on the same tags."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from vertune.core.records import Span
from vertune.decoders import bio
from vertune.metrics import spans

LABELS = ("LOC", "ORG", "PER")


def _random_tags(random: np.random.Generator, length: int) -> np.ndarray:
    tags = np.zeros(length, np.int64)
    for place in range(length):
        if place and tags[place - 1] and random.random() < 0.5:
            tags[place] = tags[place - 1] + tags[place - 1] % 2
        elif random.random() < 0.4:
            tags[place] = 1 + 2 * random.integers(len(LABELS))
    return tags


def _units(length: int) -> bio.Units:
    starts = np.arange(length) * 2
    return bio.Units(np.arange(length), starts, starts + 1)


def _names(tags: np.ndarray) -> list[str]:
    return ["O" if tag == 0 else f"{'IB'[tag % 2]}-{LABELS[(tag - 1) // 2]}" for tag in tags]


@pytest.mark.parametrize("seed", range(8))
def test_equals_seqeval(seed: int) -> None:
    seqeval = pytest.importorskip("seqeval.metrics")
    random = np.random.default_rng(seed)
    gold = [_random_tags(random, int(random.integers(1, 15))) for _ in range(20)]
    guess = [np.where(random.random(len(tags)) < 0.7, tags, _random_tags(random, len(tags))) for tags in gold]
    guess = [bio.viterbi([np.eye(7)[tags]])[0] for tags in guess]
    found, expected = ([[span for span, _ in bio.spans(tags, _units(len(tags)), LABELS)] for tags in side] for side in (guess, gold))
    total = spans.tally(expected, found, LABELS).sum(axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # seqeval divides by zero aloud
        sides = [_names(tags) for tags in gold], [_names(tags) for tags in guess]
        report = seqeval.classification_report(*sides, output_dict=True)
        micro = {name: getattr(seqeval, f"{name}_score")(*sides) for name in ("f1", "precision", "recall")}
    assert {name: float(value) for name, value in spans.micro(total).items()} == pytest.approx(micro)
    for row in spans.per_class(total, LABELS):
        theirs = report.get(row["label"], {"precision": 0, "recall": 0, "f1-score": 0, "support": 0})
        assert (row["precision"], row["recall"], row["f1"]) == pytest.approx(
            tuple(theirs[key] for key in ("precision", "recall", "f1-score"))
        )
        assert row["support"] == theirs["support"]


def test_counts_of_many_totals_keep_their_shape() -> None:
    gold = [[Span(start=0, end=1, label="PER")], []]
    tally = spans.tally(gold, [[Span(start=0, end=1, label="LOC")], []], LABELS)
    assert tally.shape == (2, 9)
    assert spans.micro(np.stack([tally.sum(axis=0)] * 3))["f1"].tolist() == [0, 0, 0]


def test_an_unknown_label_is_named() -> None:
    with pytest.raises(KeyError, match="MISC"):
        spans.tally([[Span(start=0, end=1, label="MISC")]], [[]], LABELS)
