"""Smaller models: what they keep, how fast they answer, what they weigh, beside the model itself and beside transformers.

    python benchmarks/small.py keep          int8 on five data sets: what is lost on their test rows
    python benchmarks/small.py chains        trimmed, student and pruned models of Banking77, each in int8
    python benchmarks/small.py one           one text from string to answer, beside the bare session and transformers.pipeline
    python benchmarks/small.py many          all test texts of Banking77, beside a length-sorted loop in torch, and alone beside in a batch
    python benchmarks/small.py start         from the start of Python to the first answer, and the memory of that process
    python benchmarks/small.py soak          200,000 texts of random lengths: resident memory

The models are those of the accuracy table (`python benchmarks/accuracy.py banking77-full trec6-full …`), in its home. What is
timed is timed in turns, and ratios are of one run. Results go to benchmarks/results/small.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import training

OUT = training.HERE / "results" / "small.json"
HOME = training.HERE / ".work" / "home"
NAMES = ("banking77-full-0", "trec6-full-0", "conll2003-full-0", "sick-entailment-0", "sick-relatedness-0")
CHAINS = {
    "int8": "[int8]",
    "trimmed": "[trim_vocabulary, int8]",
    "student": "[{name: distill, layers: 3}, int8]",
    "pruned": "[{name: prune, rows: 0.5}, int8]",
}
ROUNDS = 200
CALLS = 20
"""Of one text, in each turn of a side."""
TEXT = "I still have not received my new card, I ordered it over a week ago."


def made(home: Any, name: str, chain: str) -> Any:
    """The compressed model of this name and chain: the one that was made of the parent, else a new one."""
    import yaml

    from vertune.core.spellings import moved_value
    from vertune.steps.compress import CompressOptions, compress

    parts = [part if isinstance(part, dict) else {"name": part} for part in yaml.safe_load(chain)]
    for model in reversed(home.shelf("models")):
        told = model.manifest_or_empty
        if told.get("step") == "compress" and told.get("name") == name:
            asked = moved_value(told["asked"]["config"], "compress.chain", [])
            if (
                told["parents"][0] == parent(home, name).id
                and len(asked) == len(parts)
                and all(wanted.items() <= found.items() for wanted, found in zip(parts, asked, strict=True))
            ):
                return model
    print(f"  compressing {name}: {chain}", flush=True)
    # int8 by itself must pass the gate as it is; of the others the test rows are asked, whatever validation said
    loose = [] if chain == CHAINS["int8"] else ["compress.tolerance=0.02"]
    return compress(parent(home, name), home, [f"compress.chain={chain}", *loose], None, CompressOptions(accept=True))


def parent(home: Any, name: str) -> Any:
    """The trained model of the accuracy table."""
    found = [
        model
        for model in home.shelf("models")
        if model.manifest_or_empty.get("name") == name and model.manifest_or_empty.get("step") == "train"
    ]
    if not found:
        sys.exit(f"There is no {name} in {home.folder}. Train it: python benchmarks/accuracy.py {name.rpartition('-')[0]}")
    return found[-1]


def scored(home: Any, model: Any) -> dict[str, Any]:
    """What the test rows say."""
    from vertune.core.files import read_json
    from vertune.steps.evaluate import evaluate

    measured = read_json(evaluate(model, home).folder / "metrics.json")
    return {
        "goal": measured["goal"],
        "value": measured["metrics"][measured["goal"]]["value"],
        "split": measured["split"],
        "rows": measured["rows"],
    }


def beside(home: Any, name: str, chain: str) -> dict[str, Any]:
    """A compressed model and its parent on the test rows."""
    small = made(home, name, chain)
    ours, theirs = scored(home, small), scored(home, parent(home, name))
    last = small.manifest["candidates"][-1]
    return {
        "parent": theirs["value"], "small": ours["value"], "lost": theirs["value"] - ours["value"], **ours,
        "graph_bytes": (small.folder / "model.onnx").stat().st_size, "validation_lost": last["loss"], "verdict": last["verdict"],
    }  # fmt: skip


def keep(home: Any, options: argparse.Namespace) -> dict[str, Any]:
    """What int8 loses on each data set."""
    return {name: beside(home, name, "[int8]") for name in NAMES}


def chains(home: Any, options: argparse.Namespace) -> dict[str, Any]:
    """What each chain loses on Banking77, and how much faster it is than int8 alone, measured in turns."""
    found = {kind: beside(home, NAMES[0], chain) for kind, chain in CHAINS.items()}
    graphs = {kind: opened(made(home, NAMES[0], chain), options.threads) for kind, chain in CHAINS.items()}
    records = texts(home)[:1024]
    runs: dict[str, Callable[[], Any]] = {kind: lambda graph=graph: graph.answer(records) for kind, graph in graphs.items()}  # type: ignore[misc]
    for kind, ratio in turns(runs, 5, "int8").items():
        found[kind]["times_faster_many"] = ratio
    runs = {kind: lambda graph=graph: graph.answer(records[:1]) for kind, graph in graphs.items()}  # type: ignore[misc]
    for kind, ratio in turns(runs, ROUNDS, "int8").items():
        found[kind]["times_faster_one"] = ratio
    return found


def texts(home: Any) -> list[dict[str, str]]:
    """The test rows of Banking77."""
    from vertune.data.dataset import read

    dataset = next(home.get("datasets", one) for one in parent(home, NAMES[0]).manifest["parents"])
    return [{"text": text} for text in read(dataset, "test")["text"]]


def opened(model: Any, threads: int) -> Any:
    from vertune.runtime.predictor import Predictor

    return Predictor.open(model, threads)


def turns(runs: dict[str, Callable[[], Any]], rounds: int, first: str, calls: int = 1) -> dict[str, dict[str, float]]:
    """Of each side: median seconds, and how many times faster than the first it is, median, least and most of the rounds' ratios.

    A turn is so many calls, and the median of them: a process that answers finds its own weights in the processor's caches.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 3):
        for name, run in runs.items():
            turn = []
            for _ in range(calls):
                started = time.perf_counter()
                run()
                turn.append(time.perf_counter() - started)
            if number >= 3:
                times[name].append(statistics.median(turn))
    result = {}
    for name, found in times.items():
        ratios = [a / b for a, b in zip(times[first], found, strict=True)]
        middle = ratios if rounds < 20 else statistics.quantiles(ratios, n=20)
        result[name] = {
            "seconds": statistics.median(found), "median": statistics.median(times[first]) / statistics.median(found),
            "least": min(middle), "most": max(middle),
        }  # fmt: skip
    return result


