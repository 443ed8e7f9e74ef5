from __future__ import annotations

import pytest

from vertune.core.machine import _quotas, loopback, thread_counts


@pytest.mark.parametrize(("usable", "candidates"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4, 6]), (16, [1, 2, 4, 8, 16])])
def test_candidates_go_up_to_the_processors(usable, candidates):
    assert thread_counts(usable) == candidates


@pytest.mark.parametrize(
    ("files", "processors"),
    [
        ({}, []), ({"cpu.max": "max 100000\n"}, []), ({"cpu.max": "200000 100000\n"}, [2]), ({"cpu.max": "150000 100000\n"}, [2]),
        ({"cpu.max": "5000 100000\n"}, [1]), ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, []),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, [3]),
    ],
)  # fmt: skip
def test_the_processor_time_of_a_container_counts_as_processors(tmp_path, files, processors):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert list(_quotas(tmp_path)) == processors


def test_what_is_loopback() -> None:
    assert all(map(loopback, ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LOCALHOST.", "::ffff:127.0.0.1"]))
    assert not any(map(loopback, ["", "0.0.0.0", "::", "10.0.0.1", "127.0.0.1.example", "localhost.example", "2130706433"]))
