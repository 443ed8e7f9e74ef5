"""How well search finds entries of FAQs, whatever way people write, and what an index of 100,000 passages costs.

    python benchmarks/searching.py                      everything
    python benchmarks/searching.py --only english       one of: english, crossed, chinese, large

**english**: the 1,764 questions of bank_faq_en, each held out against all answers; the passages are the answers alone. Rows are divided by
the sha1 of the question, mod 10: 0 to 6 train, 7 validation, 8 and 9 test. Vectors are those of an `embed` vertical that is fitted on the
training rows with its defaults, and of the plain base. How the rankings are joined was chosen on rows that are not for test. Compared are
words alone (BM25), vectors alone, and both joined, with paired bootstrap intervals on the test questions.

**crossed**: all questions of bank_faq_en, because 279 test questions can't tell differences of three points from chance. The plain base is
trained on none of them, and the weight of words for a tenth of the questions is chosen on the other nine.

**chinese**: the 300 questions of `data/faq_zh.csv`, as they stand in an index, held out against the answers, and asked in 300 other ways,
which share few words with the entries; each in pinyin, with homophones, in traditional characters, and in mixed script. Syllables come
from pypinyin, traditional characters from OpenCC, homophones from the confusion set of pycorrector (`lexicons_zh`).

**large**: 100,000 different passages of public texts, English and Chinese, with vectors of 384 numbers. A vector is that of a real
passage with noise, because to compute 100,000 takes a model hours on two cores and is not part of an index. Sizes grow from 1,000 to
100,000; memory is the largest resident size of the process that builds, and of one that searches.

Results go to benchmarks/results/searching.json; the exit status is 1 if a bar is missed.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import accuracy
import numpy as np
from numpy.typing import NDArray
from processor import code, measured_here

from vertune.core.artifact import Home
from vertune.core.files import read_json, write_json
from vertune.core.kinds import Encoder, Task
from vertune.core.parse import build
from vertune.metrics.bootstrap import Tallies, intervals, paired
from vertune.retrieval.cutting import cut
from vertune.retrieval.index import Index, Joining
from vertune.retrieval.passages import Passage
from vertune.retrieval.readers.block import Block

OUT = accuracy.HERE / "results" / "searching.json"
DEPTH = 100
METRICS = ("recall_at_1", "recall_at_3", "mrr")
SIDES = {"words": Joining(vectors=0.0), "vectors": Joining(words=0.0), "joined": Joining()}
"""Each side searches with the same index and the same code; only the weights differ."""
VARIANTS = ("pinyin", "homophones", "traditional", "mixed")
FALL = 0.03
"""What Recall@1 may fall by in a variant."""
LARGE = (1_000, 10_000, 100_000)
WIDTH, NOISE, REAL = 384, 0.4, 2_000
BARS = {"build_cpu_seconds": 900, "search_cpu_ms": 20, "update_max_ms": 1_000, "memory_mb": 400}
"""Times are judged by those of the processor, because others may use the machine meanwhile; the others are beside them, with the load.
This was decided after a first run that had 8 % of a processor."""
Vectors = Callable[[Sequence[str]], NDArray[np.float32]]


# ── vectors ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def plain(base: str, texts: Sequence[str]) -> Vectors:
    """The vectors of a base as it is, without any training."""
    from vertune.nn.build import build as assemble
    from vertune.runtime.eager import Eager
    from vertune.runtime.predictor import Predictor

    task = build(Task, {"name": "embed"})
    encoder = build(Encoder, {"name": "text", "base": base}).resolve([{"text": text} for text in texts[:2_000]], task.views(["text"]))
    predictor = Predictor({}, encoder, task, Eager(assemble(encoder, task), 4_096), ("text",))
    return remembered(lambda part: np.stack([predictor.vectors([{"text": text}])[0] for text in part]))


def trained(rows: Sequence[dict[str, str]]) -> tuple[Vectors, Vectors]:
    """The vectors of questions and of answers, by an `embed` vertical with its defaults that is fitted on pairs of both.

    It is fitted once and kept in `.work/searching`.
    """
    import vertune

    home = accuracy.WORK / "searching"
    if "vertical@live" in Home(home).aliases():
        model = vertune.load("vertical", home)
    else:
        parts = {
            split: [{"text": row["Question"], "text_pair": row["Answer"]} for row in rows if row["split"] == split] for split in SPLITS
        }
        model = vertune.fit(parts, task="embed", home=home, base="minilm", accept=True)

    def of(field: str, answer: str) -> Vectors:
        other = "text_pair" if field == "text" else "text"
        return remembered(
            lambda part: np.array([one[answer] for one in model.predict([{field: text, other: "."} for text in part])], np.float32)
        )

    return of("text", "vector"), of("text_pair", "vector_pair")


def remembered(vectors: Vectors) -> Vectors:
    """The same function, which computes the vector of a text once."""
    known: dict[str, NDArray[np.float32]] = {}

    def of(texts: Sequence[str]) -> NDArray[np.float32]:
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            known.update(zip(new, vectors(new), strict=True))
        return np.stack([known[text] for text in texts])

    return of


# ── ranks and figures ────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Case:
    """A question with the passages of which any is right."""

    question: str
    right: frozenset[str]


def ranks(index: Index, cases: Sequence[Case], vectors: Vectors | None, spelled: bool = False) -> NDArray[np.float64]:
    """The rank of the first right passage for each question; infinite if it is not among the first DEPTH.

    With `spelled`, what is searched for and what the vector is made from is the text as the index would write it, as products do.
    """
    found = np.full(len(cases), np.inf)
    texts = [index.spelled(case.question) if spelled else case.question for case in cases]
    asked = vectors(texts) if vectors else None
    for number, case in enumerate(cases):
        hits = index.search(texts[number], DEPTH, vector=None if asked is None else asked[number])
        found[number] = next((rank for rank, hit in enumerate(hits, 1) if hit.id in case.right), np.inf)
    return found


def tallies(found: NDArray[np.float64]) -> Tallies:
    """What the metrics of questions are computed from."""
    units = np.stack([np.ones(len(found)), found <= 1, found <= 3, 1 / found], axis=1).astype(np.float64)
    return Tallies(units, lambda total: {name: total[..., place] / np.maximum(total[..., 0], 1) for place, name in enumerate(METRICS, 1)})


def shown(found: dict[str, Any]) -> dict[str, list[float]]:
    """Intervals as they are stored: value, low, high."""
    return {name: [round(float(number), 4) for number in (one.value, one.low, one.high)] for name, one in found.items()}


def figures(found: NDArray[np.float64]) -> dict[str, list[float]]:
    """The metrics with their 95 % intervals."""
    tally = tallies(found)
    return shown(intervals(tally.units, tally.summarise))


# ── English ──────────────────────────────────────────────────────────────────────────────────────────────────────────

SPLITS = ("train", "validation", "test")


def bank_rows() -> list[dict[str, str]]:
    """The questions and answers of bank_faq_en, each in its split."""
    with (accuracy.data_folder() / "bank_faq_en" / "bank_faqs.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        digit = int(hashlib.sha1(row["Question"].encode()).hexdigest(), 16) % 10
        row["split"] = SPLITS[(digit > 6) + (digit > 7)]
    return rows


def bank_cases(rows: Sequence[dict[str, str]], splits: Sequence[str]) -> list[Case]:
    """The questions of some splits; a question that has two answers is one case."""
    answers: dict[str, set[str]] = {}
    for row in rows:
        if row["split"] in splits:
            answers.setdefault(row["Question"].strip(), set()).add(answer_id(row["Answer"]))
    return [Case(question, frozenset(ids)) for question, ids in answers.items()]


def answer_id(answer: str) -> str:
    """The id of the passage of an answer; equal answers are one passage."""
    return hashlib.sha256(" ".join(answer.split()).encode()).hexdigest()[:16]


def typed(text: str, draw: random.Random) -> str:
    """The text with a mistake in about one of ten letters' words: a letter left out, doubled, replaced, or swapped with the next."""
    words = text.split(" ")
    for place, word in enumerate(words):
        if len(word) > 4 and word.isalpha() and draw.random() < TYPOS:
            at = draw.randrange(1, len(word) - 1)
            edits = (word[:at] + word[at + 1 :], word[:at] + word[at] + word[at:], word[:at] + draw.choice("aeinorst") + word[at + 1 :],
                     word[:at] + word[at + 1] + word[at] + word[at + 2 :])  # fmt: skip
            words[place] = draw.choice(edits)
    return " ".join(words)


