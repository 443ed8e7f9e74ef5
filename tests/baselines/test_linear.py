from __future__ import annotations

import numpy as np
import pytest

from vertune.baselines import linear

TEXTS = ["天气很好", "天气不错", "股票下跌", "股票上涨", "天气晴朗", "股票交易"]
RECORDS = [{"text": text} for text in TEXTS * 5]
TOPIC = np.array([0, 0, 1, 1, 0, 1] * 5)


def test_classes_are_learnt_where_no_space_ends_a_word():
    fitted = linear.classes(RECORDS, TOPIC, 3, linear.HoldOut(RECORDS[:6], TOPIC[:6]))
    said = fitted([{"text": "今天的天气"}, {"text": "买股票"}])
    assert said.argmax(1).tolist() == [0, 1]
    assert said.sum(1) == pytest.approx([1, 1])
    assert (said[:, 2] == 0).all(), "a class without rows is never probable"


def test_one_class_alone_is_always_answered():
    fitted = linear.classes(RECORDS, np.ones(len(RECORDS), np.int64), 2, linear.HoldOut([], np.array([], np.int64)))
    assert fitted(RECORDS[:2]).tolist() == [[0, 1], [0, 1]]


def test_label_sets_with_labels_that_all_or_no_rows_have():
    present = np.stack([TOPIC == 0, np.ones(30, bool), np.zeros(30, bool)], axis=1)
    said = linear.sets(RECORDS, present)([{"text": "天气"}, {"text": "股票"}])
    assert said[0, 0] > 0.5 > said[1, 0]
    assert said[:, 1:].tolist() == [[1, 0], [1, 0]]


def test_numbers_take_the_penalty_that_is_best_on_validation():
    values = TOPIC * 2.0 - 1
    said = linear.numbers(RECORDS, values, linear.HoldOut(RECORDS[:6], values[:6]))([{"text": "天气很好"}, {"text": "股票上涨"}])
    assert said == pytest.approx([-1, 1], abs=0.2)


def test_no_records_have_no_answers():
    assert linear.classes(RECORDS, TOPIC, 3, linear.HoldOut([], TOPIC[:0]))([]).shape == (0, 3)
    assert linear.sets(RECORDS, np.stack([TOPIC == 0, TOPIC == 1], axis=1))([]).shape == (0, 2)
    assert linear.numbers(RECORDS, TOPIC * 1.0, linear.HoldOut([], np.empty(0)))([]).shape == (0,)


def test_large_data_is_read_evenly_and_the_same_each_time(monkeypatch):
    monkeypatch.setattr(linear, "ROWS", 10)
    rows = linear._sample(1000)
    assert len(set(rows.tolist())) == 10
    assert rows.max() > 500
    assert rows.tolist() == linear._sample(1000).tolist()
