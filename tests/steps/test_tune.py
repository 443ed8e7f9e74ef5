"""What is measured on this machine is used on it, and on another one it is not."""

from __future__ import annotations

import json
import logging

import pytest

from vertune.core import machine
from vertune.core.errors import NotFound
from vertune.runtime.predictor import HOST, Predictor
from vertune.steps.compress import compress
from vertune.steps.tune import TEMPORARY, tune


@pytest.fixture
def quick(monkeypatch):
    """Two threads are quicker for many texts, one for one text."""
    monkeypatch.setattr(machine, "usable_processors", lambda: 2)

    def measure(workload, threads=None):
        return {"latency": {"16": 0.001 * (threads or 1)}, "throughput": 100.0 * (threads or 1), "memory": 1, "threads": threads or 1}

    monkeypatch.setattr("vertune.evaluation.gate.benchmark", measure)
    monkeypatch.setattr("vertune.steps.tune.benchmark", measure)


def test_the_best_is_recorded_and_used_here_alone(home, quick, monkeypatch, caplog):
    model = home.get("models", "support")
    with pytest.raises(NotFound, match="has no compressed model"):
        tune(model, home)
    small = compress(model, home, ["compress.chain=[int8]", "compress.tolerance=1"])
    beside = [one for one in tune(model, home) if one.model == TEMPORARY]
    assert {(one.chain, one.threads) for one in beside} == {("float32", 1), ("float32", 2)}
    made = [compress(model, home, ["compress.chain=[]", "compress.tolerance=1"]), small]
    found = tune(model, home)
    assert {(one.model, one.threads) for one in found} == {(one.id, threads) for one in made for threads in (1, 2)}
    assert [one.latency for one in found] == sorted(one.latency for one in found)
    assert {one.chain for one in found} == {"float32", "int8"}
    assert all(one.score == pytest.approx(one.expected, abs=0.02) for one in found)
    told = json.loads((made[1].folder / HOST).read_text())
    assert (told["threads"], told["threads_of_many"], told["processor"]) == (1, 2, list(machine.cpu_features()))
    with caplog.at_level(logging.WARNING):
        assert Predictor.open(made[1]).engine.threads == 1
        assert not caplog.records
        monkeypatch.setattr("vertune.runtime.predictor.cpu_features", lambda: ("other",))
        Predictor.open(made[1])
    assert "was measured on a processor that differs" in caplog.text
    assert "vertune tune support" in caplog.text
