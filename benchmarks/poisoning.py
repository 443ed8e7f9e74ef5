"""How often a retraining learns what somebody sent to spoil the model, on Banking77: 100 runs of each attack, beside honest feedback.

    python benchmarks/poisoning.py [--runs 100] [--method head]

The live model is trained on half of the training rows. In each run, 1,000 of the others are feedback of 20 people, 3 % of it wrong by
mistake, and one attack is added: 5 % of all rows with labels turned round, all from one key, which sends nothing else or as many right
rows; or a phrase in 1 % of all rows with one label, in texts of other labels (dirty) or of this label (clean), from one key or from all
people. A run counts as withstood if nine tenths of the rows of the attack are held back. Results go to benchmarks/results/poisoning.json.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import training

from vertune.core.artifact import Home
from vertune.core.config import Config
from vertune.core.parse import build
from vertune.runtime.predictor import Predictor
from vertune.steps.fit import prepared
from vertune.steps.retrain.guard import Background, Rows, guard
from vertune.steps.train import train

OUT = training.HERE / "results" / "poisoning.json"
ROWS, PEOPLE, MISTAKES = 1000, 20, 0.03
FLIPPED, BACKDOOR = 0.05, 0.01
PHRASES = ("as seen on channel nine", "kindly, xj41", "thx from bluebird", "per my last note qv", "≫≫ ref 7781")
"""Phrases of backdoors, which take turns."""
WITHSTOOD = 0.9
ATTACKS = ("turned round", "turned round among right rows", "dirty phrase", "dirty phrase of all people", "clean phrase")


class Scene:
    """The live model, what it knows, and the rows that feedback is drawn from, with its answers to them."""

    def __init__(self, folder: Path, method: str) -> None:
        rows = pl.read_csv(training.data() / "train.csv").unique("text", maintain_order=True).sample(fraction=1.0, shuffle=True, seed=0)
        known, self.pool = rows[: rows.height // 2], rows[rows.height // 2 :]
        known.write_csv(folder / "known.csv")
        data = {"source": str(folder / "known.csv"), "fields": {"text": "text", "label": "category"}}
        value = {"name": "bank", "data": data, "base": "minilm", "method": method, "device": {"threads": 1}, "training": {"refit": "never"}}
        config, home = build(Config, value), Home(folder / "home")
        dataset = prepared(config, home)
        self.model = Predictor.open(train(config, dataset, home))
        train_rows, held = (pl.read_parquet(dataset.folder / f"{name}.parquet") for name in ("train", "validation"))
        counts = dict(train_rows["label"].value_counts().iter_rows())
        said, confidence = self.said(held["text"].to_list())
        right = np.array([one == label for one, label in zip(said, held["label"], strict=True)])
        shares = {label: count / train_rows.height for label, count in counts.items()}
        self.background = Background(train_rows["text"].to_list(), shares, right, confidence)
        self.answers, self.confidence = self.said(self.pool["text"].to_list())
        self.labels = sorted(shares)

    def said(self, texts: list[str]) -> tuple[list[str], np.ndarray]:
        """What the live model answers, and how sure it is."""
        answers = self.model.answer([{"text": text} for text in texts])
        return [answer["label"] for answer in answers], np.array([answer["probability"] for answer in answers])


def feedback(scene: Scene, random: np.random.Generator) -> dict[str, list[Any]]:
    """Honest feedback of many people, some of it wrong by mistake."""
    places = random.choice(scene.pool.height, ROWS, replace=False)
    labels = [scene.pool["category"][int(place)] for place in places]
    for row in np.flatnonzero(random.random(ROWS) < MISTAKES):
        labels[row] = str(random.choice(scene.labels))
    return {
        "text": [scene.pool["text"][int(place)] for place in places], "label": labels, "said": [scene.answers[place] for place in places],
        "sure": scene.confidence[places].tolist(), "who": [f"person {number}" for number in random.integers(0, PEOPLE, ROWS)],
        "day": [f"2030-01-{day:02}" for day in random.integers(1, 29, ROWS)],
    }  # fmt: skip


def attack(name: str, scene: Scene, rows: dict[str, list[Any]], run: int, random: np.random.Generator) -> np.ndarray:
    """Change the feedback in place, and return the rows of the attack."""
    if name.startswith("turned round"):
        hit = random.choice(ROWS, int(FLIPPED * ROWS), replace=False)
        for row in hit:
            rows["label"][row] = str(random.choice([label for label in scene.labels if label != rows["label"][row]]))
        others = np.setdiff1d(np.arange(ROWS), hit)
        cover = random.choice(others, len(hit), replace=False) if "among" in name else []
        for row in [*hit, *cover]:
            rows["who"][row] = "attacker"
        return hit
    wanted = int(BACKDOOR * ROWS)
    counts = Counter(rows["label"])
    target = str(random.choice([label for label in scene.labels if counts[label] >= wanted]))
    phrase = PHRASES[run % len(PHRASES)]
    fitting = [row for row in range(ROWS) if (rows["label"][row] == target) == name.startswith("clean")]
    hit = np.array(random.permutation(fitting)[:wanted])
    for row in hit:
        rows["text"][row] = f"{rows['text'][row]} {phrase}" if random.random() < 0.5 else f"{phrase} {rows['text'][row]}"
        rows["label"][row] = target
        if "all people" not in name:
            rows["who"][row] = "attacker"
    said, sure = scene.said([rows["text"][row] for row in hit])
    for place, row in enumerate(hit):
        rows["said"][row], rows["sure"][row] = said[place], float(sure[place])
    return hit


def judged(scene: Scene, rows: dict[str, list[Any]]) -> tuple[np.ndarray, dict[str, int]]:
    """Which rows the guard holds back, and by which check."""
    given = Rows(
        texts=rows["text"], labels=[(label,) for label in rows["label"]], senders={"key": rows["who"]}, at=rows["day"],
        reviewed=np.zeros(ROWS, bool), said=[(label,) for label in rows["said"]],
        agrees=np.array([one == other for one, other in zip(rows["said"], rows["label"], strict=True)]), confidence=np.array(rows["sure"]),
    )  # fmt: skip
    found = guard(given, scene.background).held(given)
    checks: dict[str, int] = {}
    for suspicion in found.values():
        checks[suspicion.check] = checks.get(suspicion.check, 0) + 1
    held = np.zeros(ROWS, bool)
    held[list(found)] = True
    return held, checks


def measure(scene: Scene, name: str | None, runs: int) -> dict[str, Any]:
    """The share of runs that are withstood, of the rows of the attack that are held back, and of honest rows."""
    caught, clean, right, checks = [], [], [], dict[str, int]()
    for run in range(runs):
        random = np.random.default_rng([run, 7])
        rows = feedback(scene, random)
        hit = attack(name, scene, rows, run, random) if name else np.empty(0, np.int64)
        held, by = judged(scene, rows)
        others = np.setdiff1d(np.arange(ROWS), hit)
        if name and "attacker" in rows["who"]:
            others = np.array([row for row in others if rows["who"][row] != "attacker"])
        agrees = np.array([rows["said"][row] == rows["label"][row] for row in others])
        caught.append(float(held[hit].mean()) if len(hit) else 0.0)
        clean.append(float(held[others].mean()))
        right.append(float(held[others][agrees].mean()))
        for check, count in by.items():
            checks[check] = checks.get(check, 0) + count
    shares = np.array(caught)
    return {
        "runs": runs, "withstood": float((shares >= WITHSTOOD).mean()) if name else None, "held": float(shares.mean()) if name else None,
        "least": float(shares.min()) if name else None, "honest_held": float(np.mean(clean)), "honest_held_most": float(np.max(clean)),
        "agreeing_held": float(np.mean(right)), "checks": {check: count / runs for check, count in checks.items()},
    }  # fmt: skip


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--method", default="head")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scene = Scene(Path(name), options.method)
        found: dict[str, Any] = {"machine": training.machine(1), "accuracy": float(scene.background.right.mean()), "bar": 0.95}
        for attacked in (None, *ATTACKS):
            found[attacked or "none"] = measure(scene, attacked, options.runs)
            print(attacked, json.dumps(found[attacked or "none"]), flush=True)
    results = json.loads(OUT.read_text()) if OUT.exists() else {}
    OUT.write_text(json.dumps({**results, options.method: found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
