"""A companion is learnt where words help, kept out where they don't, and is never told the rows on which it is weighed."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from vertune.core import part
from vertune.core.config import Config
from vertune.core.kinds import Task
from vertune.core.parse import build
from vertune.learning import companion, held_out, session
from vertune.learning.companion import LEAST_WEIGHT, Mixing
from vertune.learning.examples import encode
from vertune.learning.training_input import TrainingInput


def numbers(rows: int = 400, classes: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Classes, and two noisy views of them."""
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, rows)
    one, other = (np.eye(classes)[truth] * 2 + random.normal(size=(rows, classes)) for _ in range(2))
    return truth, one, other


def truths(activation: str) -> np.ndarray:
    truth = numbers()[0]
    return {"softmax": truth, "sigmoid": np.eye(4)[truth], "identity": truth - 1.5}[activation]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "identity"])
def test_slopes_are_the_derivatives_of_the_losses(activation, weighted) -> None:
    random = np.random.default_rng(0)
    mixing = Mixing(activation, truths(activation), random.random(400) if weighted else None)
    mix = random.normal(size=(400, 1 if activation == "identity" else 4))
    direction = random.normal(size=mix.shape)
    step = 1e-5
    found = (mixing.losses(mix + step * direction) - mixing.losses(mix - step * direction)) / (2 * step)
    np.testing.assert_allclose(found, (mixing.slopes(mix) * direction).sum(axis=1), atol=1e-6)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "identity"])
def test_no_other_weights_have_a_smaller_loss(activation) -> None:
    truth, one, other = numbers()
    mixing = Mixing(activation, truths(activation))
    parts = [0.3 * part[:, :1] + truth[:, None] - 1.5 if activation == "identity" else part for part in (one, other)]
    weights = mixing.learn(parts)
    assert min(weights) > 0.1

    def loss(model: float, words: float) -> float:
        penalty = (model - 1) ** 2 + words**2
        return float(mixing.losses(model * parts[0] + words * parts[1]).sum()) + penalty

    for change in ((0.05, 0), (-0.05, 0), (0, 0.05), (0, -0.05)):
        moved = tuple(max(0.0, weight + step) for weight, step in zip(weights, change, strict=True))
        assert loss(*weights) <= loss(*moved) + 1e-6


def test_temperatures_are_found_again() -> None:
    """Rows drawn from the model's own probabilities need no other weight; logits that are three times too large need a third."""
    random = np.random.default_rng(0)
    logits = random.normal(size=(4000, 3)) * 2
    powers = np.exp(logits)
    truth = (random.random((4000, 1)) > np.cumsum(powers / powers.sum(1, keepdims=True), axis=1)).sum(axis=1)
    assert Mixing("softmax", truth).learn([logits])[0] == pytest.approx(1, abs=0.1)
    assert Mixing("softmax", truth).learn([logits * 3])[0] == pytest.approx(1 / 3, abs=0.03)


def test_useless_words_are_left_out_and_a_useless_model_is_too() -> None:
    truth, one, _ = numbers(4000)
    noise = np.random.default_rng(5).normal(size=one.shape)
    assert Mixing("softmax", truth).learn([one, noise])[1] < 0.1
    model, words = Mixing("softmax", truth).learn([noise, one])
    assert model < 0.1
    assert words > 0.5


def drawn(logits: np.ndarray, seed: int) -> np.ndarray:
    """Classes that are drawn from the probabilities of these logits."""
    powers = np.exp(logits)
    return (np.random.default_rng(seed).random((len(logits), 1)) > np.cumsum(powers / powers.sum(1, keepdims=True), axis=1)).sum(axis=1)


def test_a_label_that_is_named_too_often_is_shifted_back() -> None:
    logits = np.random.default_rng(0).normal(size=(4000, 3)) * 2
    scale, shift = Mixing("softmax", drawn(logits, 1)).shifts(logits + np.array([1.0, 0.0, -0.5]), np.arange(4000))
    assert scale == pytest.approx(1, abs=0.1)
    np.testing.assert_allclose(np.diff(shift), [1.0, 0.5], atol=0.15)


