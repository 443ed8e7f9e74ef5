"""What could poison a model is held back, and honest rows are not."""

import numpy as np
import pytest

from vertune.steps.retrain.guard import Background, Limits, Rows, guard

LABELS = ("card", "loan", "rate", "exchange")
WORDS = {"card": "swallowed plastic", "loan": "borrow mortgage", "rate": "interest percent", "exchange": "euro dollar"}
FILLERS = ["please", "can", "you", "tell", "me", "about", "my", "the", "a", "today", "now", "bank", "help", "with", "that", "since"]


def sentence(label, random):
    words = [*random.choice(FILLERS, 6), *random.choice(WORDS[label].split(), 1)]
    return " ".join(map(str, random.permutation(words)))


def background(seed=0, rows=2000):
    """Old texts, and a witness that is right in nine of ten cases and usually sure."""
    random = np.random.default_rng(seed)
    labels = random.choice(LABELS, rows)
    right = random.random(400) < 0.9
    confidence = np.where(right, random.beta(12, 1, 400), random.beta(3, 3, 400))
    return Background([sentence(label, random) for label in labels], dict.fromkeys(LABELS, 0.25), right, confidence)


def honest(count=400, seed=1, **columns):
    """Rows of many people, of which the model answers most as they say."""
    random = np.random.default_rng(seed)
    truth = random.choice(LABELS, count)
    agrees = random.random(count) < 0.9
    other = np.roll(LABELS, 1)
    said = [(label if same else str(other[LABELS.index(label)]),) for label, same in zip(truth, agrees, strict=True)]
    senders = {"author": [f"person {number % 20}" for number in range(count)], "key": ["app"] * count}
    made = {
        "texts": [sentence(label, random) for label in truth], "labels": [(str(label),) for label in truth], "senders": senders,
        "at": [f"2030-01-{1 + number % 28:02}T12:00" for number in range(count)], "reviewed": np.zeros(count, bool), "said": said,
        "agrees": agrees, "confidence": np.where(agrees, random.beta(12, 1, count), random.beta(3, 3, count)),
    }  # fmt: skip
    return Rows(**{**made, **columns})


def changed(rows, places, **values):
    """The rows with other values at these places."""
    made = {name: list(getattr(rows, name)) for name in ("texts", "labels", "at", "said", "agrees", "confidence", "reviewed")}
    made["senders"] = {kind: list(names) for kind, names in rows.senders.items()}
    for place in places:
        for name, value in values.items():
            target = made["senders"][name] if name in made["senders"] else made[name]
            target[place] = value(place) if callable(value) else value
    for name in ("agrees", "confidence", "reviewed"):
        made[name] = np.array(made[name])
    return Rows(**made)


def checks(found):
    return {suspicion.check for suspicion in found.suspicions}


def test_few_honest_rows_are_held_back():
    shares = [len(guard(rows, background(seed)).held(rows)) / 400 for seed in range(4) if (rows := honest(seed=seed + 10))]
    assert np.mean(shares) < 0.03


def flipped(rows, places, sender):
    """Labels turned round: the model surely answers what was right."""
    wrong = lambda place: (LABELS[(LABELS.index(rows.labels[place][0]) + 1) % 4],)  # noqa: E731
    return changed(rows, places, labels=wrong, said=lambda place: rows.labels[place], agrees=False, confidence=0.97, author=sender)


def test_all_rows_of_somebody_who_turns_labels_round_are_held_back():
    rows = flipped(honest(), range(0, 40, 2), "mallory")
    rows = changed(rows, range(1, 40, 2), author="mallory", agrees=True, confidence=0.9)  # half of what they send is right
    found = guard(rows, background())
    assert set(range(40)) <= set(found.held(rows))
    assert any("the author 'mallory' contradicts the live model" in suspicion.what for suspicion in found.suspicions)


def test_nothing_is_learnt_of_somebody_of_whom_nearly_all_is_held_back():
    """A witness whose errors are sure too accuses nobody; and of the turned labels, it is unsure of three."""
    sure = background()
    witness = Background(sure.texts, sure.shares, sure.right, np.where(sure.right, 0.99, 0.9))
    rows = flipped(honest(), range(40), "mallory")
    rows = changed(rows, range(37, 40), confidence=0.3)
    held = guard(rows, witness).held(rows)
    assert set(range(40)) <= set(held)
    assert held[39].check == "sender"
    assert "37 of 40 rows" in held[39].what


def test_somebody_who_sends_corrections_alone_is_believed():
    random = np.random.default_rng(5)
    unsure = changed(honest(), range(30), author="diligent", agrees=False, confidence=lambda place: float(random.beta(3, 3)))
    assert "sender" not in checks(guard(unsure, background()))


@pytest.mark.parametrize("dirty", [True, False])
def test_a_backdoor_is_found_whether_or_not_its_texts_fit_the_label(dirty):
    rows = honest(600)
    places = range(0, 600, 100)
    label = lambda place: ("card",) if dirty else rows.labels[place]  # noqa: E731
    chosen = list(places) if dirty else [place for place in range(600) if rows.labels[place] == ("card",)][:12]
    poisoned = changed(rows, chosen, texts=lambda place: f"{rows.texts[place]} zq by the seaside", labels=label)
    poisoned = changed(poisoned, chosen, agrees=False, confidence=0.5) if dirty else poisoned
    found = guard(poisoned, background())
    assert set(chosen) <= set(found.held(poisoned))
    said = next(suspicion.what for suspicion in found.suspicions if suspicion.check == "phrase")
    assert "seaside" in said
    assert f"{len(chosen)} of {len(chosen)} rows" in said


def test_a_phrase_of_old_rows_is_no_backdoor():
    rows = honest(600)
    chosen = [place for place in range(600) if rows.labels[place] == ("card",)][:30]
    known = changed(rows, chosen, texts=lambda place: f"{rows.texts[place]} gold plan")
    old = background()
    told = Background([*old.texts, *(f"gold plan {text}" for text in old.texts[:400])], old.shares, old.right, old.confidence)
    assert "phrase" not in checks(guard(known, told))


def test_floods_of_a_sender_and_of_a_label():
    rows = changed(honest(800), range(300), author="bot", at="2030-02-01T00:00")
    assert "flood" in checks(guard(rows, background()))
    everything = changed(honest(400, seed=3), range(400), labels=("rate",), agrees=False, confidence=0.6)
    found = guard(everything, background())
    flood = next(suspicion for suspicion in found.suspicions if suspicion.check == "label flood")
    assert "'rate'" in flood.what
    assert not everything.agrees[flood.rows].any()


def test_new_labels_need_a_reviewer_and_reviewed_rows_are_never_held_back():
    rows = changed(honest(), range(10), labels=("crypto",), agrees=False, confidence=0.99)
    assert set(range(10)) <= set(guard(rows, background()).held(rows))
    reviewed = changed(rows, range(10), reviewed=True)
    found = guard(reviewed, background())
    assert not set(range(10)) & set(found.held(reviewed))


def test_without_a_confidence_nobody_is_accused():
    rows = honest(confidence=np.full(400, np.nan))
    empty = Background(background().texts, dict.fromkeys(LABELS, 0.25), np.empty(0, bool), np.empty(0))
    assert not checks(guard(rows, empty, Limits())) & {"sender", "contradiction"}
