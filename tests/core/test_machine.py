from __future__ import annotations

import pytest

from vertune.core.machine import loopback, thread_counts


@pytest.mark.parametrize(("usable", "candidates"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (16, [1, 2, 4, 8, 16])])
def test_candidates_go_up_to_the_processors(usable, candidates):
    assert thread_counts(usable) == candidates


def test_what_is_loopback() -> None:
    assert all(map(loopback, ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LOCALHOST.", "::ffff:127.0.0.1"]))
    assert not any(map(loopback, ["", "0.0.0.0", "::", "10.0.0.1", "127.0.0.1.example", "localhost.example", "2130706433"]))
