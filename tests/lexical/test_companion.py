"""The model of words must equal scikit-learn's, and a mix must change answers only by its weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from vertune.core.records import Feature
from vertune.decoders import classify, multilabel, windows
from vertune.lexical import fitting, grams
from vertune.lexical.companion import Companion, merged
from vertune.lexical.fitting import LabelledTexts, fit, fit_linear, fit_vocabulary, sparse_scorer, to_matrix
from vertune.lexical.scorer import Scorer
from vertune.lexical.vectors import Vocabulary

WORDS = ("card", "transfer", "refund", "late", "rate", "account", "订单", "什么时候", "到货", "Straße", "naïve", "pay-day", "42", "é")
ENGLISH = ("where is my card", "my card is late", "refund my transfer", "the transfer was refused", "exchange rate", "what is the rate")


def texts(count: int, seed: int = 0) -> list[str]:
    """Random texts of a few words of several scripts."""
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, random.integers(1, 9))) for _ in range(count)]


def features(count: int, each: int = 1) -> list[Feature]:
    return [Feature(record, "text", 3 + window, None, window=window) for record in range(count) for window in range(each)]


def labelled(rows: int = 90, fields: int = 1) -> LabelledTexts:
    sides = [texts(rows, seed) for seed in range(fields)]
    truth = np.array(["card" in text for text in sides[0]], np.int64) + np.array(["rate" in text for text in sides[0]])
    return LabelledTexts(("text", "text_pair")[:fields], sides, truth)


def dense(vocabulary: Vocabulary, sides: list[list[str]]) -> np.ndarray:
    return to_matrix(vocabulary.vectors(sides), len(sides[0]), vocabulary.columns(len(sides))).toarray()


def test_vectors_equal_sublinear_tfidf_of_scikit_learn() -> None:
    from sklearn.feature_extraction.text import TfidfVectorizer

    rows = [*ENGLISH, "card card card is my card"]
    ours = dense(fit_vocabulary(rows, 100_000), [rows])
    words = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b").fit_transform(rows).toarray()
    characters = TfidfVectorizer(sublinear_tf=True, analyzer=_character_grams).fit_transform(rows).toarray()
    assert ours.shape[1] == words.shape[1] + characters.shape[1]
    np.testing.assert_allclose(ours @ ours.T, words @ words.T + characters @ characters.T, atol=1e-6)


def _character_grams(text: str) -> list[str]:
    padded = [f" {word} " for word in text.split()]
    return [word[start : start + size] for word in padded for size in grams.SIZES for start in range(len(word) - size + 1)]


@pytest.mark.parametrize("fields", [1, 2])
def test_scores_equal_the_decision_function_of_scikit_learn(fields: int) -> None:
    from sklearn.linear_model import LogisticRegression

    data = labelled(fields=fields)
    vocabulary = fit_vocabulary([text for side in data.texts for text in side], 5_000)
    matrix = to_matrix(vocabulary.vectors(data.texts), 90, vocabulary.columns(fields))
    model = LogisticRegression(max_iter=300).fit(matrix, data.truth)
    scorer = sparse_scorer(csr_matrix(model.coef_), np.ones(3, np.float32), model.intercept_)
    found = scorer.scores(vocabulary.vectors(data.texts), 90)
    np.testing.assert_allclose(found, model.decision_function(matrix), atol=1e-6)


@pytest.mark.parametrize("fields", [1, 2])
def test_one_byte_a_weight_changes_scores_little(fields: int) -> None:
    data = labelled(fields=fields)
    vocabulary = fit_vocabulary([text for side in data.texts for text in side], 5_000)
    matrix = to_matrix(vocabulary.vectors(data.texts), 90, vocabulary.columns(fields))
    coefficients, intercepts = fit_linear(matrix, data.truth, ("softmax", 3), None)
    exact = matrix @ coefficients.T + intercepts
    found = fitting.quantised(coefficients, intercepts).scores(vocabulary.vectors(data.texts), 90)
    assert np.abs(found - exact).max() < 0.02 * np.abs(exact).max()


def test_scores_of_many_labels_are_cosines_to_their_centroids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "_CHARACTERS_TIMES_OUTPUTS", 90)
    data = labelled()
    vectors = dense(fit_vocabulary(data.texts[0], 100_000), data.texts)
    means = np.stack([vectors[data.truth == place].mean(axis=0) for place in range(3)])
    expected = fitting._STEEPNESS * vectors @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T
    records = [{"text": text} for text in data.texts[0]]
    np.testing.assert_allclose(fit(data, "softmax", 3).scores(records), expected, atol=0.15)
    several = fit(LabelledTexts(data.fields, data.texts, np.eye(3, dtype=bool)[data.truth]), "sigmoid", 3).scores(records)
    halves = [expected[data.truth == place, place].mean() / 2 for place in range(3)]
    np.testing.assert_allclose(several, expected - halves, atol=0.15)


def test_a_text_has_the_same_scores_alone_and_among_others() -> None:
    model = fit(labelled(), "softmax", 3)
    records = [{"text": text} for text in [*texts(600, 5), "", "   ", "x"]]
    together = model.scores(records)
    np.testing.assert_allclose(together, np.concatenate([model.scores([record]) for record in records]), atol=1e-9)


@pytest.mark.parametrize("fields", [1, 2])
def test_the_table_of_weights_gives_the_same_scores_as_the_weights(fields: int) -> None:
    model = fit(labelled(fields=fields), "softmax", 3)
    assert model.scorer.table is not None
    plain = replace(model.scorer)
    object.__setattr__(plain, "table", None)
    records = [{"text": one, "text_pair": other} for one, other in zip([*texts(40, 5), ""], [*texts(40, 6), ""], strict=True)]
    np.testing.assert_allclose(model.scores(records), replace(model, scorer=plain).scores(records), atol=1e-9)


def test_a_table_that_would_take_much_memory_is_not_made() -> None:
    columns, outputs = 60_000, 100
    empty, scales = np.zeros(0, np.int8), np.ones(outputs, np.float32)
    scorer = Scorer(np.zeros(columns + 1, np.int64), empty, empty, scales, scales)
    assert scorer.table is None


def test_case_width_and_white_space_do_not_matter() -> None:
    model = fit(labelled(), "softmax", 3)
    ours, theirs = model.scores([{"text": "Where  is my CARD\n"}, {"text": "where is my ｃａｒｄ"}])
    np.testing.assert_array_equal(ours, theirs)


def test_empty_missing_and_odd_texts_have_scores() -> None:
    model = fit(labelled(fields=2), "softmax", 3)
    odd = ["", None, "\ud800", "\x00", "ﷺ" * 5_000, "a" * 10_000, "🙂", " "]
    scores = model.scores([{"text": one, "text_pair": other} for one in odd for other in odd])
    assert scores.shape == (len(odd) ** 2, 3)
    assert np.isfinite(scores).all()
    assert model.scores([]).shape == (0, 3)
    empty = model.scores([{"text": ""}])
    np.testing.assert_allclose(empty[0], model.scorer.intercepts, atol=1e-6)


def test_chinese_texts_are_told_apart() -> None:
    one, other = ["我的订单什么时候到货", "订单还没有到", "查订单"], ["怎么申请退款", "退款什么时候到", "我要退款"]
    model = fit(LabelledTexts(("text",), [one + other], np.array([0, 0, 0, 1, 1, 1])), "softmax", 2)
    assert model.scores([{"text": "订单在哪里"}, {"text": "请给我退款"}]).argmax(axis=1).tolist() == [0, 1]


def test_pairs_are_compared() -> None:
    sides = [texts(300, 1), texts(300, 2)]
    equal = np.arange(300) % 2 == 0
    sides[1] = [one if same else other for one, other, same in zip(sides[0], sides[1], equal, strict=True)]
    model = fit(LabelledTexts(("text", "text_pair"), sides, equal.astype(np.int64)), "softmax", 2)
    fresh = texts(60, 9)
    records = [{"text": text, "text_pair": text if place % 2 == 0 else fresh[place - 1]} for place, text in enumerate(fresh)]
    assert (model.scores(records).argmax(axis=1) == (np.arange(60) % 2 == 0)).mean() > 0.9


def test_several_labels_numbers_and_missing_classes_are_fitted() -> None:
    rows = texts(120)
    present = np.array([[word in text for word in WORDS[:3]] + [False, True] for text in rows])
    scores = fit(LabelledTexts(("text",), [rows], present), "sigmoid", 5).scores([{"text": text} for text in rows])
    assert ((scores > 0) == present).mean() > 0.95
    lengths = np.array([len(text.split()) for text in rows], np.float64)
    numbers = fit(LabelledTexts(("text",), [rows], lengths), "identity", 1).scores([{"text": text} for text in rows])
    assert np.corrcoef(numbers[:, 0], lengths)[0, 1] > 0.8


def test_fitting_is_deterministic_and_keeps_to_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "BYTES", 40_000)
    for name in ("one", "other"):
        Companion("softmax", 1.0, 0.5, fit(labelled(300), "softmax", 3)).save(tmp_path / name)
    stored = (tmp_path / "one").read_bytes()
    assert stored == (tmp_path / "other").read_bytes()
    assert len(stored) < 42_000


def test_many_columns_take_at_most_five_megabytes(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    alphabet = list("abcdefghijklmnopqrstuvwxyz")
    rows = [" ".join("".join(random.choice(alphabet, 8)) for _ in range(10)) for _ in range(490)]
    model = fit(LabelledTexts(("text",), [rows], np.arange(490) % 70), "softmax", 70)
    Companion("softmax", 1.0, 1.0, model).save(tmp_path / "file")
    assert len(model.vocabulary) > 30_000
    assert (tmp_path / "file").stat().st_size <= 5_000_000


@pytest.mark.parametrize("damage", ["cut", "header", "metadata", "type"])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "companion.safetensors"
    Companion("softmax", 1.0, 0.5, fit(labelled(), "softmax", 3)).save(file)
    data = file.read_bytes()
    damaged = {
        "cut": data[:-5],
        "header": b"\xff" * 20,
        "metadata": data.replace(b"companion", b"companiom", 1),
        "type": data.replace(b'"I8"', b'"X8"', 1),
    }
    file.write_bytes(damaged[damage])
    with pytest.raises(ValueError, match="Restore it from a copy"):
        Companion.load(file)


def test_the_file_is_one_of_safetensors(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    model = fit(labelled(), "softmax", 3)
    Companion("softmax", 1.0, 0.5, model).save(tmp_path / "file")
    arrays = load_file(tmp_path / "file")
    np.testing.assert_array_equal(arrays["weights"], model.scorer.weights)
    np.testing.assert_array_equal(arrays["grams"], model.vocabulary.grams)


@pytest.mark.parametrize("fields", [0, 1, 2])
def test_what_is_loaded_is_what_was_saved(tmp_path: Path, fields: int) -> None:
    model = fit(labelled(fields=fields), "softmax", 3) if fields else None
    companion = Companion("softmax", 0.75, 0.5 if fields else 0.0, model, (0.5, -0.25, 0.0) if fields == 1 else ())
    companion.save(tmp_path / "file")
    loaded = Companion.load(tmp_path / "file")
    records = [{"text": one, "text_pair": other} for one, other in zip(texts(20, 3), texts(20, 4), strict=True)]
    outputs = list(np.random.default_rng(0).normal(size=(20, 3)))
    for ours, theirs in zip(*(one.mixed(records, features(20), outputs) for one in (companion, loaded)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("each", [1, 3])
def test_without_weight_of_words_labels_and_their_order_stay(each: int) -> None:
    records = [{"text": text} for text in texts(40)]
    outputs = list(np.random.default_rng(1).normal(size=(40 * each, 5)))
    labels = list("abcde")
    before = classify.decode(records, features(40, each), outputs, labels)
    for weight in (1.0, 0.4, 3.0):
        companion = Companion("softmax", weight)
        after = classify.decode(records, features(40, each), companion.mixed(records, features(40, each), outputs), labels)
        for one, other in zip(before, after, strict=True):
            ordered = [sorted(answer["probabilities"], key=answer["probabilities"].get) for answer in (one, other)]
            assert one["label"] == other["label"]
            assert ordered[0] == ordered[1]
            if weight == 1:
                assert other["probability"] == pytest.approx(one["probability"], abs=1e-9)


def test_one_window_and_weight_one_leave_outputs_bit_for_bit() -> None:
    outputs = list(np.random.default_rng(1).normal(size=(4, 5)).astype(np.float32))
    records = [{"text": "a"}] * 4
    found = Companion("softmax", 1.0).mixed(records, features(4), outputs)
    assert all(np.array_equal(one, other) for one, other in zip(found, outputs, strict=True))


def test_windows_of_labels_keep_their_mean_probability() -> None:
    outputs = list(np.random.default_rng(2).normal(size=(12, 3)) * 4)
    inputs = features(6, 2)
    found = windows.sigmoid(merged("sigmoid", 6, inputs, outputs))
    np.testing.assert_allclose(found, multilabel.merged(6, inputs, outputs, 3), atol=1e-9)


def test_the_mix_is_the_weighted_sum_of_logits() -> None:
    model = fit(labelled(), "softmax", 3)
    records = [{"text": text} for text in texts(10, 7)]
    outputs = np.random.default_rng(3).normal(size=(10, 3))
    found = Companion("softmax", 0.5, 2.0, model).mixed(records, features(10), list(outputs))
    np.testing.assert_allclose(np.array(found), 0.5 * outputs + 2.0 * model.scores(records))


def test_no_records_need_no_scores() -> None:
    assert Companion("softmax", 0.5, 2.0, fit(labelled(), "softmax", 3)).mixed([], [], []) == []
