"""What mixing a model with scores of words is worth, and how many validation rows its two weights need.

    python benchmarks/mixing.py [--method head]

Trains on ten rows a class of Banking77 (few.py) without a refit. The weights are then learnt on draws of 40, 77, 200 and 800 test rows and
measured on the other test rows, with three rules: always mix as fitted, mix only if the gain is above one standard error, and never. The
same with scores that were exchanged between rows, which are of no use. Then: one text's time, and the size of the stored words. Results go
to benchmarks/results/mixing.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import few
import numpy as np
import training

from vertune.core.artifact import Home
from vertune.core.config import Config
from vertune.core.parse import build
from vertune.data.dataset import records_of
from vertune.decoders import windows
from vertune.learning import companion
from vertune.learning.companion import Mixing
from vertune.lexical.companion import FILE, Companion, merged
from vertune.metrics.calibration import reliability
from vertune.runtime.predictor import Predictor
from vertune.steps.prepare import prepare
from vertune.steps.train import train

OUT = training.HERE / "results" / "mixing.json"
DRAWS = 40


def worth(logits: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Accuracy, log-loss and expected calibration error."""
    probabilities = windows.softmax(logits)
    right = probabilities.argmax(1) == truth
    loss = Mixing("softmax", truth).losses(logits).mean()
    return {"accuracy": float(right.mean()), "loss": float(loss), "ece": reliability(probabilities.max(1), right, 15)["ece"]}


def rules(parts: list[np.ndarray], truth: np.ndarray, rows: int) -> dict[str, dict[str, float]]:
    """The mean worth of each rule over the draws."""
    found: dict[str, list[dict[str, float]]] = {"never": [], "if sure": [], "always": []}
    for draw in range(DRAWS):
        order = np.random.default_rng(draw).permutation(len(truth))
        known, rest = order[:rows], order[rows:]
        mixing = Mixing("softmax", truth[known])
        weights = {"never": (*mixing.fit([parts[0][known]]), 0.0), "always": mixing.fit([part[known] for part in parts])}
        losses = {name: mixing.losses(one * parts[0][known] + two * parts[1][known]) for name, (one, two) in weights.items()}
        gain = losses["never"] - losses["always"]
        weights["if sure"] = weights["always" if gain.mean() > gain.std(ddof=1) / rows**0.5 else "never"]
        for name, (one, two) in weights.items():
            found[name].append(worth(one * parts[0][rest] + two * parts[1][rest], truth[rest]))
    return {name: {key: float(np.mean([one[key] for one in values])) for key in values[0]} for name, values in found.items()}


def measure(method: str, folder: Path) -> dict[str, Any]:
    """Train, and compare the rules on the test rows."""
    for split, rows in zip(("train", "test"), few.draw(), strict=True):
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    paths = {"source": str(folder / "train.jsonl"), "test": str(folder / "test.jsonl")}
    data = {**paths, "fields": {"text": "text", "label": "category"}}
    home = Home(folder / "home")
    config = build(Config, {"name": "few", "data": data, "base": "minilm", "method": method, "training": {"refit": "never"}})
    dataset = prepare(config, home)
    model = train(config, dataset, home)
    predictor = Predictor.open(model)
    task, test = predictor.task, records_of(dataset, "test", predictor.task)
    features = predictor.encoder.encode(test, predictor.views({"text"}))
    words = companion._fit(task, records_of(dataset, "train", task))
    assert words is not None
    parts = [merged("softmax", len(test), features, predictor.outputs(features)), words.scores(test)]
    truth, _ = companion._truth(task, test)
    times = []
    for record in test[:1000]:
        started = time.perf_counter()
        words.scores([record])
        times.append(time.perf_counter() - started)
    Companion("softmax", 1.0, 1.0, words).save(folder / FILE)
    mixed = np.random.default_rng(0).permutation(len(test))
    return {
        "model": worth(parts[0], truth), "words": worth(parts[1], truth), "chosen": model.manifest["chosen"]["companion"],
        "rules": {rows: rules(parts, truth, rows) for rows in (40, 77, 200, 800)},
        "useless": {rows: rules([parts[0], parts[1][mixed]], truth, rows) for rows in (40, 77, 200, 800)},
        "microseconds": {"median": 1e6 * float(np.median(times)), "least": 1e6 * min(times)}, "bytes": (folder / FILE).stat().st_size,
    }  # fmt: skip


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="head")
    method = parser.parse_args().method
    with tempfile.TemporaryDirectory() as folder:
        found = {**measure(method, Path(folder)), "machine": training.machine(1)}
    results = json.loads(OUT.read_text()) if OUT.exists() else {}
    OUT.write_text(json.dumps({**results, method: found}, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
