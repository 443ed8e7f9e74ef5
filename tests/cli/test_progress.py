"""The progress of a step as lines and as a bar, from events alone."""

import re
from pathlib import Path

import pytest

from vertune.cli.progress import _COUNTED, Listener, _Lines, clock

SOURCE = Path(__file__).resolve().parents[2] / "src" / "vertune"


class Seen:
    def __init__(self):
        self.stages, self.moves, self.lines, self.styles = [], [], [], []

    def stage(self, text):
        self.stages.append(text)

    def move(self, done, total, facts, left):
        self.moves.append((done, total, facts, left))

    def line(self, text, style="dim"):
        self.lines.append(text)
        self.styles.append(style)


def test_a_step_shows_loss_metric_speed_and_time_left():
    seen = Seen()
    listen = Listener(seen)
    listen("training", method="lora", steps=10, parameters=1234, rows=5, rate=1e-3)
    listen("step", step=1, steps=10, loss=0.5, rate=1e-3, examples_per_second=12.3, seconds_left=61.0)
    listen("evaluated", step=1, steps=10, metric=0.91234, name="accuracy")
    listen("step", step=2, steps=10, loss=0.4, rate=1e-3, examples_per_second=12.3, seconds_left=51.0)
    assert seen.stages == ["training with lora: 10 steps, 1,234 parameters"]
    assert seen.moves[0] == (1, 10, "1 of 10 training steps  loss 0.500  12 examples/s", 61.0)
    assert seen.moves[1] == (2, 10, "2 of 10 training steps  loss 0.400  accuracy 0.9123  12 examples/s", 51.0)
    assert seen.lines == ["  step 1: accuracy 0.9123"]


def test_what_must_not_be_missed_stays():
    seen = Seen()
    listen = Listener(seen)
    listen("warning", message="3 rows are empty.")
    listen("chosen", method="full", epochs=2.0, why="it fits", speed={})
    listen("checkpoint", step=3)
    assert seen.lines == ["  warning: 3 rows are empty.", "  chose full: it fits"]
    assert seen.styles == ["yellow", "dim"]
    assert not seen.stages


def test_every_count_says_what_is_counted():
    """Every event with a count in the source has words; one of another package is named by its kind."""
    kinds = set()
    for file in SOURCE.rglob("*.py"):
        kinds |= set(re.findall(r'progress\(\s*"(\w+)",(?:(?!progress\()[^\n])*?\bsteps=', file.read_text(encoding="utf-8")))
    assert {"answered", "remembered", "tuning", "calibrating"} <= kinds
    for kind in sorted(kinds - {"training", "resumed", "evaluated"}):
        assert kind in _COUNTED, kind
    seen = Seen()
    Listener(seen)("answered", step=8, steps=2400)
    Listener(seen)("polishing_stones", step=8, steps=24)
    assert [facts for _, _, facts, _ in seen.moves] == ["8 of 2,400 rows answered", "8 of 24 steps of polishing stones"]


def test_lines_of_a_log_file_say_what_is_counted(capsys, monkeypatch):
    display = _Lines()
    display.last -= 11
    Listener(display)("step", step=8, steps=24, loss=0.5, seconds_left=61.0)
    assert capsys.readouterr().err == "  8 of 24 training steps  loss 0.500  1:01 left\n"


def test_an_event_that_nobody_foresaw_is_shown_by_its_name():
    seen = Seen()
    Listener(seen)("warming_up", rows=1234, nested={"a": 1})
    assert seen.stages == ["warming up: rows 1,234"]


@pytest.mark.parametrize(("seconds", "shown"), [(0, "0:00"), (61, "1:01"), (3661, "1:01:01")])
def test_clock(seconds, shown):
    assert clock(seconds) == shown