def one(home: Any, options: argparse.Namespace) -> dict[str, Any]:
    """One text, one thread on every side."""
    found = {"short": text_of(home, TEXT), "128 tokens": text_of(home, " ".join([TEXT] * 8))}
    for kind, name in (("tag", "conll2003-full-0"), ("embed", "trec-qa-0")):
        found[kind] = sentences(home, name)
    return found


def text_of(home: Any, text: str) -> dict[str, Any]:
    """String to answer beside the bare session and beside transformers.pipeline on a model of the same shape."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    import vertune
    from vertune.core.base import resolve

    torch.set_num_threads(1)
    model = made(home, NAMES[0], "[int8]")
    vertical = vertune.load(model.id, home.folder)
    predictor = vertical._opened = opened(model, 1)
    longest = predictor.encoder.model_copy(update={"max_tokens": 128})  # the model learnt from shorter texts
    predictor.encoder = longest
    arrays = longest.collate(longest.encode([{"text": text}], predictor.task.views(["text"])))
    base = str(resolve("minilm"))
    peer = pipeline(
        "text-classification",
        AutoModelForSequenceClassification.from_pretrained(base, num_labels=77),
        tokenizer=AutoTokenizer.from_pretrained(base),
    )
    ours: Callable[[], Any] = lambda: vertical.predict(text)  # noqa: E731
    session = turns({"ours": ours, "bare session": lambda: predictor.engine.run(arrays)}, 15, "ours", CALLS)
    pipe = turns({"ours": ours, "pipeline": lambda: peer(text, truncation=True, max_length=128, top_k=None)}, 15, "ours", CALLS)
    return {
        "tokens": int(arrays["input_ids"].shape[1]),
        "milliseconds": {name: 1000 * side["seconds"] for name, side in {**pipe, **session}.items()},
        "over_the_session": session["bare session"]["median"], "faster_than_pipeline": 1 / pipe["pipeline"]["median"],
    }  # fmt: skip


def sentences(home: Any, name: str) -> dict[str, Any]:
    """The median over sentences of the time of an answer, in times of the bare session's."""
    from vertune.data.dataset import read

    predictor = opened(made(home, name, "[int8]"), 1)
    dataset = next(home.get("datasets", one) for one in parent(home, name).manifest["parents"])
    rows = [{"text": text} for text in read(dataset, "test")["text"][:300]]
    views, ratios = predictor.task.views(["text"]), []
    for row in rows:
        arrays = predictor.encoder.collate(predictor.encoder.encode([row], views))
        sides = turns(
            {"ours": lambda row=row: predictor.answer([row]), "bare": lambda arrays=arrays: predictor.engine.run(arrays)}, 3, "ours", 5
        )  # type: ignore[misc]
        ratios.append(sides["ours"]["seconds"] / sides["bare"]["seconds"])
    return {"texts": len(rows), "over_the_session": statistics.median(ratios)}


