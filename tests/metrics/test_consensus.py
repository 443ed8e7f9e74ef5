"""Consensus against the published example, a plain implementation of the same model, and annotators whose quality is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertune.metrics import consensus
from vertune.metrics.consensus import Prior, Votes, accuracies, dawid_skene, majority

NONE = Prior(0, 0, 0, 0)
PATIENTS = """
1111111 3334334 1122122 2223121 2223222 2223322 1222111 3333433 2222223 2322223 4444444 2223343 1111111 2223212 1211111 1112111 1111111
1111111 2222221 2221322 2222222 2222221 2223222 2212222 1111111 1111111 2322222 1111111 1111111 1121121 1111111 3333233 1111111 2222222
2223232 4334343 2212232 2323233 3333432 1111111 1111111 1212111 2322222 1211111 2222222
"""
"""Table 1 of Dawid and Skene (1979): 45 patients as five anaesthetists see them, the first of them three times."""


def test_equals_the_example_of_dawid_and_skene():
    """The shares of the classes are those of their table 2, and patient 3 is the one that they discuss as a doubtful one."""
    rows = PATIENTS.split()
    who = [0, 0, 0, 1, 2, 3, 4]
    flat = np.array([(row, who[place], int(label) - 1) for row, seen in enumerate(rows) for place, label in enumerate(seen)]).T
    posteriors, shares, confusion, converged = consensus._maximise(Votes(*flat, right=np.full(45, -1), times=np.ones(45)), (5, 4), NONE)
    assert converged
    assert shares == pytest.approx([0.40, 0.42, 0.11, 0.07], abs=0.005)
    assert confusion[0][0] == pytest.approx([0.89, 0.11, 0, 0], abs=0.005)
    assert confusion[0][1] == pytest.approx([0.07, 0.88, 0.05, 0], abs=0.005)
    assert posteriors.argmax(1)[[0, 10, 12]].tolist() == [0, 3, 0]


def _plain(votes, labels, prior):
    """The same model, written as in the paper: loops, products of probabilities, no logarithms."""
    people = sorted({name for row in votes for name in row})
    belief = []
    for row in votes:
        named = [sum(value == label for value in row.values()) for label in labels]
        belief.append([count / sum(named) if row else 1 / len(labels) for count in named])
    for _ in range(consensus._ROUNDS):
        heard = [one for one, row in zip(belief, votes, strict=True) if row]
        sums = [sum(one[t] for one in heard) + prior.any for t in range(len(labels))]
        shares = [value / sum(sums) for value in sums]
        matrices = {}
        for name in people:
            own = [(one, labels.index(row[name])) for one, row in zip(belief, votes, strict=True) if name in row]
            sure = (sum(one[said] for one, said in own) + prior.right) / (len(own) + prior.right + prior.wrong)
            matrix = []
            for true in range(len(labels)):
                line = [prior.row * (sure if said == true else (1 - sure) / (len(labels) - 1)) for said in range(len(labels))]
                for one, said in own:
                    line[said] += one[true]
                matrix.append([value / sum(line) for value in line])
            matrices[name] = matrix
        again = []
        for row in votes:
            joint = [shares[t] * math.prod(matrices[name][t][labels.index(said)] for name, said in row.items()) for t in range(len(labels))]
            again.append([value / sum(joint) for value in joint])
        change = max(
            abs(a - b) for one, other, row in zip(belief, again, votes, strict=True) if row for a, b in zip(one, other, strict=True)
        )
        belief = again
        if change < consensus._CHANGE:
            break
    return belief, matrices


@given(
    st.lists(st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"), max_size=3), min_size=1, max_size=8).filter(any),
    st.sampled_from([Prior(), Prior(2, 2, 0.5, 0.1), Prior(8, 1, 3, 0)]),
)
@settings(max_examples=60, deadline=None)
def test_equals_the_plain_model(votes, prior):
    found = dawid_skene(votes, "xyz", prior=prior)
    belief, matrices = _plain(votes, "xyz", prior)
    assert found.posteriors == pytest.approx(np.array(belief), abs=1e-4)
    assert found.annotators == tuple(sorted(matrices))
    for name, matrix in zip(found.annotators, found.confusion, strict=True):
        assert matrix == pytest.approx(np.array(matrices[name]), abs=1e-3)


def _simulated(random, quality, records=400, labels="vwxyz", share=1.0):
    """True labels, and the votes of annotators who are right with these probabilities."""
    truth = random.choice(list(labels), records)
    return truth.tolist(), [
        {
            name: str(label) if random.random() < right else str(random.choice([one for one in labels if one != label]))
            for name, right in quality.items()
            if random.random() < share
        }
        for label in truth
    ]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [1.0, 0.6])
def test_the_quality_of_annotators_is_recovered(seed, share):
    quality = {"expert": 0.95, "good": 0.85, "fair": 0.7, "poor": 0.45}
    truth, votes = _simulated(np.random.default_rng(seed), quality, share=share)
    found = dawid_skene(votes)
    assert found.converged
    assert found.accuracy == pytest.approx(quality, abs=0.09)
    assert np.mean([a == b for a, b in zip(found.answers, truth, strict=True)]) > (0.9 if share == 1 else 0.8)


def test_is_better_than_the_majority_where_some_annotators_guess():
    quality = {"good": 0.9, "fair": 0.8, **{f"guess{number}": 0.25 for number in range(3)}}
    ahead = []
    for seed in range(6):
        truth, votes = _simulated(np.random.default_rng(seed), quality, records=200)
        right = [
            np.mean([a == b for a, b in zip(answers, truth, strict=True)])
            for answers in (dawid_skene(votes).answers, majority(votes, "label"))
        ]
        ahead.append(right[0] - right[1])
    assert min(ahead) > 0
    assert np.mean(ahead) > 0.08


def test_a_confusion_of_two_labels_is_seen():
    random = np.random.default_rng(0)
    truth, votes = _simulated(random, {"a": 0.95, "b": 0.9, "c": 0.9}, labels="xyz")
    for row, label in zip(votes, truth, strict=True):
        row["swaps"] = {"x": "y", "y": "x"}.get(label, label)
    found = dawid_skene(votes, "xyz")
    matrix = found.confusion[found.annotators.index("swaps")]
    assert matrix == pytest.approx(np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]]), abs=0.05)


def test_few_labels_decide_little():
    found = dawid_skene([{"a": "x"}, {"b": "y"}], "xyz")
    assert all(0.6 < value < 0.95 for value in found.accuracy.values())
    assert found.answers == ["x", "y"]
    assert found.posteriors.max() < 0.99


def test_known_labels_are_kept_and_show_who_is_right():
    votes = [{"a": "x", "b": "y"}, {"a": "y", "b": "x"}] * 10
    assert len({round(value, 6) for value in dawid_skene(votes).accuracy.values()}) == 1
    found = dawid_skene(votes, known={number: votes[number]["a"] for number in range(6)})
    assert found.accuracy["a"] > found.accuracy["b"] + 0.5
    assert found.posteriors[0].tolist() == [1, 0]
    assert found.answers == [row["a"] for row in votes]
    named = dawid_skene([{"a": "x"}, {}], known={1: "z"})
    assert (named.labels, named.answers[1]) == (("x", "z"), "z")


@given(st.lists(st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz")), min_size=1, max_size=8), st.randoms())
@settings(max_examples=40, deadline=None)
def test_neither_the_order_of_records_nor_that_of_annotators_matters(votes, random):
    order = random.sample(range(len(votes)), len(votes))
    shuffled = [dict(random.sample(list(votes[number].items()), len(votes[number]))) for number in order]
    one, other = dawid_skene(votes, "xyz"), dawid_skene(shuffled, "xyz")
    assert one.posteriors[order] == pytest.approx(other.posteriors, abs=1e-9)
    assert one.posteriors.sum(1) == pytest.approx(1)
    assert other.accuracy == pytest.approx(one.accuracy)


def test_nothing_at_all():
    assert dawid_skene([]).answers == []
    assert dawid_skene([{}]).answers == [None]
    assert dawid_skene([{"a": "x"}]).answers == ["x"]
    assert accuracies([], "label") == {}


def test_many_votes_on_one_record_do_not_vanish():
    votes = [{f"a{number}": "x" if number % 3 else "y" for number in range(3000)}, {f"a{number}": "y" for number in range(3000)}]
    found = dawid_skene(votes, "xyz")
    assert np.isfinite(found.posteriors).all()
    assert found.answers == ["x", "y"]


def _span(start, end, label="PER"):
    return {"start": start, "end": end, "label": label}


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("label", ["x", "x", "y"], "x"),
        ("label", ["x", "y"], None),
        ("label", ["x", "x", "y", "y", "z"], None),
        ("label", ["x"], "x"),
        ("number", [1.0, 2.0, 9.0], 2.0),
        ("labels", [["x", "y"], ["x"], ["z", "x"]], ["x"]),
        ("labels", [["x"], []], None),
        ("labels", [[], []], []),
        ("labels", [["x", "x"], [], []], []),
        ("labels", [["x"], ["y"], ["z"]], None),
        ("answers", [[{"start": 1, "text": "a"}], [{"start": 2, "text": "b"}], [{"start": 3, "text": "c"}]], None),
        ("spans", [[_span(5, 6), _span(0, 3)], [_span(0, 3), _span(5, 6)], [_span(0, 4)]], [_span(0, 3), _span(5, 6)]),
        ("spans", [[_span(0, 3)], [_span(0, 3, "LOC")]], None),
        ("answers", [[{"start": 1, "text": "a"}], [{"start": 1, "text": "a"}], []], [{"start": 1, "text": "a"}]),
    ],
)
def test_majority(kind, values, expected):
    assert majority([dict(zip("abcde", values, strict=False)), {}], kind) == [expected, None]


@pytest.mark.parametrize("kind", ["labels", "spans"])
def test_accuracy_on_sets_and_spans(kind):
    """`poor` leaves out half of what there is and invents as much."""
    random = np.random.default_rng(4)

    def value(items):
        return items if kind == "labels" else [_span(ord(item), ord(item) + 1) for item in items]

    rows = []
    for _ in range(150):
        truth = [item for item in "uvwxyz" if random.random() < 0.5]
        wrong = [item for item in "uvwxyz" if (item in truth) == (random.random() < 0.6)]
        rows.append({"a": value(truth), "b": value([item for item in truth if random.random() < 0.95]), "poor": value(wrong)})
    found = accuracies(rows, kind)
    assert found["a"] > 0.9
    assert found["b"] > 0.85
    assert found["poor"] < 0.75


def test_accuracy_is_unknown_where_nothing_is_compared():
    assert accuracies([{"a": "x"}, {"b": "y", "c": "y"}], "label")["a"] is None
    assert accuracies([{"a": "x"}, {"b": "y"}], "label", {0: "x"})["a"] > 0.7
    assert accuracies([{"a": 1.0, "b": 2.0}], "number") == {"a": None, "b": None}
    right = accuracies([{"a": [_span(0, 1)], "b": [_span(0, 2)]}] * 9, "spans", {number: [_span(0, 1)] for number in range(9)})
    assert right["a"] > 0.9
    assert right["b"] < 0.5
