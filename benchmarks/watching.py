"""How often monitors raise false alarms, what they find and how soon, how well accuracy is estimated, and what watching costs.

    python benchmarks/watching.py --only false --weeks 1000     unchanged traffic to ten verticals, all monitors
    python benchmarks/watching.py --only power --runs 100       six changes of the traffic to three of them
    python benchmarks/watching.py --only feedback --runs 100    a fall of the accuracy, on feedback alone
    python benchmarks/watching.py --only estimated              accuracy without labels, on shifts of six data sets
    python benchmarks/watching.py --only cost                   processor time of looks at stored traffic, 100,000 requests a day
    python benchmarks/watching.py                               everything

Traffic is drawn at random, with replacement, from held rows with the answers of a model that never saw them (`watched.py`). Each vertical
has a reference of 1,500 labelled rows of the same distribution, and 2,000 first requests for what such rows lack. A window has 500
requests, and a look comes every 250. A twentieth of the requests has feedback. An alarm is a change that two looks in a row confirm, with
a cool-down of a day; the findings of all ten verticals in a look are corrected together. The options of monitors are their defaults;
`--tuning` draws from the other half of the held rows, on which defaults may be chosen. A run that is killed goes on where it
was. Results go to benchmarks/results/watching.json; the exit status is 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import accuracy
import numpy as np
import orjson
import watched
from numpy.typing import NDArray
from processor import code, measured_here
from watched import SETS, WORK, Pool, changed, model, pool

from vertune.core.artifact import Home
from vertune.core.files import read_json, write_json
from vertune.core.ids import first_id_at
from vertune.core.monitor import Finding, Monitor, Verdict, Window
from vertune.evaluation.monitoring import Outcome, Subject, carried, episodes, judge
from vertune.metrics.drift import binomial_tail
from vertune.steps.monitor import Plan, look
from vertune.store import schema
from vertune.store.database import FILE, Database

OUT = accuracy.HERE / "results" / "watching.json"
WINDOW, STEP, REFERENCE, EARLY = 500, 250, 1500, 2000
A_WEEK, WEEKS = 2000, 10
"""Requests of a week, and weeks with one reference."""
FEEDBACK, DAY = 0.05, 86_400.0
BEGIN = 11_574 * DAY
MONITORS = Plan(column="region").chosen
FOUND_WITHIN, FOLLOWED, LABELS = 1000, 1250, 2000
Save = Callable[[dict[str, Any]], None]
"""Writes what is measured so far."""
POWER_SETS = ("banking77", "trec6", "phrasebank")
ESTIMATED_SETS = ("banking77", "trec6", "phrasebank", "symptom2disease", "sick", "medquad")


# ── Traffic ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def times(random: np.random.Generator, count: int, begin: float) -> NDArray[np.float64]:
    """When requests arrive: in a daily rhythm, and in bursts of an hour."""
    hours = int(1.3 * count / A_WEEK * 7 * 24) + 48
    rhythm = 1 + 0.8 * np.sin(2 * np.pi * ((begin // 3600 + np.arange(hours)) % 24) / 24)
    rates = A_WEEK / 7 / 24 * rhythm * random.gamma(8, 1 / 8, hours)
    counts = random.poisson(rates)
    at = np.concatenate([begin + 3600 * hour + np.sort(random.random(one)) * 3600 for hour, one in enumerate(counts)])
    while len(at) < count:
        at = np.concatenate([at, at + (at[-1] - begin) + 1])
    return at[:count]


def requests(
    source: Pool, rows: NDArray[np.int64], random: np.random.Generator, begin: float, right: NDArray[np.float64] | None = None
) -> Window:
    """Requests for these rows, a twentieth with feedback; a candidate in shadow answers 3 % of them otherwise."""
    count = len(rows)
    truth = source.right[rows] if right is None else right
    known = np.where(random.random(count) < FEEDBACK, truth, np.nan)
    other = random.integers(0, len(source), count)
    shadow = [source.answers[other[place] if random.random() < 0.03 else row] for place, row in enumerate(rows)]
    found = source.window(rows, at=times(random, count, begin), seconds=random.lognormal(-4, 0.5, count), right=known, shadow=shadow)
    failed = set((random.random(count) < 0.005).nonzero()[0].tolist())
    regions = random.integers(0, 3, count)
    records = [{**record, "region": f"region {regions[place]}"} for place, record in enumerate(found.records) if record is not None]
    return replace(found, records=records, answers=[None if place in failed else one for place, one in enumerate(found.answers)])


def reference_of(source: Pool, random: np.random.Generator) -> Window:
    """Labelled rows of the same distribution, as the validation rows of a model are."""
    rows = random.integers(0, len(source), REFERENCE)
    regions = random.integers(0, 3, REFERENCE)
    found = source.window(rows, right=source.right[rows])
    return replace(found, records=[{**(record or {}), "region": f"region {regions[place]}"} for place, record in enumerate(found.records)])


def early_of(source: Pool, random: np.random.Generator) -> Window:
    """The first requests, with the numbers of all requests in the hours of the first two weeks."""
    first = requests(source, random.integers(0, len(source), EARLY), random, BEGIN)
    at = times(random, 2 * A_WEEK, BEGIN)
    hours = np.bincount(((at - BEGIN) // 3600).astype(np.int64))
    return replace(first, hours=[(BEGIN + 3600 * hour, int(count)) for hour, count in enumerate(hours[:-1]) if hour])


class Stream:
    """The traffic of one vertical after its first weeks, looked at again and again."""

    def __init__(self, name: str, source: Pool, everything: Window, random: np.random.Generator) -> None:
        self.name, self.everything = name, everything
        self.reference, self.early = reference_of(source, random), early_of(source, random)
        self.labelled = np.isfinite(everything.right).nonzero()[0]

    def subject(self, end: int) -> Subject:
        """What a look at the requests before `end` sees."""
        history = self.everything.take(self.labelled[self.labelled < end])
        return Subject(self.name, MONITORS, self.reference, self.everything.take(slice(end - WINDOW, end)), history, self.early)


# ── False alarms ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def false_alarms(weeks: int, before: dict[str, Any], save: Save, seed: int = 0) -> dict[str, Any]:
    """Alarms in weeks in which nothing changes; each ten weeks have references of their own, and weeks that were measured are kept."""
    pools = {name: pool(name) for name in SETS}
    found = before.get("counts") or {"weeks": 0, "looks": 0, "seconds": 0, "alarms": [], "single": {}}
    drawn: list[list[float]] = read_json(WORK / "p.json") if (WORK / "p.json").exists() else []
    while found["weeks"] < weeks:
        started = time.process_time()
        looks = list(_ten_weeks(pools, [seed, found["weeks"] // WEEKS], drawn))
        found["weeks"], found["looks"] = found["weeks"] + WEEKS, found["looks"] + len(looks)
        found["alarms"] += [[one.vertical, one.monitor] for one in episodes(looks, DAY)]
        changed_once = Counter(one.monitor.name for outcomes in looks for one in outcomes if one.verdict == "changed")
        found["single"] = dict(Counter(found["single"]) + changed_once)
        found["seconds"] = round(found["seconds"] + time.process_time() - started)
        write_json(WORK / "p.json", drawn[-2000:])
        save(_alarm_figures(found))
        print(f"{found['weeks']} weeks: {found['alarms']}, {found['seconds']} s", flush=True)
    return _alarm_figures(found)


def _ten_weeks(pools: dict[str, Pool], seed: list[int], drawn: list[list[float]]) -> Iterator[list[Outcome]]:
    """The looks of ten weeks at all verticals, without evidence; the p of each vertical's monitors are added to `drawn`."""
    streams = []
    for place, (name, source) in enumerate(pools.items()):
        random = np.random.default_rng([*seed, place])
        rows = random.integers(0, len(source), WEEKS * A_WEEK)
        streams.append(Stream(name, source, requests(source, rows, random, BEGIN + 14 * DAY), random))
    previous = dict[tuple[str, str], Verdict]()
    for end in range(WINDOW, WEEKS * A_WEEK + 1, STEP):
        outcomes = judge([stream.subject(end) for stream in streams], previous)
        previous = carried(previous, outcomes)
        drawn += [[one.finding.p for one in outcomes if one.vertical == stream.name and one.finding.p is not None] for stream in streams]
        yield [replace(one, finding=Finding(one.finding.value)) for one in outcomes]


