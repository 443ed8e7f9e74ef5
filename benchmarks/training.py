"""Speed of training beside what users would run instead; the same texts, batch, precision and threads on every side.

    python benchmarks/training.py                       every row, five rounds, into benchmarks/results/training.json
    python benchmarks/training.py --only full head      some rows

Each side of each round is a process of its own, so that its peak of memory is its own, and sides take turns (A B A B …).
What is quoted is the median of the ratios of the rounds, with the least and the largest. Speed is read from the clock at the
ends of steps, after some steps to warm up, and by the real tokens of the steps that were made, so that no side gains from
short texts that happened to come: examples a second are tokens a second over the tokens of an average text. Imports, loading
and evaluation are on no side. The machine's rate of matrix products is measured in the same processes at the shapes in use;
operations are counted on real tokens.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
OUT = HERE / "results" / "training.json"
BATCH = 32
WARM = 5
"""Steps of every side before its clock starts."""
TOP = 2

ROWS: dict[str, dict[str, Any]] = {
    "full": {"ours": "ours", "peers": ["trainer", "grouped", "classic"], "steps": 60, "peer_steps": 30, "grouped": 55, "classic": 10},
    "full-bfloat16": {"ours": "ours", "peers": ["trainer"], "steps": 100, "peer_steps": 40, "precision": "bfloat16"},
    "top-layers": {"ours": "ours-top", "peers": ["trainer-top"], "steps": 120, "peer_steps": 40},
    "head": {"ours": "ours-head", "peers": ["forward"]},
}
"""Sides that are compared, and how many steps each makes, enough for some ten seconds; `head` reads every row once.

Trainer's grouping sorts 50 batches from long to short, so it is measured over 50 steps, which hold as many long texts as short.
"""
BARS = {
    ("full", "trainer"): (3.5, 4.5),
    ("full", "grouped"): (1.3, 1.6),
    ("full", "classic"): (10.0, 13.0),
    ("top-layers", "trainer-top"): (5.0, 7.0),
    ("head", "forward"): (1 / 1.3, 1 / 1.1),
}
"""Least ratio of our speed to the peer's, and the goal."""
SHARE = (0.6, 0.7)
"""Of the matrix rate, full fine-tuning."""


class Clock:
    """Real tokens that were trained on, between the end of the first steps and that of the last."""

    def __init__(self, warm: int = WARM) -> None:
        self.warm, self.steps = warm, 0
        self.tokens = 0
        self.from_time = self.from_work = self.to_time = self.to_work = 0.0

    def step(self, tokens: int) -> None:
        """One step has ended."""
        self.steps += 1
        self.to_time, self.to_work = time.perf_counter(), time.process_time()
        if self.steps <= self.warm:
            self.from_time, self.from_work = self.to_time, self.to_work
        else:
            self.tokens += tokens

    def found(self, costs: Any) -> dict[str, Any]:
        """Speeds, with the work of the processor; `costs` are the tokens of every text."""
        seconds, rows = self.to_time - self.from_time, self.tokens / float(costs.mean())
        return {
            "examples_per_second": rows / seconds,
            "tokens_per_second": self.tokens / seconds,
            "processor_seconds_a_row": (self.to_work - self.from_work) / rows,
        }


# ── sides ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def data() -> Path:
    """Where Banking77 is."""
    return Path(os.environ.get("VERTUNE_DATA") or HERE.parent.parent / "shared" / "data") / "banking77"


def texts(rows: int | None = None) -> list[dict[str, str]]:
    """The first rows of Banking77's training part in a fixed random order, or all."""
    import polars as pl

    table = pl.read_csv(data() / "train.csv").rename({"category": "label"})
    found = table.select("text", "label").to_dicts()
    random.Random(0).shuffle(found)
    return found[:rows]


