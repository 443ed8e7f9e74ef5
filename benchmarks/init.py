"""How often `vertune init` guesses the task and the columns of a file without a flag, on files in the usual forms of each task.

python benchmarks/init.py                 build the files of init.yaml from the data in VERTUNE_DATA, guess, write results/init.json
python benchmarks/init.py --files OTHER.yaml --keep FOLDER     the same with other files, without writing a result
"""

from __future__ import annotations

import argparse
import csv
import difflib
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import yaml
from processor import measured_here

from vertune.core.config import load, source_of
from vertune.core.errors import VertuneError
from vertune.core.kinds import Source
from vertune.core.parse import build
from vertune.sources import _workbook
from vertune.steps.init import guess_as_yaml, init

HERE = Path(__file__).resolve().parent
OUT = HERE / "results" / "init.json"
DATA = Path(os.environ.get("VERTUNE_DATA", HERE.parents[1] / "shared" / "data"))
ROWS = 600
"""Largest number of rows of a file: evenly spaced in the data, because some data sets are sorted by label."""
AGENTS = ("Anna", "Ben", "Cem", "Dora")
Frame = pl.DataFrame


def rows_of(path: str) -> Frame:
    """Rows of a file of the data, without the columns that sources add."""
    read = build(Source, source_of(str(DATA / path))).read().lazy().collect()
    read = read.filter(pl.col("__error").is_null()).select(pl.exclude("^__.*$"))
    return read.gather_every(max(1, read.height // ROWS))


def reply(count: int) -> list[str]:
    """Texts that were written in reply: answers of a bank."""
    answers = rows_of("bank_faq_en/bank_faqs.csv")["Answer"].to_list()
    return [answers[place * 7 % len(answers)] for place in range(count)]


def column(frame: Frame, wanted: str) -> pl.Series:
    """A column of the data, or one that is made: see `columns` in init.yaml."""
    if not wanted.startswith("="):
        return frame[wanted]
    what, _, name = wanted[1:].partition(" ")
    count = frame.height
    if what.startswith("joined"):
        return pl.Series([what[6].join(labels) for labels in frame[what[7:]].to_list()])
    makers: dict[str, Callable[[], list[Any]]] = {
        "number": lambda: list(range(1, count + 1)),
        "code": lambda: [f"T-{10_000 + place * 37 % 9_973}" for place in range(count)],
        "date": lambda: [(date(2026, 1, 5) + timedelta(days=place // 3)).strftime("%d.%m.%Y") for place in range(count)],
        "agent": lambda: [AGENTS[int(hashlib.sha1(str(place).encode()).hexdigest(), 16) % 4] for place in range(count)],
        "reply": lambda: reply(count),
        "changed": lambda: [changed(*pair) for pair in frame.select("source", "target").iter_rows()],
        "comma": lambda: [str(value).replace(".", ",") for value in frame[name].to_list()],
        "starts": lambda: [[{"answer_start": one["start"], "text": one["text"]} for one in row] for row in frame["answers"].to_list()],
        "lists": lambda: [
            {"text": [one["text"] for one in row], "answer_start": [one["start"] for one in row]} for row in frame["answers"].to_list()
        ],
    }
    return pl.Series(makers[what](), strict=False)


def changed(one: str, other: str) -> float:
    """The share of the characters of a text that differ in another text."""
    return round(1 - difflib.SequenceMatcher(None, one, other).ratio(), 3)


def with_columns(frame: Frame, columns: dict[str, str] | None) -> Frame:
    """The columns of a file, in order; `*: =onehot NAME` makes a column of 0 and 1 for each of the six most frequent labels."""
    if columns is None:
        return frame.head(ROWS)
    made = []
    for name, wanted in columns.items():
        if wanted.startswith("=onehot"):
            lists = frame[wanted.split()[1]]
            top = lists.explode().drop_nulls().value_counts().sort("count", lists.name, descending=[True, False])[lists.name].head(6)
            made += [lists.list.contains(label).cast(pl.Int64).alias(label) for label in top]
        else:
            made.append(column(frame, wanted).alias(name))
    return pl.DataFrame(made).head(ROWS)


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def flat(frame: Frame) -> Frame:
    """Lists and mappings as JSON, for formats that have none."""
    nested = [name for name, kind in frame.schema.items() if kind.is_nested()]
    return frame.with_columns(
        pl.Series(name, [json.dumps(value, ensure_ascii=False) for value in frame[name].to_list()]) for name in nested
    )


def delimited(frame: Frame, delimiter: str = ",", header: bool = True, encoding: str = "utf-8") -> bytes:
    """A table as delimited text."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    if header:
        writer.writerow(frame.columns)
    writer.writerows(flat(frame).iter_rows())
    return out.getvalue().encode(encoding, errors="ignore")


def workbook(path: Path, frame: Frame, title: Sequence[str] = ()) -> None:
    """A workbook with one sheet; `title` are lines above the header."""
    clean = flat(frame).with_columns(pl.col(pl.String).str.replace_all(r"[\x00-\x08\x0b-\x1f]", ""))
    rows = [*([line] for line in title), *([[]] if title else []), clean.columns, *clean.iter_rows()]
    _workbook.write(path, {"Sheet1": rows})


def tokens(frame: Frame) -> bytes:
    """Sentences as lists of tokens and tags, as data sets of the Hugging Face hub have them."""
    lines = []
    for number, (text, spans) in enumerate(frame.select("text", "spans").iter_rows()):
        words, tags, start = text.split(" "), [], 0
        for word in words:
            inside = next((span for span in spans if span["start"] <= start < span["end"]), None)
            tags.append("O" if inside is None else ("B-" if inside["start"] == start else "I-") + inside["label"])
            start += len(word) + 1
        lines.append(json.dumps({"id": str(number), "tokens": words, "ner_tags": tags}, ensure_ascii=False))
    return "\n".join(lines).encode() + b"\n"


def write(path: Path, frame: Frame, form: str) -> None:
    """Write a table in one of the forms of init.yaml."""
    if form == "folders":
        for number, (text, label) in enumerate(frame.select("text", "label").iter_rows()):
            (path / label).mkdir(parents=True, exist_ok=True)
            (path / label / f"{number}.txt").write_text(text, encoding="utf-8")
    elif form == "titled":
        workbook(path, frame, ["Export of 5 January 2026", "confidential"])
    elif form == "xlsx":
        workbook(path, frame)
    elif form == "parquet":
        frame.write_parquet(path)
    elif form == "json":
        path.write_text(json.dumps(frame.to_dicts(), ensure_ascii=False, indent=1), encoding="utf-8")
    elif form == "jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in frame.iter_rows(named=True)), encoding="utf-8")
    elif form == "tokens":
        path.write_bytes(tokens(frame))
    else:
        delimiters = {"tsv": "\t", "headerless": "\t", "cp1252": ";", "semicolon": ";"}
        encodings = {"cp1252": "cp1252", "gb18030": "gb18030"}
        path.write_bytes(delimited(frame, delimiters.get(form, ","), form != "headerless", encodings.get(form, "utf-8")))


def make(folder: Path, name: str, entry: dict[str, Any]) -> Path:
    """Build one file or folder, and return its path."""
    folder.mkdir(parents=True)
    path = folder / name
    if isinstance(entry["data"], dict):
        path.mkdir()
        for split, source in entry["data"].items():
            form = entry.get("write")
            if form is None:
                (path / f"{split}{Path(source).suffix}").write_bytes((DATA / source).read_bytes())
            else:
                write(path / f"{split}.{form}", with_columns(rows_of(source), entry.get("columns")), form)
    elif not entry.get("columns") and not entry.get("write") and Path(entry["data"]).suffix in {".txt", path.suffix}:
        path.write_bytes((DATA / entry["data"]).read_bytes())
    else:
        write(path, with_columns(rows_of(entry["data"]), entry.get("columns")), entry.get("write") or path.suffix.lstrip("."))
    return path


# ── guessing ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def is_right(guess: Any, expected: dict[str, str]) -> bool:
    """Whether a guess is one that a person would make: the task, each field, and further splits."""
    wanted = dict(expected)
    if guess.task != wanted.pop("task") or set(guess.others) != set(wanted.pop("splits", "").split()):
        return False
    if wanted.pop("options", None) is not None and not guess.options:
        return False
    found = {name: " ".join(columns) for name, columns in guess.fields.items()}
    if wanted.pop("inputs", None) is not None:
        inputs = guess.options.get("inputs", {})
        return bool(inputs) and {name: found[name] for name in found if name not in inputs} == wanted
    if wanted.get("labels") == "*":
        wanted["labels"] = found.get("labels", "") if len(guess.fields.get("labels", ())) > 2 else "*"
    return found == wanted


def judge(path: Path, entry: dict[str, Any]) -> dict[str, Any]:
    """Guess one file, load the config that is written, and compare the guess with the right answers."""
    expected = entry["expect"] if isinstance(entry["expect"], list) else [entry["expect"]]
    try:
        guess = init(path)
        (path.parent / "run.yaml").write_text(guess_as_yaml(guess, path, path.parent), encoding="utf-8")
        load(path.parent / "run.yaml")
    except VertuneError as error:
        return {"right": False, "error": str(error).replace(str(path.parent), "")[:300]}
    right = any(is_right(guess, one) for one in expected)
    fields = {name: " + ".join(columns) for name, columns in guess.fields.items()}
    found: dict[str, Any] = {"right": right, "task": guess.task}
    return found if right else {**found, "fields": dict(list(fields.items())[:6]), "alternatives": guess.alternatives[:3]}


def main() -> None:
    """Parse the command line, build the files, and guess."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=Path, default=HERE / "init.yaml")
    parser.add_argument("--keep", type=Path, default=None, help="the folder to build the files in")
    options = parser.parse_args()
    entries: dict[str, dict[str, Any]] = yaml.safe_load(options.files.read_text(encoding="utf-8"))
    found = {}
    with tempfile.TemporaryDirectory() as temporary:
        for number, (name, entry) in enumerate(entries.items()):
            path = make((options.keep or Path(temporary)) / f"{number:02d}", name, entry)
            found[name] = {"task": (entry["expect"] if isinstance(entry["expect"], dict) else entry["expect"][0])["task"]}
            found[name] = {"expected": found[name]["task"], **judge(path, entry)}
            print("right" if found[name]["right"] else "WRONG", name, "" if found[name]["right"] else found[name], flush=True)
    right = sum(one["right"] for one in found.values())
    print(f"{right} of {len(found)} right")
    if options.files == HERE / "init.yaml":
        previous = json.loads(OUT.read_text(encoding="utf-8")) if OUT.exists() else {}
        result = {"machine": measured_here(), "first": previous.get("first", right), "right": right, "of": len(found), "files": found}
        OUT.write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
