"""Pools of real requests with the answers of trained models, from which watching.py draws traffic; measures nothing.

Each data set is divided into rows that a linear probe on MiniLM is trained on, and held rows. The answers, vectors and tokens of held
rows, and of rows that are changed in ways that traffic can change (typos, other topics, another language), are computed once and kept in
benchmarks/.work/watching.
"""

from __future__ import annotations

import csv
import hashlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import accuracy
import numpy as np
from numpy.typing import NDArray

from vertune.core import config as configs
from vertune.core.artifact import Artifact, Home
from vertune.core.files import write_json
from vertune.core.kinds import Task
from vertune.core.monitor import Window
from vertune.steps.fit import prepared
from vertune.steps.monitor.reader import Reader
from vertune.steps.train import train

WORK = accuracy.WORK / "watching"
HALF = "measured"
"""Which half of the held rows is drawn from: figures are `measured` on one, and defaults may be chosen on the other (`tuning`)."""
MOST = 2000
"""Largest number of held rows of a data set; their answers, vectors and tokens are computed once."""
TYPOS = 0.1
"""Share of characters that are changed."""
Rows = list[dict[str, Any]]


def _csv(name: str) -> Rows:
    with (accuracy.data_folder() / name).open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def _jsonl(name: str) -> Rows:
    with (accuracy.data_folder() / name).open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _fields(rows: Rows, **fields: str) -> Rows:
    """Rows with the fields of a task alone."""
    return [
        {name: str(row[source]) for name, source in fields.items()} for row in rows if all(str(row[one]).strip() for one in fields.values())
    ]


def _divided(rows: Rows, held: Sequence[int]) -> tuple[Rows, Rows]:
    """Rows divided by the sha1 of their text, mod 10."""
    digits = [int(hashlib.sha1(row["text"].encode()).hexdigest(), 16) % 10 for row in rows]
    return [row for row, one in zip(rows, digits, strict=True) if one not in held], [
        row for row, one in zip(rows, digits, strict=True) if one in held
    ]


def _banking() -> tuple[Rows, Rows]:
    return tuple(_fields(_csv(f"banking77/{name}.csv"), text="text", label="category") for name in ("train", "test"))  # type: ignore[return-value]


def _trec() -> tuple[Rows, Rows]:
    train, held = _divided(_fields(_csv("trec6/train.csv"), text="text", label="coarse"), (7, 8, 9))
    return train, held + _fields(_csv("trec6/test.csv"), text="text", label="coarse")


def _phrasebank() -> tuple[Rows, Rows]:
    rows = [row for row in _csv("financial_phrasebank/financial_phrasebank.csv") if row["agreement"] == "100"]
    return _divided(_fields(rows, text="sentence", label="label"), (6, 7, 8, 9))


def _pairs(train: Rows, held: Rows, label: str) -> tuple[Rows, Rows]:
    return tuple(_fields(rows, text="text", text_pair="text_pair", label=label) for rows in (train, held))  # type: ignore[return-value]


SETS: dict[str, Callable[[], tuple[Rows, Rows]]] = {
    "banking77": _banking,
    "trec6": _trec,
    "phrasebank": _phrasebank,
    "symptom2disease": lambda: _divided(_fields(_csv("symptom2disease/symptom2disease.csv"), text="text", label="label"), (6, 7, 8, 9)),
    "bank_faq": lambda: _divided(_fields(_csv("bank_faq_en/bank_faqs.csv"), text="Question", label="Class"), (6, 7, 8, 9)),
    "hatecheck": lambda: _divided(_fields(_csv("hatecheck/hatecheck.csv"), text="test_case", label="label_gold"), (6, 7, 8, 9)),
    "medquad": lambda: _divided(_fields(_jsonl("medquad/medquad_fifth.jsonl"), text="question", label="qtype"), (6, 7, 8, 9)),
    "youtube": lambda: (
        _fields(_jsonl("wrench_youtube/train.jsonl"), text="text", label="label"),
        _fields(_jsonl("wrench_youtube/valid.jsonl") + _jsonl("wrench_youtube/test.jsonl"), text="text", label="label"),
    ),
    "sick": lambda: _pairs(_csv("sick2014/train.csv"), _csv("sick2014/test.csv"), "entailment"),
    "mrpc": lambda: _pairs(_csv("mrpc/train.csv"), _csv("mrpc/val.csv") + _csv("mrpc/test.csv"), "label"),
}
"""Ten data sets: rows for training, and held rows."""
TOPICS: dict[str, Callable[[], list[str]]] = {
    "banking77": lambda: [row["text"] for row in _csv("banking77_oos/ood-oos_test.csv")],
    "trec6": lambda: [row["question"] for row in _jsonl("medquad/medquad_fifth.jsonl")],
    "phrasebank": lambda: [row["Answer"].split(". ")[0] for row in _csv("bank_faq_en/bank_faqs.csv")],
}
"""Texts on another topic than those of a data set, which look like requests to it."""
FOREIGN: dict[str, Callable[[], list[str]]] = {
    "banking77": lambda: [row["text"] for row in _jsonl("smp2019_nlu/train.jsonl")],
    "trec6": lambda: [row["text"] for row in _jsonl("smp2019_nlu/test.jsonl")],
    "phrasebank": lambda: [row["title"] for row in _csv("finance_news_sentiment_zh/finance_news.csv")],
}
"""Texts in another language."""


