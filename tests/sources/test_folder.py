from __future__ import annotations

import pytest

from vertune.core.config import source_of
from vertune.core.errors import DataError, NotFound
from vertune.sources.folder import Folder


def test_a_folder_is_a_label(tmp_path):
    for label, texts in {"good": ["fine\n", "nice"], "bad": ["poor"]}.items():
        (tmp_path / label / "deeper").mkdir(parents=True)
        for place, text in enumerate(texts):
            (tmp_path / label / ("deeper" if place else "") / f"{place}.txt").write_text(text)
    (tmp_path / "good" / "notes.md").write_text("not read")
    frame = Folder(path=str(tmp_path)).read()
    assert sorted(frame.select("text", "label", "document").iter_rows()) == [
        ("fine", "good", "good/0.txt"),
        ("nice", "good", "good/deeper/1.txt"),
        ("poor", "bad", "bad/0.txt"),
    ]
    assert source_of(str(tmp_path)) == {"name": "folder", "path": str(tmp_path)}


def test_lines_encodings_and_files_that_are_no_text(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.txt").write_bytes("我的银行卡被吞了\n\n第二行文字也在这里\n".encode("gb18030"))
    (tmp_path / "a" / "2.txt").write_bytes(b"PK\x03\x04")
    frame = Folder(path=str(tmp_path), rows="line").read()
    assert frame["text"].to_list() == ["我的银行卡被吞了", "第二行文字也在这里", ""]
    assert frame["__row"].to_list() == [1, 3, 1]
    assert "begins like a zip" in frame["__error"][2]


def test_only_line_ends_end_a_line(tmp_path):
    """60 lines once became 78 rows, because str.splitlines divides at these characters too."""
    (tmp_path / "a").mkdir()
    lines = [f"line{mark}{place}" for place, mark in enumerate("\f\v\x1c\x1d\x1e\x85\u2028\u2029 ")]
    (tmp_path / "a" / "1.txt").write_text("\n".join(lines) + "\r\n\rlast", encoding="utf-8", newline="")
    assert Folder(path=str(tmp_path), rows="line").read()["text"].to_list() == [*lines, "last"]


def test_a_nul_character_costs_its_own_line_or_file(tmp_path):
    for label in "ab":
        (tmp_path / label).mkdir()
        for place in range(3):
            content = f"one {place}\nt\0wo {place}\n" if (label, place) == ("a", 1) else f"one {place}\ntwo {place}\n"
            (tmp_path / label / f"{place}.txt").write_text(content, encoding="utf-8")
    by_file = Folder(path=str(tmp_path)).read()
    assert by_file["__error"].is_not_null().arg_true().to_list() == [1]
    assert "NUL" in by_file["__error"][1]
    by_line = Folder(path=str(tmp_path), rows="line").read()
    assert by_line.height == 12
    assert by_line["__error"].is_not_null().arg_true().to_list() == [3]


def test_an_empty_file_is_an_empty_text(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.txt").touch()
    assert Folder(path=str(tmp_path)).read()["text"].to_list() == [""]


def test_nothing_to_read(tmp_path):
    with pytest.raises(NotFound, match="no folder"):
        Folder(path=str(tmp_path / "no")).read()
    with pytest.raises(DataError, match="no folders"):
        Folder(path=str(tmp_path)).read()
    (tmp_path / "a").mkdir()
    with pytest.raises(DataError, match="none with a file that matches"):
        Folder(path=str(tmp_path)).read()
