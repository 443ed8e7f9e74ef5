"""Banking77 with messages that belong to no intent: how much is answered at a stated rate of false answers.

Models and thresholds are those of a pack that is written here: 50 intents of Banking77 with the data set's training rows, and its
validation rows, inside and outside, for the thresholds. Test rows are seen by the app alone, which replies to them one by one. Outside are
27 other intents of Banking77 ("in-domain"), of which validation rows show what they look like, and messages about anything else
("out-of-domain", CLINC150). Thresholds promise a rate for messages as they come, so the test mixture has the validation rows' shares of
in-domain and out-of-domain messages, drawn once.
"""

from __future__ import annotations

import csv
import json
import random
import re
import shutil
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vertune.apps.customer_service.understanding import Learnt
from vertune.core.app import App, Labelled, Request
from vertune.core.artifact import Home
from vertune.core.pack import open_pack
from vertune.core.records import Answer
from vertune.dialogue.outside import signals
from vertune.metrics.drift import share_interval
from vertune.products import baselines
from vertune.products.asking import Asking, LoadedModels
from vertune.products.product import app_class
from vertune.products.training import read_messages, slot_config
from vertune.steps.fit import prepared
from vertune.steps.train import train

TARGETS = (0.01, 0.02, 0.05)
NAME = "oos"
VERTICALS = {slot: f"{NAME}-{slot}" for slot in ("intents", "search")}
FEW = 10
Row = tuple[str, str | None]


@dataclass(frozen=True)
class Data:
    """The rows of one measurement: training rows of intents, and inside, in-domain and out-of-domain rows of validation and test."""

    train: list[Row]
    valid: dict[str, list[Row]]
    test: dict[str, list[Row]]
    """With the labels of the data set."""
    corrected: dict[str, list[Row]]
    """The same test rows with the labels that Banking77 itself gives to their texts."""
    changed: dict[str, int]
    """By file: how many labels are others in Banking77."""


def read(folder: Path, few: bool, few_valid: bool = False) -> Data:
    """Read the data set; `few` draws ten training rows of each intent, `few_valid` as many validation rows, and outside in proportion.

    Some labels of the data set contradict Banking77, from which its texts are: 366 of 5,905 training rows. Training and validation rows
    get the labels of Banking77; those of intents that are outside here are outside, and teach nothing. Test rows are scored by both.
    """
    rows = {file.stem: _rows(file) for file in folder.glob("*.csv")}
    intents = {label for _, label in rows["train"]}
    known = {_letters(text): label for name in ("train", "test") for text, label in _rows(folder.parent / "banking77" / f"{name}.csv")}
    right = {name: [(text, _right(known.get(_letters(text), label), intents)) for text, label in part] for name, part in rows.items()}
    changed = {name: sum(one != other for one, other in zip(rows[name], right[name], strict=True)) for name in sorted(rows)}
    train = [row for row in right["train"] if row[1] is not None]
    valid = _by_place([*right["valid"], *right["id-oos_valid"]]) | {"out-of-domain": right["ood-oos_valid"]}
    test = {"inside": rows["test"], "in-domain": rows["id-oos_test"], "out-of-domain": rows["ood-oos_test"]}
    corrected = _by_place([*right["test"], *right["id-oos_test"]]) | {"out-of-domain": right["ood-oos_test"]}
    if few_valid:
        inside = _draw(valid["inside"])
        share = len(inside) / len(valid["inside"])
        valid = {name: inside if name == "inside" else _some(part, round(share * len(part))) for name, part in valid.items()}
    return Data(_draw(train) if few else train, valid, test, corrected, changed)


def _letters(text: str) -> str:
    return re.sub(r"\W", "", text.lower())


def _right(label: str | None, intents: Collection[str | None]) -> str | None:
    return label if label in intents else None


def _by_place(rows: Sequence[Row]) -> dict[str, list[Row]]:
    return {"inside": [row for row in rows if row[1] is not None], "in-domain": [row for row in rows if row[1] is None]}


