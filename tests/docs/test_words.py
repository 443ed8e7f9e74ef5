"""Every class that docs/words.md names exists, and no word is explained twice."""

from __future__ import annotations

import importlib
import re

from tests.docs.conftest import DOCS

ROWS = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", (DOCS / "words.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_classes_exist():
    names = [name for *_, cell in ROWS for name in re.findall(r"`(vertune\.[\w.]+)`", cell)]
    assert len(names) > 25
    missing = []
    for name in names:
        module, _, attribute = name.rpartition(".")
        if not hasattr(importlib.import_module(module), attribute):
            missing.append(name)
    assert not missing


def test_words_are_explained_once():
    words = [word for row in ROWS for word in row[0].split(", ") if word != "word"]
    assert len(words) == len(set(words)) > 45