def test_labels_of_the_right_frequency_and_few_rows_are_not_shifted() -> None:
    """Where nothing is to be shifted, noise alone passes the test of one standard error in few of many draws."""
    logits = np.random.default_rng(0).normal(size=(600, 3)) * 2
    found = [Mixing("softmax", drawn(logits, seed)).shifts(logits, np.arange(600))[1] for seed in range(20)]
    assert sum(map(bool, found)) <= 4
    assert Mixing("softmax", drawn(logits, 1)).shifts(logits + np.array([5.0, 0.0, 0.0]), np.arange(600) // 3) == (1.0, ())


def test_labels_of_records_with_several_are_shifted_each() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=(2000, 4)) * 2
    truth = (random.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype(float)
    scale, shift = Mixing("sigmoid", truth).shifts(logits + np.array([2.0, 0.0, 0.0, -1.0]), np.arange(2000))
    assert scale == pytest.approx(1, abs=0.1)
    np.testing.assert_allclose(shift, [-2.0, 0.0, 0.0, 1.0], atol=0.25)


def test_few_rows_that_are_all_right_do_not_make_the_model_infinitely_sure() -> None:
    truth = np.arange(20) % 2
    (weight, _) = Mixing("softmax", truth).learn([np.eye(2)[truth] * 4.0])
    assert 1 <= weight < 3


def test_a_model_that_is_always_wrong_still_tells_records_apart() -> None:
    truth = np.arange(40) % 2
    wrong = np.eye(2)[1 - truth] * 4.0
    assert Mixing("softmax", truth).learn([wrong, wrong]) == (LEAST_WEIGHT, 0.0)


@pytest.mark.parametrize(("weights", "kept"), [((1.0, 0.01), "words"), ((0.1, 1.0), "model")])
def test_a_mix_that_loses_to_one_side_is_replaced_by_it(configured, quiet, monkeypatch, weights, kept) -> None:
    """One side is always right, the other always wrong, and the mix listens to the wrong one."""
    config, data = configured()
    columns = config.task.views(["text", "label"])
    train, held = (encode(records, config.task, config.encoder, columns) for records in (data.train, data.validation))
    lesson = TrainingInput(config, config.task, config.encoder, train, None, quiet)
    truth = np.array([held.targets.values[row] for row in range(len(held))])
    sure = np.eye(3)[truth] * 9.0
    words = companion.fit_words(lesson, held)
    monkeypatch.setattr(type(words), "scores", lambda self, records, features: sure if kept == "words" else -sure)
    found = held_out.decoded(config.task, held, list(sure if kept == "model" else -sure))
    learn = Mixing.learn
    monkeypatch.setattr(Mixing, "learn", lambda self, parts: weights if len(parts) > 1 else learn(self, parts))
    learnt = companion.learn(words, lesson, held, found)
    assert learnt.mixed.metrics["accuracy"] == learnt.figures["validation"][kept]["accuracy"] == 1
    assert (learnt.companion.model == 0) == (kept == "words")
    assert (learnt.companion.scorer is None) == (kept == "model")


def test_copies_of_a_record_count_as_one(configured, quiet, tmp_path) -> None:
    once = trained(configured, quiet, tmp_path / "once")
    config, data = configured(method="head")
    data.validation = [*data.validation, *data.validation[:1] * 500]
    often = session.train(config, data, session.TrainingFolders(tmp_path / "often"), quiet)
    assert [often.companion.model, often.companion.words] == pytest.approx([once.companion.model, once.companion.words], abs=1e-3)
    data.validation = data.validation[:1] * 500
    assert session.train(config, data, session.TrainingFolders(tmp_path / "one"), quiet).companion is None


def trained(configured, quiet, tmp_path, **options) -> session.TrainingOutcome:
    config, data = configured(method="head", **options)
    return session.train(config, data, session.TrainingFolders(tmp_path), quiet)


def test_training_learns_a_companion_and_states_what_it_is_worth(configured, quiet, tmp_path) -> None:
    result = trained(configured, quiet, tmp_path)
    figures = result.chosen["companion"]
    assert result.companion is not None
    assert result.companion.scorer is not None
    assert set(figures["validation"]) == {"model", "words", "mixed"}
    assert result.metrics["accuracy"] == figures["validation"]["mixed"]["accuracy"] >= figures["validation"]["model"]["accuracy"]
    assert 0 < figures["share"] <= 1
    tried = {entry["name"]: entry for entry in result.chosen["tried"]}
    assert set(tried) == {"probe", "words", "mixed"}
    assert [name for name, entry in tried.items() if entry["kept"]] == ["mixed"]
    for name, side in (("probe", "model"), ("words", "words"), ("mixed", "mixed")):
        assert tried[name]["value"] == figures["validation"][side]["accuracy"]
        assert tried[name]["low"] <= tried[name]["value"] <= tried[name]["high"]
    assert tried["mixed"]["bytes"] == tried["probe"]["bytes"] + tried["words"]["bytes"]
    again = trained(configured, quiet, tmp_path)
    assert again.chosen["companion"] == figures


@pytest.mark.parametrize("options", [{"companion": "none"}, {"rows": 12}])
def test_none_is_learnt_where_none_is_wanted_or_rows_are_few(configured, quiet, tmp_path, options) -> None:
    config, data = configured(method="head", companion=options.get("companion", "auto"))
    data.validation = data.validation[: options.get("rows", 60)]
    result = session.train(config, data, session.TrainingFolders(tmp_path), quiet)
    assert result.companion is None
    assert "companion" not in result.chosen


def test_a_refit_keeps_the_mix_and_reads_all_rows(configured, quiet, tmp_path, monkeypatch) -> None:
    seen: list[int] = []
    fit = companion.fit
    monkeypatch.setattr(companion, "fit", lambda data, *given: (seen.append(len(data.texts[0])), fit(data, *given))[1])
    config, data = configured(method="head", training={"refit": "always"})
    data.cut = True
    result = session.train(config, data, session.TrainingFolders(tmp_path), quiet)
    assert seen == [120, 180]
    assert result.companion is not None
    assert result.companion.words == pytest.approx(result.chosen["companion"]["words"], abs=1e-4)


TASKS = {
    "multilabel": ({"name": "multilabel"}, lambda row: {"text": row["text"], "labels": [row["label"]]}),
    "regress": ({"name": "regress"}, lambda row: {"text": row["text"], "score": float(len(row["label"]))}),
    "match": ({"name": "match"}, lambda row: {"text": row["text"], "text_pair": row["text"][::-1], "label": row["label"]}),
    "extract": ({"name": "extract"}, lambda row: {"question": row["label"], "text": row["text"], "answers": []}),
}


@pytest.mark.parametrize("name", TASKS)
def test_tasks_take_part_by_their_activation(name) -> None:
    import polars as pl

    from tests.learning.conftest import sentences

    options, convert = TASKS[name]
    rows = [convert(row) for row in sentences(150)]
    task = build(Task, options).fit(pl.DataFrame(rows)) if name != "extract" else build(Task, options)
    words = companion._fit(task, rows, [])
    if task.activation is None:
        assert words is None
        return
    assert words is not None
    held = [convert(row) for row in sentences(80, 1)]
    encoded = [SimpleNamespace(record=row, cost=1, truncated=0) for row in range(80)]
    outputs = list(np.random.default_rng(0).normal(size=(80, task.size)))
    given = SimpleNamespace(task=task, config=SimpleNamespace(companion="auto"))

    class Held(SimpleNamespace):
        def __len__(self) -> int:
            return 80

    examples = Held(records=held, features=encoded)
    learnt = companion.learn(words, given, examples, held_out.decoded(task, examples, outputs))
    assert learnt is not None
    values = learnt.figures["validation"]
    assert values["mixed"][task.goal] > values["model"][task.goal]
    assert learnt.figures["share"] > 0.5


def test_a_tagger_is_not_worse_than_the_list_of_training_entities(quiet, monkeypatch, base) -> None:
    """Descriptions of words are made useless and the model guesses, so that only the list is right."""
    import polars as pl

    task = part.find("tasks", "tag")()
    people = [f"{first}{last}" for first in "abdklm" for last in ("ra", "nn", "lo", "ti", "us")]
    texts = [f"the {people[row % 30]} of {['paper', 'stone', 'river'][row % 3]}" for row in range(120)]
    rows = [{"text": text, "spans": [{"start": 4, "end": text.index(" of"), "label": "name"}]} for text in texts]
    config = build(Config, {"data": {}, "base": str(base), "task": "tag"})
    config = config.model_copy(update={"task": task.fit(pl.DataFrame(rows))})
    views = config.task.views(["text", "spans"])
    train, held = (encode(part, config.task, config.encoder, views) for part in (rows[:80], rows[80:]))
    lesson = TrainingInput(config, config.task, config.encoder, train, None, quiet)
    words = companion.fit_words(lesson, held)
    random = np.random.default_rng(0)
    silent = replace(words, scorer=replace(words.scorer, weights=np.zeros_like(words.scorer.weights)))
    outputs = [random.normal(size=(feature.cost, config.task.size)) for feature in held.features]
    learnt = companion.learn(silent, lesson, held, held_out.decoded(config.task, held, outputs))
    values = learnt.figures["validation"]
    assert values["known"]["f1"] > 0.95
    assert values["mixed"]["f1"] >= values["known"]["f1"] > values["model"]["f1"]
    refitted = companion.refit(learnt.companion, config.task, rows, encode(rows, config.task, config.encoder, views).features)
    assert refitted.scorer.votes == learnt.companion.scorer.votes > 0
    assert bool(len(refitted.scorer.descriptions)) == bool(len(learnt.companion.scorer.descriptions))


def test_inputs_other_than_texts_have_no_words() -> None:
    task = build(Task, {"name": "regress", "inputs": {"age": "number", "job": "category"}})
    assert companion._fit(task, [{"age": 3.0, "job": "a", "score": 1.0}, {"age": 4.0, "job": "b", "score": 2.0}], []) is None
