"""What `method: auto` is worth beside the two cheap ways: counting words, and a linear probe on the pretrained model.

    python benchmarks/choosing.py                 what is not measured yet
    python benchmarks/choosing.py waimai --again  some rows

The rows are those of accuracy.yaml that leave the method to `auto` (texts, pairs of texts and taggers; English and Chinese), with their
first seed. The score of `auto` and that of the words (TF-IDF, for taggers the list of training entities) are taken from the results of
accuracy.py; the probe (`method: head`, `companion: none`) is trained and tested here on the same rows. Bars: on each row `auto` is at
most 0.3 points below the better of the two, and 2 points better on average. Results go to benchmarks/results/choosing.json.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from typing import Any

import accuracy
import measured_rows
import servers

from vertune.core.files import read_json

OUT = accuracy.HERE / "results" / "choosing.json"
PROBE = ["method=head", "companion=none"]
WORDS = ("tfidf", "gazetteer")
"""Baselines that count words; a task has one of them."""
BELOW, MEAN = -0.003, 0.02


def chosen() -> list[str]:
    """The rows that leave the method to `auto`."""
    return [name for name, row in accuracy.rows().items() if row.config.get("method") == "auto"]


def measure(name: str) -> dict[str, Any]:
    """The scores of the first seed of a row."""
    row = accuracy.rows()[name]
    seed = row.seeds[0]
    known = read_json(accuracy.RESULTS / f"{name}.json")["seeds"][str(seed)]
    (words,) = (known["baselines"][kind][row.metric]["value"] for kind in WORDS if kind in known["baselines"])
    options = argparse.Namespace(limit=None, set=PROBE, split="test")
    probe = accuracy.measure(name, row, seed, options)["metrics"][row.metric]["value"]
    auto = known["metrics"][row.metric]["value"]
    rows = known["rows"]["train"] + known["rows"]["validation"]
    return {"metric": row.metric, "rows": rows, "auto": auto, "words": words, "probe": probe, "gain": auto - max(words, probe)}


def bars(results: dict[str, Any]) -> dict[str, Any]:
    """The least gain and the mean one."""
    gains = [one["gain"] for one in results.values()]
    return {"least": servers.bar(gains, BELOW, least=True, figure=min(gains)),
            "mean": servers.bar(gains, MEAN, least=True, figure=statistics.fmean(gains))}  # fmt: skip


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", help=f"of {', '.join(chosen())}; all by default")
    parser.add_argument("--again", action="store_true", help="measure also what is measured already")
    options = parser.parse_args()
    for name in options.rows or chosen():
        if name in measured_rows.read(OUT) and not options.again:
            continue
        found = measure(name)
        measured_rows.add(OUT, name, found, lambda rows: {"bars": bars(rows)})
        print(name, {key: round(value, 4) for key, value in found.items() if isinstance(value, float)}, flush=True)
    judged = read_json(OUT)["bars"]
    print(f"least gain {judged['least']['figure']:+.4f}, mean gain {judged['mean']['figure']:+.4f}")
    sys.exit(not all(one["met"] for one in judged.values()))


if __name__ == "__main__":
    main()
