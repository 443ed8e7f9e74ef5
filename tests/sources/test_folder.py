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
