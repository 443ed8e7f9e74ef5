"""Time of a training step on bases that differ in the size of their vocabulary alone: 30,522 and 250,002 rows, as BERT and XLM-R.

    python benchmarks/vocabulary.py [--rounds 7] [--threads 1]

Random bases of MiniLM's shape learn the same texts in turn, with the updates of used rows and, for comparison, of all
rows (`training.optimiser.exact: true`). Results go to benchmarks/results/vocabulary.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import training

OUT = training.HERE / "results" / "vocabulary.json"
SIZES = (30_522, 250_002)
SHAPE = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536, "max_position_embeddings": 512}
WARM, STEPS = 3, 10


def seconds(base: Path, exact: bool, threads: int, folder: Path) -> float:
    """Median time of a step."""
    records = training.texts(32 * (WARM + STEPS))
    value = {
        "data": {}, "base": str(base), "method": "full",
        "training": {"epochs": 1, "start": "random", "window": 1, "optimiser": {"exact": exact}},
        "device": {"threads": threads, "precision": "float32"},
    }  # fmt: skip
    ends: list[float] = []

    def watch(kind: str, **fields: Any) -> None:
        if kind == "step":
            ends.append(time.perf_counter())

    training.teach(value, records, folder, watch)
    return statistics.median(after - before for before, after in zip(ends[WARM:], ends[WARM + 1 :], strict=False))


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    from vertune.testing import tiny

    words = {word for row in training.texts() for word in row["text"].lower().split() if word.isalpha() and word.isascii()}
    found: dict[str, dict[int, list[float]]] = {kind: {size: [] for size in SIZES} for kind in ("used rows", "all rows")}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bases = {size: tiny.write("bert", folder / str(size), words, vocab_size=size, **SHAPE) for size in SIZES}
        for number in range(options.rounds):
            for kind, sizes in found.items():
                for size, times in sizes.items():
                    times.append(seconds(bases[size], kind == "all rows", options.threads, folder / f"{number}{kind}{size}"))
                    print(number + 1, kind, size, round(times[-1], 4), flush=True)
    result: dict[str, Any] = {"machine": training.machine(options.threads), "seconds": found}
    for kind, sizes in found.items():
        ratios = [large / small for small, large in zip(*sizes.values(), strict=True)]
        result[kind] = {"median": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}
        print(kind, result[kind])
    OUT.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