def ours(options: argparse.Namespace) -> dict[str, Any]:
    """Our loop with the method and the precision asked for, without validation."""
    from vertune.batching.batches import epoch
    from vertune.core.config import Training
    from vertune.learning import session

    assert session  # imported before the clock starts
    records = texts()
    method = {"ours": "full", "ours-top": {"name": "top_layers", "n": TOP}, "ours-head": "head"}[options.side]
    start = "auto" if options.side == "ours-head" else "random"
    device = {"threads": options.threads, "precision": options.precision}
    value = {"data": {}, "base": "minilm", "method": method, "training": {"epochs": 4, "start": start}, "device": device}
    costs, clock = lengths(records), Clock()
    steps = epoch(costs, BATCH, Training().window, (0, 0, 1))  # as the loop draws them from the seed
    made = iter([int(costs[rows].sum()) for rows in steps])

    def watch(kind: str, **fields: Any) -> None:
        if kind == "step":
            clock.step(next(made))
            if clock.steps == options.steps:
                raise Enough

    with tempfile.TemporaryDirectory() as folder:
        started, worked = time.perf_counter(), time.process_time()
        teach(value, records, Path(folder), watch, cache=True)
        whole = {"seconds": time.perf_counter() - started, "processor_seconds": time.process_time() - worked}
    return whole if options.side == "ours-head" else clock.found(costs) | whole


class Enough(Exception):
    """As many steps were made as are measured."""


def teach(value: dict[str, Any], records: list[dict[str, str]], folder: Path, watch: Callable[..., None], cache: bool = False) -> None:
    """One training of a config on these records, until it ends or `watch` has seen enough."""
    import polars as pl

    from vertune.core.config import Config
    from vertune.core.parse import build
    from vertune.learning import session

    config, columns = build(Config, value), ["text", "label"]
    task = config.task.fit(pl.DataFrame(records))
    settled = config.model_copy(update={"task": task, "encoder": config.encoder.resolve(records, task.views(columns))})
    with contextlib.suppress(Enough):
        session.train(
            settled, session.TrainingData(records, [], columns), session.TrainingFolders(folder, folder / "cache" if cache else None), watch
        )


def trainer(options: argparse.Namespace) -> dict[str, Any]:
    """transformers' Trainer with its defaults at batch 32, or with its own grouping by length, or with lower layers frozen."""
    import transformers
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments

    records, tokenizer, model = _plain(options)
    if options.side == "trainer-top":
        for parameter in model.base_model.parameters():
            parameter.requires_grad_(False)
        for layer in model.base_model.encoder.layer[-TOP:]:
            layer.requires_grad_(True)
    labels = {label: place for place, label in enumerate(sorted({record["label"] for record in records}))}
    rows = [{**tokenizer(record["text"], truncation=True), "labels": labels[record["label"]]} for record in records]
    clock, collator = Clock(), DataCollatorWithPadding(tokenizer)
    seen: list[int] = []

    def collate(batch: list[dict[str, Any]]) -> Any:
        seen.append(sum(len(row["input_ids"]) for row in batch))
        return collator(batch)

    class Watch(transformers.TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            clock.step(seen.pop(0))

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder, per_device_train_batch_size=BATCH, max_steps=options.steps, use_cpu=True, report_to=[], save_strategy="no",
            logging_strategy="no", disable_tqdm=True, bf16=options.precision == "bfloat16",
            train_sampling_strategy="group_by_length" if options.side == "grouped" else "random",
        )  # fmt: skip
        Trainer(model=model, args=arguments, train_dataset=rows, data_collator=collate, callbacks=[Watch()]).train()
    return clock.found(lengths(records))


