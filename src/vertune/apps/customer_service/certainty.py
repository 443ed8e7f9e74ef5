"""How sure it is that what search finds answers a message, learnt for a stated rate of wrong answers; knows no replies.

The score of a search says which passage fits best, and not whether it fits. A regression over several signals says how probable it is that
the best one is right; the threshold above which it is given is learnt as that of intents is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from vertune.apps.customer_service.searching import Found
from vertune.apps.customer_service.understanding import Belief
from vertune.dialogue import decision
from vertune.dialogue.regression import Regression

SIGNALS = ("fit", "lead", "words", "lead_in_words", "meaning", "lead_in_meaning", "believed", "outside", "is_entry", "is_intent")
"""Names of the signals, in the order of their columns."""
_LEAST = 20
"""Fewest messages of which the best that was found is right, and wrong, by which a regression is fitted."""
_NEARLY = 1e-4
"""The probability from which on smaller ones make no difference."""

Kind = Literal["answer", "several", "nothing"]


def signals(found: Sequence[Found], belief: Belief) -> list[float]:
    """Return what tells whether the best that was found, of at least one, answers a message; NaN for what is not known.

    How well it fits, by the slot `match` or the score of the search, by words and by the cosine of vectors; how much better it fits than
    all others, so that a passage that words and vectors agree on stands out; and how much the model of intents agrees with it, in log odds.
    """
    best = found[0]
    by_words, by_meaning = [_number(one.hit.words) for one in found], [_number(one.hit.meaning) for one in found]
    if best.intent is not None:
        believed = belief.probabilities.get(best.intent, 0.0)
    else:
        believed = 1 - max(belief.probabilities.values(), default=0.0)
    leads = [_lead(values) for values in ([one.fit for one in found], by_words, by_meaning)]
    of_what = [float(best.hit.answer is not None), float(best.intent is not None)]
    odds = [_log_odds(believed), _log_odds(belief.outside)]
    return [best.fit, leads[0], by_words[0], leads[1], by_meaning[0], leads[2], *odds, *of_what]


def kind_of(found: Sequence[Found], learnt: Mapping[str, Any], belief: Belief) -> Kind:
    """Return whether the best one is an answer, whether some are to be offered, or none, by what `learn` returned.

    If nothing was learnt, which takes messages that entries answer, nothing is sure, and some are offered.
    """
    if not found:
        return "nothing"
    if not learnt:
        return "several" if found[0].fit > 0 else "nothing"
    if learnt["answer"] is not None and _trust(found, learnt, belief) > learnt["answer"]:
        return "answer"
    return "several" if learnt["offer"] is not None and found[0].fit >= learnt["offer"] else "nothing"


def _trust(found: Sequence[Found], learnt: Mapping[str, Any], belief: Belief) -> float:
    """Return how probable it is that the best one is right or, if no regression was learnt, how well it fits."""
    if learnt.get("regression") is None:
        return found[0].fit
    return float(Regression.read(learnt["regression"]).score(np.array([signals(found, belief)]))[0])


def learn(rows: Sequence[Sequence[float]], right: Sequence[bool], error: float) -> dict[str, Any]:
    """Return, as JSON, above which trust what was found may be given, so that a share `error` of the answers is wrong.

    `rows` are the signals of labelled messages, and `right` says whether the best that was found answers them. `answer` is None if the
    messages show no such threshold; `needed` is then about how many would, or None if that can't be told.
    """
    values, truth = np.array(rows, float).reshape(-1, len(SIGNALS)), np.array(right, bool)
    fits = values[:, 0]
    told = min(truth.sum(), (~truth).sum()) >= _LEAST
    trust = Regression.held_out(values, truth, SIGNALS) if told else fits / (1 + fits)  # in the same order as fits
    found: dict[str, Any] = {
        "answer": None, "regression": Regression.fit(values, truth, SIGNALS).as_json() if told else None,
        "answered": 0, "wrong": 0, "needed": None,
    }  # fmt: skip
    if len(truth) < _LEAST or not truth.any():
        return found
    thresholds = decision.learn(trust[:, None], np.where(truth, 0, -1), np.zeros(len(truth)), (error,))[error]
    if thresholds.answer is None:
        return found | {"needed": decision.rows_needed(trust, truth, error)}
    answer = thresholds.answer if told or thresholds.answer < 0 else thresholds.answer / (1 - thresholds.answer)
    return found | {"answer": answer, "answered": thresholds.answered, "wrong": thresholds.wrong}


def described(learnt: Mapping[str, Any], error: float) -> str:
    """Return in a sentence or two whether search answers by itself and, if it does not, why, and what would change that."""
    rate = f"{100 * error:g} % wrong answers"
    if not learnt:
        return (
            "Search gives no answer by itself and offers what it finds as buttons: no labelled message names an entry of the FAQ that "
            "answers it. Add some to calibration.csv, in the column entry."
        )
    about = f"{learnt['messages']:,} labelled messages that the intents leave"
    if learnt["answer"] is not None:
        counted = f": on {about}, {learnt['wrong']:,} of {learnt['answered']:,} were wrong" if "answered" in learnt else ""
        return f"Search answers by itself where it is sure enough to give at most {rate}{counted}."
    off = f"Search gives no answer by itself and offers what it finds as buttons: {about} show no threshold that keeps {rate} at most"
    if learnt.get("needed"):
        return f"{off}. About {learnt['needed']:,} would, if they were like these. Add labelled messages to calibration.csv."
    return f"{off}, because what it is surest of is wrong too often. Add questions to the entries of the FAQ, or accept a larger error."


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _log_odds(probability: float) -> float:
    inside = min(max(probability, _NEARLY), 1 - _NEARLY)
    return math.log(inside / (1 - inside))


def _lead(values: Sequence[float]) -> float:
    """Return by how much the first value is above all others; it may be negative, and is the value itself if it is the only one."""
    return values[0] - max(values[1:], default=0.0)
