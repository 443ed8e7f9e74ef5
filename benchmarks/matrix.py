"""Homes that benchmarks/serving.py serves: trained verticals, and a hundred more on one backbone that nobody trained.

    python benchmarks/matrix.py        makes all of them in benchmarks/.work/serving, where they are not there yet

Verticals of random weights take as long to answer as trained ones. `share` puts them on their backbone and proves that each answers
there as it does alone; 8 bits are not measured on them, since they have no data, and `why` says so of each. The scales of 8 bits are
learnt from the texts of Banking77.
"""

from __future__ import annotations

import argparse
import csv
import functools
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
WORK = HERE / ".work" / "serving"
DATA = HERE.parent / "examples" / "bank_support"
TEXT = {"name": "text", "base": "minilm"}
TOP = {"name": "lora", "rank": 8, "layers": 2}
ALL = {"name": "lora", "rank": 8}
WHY = "made for a benchmark and without data of its own: 8 bits were not measured"
LABELS = (3, 150)
"""The smallest head and the largest."""
SIZE = 0.02
"""Standard deviation of random factors: their product is about a tenth of the base's own weights."""
TRAINED: dict[str, dict[str, Any]] = {
    "bank-head": {"method": "head", "training": {"refit": "never"}},
    "bank-lora": {"method": TOP, "training": {"epochs": 1}},
    "bank-native": {"method": "full", "training": {"epochs": 1}, "encoder": {**TEXT, "pooling": "native"}},
}
"""Trained on examples/bank_support; the last has the head of its family, as transformers.pipeline wants it."""
MIXED: dict[str, tuple[str, dict[str, Any]]] = {
    "intent-lora": ("banking77-lora", TOP),
    "intent-head": ("banking77-lora", {"name": "head"}),
    "question-bitfit": ("trec6-full", {"name": "bitfit"}),
    "question-adapter": ("trec6-full", {"name": "adapter"}),
    "question-top": ("trec6-full", {"name": "top_layers", "n": 1}),
    "mood-prefix": ("phrasebank-full", {"name": "prefix"}),
    "mood-ia3": ("phrasebank-full", {"name": "ia3"}),
    "mood-prompt": ("phrasebank-full", {"name": "prompt"}),
    "follows-dora": ("sick-entailment", {"name": "dora"}),
    "follows-lora": ("sick-entailment", ALL),
}
"""Trained on rows of benchmarks/accuracy.yaml, each by another method: every kind of edit, one text and two."""
UNTRAINED: dict[str, dict[str, tuple[Any, int]]] = {
    "top": {"v": (TOP, 300), "h": ("head", 20)},
    "all": {"v": (ALL, 100)},
}
"""Homes of untrained verticals: what names begin with, the method, how many."""


def config(name: str, **changes: Any) -> Any:
    """A config on the files of examples/bank_support."""
    from vertune.core.config import Config
    from vertune.core.parse import build

    data = {"source": str(DATA / "train.csv"), "test": str(DATA / "test.csv"), "fields": {"text": "text", "label": "category"}}
    return build(Config, {"name": name, "data": data, "compress": {"tolerance": 0.02}, "encoder": TEXT, **changes})


# ── trained ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def trained(place: str = "trained", chosen: Sequence[str] = tuple(TRAINED)) -> Any:
    """A home with trained verticals and one that gives the base's own vectors, all ready to be served."""
    home = taught(place, chosen, lambda name: config(name, **TRAINED[name]))
    if "plain@live" not in home.aliases():
        seat(home, [plain(home)])
    return home


def mixture() -> Any:
    """A home with a trained vertical of every kind of edit, ready to be served; validation stays unseen, so that 8 bits can be judged."""
    import accuracy

    from vertune.core.kinds import Method
    from vertune.core.parse import build

    def settled(name: str) -> Any:
        row, method = MIXED[name]
        made = accuracy.config(row, accuracy.rows()[row], 0, argparse.Namespace(limit=None, set=["training.refit=never"]))
        return made.model_copy(update={"name": name, "method": build(Method, method)})

    return taught("mixture", list(MIXED), settled)


def taught(place: str, chosen: Sequence[str], settled: Callable[[str], Any]) -> Any:
    """A home with verticals of these configs, trained where they are not there yet, and ready to be served."""
    from vertune.core.artifact import Home
    from vertune.steps.fit import prepared
    from vertune.steps.share import make_servable
    from vertune.steps.train import train

    home = Home(WORK / place)
    there = home.aliases()
    for name in chosen:
        if f"{name}@live" not in there:
            print(f"  training {name}", flush=True)
            made = settled(name)
            home.alias(f"{name}@live", train(made, prepared(made, home), home).id)
    troubles = make_servable([home.get("models", f"{name}@live") for name in chosen], home)
    if troubles:
        sys.exit(f"Not all verticals of {home.folder} can be served: {troubles}")
    return home


def plain(home: Any) -> Any:
    """A model that gives the base's own vectors."""
    return write(home, config("plain", task="embed", method="head"), [], ("text",))


# ── untrained ────────────────────────────────────────────────────────────────────────────────────────────────────────


def untrained(name: str) -> Any:
    """A home of untrained verticals on one backbone, `seed` first, which has the dataset that the scales of 8 bits come from."""
    from vertune.core.artifact import Home
    from vertune.steps.fit import prepared

    home, done = Home(WORK / name), WORK / name / "done"
    if done.exists():
        return home
    print(f"  making the verticals of {name}", flush=True)
    shutil.rmtree(home.folder, ignore_errors=True)
    method = UNTRAINED[name]["v"][0]
    dataset = prepared(config("seed"), home)
    labels = sorted(dataset_labels(dataset))
    seat(home, [drawn(home, config("seed", method=method, task={"name": "classify", "labels": labels}), 0, (dataset.id,))])
    for prefix, (kind, number) in UNTRAINED[name].items():
        seat(home, [drawn(home, config(f"{prefix}{place:03d}", method=kind, task=task(place)), place + 1) for place in range(number)])
    done.touch()
    return home


