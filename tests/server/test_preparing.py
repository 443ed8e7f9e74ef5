"""Preparations end in time, are repeated less and less often, and no model is a reason why another is not prepared."""

from __future__ import annotations

import math
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.server.running import until
from vertune.core.artifact import Artifact, Home
from vertune.server.preparing import Pending, Preparations, waiting_time

HANG = "import time; time.sleep(100)"
FAIL = "import sys; sys.exit('progress ...\\n\\x1b[31mError:\\x1b[0m The layer\\nis too small.')"


@dataclass
class Scene:
    """Preparations by processes that do what the test says, and a clock that the test moves."""

    preparations: Preparations
    code: str = FAIL
    asked: list[list[str]] = field(default_factory=list)
    now: float = 0.0

    def update(self, *names: str) -> dict[str, Pending]:
        """One update in which these models are not prepared."""
        return self.preparations.update({name: Artifact(Path(name)) for name in names}, self.preparations.ended(), self.now)

    def finished(self) -> None:
        until(self.preparations.ended)

    @property
    def process(self):
        return self.preparations._child.process


@pytest.fixture
def scene(tmp_path, monkeypatch):
    made = Scene(Preparations(Home(tmp_path), 60.0))

    def command(home, models):
        made.asked.append(list(models))
        return [sys.executable, "-ISc", made.code]

    monkeypatch.setattr("vertune.server.preparing.command", command)
    yield made
    made.preparations.stop()


def test_new_models_are_prepared_together_and_those_that_fail_each_alone(scene):
    assert {one.state for one in scene.update("a", "b", "c").values()} == {"preparing"}
    scene.finished()
    assert scene.preparations.due(scene.now)
    states = scene.update("b", "c")  # a was prepared before the process failed
    assert states["b"].state == "preparing"
    assert states["c"].state == "failed"
    assert states["c"].why == "Its preparation ended without success: The layer is too small."
    scene.finished()
    assert scene.update("b", "c")["c"].state == "preparing"
    assert scene.asked == [["a", "b", "c"], ["b"], ["c"]]


def test_attempts_are_repeated_after_twice_the_time(scene):
    waits = []
    scene.update("a")
    for _ in range(9):
        scene.finished()
        state = scene.update("a")["a"]
        assert state.state == "failed"
        waits.append(state.retry_at - scene.now)
        scene.now = state.retry_at - 0.01
        assert not scene.preparations.due(scene.now)
        assert scene.update("a")["a"].state == "failed"
        scene.now += 0.01
        assert scene.preparations.due(scene.now)
        assert scene.update("a")["a"].state == "preparing"
    assert waits == [30, 60, 120, 240, 480, 960, 1920, 3600, 3600]
    assert scene.asked == [["a"]] * 10


@given(st.integers(min_value=0, max_value=10**6))
def test_the_time_grows_and_has_an_end(attempts):
    assert 30 <= waiting_time(attempts, 30, 3600) <= waiting_time(attempts + 1, 30, 3600) <= 3600


def test_a_process_that_hangs_is_killed_with_its_own_and_others_are_prepared(scene, tmp_path):
    file = tmp_path / "pid"
    scene.code = f"""
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-ISc", {HANG!r}])
open({os.fspath(file)!r} + ".part", "w").write(str(child.pid))
os.rename({os.fspath(file)!r} + ".part", {os.fspath(file)!r})
{HANG}
"""
    scene.update("a", "b")
    first, grandchild = scene.process, int(until(lambda: file.exists() and file.read_text()))
    scene.now = 60.0
    assert not scene.preparations.due(scene.now)
    scene.now = 60.1
    assert scene.preparations.due(scene.now)
    scene.code = HANG
    states = scene.update("a", "b")
    assert first.poll() is not None
    until(lambda: not _runs(grandchild))
    assert states["a"].state == "preparing"
    assert "took longer than 60 s" in states["b"].why
    scene.now += 60.1  # a hangs again; b has its turn
    states = scene.update("a", "b")
    assert (states["a"].state, states["b"].state) == ("failed", "preparing")
    assert states["a"].attempts == 2
    assert scene.asked == [["a", "b"], ["a"], ["b"]]


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_process_that_prepares_one_after_the_other_may_take_longer(scene):
    scene.code = HANG
    scene.update("a", "b", "c")
    scene.now = 50
    assert scene.update("b", "c").keys() == {"b", "c"}
    scene.now = 100
    assert {one.state for one in scene.update("b", "c").values()} == {"preparing"}
    scene.now = 111
    assert {one.state for one in scene.update("b", "c").values()} == {"preparing", "failed"}


def test_a_new_model_does_not_wait_for_an_attempt_that_is_repeated(scene):
    scene.update("a")
    scene.finished()
    scene.code = HANG
    scene.now = scene.update("a")["a"].retry_at
    assert scene.update("a")["a"].state == "preparing"
    repeated = scene.process
    states = scene.update("a", "b")
    assert repeated.poll() is not None
    assert (states["a"].state, states["b"].state) == ("failed", "preparing")
    assert states["a"].attempts == 1
    assert scene.update("a", "b", "c")["c"].state == "waiting"  # b is new itself
    assert scene.asked == [["a"], ["a"], ["b"]]


def test_what_is_prepared_or_no_longer_wanted_is_forgotten(scene):
    scene.code = HANG
    scene.update("a")
    process = scene.process
    assert scene.update() == {}
    assert process.poll() is not None
    assert not scene.preparations.due(math.inf)
    scene.code = FAIL
    scene.update("a")
    scene.finished()
    assert scene.update("a")["a"].attempts == 1
    scene.preparations.retry("a")
    assert scene.update("a")["a"] == Pending("a", "preparing")


def test_a_process_that_can_not_be_started_is_told(scene, monkeypatch):
    monkeypatch.setattr("vertune.server.preparing.command", lambda home, models: ["/nothing/here"])
    state = scene.update("a", "b")["b"]
    assert state.state == "failed"
    assert "could not be started" in state.why


def test_the_end_takes_the_process_along(scene):
    scene.code = HANG
    scene.update("a")
    process, started = scene.process, time.monotonic()
    scene.preparations.stop()
    assert process.poll() is not None
    assert time.monotonic() - started < 5
