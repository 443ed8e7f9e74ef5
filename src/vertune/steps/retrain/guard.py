"""Finds rows that could poison a model before it learns them; such rows are held back and listed for review, and nothing is deleted.

Only rows that nobody was asked for, such as feedback, are held back; what is strange in reviewed rows is a note. The live model, which has
not seen the rows, is the witness: from which confidence on it is believed, and how often it is that sure when it is wrong, is measured on
validation rows. The checks know nothing of models and files. They can't find what looks like honest rows in every respect, nor what comes
in small doses over many retrainings; the gate and the gold rows stand behind them.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np
from numpy.typing import NDArray

_TOKEN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7ff]|\w+|[^\w\s]+")
"""What counts as a word of a phrase: a word, a character of a script without spaces, or a run of signs."""
_LONGEST = 4
"""Largest number of words of a phrase."""
_SURE = 0.95
"""The confidence from which the live model is believed if too few validation rows tell how often it is right."""
_FEWEST = 50
"""Smallest number of validation rows that tell it."""
_RARER, _CONTRADICTED = 5.0, 0.8
"""How many times as rare in old rows a phrase must be to be new; and the share of its rows that the live model must contradict else."""
_CAUGHT, _NEARLY_ALL = 20, 0.8
"""From how many rows of a sender that are held back on, and from which share of its rows, none of them is learnt."""
_TIMES = 2.0
"""How many times as often as in honest corrections the live model must have been sure, for a sender to be accused."""


@dataclass(frozen=True, slots=True)
class Limits:
    """From when on rows are held back."""

    sure_error: float = 0.02
    """The live model is believed from the confidence on from which at most this share of its validation answers is wrong."""
    level: float = 0.01
    """How likely a check may hold back rows of a source in which nothing is wrong, all its senders, labels or phrases together."""
    flood: int = 100
    """Fewest rows of one sender that can be a flood."""
    times: float = 10.0
    """How many times as much as usual a flood is."""
    label_rows: int = 30
    """Fewest rows of one label that can be a flood."""
    label_times: float = 3.0
    """How many times as many rows of a label as expected a flood has."""
    phrase_rows: int = 4
    """Fewest rows with a phrase that can be a backdoor."""
    one_label: float = 0.9
    """Least share of the rows with a phrase that have the label which the phrase may stand for."""


@dataclass(frozen=True, slots=True)
class Rows:
    """New rows, in columns of equal length."""

    texts: Sequence[str]
    labels: Sequence[tuple[str, ...]]
    """The labels that each row gives; empty tuples where the task has none."""
    senders: Mapping[str, Sequence[str | None]]
    """Who sent each row, by kind of sender, such as `author` and `key`."""
    at: Sequence[str | None]
    """When each row arrived, as text in UTC."""
    reviewed: NDArray[np.bool_]
    said: Sequence[tuple[str, ...]]
    """The labels that the live model answers."""
    agrees: NDArray[np.bool_]
    """Whether the live model answers what the row says."""
    confidence: NDArray[np.float64]
    """How sure the live model is; NaN if it does not say."""


@dataclass(frozen=True, slots=True)
class Background:
    """What is known from before."""

    texts: Sequence[str]
    """The texts of old training rows."""
    shares: Mapping[str, float]
    """The share of the old training rows that have each label."""
    right: NDArray[np.bool_]
    """Whether each answer of the live model to a validation row, which it was not trained on, is right."""
    confidence: NDArray[np.float64]
    """How sure it was of each."""


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What is strange about some rows."""

    check: str
    """`contradiction`, `sender`, `flood`, `label flood`, `phrase` or `new label`."""
    what: str
    """A sentence with figures, as the reason for which rows are held back."""
    rows: NDArray[np.int64]
    """The indices of the rows."""


@dataclass(slots=True)
class Guarded:
    """What the checks found."""

    suspicions: list[Suspicion] = field(default_factory=list)

    def held(self, rows: Rows) -> dict[int, Suspicion]:
        """Return the rows to hold back, each with the first reason; reviewed ones are not among them."""
        found: dict[int, Suspicion] = {}
        for suspicion in self.suspicions:
            for row in suspicion.rows.tolist():
                if not rows.reviewed[row]:
                    found.setdefault(row, suspicion)
        return found


