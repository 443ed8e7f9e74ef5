"""The stretch among most words of a question."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vertune.baselines import passage


def _slow(question: str, context: str, length: int) -> int:
    """The place of the first word, by the definition."""
    words, asked = context.split(), set(question.split())
    weight = [math.log1p(1 / words.count(word)) if word in asked else 0.0 for word in words]
    scores = []
    for place in range(len(words) - length + 1):
        near = weight[max(0, place - 10) : place] + weight[place + length : place + length + 10]
        scores.append(sum(near) - sum(weight[place : place + length]))
    return int(np.argmax(np.round(scores, 9)))


@pytest.mark.parametrize("seed", range(8))
def test_equals_the_definition(seed: int) -> None:
    random = np.random.default_rng(seed)
    vocabulary = [f"w{number}" for number in range(40)]
    context, question = (" ".join(random.choice(vocabulary, size=size)) for size in (60, 6))
    start, end = passage.best(question, context, 3)
    assert len(context[start:end].split()) == 3
    assert context[:start].split() == context.split()[: _slow(question, context, 3)]


def test_case_and_script_do_not_matter() -> None:
    context = "一二三四五六七八九十甲乙丙丁戊己庚辛壬癸东南西北，塔建于巴黎。"
    start, end = passage.best("塔建于哪里？", context, 2)
    assert (start, end) == (15, 17)  # the first two characters that have all of 塔建于 within ten


def test_short_and_empty_contexts() -> None:
    assert passage.best("Who?", "Only Anna.", 5) == (0, 9)
    assert passage.first("北京很大", 2) == (0, 2)
    assert passage.first("?!", 2) == (0, 2)
