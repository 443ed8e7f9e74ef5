"""The model of units must see what bases without case don't, find spans of the training texts, and add its scores where tags are read."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertune.baselines.gazetteer import Gazetteer
from vertune.core.records import Feature, Places
from vertune.decoders import bio, tag
from vertune.lexical import fitting_tags
from vertune.lexical.companion import Companion
from vertune.lexical.fitting_tags import TaggedTexts, fit, known_spans
from vertune.lexical.tagging import UnitModel, vectors
from vertune.lexical.units import FEATURES, LONGEST, KnownSpans, describe, lower_hashes, span_hash
from vertune.metrics.words import runs

NAMES = ("Anna", "Omar", "Li Na", "王 芳", "B2B", "O'Neill", "New York City")
REST = ["lives", "works", "in", "near", "the", "bank", "42", ".", "and", "住", "在", "of"]
TAGS = 3
NONE = KnownSpans(np.empty(0, np.uint64), np.empty(0, np.uint16), np.empty(0, np.uint32))


def tagged(count: int = 150, seed: int = 0, names: tuple[str, ...] = NAMES) -> TaggedTexts:
    """Random texts in which names are labelled."""
    draw = random.Random(seed)
    units, tags = [], []
    for _ in range(count):
        parts = [(word, 0) for word in draw.choices(REST, k=draw.randint(1, 6))]
        name = draw.choice(names).split()
        place = draw.randint(0, len(parts))
        parts[place:place] = [(word, 1 if number == 0 else 2) for number, word in enumerate(name)]
        units.append([word for word, _ in parts])
        tags.append(np.array([label for _, label in parts], np.int64))
    return TaggedTexts(units, tags)


def accuracy(model: UnitModel, data: TaggedTexts) -> float:
    return float((model.unit_scores(data.units).argmax(axis=1) == np.concatenate(data.tags)).mean())


def test_case_and_context_find_names_that_training_does_not_have() -> None:
    assert accuracy(fit(tagged(), "text", TAGS), tagged(seed=1)) > 0.97
    people = tuple(f"{first}{middle}{last}" for first in "ABDKLM" for middle in "aeiou" for last in ("ra", "nn", "l", "s Stone"))
    model = fit(tagged(names=people), "text", TAGS)
    assert accuracy(model, tagged(seed=2, names=("Ute", "Paul Klee", "Rosa"))) > 0.9
    word = describe([["may"], ["May"], ["MAY"]], NONE)
    assert ((word[0] == word[1]).sum(), (word[1] == word[2]).sum()) < (FEATURES, FEATURES)


def test_scores_equal_the_decision_function_of_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    from sklearn.linear_model import LogisticRegression

    from vertune.lexical.fitting import to_matrix

    data = tagged()
    model = fit(data, "text", TAGS)
    described = describe(data.units, known_spans(data)[1])
    matrix = to_matrix(vectors(described, model.descriptions), len(described), len(model.descriptions))
    options = {"C": fitting_tags._INVERSE_REGULARISATION, "max_iter": fitting_tags._ITERATIONS, "tol": 1e-3}
    expected = LogisticRegression(**options).fit(matrix, np.concatenate(data.tags)).decision_function(matrix)
    found = model.scorer.scores(vectors(described, model.descriptions), len(described))
    assert np.abs(found - expected).max() < 0.03 * np.abs(expected).max()


def test_a_text_has_the_same_scores_alone_and_among_others(monkeypatch: pytest.MonkeyPatch) -> None:
    model = fit(tagged(), "text", TAGS)
    odd = [[], ["\ud800"], ["a" * 5_000], ["🙂", "ﷺ"], ["Ⅷ", "ß"], [], ["x"] * 300]
    rows = [*tagged(40, 5).units, *odd]
    monkeypatch.setattr("vertune.lexical.tagging._CHUNK", 50)
    together = model.unit_scores(rows)
    assert together.shape == (sum(map(len, rows)), TAGS)
    assert np.isfinite(together).all()
    np.testing.assert_allclose(together, np.concatenate([model.unit_scores([row]) for row in rows]), atol=1e-9)
    assert model.unit_scores([]).shape == (0, TAGS)


def test_known_spans_are_those_that_are_mostly_labelled() -> None:
    units = [["May", "came"], ["may", "I"], ["may", "we"], ["Li", "Na", "may"], ["Li", "Na"], ["Na"], ["x"] * (LONGEST + 1)]
    tags = [[1, 0], [0, 0], [0, 0], [3, 4, 0], [3, 4], [1], [1] + [2] * LONGEST]
    data = TaggedTexts(units, [np.array(row, np.int64) for row in tags])
    known, repeated = known_spans(data)
    hashes = {name: span_hash(lower_hashes(name.split())) for name in ("may", "li na", "na")}
    assert dict(zip(known.hashes.tolist(), known.labels.tolist(), strict=True)) == {hashes["li na"]: 1, hashes["na"]: 0}
    assert repeated.hashes.tolist() == [hashes["li na"]]
    positions = known.positions(lower_hashes(["na", "LI", "NA", "li"]))
    assert positions == [4, 5, 7, 0], "alone with label 0, begin and end with label 1, outside"
    assert NONE.positions([1, 2]) == [0, 0]


def test_a_longer_known_span_counts_instead_of_a_shorter_one() -> None:
    data = tagged(names=("New York", "New York City Hall", "City"))
    known = known_spans(data)[0]
    assert known.positions(lower_hashes(["in", "new", "york", "city", "hall"])) == [0, 1, 2, 2, 3]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1000), st.integers(3, 40))
def test_votes_alone_find_what_a_list_of_the_training_entities_finds(seed: int, count: int) -> None:
    """The oracle is the baseline that reports show; names of one case, because the list of the model has none."""
    names = ("anna", "li na", "na", "york", "new york", "new york city", "city of york", "in", "may")
    train, others = tagged(count, seed, names), tagged(30, seed + 1, names)
    records = []
    for text, tags in zip(train.units, train.tags, strict=True):
        starts = np.cumsum([0, *(len(word) + 1 for word in text)]).tolist()
        bounds = [(starts[start], starts[end] - 1) for start, end in bio.bounds(tags)]
        records.append({"text": " ".join(text), "spans": [{"start": start, "end": end, "label": "name"} for start, end in bounds]})
    baseline = Gazetteer(records)
    votes = fit(train, "text", TAGS).votes_alone()
    for text in others.units:
        tags = votes.unit_scores([text]).argmax(axis=1)
        found = [" ".join(text[start:end]) for start, end in bio.bounds(tags)]
        joined = " ".join(text)
        assert found == [joined[span["start"] : span["end"]] for span in baseline.spans(joined)]


def test_votes_raise_the_score_of_the_tag_of_a_known_span() -> None:
    model, texts = fit(tagged(), "text", TAGS), [["in", "New", "York", "City"], ["the", "bank"]]
    raised = model.with_votes(3.0).unit_scores(texts) - model.unit_scores(texts)
    np.testing.assert_allclose(raised, 3.0 * np.eye(TAGS)[[0, 1, 2, 2, 0, 0]])


def test_files_of_models_without_votes_are_read() -> None:
    model = fit(tagged(), "text", TAGS)
    arrays = {name: array for name, array in model.arrays().items() if name != "votes"}
    np.testing.assert_array_equal(UnitModel.of(["text"], arrays).unit_scores([["Anna"]]), model.unit_scores([["Anna"]]))


def test_fitting_is_deterministic_and_keeps_to_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting_tags, "BYTES", 12_000)
    monkeypatch.setattr(fitting_tags, "_DESCRIPTIONS", 700)
    for name in ("one", "other"):
        model = fit(tagged(), "text", TAGS)
        assert model.bytes < 12_500
        Companion("tags", 0.5, 0.25, model).save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    again = Companion.load(tmp_path / "one").scorer
    assert isinstance(again, UnitModel)
    np.testing.assert_array_equal(again.unit_scores(tagged(9).units), model.unit_scores(tagged(9).units))


@pytest.mark.parametrize("labels", [[0, 0], [0, 1]])
def test_missing_tags_have_the_lowest_scores(labels: list[int]) -> None:
    model = fit(TaggedTexts([["a", "B"]] * 9, [np.array(labels, np.int64)] * 9), "text", 5)
    scores = model.unit_scores([["a", "B"]])
    assert scores.argmax(axis=1).tolist() == labels
    assert (scores[:, 2:] < scores[:, :1]).all()


def windows(text: str) -> list[Feature]:
    """Two model inputs for a text: one token per word, the second from the third word on."""
    bounds = list(runs(text))
    cuts = [bounds, bounds[2:]]
    return [
        Feature(0, "text", len(cut), None, places=Places(np.zeros(len(cut), np.int8), np.array(cut, np.int32)), window=number)
        for number, cut in enumerate(cuts)
    ]


def test_scores_are_added_where_the_tag_of_a_word_is_read() -> None:
    text = "Anna works near the bank of New York City"
    features = windows(text)
    outputs = [np.random.default_rng(number).normal(size=(feature.cost, TAGS)) for number, feature in enumerate(features)]
    model = fit(tagged(), "text", TAGS)
    mixed = Companion("tags", 0.5, 2.0, model).mixed([{"text": text}], features, outputs)
    reading = tag.read([{"text": text}], features, "text")[0]
    expected = 0.5 * tag.unit_outputs(reading, outputs, TAGS) + 2.0 * model.unit_scores([text.split()])
    np.testing.assert_allclose(tag.unit_outputs(reading, mixed, TAGS), expected)
    scaled = Companion("tags", 0.5).mixed([{"text": text}], features, outputs)
    np.testing.assert_allclose(scaled[1], 0.5 * outputs[1])