TYPOS = 0.3
"""Share of the longer words that get a mistake, which is one word in eight."""


def english(folder: Path) -> dict[str, Any]:
    """Words, vectors and both joined on the test questions of bank_faq_en."""
    rows = bank_rows()
    passages = list({answer_id(row["Answer"]): Passage(answer_id(row["Answer"]), "", row["Answer"]) for row in rows}.values())
    cases = bank_cases(rows, ["test"])
    base = plain("minilm", [row["Question"] for row in rows])
    questions, answers = trained(rows)
    results: dict[str, Any] = {"questions": len(cases), "passages": len(passages)}
    for name, (asked, written) in {"embed vertical": (questions, answers), "plain base": (base, base)}.items():
        found = {
            side: ranks(
                Index.build(folder / f"{name}-{side}", passages, written, joining=joining), cases, None if side == "words" else asked
            )
            for side, joining in SIDES.items()
        }
        results[name] = {side: figures(one) for side, one in found.items()} | {
            f"joined - {side}": shown(paired(tallies(found["joined"]), tallies(found[side]))) for side in ("words", "vectors")
        }
    results["ways to join"] = ways_to_join(folder, bank_cases(rows, ["train", "validation"]), base)
    draw = random.Random(0)
    mistyped = [Case(typed(case.question, draw), case.right) for case in cases]
    index = Index.open(folder / "embed vertical-words")
    results["words, with typos"] = figures(ranks(index, mistyped, None))
    results["changed questions"] = sum(a.question != b.question for a, b in zip(cases, mistyped, strict=True))
    return results


