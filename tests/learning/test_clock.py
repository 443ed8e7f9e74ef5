from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vertune.learning import clock
from vertune.learning.clock import WorkClock

SPIN = "import time; end = time.monotonic() + 60\nwhile time.monotonic() < end: pass"


def faked(*readings):
    """A clock that reads these pairs of the wall clock and of the threads' times, one after another."""
    walls, threads = iter([wall for wall, _ in readings]), iter([times for _, times in readings])
    return WorkClock(lambda: next(walls), lambda: next(threads))


def test_without_other_programs_it_is_the_wall_clock():
    assert faked((0, {"1": (0, 0)}), (10, {"1": (9, 0)})).now() == 10


def test_waiting_for_a_disk_counts_and_waiting_for_a_processor_does_not():
    assert faked((0, {"1": (0, 0)}), (10, {"1": (1, 0.5)})).now() == pytest.approx(9.5)


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_threads_that_get_a_third_of_their_processors_have_a_third_of_the_time(threads):
    start = {str(number): (0.0, 0.0) for number in range(threads)}
    end = {str(number): (4.0, 8.0) for number in range(threads)}
    assert faked((0, start), (12, end)).now() == pytest.approx(4)


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 5), st.floats(0, 5)), min_size=1, max_size=9))
def test_it_never_goes_back_and_never_runs_faster_than_the_wall_clock(steps):
    readings, wall, ran, waited = [(0.0, {"1": (0.0, 0.0)})], 0.0, 0.0, 0.0
    for passed, did, missed in steps:
        wall, ran, waited = wall + passed, ran + did, waited + missed
        readings.append((wall, {"1": (ran, waited)}))
    work, seen = faked(*readings), [0.0]
    for passed, _, _ in steps:
        seen.append(work.now())
        assert 0 <= seen[-1] - seen[-2] <= passed + 1e-9


@pytest.mark.skipif(not clock.usage(), reason="only Linux tells how long threads waited")
def test_on_a_busy_processor_it_counts_about_what_the_process_ran():
    code = (
        "import os, time; from vertune.learning.clock import WorkClock\n"
        "work, start = WorkClock(), time.monotonic()\n"
        "while time.process_time() < 0.4: pass\n"
        "print(work.now(), time.monotonic() - start)"
    )
    only = next(iter(os.sched_getaffinity(0)))

    def pin():
        os.sched_setaffinity(0, {only})

    others = [subprocess.Popen([sys.executable, "-c", SPIN], preexec_fn=pin) for _ in range(2)]
    try:
        done = subprocess.run([sys.executable, "-c", code], preexec_fn=pin, capture_output=True, text=True, check=True)
    finally:
        for other in others:
            other.kill()
            other.wait()
    work, wall = map(float, done.stdout.split())
    assert wall > 0.7 > 0.55 > work
