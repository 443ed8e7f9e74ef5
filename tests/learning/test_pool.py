"""A pool of states: the head that is solved on it is the linear probe, and its beliefs are the probabilities of its answers."""

from __future__ import annotations

import numpy as np
import pytest

from vertune.core.errors import ConfigError
from vertune.core.kinds import Encoder, Task
from vertune.core.parse import build
from vertune.learning.pool import StatePool

COLUMNS = {
    "classify": ["text", "label"], "multilabel": ["text", "labels"], "regress": ["text", "score"], "match": ["text", "text_pair", "label"],
    "tag": ["text", "spans"],
}  # fmt: skip


def made(name: str, tiny_base) -> StatePool:
    """A pool of the example records of a task."""
    import polars as pl

    task = build(Task, {"name": name})
    frame = task.clean(pl.DataFrame(task.example(40))).frame
    task = task.fit(frame)
    records = frame.to_dicts()
    used = [column for column in COLUMNS[name] if column in frame.columns]
    inputs = [column.name for column in task.input_columns if column.name in used]
    encoder = build(Encoder, {"name": "text", "base": str(tiny_base)}).resolve(records, task.views(inputs))
    return StatePool.of(task, encoder, records, inputs)


@pytest.mark.parametrize("name", list(COLUMNS))
def test_a_head_is_solved_and_judges_every_record(name, tiny_base) -> None:
    pool = made(name, tiny_base)
    rows = np.arange(0, len(pool.records), 2)
    head = pool.solve(rows, [pool.records[row] for row in rows])
    answers, beliefs = pool.answers(head), pool.beliefs(head)
    count = len(pool.records)
    assert len(answers) == count
    assert pool.vectors().shape == (count, pool.states.shape[1])
    assert np.allclose(np.linalg.norm(pool.vectors(), axis=1), 1, atol=1e-4)
    for values in (beliefs.confidence, beliefs.margin, beliefs.entropy):
        assert values.shape == (count,)
        assert np.isfinite(values).all()
    assert len(beliefs.probabilities) == count
    assert (beliefs.margin <= beliefs.confidence + 1e-6).all()
    assert (beliefs.entropy >= -1e-6).all()


def test_beliefs_are_the_probabilities_of_answers(tiny_base) -> None:
    pool = made("classify", tiny_base)
    head = pool.solve(np.arange(len(pool.records)), pool.records)
    beliefs = pool.beliefs(head)
    for row, answer in enumerate(pool.answers(head)):
        assert beliefs.confidence[row] == pytest.approx(answer["probability"], abs=1e-5)
        told = [answer["probabilities"][label] for label in pool.task.known_labels]
        assert beliefs.probabilities[row] == pytest.approx(told, abs=1e-5)
        best, second = sorted(told)[::-1][:2]
        assert beliefs.margin[row] == pytest.approx(best - second, abs=1e-5)
        assert beliefs.entropy[row] == pytest.approx(-sum(p * np.log(p) for p in told), abs=1e-4)


def test_more_labels_separate_what_words_separate(tiny_base) -> None:
    pool = made("classify", tiny_base)
    head = pool.solve(np.arange(len(pool.records)), pool.records)
    assert pool.task.score(pool.records, pool.answers(head))["accuracy"] > 0.9


def test_a_task_without_a_linear_head_is_refused(tiny_base) -> None:
    task = build(Task, {"name": "embed"})
    encoder = build(Encoder, {"name": "text", "base": str(tiny_base)})
    with pytest.raises(ConfigError, match="not one linear layer"):
        StatePool.of(task, encoder, [{"text": "a"}], ["text"])


@pytest.mark.parametrize("name", list(COLUMNS))
def test_a_pool_that_is_opened_again_says_nearly_the_same(name, tiny_base, tmp_path) -> None:
    pool = made(name, tiny_base)
    pool.save(tmp_path)
    again = StatePool.open(pool.task, tmp_path)
    rows = np.arange(0, len(pool), 2)
    labelled = [pool.records[row] for row in rows]
    assert len(again) == len(pool)
    assert np.allclose(again.vectors(), pool.vectors(), atol=2e-3)
    head, other = pool.solve(rows, labelled), again.solve(rows, labelled)
    assert {key: value.shape for key, value in head.items()} == {key: value.shape for key, value in other.items()}
    first, second = pool.beliefs(head), again.beliefs(head)
    assert np.allclose(first.probabilities, second.probabilities, atol=2e-2)
    head_again, strength = pool.solved(rows, labelled)
    assert np.allclose(head["weight"], head_again["weight"])
    known, _ = pool.solved(rows, labelled, strength)
    assert np.abs(pool.beliefs(known).probabilities - first.probabilities).max() < 0.05  # the same optimum, from another start
    answers = pool.answers(head)
    some = np.array([3, 1, 7])
    chosen = pool.answers_of(head, some, [pool.records[row] for row in some])
    assert [pool.task.named(one) for one in chosen] == [pool.task.named(answers[row]) for row in some]
