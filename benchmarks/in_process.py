"""What the engine under the server takes, in this process and without HTTP; the sides of benchmarks/serving.py that need no server.

Everything runs on as many threads as `vertune serve` would take here, on the same graphs and by the same code.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import matrix
import numpy as np

SIZES = (1, 2, 4, 8, 16, 32, 64)
BATCH = 32


class Verticals:
    """The verticals of a home in memory, as a server has them."""

    def __init__(self, home: Any, names: Sequence[str], threads: int | None = None, exact: bool = False) -> None:
        """Load these; `threads` None takes as many as a server would, `exact` is float32."""
        from vertune.answering.service import AnswerOptions, AnswerService

        fleet = AnswerService(home, AnswerOptions(threads=threads, exact=exact)).fleet
        live = fleet.live()
        errors = fleet.follow({name: live[name] for name in names})
        if errors:
            raise RuntimeError(f"Not all verticals of {home.folder.name} can be served: {errors}")
        self.fleet, self.threads = fleet, fleet.threads
        self.deployments = [fleet.get(name) for name in names]

    def features(self, texts: Sequence[str]) -> list[Any]:
        """The tokens of texts, for the first vertical."""
        return features_of(self.deployments[0].predictor, [{"text": text} for text in texts])

    def answer(self, text: str, several: Sequence[Any] | None = None) -> list[Any]:
        """The answer of each of some verticals, the first by itself where none are named, from string to answer."""
        from vertune.runtime.fleet import decode_outputs

        asked, records = several or self.deployments[:1], [{"text": text}]
        features = features_of(asked[0].predictor, records)
        rows = asked[0].executor.compute([(feature, [served.slot for served in asked]) for feature in features])
        return [decode_outputs(served, records, features, [row[place] for row in rows])[0] for place, served in enumerate(asked)]

    def compute(self, features: Sequence[Any], size: int, spread: int = 1) -> None:
        """All features in batches of this size, in turn for so many of the verticals."""
        executor = self.deployments[0].executor
        places = [(served.slot,) for served in self.deployments[:spread]]
        payloads = [(feature, places[number % spread]) for number, feature in enumerate(features)]
        for start in range(0, len(payloads), size):
            executor.compute(payloads[start : start + size])


def seconds(run: Callable[[], Any]) -> float:
    """What a call takes on the clock."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def work(run: Callable[[], Any]) -> float:
    """What a call takes of the processors."""
    started = time.process_time()
    run()
    return time.process_time() - started


def calls(run: Callable[[str], Any], texts: Sequence[str], most: float) -> list[float]:
    """The seconds of one call a text, one after the other, until so many seconds are over."""
    found: list[float] = []
    while sum(found) < most:
        started = time.perf_counter()
        run(texts[len(found) % len(texts)])
        found.append(time.perf_counter() - started)
    return found


