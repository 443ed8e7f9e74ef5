"""Takes a vertical made of the plugin's parts alone through its life, and prints what came out as JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

from tests.conftest import MEASURED
from tests.server.running import Running

import vertune.evaluation.gate
from vertune.core import part
from vertune.core.artifact import Home
from vertune.core.config import load
from vertune.core.files import read_json
from vertune.steps.compress import compress
from vertune.steps.evaluate import evaluate
from vertune.steps.export import export
from vertune.steps.predict import predict
from vertune.steps.prepare import prepare
from vertune.steps.share import make_servable
from vertune.steps.train import train
from vertune.testing import tiny
from vertune.testing.splits import CHECKS as SPLIT_CHECKS
from vertune.testing.splits import rows
from vertune.testing.tasks import CHECKS as TASK_CHECKS

WORDS = ("awful", "poor", "good", "superb")
THINGS = ("soup", "rice", "cake", "bread", "cheese", "apple")


def main(folder: Path) -> None:
    warnings.simplefilter("error", ResourceWarning)
    vertune.evaluation.gate.benchmark = lambda *given: MEASURED
    for check in TASK_CHECKS:
        check(part.find("tasks", "rate"))
    for check in SPLIT_CHECKS:
        check(part.find("splits", "hashed")(), rows())
    home = Home(folder / "home")
    dataset, model = vertical(folder, home)
    report = evaluate(model, home)
    given = evaluate(model, home, frame=part.find("sources", "piped")(path=str(folder / "train.piped")).read())
    smaller = compress(model, home, ["compress.chain=[halves]"])
    export(model, "words", folder / "words")
    export(model, "onnx", folder / "onnx")
    records = [{"review": f"the {thing} was {word}"} for word in WORDS for thing in THINGS[:2]]
    alone = predict(model, records)
    home.alias("stars@live", model.id)
    troubles = make_servable([model], home)
    with Running(home, exact=True) as server:
        answers = server.ask.post("/v1/verticals/stars/predict", json={"records": records}).json()
        listed = server.ask.get("/v1/verticals/stars").json()
        counted = server.ask.get("/metrics").text
    sys.stdout.write(
        json.dumps(
            {
                "greeting": command("greet", "Li").strip(),
                "help": command("--help"),
                "report": read_json(dataset.folder / "report.json"),
                "measured": read_json(report.folder / "metrics.json"),
                "given": read_json(given.folder / "metrics.json"),
                "labels": (folder / "words" / "labels.txt").read_text().split(),
                "smaller": predict(smaller, records),
                "alone": alone,
                "bundle": bundled(folder / "onnx", records),
                "troubles": troubles,
                "served": answers["answers"],
                "listed": listed,
                "counted": [line for line in counted.splitlines() if line.startswith("vertune_answers_total")],
            }
        )
    )


def command(*words: str) -> str:
    """What `vertune` prints."""
    return subprocess.run([sys.executable, "-m", "vertune", *words], capture_output=True, text=True, check=True).stdout


def vertical(folder: Path, home: Home):
    base = tiny.write("bert", folder / "base", [*WORDS, *THINGS, "the", "was"])
    lines = [f"{1 + row % 4}|the {THINGS[row % 6]} was {WORDS[row % 4]} {row}{'!!' if row % 50 == 0 else ''}" for row in range(300)]
    lines += ["4|the soup was awful 0!", "3|", "|the soup was poor", "2|12345"]
    (folder / "train.piped").write_text("\n".join(lines), encoding="utf-8")
    (folder / "run.yaml").write_text(
        "name: stars\ntask: rate\nmethod: only_head\ncompress: {tolerance: 1}\ntraining: {epochs: 2, refit: never}\n"
        f"base: {base}\ndata: {{source: train.piped, clean: [no_numbers], split: hashed, augment: [shouted]}}\n",
        encoding="utf-8",
    )
    config = load(folder / "run.yaml")
    dataset = prepare(config, home)
    return dataset, train(config, dataset, home)


def bundled(folder: Path, records: list[dict[str, str]]) -> list[dict]:
    lines = "".join(json.dumps(record) + "\n" for record in records)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "predict.py"], input=lines, cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
