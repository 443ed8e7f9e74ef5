"""Examples that are taken from others, or put together, are those that encoding their records gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.learning.conftest import sentences
from vertune.core.config import Config, build
from vertune.learning.examples import Examples, encode

LABELS = ["food", "money", "travel"]
rows = st.lists(st.integers(0, 19), min_size=1, max_size=20)


@pytest.fixture(scope="module")
def encoded(base):
    """A function that encodes rows in windows, with weights and a sampling rate for each."""

    def make(records, imbalance) -> Examples:
        task = {"name": "classify", "labels": LABELS, "counts": [2, 5, 13], "imbalance": imbalance}
        encoder = {"base": str(base), "max_tokens": 8, "truncation": "window"}
        config = build(Config, {"data": {}, "encoder": encoder, "task": task})
        return encode(records, config.task, config.encoder, config.task.views(["text", "label"]))

    return make


def same(one: Examples, other: Examples) -> None:
    assert list(one.records) == list(other.records)
    assert [feature.record for feature in one.features] == [feature.record for feature in other.features]
    assert [feature.cost for feature in one.features] == [feature.cost for feature in other.features]
    assert [list(members) for members in one.members] == [list(members) for members in other.members]
    assert one.target(range(len(one.features))).tolist() == other.target(range(len(other.features))).tolist()
    for name in ("costs", "weights", "sampling"):
        assert np.array_equal(getattr(one, name), getattr(other, name), equal_nan=False) or getattr(one, name) is getattr(other, name), name


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chosen=rows, imbalance=st.sampled_from(["none", "weight", "resample"]))
def test_a_subset_is_what_its_records_are_encoded_as(encoded, chosen, imbalance):
    records = sentences(20)
    same(encoded(records, imbalance).subset(np.array(chosen)), encoded([records[row] for row in chosen], imbalance))


@pytest.mark.parametrize("imbalance", ["none", "weight", "resample"])
def test_two_joined_are_what_all_records_are_encoded_as(encoded, imbalance):
    first, second = sentences(12), sentences(9, seed=1)
    same(encoded(first, imbalance).joined(encoded(second, imbalance)), encoded([*first, *second], imbalance))