def classic(options: argparse.Namespace) -> dict[str, Any]:
    """The script of most tutorials: every text padded to 128 tokens, batches of 16 in random order, two of them a step."""
    import torch

    records, tokenizer, model = _plain(options)
    labels = {label: place for place, label in enumerate(sorted({record["label"] for record in records}))}
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-5)
    model.train()
    clock = Clock(warm=2)
    for start in range(0, options.steps * BATCH, BATCH):
        tokens = 0
        for half in (records[start : start + BATCH // 2], records[start + BATCH // 2 : start + BATCH]):
            inputs = tokenizer(
                [record["text"] for record in half], padding="max_length", truncation=True, max_length=128, return_tensors="pt"
            )
            tokens += int(inputs["attention_mask"].sum())
            (model(**inputs, labels=torch.tensor([labels[record["label"]] for record in half])).loss / 2).backward()
        optimiser.step()
        optimiser.zero_grad()
        clock.step(tokens)
    return clock.found(lengths(records))


def forward(options: argparse.Namespace) -> dict[str, Any]:
    """One pass without gradients over all texts in plain torch, sorted by length, in batches of 32."""
    import torch

    records, tokenizer, model = _plain(options)
    base = model.base_model.eval()
    started, worked = time.perf_counter(), time.process_time()
    rows = sorted((tokenizer(record["text"], truncation=True) for record in records), key=lambda row: len(row["input_ids"]))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bfloat16"):
        for start in range(0, len(rows), BATCH):
            inputs = tokenizer.pad(rows[start : start + BATCH], return_tensors="pt")
            base(**inputs).last_hidden_state.mean(1)
    return {"seconds": time.perf_counter() - started, "processor_seconds": time.process_time() - worked}


def _plain(options: argparse.Namespace) -> tuple[list[dict[str, str]], Any, Any]:
    """Texts, tokenizer and model as a user of transformers loads them."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from vertune.core.base import resolve

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    records = texts()
    folder = str(resolve("minilm"))
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=len({record["label"] for record in records}))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.backend_tokenizer.no_padding()
    return records, tokenizer, model


SIDES: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "ours": ours, "ours-top": ours, "ours-head": ours,
    "trainer": trainer, "grouped": trainer, "trainer-top": trainer, "classic": classic, "forward": forward,
}  # fmt: skip


# ── what bounds them ─────────────────────────────────────────────────────────────────────────────────────────────────


def lengths(records: list[dict[str, str]]) -> Any:
    """Real tokens of each text, special ones included."""
    import numpy as np
    from tokenizers import Tokenizer

    from vertune.core.base import resolve

    tokenizer = Tokenizer.from_file(str(resolve("minilm") / "tokenizer.json"))
    tokenizer.no_padding()
    return np.array([len(encoding.ids) for encoding in tokenizer.encode_batch([record["text"] for record in records])])


def operations(layers: int = 6, width: int = 384, inner: int = 1536) -> float:
    """Operations of matrix products a token, forward and backward; attention's own products are left out."""
    return 3 * layers * 2 * (4 * width * width + 2 * width * inner)


def rate(threads: int, precision: str) -> float:
    """Operations a second of matrix products at the shapes of a layer, the best of some tries."""
    import torch

    torch.set_num_threads(threads)
    kind = torch.bfloat16 if precision == "bfloat16" else torch.float32
    states, up = torch.randn(512, 384).to(kind), torch.randn(384, 1536).to(kind)
    best = 0.0
    for _ in range(20):
        started = time.perf_counter()
        for _ in range(10):
            states @ up
        best = max(best, 10 * 2 * 512 * 384 * 1536 / (time.perf_counter() - started))
    return best


# ── rounds ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def child(options: argparse.Namespace) -> None:
    """One side in this process; the result goes to a file."""
    found = SIDES[options.side](options)
    found["matrix_rate"] = rate(options.threads, options.precision)
    Path(options.out).write_text(json.dumps(found))


def spawn(script: str, arguments: list[str], **environment: str) -> dict[str, Any]:
    """What a script writes to its `--out` in a process of its own, with that process's peak of resident memory."""
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        command = [sys.executable, script, *arguments, "--out", out.name]
        _, status, used = os.wait4(os.spawnve(os.P_NOWAIT, sys.executable, command, {**os.environ, **environment}), 0)
        if status:
            sys.exit(f"{' '.join(arguments)} ended with {status}")
        found: dict[str, Any] = json.loads(Path(out.name).read_text())
    return found | {"peak_bytes": used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)}


def run(side: str, row: dict[str, Any], threads: int) -> dict[str, Any]:
    """One side in a process of its own, with its peak of resident memory."""
    steps = row.get("steps" if side == row["ours"] else side, row.get("peer_steps", 0))
    arguments = ["--side", side, "--steps", str(steps), "--threads", str(threads), "--precision", row.get("precision", "float32")]
    quiet = {"OMP_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error"}
    return spawn(__file__, arguments, **quiet) | {"steps": steps}


def measure(name: str, rounds: int, threads: int) -> dict[str, Any]:
    """All rounds of one row of the table."""
    row = ROWS[name]
    seen: dict[str, list[dict[str, Any]]] = {side: [] for side in (row["ours"], *row["peers"])}
    for number in range(rounds):
        for side, found in seen.items():
            found.append(run(side, row, threads))
            shown = found[-1].get("examples_per_second") or found[-1]["seconds"]
            print(f"  {name} round {number + 1}: {side} {shown:.1f}, {found[-1]['peak_bytes'] / 1e6:.0f} MB", flush=True)
    our = seen[row["ours"]]
    result: dict[str, Any] = {"precision": row.get("precision", "float32"), "sides": {}, "ratios": {}}
    for side, found in seen.items():
        result["sides"][side] = {key: statistics.median(one[key] for one in found) for key in found[0]} | {"rounds": found}
    for peer in row["peers"]:
        ratios = [_speed(a) / _speed(b) for a, b in zip(our, seen[peer], strict=True)]
        bar, goal = BARS.get((name, peer), (None, None))
        result["ratios"][peer] = {
            "median": statistics.median(ratios), "least": min(ratios), "most": max(ratios), "bar": bar, "goal": goal,
            "memory": statistics.median(a["peak_bytes"] / b["peak_bytes"] for a, b in zip(our, seen[peer], strict=True)),
        }  # fmt: skip
    if "tokens_per_second" in our[0] and row["ours"] == "ours":
        result["share"] = statistics.median(one["tokens_per_second"] * operations() / one["matrix_rate"] for one in our)
    return result


def _speed(found: dict[str, Any]) -> float:
    return float(found.get("examples_per_second") or 1 / found["seconds"])


def show(name: str, result: dict[str, Any]) -> None:
    """One row as a person reads it."""
    print(f"\n{name} ({result['precision']})")
    for side, found in result["sides"].items():
        speed = f"{found['examples_per_second']:.1f} examples/s" if "examples_per_second" in found else f"{found['seconds']:.1f} s"
        print(f"  {side:<14} {speed:<20} {found['peak_bytes'] / 1e6:.0f} MB")
    for peer, ratio in result["ratios"].items():
        bar = f"; bar {ratio['bar']:.2f}, goal {ratio['goal']:.2f}" if ratio["bar"] else ""
        spread = f"({ratio['least']:.2f} to {ratio['most']:.2f})"
        print(f"  against {peer}: {ratio['median']:.2f} × {spread}, memory {ratio['memory']:.2f} ×{bar}")
    if "share" in result:
        print(f"  {100 * result['share']:.0f} % of the matrix rate")


def machine(threads: int) -> dict[str, Any]:
    """What the figures were measured with."""
    import accuracy

    packages = ("torch", "transformers", "accelerate")
    return accuracy.machine() | {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "threads": threads,
        "load": os.getloadavg()[0],
        "packages": {name: metadata.version(name) for name in packages} | {"python": platform.python_version()},
    }


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(ROWS), default=list(ROWS), help="these rows of the table")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--out", default=str(OUT))
    parser.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--precision", default="float32", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        child(options)
        return
    out = Path(options.out)
    results = json.loads(out.read_text()) if out.exists() else {}
    for name in options.only:
        results[name] = measure(name, options.rounds, options.threads) | {"machine": machine(options.threads)}
        out.write_text(json.dumps(results, indent=1))
    for name in options.only:
        show(name, results[name])


if __name__ == "__main__":
    main()
