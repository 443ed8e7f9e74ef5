"""Banking77 with messages that belong to no intent: how much is answered at a stated rate of false answers.

A product is trained on the rows of a pack that is written here: 50 intents of Banking77 with the data set's training rows, and its
validation rows, inside and outside, for the thresholds. Test rows are seen by `Product.reply` alone. Outside are 27 other intents of
Banking77 ("in-domain") and messages about anything else ("out-of-domain", CLINC150). Thresholds promise a rate
for messages as they come, so the test mixture has the validation rows' shares of in-domain and out-of-domain messages, drawn once.
"""

from __future__ import annotations

import csv
import json
import random
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.apps.customer_service.understanding import Learnt
from vertune.core.app import Request
from vertune.core.artifact import Home
from vertune.core.pack import open_pack
from vertune.core.records import Answer
from vertune.dialogue.outside import signals
from vertune.metrics.drift import share_interval
from vertune.products import baselines
from vertune.products.asking import LoadedModels
from vertune.products.product import Product
from vertune.products.training import known_messages, train

TARGETS = (0.01, 0.02, 0.05)
NAME = "oos"
FEW = 10
Row = tuple[str, str | None]


@dataclass(frozen=True)
class Data:
    """The rows of one measurement: training rows of intents, and inside, in-domain and out-of-domain rows of validation and test."""

    train: list[Row]
    valid: dict[str, list[Row]]
    test: dict[str, list[Row]]


def read(folder: Path, few: bool, few_valid: bool = False) -> Data:
    """Read the data set; `few` draws ten training rows of each intent, `few_valid` as many validation rows, and outside in proportion."""
    rows = {file.stem: _rows(file) for file in folder.glob("*.csv")}
    valid = {"inside": rows["valid"], "in-domain": rows["id-oos_valid"], "out-of-domain": rows["ood-oos_valid"]}
    test = {"inside": rows["test"], "in-domain": rows["id-oos_test"], "out-of-domain": rows["ood-oos_test"]}
    if few_valid:
        inside = _draw(valid["inside"])
        share = len(inside) / len(valid["inside"])
        valid = {name: inside if name == "inside" else _some(part, round(share * len(part))) for name, part in valid.items()}
    return Data(_draw(rows["train"]) if few else rows["train"], valid, test)


def _rows(file: Path) -> list[Row]:
    with file.open(encoding="utf-8", newline="") as opened:
        return [(row["text"].strip(), None if row["intent"] == "oos" else row["intent"]) for row in csv.DictReader(opened)]


def _draw(rows: Sequence[Row]) -> list[Row]:
    """Return ten rows of each intent, drawn as in accuracy.py."""
    labels = np.array([label for _, label in rows])
    generator, kept = np.random.RandomState(0), []
    for label in sorted(set(labels)):
        kept += generator.choice(np.flatnonzero(labels == label), FEW, replace=False).tolist()
    return [rows[place] for place in sorted(kept)]


def _some(rows: Sequence[Row], count: int) -> list[Row]:
    return random.Random(0).sample(list(rows), count)


def mixed(data: Data) -> list[tuple[str, Row]]:
    """Return test rows with their kind, in the proportions of the validation rows."""
    scale = len(data.test["inside"]) / len(data.valid["inside"])
    counts = {name: min(len(rows), round(scale * len(data.valid[name]))) for name, rows in data.test.items()}
    return [(name, row) for name, rows in data.test.items() for row in _some(rows, counts[name])]


