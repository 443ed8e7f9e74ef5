"""Random tables through `init`, `prepare`, `fit` and `predict --file`: nothing may crash, and every row must be accounted for.

    python benchmarks/random_tables.py --count 1000                    `init` and `prepare` of tables 0 to 999
    python benchmarks/random_tables.py --count 50 --fit                also five seconds of `fit`, and `predict` of the same file
    python benchmarks/random_tables.py --first 17 --count 1 --keep /tmp/table        one table, kept to look at

A table has random names, types, gaps, scripts and sizes, and sometimes damage; its number is the seed. A table may be refused with an
error of ours. Any other exception is a failure, and so is a row that is in no split, not unused, not rejected by name, or missing in the
predictions. Results go to benchmarks/results/random_tables.json, and are added up over runs of different numbers.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import itertools
import json
import random
import re
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import processor

OUT = Path(__file__).parent / "results" / "random_tables.json"
WORDS = {
    "latin": ["wheel", "brake", "order", "parcel", "tyre", "spoke", "invoice", "the", "my", "is", "not", "please", "help", "number"],
    "accents": ["où", "est", "ma", "carte", "débitée", "échoué", "straße", "größer", "naïve", "piñata", "déjà"],
    "chinese": list("我的银行卡被吞了怎么办请帮忙订单发票轮子刹车"),
    "cyrillic": ["где", "мой", "заказ", "колесо", "тормоз", "счет", "помогите", "пожалуйста"],
    "arabic": ["أين", "طلبي", "عجلة", "فاتورة", "مساعدة", "من", "فضلك"],
    "emoji": ["😀", "🚲", "👩‍🔧", "ok", "no", "🔥"],
    "odd": [
        "a,b",
        'say "hi"',
        "x;y",
        "1|2",
        "tab\there",
        "line\nend",
        "\u2028",
        "=1+1",
        "NaN",
        "None",
        "null",
        "[1]",
        "{}",
        "#",
        "%",
        "\\",
        "é",
    ],
}
NAMES = [
    "text", "label", "Label ", "问题", "类别", "id", "Ticket No.", "score", "a b", "x:y", "yes", "no", "null", "1", "2.5", "#", "- a",
    "[a]", "{b}", "it's", 'say "x"', "spalte ä", "two\nlines", "?", "*", "^$", "&a", "!b", "%", "@c", "true", "date", "answer", "comment",
    "class", "tags", "~", "|", ">",
]  # fmt: skip
FORMS = ("csv", "csv", "tsv", "semicolon", "jsonl", "json", "xlsx", "parquet")
ENCODINGS = ("utf-8", "utf-8", "utf-8-sig", "utf-16", "gb18030")


@dataclass(slots=True)
class Table:
    """One random table: its columns, its file, and how many rows the file has."""

    path: Path
    form: str
    rows: int
    damage: str
    columns: dict[str, list[Any]] = field(repr=False)


def _sentence(draw: random.Random, words: list[str]) -> str:
    return " ".join(draw.choice(words) for _ in range(draw.randint(1, 12)))


def _column(draw: random.Random, rows: int) -> list[Any]:
    """The values of a column of a random type, some of which are missing."""
    words = WORDS[draw.choice(list(WORDS))]
    few = [draw.choice(words) + draw.choice(["", "", " 2", "-x"]) for _ in range(draw.randint(1, 6))]
    makers: list[Callable[[], Any]] = [
        lambda: _sentence(draw, words),
        lambda: _sentence(draw, words),
        lambda: draw.choice(few),
        lambda: draw.choice(few),
        lambda: draw.randint(0, 4),
        lambda: draw.randint(-(10**12), 10**12),
        lambda: round(draw.uniform(-5, 5), 3),
        lambda: draw.choice([True, False]),
        lambda: f"20{draw.randint(10, 30)}-0{draw.randint(1, 9)}-1{draw.randint(0, 9)}",
        lambda: draw.sample(few, draw.randint(0, len(few))),
        lambda: draw.choice([draw.choice(few), draw.randint(0, 9), 1.5, None, True]),
        lambda: "",
    ]
    make = draw.choice(makers)
    gaps = draw.choice([0, 0, 0, 0.05, 0.5, 1])
    return [None if draw.random() < gaps else make() for _ in range(rows)]


def make(seed: int, folder: Path) -> Table:
    """Write the table of this number into a folder."""
    draw = random.Random(seed)
    rows = draw.choice([1, 2, 5, 12, 30, 60, 60, 120, 200])
    names = draw.sample(NAMES, draw.randint(1, 6))
    columns = {name: _column(draw, rows) for name in names}
    if draw.random() < 0.7:  # most tables can be learnt from
        words, labels = WORDS[draw.choice(["latin", "chinese", "accents"])], ["wheel", "刹车", "order 3"]
        targets = [draw.choice(labels) for _ in range(rows)]
        columns |= {"text": [f"{label} {_sentence(draw, words)}" for label in targets], "label": list(targets)}
    form = draw.choice(FORMS)
    stem = draw.choice(["rows", "2024", "yes", "订单1", "a b", "x#y", "[z]", "train"])
    damage = draw.choice(["", "", "", "quote", "nul", "bytes", "cut"]) if form in ("csv", "tsv", "semicolon", "jsonl") and rows > 5 else ""
    path = folder / f"{stem}.{'csv' if form == 'semicolon' else form}"
    written = _write(path, form, columns, draw)
    if damage:
        damage = _damage(path, damage, draw)
    return Table(path, form, written, damage, columns)


def _write(path: Path, form: str, columns: dict[str, list[Any]], draw: random.Random) -> int:
    """Write the columns in one of the forms; return how many rows a reader must find."""
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    if form in ("jsonl", "json"):
        content = json.dumps(rows, ensure_ascii=draw.random() < 0.3) if form == "json" else ""
        path.write_text(content or "".join(json.dumps(row, ensure_ascii=draw.random() < 0.3) + "\n" for row in rows), encoding="utf-8")
        return len(rows)
    if form == "parquet":
        import polars as pl

        from vertune.sources._table import series

        pl.DataFrame([series(name, values) for name, values in columns.items()]).write_parquet(path)
        return len(rows)
    cells = [[_cell(value) for value in row.values()] for row in rows]
    if form == "xlsx":
        from vertune.sources._workbook import write

        header = [" ".join(name.split()) for name in columns]
        write(path, {"data": [header, *([_sheet(value) for value in row.values()] for row in rows)]})
        return sum(any(_sheet(value) not in (None, "") for value in row.values()) for row in rows)
    buffer = io.StringIO()
    writer = csv.writer(
        buffer, delimiter={"csv": ",", "tsv": "\t", "semicolon": ";"}[form], quoting=draw.choice([csv.QUOTE_ALL, csv.QUOTE_MINIMAL])
    )
    writer.writerow(columns)
    writer.writerows(cells)
    encoding, content = draw.choice(ENCODINGS), buffer.getvalue()
    is_usual = encoding != "gb18030" or _is_chinese(content)
    path.write_text(content, encoding=encoding if is_usual else "utf-8", newline="")
    return len(rows)


def _is_chinese(content: str) -> bool:
    """Whether GB18030 is detected for this text: for no other script, nor where a line is valid UTF-8 by chance, as single letters are."""
    encoded = content.encode("gb2312", "ignore")
    by_chance = any(_is_utf8(line) and not line.isascii() for line in encoded.split(b"\n"))
    return encoded.decode("gb2312") == content and not by_chance


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _cell(value: Any) -> str:
    return "" if value is None else json.dumps(value, ensure_ascii=False) if isinstance(value, list) else str(value)


def _sheet(value: Any) -> Any:
    """A value as the small writer of workbooks takes it: a number, a text without control characters, or nothing."""
    if isinstance(value, (bool, list)):
        return _cell(value)
    return "".join(char for char in value if char >= " ") or None if isinstance(value, str) else value


def _damage(path: Path, kind: str, draw: random.Random) -> str:
    """Damage one line of a text file, but for those of the header; return what was done, or an empty text."""
    content = path.read_bytes()
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return ""
    lines = content.split(b"\n")
    place = draw.randrange(1, max(2, len(lines) - 1))
    if b'"' in content and path.suffix != ".jsonl" and kind in ("quote", "cut"):
        return ""  # lines of such a file need not be rows
    quotes = itertools.accumulate(line.count(b'"') for line in lines)
    if place <= next((number for number, count in enumerate(quotes) if count % 2 == 0), 0):
        return ""  # a line of the header, where no row is damaged
    line = lines[place]
    middle = len(line) // 2
    if b'"' in line[max(0, middle - 1) : middle + 1]:
        return ""  # a byte beside a quote would open or close a field
    if kind == "quote" and path.suffix != ".jsonl":
        lines[place] = b'"' + line
    elif kind == "cut" and path.suffix == ".jsonl":
        last = len(lines) - 2
        lines = [*lines[:last], lines[last][: max(1, len(lines[last]) // 2)]]
    elif kind in ("nul", "bytes"):
        lines[place] = line[:middle] + (b"\0" if kind == "nul" else b"\xff\xfe") + line[middle:]
    else:
        return ""
    path.write_bytes(b"\n".join(lines))
    return kind


def _command(*words: str) -> None:
    """Run a command in this process, silently; raise what it raises."""
    from vertune.cli import main

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            main([*words, "--debug"])
        except SystemExit as left:
            if left.code:
                raise RuntimeError(f"{words[0]} ended with {left.code}") from left


def check(table: Table, folder: Path, base: str, fit: bool) -> dict[str, Any]:
    """What happens to a table: `used`, `refused` with the step and the reason, or `failed` with the traceback or the numbers of rows."""
    from vertune.core.artifact import Home
    from vertune.core.config import load
    from vertune.core.errors import ConfigError, VertuneError

    config, home = folder / "run.yaml", Home(folder / "home")
    shared = ["--home", str(home.folder)]
    step = "init"
    try:
        _command("init", str(table.path), "-o", str(config))
        step = "prepare"
        written = load(config)
        name = written.name
        settings = ["--set", "training.time_limit=5", *(["--set", f"base={base}"] if written.encoder.name == "text" else [])]
        _command(*(["fit", "--accept"] if fit else ["prepare"]), str(config), *settings, *shared)
        dataset = home.get("datasets", name).manifest
        counted = sum(dataset["rows"].values()) - dataset["added"]
        # of a damaged line, a reader may make more than one row, and names such as 2.5 may be taken for a row; none may be lost
        is_doubtful = table.damage or any(re.fullmatch(r"[\d.]+", name) for name in table.columns)
        if counted < table.rows or (counted > table.rows and not is_doubtful):
            return {"result": "failed", "step": step, "why": f"{table.rows} rows were written, {counted} are accounted for"}
        if fit:
            step = "predict"
            out = folder / "out.jsonl"
            _command("predict", name, "--file", str(table.path), "--out", str(out), *shared)
            answered = out.read_text(encoding="utf-8").count("\n")
            if answered != counted:
                return {"result": "failed", "step": step, "why": f"{counted} rows were read, {answered} are in the predictions"}
        return {"result": "used", "task": dataset["task"]["name"], "rejected": dataset["rows"]["rejected"]}
    except VertuneError as error:
        is_ours = isinstance(error, ConfigError) and step != "init"  # what `init` writes must be a config that works
        return {"result": "failed" if is_ours else "refused", "step": step, "why": f"{type(error).__name__}: {error}"}
    except Exception:
        return {"result": "failed", "step": step, "why": traceback.format_exc(limit=-6)}


def tiny_base(folder: Path) -> str:
    """A tiny pretrained model that knows the words of the tables."""
    from vertune.testing import tiny

    return str(tiny.write("bert", folder / "base", sorted({word for words in WORDS.values() for word in words if word.isalnum()})))


def merged(known: dict[str, Any] | None, found: dict[str, Any]) -> dict[str, Any]:
    """Two summaries of different tables as one; the newer one alone if tables of the older one were measured again."""
    runs = [*((known or {}).get("runs") or []), *found["runs"]]
    ranges = sorted((first, first + count) for first, count in runs)
    if known is None or any(end > start for (_, end), (start, _) in pairwise(ranges)) or not known.get("runs"):
        return found
    sums = {name: dict((Counter(known[name]) + Counter(found[name])).most_common(40)) for name in ("results", "tasks", "refused")}
    totals = {name: known[name] + found[name] for name in ("count", "seconds", "failed")}
    return found | sums | totals | {"runs": runs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=0, help="number of the first table")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop before the first table after this time")
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--keep", type=Path, help="folder in which the tables and their artifacts stay")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    results: list[dict[str, Any]] = []
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        root = options.keep or Path(scratch)
        root.mkdir(parents=True, exist_ok=True)
        base = tiny_base(Path(scratch))
        for seed in range(options.first, options.first + options.count):
            if time.perf_counter() - started > options.seconds:
                break
            with tempfile.TemporaryDirectory(dir=root) as inner:
                folder = root / str(seed) if options.keep else Path(inner)
                folder.mkdir(exist_ok=True)
                table = make(seed, folder)
                found = check(table, folder, base, options.fit)
            results.append({"seed": seed, "form": table.form, "damage": table.damage, "rows": table.rows, **found})
            if found["result"] == "failed":
                print(f"{seed} {table.form} {table.damage} {found['step']}: {found['why']}", flush=True)
    counts = Counter(one["result"] for one in results)
    reasons = Counter(f"{one['step']}: {re.sub(r'/[^;,]*/|[0-9]+', '…', one['why'])[:90]}" for one in results if one["result"] == "refused")
    summary = {
        "runs": [[options.first, len(results)]], "count": len(results), "fit": options.fit, "seconds": round(time.perf_counter() - started),
        "results": dict(counts), "tasks": dict(Counter(one["task"] for one in results if one["result"] == "used")),
        "refused": dict(reasons.most_common(40)), "failed": [one for one in results if one["result"] == "failed"],
        **processor.measured_here(),
    }  # fmt: skip
    known = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else {}
    way = "init, prepare, fit, predict" if options.fit else "init, prepare"
    known[way] = merged(known.get(way), summary)
    options.out.write_text(json.dumps(known, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    print(json.dumps({key: summary[key] for key in ("results", "tasks", "refused", "seconds")}, ensure_ascii=False, indent=1))
    sys.exit(bool(counts["failed"]))


if __name__ == "__main__":
    main()
