"""How much annotators agree on the same records, beyond what chance would give where a measure allows it; independent of tasks.

Each measure is a function of sums over the records, so that a bootstrap draws records and gives an interval:

- `cohens_kappa`: two annotators who both labelled each record (Cohen 1960);
- `fleiss_kappa`: any annotators, the same number of them for each record (Fleiss 1971);
- `krippendorffs_alpha`: any number of annotators for each record (Krippendorff 2004). It compares classes, numbers by the square of their
  difference, or sets of labels by the distance MASI (Passonneau 2006). MASI is chosen instead of an alpha for each label because most
  labels are absent from most records, and annotators who agree on what is absent would hide that they disagree on what is there;
- `pairwise_f1`: the F1 of exact spans, of each pair of annotators (Hripcsak and Rothschild 2005), because no number of spans that both
  left out is known, which a measure beyond chance would need.

1 is complete agreement; 0 is what chance gives (except for F1). NaN means that a measure is undefined: no record has two annotators, or
all labels are the same. Records with fewer than two annotators are left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vertune.core.records import TargetType
from vertune.metrics.bootstrap import Summarise, intervals

Judgements = Sequence[Mapping[str, Any]]
"""For each record, what each annotator says, by the name of the annotator; annotators who did not label a record are absent."""
_Unit = list[Any]
"""The values of one record that are compared with each other."""
_ROUNDS = 1000


@dataclass(frozen=True, slots=True)
class Agreement:
    """A measure of agreement with its 95 % bootstrap interval; NaN where it is undefined."""

    measure: str
    value: float
    low: float
    high: float
    records: int
    """The number of records with at least two annotators, from which it is computed."""

    @property
    def is_defined(self) -> bool:
        """Whether there is a value."""
        return not math.isnan(self.value)


def agreement(judgements: Judgements, kind: TargetType, rounds: int = _ROUNDS) -> Agreement:
    """Return the agreement on values of a target field of this type, by the measure that suits the type.

    `label`: Krippendorff's alpha of classes; `labels`: with MASI; `number`: of numbers; `spans` and `answers`: pairwise F1.
    """
    return _agreement([list(row.values()) for row in judgements], kind, rounds)


def by_annotator(judgements: Judgements, kind: TargetType, rounds: int = _ROUNDS) -> dict[str, Agreement]:
    """Return how much each annotator agrees with the others: the measure of `agreement`, of the pairs that this annotator is part of."""
    found = {}
    for name in sorted({annotator for row in judgements for annotator in row}):
        shared = [(row[name], [value for other, value in row.items() if other != name]) for row in judgements if name in row]
        units = [[own, value] for own, others in shared for value in others]
        members = [place for place, (_, others) in enumerate(shared) for _ in others]
        found[name] = _agreement(units, kind, rounds, members)
    return found


def cohens_kappa(one: Sequence[Hashable], other: Sequence[Hashable], rounds: int = _ROUNDS) -> Agreement:
    """Return Cohen's kappa of the labels of two annotators, in the order of the records; None is a missing label."""
    pairs = [(a, b) for a, b in zip(one, other, strict=True) if a is not None and b is not None]
    places = _numbered(value for pair in pairs for value in pair)
    classes = len(places)
    tally = np.zeros((len(pairs), 2 * classes + 2))
    for row, (a, b) in enumerate(pairs):
        tally[row, places[a]] = tally[row, classes + places[b]] = tally[row, -1] = 1
        tally[row, -2] = a == b

    def summarise(total: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        rows = total[..., -1]
        chance = (total[..., :classes] * total[..., classes : 2 * classes]).sum(-1)
        return {"value": _divided(total[..., -2] * rows - chance, rows * rows - chance)}

    return _measured("Cohen's kappa", tally, summarise, rounds)


def fleiss_kappa(judgements: Judgements, rounds: int = _ROUNDS) -> Agreement:
    """Return Fleiss' kappa of the labels of records, each of which has the same number of annotators, and at least two.

    Raises ValueError if numbers of annotators differ; Krippendorff's alpha allows that.
    """
    units = [list(row.values()) for row in judgements]
    sizes = sorted({len(unit) for unit in units})
    if len(sizes) > 1 or (sizes and sizes[0] < 2):
        raise ValueError(
            f"The records have {' or '.join(map(str, sizes))} annotators, but Fleiss' kappa needs the same number for each, at least two. "
            "Use krippendorffs_alpha."
        )
    places = _numbered(value for unit in units for value in unit)
    each = sizes[0] if sizes else 2
    tally = np.zeros((len(units), len(places) + 2))
    for row, unit in enumerate(units):
        for value in unit:
            tally[row, places[value]] += 1
        counts = tally[row, :-2]
        tally[row, -2:] = (counts * (counts - 1)).sum() / (each * (each - 1)), 1

    def summarise(total: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        rows = total[..., -1]
        chance = ((total[..., :-2] / each) ** 2).sum(-1)
        return {"value": _divided(total[..., -2] * rows - chance, rows * rows - chance)}

    return _measured("Fleiss' kappa", tally, summarise, rounds)


def krippendorffs_alpha(
    judgements: Judgements, distance: Literal["nominal", "interval", "masi"] = "nominal", rounds: int = _ROUNDS
) -> Agreement:
    """Return Krippendorff's alpha of classes (`nominal`), of numbers (`interval`), or of collections of labels (`masi`)."""
    return _DISTANCES[distance]([list(row.values()) for row in judgements], rounds, None)


def pairwise_f1(judgements: Judgements, rounds: int = _ROUNDS) -> Agreement:
    """Return the F1 of spans, each a dict with start, end and label, between the annotators of a record, over all pairs of annotators.

    A span counts as equal only if its start, end and label are the same. Accepted answers, with start and text, are compared likewise.
    """
    return _of_spans([list(row.values()) for row in judgements], rounds, None)


def masi(one: frozenset[Any], other: frozenset[Any]) -> float:
    """Return the distance MASI of two sets, from 0 for equal to 1 for disjoint ones (Passonneau 2006)."""
    if one == other:
        return 0.0
    shared = len(one & other)
    if not shared:
        return 1.0
    return 1 - shared / len(one | other) * (2 / 3 if one <= other or other <= one else 1 / 3)


def _masi_of_all(sets: Sequence[frozenset[Any]]) -> NDArray[np.float64]:
    """Return the distance MASI of each pair of sets, shape (sets, sets)."""
    labels = _numbered(label for one in sets for label in one)
    member = np.zeros((len(sets), len(labels)))
    for row, one in enumerate(sets):
        member[row, [labels[label] for label in one]] = 1
    shared, size = member @ member.T, member.sum(1)
    union = size[:, None] + size - shared
    within = shared == np.minimum(size[:, None], size)
    found: NDArray[np.float64] = 1 - np.where(within, 2 / 3, 1 / 3) * np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
    return np.where(shared == union, 0.0, found)


def place(item: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what must be the same in two spans, or in two accepted answers, for them to count as equal."""
    return (item["start"], item["end"], item["label"]) if "end" in item else (item["start"], item["text"])


def _agreement(units: Sequence[_Unit], kind: TargetType, rounds: int, members: Sequence[int] | None = None) -> Agreement:
    return _MEASURES[kind](units, rounds, members)


def _nominal(units: Sequence[_Unit], rounds: int, members: Sequence[int] | None) -> Agreement:
    places = _numbered(value for unit in units if len(unit) > 1 for value in unit)
    tally = np.zeros((len(units), len(places) + 2))
    for row, unit in _compared(units):
        for value in unit:
            tally[row, places[value]] += 1
        counts = tally[row, :-2]
        tally[row, -2:] = len(unit), (len(unit) ** 2 - (counts**2).sum()) / (len(unit) - 1)

    def summarise(total: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        values = total[..., -2]
        return _alpha(total[..., -1], values**2 - (total[..., :-2] ** 2).sum(-1), values)

    return _measured(_ALPHA, tally, summarise, rounds, members)


def _numeric(units: Sequence[_Unit], rounds: int, members: Sequence[int] | None) -> Agreement:
    known = [float(value) for _, unit in _compared(units) for value in unit]
    centre = math.fsum(known) / max(1, len(known))  # differences stay, and squares keep their digits
    scale = max((abs(value - centre) for value in known), default=0.0) or 1.0
    tally = np.zeros((len(units), 4))
    for row, unit in _compared(units):
        values = (np.array(unit, np.float64) - centre) / scale
        apart = 2 * (len(unit) * (values**2).sum() - values.sum() ** 2)
        tally[row] = len(unit), values.sum(), (values**2).sum(), max(0.0, apart) / (len(unit) - 1)

    def summarise(total: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        values, sums, squares, observed = np.moveaxis(total, -1, 0)
        apart = 2 * (values * squares - sums**2)
        return _alpha(observed, np.where(apart > 1e-12 * values**2, apart, 0.0), values)

    return _measured(_ALPHA, tally, summarise, rounds, members)


def _of_sets(units: Sequence[_Unit], rounds: int, members: Sequence[int] | None) -> Agreement:
    sets = [[frozenset(value) for value in unit] for unit in units]
    places = _numbered(value for unit in sets if len(unit) > 1 for value in unit)
    distances = _masi_of_all(list(places))
    tally = np.zeros((len(units), len(places) + 2))
    for row, unit in _compared(sets):
        numbers = [places[value] for value in unit]
        np.add.at(tally[row], numbers, 1)
        tally[row, -2:] = len(unit), distances[np.ix_(numbers, numbers)].sum() / (len(unit) - 1)

    def summarise(total: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        counts = total[..., :-2]
        return _alpha(total[..., -1], ((counts @ distances) * counts).sum(-1), total[..., -2])

    return _measured(f"{_ALPHA} (MASI)", tally, summarise, rounds, members)


def _of_spans(units: Sequence[_Unit], rounds: int, members: Sequence[int] | None) -> Agreement:
    tally = np.zeros((len(units), 3))
    for row, unit in _compared(units):
        sets = [{place(item) for item in value} for value in unit]
        pairs = list(combinations(sets, 2))
        tally[row] = len(unit), sum(2 * len(a & b) for a, b in pairs), sum(len(a) + len(b) for a, b in pairs)

    def summarise(total: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        return {"value": _divided(total[..., 1], total[..., 2])}

    return _measured("pairwise F1", tally, summarise, rounds, members, limits=(0.0, 1.0))


def _alpha(observed: NDArray[Any], expected: NDArray[Any], values: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return alpha from sums of distances within records, each divided by its values less one, and between all values."""
    return {"value": 1 - _divided(observed * (values - 1), expected)}


def _divided(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """Return `part` / `whole` for each element, and NaN where `whole` is 0."""
    part, whole = np.broadcast_arrays(np.asarray(part, np.float64), np.asarray(whole, np.float64))
    result: NDArray[np.float64] = np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole != 0)
    return result


def _measured(
    measure: str, tally: NDArray[np.float64], summarise: Summarise, rounds: int, members: Sequence[int] | None = None,
    limits: tuple[float, float] = (-1.0, 1.0),
) -> Agreement:  # fmt: skip
    """Return a measure with its interval; units with the same number in `members` belong to the same record."""
    if members is not None:
        groups = np.zeros((max(members, default=-1) + 1, tally.shape[1]))
        np.add.at(groups, np.asarray(members, np.int64), tally)
        tally = groups
    tally = tally[tally.any(axis=1)]
    if not len(tally):
        return Agreement(measure, math.nan, math.nan, math.nan, 0)
    found = intervals(tally, summarise, rounds, limits=lambda name: limits)["value"]
    low, high = (found.low, found.high) if not math.isnan(found.value) else (math.nan, math.nan)
    return Agreement(measure, found.value, low, high, len(tally))


def _compared(units: Sequence[_Unit]) -> Iterator[tuple[int, _Unit]]:
    """Yield the units with at least two values, each with its number."""
    return ((row, unit) for row, unit in enumerate(units) if len(unit) > 1)


def _numbered(values: Iterable[Hashable]) -> dict[Any, int]:
    """Return a number for each distinct value, from 0 in the order in which they come."""
    return {value: number for number, value in enumerate(dict.fromkeys(values))}


_ALPHA = "Krippendorff's alpha"
_Measure = Callable[[Sequence[_Unit], int, "Sequence[int] | None"], Agreement]
_DISTANCES: dict[str, _Measure] = {"nominal": _nominal, "interval": _numeric, "masi": _of_sets}
_MEASURES: dict[TargetType, _Measure] = {
    "label": _nominal, "labels": _of_sets, "number": _numeric, "spans": _of_spans, "answers": _of_spans,
}  # fmt: skip
