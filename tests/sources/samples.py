"""A small file of every source's format, for the contract test; a new source adds one function here."""

from __future__ import annotations

import json
import sqlite3
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import polars as pl

ROWS = [("the card was swallowed", "card"), ("wie hoch ist der Zins, bitte?", "rate"), ("我的卡被吞了", "card")]
"""Text and label of three rows, none of them plain ASCII throughout."""


def csv(folder: Path) -> dict[str, Any]:
    path = folder / "rows.csv"
    path.write_text("text,label\n" + "".join(f'"{text}",{label}\n' for text, label in ROWS), encoding="utf-8")
    return {"path": str(path)}


def jsonl(folder: Path) -> dict[str, Any]:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in ROWS), encoding="utf-8")
    return {"path": str(path)}


def parquet(folder: Path) -> dict[str, Any]:
    path = folder / "rows.parquet"
    pl.DataFrame(ROWS, schema=["text", "label"], orient="row").write_parquet(path)
    return {"path": str(path)}


def conll(folder: Path) -> dict[str, Any]:
    path = folder / "rows.conll"
    path.write_text("-DOCSTART- O\n\nAda B-PER\nLovelace I-PER\nwrote O\n\nBerlin B-LOC\n", encoding="utf-8")
    return {"path": str(path)}


def folder(folder: Path) -> dict[str, Any]:
    for place, (text, label) in enumerate(ROWS):
        (folder / "texts" / label).mkdir(parents=True, exist_ok=True)
        (folder / "texts" / label / f"{place}.txt").write_text(text, encoding="utf-8")
    return {"path": str(folder / "texts")}


def sql(folder: Path) -> dict[str, Any]:
    with sqlite3.connect(folder / "rows.db") as connection:
        connection.execute("create table tickets (text text, label text)")
        connection.executemany("insert into tickets values (?, ?)", ROWS)
    connection.close()
    return {"url": f"sqlite:///{folder / 'rows.db'}", "query": "select text, label from tickets order by text"}


def squad(folder: Path) -> dict[str, Any]:
    path = folder / "rows.json"
    context = "🎉 Ada Lovelace was born in London."
    questions = [
        {"id": "1", "question": "Where?", "answers": [{"answer_start": context.index("London"), "text": "London"}]},
        {"id": "2", "question": "When?", "answers": [], "is_impossible": True},
    ]
    value = {"version": "v2.0", "data": [{"title": "Ada", "paragraphs": [{"context": context, "qas": questions}]}]}
    path.write_text(json.dumps(value), encoding="utf-8")
    return {"path": str(path)}


def huggingface(folder: Path) -> dict[str, Any]:
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["card", "rate"])})
    table = {"text": [text for text, _ in ROWS], "label": [label for _, label in ROWS]}
    whole = datasets.Dataset.from_dict(table, features=features)
    datasets.DatasetDict({"train": whole, "test": whole.select([0])}).save_to_disk(str(folder / "hub"))
    return {"path": str(folder / "hub")}


def excel(folder: Path) -> dict[str, Any]:
    path = folder / "rows.xlsx"
    workbook(path, {"data": [["text", "label"], *ROWS]})
    return {"path": str(path)}


def workbook(path: Path, sheets: dict[str, list[Any]]) -> None:
    """The least that a program which reads .xlsx accepts: cells as numbers or inline texts."""
    main, office = (
        "http://schemas.openxmlformats.org/spreadsheetml/2006/main",
        "http://schemas.openxmlformats.org/officeDocument/2006/relationships",
    )
    document = f"{office}/officeDocument"
    package = "http://schemas.openxmlformats.org/package/2006"
    types = "".join(
        f'<Override PartName="/xl/worksheets/sheet{place}.xml" '
        'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/>'
        for place in range(1, len(sheets) + 1)
    )
    named = "".join(f'<sheet name="{name}" sheetId="{place}" r:id="r{place}"/>' for place, name in enumerate(sheets, 1))
    targets = "".join(
        f'<Relationship Id="r{place}" Type="{office}/worksheet" Target="worksheets/sheet{place}.xml"/>'
        for place in range(1, len(sheets) + 1)
    )
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{package}/content-types"><Default Extension="rels" '
            'ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Override PartName="/xl/workbook.xml" '
            f'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>{types}</Types>',
        )
        file.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{package}/relationships"><Relationship Id="r1" Type="{document}" Target="xl/workbook.xml"/>'
            "</Relationships>",
        )
        file.writestr("xl/workbook.xml", f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>{named}</sheets></workbook>')
        file.writestr("xl/_rels/workbook.xml.rels", f'<Relationships xmlns="{package}/relationships">{targets}</Relationships>')
        for place, rows in enumerate(sheets.values(), 1):
            lines = "".join(f'<row r="{line}">{"".join(map(_cell, row))}</row>' for line, row in enumerate(rows, 1))
            file.writestr(f"xl/worksheets/sheet{place}.xml", f'<worksheet xmlns="{main}"><sheetData>{lines}</sheetData></worksheet>')


def _cell(value: Any) -> str:
    if value is None:
        return "<c/>"
    if isinstance(value, str):
        return f'<c t="inlineStr"><is><t>{escape(value)}</t></is></c>'
    return f"<c><v>{value}</v></c>"


SAMPLES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "csv": csv,
    "jsonl": jsonl,
    "parquet": parquet,
    "conll": conll,
    "folder": folder,
    "sql": sql,
    "squad": squad,
    "huggingface": huggingface,
    "excel": excel,
}