RECIPROCAL = {"reciprocal ranks": (60, 1.0), "reciprocal ranks, weighted": (5, 2.0)}
"""Other ways to join: what is added to each rank, and the weight of vectors beside that of words."""


def ways_to_join(folder: Path, cases: Sequence[Case], base: Vectors) -> dict[str, Any]:
    """How ways to join do on questions that are not for test, with the vectors of the plain base: differences from vectors alone."""
    indexes = {side: Index.open(folder / f"plain base-{side}") for side in SIDES}
    vectors = ranks(indexes["vectors"], cases, base)
    found = {"scores": ranks(indexes["joined"], cases, base)}
    asked = base([case.question for case in cases])
    listed = [
        [[hit.id for hit in indexes[side].search(case.question, DEPTH, vector=one)] for side, one in (("words", None), ("vectors", vector))]
        for case, vector in zip(cases, asked, strict=True)
    ]
    for name, (constant, weight) in RECIPROCAL.items():
        found[name] = np.full(len(cases), np.inf)
        for number, (case, (words, meant)) in enumerate(zip(cases, listed, strict=True)):
            scores = {id: 1 / (constant + rank) for rank, id in enumerate(words, 1)}
            for rank, id in enumerate(meant, 1):
                scores[id] = scores.get(id, 0.0) + weight / (constant + rank)
            order = sorted(scores, key=lambda id: -scores[id])
            found[name][number] = next((rank for rank, id in enumerate(order, 1) if id in case.right), np.inf)
    return {"questions": len(cases), "vectors": figures(vectors)} | {
        name: shown(paired(tallies(one), tallies(vectors))) for name, one in found.items()
    }


WEIGHTS = (1.0, 2.0, 3.0, 4.0, 6.0)
"""Weights of words beside vectors, of which every tenth of the questions gets the one that is best for the other nine."""