def _alarm_figures(counts: dict[str, Any]) -> dict[str, Any]:
    each = {name: round(WEEKS * sum(one[0] == name for one in counts["alarms"]) / counts["weeks"], 4) for name in SETS}
    return {
        "counts": counts, "verticals": len(SETS), "monitors": len(MONITORS), "requests": counts["weeks"] * A_WEEK * len(SETS),
        "alarms in ten weeks, by vertical": each, "alarms by monitor": dict(Counter(one[1] for one in counts["alarms"])),
        "bars": {
            "alarms of a vertical in ten weeks": bar(statistics.mean(each.values()), 1.0, "most", min(each.values()), max(each.values())),
        },
    }  # fmt: skip


# ── Power ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Recorded(Monitor):
    """Stands for the other verticals of a look: its finding is one that was drawn while nothing had changed."""

    p: float = 1.0
    """What was drawn."""

    def compare(self, reference: Window, window: Window) -> Finding:
        """Return the recorded finding."""
        return Finding(0.0, p=self.p, changed=False, why="recorded", n=WINDOW)


Change = Callable[[Pool, str, np.random.Generator, int], "tuple[Pool, NDArray[np.int64], NDArray[np.float64] | None]"]
"""Returns a pool, the rows of changed requests, and whether their answers are right, if that is not what the pool says."""