def _rows(file: Path) -> list[Row]:
    with file.open(encoding="utf-8", newline="") as opened:
        rows = [(row["text"].strip(), row["intent"] if "intent" in row else row["category"]) for row in csv.DictReader(opened)]
    return [(text, None if label == "oos" else label) for text, label in rows if text]  # some rows have no text


def _draw(rows: Sequence[Row]) -> list[Row]:
    """Return ten rows of each intent, drawn as in accuracy.py."""
    labels = np.array([label for _, label in rows])
    generator, kept = np.random.RandomState(0), []
    for label in sorted(set(labels)):
        kept += generator.choice(np.flatnonzero(labels == label), FEW, replace=False).tolist()
    return [rows[place] for place in sorted(kept)]


def _some(rows: Sequence[Row], count: int) -> list[Row]:
    return random.Random(0).sample(list(rows), count)


def mixed(test: Mapping[str, Sequence[Row]], valid: Mapping[str, Sequence[Row]]) -> list[tuple[str, Row]]:
    """Return test rows with their kind, in the proportions of the validation rows."""
    scale = min(len(rows) / len(valid[name]) for name, rows in test.items())
    counts = {name: min(len(rows), round(scale * len(valid[name]))) for name, rows in test.items()}
    return [(name, row) for name, rows in test.items() for row in _some(rows, counts[name])]


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
    """Train the models, let the app learn for each stated rate, and reply to all test rows."""
    data = read(folder, few, few_valid)
    home = Home(work / "home")
    found: dict[str, Any] = {
        "changed": data.changed, "train": len(data.train), "valid": {name: len(rows) for name, rows in data.valid.items()},
        "targets": {}, "time_limit": limit,
    }  # fmt: skip
    models = _models(write_pack(work / "pack", data, TARGETS[0], limit), home)
    everything = [{"text": text} for rows in [*data.valid.values(), *data.test.values()] for text, _ in rows]
    for start in range(0, len(everything), 256):
        models.ask_together(dict.fromkeys(VERTICALS.values(), everything[start : start + 256]))
    texts = list(dict.fromkeys(text for rows in data.test.values() for text, _ in rows))
    answered, loosest = texts, 0.0
    for target in reversed(TARGETS):
        pack = open_pack(write_pack(work / "pack", data, target, limit))
        kind, messages = app_class(pack.config.app), read_messages(pack.path("calibration.csv"))
        known = [Labelled(text, label) for text, label in data.train]
        learnt = kind.of_pack(pack).learn(messages, Asking(kind, models, VERTICALS), known)
        # what isn't answered at a lower threshold isn't answered at a higher one, and needn't be asked again
        trust = learnt["thresholds"]["answer"] or 1.0
        asked, loosest = (answered if trust >= loosest else texts), max(loosest, trust)
        wanted, product = set(asked), Replying(kind.of_pack(pack, learnt), models)
        given = {text: product.answered(text) if text in wanted else None for text in texts}
        answered = [text for text in asked if given[text] is not None]
        nearest = baselines.Nearest.fit(pack, known, messages).answer(texts)
        simple = {text: one.answer for text, one in zip(texts, nearest, strict=True)}
        found["targets"][str(target)] = at_rate(given, simple, data, target) | {"thresholds": learnt["thresholds"]}
    found["targets"] = dict(sorted(found["targets"].items()))
    return found | {"recognised": recognised(learnt, data, models)}


def _models(folder: Path, home: Home) -> Remembered:
    """Train the models of both slots, or take those that are trained already."""
    pack, models = open_pack(folder), {}
    kind = app_class(pack.config.app)
    for slot, vertical in VERTICALS.items():
        trained = [one for one in home.shelf("models") if one.manifest["name"] == vertical]
        if not trained:
            config = slot_config(pack, kind, slot, NAME)
            trained = [train(config, prepared(config, home), home)]
        models[vertical] = trained[-1].id
    return Remembered(LoadedModels.open(home, models))


