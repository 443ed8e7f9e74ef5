"""Decides from answers to labelled rows whether a candidate may replace the live model; knows nothing of models, files and aliases.

Each check has one of three verdicts. It passes or fails only if the data show it, with an error probability of at most `Bounds.alpha` on
each side; otherwise the verdict is `unknown`, with the number of further labels that would decide. A release passes only if all checks
pass. A candidate that must not pass because of one check then passes with the probability at which this check errs, however many checks
there are (intersection-union test, Berger 1982); so passing needs no correction for many checks. Failing does: groups of rows of one kind,
such as labels, are tested together with Holm's correction.

Whoever labels more rows and asks again has more chances to err. So the first look spends half of `alpha`, the second a quarter, and so on:
all looks together err with the probability `alpha`. The interval of the first look is therefore the usual one of 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vertune.metrics import paired
from vertune.metrics.bootstrap import Interval
from vertune.reports.scales import Unit, format_change, format_count, plural

Verdict = Literal["pass", "fail", "unknown"]
Measure = Literal["share", "number", "ratio"]
"""How a value is written: in percentage points or per cent, as a number, or as a multiple of the live model's."""
PASSED: Verdict = "pass"
FAILED: Verdict = "fail"
UNDECIDED: Verdict = "unknown"
MANY_TIMES = 100
"""If deciding takes more than this multiple of the rows, the number of labels is not stated, because nobody would give them."""
_STEP = 0.2
"""Least share of the present rows that is asked for if more labels are needed."""
_MOST_ROWS = 1000
"""Largest number of rows of each group that is asked for."""
_FEWEST_NUMBERS = 10
"""Least number of rows of a group whose scores are no shares, such as errors of a regression: fewer don't show how much these vary."""
_NAMED = 3
"""Largest number of groups that a reason names."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at a candidate may spend: error probabilities on each side, now and at the next look."""

    side: float
    next_side: float


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much worse than the live model a candidate may be."""

    tolerance: float = 0.005
    """Allowed loss of the main metric on gold rows: absolute for a metric between 0 and 1, else a fraction of the live model's value."""
    slice_loss: float = 0.03
    """Allowed loss of the score in a group of rows, such as those with one label, in the same unit."""
    calibration: float = 0.02
    """Allowed increase of the expected calibration error."""
    size: float = 1.5
    """Allowed size on the disk, as a multiple of the live model's."""
    speed: float = 1.5
    """Allowed time per record, as a multiple of the live model's."""
    alpha: float = 0.05
    """Largest probability, over all looks, that a check passes at its limit, and that it fails at its limit."""

    def look(self, number: int) -> Look:
        """Return what the look with this number, from 1, may spend."""
        return Look(self.alpha / 2**number, self.alpha / 2 ** (number + 1))


