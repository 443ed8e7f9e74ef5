from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vertune.batching.batches import by_tokens, epoch

lengths = st.lists(st.integers(1, 300), min_size=1, max_size=300).map(lambda values: np.array(values, np.int64))


@given(lengths, st.integers(1, 2000), st.integers(1, 64))
def test_token_batches_hold_every_row_once_within_the_budget(costs, tokens, rows):
    batches = by_tokens(range(len(costs)), costs, tokens, rows)
    assert [row for batch in batches for row in batch] == list(range(len(costs)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * costs[batch].max() <= tokens
        assert len(batch) <= rows


@given(lengths, st.integers(1, 40), st.integers(1, 8), st.integers(0, 5))
def test_an_epoch_visits_every_row_once_in_full_batches(costs, batch, window, seed):
    batches = epoch(costs, batch, window, (seed,))
    assert sorted(row for part in batches for row in part) == list(range(len(costs)))
    sizes = sorted(len(part) for part in batches)
    assert all(size == batch for size in sizes[1:])
    assert len(batches) == -(-len(costs) // batch)


def test_order_differs_by_seed_and_epoch_and_not_by_run():
    costs = np.random.default_rng(0).integers(1, 50, 500)
    plain = [np.concatenate(epoch(costs, 8, 10, seed)).tolist() for seed in ((0, 0), (0, 1), (1, 0), (0, 0))]
    assert plain[0] == plain[3]
    assert plain[0] != plain[1] != plain[2]


def test_batches_are_nearly_without_padding():
    costs = np.random.default_rng(0).integers(5, 60, 5000)
    batches = epoch(costs, 32, 50, (0,))
    padded = sum(len(batch) * costs[batch].max() for batch in batches)
    assert padded / costs.sum() < 1.05
