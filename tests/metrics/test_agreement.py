"""Agreement against published examples, scikit-learn, and the definitions written out as loops."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from vertune.metrics import agreement
from vertune.metrics.agreement import by_annotator, cohens_kappa, fleiss_kappa, krippendorffs_alpha, masi, pairwise_f1

FEW = 50
"""Rounds of the bootstrap where only the value matters."""
FOUR = ["123321412..", "1233224125.", ".3332342251", "12332441251"]
"""Krippendorff (2011), four observers and eleven units, a dot for a missing value."""
THREE = [".....34121133.3", "1.213343.......", "..21344.21133.4"]
"""Krippendorff's example with three observers and fifteen units."""
FLEISS = """0 0 0 0 14; 0 2 6 4 2; 0 0 3 5 6; 0 3 9 2 0; 2 2 8 1 1; 7 7 0 0 0; 3 2 6 3 0; 2 5 3 2 2; 6 5 2 1 0; 0 2 2 3 7"""
"""How many of 14 annotators put each of 10 records into each of 5 classes; kappa is 0.210."""


def _judgements(rows, convert=str):
    """Records from a row of values for each annotator."""
    return [{f"a{name}": convert(value) for name, value in enumerate(column) if value != "."} for column in zip(*rows, strict=True)]


def _alpha(judgements, distance):
    """Alpha as it is defined: observed and expected distances of pairs of values, in loops."""
    units = [list(row.values()) for row in judgements if len(row) > 1]
    values = [value for unit in units for value in unit]
    observed = sum(sum(distance(a, b) for a, b in itertools.permutations(unit, 2)) / (len(unit) - 1) for unit in units) / max(
        1, len(values)
    )
    expected = sum(distance(a, b) for a, b in itertools.permutations(values, 2)) / max(1, len(values) * (len(values) - 1))
    return 1 - observed / expected if expected else math.nan


def test_equals_the_examples_of_krippendorff():
    assert krippendorffs_alpha(_judgements(FOUR), "nominal", FEW).value == pytest.approx(0.743, abs=5e-4)
    assert krippendorffs_alpha(_judgements(FOUR, float), "interval", FEW).value == pytest.approx(0.849, abs=5e-4)
    assert krippendorffs_alpha(_judgements(THREE), "nominal", FEW).value == pytest.approx(0.691, abs=5e-4)
    assert krippendorffs_alpha(_judgements(THREE, float), "interval", FEW).value == pytest.approx(0.811, abs=5e-4)
    assert krippendorffs_alpha(_judgements(THREE), "nominal", FEW).records == 12  # three units have one value or none


def test_equals_the_example_of_fleiss():
    counts = [list(map(int, row.split())) for row in FLEISS.split(";")]
    judgements = [{str(number): label for number, label in enumerate(np.repeat(range(5), row).tolist())} for row in counts]
    assert fleiss_kappa(judgements, FEW).value == pytest.approx(0.210, abs=5e-4)


def test_different_numbers_of_annotators_have_no_fleiss_kappa():
    with pytest.raises(ValueError, match="2 or 3 annotators"):
        fleiss_kappa([{"a": 1, "b": 1}, {"a": 1, "b": 1, "c": 2}])
    with pytest.raises(ValueError, match="1 annotators"):
        fleiss_kappa([{"a": 1}])


@pytest.mark.parametrize("seed", range(5))
def test_equals_cohens_kappa_of_scikit_learn(seed):
    random = np.random.default_rng(seed)
    one = random.integers(0, 4, 60)
    other = np.where(random.random(60) < 0.6, one, random.integers(0, 4, 60))
    found = cohens_kappa(one.tolist(), other.tolist())
    assert found.value == pytest.approx(cohen_kappa_score(one, other))
    assert found.low < found.value < found.high <= 1
    missing = [None, *one.tolist()], [2, *other.tolist()]
    assert cohens_kappa(*missing, rounds=FEW).value == pytest.approx(found.value)


def test_alpha_of_two_annotators_is_close_to_kappa_of_many_records():
    random = np.random.default_rng(1)
    one = random.integers(0, 3, 4000)
    other = np.where(random.random(4000) < 0.5, one, random.integers(0, 3, 4000))
    rows = [{"a": int(a), "b": int(b)} for a, b in zip(one, other, strict=True)]
    kappas = [cohen_kappa_score(one, other), fleiss_kappa(rows, FEW).value]
    assert [krippendorffs_alpha(rows, "nominal", FEW).value] * 2 == pytest.approx(kappas, abs=2e-3)


names = st.sampled_from("abcd")
labels = st.lists(st.dictionaries(names, st.sampled_from("xyz"), max_size=4), max_size=12)
numbers = st.lists(st.dictionaries(names, st.integers(-5, 5).map(lambda number: number / 2), max_size=4), max_size=12)
sets = st.lists(st.dictionaries(names, st.frozensets(st.sampled_from("xyz")), max_size=4), max_size=8)


@given(labels)
@settings(max_examples=60, deadline=None)
def test_nominal_alpha_is_what_its_definition_says(judgements):
    found = krippendorffs_alpha(judgements, "nominal", FEW)
    assert found.value == pytest.approx(_alpha(judgements, lambda a, b: a != b), nan_ok=True)
    assert found.records == sum(len(row) > 1 for row in judgements)


@given(numbers, st.sampled_from([0.0, 1e9]))
@settings(max_examples=60, deadline=None)
def test_interval_alpha_is_what_its_definition_says_wherever_zero_lies(judgements, shift):
    moved = [{name: value + shift for name, value in row.items()} for row in judgements]
    assert krippendorffs_alpha(moved, "interval", FEW).value == pytest.approx(_alpha(judgements, lambda a, b: (a - b) ** 2), nan_ok=True)


