"""Passages of files: headings, sizes, ids, nothing lost; FAQs in each form; what can't be read is named."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vertune.core.errors import DataError, NotFound
from vertune.core.records import Note
from vertune.retrieval.cutting import cut
from vertune.retrieval.passages import passages_of
from vertune.retrieval.readers.block import Block

MARKDOWN = """---
title: Card terms
---
Before all headings.

# Fees

First *paragraph* with a [link](https://example.com) and `code`.
Second line.

## Abroad

- one
- two
  1. inner

| Country | Fee |
|---|---|
| France | 1 % |
| Japan | 2 % |

# Loss

![a lost card](card.png)

<div>Call <b>us</b>.<script>alert(1)</script></div>
"""
HTML = """<html lang="en-GB"><head><title>Help  centre</title><style>p{}</style></head><body><nav>Home</nav>
<h1>Delivery</h1><p>Parcels arrive<br>within 3&nbsp;days.</p><h2>Abroad</h2><ul><li>EU: 5 days<li>Asia</ul>
<table><tr><th>Zone<th>Price</tr><tr><td>1<td>4 €</tr></table><script>var x = "<p>no</p>"</script>
<h1>Returns</h1>Free for 30 days.<pre>line 1
  line 2</pre></body></html>"""


def _write(folder: Path, name: str, text: str, encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_text(text, encoding)
    return path


def test_markdown_keeps_headings_lists_and_tables(tmp_path: Path) -> None:
    found = {one.title: one.text for one in passages_of(_write(tmp_path, "terms.md", MARKDOWN))}
    assert found == {
        "Card terms": "Before all headings.",
        "Card terms › Fees": "First paragraph with a link and code.\nSecond line.",
        "Card terms › Fees › Abroad": "- one\n- two\n  1. inner\nCountry | Fee\nFrance | 1 %\nJapan | 2 %",
        "Card terms › Loss": "a lost card\nCall us.",
    }


def test_html_keeps_headings_and_leaves_scripts_out(tmp_path: Path) -> None:
    found = {one.title: one.text for one in passages_of(_write(tmp_path, "help.html", HTML))}
    assert found == {
        "Help centre": "Home",
        "Help centre › Delivery": "Parcels arrive\nwithin 3\xa0days.",
        "Help centre › Delivery › Abroad": "- EU: 5 days\n- Asia\nZone | Price\n1 | 4 €",
        "Help centre › Returns": "Free for 30 days.\nline 1\n  line 2",
    }
    assert {one.language for one in passages_of(tmp_path / "help.html")} == {"en"}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_plain_text_in_chinese_encodings(tmp_path: Path, encoding: str) -> None:
    text = "第一章 总则\n\n本办法适用于所有客户。\n\n第二章　费用\n\n年费为一百元。\n"
    found = [(one.title, one.text) for one in passages_of(_write(tmp_path, "办法.txt", text, encoding))]
    assert found == [("办法 › 第一章 总则", "本办法适用于所有客户。"), ("办法 › 第二章 费用", "年费为一百元。")]


def test_underlined_lines_are_headings(tmp_path: Path) -> None:
    text = "Fees\n====\n\nNone.\n\nCards\n-----\n\nOne is free.\n"
    assert [one.title for one in passages_of(_write(tmp_path, "a.txt", text))] == ["a › Fees", "a › Fees › Cards"]


@settings(max_examples=60, deadline=None)
@given(st.text("ab 。.\n，卡,|", max_size=300), st.integers(1, 60))
def test_nothing_is_lost_by_cutting(text: str, size: int) -> None:
    parts = [part for _, part in cut([Block(text.strip())], size) if part] if text.strip() else []
    assert re.sub(r"\s", "", "".join(parts)) == re.sub(r"\s", "", text)
    assert all(len(part) <= size for part in parts)


def test_each_part_of_a_table_names_its_columns() -> None:
    rows = [f"row {number} | {number}" for number in range(40)]
    parts = [part for _, part in cut([Block("\n".join(rows), ("Prices",), "Name | Price")], 100)]
    assert all(part.startswith("Name | Price\n") and len(part) <= 100 for part in parts)
    assert [line for part in parts for line in part.split("\n")[1:]] == rows


def test_ids_stay_where_the_text_does(tmp_path: Path) -> None:
    text = "# A\n\nfirst\n\n# B\n\nsecond\n\n# C\n\nthird\n\n# B\n\nsecond\n"
    before = [one.id for one in passages_of(_write(tmp_path, "a.md", text))]
    after = [one.id for one in passages_of(_write(tmp_path, "a.md", f"# New\n\nnew\n\n{text.replace('third', 'changed')}"))]
    assert len(set(after)) == len(after) == 5
    assert set(before) - set(after) == {before[2]}


FAQS = {
    "faq.csv": "Question,Answer,url\nHow much?,Nothing.,https://example.com\n\"A\nB\",Both\n",
    "faq.tsv": "问题\t答案\n多少钱？\t免费。\n",
    "faq.jsonl": json.dumps({"id": "x", "questions": ["one", "two"], "answer": "three", "valid_until": "2026-12-31"}) + "\n\n",
    "faq.yaml": "- id: fee\n  questions: {en: ['Fee?', Cost], zh: 多少钱}\n  answer: {en: None, zh: 免费}\n  valid_from: 2026-01-01\n",
}  # fmt: skip
EXPECTED = {
    "faq.csv": [(("How much?",), "Nothing."), (("A", "B"), "Both")],
    "faq.tsv": [(("多少钱？",), "免费。")],
    "faq.jsonl": [(("one", "two"), "three")],
    "faq.yaml": [(("Fee?", "Cost"), "None"), (("多少钱",), "免费")],
}


@pytest.mark.parametrize("name", FAQS)
def test_faqs(tmp_path: Path, name: str) -> None:
    found = list(passages_of(_write(tmp_path, name, FAQS[name])))
    assert [(one.questions, one.answer) for one in found] == EXPECTED[name]
    assert [one.title for one in found] == [one.questions[0] for one in found]
    assert len({one.id for one in found}) == len(found)


def test_faqs_keep_ids_languages_and_dates(tmp_path: Path) -> None:
    found = list(passages_of(_write(tmp_path, "faq.yaml", FAQS["faq.yaml"])))
    assert [(one.id, one.language, one.valid_from) for one in found] == [("fee:en", "en", "2026-01-01"), ("fee:zh", "zh", "2026-01-01")]


def _pdf(path: Path) -> Path:
    """Write a PDF file of two pages, of which the second one has no text."""
    content = b"BT /F1 12 Tf 72 700 Td (A card that is lost is bloc-) Tj 0 -14 Td (ked at once.) Tj ET"
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R 6 0 R] /Count 2 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] >>",
    ]
    written, places = b"%PDF-1.4\n", []
    for number, one in enumerate(objects, 1):
        places.append(len(written))
        written += b"%d 0 obj\n%s\nendobj\n" % (number, one)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"xref\n0 7\n0000000000 65535 f \n%strailer\n<< /Size 7 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (table, len(written))
    path.write_bytes(written + end)
    return path


def test_pdf_names_pages_without_text(tmp_path: Path) -> None:
    notes: list[Note] = []
    found = list(passages_of(_pdf(tmp_path / "terms.pdf"), notes=notes))
    assert [(one.title, one.text) for one in found] == [("terms", "A card that is lost is blocked at once.")]
    assert [(one.count, one.of, one.examples[0]["file"], one.examples[0]["row"]) for one in notes] == [(1, 2, "terms.pdf", 2)]


def test_what_a_folder_loses_is_noted(tmp_path: Path) -> None:
    _write(tmp_path, "a.md", "# A\n\ntext\n")
    _write(tmp_path, "b.docx", "?")
    _write(tmp_path, "faq.csv", "question,answer\nonly a question,\n")
    notes: list[Note] = []
    assert [one.title for one in passages_of(tmp_path, notes=notes)] == ["a › A"]
    assert {(note.count, note.of, note.examples[0]["file"], note.examples[0]["row"]) for note in notes} == {
        (1, 3, "b.docx", None),
        (1, 1, "faq.csv", 1),
    }


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.docx", b"x"), ("a.pdf", b"no pdf"), ("a.txt", b"\0\xff\0\xfe\x80"), ("a.jsonl", b"{"), ("a.yaml", b"a: 1\nb: 2"),
        ("b.jsonl", b"[1]"), ("c.yaml", b"faq: 3"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_read(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    if name == "a.yaml":
        assert list(passages_of(tmp_path / name)) == []
        return
    with pytest.raises(DataError, match=name.replace(".", r"\.")):
        list(passages_of(tmp_path / name))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="Name a document"):
        list(passages_of(tmp_path / "none"))