def _mixed(how: str, share: float) -> Change:
    """Requests of which a share is drawn from a changed pool."""

    def change(source: Pool, name: str, random: np.random.Generator, count: int) -> tuple[Pool, NDArray[np.int64], NDArray[np.float64]]:
        other = changed(name, how)
        both = source + other
        rows = np.where(
            random.random(count) < share, len(source) + random.integers(0, len(other), count), random.integers(0, len(source), count)
        )
        return both, rows, np.where(np.isnan(both.right[rows]), 0.0, both.right[rows])

    return change


def _labels_moved(source: Pool, name: str, random: np.random.Generator, count: int) -> tuple[Pool, NDArray[np.int64], None]:
    """Three tenths of the requests move from half of the right labels to the other half."""
    labels = np.array([str(record["label"]) for record in source.records])
    present, places, counts = np.unique(labels, return_inverse=True, return_counts=True)
    shares, order = counts / counts.sum(), random.permutation(len(present))
    grows = np.zeros(len(present), bool)
    for one in order:  # labels that grow have less than six tenths, so that three tenths can be taken from the others
        if shares[grows].sum() + shares[one] <= 0.6:
            grows[one] = True
    if not grows.any():
        grows[shares.argmin()] = True
    wanted = np.where(grows, shares * (1 + 0.3 / shares[grows].sum()), shares * (1 - 0.3 / shares[~grows].sum()))
    weights = (np.maximum(wanted, 0) / shares)[places]
    return source, random.choice(len(source), count, p=weights / weights.sum()), None


def _harder(source: Pool, name: str, random: np.random.Generator, count: int) -> tuple[Pool, NDArray[np.int64], None]:
    """Inputs that the model answers wrong come more often, so that the accuracy is five points lower."""
    wrong = source.right == 0
    share = float(wrong.mean())
    weights = np.where(wrong, (share + 0.05) / share, (1 - share - 0.05) / (1 - share))
    return source, random.choice(len(source), count, p=weights / weights.sum()), None


def _redefined(source: Pool, name: str, random: np.random.Generator, count: int) -> tuple[Pool, NDArray[np.int64], NDArray[np.float64]]:
    """Inputs and answers stay, but right answers are others, so that the accuracy is five points lower."""
    rows = random.integers(0, len(source), count)
    right = source.right[rows].copy()
    right[random.random(count) < 0.05 / max(0.05, float(source.right.mean()))] = 0
    return source, rows, right


CHANGES: dict[str, Change] = {
    "a new topic in 10 % of the requests": _mixed("topic", 0.1),
    "30 % of the label shares moved": _labels_moved,
    "typos in 10 % of the characters": _mixed("typos", 1.0),
    "another language in 5 % of the requests": _mixed("foreign", 0.05),
    "accuracy 5 points lower, harder inputs": _harder,
    "accuracy 5 points lower, other right answers": _redefined,
}