@dataclass(frozen=True)
class Pool:
    """Rows with all that a request of each would have."""

    task: Task
    records: Rows
    answers: list[dict[str, Any]]
    confidences: NDArray[np.float64]
    tokens: NDArray[np.int64]
    cut: NDArray[np.int64]
    unknown: NDArray[np.int64]
    right: NDArray[np.float64]
    """NaN for rows of another topic, which have no right answer."""
    vectors: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.records)

    def __add__(self, other: Pool) -> Pool:
        arrays = {name: np.concatenate([getattr(self, name), getattr(other, name)]) for name in ARRAYS}
        return Pool(self.task, self.records + other.records, self.answers + other.answers, **arrays)

    def take(self, rows: NDArray[np.int64]) -> Pool:
        """The rows at these positions."""
        arrays = {name: getattr(self, name)[rows] for name in ARRAYS}
        return Pool(self.task, [self.records[row] for row in rows], [self.answers[row] for row in rows], **arrays)

    def window(self, rows: NDArray[np.int64], **columns: Any) -> Window:
        """A window of the rows at these positions."""
        drawn = self.vectors
        return Window.of(
            self.task, [self.records[row] for row in rows], [self.answers[row] for row in rows],
            confidences=self.confidences[rows], tokens=self.tokens[rows], cut=self.cut[rows], unknown=self.unknown[rows],
            states=lambda wanted: drawn[rows[list(wanted)]], **columns,
        )  # fmt: skip


ARRAYS = ("confidences", "tokens", "cut", "unknown", "right", "vectors")


def model(name: str) -> Artifact:
    """The model of a data set, trained when it is first needed: a linear probe on the base MiniLM."""
    home, (rows, _) = Home(WORK / "home"), SETS[name]()
    present = [one for one in home.shelf("models") if one.manifest["name"] == name]
    if present:
        return present[-1]
    file = WORK / f"{name}.csv"
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    written = {
        "name": name, "base": "minilm", "task": "match" if "text_pair" in rows[0] else "classify", "method": "head",
        "data": {"source": str(file)}, "training": {"refit": "never"}, "device": {"threads": 1},
    }  # fmt: skip
    config = configs.parse(written)
    return train(config, prepared(config, home), home)


def pool(name: str) -> Pool:
    """The held rows of a data set."""
    return _kept(name, "held", lambda: _held(name))


def _held(name: str) -> Rows:
    """The held rows, of more than `MOST` a sample."""
    rows = SETS[name]()[1]
    return rows if len(rows) <= MOST else random.Random(0).sample(rows, MOST)


def changed(name: str, how: str) -> Pool:
    """Rows that are changed: `typos` in the held rows, another `topic`, or another language (`foreign`)."""
    makers: Mapping[str, Callable[[], Rows]] = {
        "typos": lambda: [{**row, "text": with_typos(row["text"], number)} for number, row in enumerate(_held(name))],
        "topic": lambda: [{"text": text} for text in dict.fromkeys(TOPICS[name]())][:800],
        "foreign": lambda: [{"text": text} for text in dict.fromkeys(FOREIGN[name]())][:300],
    }
    return _kept(name, how, makers[how])


def with_typos(text: str, seed: int, share: float = TYPOS) -> str:
    """A text in which a share of the characters is left out, doubled, exchanged with the next one, or another letter."""
    draw, found, place = random.Random(seed), [], 0
    while place < len(text):
        letter, kind = text[place], draw.random() / share
        if kind >= 1 or not letter.isalpha():
            found.append(letter)
        elif kind < 0.25:
            pass
        elif kind < 0.5:
            found.append(letter * 2)
        elif kind < 0.75 and place + 1 < len(text):
            found.append(text[place + 1] + letter)
            place += 1
        else:
            found.append(draw.choice("abcdefghijklmnopqrstuvwxyz"))
        place += 1
    return "".join(found).strip() or text


def _kept(name: str, how: str, rows: Callable[[], Rows]) -> Pool:
    """A pool that is read from its file, or computed and written."""
    trained = model(name)
    file = WORK / f"{name}-{how}"
    reader = Reader(trained)
    if not file.with_suffix(".npz").exists():
        records = rows()
        window = reader.complete(Window.of(reader.task, records, reader.answers(records)))
        targets = [{"label": row["label"]} if "label" in row else None for row in records]
        right = [reader.is_right(row, answer, target) for row, answer, target in zip(records, window.answers, targets, strict=True)]
        assert reader.predictor is not None
        vectors = reader.predictor.vectors([reader._inputs(record) for record in records])
        assert vectors is not None
        counted = {one: getattr(window, one) for one in ("confidences", "tokens", "cut", "unknown")}
        np.savez(file.with_suffix(".npz"), right=np.array(right), vectors=vectors, **counted)
        write_json(file.with_suffix(".json"), {"records": records, "answers": [reader.task.brief(one or {}) for one in window.answers]})
    arrays = dict(np.load(file.with_suffix(".npz")))
    texts = json.loads(file.with_suffix(".json").read_text("utf-8"))
    found = Pool(reader.task, texts["records"], texts["answers"], **{one: arrays[one] for one in ARRAYS})
    odd = np.array([hashlib.sha1(f"half {row}".encode()).digest()[0] % 2 for row in range(len(found))])
    return found.take((odd == (HALF == "measured")).nonzero()[0])
