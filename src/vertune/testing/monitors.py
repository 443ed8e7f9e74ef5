"""Checks that a monitor, which compares requests with a reference, obeys its contract; independent of what it compares.

Authors of a monitor run the checks on it:

    for check in CHECKS:
        check(MyMonitor())
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from vertune.core.kinds import Task
from vertune.core.monitor import Finding, Monitor, Window
from vertune.core.part import having

_WORDS = [f"word{number}" for number in range(50)]
_LABELS = ["card", "loan", "transfer"]
_HOUR = 3600.0
_WIDTH = 12
_WINDOWS, _ALARMS = 10, 2
"""Number of unchanged windows, and how many may look changed; with a probability of 0.01 each, more have one of ten thousand."""


def window(requests: int = 300, seed: int = 0, begin: float = 1e9, **columns: Any) -> Window:
    """Return requests to a classifier of which nothing is unusual, with all that a monitor can need; `columns` replace some of it."""
    random = np.random.default_rng([seed, requests])
    named = random.choice(3, requests, p=[0.5, 0.3, 0.2])
    sure = random.beta(8, 2, requests)
    right = np.where(random.random(requests) < sure, 1.0, 0.0)
    records = [{"text": " ".join(random.choice(_WORDS, 8)), "region": "ab"[row % 2]} for row in range(requests)]
    answers = [{"label": _LABELS[label], "probability": float(share)} for label, share in zip(named, sure, strict=True)]
    vectors = random.normal(size=(requests, _WIDTH)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    task = Task.model_validate({"name": having(Task.folder, activation="softmax").__module__.rpartition(".")[2], "labels": _LABELS})
    given = {
        "at": begin + np.cumsum(random.exponential(_HOUR / 20, requests)), "seconds": random.gamma(2, 0.01, requests),
        "tokens": random.poisson(10, requests), "cut": np.zeros(requests), "unknown": np.zeros(requests), "right": right,
        "targets": [{"label": _LABELS[label]} for label in named], "shadow": answers,
        "states": lambda rows: vectors[list(rows)],
    }  # fmt: skip
    return replace(Window.of(task, records, answers, **given), **columns)


def _compared(monitor: Monitor, reference: Window, one: Window) -> Finding:
    lacking = monitor.lacks(reference, one)
    return Finding.silent(lacking, len(one)) if lacking else monitor.compare(reference, one)


def check_finding_is_complete(monitor: Monitor) -> None:
    """Check that a finding has a sentence, an interval around its value, a p from 0 to 1, and evidence that JSON can hold."""
    found = _compared(monitor, window(1000), window(seed=1, begin=2e9))
    assert found.why.strip(), f"{monitor.name}: the finding has no sentence"
    assert found.p is None or 0 <= found.p <= 1, f"{monitor.name}: p is {found.p}"
    assert (found.p is None) == (monitor.sequential or found.changed is None), (
        f"{monitor.name}: p must be None for a sequential monitor alone"
    )
    if found.low is not None and found.high is not None and found.value is not None:
        assert found.low <= found.value + 1e-9, f"{monitor.name}: the value {found.value} is below its interval"
        assert found.high >= found.value - 1e-9, f"{monitor.name}: the value {found.value} is above its interval"
    json.dumps(found.evidence)
    assert len({tuple(row) for row in found.evidence}) <= 1, f"{monitor.name}: the rows of its evidence have different columns"


def check_result_is_repeatable(monitor: Monitor) -> None:
    """Check that the same windows give the same finding."""
    one, other = window(600), window(seed=1)
    assert _compared(monitor, one, other) == _compared(monitor, one, other), f"{monitor.name}: the same windows give other findings"


def check_windows_stay_as_they_are(monitor: Monitor) -> None:
    """Check that a monitor changes nothing in the windows that it is given."""
    one, other = window(400), window(seed=1)
    before = [array.copy() for found in (one, other) for array in (found.at, found.confidences, found.right, found.seconds)]
    _compared(monitor, one, other)
    after = [array for found in (one, other) for array in (found.at, found.confidences, found.right, found.seconds)]
    same = all(np.array_equal(first, second, equal_nan=True) for first, second in zip(before, after, strict=True))
    assert same, f"{monitor.name}: a window was changed"


def check_unchanged_traffic_is_quiet(monitor: Monitor) -> None:
    """Check that hardly any window looks changed if nothing has changed."""
    reference = window(600, seed=100)
    found = [_compared(monitor, reference, window(seed=seed, begin=2e9)) for seed in range(_WINDOWS)]
    alarms = sum(bool(one.changed) for one in found)
    assert alarms <= _ALARMS, f"{monitor.name}: {alarms} of {_WINDOWS} unchanged windows look changed"


def check_missing_parts(monitor: Monitor) -> None:
    """Check that a monitor says why it can't tell anything where texts, answers, times, feedback or vectors are missing."""
    count = 250
    nothing: dict[str, Any] = {
        "texts": {"records": [None] * count}, "answers": {"answers": [None] * count, "confidences": np.full(count, np.nan)},
        "times": {"at": np.full(count, np.nan), "seconds": np.full(count, np.nan)}, "feedback": {"right": np.full(count, np.nan)},
        "tokens": {name: np.full(count, -1) for name in ("tokens", "cut", "unknown")},
    }  # fmt: skip
    for part, columns in nothing.items():
        for reference, one in (
            (window(count), replace(window(count, 1), **columns)),
            (replace(window(count), **columns), window(count, 1)),
        ):
            found = _compared(monitor, reference, one)
            assert found.why.strip(), f"{monitor.name}: without {part}, nothing says why"
            for figure in (found.value, found.low, found.high, found.p):
                assert figure is None or math.isfinite(figure), f"{monitor.name}: without {part}, a figure is {figure}"


def check_few_and_equal_requests(monitor: Monitor) -> None:
    """Check that a monitor works with one request, and where all requests are equal."""
    _compared(monitor, window(300), window(1, seed=1))
    one = window(300)
    same = one.take([0] * 300)
    found = _compared(monitor, same, same)
    assert not found.changed, f"{monitor.name}: a window looks changed beside itself"


CHECKS: tuple[Callable[[Monitor], None], ...] = (
    check_finding_is_complete,
    check_result_is_repeatable,
    check_windows_stay_as_they_are,
    check_unchanged_traffic_is_quiet,
    check_missing_parts,
    check_few_and_equal_requests,
)
