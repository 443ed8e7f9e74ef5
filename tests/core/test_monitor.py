"""Windows and findings: what is missing is known, and parts of a window stay together."""

from __future__ import annotations

import numpy as np

from vertune.core.monitor import UNKNOWN, Finding, Window
from vertune.testing.monitors import window


def test_a_window_knows_what_it_holds():
    complete = window(20)
    assert complete.has == {"records", "answers", "states", "feedback", "times", "shadow"}
    empty = Window.of(complete.task, [None, None], [None, {"label": "card", "probability": 0.5}])
    assert empty.has == {"answers"}
    assert empty.tokens.tolist() == [UNKNOWN, UNKNOWN]
    assert np.isnan(empty.confidences[0])
    assert empty.confidences[1] == 0.5
    assert empty.states([0]) is None


def test_parts_of_a_window_stay_together():
    complete = window(20)
    taken = complete.take([7, 3])
    assert [taken.records[0], taken.answers[1], taken.at.tolist()] == [
        complete.records[7],
        complete.answers[3],
        complete.at[[7, 3]].tolist(),
    ]
    assert np.array_equal(taken.states([1, 0]), complete.states([3, 7]))
    assert np.array_equal(taken.take([1]).states([0]), complete.states([3]))
    assert len(complete.take(slice(5, 9))) == 4
    some = complete.where(complete.confidences > 0.8)
    assert 0 < len(some) < 20
    assert (some.confidences > 0.8).all()


def test_texts_and_labels_are_those_of_the_task():
    complete = window(3)
    assert complete.texts() == [record["text"] for record in complete.records]
    assert complete.labels() == [answer["label"] for answer in complete.answers]
    assert Window.of(complete.task, [None], [None]).texts() == [None]


def test_a_silent_finding_says_why():
    found = Finding.silent("There are no texts.", 7)
    assert (found.value, found.p, found.changed, found.why, found.n) == (None, None, None, "There are no texts.", 7)
