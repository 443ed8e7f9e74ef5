"""The progress of a step as lines and as a bar, from events alone."""

import pytest

from vertune.cli.progress import Listener, clock


class Seen:
    def __init__(self):
        self.stages, self.moves, self.lines = [], [], []

    def stage(self, text):
        self.stages.append(text)

    def move(self, done, total, facts, left):
        self.moves.append((done, total, facts, left))

    def line(self, text):
        self.lines.append(text)


def test_a_step_shows_loss_metric_speed_and_time_left():
    seen = Seen()
    listen = Listener(seen)
    listen("training", method="lora", steps=10, parameters=1234, rows=5, rate=1e-3)
    listen("step", step=1, steps=10, loss=0.5, rate=1e-3, examples_per_second=12.3, seconds_left=61.0)
    listen("evaluated", step=1, steps=10, metric=0.91234, name="accuracy")
    listen("step", step=2, steps=10, loss=0.4, rate=1e-3, examples_per_second=12.3, seconds_left=51.0)
    assert seen.stages == ["training with lora: 10 steps, 1,234 parameters"]
    assert seen.moves[0] == (1, 10, "loss 0.500  12 examples/s", 61.0)
    assert seen.moves[1] == (2, 10, "loss 0.400  accuracy 0.9123  12 examples/s", 51.0)
    assert seen.lines == ["  step 1: accuracy 0.9123"]


def test_what_must_not_be_missed_stays():
    seen = Seen()
    listen = Listener(seen)
    listen("warning", message="3 rows are empty.")
    listen("chosen", method="full", epochs=2.0, why="it fits", speed={})
    listen("checkpoint", step=3)
    assert seen.lines == ["  warning: 3 rows are empty.", "  chose full: it fits"]
    assert not seen.stages


def test_an_event_that_nobody_foresaw_is_shown_by_its_name():
    seen = Seen()
    Listener(seen)("warming_up", rows=1234, nested={"a": 1})
    assert seen.stages == ["warming up: rows 1,234"]


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0:00"), (61, "1:01"), (3661, "1:01:01")])
def test_clock(seconds, shown):
    assert clock(seconds) == shown