def guard(rows: Rows, background: Background, limits: Limits | None = None) -> Guarded:
    """Check new rows, and return what is strange about them."""
    limits = limits or Limits()
    judge = _Witness.of(background, limits)
    found = Guarded()
    for check in (_new_labels, _contradictions, _senders, _floods, _label_floods, _phrases):
        found.suspicions += check(rows, background, limits, judge)
    found.suspicions += _company(rows, found.held(rows).keys())
    return found


@dataclass(frozen=True, slots=True)
class _Witness:
    """From which confidence on the live model is believed, and which share of its wrong answers is as sure as that."""

    sure: float
    sure_if_wrong: tuple[int, int]
    """How many of its wrong answers on validation rows are as sure as that, and how many are not."""

    @classmethod
    def of(cls, background: Background, limits: Limits) -> _Witness:
        known = np.isfinite(background.confidence)
        confidence, right = background.confidence[known], background.right[known]
        if len(right) < _FEWEST:
            return cls(_SURE, (0, 0))
        order = np.argsort(-confidence, kind="stable")
        errors = np.cumsum(~right[order]) / np.arange(1, len(order) + 1)
        fit = np.flatnonzero(errors <= limits.sure_error)
        sure = float(confidence[order][fit[-1]]) if len(fit) and fit[-1] + 1 >= _FEWEST else math.inf
        wrong = confidence[~right]
        return cls(sure, (int((wrong >= sure).sum()), int((wrong < sure).sum())))

    def surprise(self, sure: int, of: int) -> float:
        """Return how likely at least so many of `of` honest corrections are of answers of which the live model was sure.

        The share of sure answers among wrong ones is known from few rows only, so it has a distribution (Beta, with a uniform prior).
        """
        from scipy.stats import betabinom

        known, other = self.sure_if_wrong
        return float(betabinom.sf(sure - 1, of, known + 1, other + 1))

    @property
    def usual(self) -> float:
        """The expected share of sure answers among wrong ones."""
        known, other = self.sure_if_wrong
        return (known + 1) / (known + other + 2)