def write_pack(folder: Path, data: Data, error: float, limit: int) -> Path:
    """Write the pack of a measurement."""
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("intents", "search"):
        (folder / name).mkdir(parents=True)
    texts: dict[str, list[str]] = defaultdict(list)
    for text, label in data.train:
        texts[str(label)].append(text)
    answers = [
        {"intent": label, "title": {"en": label.replace("_", " ")}, "answers": [{"text": {"en": f"This is about {label}."}}]}
        for label in texts
    ]
    pack = {
        "app": "customer_service", "title": {"en": "Banking77 with messages outside"}, "languages": ["en"], "error": error,
        "slots": {"intents": "intents/run.yaml", "search": "search/run.yaml"}, "calibration": "calibration.csv",
    }  # fmt: skip
    fields = {"intents": {"text": "text", "label": "intent"}, "search": {"text": "text", "text_pair": "text_pair"}}
    for slot, task in (("intents", "classify"), ("search", "embed")):
        run = {
            "name": slot, "base": "minilm", "task": task, "data": {"source": "rows.csv", "fields": fields[slot]},
            "training": {"time_limit": limit if slot == "intents" else limit / 2}, "device": {"threads": 1},
        }  # fmt: skip
        (folder / slot / "run.yaml").write_text(json.dumps(run), encoding="utf-8")
    _write(folder / "intents" / "rows.csv", ("text", "intent"), data.train)
    _write(folder / "search" / "rows.csv", ("text", "text_pair"), _pairs(texts))
    _write(folder / "calibration.csv", ("text", "intent"), [(text, label or "") for rows in data.valid.values() for text, label in rows])
    (folder / "answers.yaml").write_text(json.dumps(answers), encoding="utf-8")
    (folder / "pack.yaml").write_text(json.dumps(pack), encoding="utf-8")
    return folder