def dataset_labels(dataset: Any) -> set[str]:
    """Of its training rows."""
    from vertune.data.dataset import read

    return set(read(dataset, "train")["label"])


def task(place: int) -> dict[str, Any]:
    """Classification whose labels are between the least and the most, spread evenly whatever number of verticals is taken."""
    least, most = LABELS
    number = least + ((most - least) // 2 + 67 * place) % (most - least + 1)
    return {"name": "classify", "labels": [f"label_{label:03d}" for label in range(number)]}


def drawn(home: Any, settled: Any, seed: int, parents: Sequence[str] = ()) -> Any:
    """A model of this config whose trainable weights are random."""
    import torch

    from vertune.core.edits import Edit

    make, edits = torch.Generator().manual_seed(seed), []
    for edit in edited(settled.method.model_dump_json()):
        size = (settled.task.size,) if edit.kind == "head" else ()
        shapes = {name: (*size, *tensor.shape[len(size) :]) for name, tensor in edit.tensors.items()}
        tensors = {name: SIZE * torch.randn(shape, generator=make) for name, shape in shapes.items()}
        edits.append(Edit(edit.kind, edit.site, edit.depth, tensors, edit.options))
    return write(home, settled, edits, ("text",), parents)


@functools.cache
def edited(method: str) -> list[Any]:
    """What a method changes, fresh, under a head of two labels."""
    from vertune.core.kinds import Encoder, Method, Task
    from vertune.nn.build import build

    task = Task.model_validate({"name": "classify", "labels": ["0", "1"]})
    model, chosen = build(Encoder.model_validate(TEXT), task), Method.model_validate_json(method)
    chosen.prepare(model, task, 1)
    return list(chosen.edits(model))


# ── both ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def write(home: Any, settled: Any, edits: Sequence[Any], columns: Sequence[str], parents: Sequence[str] = ()) -> Any:
    """A model artifact of these edits, as training leaves it."""
    from vertune.core.config import dump
    from vertune.nn import delta

    run = home.begin("models", settled.name, step="train", parents=list(parents))
    delta.save(run.folder, edits)
    entries = {"config": dump(settled), "fingerprint": fingerprint(), "columns": list(columns), "seed": 0}
    return home.finish(run, **entries)


@functools.cache
def fingerprint() -> dict[str, str]:
    """Of the base."""
    found: dict[str, str] = config("any").encoder.fingerprint()
    return found


def seat(home: Any, models: Sequence[Any]) -> None:
    """Put models on a backbone of a home, each proved against itself alone, and have them served in 8 bits; they are live then."""
    from vertune.runtime import shared_store
    from vertune.steps.share import share

    if refused := share(models, home):
        sys.exit(f"Not all models of {home.folder.name} could be put on a backbone: {refused}")
    shelf = home.shelf("backbones")
    for model in models:
        backbone = next(one for one in reversed(shelf) if shared_store.read_verdict(one, model.id) is not None)
        folder = backbone.folder / shared_store.VERTICALS / model.id
        shared_store.write_verdict(folder, shared_store.PrecisionVerdict("int8", WHY), model)
        home.alias(f"{model.manifest['name']}@live", model.id)


def live(home: Any, names: Sequence[str]) -> None:
    """Serve these verticals of a home and no others."""
    there = {alias.partition("@")[0] for alias in home.aliases()}
    for name in there - set(names):
        home.unalias(f"{name}@live")
    ids = {model.manifest_or_empty.get("name"): model.id for model in home.shelf("models")} if set(names) - there else {}
    for name in set(names) - there:
        home.alias(f"{name}@live", ids[name])


def exported(home: Any) -> Path:
    """The model with the head of its family, as transformers loads it."""
    from vertune.steps.export import export

    model, folder = home.get("models", "bank-native@live"), WORK / "pipeline"
    if not (folder / model.id).exists():
        shutil.rmtree(folder, ignore_errors=True)
        export(model, "transformers", folder / model.id)
    return folder / model.id


def truth(count: int) -> list[str]:
    """The labels of the first test texts."""
    with (DATA / "test.csv").open(encoding="utf-8", newline="") as file:
        return [row["category"] for row in csv.DictReader(file)][:count]


def vectors(texts: Sequence[str]) -> Any:
    """The base's vectors of texts in float32, by transformers."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    from vertune.core.base import resolve

    base = str(resolve("minilm"))
    tokens = AutoTokenizer.from_pretrained(base)(list(texts), padding=True, return_tensors="pt")
    with torch.inference_mode():
        states = AutoModel.from_pretrained(base, dtype=torch.float32).eval()(**tokens).last_hidden_state
    mask = tokens["attention_mask"][..., None]
    return ((states * mask).sum(1) / mask.sum(1)).numpy()


def all_of_them() -> list[Any]:
    """Every home, made where it is not there yet."""
    return [trained(), mixture(), *map(untrained, UNTRAINED)]


def main() -> None:
    """Make what is not there yet."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    for home in all_of_them():
        print(f"{home.folder.name}: {len(home.shelf('models'))} models, {len(home.aliases())} live")


if __name__ == "__main__":
    main()