def _new_labels(rows: Rows, background: Background, limits: Limits, judge: _Witness) -> Iterator[Suspicion]:
    """Yield unreviewed rows with labels that no old row has."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    for row, labels in enumerate(rows.labels):
        for label in labels:
            if label not in background.shares and not rows.reviewed[row]:
                found[label].append(row)
    for label, members in found.items():
        yield Suspicion("new label", f"the label '{label}' is new, and nobody reviewed it", np.array(members))


def _contradictions(rows: Rows, background: Background, limits: Limits, judge: _Witness) -> Iterator[Suspicion]:
    """Yield rows that say something else than the live model, where it is sure."""
    found = np.flatnonzero(~rows.agrees & (rows.confidence >= judge.sure) & ~rows.reviewed)
    if len(found):
        yield Suspicion("contradiction", f"the live model answers otherwise with a confidence of at least {judge.sure:.2f}", found)


def _senders(rows: Rows, background: Background, limits: Limits, judge: _Witness) -> Iterator[Suspicion]:
    """Yield the rows of senders whose contradictions are too often where the live model is sure.

    Honest people correct wrong answers, of which few are sure; whoever turns labels round contradicts right answers, of which most are.
    So it does not matter whether somebody sends corrections alone.
    """
    for kind, senders in rows.senders.items():
        members = _members(senders)
        for sender, places in members.items():
            contradicted = places[~rows.agrees[places] & np.isfinite(rows.confidence[places])]
            sure = int((rows.confidence[contradicted] >= judge.sure).sum())
            often = sure >= 3 and sure > _TIMES * judge.usual * len(contradicted)
            if often and judge.surprise(sure, len(contradicted)) < limits.level / len(members):
                yield Suspicion(
                    "sender",
                    f"the {kind} '{sender}' contradicts the live model {len(contradicted)} times, {sure} of them where it is surely right",
                    places,
                )


def _company(rows: Rows, held: Collection[int]) -> Iterator[Suspicion]:
    """Yield the rows of senders of whom nearly all other rows are held back: what is left of an attack is no honest row."""
    for kind, senders in rows.senders.items():
        for sender, places in _members(senders).items():
            free = [row for row in places.tolist() if not rows.reviewed[row]]
            caught = sum(row in held for row in free)
            if caught >= _CAUGHT and _NEARLY_ALL * len(free) <= caught < len(free):
                yield Suspicion("sender", f"{caught:,} of {len(free):,} rows of the {kind} '{sender}' are held back", np.array(free))


def _floods(rows: Rows, background: Background, limits: Limits, judge: _Witness) -> Iterator[Suspicion]:
    """Yield the rows of senders that suddenly send many more rows in a day than they, or others, usually do."""
    for kind, senders in rows.senders.items():
        days: dict[str, Counter[str]] = defaultdict(Counter)
        for row, sender in enumerate(senders):
            if sender is not None and not rows.reviewed[row]:
                days[sender][(rows.at[row] or "")[:10]] += 1
        usual = {sender: [count for day, count in counts.items() if day] for sender, counts in days.items()}
        for sender, counts in days.items():
            day, most = counts.most_common(1)[0]
            others = [count for other, found in usual.items() for count in found if other != sender]
            own = sorted(usual[sender])[:-1]
            normal = max([median(own)] if len(own) >= 3 else [], default=0) or (median(others) if len(others) >= 3 else 0)
            if most >= limits.flood and normal and most > limits.times * normal:
                members = [row for row, name in enumerate(senders) if name == sender and (rows.at[row] or "")[:10] == day]
                what = f"the {kind} '{sender}' sent {most:,} rows on {day}, where {normal:g} are usual"
                yield Suspicion("flood", what, np.array(members))


def _label_floods(rows: Rows, background: Background, limits: Limits, judge: _Witness) -> Iterator[Suspicion]:
    """Yield the rows of labels that many more rows have than the live model and the old rows let expect; those it agrees with are left."""
    from scipy.stats import binom

    free = np.flatnonzero(~rows.reviewed)
    given = Counter(label for row in free.tolist() for label in rows.labels[row])
    said = Counter(label for row in free.tolist() for label in rows.said[row])
    for label, count in given.items():
        if label not in background.shares or count < limits.label_rows:
            continue
        expected = max(said[label], background.shares[label] * len(free), 1.0)
        chance = float(binom.sf(count - 1, len(free), min(1.0, expected / len(free))))
        if count > limits.label_times * expected and chance < limits.level / len(given):
            members = [row for row in free.tolist() if label in rows.labels[row] and not rows.agrees[row]]
            what = f"{count:,} rows have the label '{label}', where about {expected:.0f} are expected"
            yield Suspicion("label flood", what, np.array(members))


def _phrases(rows: Rows, background: Background, limits: Limits, judge: _Witness) -> Iterator[Suspicion]:
    """Yield the rows with a phrase that stands for one label, and that either no old row has, or the live model does not know as such.

    A backdoor (Gu et al. 2017) is a phrase that somebody adds to texts with a label, so that the model answers with it wherever the phrase
    is. Of phrases in the same rows, the longest is named.
    """
    candidates = _candidates(rows, limits)
    if not candidates:
        return
    old, level = _counts(background.texts, candidates.keys()), limits.level / (4 * len(candidates))
    found: dict[tuple[int, ...], Suspicion] = {}
    for phrase, places in sorted(candidates.items(), key=lambda item: (-len(item[0]), item[0])):
        label, members = _stands_for(rows, places)
        if label not in background.shares or len(members) < limits.phrase_rows or len(members) < limits.one_label * len(places):
            continue
        counts = len(places), len(rows.texts), old[phrase], len(background.texts)
        new, unknown = _new_by_chance(*counts), _unknown_by_chance(rows, members)
        one_label = _by_chance(rows, label, places, len(members))
        # a known word in the phrase can explain why its rows have one label, but not that it is new, or that the model is contradicted
        from_one = _one_sender_by_chance(rows, members)
        if min(new, _combined(new, unknown), _combined(one_label, unknown), _combined(new, from_one)) < level:
            shown = f"'{' '.join(phrase)}' have the label '{label}'; {old[phrase]} old rows have this phrase"
            suspicion = Suspicion("phrase", f"{len(members)} of {len(places)} rows with {shown}", members)
            found.setdefault(tuple(members.tolist()), suspicion)
    yield from found.values()


Phrase = tuple[str, ...]


def _words(text: str) -> list[str]:
    return _TOKEN.findall(text.casefold())


def _of_text(text: str) -> set[Phrase]:
    """Return the phrases of a text: one to four successive words."""
    words = _words(text)
    return {tuple(words[start : start + size]) for size in range(1, _LONGEST + 1) for start in range(len(words) - size + 1)}


def _candidates(rows: Rows, limits: Limits) -> dict[Phrase, NDArray[np.int64]]:
    """Return the rows of each phrase that stands with one label in most of them, so that counting its old rows is worth the time."""
    places: defaultdict[Phrase, list[int]] = defaultdict(list)
    for row, text in enumerate(rows.texts):
        if rows.labels[row]:
            for phrase in _of_text(text):
                places[phrase].append(row)
    often = {phrase: np.array(found) for phrase, found in places.items() if len(found) >= limits.phrase_rows}
    return {phrase: found for phrase, found in often.items() if len(_stands_for(rows, found)[1]) >= limits.one_label * len(found)}


def _counts(texts: Sequence[str], phrases: Iterable[Phrase]) -> Counter[Phrase]:
    wanted = set(phrases)
    return Counter(phrase for text in texts for phrase in _of_text(text) & wanted)


def _stands_for(rows: Rows, places: NDArray[np.int64]) -> tuple[str, NDArray[np.int64]]:
    """Return the label that most of these rows have, and those of the rows that have it."""
    counts = Counter(label for row in places.tolist() for label in rows.labels[row])
    label = counts.most_common(1)[0][0]
    return label, np.array([row for row in places.tolist() if label in rows.labels[row]])


def _by_chance(rows: Rows, label: str, places: NDArray[np.int64], count: int) -> float:
    """Return how likely so many of these rows have the label, if the phrase had nothing to do with it."""
    from scipy.stats import binom

    having = sum(label in labels for labels in rows.labels) - count
    others = len(rows.labels) - len(places)
    return float(binom.sf(count - 1, len(places), (having + 1) / (others + 2)))


def _new_by_chance(new: int, of_new: int, old: int, of_old: int) -> float:
    """Return how likely a phrase is in so many new and so few old rows by chance (Fisher's exact test); 1 if it is not much rarer there."""
    from scipy.stats import hypergeom

    if new * of_old <= _RARER * old * of_new:
        return 1.0
    return float(hypergeom.sf(new - 1, of_new + of_old, new + old, of_new))


def _unknown_by_chance(rows: Rows, members: NDArray[np.int64]) -> float:
    """Return how likely the live model contradicts so many of the rows with a phrase by chance; 1 if it contradicts few of them."""
    from scipy.stats import hypergeom

    wrong = int((~rows.agrees[members]).sum())
    if wrong < _CONTRADICTED * len(members):
        return 1.0
    return float(hypergeom.sf(wrong - 1, len(rows.agrees), int((~rows.agrees).sum()), len(members)))


def _one_sender_by_chance(rows: Rows, members: NDArray[np.int64]) -> float:
    """Return how likely so many of these rows are from one sender by chance."""
    from scipy.stats import binom

    least = 1.0
    for senders in rows.senders.values():
        counts = Counter(senders[row] for row in members.tolist())
        sender, count = counts.most_common(1)[0]
        if sender is not None:
            share = sum(name == sender for name in senders) / len(senders)
            least = min(least, float(binom.sf(count - 1, len(members), share)))
    return least


def _combined(one: float, other: float) -> float:
    """Return the p-value of two independent ones together (Fisher's method); 1 if one of them says nothing."""
    product = max(one * other, 1e-300)
    return product * (1 - math.log(product)) if max(one, other) < 0.05 else 1.0


def _members(senders: Sequence[str | None]) -> dict[str, NDArray[np.int64]]:
    """Return the rows of each sender that is known."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    for row, sender in enumerate(senders):
        if sender is not None:
            found[sender].append(row)
    return {sender: np.array(rows) for sender, rows in found.items()}
