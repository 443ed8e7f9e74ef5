"""Whether a shift of each output, beside the two weights of the companion, makes the loss of other records smaller.

    python benchmarks/shifts.py [ROW …]

Trains a linear probe with its companion on some rows of accuracy.yaml (first seed) and fits, in a cross-validation on the validation
records alone, the weight of the mixed outputs, or this weight and the shifts. `gain` is the mean difference of the log-losses with its
standard error; `used` says what the model itself decided (`Mixing.shifts`). Results go to benchmarks/results/shifts.json.
"""

from __future__ import annotations

import argparse
from typing import Any

import accuracy
import measured_rows
import numpy as np

from vertune.core.artifact import Home
from vertune.data.dataset import records_of
from vertune.learning import companion
from vertune.learning.companion import Mixing
from vertune.lexical.companion import merged
from vertune.runtime.predictor import Predictor
from vertune.steps.prepare import prepare
from vertune.steps.train import train

OUT = accuracy.HERE / "results" / "shifts.json"
ROWS = ("banking77-full", "trec6-full", "phrasebank-full", "smp2019-domain", "waimai", "chnsenticorp", "afqmc", "finfe")
FOLDS, ROUNDS = 5, 3


def measure(name: str) -> dict[str, Any]:
    """The gain on the validation records of a row."""
    row = accuracy.rows()[name]
    options = argparse.Namespace(limit=None, set=["method=head", "training.refit=never"], split="test")
    home = Home(accuracy.WORK / "shifts")
    settings = accuracy.config(name, row, row.seeds[0], options)
    dataset = prepare(settings, home)
    predictor = Predictor.open(train(settings, dataset, home))
    task, records = predictor.task, records_of(dataset, "validation", predictor.task)
    features = predictor.encoder.encode(records, predictor.views({key for record in records for key in record}))
    assert predictor.companion is not None
    outputs = predictor.companion.mixed(records, features, predictor.outputs(features))
    mix = merged("softmax", len(records), features, outputs) - np.array(predictor.companion.shift or 0.0)
    truth, _ = companion._truth(task, records)
    gains = [gain(mix, truth, np.random.default_rng(number).permutation(len(records))) for number in range(ROUNDS)]
    each = np.mean(gains, axis=0)
    return {"records": len(records), "labels": mix.shape[1], "gain": float(each.mean()),
            "error": float(each.std(ddof=1) / len(each) ** 0.5), "used": bool(predictor.companion.shift)}  # fmt: skip


def gain(mix: np.ndarray, truth: np.ndarray, order: np.ndarray) -> np.ndarray:
    """By how much the log-loss of each record is smaller with shifts, fitted without its fold."""
    found = np.zeros(len(mix))
    for held in np.array_split(order, FOLDS):
        known = np.setdiff1d(order, held)
        inside, outside = Mixing("softmax", truth[known]), Mixing("softmax", truth[held])
        (weight,) = inside.fit([mix[known]])
        scale, shift = inside._fit_shifts(mix[known])
        found[held] = outside.losses(weight * mix[held]) - outside.losses(scale * mix[held] + shift)
    return found


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", default=ROWS)
    for name in parser.parse_args().rows:
        measured_rows.add(OUT, name, found := measure(name))
        print(name, found, flush=True)


if __name__ == "__main__":
    main()