def crossed(folder: Path) -> dict[str, Any]:
    """Every question of bank_faq_en, with the plain base, which is trained on none, and a weight that was chosen on other questions."""
    rows = bank_rows()
    passages = list({answer_id(row["Answer"]): Passage(answer_id(row["Answer"]), "", row["Answer"]) for row in rows}.values())
    cases, base = bank_cases(rows, SPLITS), plain("minilm", [row["Question"] for row in rows])

    def measured(joining: Joining, asked: Vectors | None = base) -> NDArray[np.float64]:
        return ranks(Index.build(folder / f"{joining.words}-{joining.vectors}", passages, base, joining=joining), cases, asked)

    alone = {"words": measured(SIDES["words"], None), "vectors": measured(SIDES["vectors"])}
    joined = {weight: measured(Joining(words=weight)) for weight in WEIGHTS}
    parts = np.array([int(hashlib.sha1(case.question.encode()).hexdigest(), 16) % 10 for case in cases])
    found, chosen = np.zeros(len(cases)), []
    for part in range(10):
        others = parts != part
        best = max(WEIGHTS, key=lambda weight: (1 / joined[weight][others]).mean())
        found[~others] = joined[best][~others]
        chosen.append(best)
    results: dict[str, Any] = {"questions": len(cases), "passages": len(passages), "weights": chosen, "joined": figures(found)}
    results |= {side: figures(one) for side, one in alone.items()}
    return results | {f"joined - {side}": shown(paired(tallies(found), tallies(one))) for side, one in alone.items()}


