"""Signals of messages outside of all intents, against direct computations."""

import json
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from vertune.dialogue import outside
from vertune.dialogue.outside import SIGNALS, Reference, own_places, signals
from vertune.dialogue.regression import Regression

WIDTH, INTENTS = 8, 4


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    chance = np.random.default_rng(0)
    centres = chance.normal(size=(INTENTS, WIDTH))
    labels = chance.integers(0, INTENTS, 200)
    train = centres[labels] + 0.4 * chance.normal(size=(200, WIDTH))
    inside = centres[chance.integers(0, INTENTS, 150)] + 0.4 * chance.normal(size=(150, WIDTH))
    vectors = np.concatenate([inside, chance.normal(size=(150, WIDTH))])
    logits = 3 * vectors @ centres.T
    probabilities = np.exp(logits - logits.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    is_outside = np.arange(300) >= 150
    reference = Reference.of(train, labels, vectors[is_outside])
    rows = signals(probabilities, logits=logits, vectors=vectors, reference=reference, own=own_places(is_outside))
    return locals()


def column(data: dict[str, Any], name: str) -> Any:
    return data["rows"][:, SIGNALS.index(name)]


def test_signals_of_vectors_are_those_of_a_direct_computation(data: dict[str, Any]) -> None:
    train, vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (data["train"], data["vectors"]))
    predicted = data["probabilities"].argmax(1)
    similar = vectors @ train.T
    order = np.argsort(-similar, axis=1)[:, :10]
    assert column(data, "nearest") == pytest.approx(similar.max(1), abs=1e-3)
    assert column(data, "neighbours") == pytest.approx(np.take_along_axis(similar, order, 1).mean(1), abs=1e-3)
    own = [row[data["labels"] == label].max() for row, label in zip(similar, predicted, strict=True)]
    assert column(data, "own") == pytest.approx(np.array(own), abs=1e-3)
    agreement = (data["labels"][order] == predicted[:, None]).mean(1)
    assert np.abs(column(data, "agreement") - agreement).mean() < 0.01  # of equal neighbours in half precision, another may be the tenth


def test_messages_that_are_known_to_be_outside_are_compared_with_all_others_of_them(data: dict[str, Any]) -> None:
    train, vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (data["train"], data["vectors"]))
    inside = -np.sort(-(vectors @ train.T), axis=1)[:, :5]
    places = np.arange(150, 300)
    outside = np.array([-np.sort(-(vectors[places[places != row]] @ vectors[row]))[:5] for row in range(300)])
    assert column(data, "outside_nearest") == pytest.approx(outside[:, 0], abs=1e-3)
    assert column(data, "outside_neighbours") == pytest.approx(outside.mean(1), abs=1e-3)
    assert column(data, "contrast") == pytest.approx(inside[:, 0] - outside[:, 0], abs=1e-3)
    assert column(data, "contrast_of_neighbours") == pytest.approx(inside.mean(1) - outside.mean(1), abs=1e-3)


def test_few_known_messages_outside_are_not_used(data: dict[str, Any]) -> None:
    reference = Reference.of(data["train"], data["labels"], data["vectors"][-9:])
    rows = signals(data["probabilities"], vectors=data["vectors"], reference=reference)
    assert np.isnan(rows[:, SIGNALS.index("contrast")]).all()
    assert np.isfinite(rows[:, SIGNALS.index("distance")]).all()


def test_distances_are_those_of_mahalanobis(data: dict[str, Any]) -> None:
    train, vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (data["train"], data["vectors"]))
    means = np.array([train[data["labels"] == label].mean(0) for label in range(INTENTS)])

    def distance(deviations: Any, points: Any) -> Any:
        covariance = deviations.T @ deviations / len(deviations)
        shrunk = 0.9 * covariance + 0.1 * np.trace(covariance) / WIDTH * np.eye(WIDTH)
        return np.sqrt(np.einsum("ij,jk,ik->i", points, np.linalg.inv(shrunk), points))

    within = np.array([distance(train - means[data["labels"]], vectors - mean) for mean in means]).min(0)
    overall = distance(train - train.mean(0), vectors - train.mean(0))
    assert column(data, "distance") == pytest.approx(within, rel=1e-3)
    assert column(data, "relative_distance") == pytest.approx(within - overall, abs=1e-2)


def test_signals_of_probabilities(data: dict[str, Any]) -> None:
    ordered = -np.sort(-data["probabilities"], axis=1)
    assert column(data, "margin") == pytest.approx(np.log(ordered[:, 0] / np.maximum(ordered[:, 1], 1e-6)), abs=1e-6)
    assert column(data, "energy") == pytest.approx(np.log(np.exp(data["logits"]).sum(1)))
    assert (column(data, "entropy") >= 0).all()
    sure = np.argsort(column(data, "confidence"))
    assert (np.diff(ordered[sure, 0]) >= -1e-9).all()


def test_signals_without_vectors_are_those_of_probabilities_alone(data: dict[str, Any]) -> None:
    bare = signals(data["probabilities"])
    assert [name for name, known in zip(SIGNALS, np.isfinite(bare).all(0), strict=True) if known] == ["confidence", "margin", "entropy"]
    assert bare[:, :3] == pytest.approx(data["rows"][:, :3])


def test_a_stored_reference_gives_the_same_signals(data: dict[str, Any]) -> None:
    reference = Reference.read(json.loads(json.dumps(data["reference"].as_json())))
    own = own_places(data["is_outside"])
    again = signals(data["probabilities"], logits=data["logits"], vectors=data["vectors"], reference=reference, own=own)
    assert np.array_equal(again, data["rows"])


def test_a_regression_over_them_tells_messages_outside_apart(data: dict[str, Any]) -> None:
    scores = Regression.held_out(data["rows"], data["is_outside"], SIGNALS)
    assert roc_auc_score(data["is_outside"], scores) > 0.9


def test_of_many_rows_as_many_are_kept_of_each_intent_as_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside, "_ROWS", 30)
    labels = np.array([0] * 100 + [1] * 12 + [2] * 3)
    kept = Reference.of(np.random.default_rng(0).normal(size=(115, 4)), labels).labels
    assert sorted(np.bincount(kept).tolist()) == [3, 12, 15]