def power(runs: int, before: dict[str, Any], save: Save, seed: int = 1) -> dict[str, Any]:
    """How often each change is found within 1,000 requests, by which monitors, and how soon; what was measured as often is kept."""
    drawn = read_json(WORK / "p.json") if (WORK / "p.json").exists() else [[1.0] * len(MONITORS)]
    found = dict(before)
    for number, (what, change) in enumerate(CHANGES.items()):
        for place, name in enumerate(POWER_SETS):
            key = f"{name}: {what}"
            if found.get(key, {}).get("runs", 0) < runs:
                found[key] = _power(name, change, runs, drawn, [seed, place, number])
                save(found)
    return found


def _power(name: str, change: Change, runs: int, drawn: list[list[float]], seed: list[int]) -> dict[str, Any]:
    source, delays, found = pool(name), defaultdict[str, list[float]](list), 0
    errors: list[float] = []
    for run in range(runs):
        random = np.random.default_rng([*seed, run])
        before = requests(source, random.integers(0, len(source), A_WEEK), random, BEGIN + 14 * DAY)
        mixed, rows, right = change(source, name, random, FOLLOWED)
        after = requests(mixed, rows, random, float(before.at[-1]) + 1, right)
        errors.append(1 - float((mixed.right[rows] if right is None else right).mean()))
        first = _first_confirmed(Stream(name, source, _joined(before, after), random), len(before), drawn, random)
        for monitor in MONITORS:
            delays[monitor.name].append(first.get(monitor.name, math.inf))
        found += min(first.values(), default=math.inf) <= FOUND_WITHIN
    share = found / runs
    medians = {one: statistics.median(values) for one, values in delays.items()}
    within = {one: round(sum(value <= FOUND_WITHIN for value in values) / runs, 3) for one, values in delays.items()}
    fastest = [min(values[run] for values in delays.values()) for run in range(runs)]
    print(name, share, {one: value for one, value in within.items() if value}, flush=True)
    usual = 1 - float(source.right.mean())
    return {
        "runs": runs, "found": share, "median delay of the first": _shown(statistics.median(fastest)),
        "found by": {one: value for one, value in within.items() if value > 0},
        "median delay of each": {one: _shown(value) for one, value in medians.items() if math.isfinite(value)},
        "error rate": [round(usual, 4), round(statistics.mean(errors), 4)],
        "largest power of any test of the feedback alone": round(_best_power(usual, statistics.mean(errors)), 3),
        "bars": {"share found within 1,000 requests": bar(share, 0.9, "least")},
    }  # fmt: skip


def _first_confirmed(stream: Stream, begin: int, drawn: list[list[float]], random: np.random.Generator) -> dict[str, float]:
    """The number of changed requests after which each monitor confirmed a change; those that did before do not count."""
    previous, first, early = dict[tuple[str, str], Verdict](), dict[str, float](), set[str]()
    nothing = stream.reference.take([0])
    for end in range(begin - STEP, begin + FOLLOWED + 1, STEP):
        others = [
            Subject(f"other {number}", [Recorded(p=p) for p in drawn[random.integers(len(drawn))]], nothing, nothing) for number in range(9)
        ]
        outcomes = [one for one in judge([stream.subject(end), *others], previous) if one.vertical == stream.name]
        previous = carried(previous, outcomes)
        for one in outcomes:
            if one.confirmed and end <= begin:
                early.add(one.monitor.name)
            elif one.confirmed and one.monitor.name not in early:
                first.setdefault(one.monitor.name, end - begin)
    return first


def _joined(first: Window, second: Window) -> Window:
    """Two windows one after the other, with their vectors."""
    count = len(first)

    def states(rows: Sequence[int]) -> Any:
        parts = [first.states([row]) if row < count else second.states([row - count]) for row in rows]
        return np.concatenate([part for part in parts if part is not None])

    return replace(first.followed_by(second), states=states)


