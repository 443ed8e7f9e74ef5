"""Processor seconds from a cold start to an accuracy on Banking77: `vertune train` beside transformers' Trainer.

    python benchmarks/to_accuracy.py ours                      the method full with every default
    python benchmarks/to_accuracy.py ours --passes 3           in fewer passes, with a schedule of its own
    python benchmarks/to_accuracy.py trainer --rate 2e-4       Trainer at batch 32, evaluated after every pass
    python benchmarks/to_accuracy.py table                     the ratio, from what was measured so far

Processor seconds (user and system) of the whole process, imports and loading included, evaluation left out; precision is
the same on both sides. Rates of Trainer are compared on the validation rows that `prepare` cuts for us, test rows say
when the accuracy is reached. Results go to benchmarks/results/to_accuracy.json.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import training

OUT = training.HERE / "results" / "to_accuracy.json"
BEHIND = 0.003
"""How much lower than ours the accuracy may be that is waited for."""


def config(precision: str, threads: int, epochs: float | str = "auto") -> Any:
    """The config that both sides take their rows from."""
    from vertune.core.config import Config
    from vertune.core.parse import build

    folder = training.data()
    data = {"source": str(folder / "train.csv"), "test": str(folder / "test.csv"), "fields": {"text": "text", "label": "category"}}
    device = {"precision": precision, "threads": threads}
    return build(
        Config, {"name": "to-accuracy", "data": data, "base": "minilm", "method": "full", "device": device, "training": {"epochs": epochs}}
    )


def ours(options: argparse.Namespace) -> dict[str, Any]:
    """Our command, with every default; the head of the training is solved, and validation is watched, as always."""
    from vertune.core.artifact import Home
    from vertune.core.files import read_json
    from vertune.steps.evaluate import evaluate
    from vertune.steps.prepare import prepare
    from vertune.steps.train import train

    with tempfile.TemporaryDirectory() as folder:
        home, settings = Home(folder), config(options.precision, options.threads, options.passes or "auto")
        dataset = prepare(settings, home)
        model = train(settings, dataset, home)
        seconds = time.process_time()
        found = read_json(evaluate(model, home).folder / "metrics.json")["metrics"]["accuracy"]["value"]
    return {"curve": [{"processor_seconds": seconds, "test": found}]}


def trainer(options: argparse.Namespace) -> dict[str, Any]:
    """Trainer with its defaults but for batch, rate and passes, on the same training rows."""
    import torch
    import transformers
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, Trainer, TrainingArguments

    from vertune.core.artifact import Home
    from vertune.core.base import resolve
    from vertune.data.dataset import read
    from vertune.steps.prepare import prepare

    torch.set_num_threads(options.threads)
    base = str(resolve("minilm"))
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.backend_tokenizer.no_padding()
    curve: list[dict[str, Any]] = []
    aside = 0.0
    with tempfile.TemporaryDirectory() as folder:
        dataset = prepare(config(options.precision, options.threads), Home(Path(folder) / "home"))
        splits = {name: read(dataset, name).select("text", "label").to_dicts() for name in ("train", "validation", "test")}
        labels = {label: place for place, label in enumerate(sorted({row["label"] for row in splits["train"]}))}
        rows = {
            name: [{**tokenizer(row["text"], truncation=True), "labels": labels[row["label"]]} for row in split]
            for name, split in splits.items()
        }
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=len(labels))
        collate = DataCollatorWithPadding(tokenizer)

        def accuracy(split: str) -> float:
            right = 0
            ordered = sorted(rows[split], key=lambda row: len(row["input_ids"]))
            model.eval()
            with torch.inference_mode():
                for start in range(0, len(ordered), 64):
                    batch = collate(ordered[start : start + 64])
                    right += int((model(**{k: v for k, v in batch.items() if k != "labels"}).logits.argmax(1) == batch["labels"]).sum())
            model.train()
            return right / len(ordered)

        class Watch(transformers.TrainerCallback):  # type: ignore[misc]
            def on_epoch_end(self, *args: Any, **kwargs: Any) -> None:
                nonlocal aside
                spent = time.process_time()
                curve.append({"processor_seconds": spent - aside, "validation": accuracy("validation"), "test": accuracy("test")})
                aside += time.process_time() - spent
                print(options.rate, len(curve), curve[-1], flush=True)

        arguments = TrainingArguments(
            output_dir=folder, per_device_train_batch_size=training.BATCH, num_train_epochs=options.epochs, learning_rate=options.rate,
            use_cpu=True, report_to=[], save_strategy="no", logging_strategy="no", disable_tqdm=True, bf16=options.precision == "bfloat16",
        )  # fmt: skip
        Trainer(model=model, args=arguments, train_dataset=rows["train"], data_collator=collate, callbacks=[Watch()]).train()
    return {"curve": curve, "rate": options.rate, "epochs": options.epochs}


def table(results: dict[str, Any]) -> dict[str, Any]:
    """Seconds of both sides to the accuracy: ours in the fewest passes that reach it, Trainer at the rate that was best on validation."""
    wanted = results["ours"]["curve"][-1]["test"] - BEHIND
    sides = [value["curve"][-1] for name, value in results.items() if name.startswith("ours")]
    our = min((point for point in sides if point["test"] >= wanted), key=lambda point: point["processor_seconds"])
    peers = [value for name, value in results.items() if name.startswith("trainer")]
    best = max(peers, key=lambda found: found["curve"][-1]["validation"])
    reached = next((point for point in best["curve"] if point["test"] >= wanted), None)
    spent = (reached or best["curve"][-1])["processor_seconds"]
    return {
        "wanted": wanted, "ours": our["processor_seconds"], "trainer": spent, "reached": reached is not None,
        "rate": best["rate"], "share": our["processor_seconds"] / spent, "trainer_test": best["curve"][-1]["test"],
    }  # fmt: skip


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("side", choices=["ours", "trainer", "table"])
    parser.add_argument("--rate", type=float, default=2e-4)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--passes", type=float, help="of ours; all that the default makes where nothing is said")
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    results = json.loads(OUT.read_text()) if OUT.exists() else {}
    if options.side != "table":
        found = {"ours": ours, "trainer": trainer}[options.side](options)
        results = json.loads(OUT.read_text()) if OUT.exists() else {}  # another rate may have been measured meanwhile
        own = f"ours-{options.passes:g}" if options.passes else "ours"
        name = own if options.side == "ours" else f"trainer-{options.rate:g}"
        results[name] = found | {"precision": options.precision, "machine": training.machine(options.threads)}
    if "ours" in results and any(name.startswith("trainer") for name in results):
        results["table"] = table({name: value for name, value in results.items() if name != "table"})
        print(json.dumps(results["table"], indent=1))
    OUT.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