@dataclass(frozen=True)
class Replying:
    """An app with what it has learnt, and the models that it asks, as `Product` holds them."""

    app: App
    models: Remembered

    def answered(self, text: str) -> str | None:
        """Return the intent that is answered at once; None for any other reply."""
        reply = self.app.answer(Request(text, "en"), self.app.state(), Asking(type(self.app), self.models, VERTICALS))
        return reply.intent if reply.action == "answer" else None


def at_rate(given: Mapping[str, str | None], simple: Mapping[str, str | None], data: Data, target: float) -> dict[str, Any]:
    """Return containment and false answers of the product and of the nearest known message, for the mixture and for all test rows."""
    result: dict[str, Any] = {}
    for labels, test in (("corrected", data.corrected), ("raw", data.test)):
        everything = [(name, row) for name, rows in test.items() for row in rows]
        for name, rows in (("mixture", mixed(test, data.valid)), ("all", everything)):
            result[f"{name}, {labels}"] = _shares(rows, given, target) | {"baseline": _shares(rows, simple, target)}
    return result


def _shares(rows: Sequence[tuple[str, Row]], given: Mapping[str, str | None], target: float) -> dict[str, Any]:
    """Return the share of inside messages that are answered rightly at once, and that of false answers among all that are given."""
    inside = [row for kind, row in rows if kind == "inside"]
    right = sum(given[text] == label for text, label in inside)
    answers = [(label, given[text]) for _, (text, label) in rows if given[text] is not None]
    false = sum(answer != label for label, answer in answers)
    low, high = share_interval(false, len(answers))
    contained = share_interval(right, len(inside))
    return {
        "rows": len(rows), "inside": len(inside), "answers": len(answers), "false": false,
        "false_rate": false / len(answers) if answers else None, "false_low": low, "false_high": high, "holds": low <= target,
        "containment": right / len(inside), "containment_low": contained[0], "containment_high": contained[1],
    }  # fmt: skip


def recognised(written: Mapping[str, Any], data: Data, models: Remembered) -> dict[str, Any]:
    """Return the areas under the ROC curve that tell messages outside from those inside: of the score, and of the highest probability."""
    learnt, names = Learnt(written), written["labels"]
    found: dict[str, Any] = {}
    for labels, test in (("corrected", data.corrected), ("raw", data.test)):
        scores, sure = {}, {}
        for kind, rows in test.items():
            probabilities, vectors = _beliefs(models, [text for text, _ in rows], names)
            sure[kind] = 1 - probabilities.max(1)
            if learnt.outside is not None:
                scores[kind] = learnt.outside.score(signals(probabilities, vectors=vectors, reference=learnt.reference))
            if kind == "inside":
                said = np.array(names)[probabilities.argmax(1)]
                accuracy = float(np.mean([one == label for one, (_, label) in zip(said, rows, strict=True)]))
        found[labels] = {
            "accuracy": accuracy,
            "auroc": {kind: _auroc(scores["inside"], scores[kind]) for kind in test if kind != "inside"} if scores else None,
            "auroc_of_probability": {kind: _auroc(sure["inside"], sure[kind]) for kind in test if kind != "inside"},
        }
    return found


def _beliefs(models: Remembered, texts: Sequence[str], labels: Sequence[str]) -> tuple[NDArray[Any], NDArray[Any]]:
    answers = models.ask_together({f"{NAME}-{slot}": [{"text": text} for text in texts] for slot in ("intents", "search")})
    probabilities = np.array([[one["probabilities"][label] for label in labels] for one in answers[f"{NAME}-intents"]])
    return probabilities, np.array([one["vector"] for one in answers[f"{NAME}-search"]], np.float32)


def _auroc(inside: NDArray[Any], outside: NDArray[Any]) -> float:
    from sklearn.metrics import roc_auc_score

    truth = np.concatenate([np.zeros(len(inside)), np.ones(len(outside))])
    return float(roc_auc_score(truth, np.concatenate([inside, outside])))