def _best_power(usual: float, now: float, alpha: float = 0.01) -> float:
    """The power of the best test of 1,000 requests with feedback on a twentieth, if the usual error rate is known exactly."""
    count = round(FOUND_WITHIN * FEEDBACK)
    limit = next(hits for hits in range(count + 2) if binomial_tail(hits, count, usual) <= alpha)
    return binomial_tail(limit, count, now)


def _shown(value: float) -> float | str:
    return value if math.isfinite(value) else f"more than {FOLLOWED}"


def feedback(runs: int, seed: int = 5) -> dict[str, Any]:
    """How soon a fall of the accuracy by five points is seen on feedback alone, and how often one where there is none."""
    monitor = next(one for one in MONITORS if one.sequential)
    found = {}
    for place, name in enumerate(POWER_SETS):
        source = pool(name)
        usual = 1 - float(source.right.mean())
        task, delays, alarms = source.task, list[float](), 0
        for run in range(runs):
            random = np.random.default_rng([seed, place, run])
            reference = _of_errors(task, random.random(REFERENCE) < usual)
            for rate in (usual + 0.05, usual):
                labels = np.concatenate([random.random(100) < usual, random.random(LABELS) < rate])
                delay = _seen_after(monitor, reference, _of_errors(task, labels))
                if rate == usual:
                    alarms += math.isfinite(delay)
                else:
                    delays.append(delay)
        within = sum(delay <= 1000 for delay in delays) / runs
        median = statistics.median(delays)
        found[name] = {
            "runs": runs, "error rate": [round(usual, 4), round(usual + 0.05, 4)], "found within 1,000 requests with feedback": within,
            "median delay in requests with feedback": _shown(median), "median delay in requests": _shown(median / FEEDBACK),
            f"false alarms in {LABELS:,} requests with feedback": alarms / runs,
        }  # fmt: skip
        print(name, found[name], flush=True)
    return found


def _of_errors(task: Any, wrong: NDArray[np.bool_]) -> Window:
    """Requests of which nothing is known but whether the answer was right."""
    return Window.of(task, [None] * len(wrong), [None] * len(wrong), right=1.0 - wrong)


def _seen_after(monitor: Monitor, reference: Window, labelled: Window) -> float:
    """The number of changed requests with feedback after which two looks in a row, each after 50, have seen a change."""
    before = False
    for end in range(100, len(labelled) + 1, 50):
        now = bool(monitor.compare(reference, labelled.take(slice(0, end))).changed)
        if now and before:
            return float(end - 100)
        before = now
    return math.inf


# ── Estimated accuracy ───────────────────────────────────────────────────────────────────────────────────────────────────


