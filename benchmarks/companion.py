"""What the companion of a model costs: the time to fit it, to answer with it, and the memory that it takes.

    python benchmarks/companion.py [--full] [--serving]

Trains a linear probe on Banking77 (10,003 rows) with the companion and without it, in turns, each three times; the difference is the time
that the companion takes, which is compared with full fine-tuning of the same rows (`--full`, a quarter of an hour, once). Then one server
answers for both models: 32 clients and one client take turns between them, and memory is that of a server with twenty verticals of the one
and of the other. Results go to benchmarks/results/companion.json; the exit status is 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from typing import Any

import load
import matrix
import numpy as np
import servers
from processor import code, measured_here

from vertune.core.artifact import Artifact, Home
from vertune.core.config import Config
from vertune.core.files import read_json, write_json
from vertune.core.parse import build
from vertune.data.dataset import records_of
from vertune.lexical.companion import FILE, WordModel
from vertune.runtime.predictor import Predictor
from vertune.steps.prepare import prepare
from vertune.steps.share import make_servable
from vertune.steps.train import train

OUT = matrix.HERE / "results" / "companion.json"
ROUNDS = 3
VERTICALS = 20
CHOICES = {"with": "auto", "without": "none"}
CLIENTS = 32


def trained(home: Home, companion: str, method: str) -> tuple[Artifact, float]:
    """A model of Banking77, and the processor seconds of its training."""
    from accuracy import data_folder

    paths = {"source": str(data_folder() / "banking77" / "train.csv"), "test": str(data_folder() / "banking77" / "test.csv")}
    data = {**paths, "fields": {"text": "text", "label": "category"}}
    name = f"bank-{method}-{companion}"
    config = build(Config, {"name": name, "base": "minilm", "method": method, "companion": companion, "data": data})
    dataset = prepare(config, home)
    started = time.process_time()
    return train(config, dataset, home), time.process_time() - started


def fitting(home: Home, full: bool) -> tuple[dict[str, Any], dict[str, Artifact]]:
    """The seconds that the companion takes of a training, and the last models."""
    models: dict[str, Artifact] = {}
    seconds: dict[str, list[float]] = {side: [] for side in CHOICES}
    for _ in range(ROUNDS):
        for side, companion in CHOICES.items():
            models[side], spent = trained(home, companion, "head")
            seconds[side].append(spent)
    more = [one - other for one, other in zip(seconds["with"], seconds["without"], strict=True)]
    known = read_json(OUT) if OUT.exists() else {}
    whole = trained(home, "auto", "full")[1] if full or "full_seconds" not in known else known["full_seconds"]
    bars = {
        "seconds to fit it": servers.bar(more, 10),
        "share of full fine-tuning": servers.bar([one / whole for one in more], 0.05),
    }
    return {"probe_seconds": seconds, "full_seconds": whole, "bars": bars}, models


def lone(model: Artifact) -> dict[str, Any]:
    """Milliseconds of a short text, and the size of the file."""
    predictor = Predictor.open(model)
    assert predictor.companion is not None
    assert isinstance(predictor.companion.scorer, WordModel)
    records = records_of(Home(model.folder.parents[1]).get("datasets", model.manifest["parents"][0]), "test", predictor.task)
    words, times = predictor.companion.scorer, []
    for record in records[:2000]:
        started = time.perf_counter()
        words.scores([record])
        times.append(1000 * (time.perf_counter() - started))
    return {
        "bars": {
            "milliseconds a text": servers.bar([float(np.median(times))], 0.1),
            "megabytes of the file": servers.bar([(model.folder / FILE).stat().st_size / 1e6], 5),
        }
    }


def serving(home: Home, models: dict[str, Artifact], pace: servers.Pace) -> dict[str, Any]:
    """The rates of 32 clients, and memory a vertical."""
    troubles = make_servable(list(models.values()), home)
    if troubles:
        sys.exit(f"The models can't be served: {troubles}")
    sizes = {}
    for side, model in models.items():
        names = [f"{side}-{number}" for number in range(VERTICALS)]
        for name in names:
            home.alias(f"{name}@live", model.id)
        with servers.serving(home, names, "traffic.keep=false") as server:
            for name in names:
                server.of(name).load(1, 0.1)
            sizes[side] = load.resident(server.process.pid)
    names = [f"{side}-0" for side in models]
    with servers.serving(home, names, "traffic.keep=false") as server:
        sides = {side: server.of(f"{side}-0") for side in models}
        many, one = servers.turns(sides, CLIENTS, pace), servers.turns(sides, 1, pace)
    rates = [servers.rate(here) / servers.rate(there) for here, there in zip(many["with"], many["without"], strict=True)]
    more = [1000 * (servers.p50(here) - servers.p50(there)) for here, there in zip(one["with"], one["without"], strict=True)]
    grown = (sizes["with"] - sizes["without"]) / VERTICALS / 1e6
    bars = {
        "requests a second of 32 clients": servers.bar(rates, 0.95, least=True),
        "milliseconds more for one client": servers.bar(more, 0.1),
        "megabytes more a vertical in the server": servers.bar([grown], 5),
    }
    return {"bars": bars, "many": {side: servers.brief(many[side]) for side in sides}, "resident": sizes}


def _add(result: dict[str, Any], part: dict[str, Any]) -> None:
    """Add a part to the result, and write what there is."""
    result["bars"] |= part.pop("bars")
    result |= part
    write_json(OUT, result | measured_here() | code())


def main() -> None:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="time full fine-tuning again")
    parser.add_argument("--serving", action="store_true", help="measure only the answers, with the models of the last time")
    options = parser.parse_args()
    home = Home(matrix.HERE / ".work" / "companion")
    result: dict[str, Any] = read_json(OUT) if OUT.exists() and options.serving else {"bars": {}}
    if options.serving:
        models = {side: home.get("models", f"bank-head-{companion}") for side, companion in CHOICES.items()}
    else:
        found, models = fitting(home, options.full)
        _add(result, found)
    _add(result, lone(models["with"]))
    _add(result, serving(home, models, servers.Pace()))
    print(json.dumps(result["bars"], indent=1))
    print(f"fitting: {statistics.median(result['probe_seconds']['with']):.1f} s with, "
          f"{statistics.median(result['probe_seconds']['without']):.1f} s without")  # fmt: skip
    sys.exit(not all(one["met"] for one in result["bars"].values()))


if __name__ == "__main__":
    main()
