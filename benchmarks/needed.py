"""How well the number of labels that are still needed is estimated from a learning curve.

    python benchmarks/needed.py                 what is not measured yet (a quarter of an hour)
    python benchmarks/needed.py trec6-full --again    some data sets

The data sets are rows of accuracy.yaml; the constants of `vertune.metrics.learning_curve` were chosen on others. Labels are revealed in
random order, and after 20, 28, 40 … labels the head of the unchanged base is solved and measured on the test rows. The target is 95 % of
the score with all labels, and the truth is the number of labels at which the mean over the seeds reaches it. From the scores up to a third,
and up to half, of this number, the number is estimated for each seed. Bar: the median estimate of a data set at a third is within a factor
of 1.5 of the truth. The share of single estimates within this factor, and how often intervals contain the truth, are stated beside it.
Results go to benchmarks/results/needed.json; scores are kept in benchmarks/.work/needed.
"""

from __future__ import annotations

import argparse
import math
import sys
from typing import Any

import accuracy
import numpy as np
import servers
from processor import code, measured_here

from vertune.core.artifact import Home
from vertune.core.columns import only
from vertune.core.files import read_json, write_json
from vertune.core.kinds import Encoder, Task
from vertune.data.chain import fields_of
from vertune.data.dataset import read
from vertune.learning.pool import StatePool
from vertune.metrics.learning_curve import Point, fit
from vertune.steps.fit import prepared
from vertune.steps.simulate import TARGET

OUT = accuracy.HERE / "results" / "needed.json"
SETS = ("banking77-full", "trec6-full", "phrasebank-full", "smp2019-domain")
SEEDS = range(5, 10)
FIRST = 20
PARTS = {"a third": 3, "half": 2}
FACTOR = 1.5


def curves(name: str) -> dict[str, Any]:
    """The scores of a data set, one list for each seed, and the numbers of labels at which they were measured."""
    file = accuracy.WORK / "needed" / f"{name}.json"
    if file.exists():
        return read_json(file)
    say = accuracy.Talk(name)
    options = argparse.Namespace(limit=None, set=[], split="test")
    dataset = prepared(accuracy.config(name, accuracy.rows()[name], 0, options), Home(accuracy.WORK / "home"), say)
    task, encoder = Task.model_validate(dataset.manifest["task"]), Encoder.model_validate(dataset.manifest["encoder"])
    frames = {split: read(dataset, split) for split in ("train", "test")}
    present, used = fields_of(frames["train"], task)
    train, test = (StatePool.of(task, encoder, only(frame, present).to_dicts(), used) for frame in frames.values())
    rows = len(train.records)
    counts = [*np.unique(np.round(FIRST * np.sqrt(2) ** np.arange(40)).astype(int)).tolist()]
    counts = [count for count in counts if count < rows]

    def score(chosen: np.ndarray) -> float:
        head = train.solve(chosen, [train.records[row] for row in chosen.tolist()])
        return task.score(test.records, test.answers(head))[task.goal]

    scores = []
    for seed in SEEDS:
        order = np.random.default_rng(seed).permutation(rows)
        scores.append([score(np.sort(order[:count])) for count in counts])
        say("curve", step=len(scores), steps=len(SEEDS), scores=" ".join(f"{value:.3f}" for value in scores[-1]))
    about = {"metric": task.goal, "rows": rows, "records": len(test.records), "full": score(np.arange(rows)),
             "classes": len(task.known_labels)}  # fmt: skip
    found = {**about, "labels": counts, "scores": scores}
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, found)
    return found


def truth(labels: np.ndarray, means: np.ndarray, score: float) -> float:
    """The number of labels from which on the mean score is at least this one, between two numbers by their logarithms."""
    place = len(means) - int(np.argmin((means >= score)[::-1]))
    low, high = labels[place - 1], labels[place]
    share = (score - means[place - 1]) / (means[place] - means[place - 1])
    return float(low * (high / low) ** share)


def factor(estimate: float, right: float) -> float:
    """How many times the larger of two numbers is the smaller one."""
    return max(estimate / right, right / estimate)


def at(found: dict[str, Any], labels: list[int], right: float) -> dict[str, Any]:
    """The estimates from the scores after these numbers of labels, of each seed, and how they compare with the truth."""
    target, records = TARGET * found["full"], found["records"]
    points = [[Point.of_share(*pair, records) for pair in zip(labels, scores, strict=False)] for scores in found["scores"]]
    fitted = [curve.needed(target) if (curve := fit(one, classes=found["classes"])) else None for one in points]
    values = [one.labels if one else math.inf for one in fitted]
    factors = [factor(value, right) if value < math.inf else None for value in values]
    inside = [one is not None and one.low <= right <= (one.high or math.inf) for one in fitted]
    middle = float(np.median(values))
    return {
        "at": labels[-1], "median": middle, "factor": factor(middle, right), "factors": factors,
        "single": float(np.mean([one is not None and one <= FACTOR for one in factors])), "covered": float(np.mean(inside)),
        "estimates": [one and [one.low, one.labels, one.high] for one in fitted],
    }  # fmt: skip


def judged(found: dict[str, Any]) -> dict[str, Any]:
    """The truth of a data set, the estimates, and the bar."""
    labels = [*found["labels"], found["rows"]]
    target = TARGET * found["full"]
    means = np.append(np.mean(found["scores"], axis=0), found["full"])
    right = truth(np.array(labels), means, target)
    parts = {name: at(found, [count for count in labels if count <= right / part], right) for name, part in PARTS.items()}
    factors = [one for one in parts["a third"]["factors"] if one is not None]
    bar = servers.bar(factors, FACTOR, figure=parts["a third"]["factor"])
    return {"target": target, "needed": right, "parts": parts, "bars": {"factor between the median estimate and the truth": bar}}


def show(name: str, found: dict[str, Any]) -> None:
    """The estimates as a person reads them."""
    print(f"{name}: {found['needed']:,.0f} of {found['rows']:,} labels reach {found['target']:.3f}", flush=True)
    for part, one in found["parts"].items():
        print(f"  at {one['at']} ({part}), {one['median']:,.0f} are estimated; {one['single']:.0%} of the seeds are within {FACTOR}, "
              f"{one['covered']:.0%} of the intervals contain the truth", flush=True)  # fmt: skip


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", help=f"of {', '.join(SETS)}; all by default")
    parser.add_argument("--again", action="store_true", help="estimate also what is measured already")
    options = parser.parse_args()
    for name in options.sets or SETS:
        results = read_json(OUT) if OUT.exists() else {}
        if name in results and not options.again:
            continue
        found = curves(name)
        results[name] = (
            {key: found[key] for key in ("metric", "rows", "records", "full", "classes")} | judged(found) | measured_here() | code()
        )
        write_json(OUT, results)
        show(name, results[name])
    sys.exit(not all(one["met"] for found in read_json(OUT).values() for one in found["bars"].values()))


if __name__ == "__main__":
    main()