def shifts(name: str, source: Pool, random: np.random.Generator) -> Iterator[tuple[str, Pool, NDArray[np.float64]]]:
    """Shifts of inputs: what they do to a data set, the rows, and how often each is drawn."""
    lengths = np.array([len(str(record["text"])) for record in source.records])
    middle = np.median(lengths)
    centre = source.vectors[random.integers(len(source))]
    near = source.vectors @ centre
    named = np.array([str(answer["label"]) for answer in source.answers])
    favoured = random.permutation(np.unique(named))[: max(1, len(np.unique(named)) // 3)]
    yield "none", source, np.ones(len(source))
    yield "short texts", source, np.where(lengths <= middle, 5.0, 1.0)
    yield "long texts", source, np.where(lengths > middle, 5.0, 1.0)
    yield "texts like one of them", source, np.where(near >= np.quantile(near, 0.7), 6.0, 1.0)
    yield "a third of the answers more often", source, np.where(np.isin(named, favoured), 5.0, 1.0)
    yield "unsure answers more often", source, np.where(source.confidences <= np.quantile(source.confidences, 0.3), 2.5, 1.0)
    both = source + changed(name, "typos")
    yield "typos in a third of the texts", both, np.where(np.arange(len(both)) < len(source), 2.0, 1.0)
    yield "typos in all texts", both, np.where(np.arange(len(both)) < len(source), 0.0, 1.0)
    if name in POWER_SETS:
        topic = source + changed(name, "topic")
        weights = np.where(np.arange(len(topic)) < len(source), 0.8 / len(source), 0.2 / (len(topic) - len(source)))
        yield "another topic in a fifth of the texts", topic, weights


def estimated(splits: int = 6, draws: int = 3, seed: int = 2) -> dict[str, Any]:
    """The accuracy that is estimated of 1,000 shifted requests, beside the true one.

    Held rows are divided at random, again and again, into those of the reference and those that requests are drawn from, because the
    accuracies of two halves of some hundred rows differ by points.
    """
    monitor = next(one for one in MONITORS if one.name == "estimated_accuracy")
    found = {}
    for place, name in enumerate(ESTIMATED_SETS):
        tries: dict[str, list[tuple[float | None, float]]] = defaultdict(list)
        for split in range(2 * splits):  # each division is used both ways
            random = np.random.default_rng([seed, place, split])
            source = pool(name)
            both = np.random.default_rng([seed, place, split // 2]).permutation(len(source))
            order = np.array_split(both, 2)[split % 2]
            reference = source.window(order, right=source.right[order])
            used = {str(source.records[row]) for row in order}
            for what, shifted, weights in shifts(name, source, random):
                unseen = np.array([str(record) not in used for record in shifted.records])
                for _ in range(draws):
                    rows = random.choice(len(shifted), 1000, p=weights * unseen / (weights * unseen).sum())
                    value = monitor.compare(reference, shifted.window(rows)).value
                    tries[what].append((value, float(np.nan_to_num(shifted.right[rows]).mean())))
        for what, pairs in tries.items():
            found[f"{name}: {what}"] = _estimated(pairs)
            print(name, what, found[f"{name}: {what}"], flush=True)
    return found


def _estimated(pairs: list[tuple[float | None, float]]) -> dict[str, Any]:
    """The estimates beside the truth, without those that were not made."""
    told = [(value, truth) for value, truth in pairs if value is not None]
    error = abs(statistics.mean(value - truth for value, truth in told)) if told else 0.0
    silent = 1 - len(told) / len(pairs)
    return {
        "true": round(statistics.mean(truth for _, truth in pairs), 4),
        "estimated": round(statistics.mean(value for value, _ in told), 4) if told else None,
        "share of windows of which it can't be known": round(silent, 2),
        "share of the others within 2 points": round(sum(abs(one - truth) <= 0.02 for one, truth in told) / len(told), 2) if told else None,
        "bars": estimated_bars(round(error, 4), round(silent, 2)),
    }  # fmt: skip


def estimated_bars(error: float, silent: float) -> dict[str, Any]:
    """The bar of a shift: that of the error, or, where most windows are left without an estimate, that nearly all are."""
    if silent < 0.5:
        return {"error of the mean estimate": bar(error, 0.02, "most")}
    return {"share of windows of which it is said that it can't be known": bar(silent, 0.9, "least")}


# ── Cost ─────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def cost(a_day: int = 100_000, looks: int = 6) -> dict[str, Any]:
    """Processor time of looks at the stored traffic of a vertical, models read anew in each."""
    name, source = "banking77", pool("banking77")
    trained, home = model(name), Home(WORK / "home")
    home.alias(f"{name}@live", trained.id)
    random, begin = np.random.default_rng(3), datetime.now(UTC).timestamp()
    with tempfile.TemporaryDirectory() as folder, closing(Database(Path(folder) / FILE)) as database:
        _fill(database, name, trained.id, source, begin + np.sort(random.random(a_day)) * DAY)
        plan, taken = Plan(), []
        for number in range(looks + 1):
            moment = datetime.fromtimestamp(begin, UTC) + timedelta(hours=2 + number)
            started = time.process_time()
            outcomes = look({name: plan}, home, database, moment)
            taken.append(time.process_time() - started)
            assert len(outcomes) == len(plan.chosen), len(outcomes)
            print(f"look {number}: {taken[-1]:.2f} s", [one.monitor.name for one in outcomes if one.verdict == "unknown"], flush=True)
    each = taken[1:]  # the first also computes the answers to the reference, once for a model
    share = statistics.median(each) * 24 / DAY
    often = statistics.median(each) * a_day / plan.length / DAY if isinstance(plan.length, int) else math.nan
    return {
        "requests a day": a_day, "seconds of a look": [round(one, 3) for one in each], "seconds of the first look": round(taken[0], 3),
        "share of a core, a look for every window of requests": round(often, 5),
        "bars": {
            "share of a core, a look an hour": bar(round(share, 6), 0.01, "most", min(each) * 24 / DAY, max(each) * 24 / DAY),
            "share of a core, a look for every 500 requests": bar(round(often, 6), 0.01, "most"),
        },
    }  # fmt: skip


def _fill(database: Database, name: str, of: str, source: Pool, at: NDArray[np.float64]) -> None:
    """Store requests with their answers, and feedback on a twentieth of them."""
    random = np.random.default_rng(4)
    rows = random.integers(0, len(source), len(at))
    ids = [f"{first_id_at(one)[:12]}7{place:019x}" for place, one in enumerate(at.tolist())]
    about = {"customer": "c", "resource": "predict", "status": 200, "seconds": 0.01, "records": 1, "tokens": 12, "cached_tokens": 0}
    said = {"customer": "c", "vertical": name, "model": of, "number": 0, "trust": 1.0, "digest": b""}
    texts = [orjson.dumps(record).decode() for record in source.records]
    answers = [orjson.dumps(answer).decode() for answer in source.answers]
    for start in range(0, len(at), 5000):
        part = range(start, min(start + 5000, len(at)))
        with database.writing() as connection:
            connection.execute(schema.requests.insert(), [{"id": ids[row], "at": "", **about} for row in part])
            connection.execute(schema.answers.insert(), [
                {"request": ids[row], "number": 0, "vertical": name, "model": of, "record": texts[rows[row]], "answer": answers[rows[row]],
                 "confidence": float(source.confidences[rows[row]])} for row in part
            ])  # fmt: skip
            told = [row for row in part if random.random() < FEEDBACK]
            connection.execute(schema.feedback.insert(), [
                {"id": ids[row], "at": "", "request": ids[row], **said, "verdict": "right" if source.right[rows[row]] else "wrong",
                 "idempotency": ids[row]} for row in told
            ])  # fmt: skip


# ── Results ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def bar(figure: float, limit: float, is_: str, low: float | None = None, high: float | None = None) -> dict[str, Any]:
    """A figure beside its bar."""
    met = figure >= limit if is_ == "least" else figure <= limit
    ends = [figure if end is None else end for end in (low, high)]
    return {"figure": figure, "low": ends[0], "high": ends[1], "bar": limit, "is": is_, "met": met}


def bars(value: Any) -> Iterator[dict[str, Any]]:
    """Every bar of the results."""
    if isinstance(value, dict):
        if "met" in value and "bar" in value:
            yield value
        for one in value.values():
            yield from bars(one)


def main() -> None:
    """Measure what is asked for, and write it beside what was measured before."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=["false", "power", "feedback", "estimated", "cost"])
    parser.add_argument("--weeks", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--trial", action="store_true", help="print the result and keep it out of the result file")
    parser.add_argument("--tuning", action="store_true", help="a trial on the other half of the held rows")
    wanted = parser.parse_args()
    watched.HALF = "tuning" if wanted.tuning else "measured"
    found = read_json(OUT) if OUT.exists() else {}
    trial = wanted.trial or wanted.tuning
    for name in [wanted.only] if wanted.only else ["false", "power", "feedback", "estimated", "cost"]:
        before = {} if trial else {key: value for key, value in found.get(name, {}).items() if key != "machine"}

        def save(value: dict[str, Any], name: str = name) -> None:
            found[name] = {**value, "machine": {**measured_here(), **code()}}
            if not trial:  # what another process has measured meanwhile is kept
                write_json(OUT, {**(read_json(OUT) if OUT.exists() else {}), name: found[name]})

        parts: dict[str, Callable[[], dict[str, Any]]] = {
            "false": partial(false_alarms, wanted.weeks, before, save), "power": partial(power, wanted.runs, before, save),
            "feedback": partial(feedback, wanted.runs), "estimated": estimated, "cost": cost,
        }  # fmt: skip
        save(parts[name]())
        if trial:
            print(found[name])
    sys.exit(0 if all(one["met"] for one in bars(found)) else 1)


if __name__ == "__main__":
    main()