@dataclass(frozen=True, slots=True)
class Check:
    """One check of a candidate against the live model."""

    name: str
    verdict: Verdict
    value: float | None
    """What was measured: a difference (candidate minus live, greater is better), a ratio (candidate over live), or a share."""
    low: float | None
    high: float | None
    """The ends of the interval of `value`; None if there is none."""
    limit: float | None
    """The value that must be reached, or that must not be passed."""
    why: str
    """The reason in a sentence, with figures."""
    labels_needed: int | None = None
    """How many further rows have to be labelled to decide; None if the check is decided, or if labels would not decide it."""
    measure: Measure = "share"


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that belong together, such as those with one label, and how the two models differ on them."""

    kind: str
    """What the groups of this kind have in common: `label`, `length`, the name of a column, or `set`."""
    name: str
    rows: int
    value: float
    """The candidate's mean score minus the live model's."""
    low: float | None
    high: float | None
    """The ends of the interval of `value`; None, in a report, where one row does not tell."""
    p: float
    """The p-value, corrected for the number of groups that could be judged; 1 if this one could not."""
    verdict: Verdict
    judged: bool
    """Whether there are enough rows that a loss on all of them could be seen."""
    error: float | None
    """Standard error of `value`; None, in a report, where one row does not tell."""
    measure: Measure = "share"


@dataclass(frozen=True, slots=True)
class Release:
    """The verdict on a candidate, with all checks."""

    verdict: Verdict
    checks: list[Check]
    labels_needed: int | None
    """The largest number of further labels that an undecided check needs; None if none is undecided for lack of labels."""
    groups: list[Group] = field(default_factory=list)

    @property
    def headline(self) -> str:
        """The verdict in one sentence."""
        failed = [check.name for check in self.checks if check.verdict == FAILED]
        open_ = [check.name for check in self.checks if check.verdict == UNDECIDED]
        if self.verdict == PASSED:
            return f"Release it: {'all ' if len(self.checks) > 1 else ''}{plural(len(self.checks), 'check')} passed."
        if self.verdict == FAILED:
            return f"Don't release it: it fails on {_listed(failed)}."
        if self.labels_needed:
            return f"Can't tell yet: label about {plural(self.labels_needed, 'more row')} (undecided: {_listed(open_)})."
        return f"Can't tell: undecided is {_listed(open_)}; read the reasons, and decide yourself."


def released(checks: Sequence[Check], groups: Sequence[Group] = ()) -> Release:
    """Return the verdict on a candidate: fail if any check fails, else unknown if any is unknown, else pass."""
    found = {check.verdict for check in checks}
    verdict = FAILED if FAILED in found else UNDECIDED if UNDECIDED in found or not checks else PASSED
    needed = [check.labels_needed for check in checks if check.verdict == UNDECIDED and check.labels_needed]
    return Release(verdict, list(checks), max(needed) if needed and verdict == UNDECIDED else None, list(groups))


@dataclass(frozen=True, slots=True)
class Difference:
    """How much better a candidate is than the live model on a set of rows, in one metric."""

    found: Interval
    """Candidate minus live, greater is better; the ends err with the probability that the look may spend."""
    units: int
    """Number of different records, or of queries."""
    measure: Measure = "share"

    @classmethod
    def of_scores(cls, differences: NDArray[np.float64], side: float, measure: Measure = "share") -> Difference:
        """Return the mean of the differences of scores, one per unit."""
        return cls(paired.interval(differences, side), len(differences), measure)

    @classmethod
    def of_metric(cls, found: Interval, units: int, side: float, measure: Measure = "share") -> Difference:
        """Return the difference of a metric; `found` is its 95 % interval from a paired bootstrap."""
        return cls(paired.widened(found, side), units, measure)


def not_worse(name: str, difference: Difference, limit: float, look: Look, differ: float | None = None) -> Check:
    """Check that a candidate is not worse than the live model by more than `limit`, which is at least 0.

    The number of labels is that with which a candidate that is exactly as good as the live one would pass, or one that is as bad as
    measured would fail, whichever is less; each with the probability 0.8, at the error probability of the next look. `differ` is the share
    of records that the two models answer differently: of texts from traffic, only these need a label.
    """
    found, shown = difference.found, _Format(difference.measure)
    ends = found.within(shown.limits)
    if found.low > -limit:
        verdict, rest = PASSED, f"a loss of more than {shown.size(limit)} is excluded"
    elif found.high < -limit:
        verdict, rest = FAILED, f"that is more than the {shown.size(limit)} allowed"
    else:
        verdict, rest = UNDECIDED, f"so a loss of more than {shown.size(limit)} is possible"
    needed = None
    if verdict == UNDECIDED:
        as_good, as_measured = limit or max(0.0, found.value), max(0.0, -limit - found.value)
        passing = _wanted(found.value - found.low, difference.units, found.value + limit, as_good, look)
        failing = _wanted(found.high - found.value, difference.units, as_measured, as_measured, look)
        wanted = min(passing, failing)
        needed, advice = _further(wanted, difference.units, cap=not limit)
        if needed and differ is not None:
            texts, few = format_count(needed), plural(rounded_up(max(1.0, differ * needed)), "label")
            advice += f", or about {few} on the texts that the models answer differently among {texts} of traffic"
        rest = f"{rest}. {advice}"
    why = f"{shown.change(ends)} on {plural(difference.units, 'row')}; {rest}".rstrip(".") + "."
    return Check(name, verdict, found.value, ends.low, ends.high, limit=-limit, why=why, labels_needed=needed, measure=difference.measure)


def _wanted(half: float, units: int, measured: float, assumed: float, look: Look) -> float:
    """Return the number of further units that decide; `half` is half of the present interval, and the others as in `further_units`.

    It is at least a fifth of the present ones: if fewer should do, the true difference is probably closer to the limit than assumed.
    """
    error = half / paired.normal_quantile(look.side)
    return max(paired.further_units(error, units, measured, assumed, look.next_side), _STEP * units)


def better(name: str, difference: Difference, look: Look) -> Check:
    """Check that a candidate is better than the live model; it fails if it is worse.

    The number of labels assumes that the true difference is the measured one.
    """
    found, shown = difference.found, _Format(difference.measure)
    ends = found.within(shown.limits)
    verdict = PASSED if found.low > 0 else FAILED if found.high < 0 else UNDECIDED
    rest = {PASSED: "better beyond chance", FAILED: "worse beyond chance", UNDECIDED: "so it may be better or worse"}[verdict]
    needed = None
    if verdict == UNDECIDED:
        wanted = _wanted(found.value - found.low, difference.units, found.value, found.value, look)
        needed, advice = _further(wanted, difference.units)
        if found.value <= 0:
            advice = "As it was not better here, more labels would hardly show that it is"
        rest = f"{rest}. {advice}"
    why = f"{shown.change(ends)} on {plural(difference.units, 'row')}; {rest}".rstrip(".") + "."
    return Check(name, verdict, found.value, ends.low, ends.high, limit=0.0, why=why, labels_needed=needed, measure=difference.measure)


def compared_groups(
    kind: str, differences: Mapping[str, NDArray[np.float64]], limit: float, side: float, measure: Measure = "share"
) -> list[Group]:
    """Compare two models on groups of rows of one kind; `differences` has the differences of scores, one per unit, by group.

    A group fails if its loss is larger than `limit` beyond chance, after Holm's correction for the number of groups. Groups in which even
    a loss on all rows would not be seen are left out of the correction, as Tarone (1990) does. A group whose loss is larger than `limit`
    beyond chance before the correction, and not after it, is unknown, which is for a person to look at: among many groups, some are.
    """
    names = [name for name, values in differences.items() if len(values)]
    judged = _judged({name: _smallest_p(len(differences[name]), limit, measure) for name in names}, side)
    raw = {name: paired.p_worse(differences[name], limit) for name in names}
    corrected = dict(zip(judged, paired.holm([raw[name] for name in judged]), strict=True))
    found = []
    for name in names:
        interval = paired.interval(differences[name], side).within(_Format(measure).limits)
        p = corrected.get(name, 1.0)
        verdict = FAILED if p <= side else UNDECIDED if name in corrected and raw[name] <= side else PASSED
        error, tested = paired.standard_error(differences[name]), name in corrected
        ends = (interval.value, interval.low, interval.high)
        found.append(Group(kind, name, len(differences[name]), *ends, p=p, verdict=verdict, judged=tested, error=error, measure=measure))
    return found


def _smallest_p(rows: int, limit: float, measure: Measure) -> float:
    """Return the smallest p-value that a group of so many rows can have: that of a loss on every row, if scores are shares.

    A larger loss of a number, such as an error, is always possible, so that many rows suffice that show how much numbers vary.
    """
    if measure == "share":
        return paired.smallest_p(rows, limit)
    return 0.0 if rows >= _FEWEST_NUMBERS else 1.0


def _judged(smallest: Mapping[str, float], side: float) -> list[str]:
    """Return the groups that are tested: those whose smallest p-value would be significant after the correction for these groups."""
    for count in range(1, len(smallest) + 1):
        kept = [name for name, p in smallest.items() if p <= side / count]
        if len(kept) <= count:
            return kept
    return []


def no_group_worse(name: str, groups: Sequence[Group], limit: float, look: Look) -> Check:
    """Check that no group of rows is worse than with the live model by more than `limit`; the groups are those of `compared_groups`."""
    judged = [group for group in groups if group.judged]
    failed, doubtful = ([group for group in judged if group.verdict == verdict] for verdict in (FAILED, UNDECIDED))
    worst = min(judged or groups, key=lambda group: group.value)
    shown = _Format(worst.measure)
    verdict = FAILED if failed else PASSED if judged else UNDECIDED
    needed = None
    beyond, among = f"lost more than {shown.size(limit)}", plural(len(judged), "group")
    if failed:
        why = f"{beyond}, also after correction for {among}: {_groups(failed)}"
    elif not judged:
        needed, why = _too_few(groups, limit, look)
    else:
        why = f"none of {among} {beyond} beyond chance{_visible(judged, limit, look.side)}"
        if doubtful:
            why += f". Look at {_groups(doubtful)}: alone, it would be beyond chance, but not among {among}"
    left_out = len(groups) - len(judged)
    if judged and left_out:
        why += f". {plural(left_out, 'group')} had too few rows to be judged"
    ends = (worst.value, worst.low, worst.high)
    return Check(name, verdict, *ends, limit=-limit, why=_sentence(why), labels_needed=needed, measure=worst.measure)


def _too_few(groups: Sequence[Group], limit: float, look: Look) -> tuple[int | None, str]:
    """Return how many labels are needed until each of these groups can be judged, None if no number is enough, and why none can be now."""
    measure, among = groups[0].measure, plural(len(groups), "group")
    least = next((rows for rows in range(1, _MOST_ROWS) if _smallest_p(rows, limit, measure) <= look.next_side / len(groups)), None)
    needed = sum(max(0, (least or 0) - group.rows) for group in groups)
    if not needed:
        return None, f"none of {among} can be judged: no number of rows shows a loss of more than {_Format(measure).size(limit)}"
    what = "even if all answers in one became wrong, that could be chance" if measure == "share" else "fewer don't show how errors vary"
    asked = f"With {least} rows in each, that is {plural(rounded_up(needed), 'more label')}, it could be seen"
    return rounded_up(needed), f"none of {among} has enough rows: {what}. {asked}"


def _visible(judged: Sequence[Group], limit: float, side: float) -> str:
    """Return a clause that states which loss would be seen in the group of median size, if the answers change as they do in all groups."""
    if judged[0].measure != "share":
        return ""
    rows = sorted(group.rows for group in judged)[len(judged) // 2]
    changed = sum(((group.error or 0.0) * group.rows) ** 2 for group in judged) / sum(group.rows for group in judged)
    seen = (loss for loss in np.arange(0.01, 1.0, 0.01) if loss - limit >= paired.visible(_error(loss, changed, rows), side / len(judged)))
    loss = next(seen, 1.0)
    return f"; in a group of {plural(rows, 'row')} (the median), a loss of about {100 * loss:.0f} points would be seen"


def _error(loss: float, changed: float, rows: int) -> float:
    """Return the standard error in a group that loses this share of its answers; `changed` is the variance per row of other changes."""
    return math.sqrt((changed + loss * (1 - loss)) / rows)


def calibrated(difference: Interval | None, units: int, limit: float, look: Look) -> Check | None:
    """Check that probabilities are as good as the live model's.

    `difference` is the increase of the calibration error on so many units, with its 95 % interval; None if answers have no probabilities.
    The number of labels assumes that the true increase is 0, or the measured one if that is smaller.
    """
    if difference is None:
        return None
    found = paired.widened(difference, look.side)
    verdict = PASSED if found.high <= limit else FAILED if found.low > limit else UNDECIDED
    ends = found.within(_Format("share").limits)
    change = f"the calibration error changes by {format_change(found.value, 'share')} ({_ends(ends)})"
    needed, rest = None, f"an increase of more than {100 * limit:.1f} points is excluded"
    if verdict == FAILED:
        rest = f"more than the {100 * limit:.1f} points allowed"
    if verdict == UNDECIDED:
        wanted = _wanted(found.high - found.value, units, limit - found.value, limit - min(0.0, found.value), look)
        needed, advice = _further(wanted, units, cap=False)
        rest = f"so an increase of more than {100 * limit:.1f} points is possible. {advice}"
    why = _sentence(f"{change}; {rest}")
    return Check("calibration", verdict, found.value, ends.low, ends.high, limit=limit, why=why, labels_needed=needed)


def kept(results: Sequence[tuple[str, bool, bool]]) -> Check:
    """Check that behaviour tests that pass with the live model pass with the candidate; each is a name, and whether it passes with both.

    The candidate is first in each pair of truth values. A test that fails with both is no reason to refuse the candidate.
    """
    lost = [name for name, ours, theirs in results if theirs and not ours]
    failed = [name for name, ours, theirs in results if not theirs and not ours]
    share = sum(ours for _, ours, _ in results) / len(results)
    why = f"{sum(ours for _, ours, _ in results)} of {plural(len(results), 'test')} passed"
    if lost:
        why += f". The live model passes, and the candidate fails: {_some(lost)}"
    if failed:
        why += f". Both fail: {_some(failed)}"
    return Check("behaviour tests", FAILED if lost else PASSED, share, None, None, limit=None, why=_sentence(why))


def within(name: str, ratios: Sequence[float], limit: float, what: str) -> Check:
    """Check that a ratio, candidate over live, is at most `limit`; `ratios` are several measurements, of which the median counts.

    If the median is too large, but not every measurement is, the verdict is unknown.
    """
    value, low, high = float(np.median(ratios)), min(ratios), max(ratios)
    verdict = PASSED if value <= limit else FAILED if low > limit else UNDECIDED
    spread = f" ({low:.2f} to {high:.2f})" if len(ratios) > 1 else ""
    rest = {PASSED: "at most", FAILED: "more than the allowed", UNDECIDED: "measure again on a quiet machine; allowed is"}[verdict]
    why = f"{what} {value:.2f} times the live model's{spread}; {rest} {limit:g} times"
    return Check(name, verdict, value, low, high, limit=limit, why=_sentence(why), measure="ratio")


@dataclass(frozen=True, slots=True)
class _Format:
    """How differences are written in reasons."""

    measure: Measure

    @property
    def limits(self) -> tuple[float, float]:
        """The least and the greatest possible difference."""
        return (-1.0, 1.0) if self.measure == "share" else (-math.inf, math.inf)

    def size(self, value: float) -> str:
        return f"{100 * value:.1f} points" if self.measure == "share" else f"{value:.3g}"

    @property
    def unit(self) -> Unit:
        return "share" if self.measure == "share" else "number"

    def value(self, value: float) -> str:
        return format_change(value, self.unit)

    def change(self, found: Interval) -> str:
        return f"{self.value(found.value)} ({_ends(found, self.unit)})"


def _ends(found: Interval, unit: Unit = "share") -> str:
    """Return the two ends of an interval, such as `−0.3 to +1.1`."""
    return " to ".join(format_change(end, unit).removesuffix(" points") for end in (found.low, found.high))


def _further(wanted: float, present: int, cap: bool = True) -> tuple[int | None, str]:
    """Return how many further rows have to be labelled, and advice for the reader.

    With `cap`, a number of labels that nobody would give is not stated: it comes from a difference that happens to be close to the limit.
    """
    if not wanted < math.inf and present < 2:
        return None, "A single row does not tell how many labels would decide; give more rows"
    if not wanted < math.inf or (cap and wanted > MANY_TIMES * present):
        return None, "More labels would hardly decide: the measured difference is too close to the limit"
    return rounded_up(wanted), f"About {plural(rounded_up(wanted), 'more label')} would tell"


def rounded_up(number: float) -> int:
    """Round up to two significant digits: 1234 becomes 1300."""
    step = int(10 ** max(0, math.floor(math.log10(number)) - 1))
    return math.ceil(number / step) * step


def _some(names: Sequence[str]) -> str:
    """Name some tests."""
    more = len(names) - _NAMED
    return ", ".join(f"‘{name}’" for name in names[:_NAMED]) + (f" and {format_count(more)} more" if more > 0 else "")


def _groups(groups: Sequence[Group]) -> str:
    """Name some groups with their losses, the worst first."""
    worst = sorted(groups, key=lambda group: group.value)
    named = [f"{group.name} ({_Format(group.measure).value(group.value)} on {plural(group.rows, 'row')})" for group in worst[:_NAMED]]
    more = len(worst) - _NAMED
    return ", ".join(named) + (f" and {format_count(more)} more" if more > 0 else "")


def _listed(names: Sequence[str]) -> str:
    """Join names as in a sentence."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _sentence(text: str) -> str:
    """Return a text that begins with a capital letter and ends with a period."""
    return f"{text[:1].upper()}{text[1:]}".rstrip(".") + "."
