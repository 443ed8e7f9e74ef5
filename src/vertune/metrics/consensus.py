"""One answer from those of several annotators, by their majority or by a model of how reliable each is; independent of tasks.

The model is that of Dawid and Skene (1979): each annotator has a matrix of probabilities to give a label to a record that in truth has
another. Expectation maximisation finds these matrices and the probability of each label for each record at the same time. The maximum
likelihood alone believes an annotator with three labels to be perfect or useless, so each row of a matrix has a prior: pseudo-counts from a
simpler model, in which the annotator is right with one probability, and otherwise names any other label.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.core.records import TargetType
from vertune.metrics.agreement import Judgements, place

_RIGHT, _WRONG = 4.0, 1.0
"""Pseudo-counts of right and wrong labels of an annotator: before any are known, four of five are right."""
_ROW = 1.0
"""Pseudo-count of each row of a matrix, spread as the simpler model says."""
_ANY = 1.0
"""Pseudo-count of each label in the shares of the labels."""
_TINY = 1e-300
_ROUNDS = 300
_CHANGE = 1e-4
"""The largest change of a probability at which the model has converged."""
_AHEAD = 2.0
"""How many times as probable as any other label the answer must be: how frequent labels are must not decide between two annotators."""
_YES, _NO = "yes", "no"
MODELLED: frozenset[TargetType] = frozenset({"label", "labels"})
"""Types of target fields whose values the model of Dawid and Skene can choose: spans and numbers have no fixed list of labels."""


@dataclass(frozen=True, slots=True)
class Consensus:
    """What the model of Dawid and Skene says of records and annotators."""

    labels: tuple[Any, ...]
    annotators: tuple[str, ...]
    posteriors: NDArray[np.float64]
    """The probability of each label, shape (records, labels); for a record without a vote, the shares of the labels."""
    shares: NDArray[np.float64]
    """How frequent each label is among all records, shape (labels,)."""
    confusion: NDArray[np.float64]
    """The probability that an annotator gives a label to a record with a true label, shape (annotators, true labels, labels)."""
    converged: bool

    @property
    def accuracy(self) -> dict[str, float]:
        """The probability that an annotator labels a record rightly."""
        right = np.diagonal(self.confusion, axis1=1, axis2=2) @ self.shares
        return dict(zip(self.annotators, right.tolist(), strict=True))

    @property
    def answers(self) -> list[Any]:
        """The most probable label of each record; None if there are no labels at all."""
        return [self.labels[number] for number in self.posteriors.argmax(1).tolist()] if self.labels else [None] * len(self.posteriors)


@dataclass(frozen=True, slots=True)
class Votes:
    """Labels that annotators gave to records, as indices; records with the same votes are one record that counts several times."""

    records: NDArray[np.int64]
    """The record of each vote; the annotator and the label are at the same place in the next two arrays."""
    annotators: NDArray[np.int64]
    labels: NDArray[np.int64]
    right: NDArray[np.int64]
    """The label of each record that is known, else -1."""
    times: NDArray[np.float64]
    """How many records have the votes of this one."""


@dataclass(frozen=True, slots=True)
class _Grouped:
    """Votes, with the labels and annotators that their indices stand for."""

    votes: Votes
    labels: tuple[Any, ...]
    annotators: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Prior:
    """Pseudo-counts that the model starts from; all 0 is the maximum likelihood."""

    right: float = _RIGHT
    wrong: float = _WRONG
    row: float = _ROW
    any: float = _ANY


def majority(judgements: Judgements, kind: TargetType) -> list[Any]:
    """Return what most annotators of each record say about a target field of this type; None if that is undecided, or nobody said anything.

    A label wins if it has more votes than any other. Of sets of labels, and of spans and accepted answers, each label or place is decided
    by itself: it is part of the answer if more than half of the annotators name it; if exactly half do, the record is undecided, and also
    if nothing is left although more than half named something. The majority of numbers is their median.
    """
    return [_majority(list(row.values()), kind) if row else None for row in judgements]


def dawid_skene(
    votes: Sequence[Mapping[str, Hashable]], labels: Sequence[Hashable] = (), known: Mapping[int, Hashable] | None = None,
    prior: Prior = Prior(),
) -> Consensus:  # fmt: skip
    """Return the consensus on one label for each record, from the labels of the annotators by their names.

    `labels` are all labels that there are, by default those that occur. `known` are right labels of some records, by the place of the
    record, such as decisions of a reviewer. The result depends neither on the order of the records nor on that of the annotators.
    """
    found, which = _grouped(votes, labels, known or {})
    posteriors, shares, confusion, converged = _maximise(found.votes, (len(found.annotators), len(found.labels)), prior)
    return Consensus(found.labels, found.annotators, posteriors[which], shares, confusion=confusion, converged=converged)


def most_probable(judgements: Judgements, kind: TargetType, known: Mapping[int, Any] | None = None) -> list[tuple[Any, float] | None]:
    """Return the most probable value of each record with its probability, by the model of Dawid and Skene.

    What all annotators of a record say is never overruled. None if nobody said anything, or if another label is more than half as probable.
    Of sets of labels, each label is decided by itself, and the probability is that of the most doubtful one. `known` are right values of
    some records. Only for the types of target fields in `MODELLED`.
    """
    votes, labels, right = _questions(judgements, kind, known or {})
    found = _most_probable(votes, labels, right)
    if kind == "label":
        return found
    every, asked = _items(judgements), iter(found)
    return [_chosen(every, [next(asked) for _ in every]) if row else None for row in judgements]


def accuracies(judgements: Judgements, kind: TargetType, known: Mapping[int, Any] | None = None) -> dict[str, float | None]:
    """Return the probability that each annotator is right about a target field of this type, by the model of Dawid and Skene.

    Of sets of labels, spans and accepted answers, it is the probability that one label, or one place that any annotator marked, is judged
    rightly. `known` are right values of some records. None for numbers, for which there is no such model, and for an annotator who shares
    no record with another one and none that is known.
    """
    known = known or {}
    names = {name for row in judgements for name in row}
    if kind == "number":
        return dict.fromkeys(sorted(names))
    found = dawid_skene(*_questions(judgements, kind, known)).accuracy
    compared = {name for number, row in enumerate(judgements) if len(row) > 1 or number in known for name in row}
    return {name: found.get(name) if name in compared else None for name in sorted(names)}


def _most_probable(
    votes: Sequence[Mapping[str, Hashable]], labels: Sequence[Hashable], known: Mapping[int, Hashable]
) -> list[tuple[Any, float] | None]:  # fmt: skip
    """Return the most probable label of each record with its probability."""
    found, which = _grouped(votes, labels, known)
    posteriors, *_ = _maximise(found.votes, (len(found.annotators), len(found.labels)), Prior())
    ranked = np.sort(posteriors, 1)
    doubtful = ranked[:, -1] < _AHEAD * ranked[:, -2] if posteriors.shape[1] > 1 else np.zeros(len(posteriors), bool)
    places = {label: number for number, label in enumerate(found.labels)}
    answers: list[tuple[Any, float] | None] = []
    for number, (row, group) in enumerate(zip(votes, which.tolist(), strict=True)):
        said = set(row.values())
        alone = known.get(number, said.pop() if len(said) == 1 else None)
        if alone is not None:
            answers.append((alone, float(posteriors[group, places[alone]])))
        else:
            best = int(posteriors[group].argmax()) if row and not doubtful[group] else None
            answers.append(None if best is None else (found.labels[best], float(posteriors[group, best])))
    return answers


def _chosen(items: Sequence[Any], answers: Sequence[tuple[Any, float] | None]) -> tuple[Any, float] | None:
    """Return the items to which the answer is yes, and the least probability of an answer; None if one is undecided."""
    if any(answer is None for answer in answers):
        return None
    decided = [answer for answer in answers if answer is not None]
    chosen = [item for item, (answer, _) in zip(items, decided, strict=True) if answer == _YES]
    return chosen, min((probability for _, probability in decided), default=1.0)


def _items(judgements: Judgements) -> list[Any]:
    """Return all labels that anybody named, of records with a set of labels each."""
    return list(_sorted({_key(item) for row in judgements for value in row.values() for item in value}))


def _majority(values: list[Any], kind: TargetType) -> Any:
    if kind == "number":
        return statistics.median(values)
    if kind == "label":
        ranked = Counter(values).most_common(2)
        return ranked[0][0] if len(ranked) == 1 or ranked[0][1] > ranked[1][1] else None
    items = {_key(item): item for value in values for item in value}
    counts = Counter(key for value in values for key in {_key(item) for item in value})
    if any(2 * count == len(values) for count in counts.values()):
        return None
    chosen = [key for key, count in counts.items() if 2 * count > len(values)]
    if not chosen and 2 * sum(map(bool, values)) > len(values):
        return None
    return [items[key] for key in (chosen if kind == "labels" else sorted(chosen))]


def _key(item: Any) -> Any:
    """Return what must be equal for two labels, spans or accepted answers to be the same."""
    return place(item) if isinstance(item, Mapping) else item


def _questions(
    judgements: Judgements, kind: TargetType, known: Mapping[int, Any]
) -> tuple[list[dict[str, Any]], tuple[str, ...], dict[int, Any]]:
    """Return votes on single labels, the labels, and the right ones that are known: of the records, or of each item that somebody named."""
    if kind == "label":
        return [dict(row) for row in judgements], (), dict(known)
    votes: list[dict[str, Any]] = []
    right: dict[int, Any] = {}
    everywhere = _items(judgements) if kind == "labels" else []
    for number, row in enumerate(judgements):
        named = {name: {_key(item) for item in value} for name, value in row.items()}
        answer = {_key(item) for item in known[number]} if number in known else None
        for item in everywhere if kind == "labels" else _sorted(set().union(*named.values(), answer or ())):
            if answer is not None:
                right[len(votes)] = _YES if item in answer else _NO
            votes.append({name: _YES if item in items else _NO for name, items in named.items()})
    return votes, (_YES, _NO), right


def _sorted(items: Iterable[Any]) -> Iterator[Any]:
    return iter(sorted(items, key=str))


def _grouped(
    votes: Sequence[Mapping[str, Hashable]], labels: Sequence[Hashable], known: Mapping[int, Hashable]
) -> tuple[_Grouped, NDArray[np.int64]]:  # fmt: skip
    """Return the votes with the labels and annotators that occur, and for each record the index of the one that stands for it."""
    seen = {label for row in votes for label in row.values()} | set(known.values())
    every = [*dict.fromkeys(labels), *sorted(seen - set(labels), key=str)]
    annotators = sorted({name for row in votes for name in row})
    indices = {label: number for number, label in enumerate(every)}
    places = {name: number for number, name in enumerate(annotators)}
    kinds: dict[Any, int] = {}
    which = [
        kinds.setdefault(
            (frozenset((places[name], indices[label]) for name, label in row.items()), indices.get(known.get(number), -1)), len(kinds)
        )
        for number, row in enumerate(votes)
    ]
    flat = [(number, *vote) for (row, _), number in kinds.items() for vote in sorted(row)]
    of_records, of_annotators, of_labels = np.array(flat, np.int64).reshape(-1, 3).T
    right = np.array([label for _, label in kinds], np.int64)
    times = np.bincount(which, minlength=len(kinds)).astype(np.float64) if which else np.zeros(0)
    grouped = _Grouped(Votes(of_records, of_annotators, of_labels, right, times), tuple(every), tuple(annotators))
    return grouped, np.array(which, np.int64)


def _maximise(
    votes: Votes, size: tuple[int, int], prior: Prior
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], bool]:
    """Return posteriors, shares of labels, matrices of the annotators, and whether they have converged.

    `size` is the number of annotators and of labels.
    """
    annotators, labels = size
    certain = votes.right >= 0
    known = np.eye(labels)[votes.right[certain]] if labels else np.zeros((int(certain.sum()), 0))
    of_record = _Sum.by(votes.records, len(votes.right))
    of_cell = _Sum.by(votes.annotators * labels + votes.labels, annotators * labels)
    named = of_record(np.eye(labels)[votes.labels] if labels else np.zeros((0, 0)))
    voted = named.sum(1, keepdims=True)
    posteriors = np.divide(named, voted, out=np.full_like(named, 1 / max(1, labels)), where=voted > 0)
    posteriors[certain] = known
    heard = ((voted[:, 0] > 0) | certain) * votes.times
    converged = False
    for _ in range(_ROUNDS):
        shares = heard @ posteriors + prior.any
        shares /= max(shares.sum(), _TINY)
        confusion = _matrices(votes, size, posteriors, of_cell, prior)
        logs = np.log(np.maximum(confusion, _TINY)).transpose(0, 2, 1).reshape(annotators * labels, labels)
        logits = np.log(np.maximum(shares, _TINY)) + of_record(logs[votes.annotators * labels + votes.labels])
        logits -= logits.max(1, keepdims=True, initial=-np.inf) if labels else 0
        found = np.exp(logits)
        found /= found.sum(1, keepdims=True)
        found[certain] = known
        change = float(np.abs(found - posteriors)[heard > 0].max(initial=0.0))
        posteriors = found
        if change < _CHANGE:
            converged = True
            break
    return posteriors, shares, confusion, converged


def _matrices(votes: Votes, size: tuple[int, int], posteriors: NDArray[np.float64], of_cell: _Sum, prior: Prior) -> NDArray[np.float64]:
    """Return the matrix of each annotator that fits these probabilities best, with the pseudo-counts of the prior."""
    annotators, labels = size
    times = votes.times[votes.records]
    belief = posteriors[votes.records] * times[:, None]
    correct = np.bincount(votes.annotators, belief[np.arange(len(belief)), votes.labels], annotators) + prior.right
    total = np.bincount(votes.annotators, times, annotators) + prior.right + prior.wrong
    sure = np.divide(correct, total, out=np.full(annotators, 1.0), where=total > 0)
    simple = np.full((annotators, labels, labels), 0.0)
    simple[:] = ((1 - sure) / max(1, labels - 1))[:, None, None]
    simple[:, np.arange(labels), np.arange(labels)] = sure[:, None] if labels > 1 else 1.0
    counts = prior.row * simple + of_cell(belief).reshape(annotators, labels, labels).transpose(0, 2, 1)
    sums = counts.sum(2, keepdims=True)
    matrices: NDArray[np.float64] = np.divide(counts, sums, out=simple, where=sums > 0)
    return matrices


@dataclass(frozen=True, slots=True)
class _Sum:
    """Adds up the rows of an array that belong to the same group; much faster than `np.add.at`, because groups are sorted once."""

    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    groups: NDArray[np.int64]
    count: int

    @classmethod
    def by(cls, groups: NDArray[np.int64], count: int) -> _Sum:
        """Return the sum by these groups, one for each row, of which there are `count`."""
        order = np.argsort(groups, kind="stable")
        starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
        return cls(order, starts, groups[order[starts]], count)

    def __call__(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sums, shape (count, columns)."""
        result = np.zeros((self.count, rows.shape[1]))
        if len(self.starts):
            result[self.groups] = np.add.reduceat(rows[self.order], self.starts, axis=0)
        return result