@given(sets)
@settings(max_examples=60, deadline=None)
def test_alpha_of_sets_is_what_its_definition_says(judgements):
    assert krippendorffs_alpha(judgements, "masi", FEW).value == pytest.approx(_alpha(judgements, masi), nan_ok=True)


@given(labels, st.randoms())
@settings(max_examples=30, deadline=None)
def test_neither_names_nor_their_order_matter(judgements, random):
    renamed = [{name.upper(): value.upper() for name, value in random.sample(list(row.items()), len(row))} for row in judgements]
    assert krippendorffs_alpha(renamed, "nominal", FEW).value == pytest.approx(
        krippendorffs_alpha(judgements, "nominal", FEW).value, nan_ok=True
    )


def test_masi_of_sets():
    one, two, other = frozenset("x"), frozenset("xy"), frozenset("yz")
    assert [masi(one, one), masi(frozenset(), frozenset()), masi(one, other)] == [0, 0, 1]
    assert masi(one, two) == masi(two, one) == pytest.approx(1 - 1 / 2 * 2 / 3)
    assert masi(two, other) == pytest.approx(1 - 1 / 3 * 1 / 3)
    assert masi(frozenset(), one) == 1


def _spans(*places):
    return [{"start": start, "end": end, "label": label} for start, end, label in places]


def test_pairwise_f1_of_exact_spans():
    rows = [
        {"a": _spans((0, 3, "PER"), (5, 8, "LOC")), "b": _spans((0, 3, "PER"), (5, 9, "LOC"))},
        {"a": [], "b": [], "c": _spans((1, 2, "ORG"))},
        {"a": _spans((0, 1, "PER"))},
    ]
    found = pairwise_f1(rows, FEW)
    assert (found.value, found.records) == (pytest.approx(2 / 6), 2)
    nothing = pairwise_f1([{"a": [], "b": []}], FEW)
    assert (nothing.is_defined, nothing.records) == (False, 1)
    answers = [{"a": [{"start": 3, "text": "Oslo"}], "b": [{"start": 3, "text": "Oslo"}]}, {"a": [], "b": [{"start": 0, "text": "x"}]}]
    assert agreement.agreement(answers, "answers", FEW).value == pytest.approx(2 / 3)


def test_f1_of_two_annotators_is_symmetric_and_that_of_one_record_with_three_counts_each_pair():
    a, b, c = _spans((0, 1, "x"), (2, 3, "x")), _spans((0, 1, "x")), _spans((2, 3, "x"), (4, 5, "x"))
    assert pairwise_f1([{"a": a, "b": b}], FEW).value == pairwise_f1([{"b": b, "a": a}], FEW).value == pytest.approx(2 / 3)
    assert pairwise_f1([{"a": a, "b": b, "c": c}], FEW).value == pytest.approx((2 + 2 + 0) / (3 + 4 + 3))


def test_complete_agreement_is_one_and_labels_by_chance_are_about_zero():
    random = np.random.default_rng(0)
    rows = [{"a": label, "b": label} for label in random.choice(list("xyz"), 300)]
    found = agreement.agreement(rows, "label")
    assert (found.value, found.high) == (1, 1)
    assert 0.9 < found.low < 1  # more records could differ
    chance = agreement.agreement([{"a": a, "b": b} for a, b in random.choice(list("xyz"), (300, 2))], "label")
    assert chance.low < 0 < chance.high


def test_what_one_annotator_alone_or_one_label_alone_says_is_undefined():
    for rows in ([], [{}], [{"a": "x"}, {"b": "y"}], [{"a": "x", "b": "x"}] * 5):
        found = agreement.agreement(rows, "label", FEW)
        assert not found.is_defined
        assert math.isnan(found.low)
        assert math.isnan(found.high)


@pytest.mark.parametrize("kind", ["label", "labels", "number", "spans", "answers"])
def test_every_type_has_a_measure(kind):
    values = {"label": ["x", "y"], "labels": [["x"], []], "number": [1.0, 3.0], "spans": [_spans((0, 1, "x")), []],
              "answers": [[{"start": 0, "text": "x"}], []]}[kind]  # fmt: skip
    rows = [{"a": value, "b": value} for value in values] * 10
    assert agreement.agreement(rows, kind, FEW).value == pytest.approx(1)
    assert agreement.agreement(rows, kind, FEW).measure


def test_the_interval_contains_the_truth():
    truths, covered, rounds = np.random.default_rng(3), 0, 40
    many = krippendorffs_alpha(_noisy(truths, 20_000), "nominal", FEW).value
    for _ in range(rounds):
        found = krippendorffs_alpha(_noisy(truths, 80), "nominal", 300)
        covered += found.low <= many <= found.high
    assert covered >= 0.9 * rounds - 2


def _noisy(random, records):
    truth = random.integers(0, 3, records)
    return [
        {name: int(label if random.random() < 0.8 else random.integers(0, 3)) for name in "abc" if random.random() < 0.8} for label in truth
    ]


def test_an_annotator_who_guesses_agrees_less_than_the_others():
    random = np.random.default_rng(2)
    truth = random.integers(0, 3, 200)
    rows = [{"a": int(label), "b": int(label), "guess": int(random.integers(0, 3))} for label in truth]
    found = by_annotator(rows, "label", FEW)
    assert list(found) == ["a", "b", "guess"]
    assert found["guess"].value < 0.2 < found["a"].value
    assert found["a"].records == 200
    assert found["a"].value == pytest.approx(found["b"].value, abs=0.1)


def test_of_two_annotators_each_agrees_as_much_as_both():
    rows = _judgements(FOUR[1:3])
    both = krippendorffs_alpha(rows, "nominal", FEW).value
    assert [one.value for one in by_annotator(rows, "label", FEW).values()] == pytest.approx([both, both])
