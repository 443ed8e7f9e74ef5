"""The answer cache: nothing is computed twice, threads share one computation, and an error reaches each of them."""

from __future__ import annotations

import threading
import time

import pytest

from vertune.core.errors import ConfigError, ModelError
from vertune.runtime.cache import AnswerCache, CachedPredictor
from vertune.tasks.classify import Classify


class Slow:
    """Answers a record with its text, after a while, and counts."""

    task = Classify()

    def __init__(self, seconds=0.0, error=None):
        self.seconds, self.error, self.seen = seconds, error, []

    def answer(self, records):
        self.seen += [record["text"] for record in records]
        time.sleep(self.seconds)
        if self.error:
            raise self.error
        return [{"label": record["text"], "probabilities": {"a": 1.0}} for record in records]


def texts(*values):
    return [{"text": value} for value in values]


def cached(model, entries=10):
    return CachedPredictor(model, "v1", AnswerCache(entries))


def test_the_same_is_computed_once_and_given_in_order():
    model = Slow()
    cache = cached(model)
    assert [answer["label"] for answer in cache.answer(texts("a", "b", "a"))] == ["a", "b", "a"]
    assert [answer["label"] for answer in cache.answer([*texts("b", "c"), {"text": "a", "label": "other"}])] == ["b", "c", "a"]
    assert model.seen == ["a", "b", "c"]
    assert (cache.cache.hits, cache.cache.misses, cache.cache.hit_rate) == (3, 3, 0.5)


def test_an_answer_is_the_caller_s_own():
    cache = cached(Slow())
    cache.answer(texts("a"))[0]["probabilities"]["a"] = 0.0
    assert cache.answer(texts("a"))[0]["probabilities"] == {"a": 1.0}


def test_what_was_longest_unasked_goes_first():
    model = Slow()
    cache = cached(model, entries=2)
    for value in "abac":
        cache.answer(texts(value))
    assert len(cache.cache) == 2
    model.seen.clear()
    cache.answer(texts("a", "c"))
    assert model.seen == []
    cache.answer(texts("b"))
    assert model.seen == ["b"]


def many(cache, count):
    found, errors = [], []
    gate = threading.Barrier(count)

    def ask():
        gate.wait()
        try:
            found.append(cache.answer(texts("a"))[0]["label"])
        except ModelError as error:
            errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
    return found, errors


def test_those_who_ask_at_once_share_one_computation():
    model = Slow(seconds=0.2)
    cache = cached(model)
    found, errors = many(cache, 8)
    assert (found, errors) == (["a"] * 8, [])
    assert model.seen == ["a"]


def test_an_error_reaches_all_and_is_not_remembered():
    model = Slow(seconds=0.2, error=ModelError("broken"))
    cache = cached(model)
    found, errors = many(cache, 4)
    assert not found
    assert len(errors) == 4
    model.error = None
    assert cache.answer(texts("a"))[0]["label"] == "a"


def test_two_models_never_share_an_answer():
    shared = AnswerCache()
    first, second = Slow(), Slow()
    CachedPredictor(first, "v1", shared).answer(texts("a"))
    CachedPredictor(second, "v2", shared).answer(texts("a"))
    assert first.seen == second.seen == ["a"]


def test_single_values():
    cache = AnswerCache(entries=2)
    assert cache.get("a") is None
    for key in "abac":
        cache.put(key, key.upper())
        cache.get(key)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == ("A", None, "C")
    assert (cache.hits, cache.misses) == (6, 2)


def test_a_cache_of_nothing_is_refused():
    with pytest.raises(ConfigError, match="expected at least 1"):
        AnswerCache(entries=0)


def test_a_vertical_remembers_when_told_to(fitted):
    import vertune

    home, done = fitted
    vertical = vertune.load(done.model.id, home.folder).remember(100)
    first = vertical.predict("tell me of rome")
    assert vertical.predict(["tell me of rome", "tell me of soup"])[0] == first
    assert vertical.cache.hit_rate == pytest.approx(1 / 3)
