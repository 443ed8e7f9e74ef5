from __future__ import annotations

import pytest

from vertune.core.machine import thread_counts


@pytest.mark.parametrize(("usable", "candidates"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (16, [1, 2, 4, 8, 16])])
def test_candidates_go_up_to_the_processors(usable, candidates):
    assert thread_counts(usable) == candidates