def turns(runs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """The seconds of each side in each round, sides taking turns, after one to warm up."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            took = seconds(run)
            if number:
                found[name].append(took)
    return found


def ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    """Of the same round each."""
    return [a / b for a, b in zip(above, below, strict=True)]


# ── one graph, batches of all sizes ──────────────────────────────────────────────────────────────────────────────────


class Raw:
    """Processor seconds a text of a vertical's graph with nothing around it, in batches of texts in three orders.

    As they come; sorted by length among as many as wait in a server under load, which is all that one can sort; sorted among all.
    """

    def __init__(self, home: Any, name: str, texts: Sequence[str], waiting: int) -> None:
        """Try all sizes once, and keep the best of each order."""
        self.verticals = Verticals(home, [name])
        features = self.verticals.features(texts)
        windows = [sorted(features[start : start + waiting], key=attrgetter("cost")) for start in range(0, len(features), waiting)]
        self.orders = {
            "as they come": features, f"sorted among {waiting}": [feature for window in windows for feature in window],
            "sorted among all": sorted(features, key=attrgetter("cost")),
        }  # fmt: skip
        self.tried = {order: {size: self._once(order, size) for size in SIZES} for order in self.orders}
        self.best = {order: min(tried, key=lambda size, tried=tried: tried[size]) for order, tried in self.tried.items()}

    def _once(self, order: str, size: int) -> float:
        features = self.orders[order]
        self.verticals.compute(features[: 2 * size], size)
        return work(lambda: self.verticals.compute(features, size)) / len(features)

    def measure(self) -> dict[str, float]:
        """Each order at its best size, now."""
        return {order: self._once(order, size) for order, size in self.best.items()}


# ── many verticals in one batch ──────────────────────────────────────────────────────────────────────────────────────


def spread(home: Any, texts: Sequence[str], rounds: int, number: int = 100) -> dict[str, Any]:
    """Texts a second with every row of another vertical, in times of the same graph with one vertical; one thread."""
    names = [f"v{place:03d}" for place in range(number)]
    alone, many = Verticals(home, names[:1], threads=1), Verticals(home, names, threads=1)
    features = alone.features(texts)
    found = {}
    for size in (1, 8, BATCH):
        taken = turns({"one": lambda: alone.compute(features, size), "all": lambda: many.compute(features, size, number)}, rounds)  # noqa: B023
        found[f"batches of {size}"] = {
            "ratios": ratios(taken["one"], taken["all"]), "texts_per_second": len(texts) / statistics.median(taken["all"]),
        }  # fmt: skip
    return found


def strategies(home: Any, texts: Sequence[str], rounds: int) -> dict[str, Any]:
    """Batches of 32 rows for 1, 4 and 32 verticals, stretch by stretch and without heads: in three ways, in times of the first.

    `gathered`: one call, each row reads its own slot. `by vertical`: one call a vertical, each row reads its own slot. `one product`:
    one call a vertical, whose slot is read once, so that a product takes all of its rows at once.
    """
    verticals = Verticals(home, [f"v{place:03d}" for place in range(BATCH)], threads=1)
    features = verticals.features(texts)
    batches = [features[start : start + BATCH] for start in range(0, len(features) - BATCH + 1, BATCH)]
    found = {}
    for distinct in (1, 4, BATCH):
        runs = {way: (lambda way=way: [_stretches(verticals, batch, distinct, way) for batch in batches]) for way in WAYS}  # noqa: B023
        taken = turns(runs, rounds)
        gaps = [np.abs(a - b).max() for batch in batches[:4] for a, b in _differ(verticals, batch, distinct)]
        found[f"{distinct} verticals"] = {
            "milliseconds": {way: 1000 * statistics.median(taken[way]) / len(batches) for way in WAYS},
            "times_gathered": {way: spanned(ratios(taken[way], taken["gathered"])) for way in WAYS[1:]},
            "largest_gap": float(max(gaps)),
        }  # fmt: skip
    return found


WAYS = ("gathered", "by vertical", "one product")


def _stretches(verticals: Verticals, features: Sequence[Any], distinct: int, way: str) -> Any:
    """The last states of a batch whose rows belong to so many verticals in turn."""
    backbone = verticals.deployments[0].executor
    arrays, banks = backbone.encoder.collate(features), backbone.banks.arrays
    slots = np.array([verticals.deployments[row % distinct].slot.slot for row in range(len(features))], np.int64)
    begin, states = verticals.deployments[0].slot.begin, None
    for segment in backbone.segments:
        if segment.start is None or segment.start < begin:
            states = segment.run(arrays, states, np.zeros_like(slots), banks)
        elif way == "gathered":
            states = segment.run(arrays, states, slots, banks)
        else:
            made = np.empty_like(states)
            for slot in dict.fromkeys(slots.tolist()):
                rows = np.flatnonzero(slots == slot)
                own = slots[rows[:1] if way == "one product" else rows]
                made[rows] = segment.run({name: array[rows] for name, array in arrays.items()}, states[rows], own, banks)
            states = made
    return states


def _differ(verticals: Verticals, features: Sequence[Any], distinct: int) -> list[tuple[Any, Any]]:
    """The states of the ways beside those of the first, of tokens and not of padding."""
    seen = verticals.deployments[0].executor.encoder.collate(features)["attention_mask"].astype(bool)
    first = _stretches(verticals, features, distinct, WAYS[0])[seen]
    return [(first, _stretches(verticals, features, distinct, way)[seen]) for way in WAYS[1:]]


def spanned(values: Sequence[float]) -> dict[str, float]:
    """Median, least and most."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values)}


def many(home: Any, prefix: str, texts: Sequence[str], rounds: int) -> list[float]:
    """One text asked of 20 verticals, in times of one vertical's, from string to answers."""
    verticals = Verticals(home, [f"{prefix}{place:03d}" for place in range(20)])
    runs = {
        "one": lambda: [verticals.answer(text) for text in texts],
        "all": lambda: [verticals.answer(text, verticals.deployments) for text in texts],
    }
    taken = turns(runs, rounds)
    return ratios(taken["all"], taken["one"])


# ── mixed beside alone ───────────────────────────────────────────────────────────────────────────────────────────────


def agreement(rows: int) -> dict[str, Any]:
    """Trained verticals in mixed batches beside each alone: labels in 8 bits, outputs in float32.

    Of those that the gate let pass into 8 bits; the others are served in float32, where only the gap counts.
    """
    home, names = matrix.mixture(), list(matrix.MIXED)
    small, exact = Verticals(home, names), Verticals(home, names, exact=True)
    asked = [records(home, served, rows) for served in small.deployments]
    mixed, floats = (together(verticals, asked) for verticals in (small, exact))
    found = {}
    for place, (served, own) in enumerate(zip(small.deployments, asked, strict=True)):
        torch = of_torch(served.model, own)
        gap = max(float(np.abs(a - b).max()) for a, b in zip(torch, floats[place], strict=True))
        alone = served.predictor.outputs(features_of(served.predictor, own))
        exactly, apart, beside = (labels(served, own, outputs) for outputs in (torch, alone, mixed[place]))
        found[served.name] = {
            "method": served.model.manifest["config"]["method"]["name"], "texts": len(own), "served_in": served.precision,
            "as_float32_in_torch": same(beside, exactly), "as_alone_in_8_bits": same(beside, apart),
            "alone_in_8_bits_as_torch": same(apart, exactly),
            "largest_gap_in_float32": gap, "largest_output": max(float(np.abs(row).max()) for row in torch),
        }  # fmt: skip
    return found


def records(home: Any, served: Any, most: int) -> list[dict[str, str]]:
    """The inputs of the test rows of a vertical's dataset."""
    from vertune.data.dataset import of_model, records_of

    inputs = [column.name for column in served.task.columns if column.role == "input"]
    own = records_of(of_model(served.model.manifest, home), "test", served.task)
    return [{name: row[name] for name in inputs if name in row} for row in own[:most]]


def features_of(predictor: Any, own: Sequence[dict[str, str]]) -> list[Any]:
    """What a model's encoder makes of records."""
    found: list[Any] = predictor.encoder.encode(own, predictor.task.views(sorted(own[0])))
    return found


def together(verticals: Verticals, asked: Sequence[Sequence[dict[str, str]]]) -> list[list[Any]]:
    """The outputs of all verticals on their own records, all of them shuffled into batches of 32."""
    features = [features_of(served.predictor, own) for served, own in zip(verticals.deployments, asked, strict=True)]
    order = [(place, row) for place, own in enumerate(features) for row in range(len(own))]
    random.Random(0).shuffle(order)
    found: list[list[Any]] = [[None] * len(own) for own in features]
    for executor in dict.fromkeys(served.executor for served in verticals.deployments):
        mine = [(place, row) for place, row in order if verticals.deployments[place].executor is executor]
        for start in range(0, len(mine), BATCH):
            part = mine[start : start + BATCH]
            computed = executor.compute([(features[place][row], (verticals.deployments[place].slot,)) for place, row in part])
            for (place, row), outputs in zip(part, computed, strict=True):
                found[place][row] = outputs[0]
    return found


def of_torch(model: Any, own: Sequence[dict[str, str]]) -> list[Any]:
    """The outputs of a model alone, in torch."""
    from vertune.runtime.predictor import Predictor

    predictor = Predictor.open(model)
    found: list[Any] = predictor.outputs(features_of(predictor, own))
    return found


def labels(served: Any, own: Sequence[dict[str, str]], outputs: Sequence[Any]) -> list[Any]:
    """What these outputs say of records."""
    answers = served.task.decode(own, features_of(served.predictor, own), outputs)
    return [answer.get("label", answer.get("labels")) for answer in answers]


def same(ours: Sequence[Any], theirs: Sequence[Any]) -> float:
    """Share of equal answers."""
    return float(np.mean([a == b for a, b in zip(ours, theirs, strict=True)]))
