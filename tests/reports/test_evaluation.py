"""The page of an evaluation reads the confusion matrix in its sparse form, and in the complete form of older reports."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vertune.metrics import classification
from vertune.reports import evaluation


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(2, 6), st.data())
def test_the_sparse_and_the_complete_confusion_show_the_same(count, data):
    labels = st.lists(st.integers(0, count - 1), min_size=12, max_size=12)
    truth, guess = np.array(data.draw(labels)), np.array(data.draw(labels))
    matrix = np.bincount(truth * count + guess, minlength=count * count).reshape(count, count).tolist()
    names = [f"label {number}" for number in range(count)]
    sparse = {"labels": names, "cells": classification.confusion(truth, guess, count)}
    complete = {"labels": names, "matrix": matrix}
    assert evaluation.mistakes(sparse) == evaluation.mistakes(complete)
    assert evaluation._drawable(sparse) == evaluation._drawable(complete) == {"labels": names, "matrix": matrix, "left_out": 0}


def test_of_many_labels_those_with_the_most_mistakes_are_drawn():
    count = 200
    cells = [[label, label, 3] for label in range(count)] + [[7, 190, 2], [150, 151, 1]]
    drawn = evaluation._drawable({"labels": [str(label) for label in range(count)], "cells": cells})
    assert drawn["left_out"] == 50
    assert {"7", "190", "150", "151"} <= set(drawn["labels"])
    places = {label: place for place, label in enumerate(drawn["labels"])}
    assert drawn["matrix"][places["7"]][places["190"]] == 2
    assert sum(map(sum, drawn["matrix"])) == 150 * 3 + 3