# ── Chinese ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def faq_rows() -> list[dict[str, str]]:
    """The questions of the file `faq_zh.csv`, with their answers and the other ways to ask."""
    with (accuracy.HERE / "data" / "faq_zh.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def homophones() -> dict[str, str]:
    """By character: the characters that sound the same, with the same tone or another."""
    lines = (accuracy.data_folder() / "lexicons_zh" / "same_pinyin.txt").read_text("utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    return {row[0]: "".join(row[1:]) for row in rows if len(row) > 1}


def variant(kind: str, text: str, draw: random.Random, same: dict[str, str]) -> str:
    """A question as it is written in another way."""
    from pypinyin import lazy_pinyin

    if kind == "pinyin":
        between = draw.choice((" ", ""))
        return between.join(lazy_pinyin(text))
    if kind == "homophones":
        return "".join(draw.choice(same[one]) if one in same and same[one] and draw.random() < REPLACED else one for one in text)
    if kind == "traditional":
        return converter("s2twp").convert(text)
    ways = (lambda part: "".join(lazy_pinyin(part)), converter("s2t").convert, str, full_width)
    return "".join(draw.choice(ways)(text[at : at + 2]) for at in range(0, len(text), 2))


@cache
def converter(direction: str) -> Any:
    """OpenCC from simplified characters to traditional ones, or to those and the words of Taiwan (s2twp)."""
    import opencc

    return opencc.OpenCC(direction)


def full_width(text: str) -> str:
    """The text with its ASCII characters in full width."""
    return "".join(chr(ord(one) + 0xFEE0) if "!" <= one <= "~" else one for one in text)


REPLACED = 0.3
"""Share of characters that get another one of the same sound."""


SETTINGS = {"in the index": ("question", True), "held out against answers": ("question", False), "another way to ask": ("asked", True)}
"""What is asked, and whether the questions of the file are in the index, as they are when it is used."""


def chinese(folder: Path) -> dict[str, Any]:
    """Figures of 300 questions in each setting and variant, with words alone and with vectors."""
    rows, same = faq_rows(), homophones()
    base = plain("e5-zh-en", [row["question"] for row in rows])
    results: dict[str, Any] = {"questions": len(rows)}
    for (setting, (asked, known)), side in itertools.product(SETTINGS.items(), ("words", "joined")):
        entries = [(str(number), row["question"] if known else "", row["answer"]) for number, row in enumerate(rows)]
        passages = [Passage(id, title, answer, questions=(title,) if known else ()) for id, title, answer in entries]
        vectors = base if side == "joined" else None
        index = Index.build(folder / f"{known}-{side}-{asked}", passages, vectors)
        cases = [Case(row[asked], frozenset({str(number)})) for number, row in enumerate(rows)]
        as_written = ranks(index, cases, vectors, spelled=True)
        measured: dict[str, Any] = {"as written": figures(as_written)}
        for kind in VARIANTS:
            draw = random.Random(kind)
            changed = [Case(variant(kind, case.question, draw, same), case.right) for case in cases]
            found = ranks(index, changed, vectors, spelled=True)
            measured[kind] = figures(found) | {"change": shown(paired(tallies(found), tallies(as_written)))}
        results[f"{setting}, {side}"] = measured
    return results


# ── 100,000 passages ─────────────────────────────────────────────────────────────────────────────────────────────────

TEXTS = {
    "reuters21578/reuters21578.jsonl": "body", "corpus_law_zh/laws.jsonl": "text", "medquad/medquad_fifth.jsonl": "answer",
    "cold/train.csv": "text", "waimai_10k/waimai.csv": "text", "sft_huatuo_med_zh/llama_data.jsonl": "output", "finnl/train.jsonl": "text",
    "chnsenticorp_split/train.csv": "text", "cluener2020/train.jsonl": "text",
}  # fmt: skip
CUT = 300


def public_texts() -> Iterator[str]:
    """Texts of public data sets, cut to passages of at most CUT characters, in turns of the sets."""
    streams = [_cut(accuracy.data_folder() / file, field) for file, field in TEXTS.items()]
    while streams:
        for stream in list(streams):
            text = next(stream, None)
            if text is None:
                streams.remove(stream)
            else:
                yield text


def _cut(path: Path, field: str) -> Iterator[str]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = map(json.loads, file) if path.suffix == ".jsonl" else csv.DictReader(file)
        for row in rows:
            yield from (part for _, part in cut([Block(row[field] or "")], CUT) if len(part) > 10)


def noisy(real: NDArray[np.float32]) -> Vectors:
    """Vectors of real passages with noise, another one for each call and text."""
    random_numbers = np.random.default_rng(0)

    def vectors(texts: Sequence[str]) -> NDArray[np.float32]:
        chosen = real[random_numbers.integers(len(real), size=len(texts))]
        return chosen + random_numbers.normal(0, NOISE / np.sqrt(WIDTH), chosen.shape).astype(np.float32)

    return vectors


def peak_mb() -> float:
    """The largest resident size of this process so far, in megabytes."""
    status = Path("/proc/self/status").read_text("utf-8")  # getrusage begins with the size of the process that started this one
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def child_build(folder: Path, count: int) -> dict[str, Any]:
    """Build an index of so many passages."""
    real = np.load(folder / "real.npy")
    before = peak_mb()
    passages = (Passage(str(number), "", text) for number, text in zip(range(count), dict.fromkeys(public_texts()), strict=False))
    started, cpu = time.perf_counter(), time.process_time()
    index = Index.build(folder / str(count), passages, noisy(real))
    seconds, processor = time.perf_counter() - started, time.process_time() - cpu
    return {
        "passages": len(index),
        "build_seconds": round(seconds, 1),
        "build_cpu_seconds": round(processor, 1),
        "memory_before_mb": round(before),
        "build_memory_mb": round(peak_mb()),
        "disk_mb": round(sum(path.stat().st_size for path in (folder / str(count)).rglob("*") if path.is_file()) / 1e6),
    }


def child_search(folder: Path, count: int) -> dict[str, Any]:
    """Open an index, search it with the beginnings of its passages and with typos and pinyin, and update it."""
    real, draw = np.load(folder / "real.npy"), random.Random(0)
    started = time.perf_counter()
    index = Index.open(folder / str(count))
    opened = time.perf_counter() - started
    questions = [text[: draw.randint(8, 40)] for text in itertools.islice(public_texts(), 0, 4_000, 17)][:200]
    with_question = [
        *questions,
        *(row["asked"] for row in faq_rows()[::6]),
        *(variant("pinyin", row["asked"], draw, {}) for row in faq_rows()[::6]),
    ]
    vectors = noisy(real)(with_question)
    for question, vector in list(zip(with_question, vectors, strict=True))[::10]:
        index.search(question, 10, vector=vector)
    times, cpu = [], time.process_time()
    for question, vector in zip(with_question, vectors, strict=True):
        started = time.perf_counter()
        index.search(question, 10, vector=vector)
        times.append(1_000 * (time.perf_counter() - started))
    search_cpu, cpu = time.process_time() - cpu, time.process_time()
    memory = peak_mb()
    updates = []
    for number in range(30):
        passage = Passage(f"new {number}", "A new entry", f"entry {number} {questions[number]}", questions=(f"What is entry {number}?",))
        started = time.perf_counter()
        index.update([passage], [str(number)], noisy(real))
        updates.append(1_000 * (time.perf_counter() - started))
    assert index.search("What is entry 7?", 1)[0].id == "new 7"
    return {
        "load": round(os.getloadavg()[0], 1),
        "open_seconds": round(opened, 2),
        "search_ms": round(float(np.median(times)), 2),
        "search_cpu_ms": round(1_000 * search_cpu / len(times), 2),
        "search_p99_ms": round(float(np.quantile(times, 0.99)), 2),
        "update_ms": round(float(np.median(updates)), 1),
        "update_cpu_ms": round(1_000 * (time.process_time() - cpu) / len(updates), 1),
        "update_max_ms": round(max(updates), 1),
        "search_memory_mb": round(memory),
        "memory_after_updates_mb": round(peak_mb()),
    }


def large(folder: Path) -> dict[str, Any]:
    """Time and memory of indexes of growing sizes, each in processes of its own, and the exponents of growth."""
    texts = list(itertools.islice(dict.fromkeys(public_texts()), REAL))
    started = time.perf_counter()
    np.save(folder / "real.npy", plain("minilm", texts)(texts))
    results: dict[str, Any] = {"texts_per_second": round(REAL / (time.perf_counter() - started), 1), "width": WIDTH}
    for count in LARGE:
        results[str(count)] = {}
        for step in ("build", "search"):
            command = [sys.executable, __file__, "--child", step, str(folder), str(count)]
            ran = subprocess.run(command, capture_output=True, text=True, check=True)
            results[str(count)] |= json.loads(ran.stdout.splitlines()[-1])
            print(count, step, ran.stdout.splitlines()[-1], flush=True)
    first, last = results[str(LARGE[0])], results[str(LARGE[-1])]
    growth = np.log(LARGE[-1] / LARGE[0])
    results["exponents"] = {
        name: round(float(np.log(last[name] / max(first[name], 1e-3)) / growth), 2)
        for name in ("build_cpu_seconds", "search_cpu_ms", "update_cpu_ms")
    }
    return results


# ── bars ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def missed(results: dict[str, Any]) -> list[str]:
    """The bars that the figures miss."""
    found = []
    for side in ("words", "vectors") if "crossed" in results else ():
        difference = results["crossed"][f"joined - {side}"]
        found += [f"crossed: joined above {side} in {name}" for name in METRICS if difference[name][1] <= 0]
    if chinese_figures := results.get("chinese"):
        for name, measured in chinese_figures.items():
            if isinstance(measured, dict) and "as written" in measured:
                found += [f"chinese: {name}, {kind}" for kind in VARIANTS if measured[kind]["change"]["recall_at_1"][0] < -FALL]
    if large_figures := results.get("large"):
        last = large_figures[str(LARGE[-1])] | {"memory_mb": 0}
        last["memory_mb"] = max(last["build_memory_mb"], last["search_memory_mb"], last["memory_after_updates_mb"])
        found += [f"large: {name} {last[name]}" for name, bar in BARS.items() if last[name] > bar]
    return found


def main() -> int:
    """Parse the command line and measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--only", choices=("english", "crossed", "chinese", "large"))
    parser.add_argument("--child", nargs=3)
    options = parser.parse_args()
    if options.child:
        step, folder, count = options.child
        print(json.dumps({"build": child_build, "search": child_search}[step](Path(folder), int(count))))
        return 0
    results: dict[str, Any] = {}
    for name, measure in {"english": english, "crossed": crossed, "chinese": chinese, "large": large}.items():
        if options.only in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                measured = measure(Path(folder)) | measured_here() | code()
            results = (read_json(OUT) if OUT.exists() else {}) | {name: measured}  # another part may have been measured meanwhile
            write_json(OUT, results)
            print(json.dumps(results[name], ensure_ascii=False, indent=1), flush=True)
    for bar in missed(results):
        print(f"missed: {bar}")
    return bool(missed(results))


if __name__ == "__main__":
    sys.exit(main())
