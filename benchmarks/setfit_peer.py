"""Trains and measures SetFit in its own environment, for shots.py: reads a request as JSON from standard input, prints the result.

A request has `base` (a folder with a pretrained model), `train` and `test` (lists of objects with `text` and `label`) and `seed`. SetFit
runs as its documentation has it: 20 iterations of pairs in batches of 16, one epoch.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from importlib import metadata


def main() -> None:
    """Train, predict, and print one line of JSON."""
    request = json.load(sys.stdin)
    from datasets import Dataset
    from setfit import SetFitModel, Trainer, TrainingArguments

    names = sorted({row["label"] for row in request["train"]})
    rows = Dataset.from_list([{"text": row["text"], "label": names.index(row["label"])} for row in request["train"]])
    model = SetFitModel.from_pretrained(request["base"])
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, batch_size=16, num_epochs=1, num_iterations=20, seed=request["seed"], report_to="none", save_strategy="no",
            eval_strategy="no",
        )  # fmt: skip
        started = time.process_time()
        Trainer(model=model, args=arguments, train_dataset=rows).train()
        seconds = time.process_time() - started
    answers = model.predict([row["text"] for row in request["test"]], as_numpy=True)
    right = sum(names[int(answer)] == row["label"] for answer, row in zip(answers, request["test"], strict=True))
    versions = {name: metadata.version(name) for name in ("setfit", "sentence-transformers", "transformers", "torch")}
    accuracy = right / len(request["test"])
    print(json.dumps({"accuracy": accuracy, "processor_seconds": round(seconds, 1), "chosen": {}, "versions": versions}))


if __name__ == "__main__":
    main()
