from __future__ import annotations

import os

import pytest
import torch

from vertune.learning import threads


@pytest.fixture(autouse=True)
def restored():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("times", "chosen"),
    [
        ({1: 1.0, 2: 0.55, 4: 0.3}, 4),
        ({1: 1.0, 2: 0.55, 4: 0.54}, 2),  # hardly more: fewer
        ({1: 1.0, 2: 10.0, 4: 30.0}, 1),  # a busy machine
        ({1: 1.0, 2: 0.95, 4: 0.6}, 4),
    ],
)
def test_the_fastest_number_is_taken(times, chosen):
    assert threads.fastest(sorted(times), times.__getitem__) == chosen


def test_one_slow_round_decides_nothing():
    seen = iter([1.0, 9.0, *[1.0, 0.5] * 10])
    assert threads.fastest([1, 2], lambda count: next(seen)) == 2


def test_what_is_set_is_taken_and_what_is_measured_stays_within_the_processors():
    assert threads.use_threads(1) == torch.get_num_threads() == 1
    assert 1 <= threads.use_threads("auto") == torch.get_num_threads() <= len(os.sched_getaffinity(0))