def many(home: Any, options: argparse.Namespace) -> dict[str, Any]:
    """All test texts, the same number of threads on both sides, and whether an answer depends on its batch."""
    import torch

    predictor, eager = opened(made(home, NAMES[0], "[int8]"), options.threads), opened(parent(home, NAMES[0]), 0)
    torch.set_num_threads(options.threads)
    records = texts(home)
    views = predictor.task.views(["text"])

    def loop() -> int:
        """A length-sorted loop with batches of 32, as a careful user writes it."""
        features = sorted(eager.encoder.encode(records, views), key=lambda feature: feature.cost)
        right = 0
        with torch.inference_mode():
            for start in range(0, len(features), 32):
                arrays = eager.encoder.collate(features[start : start + 32])
                right += int(eager.engine.model({key: torch.from_numpy(value) for key, value in arrays.items()}).argmax(1).sum())
        return right

    measured = turns({"torch": loop, "ours": lambda: predictor.answer(records)}, 5, "torch")
    together = predictor.outputs(predictor.encoder.encode(records, views))
    alone = [predictor.outputs(predictor.encoder.encode([record], views))[0] for record in records]
    same = [int(a.argmax() == b.argmax()) for a, b in zip(together, alone, strict=True)]
    equal = [int((a == b).all()) for a, b in zip(together, alone, strict=True)]
    gap = max(float(abs(a - b).max()) for a, b in zip(together, alone, strict=True))
    return {
        "texts": len(records),
        "threads": options.threads,
        "texts_a_second": {name: len(records) / side["seconds"] for name, side in measured.items()},
        "times_torch": measured["ours"],
        "alone_as_in_a_batch": {"same_label": sum(same) / len(same), "bit_for_bit": sum(equal) / len(equal), "gap": gap},
    }


def start(home: Any, options: argparse.Namespace) -> dict[str, Any]:
    """A fresh Python to the first answer, in turns with an empty Python."""
    folder = made(home, NAMES[0], "[int8]").folder
    code = f"import vertune; vertune.load({os.fspath(folder)!r}).predict({TEXT!r})"
    times: dict[str, list[float]] = {"empty": [], "ours": []}
    peak = 0
    for _ in range(11):
        for name, run in (("empty", "pass"), ("ours", code)):
            started = time.perf_counter()
            _, status, used = os.wait4(os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-c", run]), 0)
            times[name].append(time.perf_counter() - started)
            if status:
                sys.exit(f"{run} ended with {status}")
            peak = max(peak, used.ru_maxrss * 1024 if name == "ours" else 0)
    more = [a - b for a, b in zip(times["ours"], times["empty"], strict=True)]
    return {"seconds_more": statistics.median(more), "least": min(more), "most": max(more), "peak_bytes": peak}


SOAK = """
import json, random, sys
from pathlib import Path
from vertune.core.artifact import Artifact
from vertune.runtime.predictor import Predictor

predictor, draw = Predictor.open(Artifact(Path(sys.argv[1])), 2), random.Random(0)
predictor.encoder = predictor.encoder.model_copy(update={"max_tokens": 256})  # the model learnt from short texts
words = "the card was not there and my account has no money left for a transfer".split()
seen = []
for _ in range(int(sys.argv[2]) // 500):
    lengths = [int(draw.paretovariate(1.2) * 8) % 240 + 1 for _ in range(500)]
    predictor.answer([{"text": " ".join(draw.choices(words, k=length))} for length in lengths])
    seen.append(int(Path("/proc/self/statm").read_text().split()[1]) * 4096)
print(json.dumps(seen))
"""


def soak(home: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Texts of random lengths through one process, resident memory on the way."""
    folder = made(home, NAMES[0], "[int8]").folder
    done = subprocess.run([sys.executable, "-c", SOAK, str(folder), str(options.texts)], capture_output=True, text=True, check=True)
    seen = json.loads(done.stdout)
    warm = seen[len(seen) // 10 :]
    return {"texts": options.texts, "after_warm_up": warm[0], "most": max(warm), "end": warm[-1], "growth": max(warm) / warm[0]}


ROWS: dict[str, Callable[[Any, argparse.Namespace], dict[str, Any]]] = {
    "keep": keep, "chains": chains, "one": one, "many": many, "start": start, "soak": soak,
}  # fmt: skip


def main() -> None:
    """Parse the command line and measure."""
    from vertune.core.artifact import Home

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="+", choices=list(ROWS))
    parser.add_argument("--home", type=Path, default=HOME)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--texts", type=int, default=200_000)
    options = parser.parse_args()
    random.seed(0)
    for name in options.rows:
        found = ROWS[name](Home(options.home), options)
        results = json.loads(OUT.read_text()) if OUT.exists() else {}
        results[name] = found | {"machine": training.machine(options.threads)}
        OUT.write_text(json.dumps(results, indent=1) + "\n")
        print(name, json.dumps(found, indent=1), flush=True)


if __name__ == "__main__":
    main()
