"""Counts pairs of Chinese characters in the sentences of our own packs, by which pinyin is written in characters that an index lacks.

    python benchmarks/frequent_pairs.py        writes src/vertune/retrieval/frequent_zh.txt

A line of the file is a count and the pairs that are so frequent. What counts are our own sentences: the rows on which the packs in Chinese
train and calibrate, and their questions, answers and texts. `data/faq_zh.csv`, on which searching is measured, does not count.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from vertune.core.bounded_yaml import read_yaml
from vertune.core.pack import open_pack
from vertune.retrieval.frequent import FILE
from vertune.retrieval.normalise import forms, is_ideographic, tokens

PACKS = ("shop_zh", "bank_zh")


def texts(folder: Path) -> Iterator[str]:
    """Yield the texts of a pack."""
    for file in sorted(folder.rglob("*")):
        if file.suffix == ".csv":
            with file.open(encoding="utf-8", newline="") as stream:
                yield from (row[name] for row in csv.DictReader(stream) for name in ("text", "text_pair") if row.get(name))
        elif file.suffix in {".yaml", ".yml"} and file.name not in {"run.yaml", "lexicon.yaml"}:
            yield from strings(read_yaml(file))


def strings(value: Any) -> Iterator[str]:
    """Yield all texts in a value of YAML."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for one in value.values() for text in strings(one))
    elif isinstance(value, list):
        yield from (text for one in value for text in strings(one))


def main() -> None:
    """Count, and write the file."""
    distinct = dict.fromkeys(forms(text) for pack in PACKS for text in texts(open_pack(pack).folder))
    counts = Counter(
        "".join(pair) for text in distinct for token in tokens(text) if is_ideographic(token) for pair in pairwise(token)
    )  # fmt: skip
    by_count: dict[int, list[str]] = {}
    for pair, count in counts.items():
        by_count.setdefault(count, []).append(pair)
    lines = [f"{count} {' '.join(sorted(pairs))}" for count, pairs in sorted(by_count.items(), reverse=True)]
    FILE.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(counts):,} pairs of {len(distinct):,} texts")


if __name__ == "__main__":
    main()
