"""Each monitor sees the change that it is for, and says what has changed."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from vertune.core import part
from vertune.core.kinds import Monitor, Task
from vertune.core.monitor import Window
from vertune.core.parse import build
from vertune.core.sentence import Sentence, stored, written
from vertune.evaluation.monitoring import Subject, ask
from vertune.testing.monitors import window

REFERENCE = window(1200)


def found(name, changed, reference=REFERENCE, **options):
    return build(Monitor, {"name": name, **options}).compare(reference, changed)


def rows(count=400, seed=1):
    return window(count, seed, begin=2e9)


def with_texts(share, text):
    base = rows()
    return replace(base, records=[{**one, "text": text} if place < share * 400 else one for place, one in enumerate(base.records)])


@pytest.mark.parametrize("name", part.names(Monitor.folder))
def test_what_each_monitor_says_can_be_said_in_chinese(name):
    for reference in (REFERENCE, window(1)):
        subject = build(Monitor, {"name": name, **({"column": "region"} if name == "fairness" else {})})
        lacking = subject.lacks(reference, rows())
        sentence = lacking or subject.compare(reference, rows()).why
        chinese = written(stored(sentence), "zh")
        assert isinstance(sentence, Sentence)
        assert re.search("[一-鿿]", chinese)
        assert not re.search(r"[{}]|\b(the|of|are)\b", chinese), chinese


def test_failed_requests():
    base = rows()
    failing = replace(base, answers=[None if place % 10 == 0 else one for place, one in enumerate(base.answers)])
    finding = found("errors", failing)
    assert (finding.value, finding.changed, finding.n) == (0.1, True, 400)
    assert "10.0 % of the requests failed, 0.0 % in the reference" in finding.why


def test_slow_requests():
    base = rows()
    finding = found("latency", replace(base, seconds=base.seconds * 3))
    assert finding.changed
    assert finding.value > 0.3
    assert [row[""] for row in finding.evidence][:2] == ["5 % are below", "half are below"]


@pytest.mark.parametrize(("factor", "changed"), [(4, True), (1, False), (0.2, True)])
def test_volume(factor, changed):
    base = rows()
    finding = found("volume", replace(base, at=base.at[0] + (base.at - base.at[0]) / factor))
    assert finding.changed is changed
    assert finding.value == pytest.approx(20 * factor, rel=0.2)


def test_volume_compares_the_same_hours_of_the_day():
    """Nine tenths of the requests of the reference come by day; a window of the day alone is as usual."""
    hours = [(3600.0 * hour, 90 if 8 <= hour % 24 < 18 else 10) for hour in range(24 * 10)]
    reference = replace(REFERENCE, hours=hours)
    by_day = replace(rows(900), at=3600.0 * (24 * 20 + 8) + np.linspace(0, 36_000, 900))
    assert not found("volume", by_day, reference).changed
    at_night = replace(rows(900), at=3600.0 * (24 * 20 + 19) + np.linspace(0, 36_000, 900))
    finding = found("volume", at_night, reference)
    assert finding.changed
    assert "9.00 times as many" in finding.why or "8.9" in finding.why


@pytest.mark.parametrize(("name", "column"), [("unknown_tokens", "unknown"), ("truncation", "cut")])
def test_tokens(name, column):
    finding = found(name, replace(rows(), **{column: (np.arange(400) % 8 == 0).astype(np.int64) * 2}))
    assert (finding.value, finding.changed) == (0.125, True)
    assert "not counted" in found(name, replace(rows(), **{column: np.full(400, -1)})).why


def test_length():
    base = rows()
    finding = found("length", replace(base, tokens=base.tokens + 3))
    assert finding.changed
    assert finding.value == pytest.approx(13, abs=0.6)
    without = replace(base, tokens=np.full(400, -1))
    assert "characters" in found("length", without).why


def test_language():
    reference = with_texts(1.0, "why is my card not there and when will it be")
    finding = found("language", with_texts(0.1, "我的银行卡在哪里"), reference)
    assert (finding.changed, finding.value) == (True, pytest.approx(0.1))
    assert finding.evidence == [{"language": "Chinese", "text": "我的银行卡在哪里"}]


def test_words():
    base = rows()
    asked = [f"mortgage interest rate of a house for {number} years" for number in range(60)]
    finding = found("text_drift", replace(base, records=[*({"text": text} for text in asked), *base.records[60:]]))
    assert finding.changed
    assert finding.value > 0.52
    assert {row["word"] for row in finding.evidence} >= {"mortgage", "interest", "rate", "house"}
    assert finding.evidence[0]["share in the reference"] == 0


def test_one_text_that_is_sent_again_and_again_is_no_drift():
    finding = found("text_drift", with_texts(0.3, rows().records[0]["text"]))
    assert not finding.changed


def test_vectors():
    base = rows()
    moved = np.random.default_rng(0).normal(0.5, 1, (400, 12)).astype(np.float32)
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    finding = found("state_drift", replace(base, states=lambda rows: moved[list(rows)]))
    assert finding.changed
    assert finding.evidence
    assert found("state_drift", replace(base, states=lambda rows: None)).changed is None


def test_vectors_are_compared_with_rows_from_all_of_the_reference():
    draw = np.random.default_rng(0)
    labels = np.sort(draw.integers(0, 3, 1200)), draw.integers(0, 3, 400)  # a dataset may be in the order of its labels
    centres = 3 * np.eye(12, dtype=np.float32)
    before, now = (centres[found] + draw.normal(0, 0.5, (len(found), 12)).astype(np.float32) for found in labels)
    reference = replace(REFERENCE, states=lambda rows: before[list(rows)])
    finding = found("state_drift", replace(rows(), states=lambda places: now[list(places)]), reference)
    assert finding.p > 0.01


def test_labels():
    base = rows()
    other = [{**one, "label": "loan"} if place < 120 else one for place, one in enumerate(base.answers)]
    finding = found("label_shares", replace(base, answers=other))
    assert finding.changed
    assert finding.evidence[0]["label"] == "loan"
    assert "most that of loan" in finding.why


def test_confidences():
    lower = replace(rows(), confidences=rows().confidences * 0.8)
    assert found("confidence", lower).changed
    finding = found("out_of_scope", lower)
    assert finding.changed
    assert finding.evidence[0].keys() == {"least sure of"}
    assert found("out_of_scope", lower, below=0.01).value == 0


def test_estimated_accuracy():
    lower = replace(rows(), confidences=rows().confidences * 0.8)
    finding = found("estimated_accuracy", lower)
    assert finding.changed
    assert finding.value == pytest.approx(lower.confidences.mean(), abs=0.05)
    assert "50 are needed" in found("estimated_accuracy", lower, replace(REFERENCE, right=np.full(1200, np.nan))).why


def test_accuracy_of_texts_with_new_words_is_not_estimated():
    finding = found("estimated_accuracy", with_texts(0.1, "entirely other words are here"))
    assert (finding.value, finding.changed) == (None, None)
    assert finding.why.startswith("9.") or finding.why.startswith("10.")
    assert "of the words of a text are new, 0.0 % before" in finding.why
    assert finding.evidence == [{"unlike the reference": "entirely other words are here"}]


def test_accuracy_of_texts_far_from_the_reference_is_not_estimated():
    axis = np.zeros((1200, 12), np.float32)
    axis[:, 0] = 1
    apart, near = replace(rows(), states=lambda rows: axis[: len(rows)]), np.roll(axis, 1, axis=1)
    finding = found("estimated_accuracy", apart, replace(REFERENCE, states=lambda rows: near[: len(rows)]))
    assert finding.value is None
    assert "of the texts are far from all of the reference" in finding.why


@pytest.mark.parametrize(("rate", "changed"), [(0.5, True), (0.2, False)])
def test_errors_on_feedback(rate, changed):
    base = rows(900)
    wrong = np.random.default_rng(0).random(900) < np.where(np.arange(900) < 300, 0.2, rate)
    finding = found("feedback_quality", replace(base, right=1.0 - wrong))
    assert finding.changed is changed
    assert finding.p is None
    assert ("ADWIN" in finding.why) == changed
    if changed:
        assert finding.value == pytest.approx(0.5, abs=0.06)
        assert finding.evidence[0].keys() == {"text", "answered", "right"}


def test_errors_on_feedback_without_a_known_reference():
    base, unknown = rows(900), replace(REFERENCE, right=np.full(1200, np.nan))
    wrong = np.random.default_rng(0).random(900) < np.where(np.arange(900) < 450, 0.1, 0.4)
    assert found("feedback_quality", replace(base, right=1.0 - wrong), unknown).changed
    assert not found("feedback_quality", replace(base, right=np.ones(900)), unknown).changed


def test_calibration():
    base = rows()
    finding = found("calibration", replace(base, right=np.where(np.arange(400) % 3 == 0, 0.0, base.right)))
    assert finding.changed
    assert finding.value > 0.15
    alone = found("calibration", replace(base, right=np.zeros(400)), replace(REFERENCE, right=np.full(1200, np.nan)))
    assert alone.changed
    assert "nothing is known of the reference" in alone.why


def test_fairness():
    base = rows()
    worse = np.array([0.0 if record["region"] == "a" and place % 4 else base.right[place] for place, record in enumerate(base.records)])
    finding = found("fairness", replace(base, right=worse), column="region")
    assert finding.changed
    assert "region = a" in finding.why or "region = b" in finding.why
    assert {row["group"] for row in finding.evidence} == {"a", "b"}
    assert "No group" in found("fairness", base, column="nothing").why
    assert "mean confidence" in found("fairness", replace(base, right=np.full(400, np.nan)), column="region").why


def test_fairness_sees_a_group_of_which_every_answer_becomes_wrong():
    base, reference = rows(), replace(REFERENCE, right=np.ones(1200))
    wrong = np.array([float(record["region"] == "b") for record in base.records])
    finding = found("fairness", replace(base, right=wrong), reference, column="region")  # no group varies, before or now
    assert finding.changed
    assert finding.p < 1e-6


def test_fairness_compares_the_largest_of_many_groups():
    def regions(window):
        names = [f"rare {row:04}" if row % 4 else "zz" if row % 8 else "zy" for row in range(len(window))]
        return replace(window, records=[{**one, "region": name} for one, name in zip(window.records, names, strict=True)])

    finding = found("fairness", regions(rows()), regions(REFERENCE), column="region")
    assert {row["group"] for row in finding.evidence} == {"zy", "zz"}


def test_fairness_compares_confidences_while_there_is_little_feedback():
    base = rows()
    few = replace(base, right=np.where(np.arange(400) < 5, base.right, np.nan))
    history = few.take(slice(0, 5))
    monitor = build(Monitor, {"name": "fairness", "column": "region"})
    finding = ask(monitor, Subject("v", [monitor], REFERENCE, few, history))
    assert "mean confidence" in finding.why
    assert finding.n == 400


def test_disagreement_in_shadow():
    base = rows()
    other = [{"label": "none"} if place % 4 == 0 else one for place, one in enumerate(base.shadow)]
    finding = found("shadow_disagreement", replace(base, shadow=other))
    assert (finding.value, finding.changed, finding.n) == (0.25, True, 400)
    assert finding.evidence[0]["candidate"] == "none"


def test_default_monitors_need_no_option():
    kinds = [part.find("monitors", name) for name in part.names("monitors")]
    assert [kind.__name__ for kind in kinds if kind.on_request] == ["Fairness"]
    assert all(kind.title and kind() for kind in kinds)


def numbers(count, spread, seed=0, **columns):
    """Answers of a regression with feedback, whose errors have this standard deviation."""
    drawn = np.random.default_rng([seed, count])
    right, errors = drawn.normal(size=count), spread * drawn.normal(size=count)
    answers = [{"score": float(value + error), "truncated": False} for value, error in zip(right, errors, strict=True)]
    records = [{"text": f"text {number}"} for number in range(count)]
    given = {"errors": np.abs(errors), "targets": [{"score": float(value)} for value in right], **columns}
    return Window.of(build(Task, "regress"), records, answers, **given)


@pytest.mark.parametrize(("spread", "changed"), [(1.0, False), (2.0, True)])
def test_numbers_that_are_farther_from_the_right_ones_are_seen(spread, changed):
    reference = numbers(400, 1.0)
    subject = Subject("price", [], reference, numbers(300, spread, seed=1))
    finding = ask(build(Monitor, {"name": "feedback_quality"}), subject)
    limit = np.quantile(reference.errors, 0.9, method="higher")
    assert finding.changed is changed
    assert f"off by more than {limit:.3g}, {(reference.errors > limit).mean():.1%}"[:-1] in finding.why
    assert (finding.value > 0.3) is changed
    assert all(abs(float(row["answered"]) - float(row["right"])) > limit - 0.01 for row in finding.evidence)
    assert re.search("[一-鿿]", written(stored(finding.why), "zh"))


def test_the_first_numbers_with_feedback_say_what_is_usual_where_the_reference_does_not():
    before, after = numbers(400, 1.0, seed=2), numbers(400, 3.0, seed=3)
    errors = np.concatenate([before.errors, after.errors])
    window = replace(numbers(800, 1.0), errors=errors)
    finding = found("feedback_quality", window, numbers(100, 1.0, errors=np.full(100, np.nan)))
    assert finding.changed
    assert "ADWIN" in finding.why
    few = found("feedback_quality", numbers(29, 1.0), numbers(0, 1.0))
    assert (few.changed, few.why) == (
        None,
        "There are too few right answers to know how far off numbers usually are: 29; expected 30 or more.",
    )


def test_what_people_call_right_counts_before_the_distance_of_a_number():
    reference = numbers(400, 1.0)
    finding = found("feedback_quality", numbers(100, 5.0, right=np.ones(100)), reference)
    assert (finding.value, finding.changed) == (0.0, False)


def test_vectors_have_no_right_answer_that_could_be_named():
    monitor = build(Monitor, {"name": "feedback_quality"})
    vectors = Window.of(build(Task, "embed"), [{"text": "a"}] * 3, [{"vector": [1.0]}] * 3, targets=[{"label": 1}] * 3)
    assert "no right answer can be named" in monitor.lacks(vectors, vectors)
    assert monitor.lacks(vectors, replace(vectors, right=np.ones(3))) == ""
    assert monitor.lacks(REFERENCE, replace(rows(), right=np.full(400, np.nan))) == "The window has no feedback."
