"""How many labels active learning saves: simulated labelling of data sets whose labels are known.

    python benchmarks/labelling.py                       what is not measured yet (an hour)
    python benchmarks/labelling.py trec6-full --again    some data sets
    python benchmarks/labelling.py trec6-full --trial margin badge    other queries, printed and not stored

The data sets are rows of accuracy.yaml. For each query, `vertune simulate` is run with five seeds. Bars: on Banking77, `auto` reaches 95 %
of the accuracy with all labels with at most 1,000 of 10,003 labels, and its mean accuracy on the way is at least 2 points above that of
random choices; on the others, `auto` is at no number of labels more than half a point below random choices, and above them on average.
Results go to benchmarks/results/labelling.json.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import accuracy
import servers
from processor import code, measured_here

from vertune.core.artifact import Home
from vertune.core.files import read_json, write_json
from vertune.steps.fit import prepared
from vertune.steps.simulate import TARGET, Plan, Simulation, simulate

OUT = accuracy.HERE / "results" / "labelling.json"
LABELS = {"banking77-full": (50, 1000), "trec6-full": (50, 500), "phrasebank-full": (25, 250), "smp2019-domain": (50, 500),
          "ncbi-disease": (50, 500)}  # fmt: skip
"""For each data set, the size of a batch, and the number of labels at which a simulation ends."""
LEADING = "banking77-full"
"""The data set with bars of its own."""


def run(name: str, queries: Sequence[str], seeds: int) -> Simulation:
    """Simulate labelling of a data set."""
    options = argparse.Namespace(limit=None, set=[], split="test")
    say = accuracy.Talk(name)
    dataset = prepared(accuracy.config(name, accuracy.rows()[name], 0, options), Home(accuracy.WORK / "home"), say)
    batch, labels = LABELS[name]
    return simulate(dataset, Plan(queries, seeds, batch, labels), say)


def judged(name: str, found: Simulation) -> dict[str, Any]:
    """The bars of a data set."""
    auto, chance = found.curves
    ahead = auto.means - chance.means
    if name == LEADING:
        needed = auto.needed(TARGET * found.full) or found.rows
        return {"labels to 95 % of the score with all": servers.bar([needed], 1000),
                "mean score beyond random choices": servers.bar([float(ahead.mean())], 0.02, least=True)}  # fmt: skip
    return {"least difference from random choices": servers.bar([float(ahead.min())], -0.005, least=True),
            "mean score beyond random choices": servers.bar([float(ahead.mean())], 0, least=True)}  # fmt: skip


def show(name: str, found: Simulation) -> None:
    """The curves as a person reads them."""
    print(f"{name}: {found.metric} {found.full:.4f} with all {found.rows:,} labels", flush=True)
    for curve in found.curves:
        needed = curve.needed(TARGET * found.full)
        print(f"  {curve.query:<16} mean {curve.area:.4f}, {TARGET:.0%} with {needed or 'more'} labels: "
              f"{' '.join(f'{score:.3f}' for score in curve.means)}", flush=True)  # fmt: skip


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", help=f"of {', '.join(LABELS)}; all by default")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trial", nargs="+", metavar="QUERY", help="only try these queries")
    parser.add_argument("--again", action="store_true", help="measure also what is measured already")
    options = parser.parse_args()
    for name in options.sets or LABELS:
        results = read_json(OUT) if OUT.exists() else {}
        if options.trial:
            show(name, run(name, tuple(options.trial), options.seeds))
        elif name not in results or options.again:
            found = run(name, Plan().queries, options.seeds)
            show(name, found)
            results[name] = asdict(found) | {"bars": judged(name, found)} | measured_here() | code()
            write_json(OUT, results)
    if not options.trial:
        sys.exit(not all(one["met"] for found in read_json(OUT).values() for one in found["bars"].values()))


if __name__ == "__main__":
    main()