def _pairs(texts: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """Return pairs of texts of one intent, at most 40 an intent, in a random order."""
    found = []
    for alike in texts.values():
        half = min(40, len(alike) // 2)
        found += list(zip(alike[:half], alike[half : 2 * half], strict=True))
    random.Random(0).shuffle(found)
    return found


def _write(file: Path, head: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)


class Remembered:
    """Models that compute nothing twice: the same texts are asked with each stated rate."""

    def __init__(self, models: LoadedModels) -> None:
        self.models = models
        self.known: dict[tuple[str, str], Answer] = {}

    def ask_together(
        self, questions: Mapping[str, Sequence[Mapping[str, Any] | str]], deadline: float = 30.0, client: str = ""
    ) -> dict[str, list[Answer]]:
        new = {
            name: [one for one in records if (name, one["text"]) not in self.known]  # type: ignore[index]
            for name, records in questions.items()
        }
        found = self.models.ask_together({name: records for name, records in new.items() if records})
        for name, answers in found.items():
            self.known |= {(name, record["text"]): answer for record, answer in zip(new[name], answers, strict=True)}  # type: ignore[index]
        return {name: [self.known[name, one["text"]] for one in records] for name, records in questions.items()}  # type: ignore[index]


def measure(folder: Path, work: Path, few: bool, limit: int, few_valid: bool = False) -> dict[str, Any]:
    """Train the product and reply to all test rows at each stated rate."""
    data = read(folder, few, few_valid)
    home = Home(work / "home")
    found: dict[str, Any] = {
        "train": len(data.train), "valid": {name: len(rows) for name, rows in data.valid.items()}, "targets": {}, "time_limit": limit,
    }  # fmt: skip
    models: Remembered | None = None
    for target in TARGETS:
        trained = train(open_pack(write_pack(work / "pack", data, target, limit)), NAME, home)
        if models is None:
            verticals = {f"{NAME}-{slot}": id for slot, id in trained.models.items()}
            models = Remembered(LoadedModels.open(home, verticals))
            everything = [{"text": text} for rows in data.test.values() for text, _ in rows]
            for start in range(0, len(everything), 256):
                models.ask_together(dict.fromkeys(verticals, everything[start : start + 256]))
        product = Product.open(home, trained.product.id, models)
        found["targets"][str(target)] = at_rate(product, data, home, target)
    if models is not None:
        found |= recognised(product, data, models)
    return found


def at_rate(product: Product, data: Data, home: Home, target: float) -> dict[str, Any]:
    """Return containment and false answers of the product and of the nearest known message, for the mixture and for all test rows."""
    everything = [(name, row) for name, rows in data.test.items() for row in rows]
    given = {row: _answered(product, row[0]) for _, row in everything}
    known, calibration = known_messages(product.artifact, home)
    nearest = baselines.Nearest.fit(product.pack, known, calibration).answer([row[0] for _, row in everything])
    simple = {row: one.answer for (_, row), one in zip(everything, nearest, strict=True)}
    result: dict[str, Any] = {"thresholds": product.content.learnt["thresholds"]}
    for name, rows in (("mixture", mixed(data)), ("all", everything)):
        result[name] = _shares(rows, given, target) | {"baseline": _shares(rows, simple, target)}
    return result


def _answered(product: Product, text: str) -> str | None:
    reply, _ = product.reply(Request(text, "en"))
    return reply.intent if reply.action == "answer" and reply.intent else None


def _shares(rows: Sequence[tuple[str, Row]], given: Mapping[Row, str | None], target: float) -> dict[str, Any]:
    """Return the share of inside messages that are answered rightly at once, and that of false answers among all that are given."""
    inside = [row for kind, row in rows if kind == "inside"]
    right = sum(given[row] == row[1] for row in inside)
    answers = [(row, given[row]) for _, row in rows if given[row] is not None]
    false = sum(answer != row[1] for row, answer in answers)
    low, high = share_interval(false, len(answers))
    contained = share_interval(right, len(inside))
    return {
        "rows": len(rows), "inside": len(inside), "answers": len(answers), "false": false,
        "false_rate": false / len(answers) if answers else None, "false_low": low, "false_high": high, "holds": low <= target,
        "containment": right / len(inside), "containment_low": contained[0], "containment_high": contained[1],
    }  # fmt: skip


def recognised(product: Product, data: Data, models: Remembered) -> dict[str, Any]:
    """Return the areas under the ROC curve that tell messages outside from those inside: of the score, and of the highest probability."""
    learnt = Learnt(product.content.learnt)
    scores, sure = {}, {}
    for kind, rows in data.test.items():
        probabilities, vectors = _beliefs(models, [text for text, _ in rows], product.content.learnt["labels"])
        sure[kind] = 1 - probabilities.max(1)
        if learnt.outside is not None:
            scores[kind] = learnt.outside.score(signals(probabilities, vectors=vectors, reference=learnt.reference))
    inside = [label for _, label in data.test["inside"]]
    probabilities, _ = _beliefs(models, [text for text, _ in data.test["inside"]], product.content.learnt["labels"])
    labels = np.array(product.content.learnt["labels"])[probabilities.argmax(1)]
    return {
        "accuracy": float(np.mean([one == other for one, other in zip(labels, inside, strict=True)])),
        "auroc": {kind: _auroc(scores["inside"], scores[kind]) for kind in ("in-domain", "out-of-domain")} if scores else None,
        "auroc_of_probability": {kind: _auroc(sure["inside"], sure[kind]) for kind in ("in-domain", "out-of-domain")},
    }


def _beliefs(models: Remembered, texts: Sequence[str], labels: Sequence[str]) -> tuple[NDArray[Any], NDArray[Any]]:
    answers = models.ask_together({f"{NAME}-{slot}": [{"text": text} for text in texts] for slot in ("intents", "search")})
    probabilities = np.array([[one["probabilities"][label] for label in labels] for one in answers[f"{NAME}-intents"]])
    return probabilities, np.array([one["vector"] for one in answers[f"{NAME}-search"]], np.float32)


def _auroc(inside: NDArray[Any], outside: NDArray[Any]) -> float:
    from sklearn.metrics import roc_auc_score

    truth = np.concatenate([np.zeros(len(inside)), np.ones(len(outside))])
    return float(roc_auc_score(truth, np.concatenate([inside, outside])))
